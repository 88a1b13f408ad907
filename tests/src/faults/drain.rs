//! After the load: waits until the queues are empty, and looks at what is left.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use mcp_agent_sdk::{
    Client, SendError, Submitted, WorkflowRecord, WorkflowStatus, Workflows,
    runtime::{DeadLetterFilter, DeadLetters},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Failed,
    history::{Ending, History, Kind},
    scene::Scene,
    world::{Fork, Journey, World},
};

/// A redelivery takes 10 s, a retry of the runtime up to 30 s; nothing takes longer.
const QUEUES_EMPTY_WITHIN: Duration = Duration::from_secs(60);

/// Looks at once.
const AT_ONCE: usize = 16;

/// Dead letters that are read at most.
const MOST_LETTERS: usize = 20_000;

/// Waits for the end of everything, then looks.
pub(super) async fn drain(scene: &mut Scene) -> Result<World, Failed> {
    scene.rest().await;
    let client = scene.client().await?;
    let history = scene.recorder.so_far();
    let forks = fork_all(&client, &history).await;
    wait_for_ends(&client, &history).await;
    let (commands_left, tasks_left) = empty_queues(&client).await;
    if commands_left > 0 {
        say_of_consumers(scene, &client).await;
    }
    let submitted = scene.recorder.all_submitted();
    let (buried, rejected) = buried(&client, &submitted).await?;
    Ok(World {
        outcomes: outcomes(&submitted).await,
        buried,
        rejected,
        commands_left,
        tasks_left,
        workflows: journeys(&client, &history).await,
        forks,
        ..World::of_files(&scene.crew.effects, &history.clocks)
    })
}

/// What of a stream is still to be worked on: what its consumers want, and what waits for its time under `later`. Not
/// what it holds: a server that was killed between an acknowledgement and the removal of its message keeps the
/// message for good, although its consumer is done with it. `None` while nobody says.
async fn wanted(client: &Client, stream: &str, later: &str) -> Option<u64> {
    let stream = client.jetstream().get_stream(stream).await.ok()?;
    let mut wanted = 0;
    let mut consumers = stream.consumers();
    while let Some(consumer) = consumers.next().await {
        let consumer = consumer.ok()?;
        wanted += consumer.num_pending + consumer.num_ack_pending as u64;
    }
    let mut waiting = stream.info_with_subjects(later).await.ok()?;
    while let Some(subject) = waiting.next().await {
        wanted += subject.ok()?.1 as u64;
    }
    Some(wanted)
}

