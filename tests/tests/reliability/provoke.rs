//! How somebody outside gets each error code.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{AckKind, consumer::PullConsumer},
};
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Agent, Client, Context, McpError, SendError, TestBroker, code, runtime::topology::ensure_agent,
};
use mcp_tests::{PATIENCE, Process, spawn_probe};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

/// For all of them together.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

type Provoked = Result<McpError, Box<dyn std::error::Error>>;

/// A server and a probe with one place, whose effects file cannot be written.
pub(crate) struct Stage {
    broker: TestBroker,
    client: Client,
    _probe: Process,
}

impl Stage {
    pub(crate) async fn set() -> Result<Self, Box<dyn std::error::Error>> {
        let broker = TestBroker::start().await?;
        let client = broker.client().await?;
        let nowhere = broker.dir().join("no such folder/effects");
        let arguments = [
            "--capacity",
            "1",
            "--effects-file",
            nowhere.to_str().ok_or("a path that is no text")?,
        ];
        let probe = spawn_probe(broker.url(), &arguments).await;
        Ok(Self {
            broker,
            client,
            _probe: probe,
        })
    }

    /// The error that comes back.
    pub(crate) async fn provoke(&self, code: &str) -> Provoked {
        match code {
            code::INVALID_PARAMETERS => self.ask("sleep", json!({"ms": "long"})).await,
            code::INVALID_MESSAGE => self.version_2().await,
            code::UNKNOWN_ACTION => self.ask("dance", json!({})).await,
            code::DEADLINE_EXCEEDED => failure(
                self.client
                    .send_command::<Value>("probe", "echo", json!({}))
                    .ttl(Duration::ZERO)
                    .await,
            ),
            code::CANCELLED => self.cancelled().await,
            code::IDEMPOTENCY_CONFLICT => self.conflict().await,
            code::PAYLOAD_TOO_LARGE => self.ask("bytes", json!({"n": 65 << 20})).await,
            code::POISON => self.poison().await,
            code::HANDLER_PANICKED => self.ask("panic", json!({})).await,
            code::OVERLOADED => self.overload().await,
            code::DRAINING => self.drain().await,
            code::TIMEOUT => {
                let nobody = self
                    .client
                    .send_command::<Value>("nobody", "act", json!({}));
                failure(nobody.timeout(Duration::from_millis(500)).await)
            }
            code::TRANSPORT_UNAVAILABLE => dead_server().await,
            code::INTERNAL => self.ask("effect", json!({"key": "k"})).await,
            other => Err(format!("nobody knows how to get {other}").into()),
        }
    }

    async fn ask(&self, action: &str, parameters: Value) -> Provoked {
        failure(
            self.client
                .send_command::<Value>("probe", action, parameters)
                .timeout(PATIENCE)
                .await,
        )
    }

    async fn version_2(&self) -> Provoked {
        let inbox = self.client.nats().new_inbox();
        let mut replies = self.client.nats().subscribe(inbox.clone()).await?;
        let body = json!({
            "v": 2, "kind": "command", "id": "0192a000-0000-7000-8000-000000000001", "source": "stranger",
            "target": "probe", "action": "echo", "created_at": 0, "reply_to": inbox,
        });
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        let subject = "mcp.cmd.probe.normal.echo";
        let stored =
            self.client
                .jetstream()
                .publish_with_headers(subject, headers, body.to_string().into());
        stored.await?.await?;
        let reply = timeout(PATIENCE, replies.next()).await?.ok_or("no reply")?;
        let frame: Value = serde_json::from_slice(&reply.payload)?;
        Ok(serde_json::from_value(frame["error"].clone())?)
    }

    async fn cancelled(&self) -> Provoked {
        let command = self
            .client
            .send_command::<Value>("probe", "sleep", json!({"ms": 60_000}))
            .timeout(PATIENCE);
        let id = command.id().ok_or("no id")?.to_owned();
        let sending = tokio::spawn(command.into_future());
        self.client.cancel("probe", &id).await?;
        failure(sending.await?)
    }

    async fn conflict(&self) -> Provoked {
        let send = |parameters| {
            let command = self
                .client
                .send_command::<Value>("probe", "echo", parameters);
            command.idempotency_key("conflict").timeout(PATIENCE)
        };
        send(json!({"n": 1})).await?;
        failure(send(json!({"n": 2})).await)
    }

    /// A stranger takes the command and gives it back unended, as often as workers may die of it.
    async fn poison(&self) -> Provoked {
        let jetstream = self.client.jetstream();
        ensure_agent(jetstream, "mcp", "victim").await?;
        let command = self
            .client
            .send_command::<Value>("victim", "echo", json!({}))
            .timeout(PATIENCE);
        let sending = tokio::spawn(command.into_future());
        let consumer: PullConsumer = jetstream
            .get_consumer_from_stream("victim_normal", "mcp_commands")
            .await?;
        let mut deaths = 0;
        while deaths < 5 {
            let mut delivered = consumer.fetch().max_messages(1).messages().await?;
            while let Some(message) = delivered.next().await {
                message.unwrap().ack_with(AckKind::Nak(None)).await.unwrap();
                deaths += 1;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let _victim = spawn_probe(self.broker.url(), &["--name", "victim"]).await;
        failure(sending.await?)
    }

    /// Of two that come at the same time there is room for one.
    async fn overload(&self) -> Provoked {
        let sleep = || {
            self.client
                .send_command::<Value>("probe", "sleep", json!({"ms": 1_000}))
                .realtime()
                .into_future()
        };
        // One runs, one waits in the room for half the capacity; the others are refused.
        let answers = futures_util::future::join_all((0..4).map(|_| sleep())).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        match (done.len(), refused.into_iter().next()) {
            (1.., Some(refused)) => failure(refused),
            (done, refused) => Err(format!("{done} were done; refused was {refused:?}").into()),
        }
    }

    async fn drain(&self) -> Provoked {
        async fn linger(ctx: Context, _: ()) -> Result<(), McpError> {
            ctx.progress(mcp_agent_sdk::Progress::fraction(0.0)).await;
            std::future::pending().await
        }
        let agent = Agent::new("lingerer")
            .on("linger", linger)
            .drain_grace(Duration::from_millis(50));
        let agent = agent.start(&self.client).await?;
        let (running_tx, mut running) = tokio::sync::mpsc::channel(1);
        let command = self
            .client
            .send_command::<Value>("lingerer", "linger", ())
            .realtime();
        let command = command.on_progress(move |_| _ = running_tx.try_send(()));
        let sending = tokio::spawn(command.into_future());
        timeout(PATIENCE, running.recv()).await?;
        agent.drain().await;
        failure(sending.await?)
    }
}

async fn dead_server() -> Provoked {
    let mut broker = TestBroker::start().await?;
    let client = broker.client().await?;
    broker.kill().await?;
    failure(
        client
            .send_command::<Value>("probe", "echo", json!({}))
            .timeout(Duration::from_millis(500))
            .await,
    )
}

fn failure(outcome: Result<Value, SendError>) -> Provoked {
    match outcome {
        Ok(result) => Err(format!("it went well: {result}").into()),
        Err(error) => Ok(error.to_mcp_error()),
    }
}
