//! Answers out of a script instead of a server, for tests that run an author's code without one.
//!
//! A scripted client sends nothing. Its commands and events are handed to its [`Script`] at the place where they would leave
//! the process: retries, breakers, time-outs and decoding are the real ones. Everything else needs a server, and has none.

use std::{pin::Pin, sync::Arc};

use crate::message::{Answerer, Command, Event, McpError, Raw, Reply};

/// What a script's answers come in.
pub type Scripted<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Takes what a scripted client sends.
pub trait Script: Send + Sync + 'static {
    /// The outcome of one attempt of a command, or of a command that is submitted.
    fn command<'a>(&'a self, command: &'a Command) -> Scripted<'a, Result<Raw, McpError>>;

    /// Takes an event; the same message id is the same event.
    fn event<'a>(&'a self, event: &'a Event, message_id: &'a str) -> Scripted<'a, ()>;
}

/// The reply frame of one attempt.
pub(crate) async fn reply(script: &Arc<dyn Script>, command: &Command) -> Reply {
    let answerer = Answerer {
        command_id: command.id.clone(),
        attempt: command.attempt,
        source: command.target.clone(),
        instance: "script".to_owned(),
    };
    answerer.response(script.command(command).await)
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use super::*;
    use crate::{Client, Name, resilience::RetryConfig};

    /// Busy at first; then what it was asked.
    #[derive(Default)]
    struct Echo {
        attempts: Mutex<Vec<u32>>,
        events: Mutex<Vec<String>>,
    }

    impl Script for Echo {
        fn command<'a>(&'a self, command: &'a Command) -> Scripted<'a, Result<Raw, McpError>> {
            let mut attempts = self.attempts.lock().unwrap();
            attempts.push(command.attempt);
            let answer = match attempts.len() {
                1 => Err(McpError::temporary("BUSY")),
                _ => Ok(command.parameters.clone()),
            };
            Box::pin(std::future::ready(answer))
        }

        fn event<'a>(&'a self, event: &'a Event, _message_id: &'a str) -> Scripted<'a, ()> {
            self.events.lock().unwrap().push(event.name.to_string());
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn a_scripted_client_retries_and_decodes_as_any_other() {
        let echo = Arc::new(Echo::default());
        let client = Client::scripted(Name::new("test").unwrap(), echo.clone()).await;
        let sent = client.send_command::<String>("parrot", "say", "hello");
        let retry = RetryConfig {
            max_retries: 2,
            base_delay: Duration::from_millis(1),
            ..RetryConfig::default()
        };
        assert_eq!(sent.retry(retry).await.unwrap(), "hello");
        assert_eq!(*echo.attempts.lock().unwrap(), [1, 2]);
        let wrong = client.send_command::<u32>("parrot", "say", "hello").await;
        assert!(wrong.unwrap_err().to_string().contains("parrot"));
        let submitted = client
            .submit_command("parrot", "say", "later")
            .await
            .unwrap();
        let outcome = submitted.outcome::<String>(Duration::ZERO).await.unwrap();
        assert_eq!(outcome, "later");
        client.publish("said", 1).await.unwrap();
        assert_eq!(*echo.events.lock().unwrap(), ["said"]);
    }
}
