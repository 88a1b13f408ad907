//! The replicas of one agent, from 1 to 8 and back, while commands come in: nothing is lost, nothing takes effect twice.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mcp_agent_sdk::{Client, Config, runtime::topology::TopologyConfig};
use mcp_tests::{Cluster, Process, eventually, present, spawn_probe};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::TestResult;

/// Senders at once.
const SENDERS: u32 = 12;

const MOST: usize = 8;

/// Commands that are answered between two changes.
const BETWEEN: u32 = 60;

pub(crate) fn replicated() -> TopologyConfig {
    TopologyConfig {
        replicas: Some(3),
        ..TopologyConfig::default()
    }
}

/// What the senders share.
#[derive(Default)]
struct Load {
    next: AtomicU32,
    answered: AtomicU32,
    enough: AtomicBool,
}

/// Sends commands one after the other until told to stop. Each is repeated under its key until it is answered.
async fn sender(client: Client, load: Arc<Load>) -> Result<(), String> {
    while !load.enough.load(Ordering::Relaxed) {
        let key = format!("k{}", load.next.fetch_add(1, Ordering::Relaxed));
        let sent = client
            .send_command::<Value>("probe", "effect", json!({ "key": key }))
            .idempotency_key(&key)
            .timeout(Duration::from_secs(60));
        sent.await.map_err(|error| format!("{key}: {error}"))?;
        load.answered.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn until_more_are_answered(load: &Load) {
    let enough = load.answered.load(Ordering::Relaxed) + BETWEEN;
    eventually("more commands are answered", || async {
        load.answered.load(Ordering::Relaxed) >= enough
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_go_from_1_to_8_and_back_under_load() -> TestResult {
    let cluster = Cluster::start(3).await;
    let url = cluster.url();
    let config = Config::new(&url).name("load").topology(replicated());
    let client = Client::connect(config).await?;
    let folder = tempfile::tempdir()?;
    let effects = folder.path().join("effects");
    let path = effects.to_str().ok_or("the path is text")?;
    let arguments = ["--effects-file", path, "--capacity", "4"];
    let mut probes: Vec<Process> = vec![spawn_probe(&url, &arguments).await];
    let load = Arc::new(Load::default());
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(sender(client.clone(), Arc::clone(&load)));
    }
    while probes.len() < MOST {
        until_more_are_answered(&load).await;
        probes.push(spawn_probe(&url, &arguments).await);
    }
    present(&client, "probe", MOST).await;
    until_more_are_answered(&load).await;
    while probes.len() > 1 {
        let mut leaves = probes.remove(0);
        assert!(leaves.terminate().await.success());
        until_more_are_answered(&load).await;
    }
    load.enough.store(true, Ordering::Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended??;
    }

    let sent = load.next.load(Ordering::Relaxed);
    assert_eq!(load.answered.load(Ordering::Relaxed), sent);
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in fs::read_to_string(&effects)?.lines() {
        let key = line.split(' ').next().unwrap_or_default();
        *times.entry(key.to_owned()).or_default() += 1;
    }
    assert_eq!(times.len(), sent as usize, "each command took effect");
    let runs = fs::read_to_string(folder.path().join("effects.runs"))?
        .lines()
        .count();
    assert_eq!(
        runs, sent as usize,
        "and ran once: a drain redelivers nothing that was begun"
    );
    let letters = client.jetstream().get_stream("mcp_dead_letters").await?;
    assert_eq!(letters.cached_info().state.messages, 0);
    println!("{sent} commands answered while replicas went from 1 to {MOST} and back");
    Ok(())
}
