//! A server, engines that host the probe's pipeline, and what can be seen of them from outside.

use std::{collections::BTreeMap, path::Path, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt;
use mcp_agent_sdk::{Client, Config, TestBroker, WorkflowRecord, WorkflowStatus, Workflows};
use mcp_tests::{Process, eventually, spawn_probe_with};
use tempfile::TempDir;

use crate::TestResult;

/// The states of the pipeline, in their order.
pub(crate) const LINE: [&str; 5] = ["first", "second", "gate", "third", "done"];

/// The states of the pipeline that take effect.
pub(crate) const EFFECTIVE: [&str; 3] = ["first", "second", "third"];

/// A namespace on a server, with an effects file that its engines share.
pub(crate) struct Scene {
    pub(crate) client: Client,
    pub(crate) workflows: Workflows,
    url: String,
    namespace: String,
    folder: TempDir,
}

impl Scene {
    pub(crate) async fn new(
        broker: &TestBroker,
        namespace: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let config = Config::new(broker.url()).name("test").namespace(namespace);
        let client = Client::connect(config).await?;
        Ok(Self {
            workflows: Workflows::new(&client),
            client,
            url: broker.url().to_owned(),
            namespace: namespace.to_owned(),
            folder: tempfile::tempdir()?,
        })
    }

    /// One more engine.
    pub(crate) async fn engine(&self) -> Process {
        self.engine_with(&[]).await
    }

    /// One more engine, with this in its environment.
    pub(crate) async fn engine_with(&self, environment: &[(&str, &str)]) -> Process {
        self.engine_of(&["--family"], environment).await
    }

    /// One more engine, which brings more than the pipeline.
    pub(crate) async fn engine_of(
        &self,
        definitions: &[&str],
        environment: &[(&str, &str)],
    ) -> Process {
        let effects = self.effects_file();
        let effects = effects.to_str().expect("a path in ASCII");
        let namespace = [("MCP_NAMESPACE", self.namespace.as_str())];
        let environment = [&namespace, environment].concat();
        let arguments = [&["--effects-file", effects], definitions].concat();
        spawn_probe_with(&self.url, &arguments, &environment).await
    }

    fn effects_file(&self) -> std::path::PathBuf {
        self.folder.path().join("effects")
    }

    /// The lines of the effects file by key: what took effect.
    pub(crate) fn effects(&self) -> BTreeMap<String, Vec<Run>> {
        lines(&self.effects_file())
    }

    /// How often what was tried.
    pub(crate) fn runs(&self) -> BTreeMap<String, Vec<Run>> {
        lines(&self.folder.path().join("effects.runs"))
    }

    /// Waits until a workflow is as it should be.
    pub(crate) async fn until(
        &self,
        id: &str,
        what: &str,
        is_it: impl Fn(&WorkflowRecord) -> bool,
    ) -> WorkflowRecord {
        until(&self.workflows, id, what, is_it).await
    }

    pub(crate) async fn until_completed(&self, id: &str) -> WorkflowRecord {
        self.until(id, "it completes", |record| {
            record.status == WorkflowStatus::Completed
        })
        .await
    }

    pub(crate) async fn until_at_the_gate(&self, id: &str) -> WorkflowRecord {
        self.until(id, "it waits at the gate", |record| {
            record.state.as_str() == "gate" && record.status == WorkflowStatus::Waiting
        })
        .await
    }

    /// Waits until no task and no timer is left in the stream.
    pub(crate) async fn until_no_task_is_left(&self) {
        until_no_task_is_left(&self.client).await;
    }

    /// Each of these workflows went down the line once, and took each of its effects once.
    pub(crate) fn check_the_line(&self, record: &WorkflowRecord) {
        assert_eq!(path(record), LINE, "{record:?}");
        assert!(record.error.is_none(), "{record:?}");
        assert!(
            record.inbox.is_empty() && record.driver.is_none(),
            "{record:?}"
        );
        let effects = self.effects();
        for state in EFFECTIVE {
            let key = format!("{}:{state}", record.id);
            let taken = effects.get(&key).map_or(0, Vec::len);
            assert_eq!(taken, 1, "`{key}` took effect {taken} times");
        }
    }

    /// Each event of these workflows is in the stream once, and they are those of the line.
    pub(crate) async fn check_the_events(&self, record: &WorkflowRecord) -> TestResult {
        // The record shows the end before its events are confirmed; the task is acknowledged after that.
        self.until_no_task_is_left().await;
        let names = [
            "started",
            "transitioned",
            "completed",
            "failed",
            "stopped",
            "parked",
        ];
        let counts = self.count_events(record.id.as_str(), &names).await?;
        assert_eq!(counts, [1, LINE.len() - 1, 1, 0, 0, 0], "{record:?}");
        Ok(())
    }

    /// How often each of these happened to a workflow; nothing is in the stream twice.
    pub(crate) async fn count_events(
        &self,
        id: &str,
        names: &[&str],
    ) -> Result<Vec<usize>, Box<dyn std::error::Error>> {
        let events = self.events(id).await?;
        let once: std::collections::BTreeSet<&str> = events.iter().map(String::as_str).collect();
        assert_eq!(
            once.len(),
            events.len(),
            "an event is there twice: {events:?}"
        );
        let count = |name: &&str| {
            let named = events.iter();
            let named = named.filter(|id| id.rsplit('.').next() == Some(*name));
            named.count()
        };
        Ok(names.iter().map(count).collect())
    }

    /// The message ids of a workflow's events.
    async fn events(&self, id: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let stream = self.client.namespace().events_stream();
        let stream = self.client.jetstream().get_stream(stream).await?;
        let consumer = stream.create_consumer(pull::Config {
            filter_subject: format!("{}.evt.workflow.>", self.namespace),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(60),
            ..pull::Config::default()
        });
        let mut consumer = consumer.await?;
        let all = consumer.info().await?.num_pending;
        let mut messages = consumer.messages().await?;
        let mut ids = Vec::new();
        for _ in 0..all {
            let message = messages.next().await.ok_or("the events end early")??;
            let headers = message.headers.as_ref().ok_or("an event has headers")?;
            let message_id = headers.get("Nats-Msg-Id").ok_or("an event has an id")?;
            ids.push(message_id.as_str().to_owned());
        }
        let own = format!("{id}.");
        Ok(ids
            .into_iter()
            .filter(|found| found.starts_with(&own))
            .collect())
    }
}

/// One line of the runs file.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) instance: String,
    pub(crate) at_ms: u64,
}

