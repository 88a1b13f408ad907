//! Subjects that the server refused: it says so on the connection, not to the one who published.

use tokio::sync::broadcast;

/// Refusals that a waiting publisher may lag behind; each is a mistake in somebody's rights.
const BACKLOG: usize = 64;

/// Passes the server's refusals on to whoever waits for a publish.
#[derive(Debug, Clone)]
pub(crate) struct Denials {
    subjects: broadcast::Sender<String>,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            subjects: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl Denials {
    /// Reads an error of the server; tells whether it was a refusal to publish.
    pub(crate) fn note(&self, error: &str) -> bool {
        let Some(subject) = refused_subject(error) else {
            return false;
        };
        // Nobody may be waiting.
        let _ = self.subjects.send(subject.to_owned());
        true
    }

    /// Begins to listen; to be called before the publish.
    pub(crate) fn listen(&self) -> Listening {
        Listening {
            subjects: self.subjects.subscribe(),
        }
    }
}

/// Hears of refusals.
pub(crate) struct Listening {
    subjects: broadcast::Receiver<String>,
}

impl Listening {
    /// Waits until the server refuses `subject`, mostly for ever.
    pub(crate) async fn refused(&mut self, subject: &str) {
        loop {
            match self.subjects.recv().await {
                Ok(refused) if refused == subject => return,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// The subject in `Permissions Violation for Publish to "<subject>"`.
fn refused_subject(error: &str) -> Option<&str> {
    let (_, rest) = error
        .split_once("for Publish to \"")
        .or_else(|| error.split_once("for publish to \""))?;
    rest.split('"').next().filter(|subject| !subject.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_reaches_whoever_waits_for_its_subject() {
        let denials = Denials::default();
        let mut listening = denials.listen();
        assert!(!denials.note("Maximum Connections Exceeded"));
        assert!(denials.note("Permissions Violation for Publish to \"mcp.cmd.b.low.x\""));
        assert!(
            denials
                .note("Permissions Violation for Publish to \"mcp.cmd.a.low.x\" using queue \"q\"")
        );
        listening.refused("mcp.cmd.a.low.x").await;
    }
}
