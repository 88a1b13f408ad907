//! The workflow `video`: a state for each thing that has to be there before the next one can begin.
//!
//! ```text
//! script --> visuals --> audio --> assembly --> done
//! ```
//!
//! When the director dies in the middle of a state, another one runs that state again. What has been
//! made already is not made again: the commands carry keys that follow from the workflow, the entry
//! into the state and the label of the call, so the agents answer what they have answered before.
//!
//! There is no error state: a video that cannot be made has failed, with the error kept, and
//! `mcpctl workflow resume` goes on with the state that failed.

#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use futures_util::future::try_join_all;
use mcp_agent_sdk::{
    McpError, Workflow, WorkflowContext, WorkflowState, WorkflowTransitionResult as Then,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    crew::{Crew, Piece},
    news::Director,
};
use crate::{
    actions::{
        ASSEMBLE, Assemble, FilmFile, GENERATE_SCRIPT, Made, MakeVideo, RENDER_SCENE, RenderScene,
        SYNTHESIZE, Synthesize, Theme,
    },
    agents::{editing_agent::check_output, refuse, to_mcp_error},
    failure::MediaError,
    script::{Scene, Script},
};

/// The definition's name.
pub(super) const VIDEO: &str = "video";

/// A video on its way: the workflow's data. Small; pictures and sound are files.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Production {
    pub(super) theme: String,
    /// Where the film goes: an absolute path that ends with `.mp4`.
    pub(super) output: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) script: Option<Script>,
    /// One file a scene, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scenes: Vec<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sound: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) film: Option<FilmFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) credits: Vec<Credit>,
}

/// Who did what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Credit {
    pub(super) agent: String,
    pub(super) action: String,
    pub(super) what: String,
    pub(super) made: Made,
}

pub(super) fn definition() -> Workflow<Director> {
    Workflow::new(VIDEO)
        .version("1")
        .state(
            "script",
            WorkflowState::run(script).to("visuals").checkpoint(),
        )
        .state(
            "visuals",
            WorkflowState::run(visuals).to("audio").checkpoint(),
        )
        .state(
            "audio",
            WorkflowState::run(audio).to("assembly").checkpoint(),
        )
        .state(
            "assembly",
            WorkflowState::run(assembly)
                .to("done")
                .checkpoint()
                .on_exit(clear_up),
        )
        .state("done", WorkflowState::end())
}

async fn script(ctx: WorkflowContext<Director>, mut video: Production) -> Result<Then, McpError> {
    check_output(&video.output)?;
    let crew = Crew::of(&ctx, &video);
    let theme = Theme {
        theme: video.theme.clone(),
    };
    let piece = Piece::new("the script", 1);
    let script = crew.ask(&ctx, GENERATE_SCRIPT, &theme, piece).await?;
    script.check().map_err(refuse)?;
    video.script = Some(script);
    video.credits.extend(crew.credits());
    Ok(Then::to("visuals").with(&video))
}

/// All scenes are asked for at once, and the queue sees to it that every replica is busy. Their order
/// is not fixed, so each command has a label.
async fn visuals(ctx: WorkflowContext<Director>, mut video: Production) -> Result<Then, McpError> {
    let script = video.script()?;
    let workdir = video.workdir(ctx.workflow_id())?;
    fs::create_dir_all(&workdir)
        .map_err(MediaError::at(&workdir))
        .map_err(|error| to_mcp_error(&error))?;
    let crew = Crew::of(&ctx, &video);
    let scenes = script.scenes.iter().map(|scene| {
        let ctx = ctx.labelled(&format!("scene-{}", scene.index));
        let what = format!("scene {} of {}", scene.index + 1, script.scenes.len());
        let order = RenderScene {
            scene: scene.clone(),
            workdir: workdir.clone(),
        };
        let (crew, piece) = (&crew, Piece::new(what, scene.frames()));
        async move { crew.ask(&ctx, RENDER_SCENE, &order, piece).await }
    });
    let scenes = try_join_all(scenes).await?;
    video.scenes = scenes.into_iter().map(|scene| scene.file).collect();
    video.credits.extend(crew.credits());
    Ok(Then::to("audio").with(&video))
}

async fn audio(ctx: WorkflowContext<Director>, mut video: Production) -> Result<Then, McpError> {
    let script = video.script()?.clone();
    let piece = Piece::new("the music", script.scenes.len() as u32 + 1);
    let order = Synthesize {
        workdir: video.workdir(ctx.workflow_id())?,
        script,
    };
    let crew = Crew::of(&ctx, &video);
    let sound = crew.ask(&ctx, SYNTHESIZE, &order, piece).await?;
    video.sound = Some(sound.file);
    video.credits.extend(crew.credits());
    Ok(Then::to("assembly").with(&video))
}

async fn assembly(ctx: WorkflowContext<Director>, mut video: Production) -> Result<Then, McpError> {
    let script = video.script()?.clone();
    let frames = script.scenes.iter().map(Scene::frames).sum();
    let cut = Assemble {
        script,
        scenes: video.scenes.clone(),
        sound: video
            .sound
            .clone()
            .ok_or_else(|| refuse("the video has no sound yet"))?,
        output: video.output.clone(),
    };
    let crew = Crew::of(&ctx, &video);
    let piece = Piece::new("the film", frames);
    let film = crew.ask(&ctx, ASSEMBLE, &cut, piece).await?;

    let news = json!({ "theme": video.theme, "file": film.file, "duration_ms": film.duration_ms });
    ctx.publish("video_made", news).await?;
    video.film = Some(film);
    video.credits.extend(crew.credits());
    Ok(Then::to("done").with(&video))
}

/// Runs when the film is there. A video that failed or was stopped keeps its files: it may go on.
async fn clear_up(ctx: WorkflowContext<Director>) -> Result<(), McpError> {
    let workdir = ctx.data::<Production>()?.workdir(ctx.workflow_id())?;
    match fs::remove_dir_all(&workdir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl Production {
    pub(super) fn of(order: MakeVideo) -> Self {
        Self {
            theme: order.theme,
            output: order.output,
            script: None,
            scenes: Vec::new(),
            sound: None,
            film: None,
            credits: Vec::new(),
        }
    }

    fn script(&self) -> Result<&Script, McpError> {
        let script = self.script.as_ref();
        script.ok_or_else(|| refuse("the video has no script yet"))
    }

    /// The folder for what is needed only on the way, beside the film. Its name follows from the
    /// workflow, so whoever goes on with the video finds what is there.
    fn workdir(&self, workflow_id: &str) -> Result<PathBuf, McpError> {
        check_output(&self.output)?;
        let parent = self.output.parent().unwrap_or(Path::new("/"));
        Ok(parent.join(format!(".studio-{workflow_id}")))
    }
}
