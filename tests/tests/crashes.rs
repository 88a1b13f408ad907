//! What a crash may not lose: real processes, real `kill -9`.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mcp_agent_sdk::{Client, Priority, RetryConfig, SendError, TestBroker};
use mcp_tests::{Process, eventually, instances, present, spawn_probe, spawn_probe_with};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// The keys in an effects file, in order.
fn keys(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

async fn probe(broker: &TestBroker, effects: &Path) -> Process {
    let effects = effects.to_str().expect("the path is UTF-8");
    spawn_probe(
        broker.url(),
        &["--effects-file", effects, "--capacity", "8"],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_workers_command_is_done_by_another() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let mut first = spawn_probe(broker.url(), &[]).await;
    let sending = {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .send_command::<Value>("probe", "sleep", json!({"ms": 1500}))
                .timeout(Duration::from_secs(40))
                .reply()
                .await
        })
    };
    let worker = client
        .jetstream()
        .get_consumer_from_stream("probe_normal", "mcp_commands");
    let mut worker: async_nats::jetstream::consumer::PullConsumer = worker.await?;
    while worker.info().await?.num_ack_pending == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill().await;
    let _second = spawn_probe(broker.url(), &[]).await;
    let reply = sending.await??;
    assert_eq!(
        reply.into_outcome().unwrap().unwrap().decode::<Value>()?,
        json!({"ms": 1500})
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_accepted_command_is_lost_when_the_server_is_killed_under_load() -> TestResult {
    let mut broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let _probes = [
        probe(&broker, &effects).await,
        probe(&broker, &effects).await,
    ];
    present(&client, "probe", 2).await;

    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..16)
        .map(|sender| tokio::spawn(submit_until(client.clone(), sender, Arc::clone(&stop))))
        .collect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        broker.kill().await?;
        broker.restart().await?;
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    stop.store(true, Ordering::SeqCst);
    let mut accepted = HashSet::new();
    for sender in senders {
        accepted.extend(sender.await?);
    }
    assert!(
        accepted.len() > 100,
        "only {} commands were accepted",
        accepted.len()
    );
    eventually("every accepted command takes effect", || async {
        let done: HashSet<String> = keys(&effects).into_iter().collect();
        accepted.is_subset(&done)
    })
    .await;
    Ok(())
}

async fn submit_until(client: Client, sender: u32, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut accepted = Vec::new();
    for n in 0..100_000 {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let key = format!("{sender}.{n}");
        let submitted = client
            .submit_command("probe", "effect", json!({"key": key}))
            .timeout(Duration::from_secs(20));
        if submitted.await.is_ok() {
            accepted.push(key);
        }
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_takes_effect_once_although_workers_are_killed() -> TestResult {
    const KEYS: u32 = 40;
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(probe(&broker, &effects).await);
    }
    let (sent, killed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let sends: Vec<_> = (0..KEYS)
        .flat_map(|key| std::iter::repeat_n(key, 5))
        .map(|key| tokio::spawn(send_effect(client.clone(), key, Arc::clone(&sent))))
        .collect();
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let victim = round % probes.len();
        probes[victim].kill().await;
        killed.fetch_add(1, Ordering::SeqCst);
        probes[victim] = probe(&broker, &effects).await;
    }
    for send in sends {
        send.await??;
    }
    let effected = keys(&effects);
    let distinct: HashSet<&String> = effected.iter().collect();
    assert_eq!(
        (effected.len(), distinct.len()),
        (KEYS as usize, KEYS as usize)
    );
    let runs = keys(&dir.path().join("effects.runs")).len();
    // Each killed instance had at most its capacity of 8 in hand.
    let explained = (KEYS + killed.load(Ordering::SeqCst) * 8) as usize;
    assert!(
        runs >= KEYS as usize && runs <= explained,
        "{runs} executions of {KEYS} keys"
    );
    Ok(())
}

async fn send_effect(client: Client, key: u32, sent: Arc<AtomicU32>) -> Result<Value, SendError> {
    // Spread over the time of the kills.
    let delay = sent.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(u64::from(delay) * 3)).await;
    client
        .send_command("probe", "effect", json!({"key": format!("k{key}")}))
        .idempotency_key(format!("k{key}"))
        .retry(RetryConfig {
            max_retries: 5,
            ..RetryConfig::default()
        })
        .timeout(Duration::from_secs(60))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminated_worker_finishes_what_it_has_and_nothing_comes_twice() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let mut first = probe(&broker, &effects).await;
    let _second = probe(&broker, &effects).await;
    present(&client, "probe", 2).await;
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..8)
        .map(|sender| tokio::spawn(submit_until(client.clone(), sender, Arc::clone(&stop))))
        .collect();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let status = first.terminate().await;
    assert!(status.success(), "{status} {}", first.stderr());
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    let mut accepted = 0;
    for sender in senders {
        accepted += sender.await?.len();
    }
    let runs = dir.path().join("effects.runs");
    eventually("every command is done", || async {
        keys(&runs).len() >= accepted
    })
    .await;
    assert_eq!(
        keys(&runs).len(),
        accepted,
        "a clean stop makes no redelivery"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_under_load_loses_and_doubles_nothing() -> TestResult {
    const REPLICAS: usize = 3;
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let mut replicas = Vec::new();
    for _ in 0..REPLICAS {
        replicas.push(version("1.0.0", &broker, &effects).await);
    }
    versions(&client, &["1.0.0"; REPLICAS]).await;
    let stop = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..8)
        .map(|sender| tokio::spawn(submit_until(client.clone(), sender, Arc::clone(&stop))))
        .collect();
    let answers = Arc::new(AtomicU32::new(0));
    let asking = ask_until(client.clone(), Arc::clone(&stop), Arc::clone(&answers));
    let asking = tokio::spawn(asking);

    // As Kubernetes does with maxSurge 1 and maxUnavailable 0: a new one is ready before an old one is told to stop.
    let mut updated = Vec::new();
    for mut old in replicas {
        let done = keys(&effects).len();
        updated.push(version("2.0.0", &broker, &effects).await);
        let status = old.terminate().await;
        assert!(status.success(), "{status} {}", old.stderr());
        eventually("work goes on", || async {
            keys(&effects).len() > done + 20
        })
        .await;
    }
    versions(&client, &["2.0.0"; REPLICAS]).await;
    eventually("callers get their answers", || async {
        answers.load(Ordering::SeqCst) > 20
    })
    .await;
    stop.store(true, Ordering::SeqCst);

    let mut accepted = 0;
    for submitter in submitters {
        accepted += submitter.await?.len();
    }
    asking.await??;
    let answered = answers.load(Ordering::SeqCst) as usize;
    assert!(accepted > 100, "{accepted} accepted");
    let runs = dir.path().join("effects.runs");
    eventually("every command is done", || async {
        keys(&runs).len() >= accepted + answered
    })
    .await;
    assert_eq!(keys(&runs).len(), accepted + answered, "none ran twice");
    let distinct: HashSet<String> = keys(&effects).into_iter().collect();
    assert_eq!(distinct.len(), accepted + answered, "none was lost");
    Ok(())
}

/// A replica of this version.
async fn version(version: &str, broker: &TestBroker, effects: &Path) -> Process {
    let effects = effects.to_str().expect("the path is UTF-8");
    let arguments = ["--effects-file", effects, "--capacity", "8"];
    spawn_probe_with(broker.url(), &arguments, &[("MCP_AGENT_VERSION", version)]).await
}

/// Waits until the presence of agents shows these versions, and no others.
async fn versions(client: &Client, expected: &[&str]) {
    eventually(&format!("{expected:?} are there"), || async {
        let records = instances(client, "probe").await;
        let found: Vec<&str> = records
            .iter()
            .map(|record| record.version.as_str())
            .collect();
        found == expected
    })
    .await;
}

/// Sends one command after the other and waits for each answer; an error is one that a caller would have seen.
async fn ask_until(
    client: Client,
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU32>,
) -> Result<(), SendError> {
    while !stop.load(Ordering::SeqCst) {
        let key = format!("asked.{}", answers.load(Ordering::SeqCst));
        client
            .send_command::<Value>("probe", "effect", json!({ "key": key }))
            .priority(Priority::High)
            .timeout(Duration::from_secs(20))
            .await?;
        answers.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
