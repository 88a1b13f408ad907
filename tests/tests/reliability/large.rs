//! Large bodies between processes, and claims that are refused without being read into memory.

use std::{fs, time::Duration};

use async_nats::HeaderMap;
use futures_util::StreamExt;
use mcp_agent_sdk::{
    Client, TestBroker, code,
    runtime::{DeadLetterFilter, DeadLetters},
};
use mcp_tests::{PATIENCE, Process, eventually, spawn_probe};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, time::timeout};

use crate::{MACHINE, TestResult, bounded};

const MIB: u64 = 1 << 20;

/// What a refusal may cost at most: far below every claim in this file, above any allocator's whims.
const MOST_GROWTH: u64 = 16 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn twenty_megabytes_come_back_from_another_process() -> TestResult {
    let _shared = MACHINE.read().await;
    bounded(Duration::from_secs(90), async {
        let broker = TestBroker::start().await?;
        let client = broker.client().await?;
        let _probe = spawn_probe(broker.url(), &[]).await;
        let bytes = usize::try_from(20 * MIB)?;
        let made: String = client
            .send_command("probe", "bytes", json!({"n": bytes}))
            .timeout(PATIENCE)
            .await?;
        assert!(made.len() == bytes && made.bytes().all(|byte| byte == b'x'));
        // Both ways, and no two stretches of it alike.
        let sent: String = (0..bytes / 8).map(|n| format!("{n:08}")).collect();
        let echoed: String = client
            .send_command("probe", "echo", &sent)
            .timeout(PATIENCE)
            .await?;
        assert!(echoed == sent, "{} bytes came back", echoed.len());
        // As an outcome too: replayed by its key.
        for replayed in [false, true] {
            let command = client.send_command::<String>("probe", "bytes", json!({"n": bytes}));
            let reply = command
                .idempotency_key("large")
                .timeout(PATIENCE)
                .reply()
                .await?;
            assert_eq!(reply.replayed, replayed);
            assert_eq!(
                reply
                    .into_outcome()
                    .unwrap()
                    .unwrap()
                    .decode::<String>()?
                    .len(),
                bytes
            );
        }
        Ok(())
    })
    .await
}

/// The most memory that a process has ever had, in bytes.
fn peak_memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn claim(object: &str, size: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Mcp-Payload", object);
    headers.insert("Mcp-Payload-Size", size.to_string());
    headers.insert("Mcp-Payload-Sha256", "0".repeat(64));
    headers.insert("Content-Type", "application/msgpack");
    headers
}

/// Sends the probe a claim instead of a body; the reason of the dead letter that it becomes.
async fn refusal(client: &Client, action: &str, claim: HeaderMap) -> String {
    let subject = format!("mcp.cmd.probe.normal.{action}");
    let stored = client
        .jetstream()
        .publish_with_headers(subject, claim, Default::default());
    stored.await.unwrap().await.unwrap();
    let filter = DeadLetterFilter::new().action(action.parse().unwrap());
    let letters = DeadLetters::new(client);
    eventually("the claim is a dead letter", || async {
        !letters.list(&filter).await.unwrap().is_empty()
    })
    .await;
    letters.list(&filter).await.unwrap().remove(0).reason
}

/// Puts `size` bytes into the payload store, a stranger's way.
async fn store(client: &Client, name: &str, size: u64) -> TestResult {
    let payloads = client.jetstream().get_object_store("mcp_payloads").await?;
    payloads
        .put(name, &mut tokio::io::repeat(b'x').take(size))
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_over_the_limit_is_refused_without_being_read() -> TestResult {
    let _shared = MACHINE.read().await;
    bounded(Duration::from_secs(90), async {
        let broker = TestBroker::start().await?;
        let client = broker.client().await?;
        let probe = spawn_probe(broker.url(), &[]).await;
        let stored = 100 * MIB;
        store(&client, "stored", stored).await?;
        let _: Value = client.send_command("probe", "echo", json!({})).await?;
        let before = peak_memory(&probe);
        let check = async |action, claim, expected: &str| {
            assert_eq!(refusal(&client, action, claim).await, expected, "{action}");
            let growth = peak_memory(&probe) - before;
            assert!(growth < MOST_GROWTH, "{action}: {} MiB more", growth / MIB);
        };
        check(
            "nothing",
            claim("nothing", 1 << 30),
            code::PAYLOAD_TOO_LARGE,
        )
        .await;
        check("all", claim("stored", stored), code::PAYLOAD_TOO_LARGE).await;
        // One that lies about what is stored is found out before it is fetched, too.
        check("less", claim("stored", MIB), code::INVALID_MESSAGE).await;
        check("absent", claim("absent", 60 * MIB), code::INVALID_MESSAGE).await;
        let _: Value = client.send_command("probe", "echo", json!({})).await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_reply_over_the_limit_is_refused_by_the_requester() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    // An agent that claims to have a gigabyte to say.
    let mut commands = client.nats().subscribe("mcp.rt.boaster.talk").await?;
    let nats = client.nats().clone();
    tokio::spawn(async move {
        let command = commands.next().await.unwrap();
        let reply_to = command.reply.unwrap();
        nats.publish_with_headers(reply_to, claim("nothing", 1 << 30), Default::default())
            .await
            .unwrap();
    });
    let sending = client
        .send_command::<Value>("boaster", "talk", json!({}))
        .realtime();
    let error = timeout(PATIENCE, sending.into_future()).await?.unwrap_err();
    assert_eq!(error.code(), code::PAYLOAD_TOO_LARGE);
    Ok(())
}
