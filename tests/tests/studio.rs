//! The studio of the demo, as real processes: its videos are workflows, so a `kill -9` in the middle costs time and nothing
//! else.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env,
    error::Error,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mcp_agent_sdk::{
    Client, SendError, TestBroker, WorkflowFilter, WorkflowRecord, WorkflowStatus, Workflows,
};
use mcp_tests::{OtlpSink, SeenSpan, eventually, present, run, video_studio};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};

type TestResult = Result<(), Box<dyn Error>>;

/// Four scenes of three seconds: as short as the studio's videos are.
const THEME: &str = "techno";
const SCENES: usize = 4;

const EVERYBODY: [&str; 6] = [
    "content_agent",
    "visual_agent",
    "visual_agent",
    "audio_agent",
    "editing_agent",
    "director_agent",
];

const PATH: [&str; 5] = ["script", "visuals", "audio", "assembly", "done"];

/// A studio on a server of its own; dropping it kills the agents.
struct Studio {
    broker: TestBroker,
    client: Client,
    folder: TempDir,
    logs: TempDir,
    agents: Vec<(&'static str, Child)>,
    hired: usize,
    /// Where the agents send their spans; empty: nowhere.
    collector: String,
}

impl Studio {
    async fn open(agents: &[&'static str]) -> Result<Self, Box<dyn Error>> {
        Self::open_with(agents, "").await
    }

    async fn open_with(agents: &[&'static str], collector: &str) -> Result<Self, Box<dyn Error>> {
        let broker = TestBroker::start().await?;
        let mut studio = Self {
            client: broker.client().await?,
            broker,
            folder: tempfile::tempdir()?,
            logs: tempfile::tempdir()?,
            agents: Vec::new(),
            hired: 0,
            collector: collector.to_owned(),
        };
        for agent in agents {
            studio.hire(agent)?;
        }
        for agent in agents {
            let count = agents.iter().filter(|other| *other == agent).count();
            present(&studio.client, agent, count).await;
        }
        Ok(studio)
    }

    fn hire(&mut self, agent: &'static str) -> std::io::Result<()> {
        self.hired += 1;
        let log = self.logs.path().join(format!("{}-{agent}", self.hired));
        let mut command = Command::new(video_studio());
        for (name, _) in
            env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_"))
        {
            command.env_remove(name);
        }
        if !self.collector.is_empty() {
            command
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", &self.collector)
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
                .env("OTEL_BSP_SCHEDULE_DELAY", "100");
        }
        let child = command
            .arg(agent)
            .env("MCP_NATS_URL", self.broker.url())
            .env("MCP_LOG_FORMAT", "json")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .kill_on_drop(true)
            .spawn()?;
        self.agents.push((agent, child));
        Ok(())
    }

    /// `kill -9` of every process of these agents.
    async fn kill(&mut self, agents: &[&str]) -> std::io::Result<()> {
        for (_, child) in self
            .agents
            .iter_mut()
            .filter(|(name, _)| agents.contains(name))
        {
            child.start_kill()?;
        }
        for (_, child) in self
            .agents
            .iter_mut()
            .filter(|(name, _)| agents.contains(name))
        {
            child.wait().await?;
        }
        self.agents.retain(|(name, _)| !agents.contains(name));
        Ok(())
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("film.mp4")
    }

    /// Asks for a video and waits for it in the background.
    fn order(&self, theme: &str) -> JoinHandle<Result<Value, SendError>> {
        let command = self.client.send_command(
            "director_agent",
            "make_video",
            json!({ "theme": theme, "output": self.output() }),
        );
        tokio::spawn(command.timeout(Duration::from_secs(100)).into_future())
    }

    /// The only workflow, once there is one.
    async fn workflow(&self) -> Option<WorkflowRecord> {
        let workflows = Workflows::new(&self.client);
        let all = workflows.list_workflows(&WorkflowFilter::default()).await;
        all.ok()?.pop()
    }

    /// Waits until the only workflow is in a state.
    async fn reaches(&self, state: &str) -> WorkflowRecord {
        eventually(&format!("a video in the state {state}"), || async {
            let record = self.workflow().await;
            record.is_some_and(|record| record.state.as_str() == state)
        })
        .await;
        self.workflow().await.expect("it was there")
    }

    /// How often each piece of work was begun, by everybody who has ever been hired.
    fn begun(&self) -> BTreeMap<String, usize> {
        let mut begun = BTreeMap::new();
        let logs = fs::read_dir(self.logs.path())
            .into_iter()
            .flatten()
            .flatten();
        for log in logs {
            let text = fs::read_to_string(log.path()).unwrap_or_default();
            for line in text
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            {
                if line["fields"]["message"] == "work begins"
                    && let Some(what) = line["fields"]["what"].as_str()
                {
                    *begun.entry(what.to_owned()).or_default() += 1;
                }
            }
        }
        begun
    }
}

/// What a finished video must be, whatever has happened on the way.
async fn check_film(studio: &Studio, video: &Value) -> TestResult {
    let film = fs::read(studio.output())?;
    assert_eq!(&film[4..8], b"ftyp");
    assert_eq!(video["bytes"], film.len());
    assert_eq!(
        video["steps"].as_array().map(Vec::len),
        Some(SCENES + 3),
        "{video}"
    );
    let left = fs::read_dir(studio.folder.path())?.flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["film.mp4"], "only the film stays");

    let record = studio.workflow().await.expect("a workflow");
    assert_eq!(record.id.as_str(), video["workflow"]);
    assert_eq!(record.status, WorkflowStatus::Completed);
    let from = record.history.iter().map(|change| change.from.as_str());
    let path: Vec<_> = from.chain([record.state.as_str()]).collect();
    assert_eq!(path, PATH);
    let one_line = record
        .history
        .windows(2)
        .all(|pair| pair[0].to == pair[1].from);
    assert!(one_line, "{:?}", record.history);
    assert_eq!(
        record.entry,
        PATH.len() as u64,
        "no state was entered twice"
    );
    let size = serde_json::to_vec(&record)?.len();
    assert!(
        size < 16 * 1024,
        "a record of {size} bytes: what is large stays in files"
    );

    let checkpoints = Workflows::new(&studio.client);
    let checkpoints = checkpoints
        .list_workflow_checkpoints(record.id.as_str())
        .await?;
    let names: Vec<_> = checkpoints
        .iter()
        .map(|checkpoint| checkpoint.name.as_str())
        .collect();
    assert_eq!(names, PATH[..4]);
    let shown = run(
        studio.broker.url(),
        &["workflow", "show", record.id.as_str()],
    )
    .await;
    let at = |state: &str| shown.stdout.rfind(&format!("  {state}  "));
    assert!(
        PATH.iter()
            .is_sorted_by_key(|state| at(state).expect(state)),
        "{shown:?}"
    );
    Ok(())
}

fn finished_scenes(folder: &Path) -> usize {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let workdirs = entries(folder).map(|entry| entry.path());
    let files = workdirs.flat_map(|workdir| entries(&workdir).collect::<Vec<_>>());
    files
        .filter(|file| file.path().extension().is_some_and(|is| is == "scene"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn video_is_finished_by_another_director_when_the_first_is_killed_among_the_scenes()
-> TestResult {
    let mut studio = Studio::open(&EVERYBODY).await?;
    let order = studio.order(THEME);
    studio.reaches("visuals").await;
    eventually("the first scene is drawn", || async {
        finished_scenes(studio.folder.path()) > 0
    })
    .await;
    studio.kill(&["director_agent"]).await?;
    let record = studio.workflow().await.expect("a workflow");
    assert_eq!(
        (record.state.as_str(), record.status),
        ("visuals", WorkflowStatus::Running)
    );
    studio.hire("director_agent")?;

    let video = order.await??;
    check_film(&studio, &video).await?;
    let begun = studio.begun();
    assert_eq!(begun.len(), SCENES + 3, "{begun:?}");
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn video_goes_on_where_it_was_when_everybody_is_killed_over_the_film() -> TestResult {
    let mut studio = Studio::open(&EVERYBODY).await?;
    let order = studio.order(THEME);
    studio.reaches("assembly").await;
    studio.kill(&EVERYBODY).await?;
    assert!(!studio.output().exists(), "killed in the middle");
    for agent in EVERYBODY {
        studio.hire(agent)?;
    }

    let video = order.await??;
    check_film(&studio, &video).await?;
    let mut begun = studio.begun();
    // What was being done when its agent was killed, if it had got so far, is done again; nothing else is.
    let films = begun.remove("film");
    assert!(matches!(films, Some(1 | 2)), "{films:?}");
    assert!(begun.values().all(|times| *times == 1), "{begun:?}");
    assert_eq!(begun.len(), SCENES + 2, "{begun:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn video_that_cannot_be_made_has_failed_and_says_why() -> TestResult {
    let studio = Studio::open(&["content_agent", "director_agent"]).await?;
    let refused = studio.order(&"long ".repeat(20)).await?.unwrap_err();
    assert_eq!(refused.to_mcp_error().code, "INVALID_PARAMETERS");
    let record = studio.workflow().await.expect("a workflow");
    assert_eq!(
        (record.state.as_str(), record.status),
        ("script", WorkflowStatus::Failed)
    );
    let error = record.error.expect("the error is kept");
    assert!(error.message.contains("characters"), "{error}");
    let shown = run(
        studio.broker.url(),
        &["workflow", "show", record.id.as_str()],
    )
    .await;
    assert!(shown.stdout.contains(&error.message), "{shown:?}");
    assert_eq!(fs::read_dir(studio.folder.path())?.count(), 0);
    Ok(())
}

/// What the states of a video send, and how often.
const COMMANDS: [(&str, &str, usize); 4] = [
    ("content_agent.generate_script", "state script", 1),
    ("visual_agent.render_scene", "state visuals", SCENES),
    ("audio_agent.synthesize", "state audio", 1),
    ("editing_agent.assemble", "state assembly", 1),
];

fn process(command: &str) -> String {
    format!("process mcp.cmd.{command}")
}

/// The spans of one video: everything but the notices by which agents say that they are there.
struct Trace(HashMap<String, SeenSpan>);

impl Trace {
    fn of(spans: Vec<SeenSpan>) -> Self {
        let of_the_video = |span: &SeenSpan| !span.name.ends_with(".instance_online");
        let spans = spans.into_iter().filter(of_the_video);
        Self(spans.map(|span| (span.id.clone(), span)).collect())
    }

    fn named(&self, name: &str) -> Vec<&SeenSpan> {
        self.0.values().filter(|span| span.name == name).collect()
    }

    /// Whether no span waits for its parent: each process sends its own.
    fn is_whole(&self) -> bool {
        let mut spans = self.0.values();
        spans.all(|span| span.parent.is_empty() || self.0.contains_key(&span.parent))
    }

    fn parent(&self, span: &SeenSpan) -> &SeenSpan {
        let parent = self.0.get(&span.parent);
        parent.unwrap_or_else(|| panic!("the parent is not there: {span:#?}"))
    }

    /// What a span stands in, itself first, up to the root.
    fn way_up<'a>(&'a self, span: &'a SeenSpan) -> Vec<&'a SeenSpan> {
        let mut way = vec![span];
        while !way[way.len() - 1].parent.is_empty() {
            way.push(self.parent(way[way.len() - 1]));
            assert!(way.len() < 100, "a circle: {way:#?}");
        }
        way
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn video_is_one_trace_of_every_command_state_and_agent() -> TestResult {
    let sink = OtlpSink::start().await;
    let studio = Studio::open_with(&EVERYBODY, sink.endpoint()).await?;
    let video = studio.order(THEME).await??;
    check_film(&studio, &video).await?;
    let order = &process("director_agent.make_video");
    let run = "run workflow video";
    // Every process exports for itself, in batches: a trace without gaps may still miss leaves.
    eventually("the last spans are here", || async {
        let trace = Trace::of(sink.spans());
        let told = |name: &str| trace.named(name).len();
        let commands = COMMANDS.iter();
        let mut processed = commands.map(|(command, _, count)| told(&process(command)) >= *count);
        told(order) > 0 && told(run) > 0 && processed.all(|all| all) && trace.is_whole()
    })
    .await;

    let trace = Trace::of(sink.spans());
    let [root] = trace.named(order)[..] else {
        panic!("one order")
    };
    let agents: BTreeSet<&str> = trace.0.values().map(|span| span.service.as_str()).collect();
    assert_eq!(agents, BTreeSet::from(EVERYBODY));
    for span in trace.0.values() {
        assert_eq!(span.trace, root.trace, "another trace: {span:#?}");
        let way = trace.way_up(span);
        assert_eq!(way[way.len() - 1].id, root.id, "{way:#?}");
    }
    for state in &PATH[..4] {
        let name = format!("state {state}");
        let [state] = trace.named(&name)[..] else {
            panic!("{name}: once")
        };
        assert_eq!(trace.parent(state).name, run);
    }
    // Every command: sent in a state, processed once, and continued where it was sent.
    for (command, state, count) in COMMANDS {
        let processed = trace.named(&process(command));
        assert_eq!(processed.len(), count, "{command}");
        let mut senders = BTreeSet::new();
        for process in processed {
            let publish = trace.parent(process);
            assert_eq!(publish.name, format!("publish mcp.cmd.{command}"));
            assert_eq!(
                (publish.kind.as_str(), process.kind.as_str()),
                ("PRODUCER", "CONSUMER")
            );
            assert_eq!(process.links, std::slice::from_ref(&publish.id));
            let id = "messaging.message.id";
            assert_eq!(process.attributes[id], publish.attributes[id]);
            let sent_in = trace.way_up(publish);
            assert!(
                sent_in.iter().any(|span| span.name == state),
                "{command}: {sent_in:#?}"
            );
            senders.insert(publish.id.as_str());
        }
        assert_eq!(senders.len(), count, "each has a publish of its own");
    }
    // What the video is about is nobody's business.
    let mut told = vec![sink.bytes()];
    for log in fs::read_dir(studio.logs.path())? {
        told.push(fs::read(log?.path())?);
    }
    assert_eq!(told.len(), 1 + EVERYBODY.len());
    for text in told {
        let mut parts = text.windows(THEME.len());
        assert!(
            !parts.any(|part| part == THEME.as_bytes()),
            "a parameter is told"
        );
    }
    Ok(())
}
