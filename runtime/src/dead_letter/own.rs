//! Whether the letter that the server takes for ours is ours. Whoever may store dead letters of its own can use the message id
//! of another's, which can be guessed, and the server keeps one message of each id, whatever its subject.
//!
//! Nobody else may publish to our subject. So the last letter there is ours, or a later one of ours.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::{client::Client, store::Outgoing};

/// How long the look may take.
const LOOK: Duration = Duration::from_secs(2);

/// Where a message carries what nobody but its sender and its receiver knows.
const CARRIES: [&str; 2] = ["Mcp-Original-Nats-Msg-Id", "Mcp-Payload"];

/// Whether the letter with this sequence lies under the subject of ours, as far as can be told: a later letter there hides it.
/// `None` when nobody answers, as on a stream without direct gets.
pub(super) async fn is_last(client: &Client, letter: &Outgoing, sequence: u64) -> Option<bool> {
    let stream = client.namespace().dead_letters_stream();
    let question = format!("$JS.API.DIRECT.GET.{stream}.{}", letter.subject);
    let asking = client.nats().request(question.clone(), "".into());
    let asking = client.denials().unless_refused(&question, asking);
    let answer = timeout(LOOK, asking).await.ok()?.ok()?.ok()?;
    last_sequence(&answer).map(|last| last == sequence)
}

/// 0 where there is none.
fn last_sequence(answer: &Message) -> Option<u64> {
    if answer.status == Some(StatusCode::NOT_FOUND) {
        return Some(0);
    }
    let sequence = answer.headers.as_ref()?.get("Nats-Sequence")?;
    sequence.as_str().parse().ok()
}

/// Adds to the letter's id what others cannot guess, and what is the same when the message is delivered again.
pub(super) fn with_digest(mut letter: Outgoing) -> Outgoing {
    let mut sum = Sha256::new();
    for header in CARRIES {
        if let Some(value) = letter.headers.get(header) {
            sum.update(value.as_str());
        }
        sum.update([0]);
    }
    sum.update(&letter.body);
    let sum = sum.finalize();
    let digest: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = letter.headers.get("Nats-Msg-Id");
    let id = id.map_or_else(String::new, |id| format!("{}.", id.as_str()));
    letter
        .headers
        .insert("Nats-Msg-Id", format!("{id}{digest}"));
    letter
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;

    use super::*;

    fn letter(original: &str, body: &str) -> Outgoing {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "dead.mcp_commands.7");
        headers.insert("Mcp-Original-Nats-Msg-Id", original);
        headers.insert("Mcp-Dead-At", format!("{:?}", std::time::SystemTime::now()));
        Outgoing {
            subject: "mcp.dead.a.b".to_owned(),
            headers,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn second_id_says_which_message_it_is_of_and_nothing_else() {
        let id = |original: &str, body: &str| {
            let letter = with_digest(letter(original, body));
            letter.headers.get("Nats-Msg-Id").unwrap().to_string()
        };
        assert_eq!(id("x.1", "{}"), id("x.1", "{}"));
        assert!(id("x.1", "{}").starts_with("dead.mcp_commands.7."));
        assert_ne!(id("x.1", "{}"), id("y.1", "{}"));
        assert_ne!(id("x.1", "{}"), id("x.1", "{ }"));
    }
}
