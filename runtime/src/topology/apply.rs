//! Talking to the server: read what is there, create what is not, leave the judgement to `compare`.
//!
//! Written on the plain JetStream API instead of the client's typed calls: those hide the server's error codes behind a
//! different type for each verb.

use async_nats::jetstream::account::Account;
use async_nats::jetstream::context::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::{Context, Error, ErrorCode, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::compare::stream_differences;
use super::error::TopologyError;
use super::spec::{StreamSpec, refuse_newer};

/// Rounds of look and create. Two processes that start together need two; more means that somebody deletes.
pub(super) const ROUNDS: u32 = 5;

/// Returns the settings of a stream, after creating it if it is missing.
pub(super) async fn fetch_or_create(
    context: &Context,
    spec: &StreamSpec,
) -> Result<stream::Config, TopologyError> {
    let name = &spec.config.name;
    for _ in 0..ROUNDS {
        match ask::<stream::Info>(context, format!("STREAM.INFO.{name}"), &json!({}), || {
            label(name)
        })
        .await?
        {
            Ok(info) => return Ok(info.config),
            Err(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            Err(source) => {
                return Err(TopologyError::Refused {
                    object: label(name),
                    source,
                });
            }
        }
        match ask::<stream::Info>(
            context,
            format!("STREAM.CREATE.{name}"),
            &spec.config,
            || label(name),
        )
        .await?
        {
            Ok(info) => {
                tracing::info!(stream = %name, "stream created");
                return Ok(info.config);
            }
            // Another process was faster: look again.
            Err(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {}
            Err(error) => return Err(refused_stream(context, spec, error).await),
        }
    }
    Err(TopologyError::Unstable {
        object: label(name),
    })
}

/// The settings of a stream that has to be there.
pub(super) async fn existing(
    context: &Context,
    name: &str,
) -> Result<stream::Config, TopologyError> {
    let subject = format!("STREAM.INFO.{name}");
    match ask::<stream::Info>(context, subject, &json!({}), || label(name)).await? {
        Ok(info) => Ok(info.config),
        Err(source) => Err(TopologyError::Refused {
            object: label(name),
            source,
        }),
    }
}

/// Refuses a stream that is not as specified.
pub(super) fn check(spec: &StreamSpec, found: &stream::Config) -> Result<(), TopologyError> {
    refuse_newer(&label(&spec.config.name), found)?;
    let differences = stream_differences(spec, found);
    if differences.is_empty() {
        return Ok(());
    }
    let name = &spec.config.name;
    let remedy = format!(
        "bring it up to date with `mcpctl setup --upgrade`, change it with `nats stream edit {name}`, configure what is there, or use another namespace"
    );
    Err(TopologyError::Differs {
        object: label(name),
        differences,
        remedy,
    })
}

/// Asks for the account's limits, which only a server with JetStream has.
pub(super) async fn account(context: &Context) -> Result<(), TopologyError> {
    let object = || "the JetStream account".to_owned();
    match ask::<Account>(context, "INFO".to_owned(), &json!({}), object).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if is_off(&error) => Err(TopologyError::NoJetStream),
        Ok(Err(source)) => Err(TopologyError::Refused {
            object: object(),
            source,
        }),
        Err(TopologyError::NoAnswer { source, .. })
            if source.kind() == RequestErrorKind::NoResponders =>
        {
            Err(TopologyError::NoJetStream)
        }
        Err(other) => Err(other),
    }
}

fn is_off(error: &Error) -> bool {
    [
        ErrorCode::JETSTREAM_NOT_ENABLED,
        ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
    ]
    .contains(&error.error_code())
}

/// Says which stream is in the way when subjects overlap; the server itself does not.
async fn refused_stream(context: &Context, spec: &StreamSpec, source: Error) -> TopologyError {
    let object = label(&spec.config.name);
    if source.error_code() != ErrorCode::STREAM_SUBJECT_OVERLAP {
        return TopologyError::Refused { object, source };
    }
    for subject in &spec.config.subjects {
        if let Ok(other) = context.stream_by_subject(subject).await {
            let subjects = spec.config.subjects.join(", ");
            return TopologyError::SubjectsTaken {
                object,
                subjects,
                other,
            };
        }
    }
    TopologyError::Refused { object, source }
}

/// One request: the outer error is silence, the inner one the server's refusal.
pub(super) async fn ask<T: DeserializeOwned>(
    context: &Context,
    subject: String,
    payload: &(impl Serialize + ?Sized),
    object: impl Fn() -> String,
) -> Result<Result<T, Error>, TopologyError> {
    match context.request(subject, payload).await {
        Ok(Response::Ok(answer)) => Ok(Ok(answer)),
        Ok(Response::Err { error }) => Ok(Err(error)),
        Err(source) => Err(TopologyError::NoAnswer {
            object: object(),
            source,
        }),
    }
}

/// What a stream is to its users.
pub(super) fn label(stream: &str) -> String {
    match stream.split_once('_') {
        Some(("KV", bucket)) => format!("bucket `{bucket}`"),
        Some(("OBJ", store)) => format!("object store `{store}`"),
        _ => format!("stream `{stream}`"),
    }
}