async fn empty_queues(client: &Client) -> (u64, u64) {
    let namespace = client.namespace();
    let (commands, tasks) = (namespace.commands_stream(), namespace.tasks_stream(0));
    let give_up = Instant::now() + QUEUES_EMPTY_WITHIN;
    loop {
        let left = (
            wanted(client, &commands, "mcp.delay.>")
                .await
                .unwrap_or(u64::MAX),
            wanted(client, &tasks, "mcp.timer.>")
                .await
                .unwrap_or(u64::MAX),
        );
        if left == (0, 0) || Instant::now() >= give_up {
            return left;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What the consumers of commands say of what is left: whether they still want it.
async fn say_of_consumers(scene: &Scene, client: &Client) {
    let commands = client.namespace().commands_stream();
    let Ok(stream) = client.jetstream().get_stream(commands).await else {
        return;
    };
    let mut consumers = stream.consumers();
    while let Some(Ok(info)) = consumers.next().await {
        let text = format!(
            "{}: {} pending, {} unacknowledged, {} redelivered, acknowledged up to {} of {}",
            info.name,
            info.num_pending,
            info.num_ack_pending,
            info.num_redelivered,
            info.ack_floor.stream_sequence,
            info.delivered.stream_sequence,
        );
        scene.recorder.remarks("I6", text);
    }
}

async fn outcomes(submitted: &[(String, Submitted)]) -> BTreeMap<String, bool> {
    let looks = submitted.iter().map(|(key, submitted)| async move {
        match submitted.outcome::<Value>(Duration::from_secs(1)).await {
            Ok(_) => Some((key.clone(), true)),
            Err(SendError::Answered { .. }) => Some((key.clone(), false)),
            Err(_) => None,
        }
    });
    let found = stream::iter(looks).buffer_unordered(AT_ONCE);
    found.filter_map(async |found| found).collect().await
}

/// The keys of submitted commands among the dead letters, and how many letters were no commands.
async fn buried(
    client: &Client,
    submitted: &[(String, Submitted)],
) -> Result<(BTreeSet<String>, usize), Failed> {
    let letters = DeadLetters::new(client)
        .list(&DeadLetterFilter::new().limit(MOST_LETTERS))
        .await?;
    let keys: BTreeMap<&str, &str> = submitted
        .iter()
        .map(|(key, submitted)| (submitted.id(), key.as_str()))
        .collect();
    let buried = letters
        .iter()
        .filter_map(|letter| keys.get(letter.id.as_str()))
        .map(|key| (*key).to_owned())
        .collect();
    let rejected = letters
        .iter()
        .filter(|letter| letter.reason == "INVALID_MESSAGE")
        .count();
    Ok((buried, rejected))
}

fn workflows_of(history: &History) -> impl Iterator<Item = (&str, bool)> {
    history
        .operations
        .iter()
        .filter(|operation| operation.kind == Kind::Workflow)
        .map(|operation| (operation.key.as_str(), operation.kept))
}

async fn journeys(client: &Client, history: &History) -> BTreeMap<String, Journey> {
    let workflows = &Workflows::new(client);
    let looks = workflows_of(history).map(|(id, _)| async move {
        let record = workflows.get_workflow(id).await.ok().flatten()?;
        Some((id.to_owned(), journey(&record)))
    });
    let found = stream::iter(looks).buffer_unordered(AT_ONCE);
    found.filter_map(async |found| found).collect().await
}

fn journey(record: &WorkflowRecord) -> Journey {
    let changes = record.history.iter();
    Journey {
        status: record.status.to_string(),
        state: record.state.to_string(),
        changes: changes
            .map(|entry| (entry.from.to_string(), entry.to.to_string()))
            .collect(),
        at_rest: record.inbox.is_empty() && record.driver.is_none(),
    }
}

/// The workflows that were told to go on have a while to come to their ends.
async fn wait_for_ends(client: &Client, history: &History) {
    let workflows = &Workflows::new(client);
    let told = history.operations.iter().filter(|operation| {
        let answered = matches!(operation.ended, Some((_, Ending::Answered { .. })));
        operation.kind == Kind::Workflow && answered
    });
    let give_up = Instant::now() + QUEUES_EMPTY_WITHIN;
    let waits = told.map(|operation| async move {
        while Instant::now() < give_up {
            let record = workflows.get_workflow(&operation.key).await;
            if record.is_ok_and(|record| record.is_some_and(|record| record.is_ended())) {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    stream::iter(waits)
        .for_each_concurrent(AT_ONCE, |wait| wait)
        .await;
}

async fn fork_all(client: &Client, history: &History) -> Vec<Fork> {
    let kept = workflows_of(history).filter(|(_, kept)| *kept);
    stream::iter(kept)
        .map(|(id, _)| fork(client, id))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// A new workflow from the checkpoint, led to its end.
async fn fork(client: &Client, workflow: &str) -> Fork {
    let workflows = Workflows::new(client);
    let id = format!("{workflow}_fork");
    let led = async {
        let created = workflows.create_workflow("probe_pipeline", None, json!({}));
        created.id(&id).fork_of(workflow, "kept").await?;
        // It may be beyond the gate already, and then has no use for it.
        workflows
            .signal_workflow(&id, "approve", json!({}))
            .await
            .ok();
        workflows.wait_for_end(&id).await
    };
    let detail = match tokio::time::timeout(QUEUES_EMPTY_WITHIN, led).await {
        Ok(Ok(record)) if record.status == WorkflowStatus::Completed => None,
        Ok(Ok(record)) => Some(format!("its fork is {}", record.status)),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("its fork did not come to an end".to_owned()),
    };
    Fork {
        workflow: workflow.to_owned(),
        ended_well: detail.is_none(),
        detail: detail.unwrap_or_default(),
    }
}