fn lines(path: &Path) -> BTreeMap<String, Vec<Run>> {
    let mut runs = BTreeMap::<String, Vec<Run>>::new();
    for line in std::fs::read_to_string(path).unwrap_or_default().lines() {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("a line has three words");
        let (key, instance, at_ms) = (word(), word(), word());
        let at_ms = at_ms.parse().expect("the third word is a time");
        runs.entry(key).or_default().push(Run { instance, at_ms });
    }
    runs
}

/// The states that a workflow went through; each change of state must begin where the one before ended.
pub(crate) fn path(record: &WorkflowRecord) -> Vec<&str> {
    let Some(begin) = record.history.first() else {
        return vec![record.state.as_str()];
    };
    let mut path = vec![begin.from.as_str()];
    for entry in &record.history {
        assert_eq!(
            path.last(),
            Some(&entry.from.as_str()),
            "{:?}",
            record.history
        );
        path.push(entry.to.as_str());
    }
    assert_eq!(path.last(), Some(&record.state.as_str()), "{record:?}");
    path
}

pub(crate) async fn until(
    workflows: &Workflows,
    id: &str,
    what: &str,
    is_it: impl Fn(&WorkflowRecord) -> bool,
) -> WorkflowRecord {
    let found = tokio::sync::Mutex::new(None);
    eventually(&format!("`{id}`: {what}"), || async {
        // While the server is away there is nothing to see.
        let record = workflows.get_workflow(id).await.ok().flatten();
        let fits = record.as_ref().is_some_and(&is_it);
        *found.lock().await = record;
        fits
    })
    .await;
    found.into_inner().expect("it was found")
}

pub(crate) async fn until_no_task_is_left(client: &Client) {
    let stream = client.namespace().tasks_stream(0);
    eventually("no task is left", || async {
        let Ok(mut stream) = client.jetstream().get_stream(&stream).await else {
            return false;
        };
        stream
            .info()
            .await
            .is_ok_and(|info| info.state.messages == 0)
    })
    .await;
}
