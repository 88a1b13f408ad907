//! Many workflows while engines and the server are killed: each goes down the line once.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, stream};
use mcp_agent_sdk::{
    TestBroker, WorkflowError, WorkflowFilter, WorkflowRecord, WorkflowStatus, Workflows,
};
use mcp_tests::Process;
use serde_json::json;
use tokio::{sync::Notify, time::MissedTickBehavior};

use crate::{TestResult, bounded, family, scene::Scene};

/// How many workflows, unless `SURVIVORS` says otherwise.
const WORKFLOWS: usize = 1000;

/// Of so many of them one is a family too: children, commands side by side, and all of it undone in the end.
const FAMILIES: usize = 50;

const ENGINES: usize = 3;

/// Requests of the test that are under way at once.
const AT_ONCE: usize = 64;

/// Engines that are killed at most: the rest of the workflows then ends in peace.
const MOST_KILLS: usize = 40;

/// How long before its engine was killed a run may have ended without anybody knowing.
const IN_THE_ACT: Duration = Duration::from_secs(4);

/// An engine that was killed: its instance, and when.
struct Killed {
    instance: String,
    at_ms: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_workflow_goes_down_the_line_once_while_engines_and_the_server_are_killed()
-> TestResult {
    bounded(Duration::from_secs(170), survive()).await
}

async fn survive() -> TestResult {
    let wanted = std::env::var("SURVIVORS").ok();
    let wanted: usize = wanted.map_or(Ok(WORKFLOWS), |wanted| wanted.parse())?;
    let mut broker = TestBroker::start().await?;
    let scene = Arc::new(Scene::new(&broker, "mcp").await?);
    let mut engines = Vec::new();
    for _ in 0..ENGINES {
        engines.push(scene.engine().await);
    }
    let began = Instant::now();
    let enough = Arc::new(Notify::new());
    let killing = tokio::spawn(kill_in_turn(
        Arc::clone(&scene),
        engines,
        Arc::clone(&enough),
    ));
    let ids: Vec<String> = (0..wanted).map(|number| format!("w{number}")).collect();
    let families: Vec<String> = (0..wanted / FAMILIES)
        .map(|number| format!("f{number}"))
        .collect();
    let asking = tokio::spawn(create_and_approve(scene.workflows.clone(), ids.clone()));
    let founding = families
        .iter()
        .map(|id| found(scene.workflows.clone(), id.clone()));
    let founding = tokio::spawn(all_of(founding.collect()));

    tokio::time::sleep(Duration::from_secs(4)).await;
    broker.kill().await?;
    broker.restart().await?;

    asking.await??;
    founding.await??;
    until_all_ended(&scene, wanted).await?;
    let took = began.elapsed();
    enough.notify_one();
    let (killed, engines) = killing.await?;
    assert!(
        killed.len() >= 3,
        "only {} engines were killed",
        killed.len()
    );
    scene.until_no_task_is_left().await;
    for id in &ids {
        scene.check_the_line(&scene.until_completed(id).await);
    }
    for id in &families {
        family::check(&scene, id).await?;
    }
    let doubled = check_the_runs(&scene, &killed);
    println!(
        "{wanted} workflows in {took:.1?}, {} engines killed, {doubled} of {} runs repeated",
        killed.len(),
        scene.runs().len()
    );
    drop(engines);
    Ok(())
}

/// Kills one engine a second, and starts another in its place, until it is told that it is enough.
async fn kill_in_turn(
    scene: Arc<Scene>,
    mut engines: Vec<Process>,
    enough: Arc<Notify>,
) -> (Vec<Killed>, Vec<Process>) {
    let mut killed = Vec::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    // On a loaded machine an engine takes longer to start than a second: the next one is not killed at once for that.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0..MOST_KILLS {
        tokio::select! {
            _ = tick.tick() => {}
            () = enough.notified() => break,
        }
        let victim = &mut engines[turn % ENGINES];
        victim.kill().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_ms = now.expect("it is after 1970").as_millis();
        killed.push(Killed {
            instance: instance(victim),
            at_ms: u64::try_from(at_ms).expect("it is before the year 500000000"),
        });
        *victim = scene.engine().await;
    }
    (killed, engines)
}

