//! Subjects that the server refused: it says so on the connection, not to the one who published or subscribed.

use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

/// Refusals that a waiting publisher may lag behind; each is a mistake in somebody's rights.
const BACKLOG: usize = 64;

/// Questions for more messages.
const PULLS: &str = "$JS.API.CONSUMER.MSG.NEXT.";

/// What the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A publish to this subject.
    Publish(String),
    /// A subscription to this one.
    Subscribe(String),
}

/// Passes the server's refusals on to whoever waits for one.
#[derive(Debug, Clone)]
pub(crate) struct Denials {
    refusals: broadcast::Sender<Refusal>,
}

impl Default for Denials {
    fn default() -> Self {
        Self {
            refusals: broadcast::Sender::new(BACKLOG),
        }
    }
}

impl Denials {
    /// Reads an error of the server; tells whether it was a refusal.
    pub(crate) fn note(&self, error: &str) -> bool {
        let Some(refusal) = read(error) else {
            return false;
        };
        // Nobody may be waiting.
        let _ = self.refusals.send(refusal);
        true
    }

    /// Begins to listen; to be called before the publish.
    pub(crate) fn listen(&self) -> Listening {
        Listening {
            refusals: self.refusals.subscribe(),
        }
    }

    /// Waits for an answer, or for the server to refuse the question.
    pub(crate) async fn unless_refused<T>(
        &self,
        subject: &str,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        let mut refusals = self.listen();
        tokio::select! {
            biased;
            answer = asking => Ok(answer),
            () = refusals.refused(subject) => Err(Denied { subject: subject.to_owned() }),
        }
    }

    /// As [`Denials::unless_refused`], for several questions to JetStream. Pulls are none: a worker repeats its refused ones for ever.
    pub(crate) async fn unless_a_question_is_refused<T>(
        &self,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        self.unless_one_is_refused(is_question, asking).await
    }

    /// As [`Denials::unless_refused`], for publishes to the subjects that are the asker's.
    pub(crate) async fn unless_one_is_refused<T>(
        &self,
        is_ours: impl Fn(&str) -> bool,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        let mut refusals = self.listen();
        tokio::select! {
            biased;
            answer = asking => Ok(answer),
            subject = refusals.next_of(is_ours) => Err(Denied { subject }),
        }
    }

    /// As [`Denials::unless_refused`], for anything that speaks to JetStream or listens for its answers.
    pub(crate) async fn unless_anything_is_refused<T>(
        &self,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        self.listen().unless_anything_is_refused(asking).await
    }
}

/// This connection may not use a subject.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server does not let this connection use {subject}")]
pub(crate) struct Denied {
    pub(crate) subject: String,
}

fn is_question(subject: &str) -> bool {
    subject.starts_with("$JS.API.") && !subject.starts_with(PULLS)
}

/// Hears of refusals.
pub(crate) struct Listening {
    refusals: broadcast::Receiver<Refusal>,
}

impl Listening {
    /// Waits until the server refuses a publish to `subject`, mostly for ever.
    pub(crate) async fn refused(&mut self, subject: &str) {
        while self.next().await != Refusal::Publish(subject.to_owned()) {}
    }

    /// As [`Denials::unless_anything_is_refused`], from the beginning of the listening.
    pub(crate) async fn unless_anything_is_refused<T>(
        mut self,
        asking: impl Future<Output = T>,
    ) -> Result<T, Denied> {
        tokio::select! {
            biased;
            answer = asking => Ok(answer),
            subject = self.next_about_connecting() => Err(Denied { subject }),
        }
    }

    /// Waits for the refusal of a question, as in [`Denials::unless_a_question_is_refused`].
    pub(crate) async fn refused_question(mut self) -> Denied {
        let subject = self.next_of(is_question).await;
        Denied { subject }
    }

    async fn next_of(&mut self, is_ours: impl Fn(&str) -> bool) -> String {
        loop {
            match self.next().await {
                Refusal::Publish(subject) if is_ours(&subject) => return subject,
                _ => {}
            }
        }
    }

    async fn next_about_connecting(&mut self) -> String {
        loop {
            match self.next().await {
                Refusal::Subscribe(subject) => return subject,
                Refusal::Publish(subject) if subject.starts_with("$JS.API.") => return subject,
                Refusal::Publish(_) => {}
            }
        }
    }

    /// A subscription that was refused since the beginning of the listening.
    pub(crate) fn refused_subscription(&mut self) -> Option<Denied> {
        loop {
            match self.refusals.try_recv() {
                Ok(Refusal::Subscribe(subject)) => return Some(Denied { subject }),
                Ok(Refusal::Publish(_)) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    async fn next(&mut self) -> Refusal {
        loop {
            match self.refusals.recv().await {
                Ok(refusal) => return refusal,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Reads `Permissions Violation for Publish to "<subject>"`, and the same for a subscription.
fn read(error: &str) -> Option<Refusal> {
    let subject = |verb: &str| {
        let lower = error.to_ascii_lowercase();
        let begin = lower.find(verb)? + verb.len();
        let subject = error.get(begin..)?.split('"').next()?;
        (!subject.is_empty()).then(|| subject.to_owned())
    };
    let published = subject("for publish to \"").map(Refusal::Publish);
    published.or_else(|| subject("for subscription to \"").map(Refusal::Subscribe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_question_ends_the_asking_and_a_refused_pull_does_not() {
        let denials = Denials::default();
        let asking = denials.unless_a_question_is_refused(std::future::pending::<()>());
        let refusing = async {
            tokio::task::yield_now().await;
            for subject in ["CONSUMER.MSG.NEXT.a.b", "STREAM.INFO.c"] {
                let error = format!("Permissions Violation for Publish to \"$JS.API.{subject}\"");
                assert!(denials.note(&error));
            }
        };
        let (denied, ()) = tokio::join!(asking, refusing);
        assert_eq!(denied.unwrap_err().subject, "$JS.API.STREAM.INFO.c");
    }

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
        let mut listening = denials.listen();
        assert!(
            denials.note(
                "Permissions Violation for Subscription to \"mcp.ctl.a.*\" using queue \"q\""
            )
        );
        let refused = listening.refused_subscription().unwrap();
        assert_eq!(refused.subject, "mcp.ctl.a.*");
        assert!(listening.refused_subscription().is_none());
    }
}
