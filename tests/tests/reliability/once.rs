//! The same key, 50 times at once, from five processes to three replicas.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::future::join_all;
use mcp_agent_sdk::TestBroker;
use mcp_tests::{eventually, present, spawn_probe};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::{
    MACHINE, TestResult, bounded,
    peer::{Answer, Asked, Worker, request},
};

const REQUESTERS: usize = 5;
const EACH: usize = 10;
const SENDS: usize = REQUESTERS * EACH;

/// Each kill in the act costs the 10 s of the dead instance's lease. A bound on the kills bounds the test, and keeps
/// the deliveries of one message below those of a poisonous one.
const MOST_KILLS: usize = 25;

async fn fifty(asked: Asked) -> Vec<Answer> {
    let requests = (0..REQUESTERS).map(|_| request(asked.clone(), EACH));
    join_all(requests).await.into_iter().flatten().collect()
}

/// The one result that all the answers carry.
fn common_result(answers: &[Answer]) -> &Value {
    let first = &answers[0].result;
    assert_eq!(answers.len(), SENDS);
    assert!(
        answers.iter().all(|answer| answer.result == *first),
        "{answers:?}"
    );
    first
}

fn replayed(answers: &[Answer]) -> usize {
    answers.iter().filter(|answer| answer.replayed).count()
}

fn lines(path: &Path) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| line.split(' ').map(str::to_owned).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kills_each_key_is_executed_exactly_once() -> TestResult {
    let _shared = MACHINE.read().await;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let broker = TestBroker::start().await?;
    let arguments = ["--effects-file", effects.to_str().unwrap()];
    let probe = || spawn_probe(broker.url(), &arguments);
    let _probes = [probe().await, probe().await, probe().await];
    present(&broker.client().await?, "probe", 3).await;
    bounded(Duration::from_secs(90), async {
        for round in 0..3 {
            let key = format!("round-{round}");
            let answers = fifty(Asked {
                url: broker.url().to_owned(),
                target: "probe",
                action: "effect",
                parameters: json!({"key": key}),
                key: key.clone(),
            })
            .await;
            assert_eq!(*common_result(&answers), json!({"key": key}));
            assert_eq!(replayed(&answers), SENDS - 1);
            assert_eq!(lines(&effects).len(), round + 1);
            assert_eq!(lines(&dir.path().join("effects.runs")).len(), round + 1);
        }
        Ok(())
    })
    .await
}

/// Three workers, one of which is dead at a time.
struct Replicas {
    workers: Vec<Worker>,
    url: String,
    effects: PathBuf,
    killed: Vec<u32>,
}

impl Replicas {
    async fn start(url: &str, effects: &Path) -> Self {
        let mut workers = Vec::new();
        for _ in 0..3 {
            workers.push(Worker::start(url, effects).await);
        }
        Self {
            workers,
            url: url.to_owned(),
            effects: effects.to_owned(),
            killed: Vec::new(),
        }
    }

    async fn kill(&mut self, victim: usize) {
        self.workers[victim].kill().await;
        self.killed.push(self.workers[victim].pid);
        self.workers[victim] = Worker::start(&self.url, &self.effects).await;
    }

    fn executions(&self) -> Vec<Execution> {
        let mut runs = self.effects.clone().into_os_string();
        runs.push(".runs");
        let number = |text: &String| text.parse::<u64>().unwrap();
        let read = |line: Vec<String>| Execution {
            pid: u32::try_from(number(&line[1])).unwrap(),
            fence: number(&line[2]),
        };
        lines(Path::new(&runs)).into_iter().map(read).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Execution {
    pid: u32,
    fence: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_kill_every_second_only_the_killed_executed_in_vain() -> TestResult {
    let _shared = MACHINE.read().await;
    let dir = tempfile::tempdir()?;
    let effects = dir.path().join("effects");
    let broker = TestBroker::start().await?;
    let mut replicas = Replicas::start(broker.url(), &effects).await;
    bounded(Duration::from_secs(150), async {
        let asking = tokio::spawn(fifty(Asked {
            url: broker.url().to_owned(),
            target: "worker",
            action: "work",
            parameters: json!({"key": "once", "ms": 1500}),
            key: "once".to_owned(),
        }));
        // The first kill is aimed: whoever has begun dies in the act.
        eventually("somebody has begun", || async {
            !replicas.executions().is_empty()
        })
        .await;
        let first = replicas.executions()[0];
        let victim = replicas
            .workers
            .iter()
            .position(|worker| worker.pid == first.pid);
        replicas.kill(victim.unwrap()).await;
        let mut every_second = interval(Duration::from_secs(1));
        for kill in 0..MOST_KILLS {
            every_second.tick().await;
            if asking.is_finished() {
                break;
            }
            replicas.kill(kill % 3).await;
        }
        check(&replicas, &asking.await?);
        assert_eq!(lines(&effects).len(), 1, "one effect");
        Ok(())
    })
    .await
}

fn check(replicas: &Replicas, answers: &[Answer]) {
    let (result, executions) = (common_result(answers), replicas.executions());
    let replayed = replayed(answers);
    assert!(
        replayed >= SENDS - 1,
        "{replayed} answers are marked replayed"
    );
    let (last, in_vain) = executions.split_last().unwrap();
    assert!(
        !in_vain.is_empty(),
        "the first execution was killed, another came after it"
    );
    assert_eq!(
        result["pid"], last.pid,
        "the last execution is the one that everyone heard of"
    );
    for (nth, execution) in in_vain.iter().enumerate() {
        let dead = replicas.killed.contains(&execution.pid);
        assert!(
            dead,
            "{execution:?} of {executions:?} was not killed: {:?}",
            replicas.killed
        );
        assert!(
            execution.fence < executions[nth + 1].fence,
            "the fence grows: {executions:?}"
        );
    }
}
