//! Which exit code and which remedy belong to the errors of the crates below.

use std::{error::Error, io};

use async_nats::ConnectErrorKind;
use mcp_agent_sdk::{
    McpError, SendError, ServerError, WorkflowError,
    runtime::{
        CodeInfo, ConfigError, ConnectError, DeadLetterError, PublishError, ReceiveError, code,
        persistence::PersistenceError, topology::TopologyError, transport::StoreError,
    },
};
use serde_json::json;

use super::{Failure, chain};

const SHOW_RIGHTS: &str = "`mcpctl auth show NAME` says what an identity may do";

/// JetStream and each stream decide by majority; without one there is a refusal, or no answer at all.
pub(crate) const MAJORITY: &str = "in a cluster more than half of the servers have to run: start those that are away, `mcpctl doctor --system auth/system` \
     names those that answer";

/// A right that is missing; `text` names the subject.
fn denied(text: String, subject: &str) -> Failure {
    let error = McpError::permanent(code::PERMISSION_DENIED)
        .message(&text)
        .detail("subject", subject);
    let mut document = json!({ "error": error });
    document["error"]["remedy"] = json!(SHOW_RIGHTS);
    Failure::usage(text).remedy(SHOW_RIGHTS).document(document)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Denied { subject } => denied(error.to_string(), subject),
            StoreError::Unavailable { .. } => Self::unreachable(chain(&error)),
            _ => Self::usage(chain(&error)),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(chain(&error))
    }
}

/// Why the two sides could not agree on TLS; `None` where it did not come to that.
fn handshake(error: &dyn Error) -> Option<String> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::InvalidData
        {
            return Some(error.to_string());
        }
        cause = error.source();
    }
    None
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match &error {
            ConnectError::Unreachable { url, source }
                if source.kind() == ConnectErrorKind::ServerParse =>
            {
                Self::usage(format!("`{url}` is no address of a server"))
                    .remedy("use one such as nats://127.0.0.1:4222")
            }
            ConnectError::Unreachable { url, source } if handshake(source).is_some() => {
                let reason = handshake(source).unwrap_or_default();
                Self::usage(format!("no TLS with the server at {url}: {reason}")).remedy(
                    "name its authority with MCP_NATS_CA and the own certificate with MCP_NATS_CERT and MCP_NATS_KEY, or all of it with MCP_AUTH",
                )
            }
            ConnectError::Unreachable { url, .. } => {
                let here = ["127.0.0.1", "localhost", "[::1]"]
                    .iter()
                    .any(|host| url.contains(host));
                let remedy = match here {
                    true => "start one with `mcpctl dev`",
                    false => {
                        "is the address right (--server, MCP_NATS_URL)? `mcpctl dev` starts one on this machine"
                    }
                };
                Self::unreachable(error.to_string()).remedy(remedy)
            }
            ConnectError::Refused { .. } => Self::usage(error.to_string())
                .remedy("give others with MCP_AUTH, --creds or in the URL"),
            ConnectError::PermissionDenied { subject, .. } => denied(error.to_string(), subject),
            ConnectError::Topology { source, .. } if undecided(source) => {
                Self::unreachable(chain(&error)).remedy(MAJORITY)
            }
            _ if error.is_temporary() => Self::unreachable(chain(&error)),
            _ => Self::usage(chain(&error)),
        }
    }
}

fn undecided(error: &TopologyError) -> bool {
    error.is_leaderless() || matches!(error, TopologyError::NoAnswer { .. })
}

impl From<TopologyError> for Failure {
    fn from(error: TopologyError) -> Self {
        let text = chain(&error);
        match error.is_transient() {
            true if undecided(&error) => Self::unreachable(text).remedy(MAJORITY),
            true => Self::unreachable(text),
            false => Self::usage(text),
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let text = chain(&error);
        match error {
            ServerError::Exited { .. } | ServerError::NotReady { .. } => Self::unreachable(text),
            _ => Self::usage(text),
        }
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        if let SendError::PermissionDenied { subject } = &error {
            return denied(error.to_string(), subject);
        }
        let text = chain(&error);
        let failure = match &error {
            SendError::Answered { .. } | SendError::UnexpectedResult { .. } => Self::answered(text),
            SendError::Timeout { target, .. } => Self::unreachable(text).remedy(format!(
                "see with `mcpctl agents` whether `{target}` runs, or wait longer"
            )),
            SendError::NobodyListens { .. } => Self::unreachable(text)
                .remedy("start one, or send without --realtime: it then waits"),
            SendError::NoInstance { target } => Self::unreachable(text).remedy(format!(
                "start `{target}`, or let the command wait in its queue"
            )),
            SendError::Transport { .. } => Self::unreachable(text),
            _ => Self::usage(text),
        };
        failure.document(json!({ "error": error.to_mcp_error() }))
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::PermissionDenied { subject } => denied(error.to_string(), subject),
            PublishError::Transport { .. } => Self::unreachable(chain(&error)),
            _ => Self::usage(chain(&error)),
        }
    }
}

