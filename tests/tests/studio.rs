//! The studio of the demo, as real processes: its videos are workflows, so a `kill -9` in the middle costs time and nothing
//! else.

use std::{
    collections::BTreeMap,
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
use mcp_tests::{eventually, present, run, video_studio};
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
}

impl Studio {
    async fn open(agents: &[&'static str]) -> Result<Self, Box<dyn Error>> {
        let broker = TestBroker::start().await?;
        let mut studio = Self {
            client: broker.client().await?,
            broker,
            folder: tempfile::tempdir()?,
            logs: tempfile::tempdir()?,
            agents: Vec::new(),
            hired: 0,
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
