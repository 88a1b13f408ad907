//! One operation of each kind, and what it is noted as.

use std::{sync::atomic::Ordering, time::Duration};

use mcp_agent_sdk::{RetryConfig, SendError, WorkflowError, Workflows, runtime::Reply};
use serde_json::{Value, json};

use crate::faults::history::{Ending, Kind};

use super::{Sender, malformed};

/// A reply is stored nowhere: who waits for one that a server took with it asks again after this.
const ATTEMPT: Duration = Duration::from_secs(6);

/// So many times a key is asked for, on average.
const ASKED_FOR: u64 = 3;

/// Every so many workflows a checkpoint is kept.
const KEPT: u64 = 3;

impl Sender {
    pub(super) async fn operate(&self, kind: Kind, n: u64, dice: u64) {
        let key = self.key(kind, n, dice);
        let number = self.recorder.begins(kind, &key);
        let ending = match kind {
            Kind::Command => self.command(&key).await,
            Kind::Keyed => self.keyed(&key).await,
            Kind::Submit => self.submit("effect", json!({"key": key}), &key).await,
            // Longer than a reservation goes without a renewal.
            Kind::Failing if dice.is_multiple_of(5) => {
                self.submit("sleep", json!({"ms": 4_000}), &key).await
            }
            Kind::Failing => {
                let failing =
                    json!({"key": key, "times": 1 + dice % 2, "retry_delay_ms": dice % 400});
                self.submit("fail", failing, &key).await
            }
            Kind::Workflow => {
                let (ending, kept) = self.workflow(&key, dice.is_multiple_of(KEPT)).await;
                if kept {
                    self.recorder.keeps(number);
                }
                ending
            }
            Kind::Malformed => self.malformed(dice).await,
        };
        self.recorder.ends(number, ending);
    }

    fn key(&self, kind: Kind, n: u64, dice: u64) -> String {
        let (seed, number) = (self.seed, self.number);
        match kind {
            Kind::Keyed => {
                // Mostly one that others ask for too, at about the same time.
                let newest = self.keys.fetch_add(1, Ordering::Relaxed) / ASKED_FOR;
                format!("{seed}.key.{}", newest.saturating_sub(dice % 3))
            }
            Kind::Workflow => format!("w{seed}_{number}_{n}"),
            _ => format!("{seed}.{kind:?}.{number}.{n}").to_lowercase(),
        }
    }

    async fn command(&self, key: &str) -> Ending {
        let sent = self
            .client
            .send_command::<Value>("probe", "effect", json!({"key": key}))
            .timeout(self.patience);
        replied(sent.reply().await)
    }

    async fn keyed(&self, key: &str) -> Ending {
        let sent = self
            .client
            .send_command::<Value>("probe", "effect", json!({"key": key}))
            .idempotency_key(key)
            .retry(RetryConfig {
                max_retries: 8,
                ..RetryConfig::default()
            })
            .attempt_timeout(ATTEMPT)
            .timeout(self.patience);
        replied(sent.reply().await)
    }

    async fn submit(&self, action: &str, parameters: Value, key: &str) -> Ending {
        let submitted = self
            .client
            .submit_command("probe", action, parameters)
            .timeout(self.patience);
        match submitted.await {
            Ok(submitted) => {
                self.recorder.submitted(key, submitted);
                Ending::Stored
            }
            Err(error) => failed(&error),
        }
    }

    /// Creates a workflow and tells it to go on; the name of a checkpoint is its own.
    async fn workflow(&self, id: &str, keep: bool) -> (Ending, bool) {
        let workflows = Workflows::new(&self.client);
        let created = workflows
            .create_workflow("probe_pipeline", None, json!({}))
            .id(id)
            .await;
        // The answer of an earlier try may have been lost.
        match created {
            Ok(_) => {}
            Err(error) if error.code() == "WORKFLOW_EXISTS" => {}
            Err(error) => return (wanting(&error), false),
        }
        let mut kept = false;
        if keep {
            let checkpoint = workflows.create_workflow_checkpoint(id, "kept");
            kept = checkpoint.timeout(self.patience).await.is_ok();
        }
        let approval = workflows
            .signal_workflow(id, "approve", json!({}))
            .timeout(self.patience);
        let ending = match approval.await {
            Ok(_) => Ending::Answered {
                execution: id.to_owned(),
            },
            Err(error) => match wanting(&error) {
                // It is there all the same.
                Ending::Unknown { .. } => Ending::Stored,
                other => other,
            },
        };
        (ending, kept)
    }

    async fn malformed(&self, dice: u64) -> Ending {
        let stored = self
            .client
            .jetstream()
            .publish("mcp.cmd.probe.normal.effect", malformed::body(dice).into());
        let stored = async {
            stored
                .await
                .map_err(|error| error.to_string())?
                .await
                .map_err(|error| error.to_string())
        };
        match tokio::time::timeout(self.patience, stored).await {
            Ok(Ok(_)) => Ending::Stored,
            Ok(Err(code)) => Ending::Unknown { code },
            Err(_) => Ending::Unknown {
                code: "TIMEOUT".to_owned(),
            },
        }
    }
}

fn replied(reply: Result<Reply, SendError>) -> Ending {
    match reply {
        Ok(reply) => match &reply.error {
            None => Ending::Answered {
                execution: execution(&reply),
            },
            Some(error) => Ending::Refused {
                code: error.code.clone(),
            },
        },
        Err(error) => failed(&error),
    }
}

/// A replay carries the instance and the time of the execution that it tells of, to the nanosecond.
fn execution(reply: &Reply) -> String {
    format!("{} {:?}", reply.instance, reply.processing_ms)
}

fn failed(error: &SendError) -> Ending {
    let code = error.code();
    match error {
        SendError::Timeout { .. } | SendError::Transport { .. } => Ending::Unknown { code },
        _ => Ending::Refused { code },
    }
}

fn wanting(error: &WorkflowError) -> Ending {
    let code = error.code().to_owned();
    match error {
        WorkflowError::NoAnswer { .. } | WorkflowError::Transport { .. } => {
            Ending::Unknown { code }
        }
        _ => Ending::Refused { code },
    }
}
