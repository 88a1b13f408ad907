//! Waiting for the answer to something that is not a command.

use crate::{
    client::Client,
    message::{Format, McpError, Raw, Reply, code},
    payload,
    replies::{Answer, Expected},
};

/// The answer to one message; dropping it stops waiting.
pub struct ExpectedAnswer {
    expected: Expected,
    reply_to: String,
}

/// Makes a place for the response frame of a message, before that is published.
#[must_use]
pub fn expect_answer(client: &Client, message_id: &str) -> ExpectedAnswer {
    ExpectedAnswer {
        expected: client.replies().expect(message_id, false),
        reply_to: client
            .namespace()
            .reply(client.requester().as_str(), message_id),
    }
}

impl ExpectedAnswer {
    /// Where the answer is to be sent.
    #[must_use]
    pub fn reply_to(&self) -> &str {
        &self.reply_to
    }

    /// Waits for the answer, without an end of its own.
    ///
    /// # Errors
    /// The error that was answered.
    pub async fn outcome(&mut self, client: &Client) -> Result<Raw, McpError> {
        let unreadable =
            |reason: &str| McpError::temporary(code::TRANSPORT_UNAVAILABLE).message(reason);
        let reply = match (&mut self.expected.response).await {
            Ok(Answer::Response(reply)) => *reply,
            Ok(Answer::Claimed(message)) => claimed(client, &message).await?,
            Ok(Answer::NobodyListens) => return Err(unreadable("nobody listens")),
            Err(_) => return Err(unreadable("the connection was closed")),
        };
        let outcome = reply.into_outcome();
        outcome.unwrap_or_else(|| Err(unreadable("the answer has neither result nor error")))
    }
}

/// Fetches an answer that was too large for its message.
async fn claimed(client: &Client, message: &async_nats::Message) -> Result<Reply, McpError> {
    let body = payload::check_out(client, message.headers.as_ref(), &message.payload).await;
    let body = body
        .map_err(|error| error.to_mcp_error())?
        .unwrap_or_default();
    let frame = Format::of_message(message).and_then(|format| format.decode(&body));
    frame.map_err(|error| {
        McpError::permanent(code::INVALID_MESSAGE).message(format!("no response frame: {error}"))
    })
}
