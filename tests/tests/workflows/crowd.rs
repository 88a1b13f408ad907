//! Workflows that wait cost their engine nothing: neither time nor memory, and no time at its start.
//!
//! `CROWD=100000` asks for more than the few that every run makes; a debug build needs a minute and a half for them.

use std::time::{Duration, Instant};

use async_nats::{HeaderMap, jetstream::context::PublishAckFuture};
use mcp_agent_sdk::TestBroker;
use mcp_tests::{Process, eventually};
use serde_json::json;

use crate::{TestResult, bounded, scene::Scene};

/// How many, unless `CROWD` says otherwise.
const CROWD: usize = 3_000;

/// Starts that are published before their acknowledgements are looked at.
const AT_ONCE: usize = 500;

/// The most that a process with a crowd to wait for may keep in memory, in bytes.
const MEMORY: u64 = 50 * 1024 * 1024;

/// How long an engine is watched doing nothing.
const IDLE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_costs_its_engine_nothing() -> TestResult {
    let wanted = std::env::var("CROWD").ok();
    let wanted: usize = wanted.map_or(Ok(CROWD), |wanted| wanted.parse())?;
    let limit = Duration::from_secs(60 + wanted as u64 / 100);
    bounded(limit, crowd(wanted)).await
}

async fn crowd(wanted: usize) -> TestResult {
    let broker = TestBroker::start().await?;
    let scene = Scene::new(&broker, "mcp").await?;
    let mut first = scene.engine().await;
    let began = Instant::now();
    create(&scene, wanted).await?;
    until_all_wait(&scene, wanted).await;
    let memory = resident(&first);
    println!(
        "{wanted} workflows wait after {:.1?}; their engine has {memory} bytes",
        began.elapsed()
    );
    assert!(
        memory < 2 * MEMORY,
        "the engine that began them kept {memory} bytes"
    );
    first.terminate().await;

    let began = Instant::now();
    let engine = scene.engine().await;
    let start = began.elapsed();
    let busy = cpu_seconds(&engine);
    tokio::time::sleep(IDLE).await;
    let busy = cpu_seconds(&engine) - busy;
    let memory = resident(&engine);
    println!("start {start:.2?}, {busy:.2} s of CPU in {IDLE:?}, {memory} bytes resident");
    assert!(start < Duration::from_secs(2), "the start took {start:?}");
    assert!(
        busy < 0.05 * IDLE.as_secs_f64(),
        "{busy} s of CPU in {IDLE:?}"
    );
    assert!(memory < MEMORY, "{memory} bytes resident");

    // It has not overlooked them either.
    let one = format!("w{}", wanted / 2);
    scene
        .workflows
        .signal_workflow(&one, "approve", json!({}))
        .await?;
    scene.until_completed(&one).await;
    Ok(())
}

/// As `create_workflow` does, but without a look at each.
async fn create(scene: &Scene, wanted: usize) -> TestResult {
    let mut waiting: Vec<PublishAckFuture> = Vec::new();
    for number in 0..wanted {
        let id = format!("w{number}");
        let task = json!({
            "v": 1, "kind": "task", "id": format!("{id}.start"), "task": "start", "workflow_id": id,
            "definition": "probe_pipeline", "created_at": 0, "state": "gate", "data": {"number": number},
        });
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{id}.start"));
        headers.insert("Content-Type", "application/json");
        let subject = format!("mcp.wf.probe_pipeline.0.start.{id}");
        let body = serde_json::to_vec(&task)?.into();
        let published = scene
            .client
            .jetstream()
            .publish_with_headers(subject, headers, body);
        waiting.push(published.await?);
        if waiting.len() == AT_ONCE {
            for acknowledged in waiting.drain(..) {
                acknowledged.await?;
            }
        }
    }
    for acknowledged in waiting {
        acknowledged.await?;
    }
    Ok(())
}

async fn until_all_wait(scene: &Scene, wanted: usize) {
    let bucket = format!("KV_{}", scene.client.namespace().workflows_bucket(0));
    let jetstream = scene.client.jetstream();
    let count = async |stream: &str| {
        let mut stream = jetstream.get_stream(stream).await.ok()?;
        Some(stream.info().await.ok()?.state.messages)
    };
    let mut last = Some(0);
    loop {
        // Each `eventually` has a minute, which a crowd that grows renews.
        let now = count(&bucket).await;
        if now == Some(wanted as u64) {
            break;
        }
        eventually("the crowd grows", || async { count(&bucket).await > last }).await;
        last = count(&bucket).await;
    }
    scene.until_no_task_is_left().await;
}

/// User and system time of a process, in seconds; the kernel counts hundredths.
fn cpu_seconds(process: &Process) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid()));
    let stat = stat.expect("the process runs");
    // The name, in brackets, may hold anything.
    let after_name = stat.rsplit(") ").next().expect("a line of the kernel");
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |field: usize| fields[field].parse::<f64>().expect("a count of ticks");
    (ticks(11) + ticks(12)) / 100.0
}

fn resident(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid()));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next());
    let kilobytes: u64 = kilobytes
        .and_then(|kilobytes| kilobytes.parse().ok())
        .expect("a size");
    kilobytes * 1024
}
