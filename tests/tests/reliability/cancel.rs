//! Cancelled commands: running, queued, waiting for their key or for their next attempt.

use std::{path::Path, time::Duration};

use mcp_agent_sdk::{Client, RetryConfig, SendError, TestBroker, code};
use mcp_tests::{PATIENCE, Process, eventually, spawn_probe};
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::{TestResult, bounded};

const LIMIT: Duration = Duration::from_secs(90);

type Sending = JoinHandle<Result<Value, SendError>>;

/// One place for handlers: whatever comes second is queued.
async fn probe(broker: &TestBroker, effects: &Path) -> Process {
    spawn_probe(
        broker.url(),
        &[
            "--capacity",
            "1",
            "--effects-file",
            effects.to_str().unwrap(),
        ],
    )
    .await
}

/// Sends a command that runs for ever, and returns once it runs.
async fn occupy(client: &Client, key: &str) -> (String, Sending) {
    let (running_tx, mut running) = mpsc::channel(1);
    let command = client
        .send_command("probe", "progress", json!({"steps": 100_000, "ms": 20}))
        .idempotency_key(key)
        .timeout(PATIENCE)
        .on_progress(move |_| _ = running_tx.try_send(()));
    let id = command.id().unwrap().to_owned();
    let sending = tokio::spawn(command.into_future());
    timeout(PATIENCE, running.recv()).await.unwrap();
    (id, sending)
}

fn send_effect(client: &Client, key: &str) -> (String, Sending) {
    let command = client
        .send_command("probe", "effect", json!({"key": key}))
        .timeout(PATIENCE);
    (
        command.id().unwrap().to_owned(),
        tokio::spawn(command.into_future()),
    )
}

async fn assert_cancelled(sending: Sending) {
    let error = sending.await.unwrap().unwrap_err();
    assert_eq!(error.code(), code::CANCELLED, "{error}");
}

/// Waits until the queue holds so many commands that are not done.
async fn undone(client: &Client, count: u64) {
    eventually(&format!("{count} commands in the stream"), || async {
        let mut stream = client.jetstream().get_stream("mcp_commands").await.unwrap();
        stream.info().await.unwrap().state.messages == count
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_and_a_queued_command_are_cancelled() -> TestResult {
    bounded(LIMIT, async {
        let (broker, dir) = (TestBroker::start().await?, tempfile::tempdir()?);
        let (client, effects) = (broker.client().await?, dir.path().join("effects"));
        let _probe = probe(&broker, &effects).await;
        let (running_id, running) = occupy(&client, "a").await;
        let (queued_id, queued) = send_effect(&client, "unwanted");
        let (_, wanted) = send_effect(&client, "wanted");
        undone(&client, 3).await;

        client.cancel("probe", &queued_id).await?;
        client.cancel("probe", &running_id).await?;
        assert_cancelled(running).await;
        assert_cancelled(queued).await;
        // The place is free, and what nobody cancelled is done.
        assert_eq!(wanted.await??, json!({"key": "wanted"}));
        let effects = std::fs::read_to_string(effects)?;
        assert!(
            effects.starts_with("wanted ") && effects.lines().count() == 1,
            "{effects}"
        );
        undone(&client, 0).await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_waits_for_its_key_is_cancelled_alone() -> TestResult {
    bounded(LIMIT, async {
        let (broker, dir) = (TestBroker::start().await?, tempfile::tempdir()?);
        let (client, effects) = (broker.client().await?, dir.path().join("effects"));
        // Each has one place: the second command comes to the process that does not have the key.
        let _probes = [
            probe(&broker, &effects).await,
            probe(&broker, &effects).await,
        ];
        let (first_id, first) = occupy(&client, "same").await;
        let waiting = client
            .send_command::<Value>("probe", "progress", json!({"steps": 100_000, "ms": 20}))
            .idempotency_key("same")
            .timeout(PATIENCE);
        let waiting_id = waiting.id().unwrap().to_owned();
        let waiting = tokio::spawn(waiting.into_future());
        undone(&client, 2).await;
        client.cancel("probe", &waiting_id).await?;
        assert_cancelled(waiting).await;
        assert!(!first.is_finished());
        client.cancel("probe", &first_id).await?;
        assert_cancelled(first).await;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_command_is_cancelled_between_two_attempts() -> TestResult {
    bounded(LIMIT, async {
        let (broker, dir) = (TestBroker::start().await?, tempfile::tempdir()?);
        let client = broker.client().await?;
        let _probe = probe(&broker, &dir.path().join("effects")).await;
        let retry = RetryConfig {
            max_retries: 9,
            ..RetryConfig::default()
        };
        let parameters = json!({"key": "k", "retry_delay_ms": 1500});
        let submitted = client
            .submit_command("probe", "fail", parameters)
            .retry(retry)
            .await?;
        let record = || client.outcome("probe", "fail", submitted.key());
        eventually("the first attempt has failed", || async {
            record()
                .await
                .unwrap()
                .is_some_and(|record| !record.errors.is_empty())
        })
        .await;
        client.cancel("probe", submitted.id()).await?;
        let error = submitted.outcome::<Value>(PATIENCE).await.unwrap_err();
        assert_eq!(error.code(), code::CANCELLED);
        let record = record().await?.unwrap();
        let codes: Vec<_> = record
            .errors
            .iter()
            .map(|error| error.code.as_str())
            .collect();
        assert_eq!(
            codes,
            ["PROBE_FAILED", code::CANCELLED],
            "no attempt was made after the cancellation"
        );
        Ok(())
    })
    .await
}
