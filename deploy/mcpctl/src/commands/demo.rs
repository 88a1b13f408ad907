//! `mcpctl demo`: a short video by a team of agents, on a server of its own.
//!
//! `team` are the agents' processes, `board` shows their progress, `film` is what comes of it. The agents themselves
//! are the SDK's example `video-studio`, which this command only starts, asks and stops.

mod board;
mod film;
mod team;
mod tracing;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use mcp_agent_sdk::{Client, Config, LocalServer, Workflows};
use serde_json::json;
use tempfile::TempDir;

use crate::{cli::Global, failure::Failure, jaeger::Jaeger, output, signals::Signals};
use board::Board;
use film::Film;
use team::Team;

/// Makes a short video with a team of agents, on a server of its own.
///
/// Starts a NATS server on a free port and the agents of a video studio as separate processes, three of them drawing
/// in parallel, asks the director for a video, and stops everything again. The video is a durable workflow: whichever
/// agent is killed meanwhile, another one takes over, and what is finished is not done again.
///
/// Where a Jaeger runs (`make jaeger`), it gets everybody's traces, and the demo ends with a link to the video's.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// What the video is about
    #[arg(long, default_value = "northern lights")]
    theme: String,
    /// The video's file (default: short-video-<theme>.mp4 in the current folder)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The studio's program (default: video-studio beside mcpctl)
    #[arg(long, value_name = "PATH")]
    studio: Option<PathBuf>,
    /// How long the team may take
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Duration,
    /// Where Jaeger shows its page (default: http://127.0.0.1:16686, if one answers there)
    #[arg(long, value_name = "URL", env = "MCP_JAEGER_URL", value_parser = Jaeger::parse)]
    jaeger: Option<Jaeger>,
    /// The Jaeger that has answered.
    #[arg(skip)]
    found: Option<Jaeger>,
}

impl DemoArgs {
    /// Looks for a Jaeger before anything starts; returns where traces are to go then.
    pub(crate) async fn find_jaeger(&mut self) -> Option<String> {
        self.found = tracing::find(self.jaeger.as_ref()).await;
        self.found.as_ref().map(Jaeger::otlp)
    }
}

pub(crate) async fn run(args: DemoArgs, global: &Global) -> Result<(), Failure> {
    let output = film::output_path(&args.theme, args.output.as_deref())?;
    let studio = team::find_studio(args.studio.as_deref())?;
    let mut signals = Signals::listen()?;
    let work = tempfile::Builder::new()
        .prefix("mcp-demo-")
        .tempdir()
        .map_err(|error| Failure::io("cannot make a work folder", &error))?;

    let mut stage = Stage {
        server: None,
        team: Team::default(),
    };
    let made = tokio::select! {
        made = stage.perform(&args, &studio, &output, work.path(), global) => Some(made),
        () = signals.next() => None,
    };
    stage.clear().await;
    let made = match made {
        Some(Ok(film)) => Some(Ok(film.traced_by(args.found.as_ref()).await)),
        made => made,
    };
    match made {
        Some(Ok(film)) if global.json => output::json(&json!({ "video": film })),
        Some(Ok(film)) => film.announce(&args.theme),
        Some(Err(failure)) => return Err(keep_logs(failure, work, &stage.team)),
        // Whoever stops it knows why, and needs no logs.
        None => return Err(Failure::answered("stopped before the video was ready")),
    }
    Ok(())
}

/// Everything that has to be stopped at the end, whatever the end is.
struct Stage {
    server: Option<LocalServer>,
    team: Team,
}

impl Stage {
    async fn perform(
        &mut self,
        args: &DemoArgs,
        studio: &Path,
        output: &Path,
        work: &Path,
        global: &Global,
    ) -> Result<Film, Failure> {
        let server = LocalServer::builder()
            .store_dir(work.join("nats"))
            .start()
            .await?;
        let url = server.url().to_owned();
        let server = self.server.insert(server);
        output::note(format!(
            "nats-server {} on {url}, its data in {}",
            server.program().version,
            work.display()
        ));

        let config = Config::new(&url)
            .name("mcpctl")
            .namespace(&global.namespace);
        let client = global.connect_with(config).await?;
        let tracing = tracing::variables(args.found.as_ref());
        self.team
            .hire(studio, &url, &global.namespace, &work.join("logs"), tracing)?;
        let present = tokio::select! {
            present = team::all_present(&client) => present?,
            lost = self.team.lost() => return Err(lost),
        };
        output::note(format!(
            "{} agents are ready; director_agent is asked for a video of `{}`",
            present.len(),
            args.theme
        ));

        let board = Arc::new(Board::new(&present));
        let film = tokio::select! {
            film = order(&client, args, output, &board) => film,
            lost = self.team.lost() => Err(lost),
            status = server.exited() => Err(Failure::unreachable(match status {
                Ok(status) => format!("nats-server ended by itself ({status})"),
                Err(error) => error.to_string(),
            })),
        };
        board.clear();
        Ok(film?.credited_to(&present))
    }

    /// Stops the agents, then the server.
    async fn clear(&mut self) {
        self.team.dismiss().await;
        if let Some(server) = &mut self.server
            && let Err(error) = server.stop().await
        {
            output::note(error.to_string());
        }
    }
}

async fn order(
    client: &Client,
    args: &DemoArgs,
    output: &Path,
    board: &Arc<Board>,
) -> Result<Film, Failure> {
    let board = Arc::clone(board);
    let film: Film = client
        .send_command(
            "director_agent",
            "make_video",
            json!({ "theme": args.theme, "output": output }),
        )
        .timeout(args.timeout)
        .on_progress(move |progress| board.show(progress))
        .await?;
    // How it was made is worth a line; the film is there without it.
    match Workflows::new(client).get_workflow(&film.workflow).await {
        Ok(Some(record)) => Ok(film.by_way_of(&record)),
        _ => Ok(film),
    }
}

/// Shows the end of the logs and leaves the folder where it is.
fn keep_logs(failure: Failure, work: TempDir, team: &Team) -> Failure {
    if !team.is_empty() {
        output::note(team.last_words());
    }
    let kept = work.keep();
    failure.remedy(format!("the logs are in {}", kept.join("logs").display()))
}
