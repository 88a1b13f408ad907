//! The studio of the demo as it is deployed: three servers with TLS on both sides, an identity for each agent, three copies of
//! everything. Every process is replaced, one after the other, while videos are ordered and made: none is lost.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use mcp_agent_sdk::{
    Client, Config, RetryConfig, Submitted, WorkflowFilter, WorkflowStatus, Workflows,
    runtime::Setup,
};
use mcp_tests::{Cluster, eventually, present, run_in, run_with, video_studio};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::TestResult;

/// The shortest videos: four scenes.
const THEME: &str = "techno";

/// For all videos together, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(400);

const CREW: [&str; 6] = [
    "content_agent",
    "visual_agent",
    "visual_agent",
    "audio_agent",
    "editing_agent",
    "director_agent",
];

struct Studio {
    cluster: Cluster,
    folder: TempDir,
    crew: Vec<(&'static str, Child)>,
    hired: usize,
}

impl Studio {
    async fn open() -> Result<Self, Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let others = "content_agent,visual_agent,audio_agent,editing_agent";
        let orders: [&[&str]; 7] = [
            &["init"],
            &["agent", "add", "content_agent", "--payloads"],
            &["agent", "add", "visual_agent", "--payloads"],
            &["agent", "add", "audio_agent", "--payloads"],
            &["agent", "add", "editing_agent", "--payloads"],
            &[
                "agent",
                "add",
                "director_agent",
                "--commands",
                others,
                "--runs",
                "video",
                "--payloads",
            ],
            &[
                "agent",
                "add",
                "desk",
                "--client",
                "--commands",
                "director_agent",
                "--drives",
                "video",
                "--payloads",
            ],
        ];
        for order in orders {
            let done = run_in(folder.path(), "", &[&["auth"], order].concat()).await;
            assert_eq!(done.code, 0, "{done:?}");
        }
        let cluster = Cluster::start_secured(3, &folder.path().join("auth/server")).await;
        let replicas = [("MCP_REPLICAS", "3")];
        let applied = run_with(folder.path(), &cluster.url(), &["auth", "apply"], &replicas).await;
        assert_eq!(applied.code, 0, "{applied:?}");
        Ok(Self {
            cluster,
            folder,
            crew: Vec::new(),
            hired: 0,
        })
    }

    fn identity(&self, name: &str) -> PathBuf {
        self.folder.path().join("auth/identities/mcp").join(name)
    }

    async fn client(&self, name: &str) -> Result<Client, Box<dyn std::error::Error>> {
        let config = Config::new(self.cluster.url()).name(name);
        let config = config.auth(self.identity(name)).setup(Setup::Assume);
        Ok(Client::connect(config).await?)
    }

    fn hire(&mut self, agent: &'static str) -> std::io::Result<()> {
        self.hired += 1;
        let log = self
            .folder
            .path()
            .join(format!("{}-{agent}.log", self.hired));
        let mut command = Command::new(video_studio());
        let ours = env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MCP_"));
        for (name, _) in ours {
            command.env_remove(name);
        }
        let child = command
            .arg(agent)
            .env("MCP_NATS_URL", self.cluster.url())
            .env("MCP_AUTH", self.identity(agent))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .kill_on_drop(true)
            .spawn()?;
        self.crew.push((agent, child));
        Ok(())
    }

    /// Starts a successor, and asks the first of the crew to leave when that is there.
    async fn replace_first(&mut self, watcher: &Client) -> TestResult {
        let agent = self.crew[0].0;
        let before = self.crew.iter().filter(|(name, _)| *name == agent).count();
        self.hire(agent)?;
        present(watcher, agent, before + 1).await;
        let (_, mut leaves) = self.crew.remove(0);
        let pid = leaves.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.ok_or("it runs")?, Signal::TERM)?;
        let status = timeout(PATIENCE, leaves.wait()).await??;
        assert!(status.success(), "{agent}: {status}");
        Ok(())
    }

    fn logs(&self) -> String {
        let entries = fs::read_dir(self.folder.path())
            .into_iter()
            .flatten()
            .flatten();
        let logs = entries.filter(|entry| entry.path().extension().is_some_and(|is| is == "log"));
        logs.map(|entry| fs::read_to_string(entry.path()).unwrap_or_default())
            .collect()
    }
}

