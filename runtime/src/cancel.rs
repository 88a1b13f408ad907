//! Cancelling a command that was sent.

use crate::{
    client::Client,
    message::{Command, Format, Name},
};

/// Tells every instance of an agent that a command is not wanted any more.
pub(crate) async fn cancel(
    client: &Client,
    agent: &Name,
    command_id: &str,
) -> Result<(), async_nats::PublishError> {
    let subject = client.namespace().control(agent, "cancel");
    let body = Format::Msgpack
        .encode(&serde_json::json!({ "command_id": command_id }))
        .expect("a map with one text can be encoded");
    client.nats().publish(subject, body).await
}

/// Cancels a command unless it is disarmed.
pub(crate) struct CancelOnDrop {
    armed: Option<(Client, Name, String)>,
}

impl CancelOnDrop {
    pub(crate) fn new(client: &Client, command: &Command) -> Self {
        Self {
            armed: Some((client.clone(), command.target.clone(), command.id.clone())),
        }
    }

    pub(crate) fn disarm(mut self) {
        self.armed = None;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some((client, agent, command_id)) = self.armed.take() else {
            return;
        };
        // Outside a runtime the program is ending, and its commands with their time to live.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = cancel(&client, &agent, &command_id).await {
                    tracing::debug!(%error, "a cancellation was not sent");
                }
            });
        }
    }
}
