//! Cancelling a command that was sent.

use std::time::Duration;

use crate::{
    client::Client,
    denials::{Denied, Listening},
    message::{Command, Format, Name},
};

/// How long a refusal may take from the connection to whoever waits for it.
const PASSED_ON: Duration = Duration::from_millis(100);

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

/// Waits a little for the server to refuse a cancellation that was sent: there is no answer that would take its place.
///
/// The refusal comes before the answer to a flush, but is passed on by a task of its own: hence the time, which only those wait
/// who have rights that can be refused.
pub(crate) async fn unless_refused(
    client: &Client,
    mut refusals: Listening,
    agent: &Name,
) -> Result<(), Denied> {
    if !client.nats().server_info().auth_required {
        return Ok(());
    }
    let subject = client.namespace().control(agent, "cancel");
    let flushed = async {
        client.flush().await;
        tokio::time::sleep(PASSED_ON).await;
    };
    tokio::select! {
        biased;
        () = refusals.refused(&subject) => Err(Denied { subject }),
        () = flushed => Ok(()),
    }
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