/// Videos that were ordered, each with the file that it becomes.
struct Orders<'a> {
    desk: &'a Client,
    folder: PathBuf,
    placed: Vec<(PathBuf, Submitted)>,
}

impl<'a> Orders<'a> {
    fn of(desk: &'a Client, folder: &Path) -> Self {
        Self {
            desk,
            folder: folder.to_owned(),
            placed: Vec::new(),
        }
    }

    async fn place(&mut self) -> TestResult {
        let output = self.folder.join(format!("film{}.mp4", self.placed.len()));
        let order = json!({ "theme": THEME, "output": &output });
        let submitted = self
            .desk
            .submit_command("director_agent", "make_video", order)
            .retry(RetryConfig {
                max_retries: 20,
                ..RetryConfig::default()
            })
            .await?;
        self.placed.push((output, submitted));
        Ok(())
    }

    /// What is replaced now is replaced under load.
    async fn until_one_is_made(&self) {
        let workflows = Workflows::new(self.desk);
        let running = WorkflowFilter::default().status(WorkflowStatus::Running);
        eventually("a video is being made", || async {
            let found = workflows.list_workflows(&running).await;
            found.is_ok_and(|found| !found.is_empty())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_is_replaced_while_videos_are_made_and_none_is_lost() -> TestResult {
    let mut studio = Studio::open().await?;
    let (desk, admin) = (studio.client("desk").await?, studio.client("admin").await?);
    for agent in CREW {
        studio.hire(agent)?;
    }
    for agent in CREW {
        let count = CREW.iter().filter(|other| **other == agent).count();
        present(&admin, agent, count).await;
    }
    let began = Instant::now();
    let mut orders = Orders::of(&desk, studio.folder.path());
    for at in 0..studio.cluster.size() {
        orders.place().await?;
        orders.until_one_is_made().await;
        studio.cluster.end(at, Signal::TERM).await;
        // Two of three servers take it.
        orders.place().await?;
        studio.cluster.revive(at).await;
        studio.replace_first(&admin).await?;
    }
    while studio.hired < 2 * CREW.len() {
        orders.place().await?;
        orders.until_one_is_made().await;
        studio.replace_first(&admin).await?;
    }
    let replaced = began.elapsed();
    let workflows = Workflows::new(&desk);
    for (output, submitted) in &orders.placed {
        let video: Value = submitted.outcome(PATIENCE).await?;
        assert_eq!(video["bytes"], fs::metadata(output)?.len(), "{video}");
        let id = video["workflow"].as_str().unwrap_or_default();
        let record = workflows
            .get_workflow(id)
            .await?
            .ok_or("the workflow is there")?;
        assert_eq!(record.status, WorkflowStatus::Completed);
    }
    println!(
        "9 processes replaced in {replaced:?}, {} videos made in {:?}",
        orders.placed.len(),
        began.elapsed()
    );
    let letters = admin.jetstream().get_stream("mcp_dead_letters").await?;
    assert_eq!(letters.cached_info().state.messages, 0);
    for at in 0..studio.cluster.size() {
        let log = studio.cluster.log(at);
        let refused: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("Violation"))
            .collect();
        assert!(refused.is_empty(), "{refused:#?}");
    }
    let said = studio.logs();
    for name in ["director_agent", "visual_agent", "admin"] {
        let seed = fs::read_to_string(studio.identity(name).join("user.nk"))?;
        assert!(!said.contains(seed.trim()), "a seed is in a log");
    }
    Ok(())
}