/// The instance's id, from its log.
fn instance(engine: &Process) -> String {
    let log = engine.stderr();
    let ready = log.lines().find(|line| line.contains(" ready "));
    let found = ready.and_then(|line| line.split("instance=").nth(1));
    let found = found.and_then(|rest| rest.split_whitespace().next());
    found
        .unwrap_or_else(|| panic!("no instance in {log}"))
        .to_owned()
}

/// Every other workflow is approved at once, long before it is at the gate; the others when all have been created.
async fn create_and_approve(workflows: Workflows, ids: Vec<String>) -> Result<(), WorkflowError> {
    let early = ids.iter().step_by(2).cloned();
    let late: Vec<String> = ids.iter().skip(1).step_by(2).cloned().collect();
    let early = early.map(|id| create(workflows.clone(), id, true));
    let late_ones = late
        .iter()
        .cloned()
        .map(|id| create(workflows.clone(), id, false));
    let created = early.chain(late_ones).collect();
    all_of(created).await?;
    let approved = late.into_iter().map(|id| approve(workflows.clone(), id));
    all_of(approved.map(|asked| Box::pin(asked) as Asked).collect()).await
}

type Asked = Pin<Box<dyn Future<Output = Result<(), WorkflowError>> + Send>>;

fn create(workflows: Workflows, id: String, approved: bool) -> Asked {
    Box::pin(async move {
        let create = || {
            let data = json!({"sleep_ms": 20});
            workflows
                .create_workflow("probe_pipeline", None, &data)
                .id(&id)
                .into_future()
        };
        patiently(create).await?;
        match approved {
            true => approve(workflows, id).await,
            false => Ok(()),
        }
    })
}

fn found(workflows: Workflows, id: String) -> Asked {
    Box::pin(async move {
        let create = || {
            let data = json!({"sleep_ms": 20});
            workflows
                .create_workflow("probe_family", None, &data)
                .id(&id)
                .into_future()
        };
        patiently(create).await.map(drop)
    })
}

async fn approve(workflows: Workflows, id: String) -> Result<(), WorkflowError> {
    let signal = || {
        let signal = workflows.signal_workflow(&id, "approve", json!({}));
        signal.timeout(Duration::from_secs(30)).into_future()
    };
    match patiently(signal).await {
        // The answer is not stored: it may have been lost with the server. The signal is.
        Ok(_) | Err(WorkflowError::NoAnswer { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A server that is away is asked again: nothing but storing is repeated by the client itself.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, WorkflowError>
where
    F: Future<Output = Result<T, WorkflowError>>,
{
    for _ in 0..10 {
        match ask().await {
            Err(WorkflowError::Transport { .. }) => {}
            outcome => return outcome,
        }
    }
    ask().await
}

async fn all_of(asked: Vec<Asked>) -> Result<(), WorkflowError> {
    let mut outcomes = stream::iter(asked).buffer_unordered(AT_ONCE);
    while let Some(outcome) = outcomes.next().await {
        outcome?;
    }
    Ok(())
}

async fn until_all_ended(scene: &Scene, wanted: usize) -> TestResult {
    let all = &WorkflowFilter::default();
    loop {
        let list = || Box::pin(scene.workflows.list_workflows(all));
        let all = patiently(list).await?;
        let lines = || (all.iter()).filter(|record| record.definition.as_str() == "probe_pipeline");
        if all.iter().all(WorkflowRecord::is_ended) && lines().count() == wanted {
            let failed = lines().find(|record| record.status != WorkflowStatus::Completed);
            assert!(failed.is_none(), "{failed:?}");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What ran again did so because the engine that had run it was killed in the act. Returns how often.
fn check_the_runs(scene: &Scene, killed: &[Killed]) -> usize {
    let mut doubled = 0;
    for (key, runs) in scene.runs() {
        for (run, next) in runs.iter().zip(runs.iter().skip(1)) {
            let kill = killed.iter().find(|killed| killed.instance == run.instance);
            let kill = kill.unwrap_or_else(|| panic!("`{key}` ran again for no reason: {runs:?}"));
            let in_the_act = u64::try_from(IN_THE_ACT.as_millis()).expect("it is short");
            assert!(
                run.at_ms + in_the_act > kill.at_ms && next.at_ms >= kill.at_ms,
                "`{key}` ran again long after or before the kill at {}: {runs:?}",
                kill.at_ms
            );
            doubled += 1;
        }
    }
    doubled
}
