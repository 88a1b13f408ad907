//! A namespace as files: one snapshot of the server's for each stream, and a manifest that says what they are.
//!
//! `manifest` is the format, `order` what is taken before what, `pause` stops deliveries meanwhile, `snapshot` moves one
//! stream between server and file. `mcpctl backup` and `mcpctl restore` are made of these.

pub(crate) mod manifest;
pub(crate) mod order;
pub(crate) mod pause;
pub(crate) mod snapshot;

use async_nats::jetstream::{Context, response::Response};
use serde::{Serialize, de::DeserializeOwned};

use crate::failure::{Failure, chain};

/// One request to the JetStream API, about `what`.
async fn ask<T: DeserializeOwned>(
    jetstream: &Context,
    subject: String,
    request: &impl Serialize,
    what: &str,
) -> Result<T, Failure> {
    match jetstream.request(subject, request).await {
        Ok(Response::Ok(answer)) => Ok(answer),
        Ok(Response::Err { error }) => Err(Failure::answered(format!(
            "the server refused {what}: {error}"
        ))),
        Err(error) => Err(Failure::unreachable(format!(
            "no answer from the server about {what}: {}",
            chain(&error)
        ))),
    }
}
