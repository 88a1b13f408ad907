//! The same key after the stream has forgotten the message: outcomes judge, not the server's deduplication.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_nats::{HeaderMap, Subscriber, jetstream::publish::PublishAck};
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, Name, Raw, TestBroker,
    runtime::{Command, Format, Reply, topology::TopologyConfig},
};
use mcp_tests::{PATIENCE, eventually};
use tokio::time::timeout;

use crate::{TestResult, bounded};

type Calls = Arc<AtomicU32>;

fn counter(calls: &Calls) -> Agent<Calls> {
    async fn count(ctx: Context<Calls>, _: u32) -> Result<u32, McpError> {
        Ok(ctx.state().fetch_add(1, Ordering::SeqCst) + 1)
    }
    Agent::with_state("counter", Arc::clone(calls)).on("count", count)
}

fn keyed_command(reply_to: &str) -> Command {
    let name = |text| Name::new(text).unwrap();
    let mut command = Command::new(
        name("test"),
        name("counter"),
        name("count"),
        Raw::encode(&7).unwrap(),
    );
    command.idempotency_key = Some("seven".to_owned());
    command.reply_to = Some(reply_to.to_owned());
    command
}

/// Publishes the very same message: same id, same attempt.
async fn publish(client: &Client, command: &Command) -> PublishAck {
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("{}.{}", command.id, command.attempt));
    headers.insert("Content-Type", "application/msgpack");
    let body = Format::Msgpack.encode(command).unwrap();
    let stored =
        client
            .jetstream()
            .publish_with_headers("mcp.cmd.counter.normal.count", headers, body);
    stored.await.unwrap().await.unwrap()
}

async fn next_reply(replies: &mut Subscriber) -> Reply {
    let message = timeout(PATIENCE, replies.next()).await.unwrap().unwrap();
    Format::Msgpack.decode(&message.payload).unwrap()
}

#[tokio::test]
async fn a_key_sent_again_after_the_servers_window_takes_effect_once() -> TestResult {
    bounded(Duration::from_secs(60), async {
        let broker = TestBroker::start().await?;
        let topology = TopologyConfig {
            duplicate_window: Duration::from_secs(2),
            ..TopologyConfig::default()
        };
        let client =
            Client::connect(Config::new(broker.url()).name("test").topology(topology)).await?;
        let calls = Calls::default();
        let first_instance = counter(&calls).start(&client).await?;
        let inbox = client.nats().new_inbox();
        let mut replies = client.nats().subscribe(inbox.clone()).await?;
        let command = keyed_command(&inbox);

        assert!(!publish(&client, &command).await.duplicate);
        let first = next_reply(&mut replies).await;
        assert!(
            publish(&client, &command).await.duplicate,
            "within the window the server itself knows it"
        );
        eventually("the server has forgotten the message", || async {
            !publish(&client, &command).await.duplicate
        })
        .await;
        let again = next_reply(&mut replies).await;
        assert!(!first.replayed && again.replayed);
        assert_eq!(
            (again.result, again.status),
            (first.result.clone(), first.status)
        );

        // Another instance, with nothing in its cache.
        first_instance.drain().await;
        let _second_instance = counter(&calls).start(&client).await?;
        eventually("the server has forgotten it again", || async {
            !publish(&client, &command).await.duplicate
        })
        .await;
        let elsewhere = next_reply(&mut replies).await;
        assert!(elsewhere.replayed && elsewhere.result == first.result);
        assert_ne!(elsewhere.load, None);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        Ok(())
    })
    .await
}