impl From<PersistenceError> for Failure {
    fn from(error: PersistenceError) -> Self {
        match &error {
            PersistenceError::PermissionDenied { subject } => denied(error.to_string(), subject),
            PersistenceError::Server { .. } => Self::unreachable(chain(&error)),
            _ => Self::answered(chain(&error)),
        }
    }
}

impl From<DeadLetterError> for Failure {
    fn from(error: DeadLetterError) -> Self {
        match &error {
            DeadLetterError::PermissionDenied { subject } => denied(error.to_string(), subject),
            DeadLetterError::Server { .. } => Self::unreachable(chain(&error)),
            DeadLetterError::InvalidEdit { .. } => Self::usage(chain(&error)),
            DeadLetterError::NotFound { .. } => {
                Self::answered(chain(&error)).remedy("`mcpctl dead list` shows those there are")
            }
            _ => Self::answered(chain(&error)),
        }
    }
}

impl From<WorkflowError> for Failure {
    fn from(error: WorkflowError) -> Self {
        let text = error.to_string();
        let failure = match &error {
            WorkflowError::NoSuchDefinition { .. } => Self::answered(text).remedy(
                "an agent brings its definitions when it starts: `mcpctl workflow definitions`",
            ),
            WorkflowError::NoSuchWorkflow { .. } => {
                Self::answered(text).remedy("`mcpctl workflow list` shows those there are")
            }
            WorkflowError::Refused(_) => {
                let failure = Self::answered(format!("{}: {text}", error.code()));
                // A code of the catalogue has its remedy there.
                match CodeInfo::of(error.code()) {
                    Some(info) => failure.remedy(info.remedy),
                    None => failure,
                }
            }
            WorkflowError::NoAnswer { .. } => Self::unreachable(text)
                .remedy("`mcpctl workflow definitions` shows which engines are there"),
            WorkflowError::Transport { .. } => {
                Self::unreachable(text).remedy("check the server with `mcpctl doctor`")
            }
            _ => Self::usage(text),
        };
        let mut document = json!({ "error": McpError::from(error) });
        document["error"]["remedy"] = json!(failure.remedy);
        failure.document(document)
    }
}

impl From<ReceiveError> for Failure {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Topology(error) => error.into(),
            ReceiveError::PermissionDenied { ref subject } => denied(error.to_string(), subject),
            _ => Self::unreachable(chain(&error)),
        }
    }
}

impl From<mcp_agent_sdk::Error> for Failure {
    fn from(error: mcp_agent_sdk::Error) -> Self {
        match error {
            mcp_agent_sdk::Error::Connect(error) => error.into(),
            mcp_agent_sdk::Error::Receive(error) => error.into(),
            _ => Self::usage(chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use mcp_agent_sdk::runtime::CarriedError;

    use super::*;
    use crate::failure::Exit;

    #[test]
    fn exit_codes_follow_the_kind_of_error() {
        let check = |failure: Failure, exit: Exit| assert_eq!(failure.exit, exit, "{failure:?}");
        check(
            SendError::NobodyListens {
                target: "a".to_owned(),
            }
            .into(),
            Exit::Unreachable,
        );
        check(
            SendError::Invalid {
                reason: "bad name".to_owned(),
            }
            .into(),
            Exit::Usage,
        );
        check(
            TopologyError::OldServer {
                found: "2.9.0".to_owned(),
            }
            .into(),
            Exit::Usage,
        );
        check(ServerError::NotFound.into(), Exit::Usage);
        let subject = "$JS.API.STREAM.INFO.mcp_events".to_owned();
        check(StoreError::Denied { subject }.into(), Exit::Usage);
        let id = "w1".to_owned();
        check(WorkflowError::NoSuchWorkflow { id }.into(), Exit::Answered);
        let waited = std::time::Duration::from_secs(1);
        check(WorkflowError::NoAnswer { waited }.into(), Exit::Unreachable);
    }

    #[test]
    fn a_cluster_without_a_leader_has_a_remedy() {
        let said =
            json!({ "code": 503, "err_code": 10008, "description": "temporarily unavailable" });
        let refused = || TopologyError::Refused {
            object: "the JetStream account".to_owned(),
            source: serde_json::from_value(said.clone()).expect("an error of the server"),
        };
        let connecting = ConnectError::Topology {
            url: "nats://x".to_owned(),
            source: Box::new(refused()),
        };
        for failure in [Failure::from(refused()), Failure::from(connecting)] {
            assert_eq!(failure.exit, Exit::Unreachable);
            assert!(
                failure.sentence().contains("start those that are away"),
                "{failure:?}"
            );
        }
    }

    #[test]
    fn refusal_of_an_engine_has_the_remedy_of_its_code() {
        let refused = McpError::permanent("STATE_MISMATCH").message("it is in `third`");
        let failure = Failure::from(WorkflowError::Refused(CarriedError(refused)));
        assert_eq!(failure.exit, Exit::Answered);
        let sentence = failure.sentence();
        assert!(
            sentence.starts_with("STATE_MISMATCH: it is in `third`; "),
            "{sentence}"
        );
        assert_eq!(failure.to_json()["error"]["code"], "STATE_MISMATCH");
    }
}
