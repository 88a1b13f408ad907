//! What the agents say to each other: every action with the types of its parameters and result.
//!
//! Both sides use these constants, so a caller cannot misspell an action or send it the wrong type.
//! Large things (frames, sound, the film) stay in files; the messages carry their paths, and so does
//! the record of the workflow that they are sent from.

use std::path::PathBuf;

use mcp_agent_sdk::{Action, Progress};
use serde::{Deserialize, Serialize};

use crate::script::{Scene, Script};

/// Writes the script for a theme.
pub(crate) const GENERATE_SCRIPT: Action<Theme, Credited<Script>> =
    Action::new("content_agent", "generate_script");

/// Draws one scene into a file.
pub(crate) const RENDER_SCENE: Action<RenderScene, Credited<SceneFile>> =
    Action::new("visual_agent", "render_scene");

/// Plays the music of a script into a file.
pub(crate) const SYNTHESIZE: Action<Synthesize, Credited<SoundFile>> =
    Action::new("audio_agent", "synthesize");

/// Makes a film of scene files and a sound file.
pub(crate) const ASSEMBLE: Action<Assemble, Credited<FilmFile>> =
    Action::new("editing_agent", "assemble");

/// Makes a video from a theme, with everybody's help.
pub(crate) const MAKE_VIDEO: Action<MakeVideo, Video> = Action::new("director_agent", "make_video");

/// A result, and who made it. The credit is part of the result, so that it is still known when the
/// same command gets the same result again, long after the work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Credited<R> {
    #[serde(flatten)]
    pub(crate) result: R,
    pub(crate) made: Made,
}

/// One execution of a command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Which replica of the agent.
    pub(crate) instance: String,
    /// Unix milliseconds, by the clock of that replica: to be shown, not to be decided by.
    pub(crate) began_at: u64,
    pub(crate) took_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Theme {
    pub(crate) theme: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RenderScene {
    pub(crate) scene: Scene,
    /// An absolute path that all agents see.
    pub(crate) workdir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SceneFile {
    pub(crate) file: PathBuf,
    pub(crate) frames: u32,
    pub(crate) bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Synthesize {
    pub(crate) script: Script,
    /// An absolute path that all agents see.
    pub(crate) workdir: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SoundFile {
    pub(crate) file: PathBuf,
    pub(crate) duration_ms: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Assemble {
    pub(crate) script: Script,
    /// One file a scene, in order.
    pub(crate) scenes: Vec<PathBuf>,
    pub(crate) sound: PathBuf,
    /// Where the film goes: an absolute path that ends with `.mp4`.
    pub(crate) output: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FilmFile {
    pub(crate) file: PathBuf,
    pub(crate) duration_ms: u32,
    pub(crate) bytes: u64,
    /// The sound inside: `flac`, or `aac` when ffmpeg helped.
    pub(crate) sound: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MakeVideo {
    pub(crate) theme: String,
    /// Where the film goes: an absolute path that ends with `.mp4`.
    pub(crate) output: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Video {
    pub(crate) theme: String,
    #[serde(flatten)]
    pub(crate) film: FilmFile,
    /// The id of the workflow that made it.
    pub(crate) workflow: String,
    pub(crate) took_ms: u64,
    /// Who did what, in the order of their beginning.
    pub(crate) steps: Vec<Step>,
}

/// One line of the table of who did what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) agent: String,
    /// Which replica of the agent.
    pub(crate) instance: String,
    pub(crate) action: String,
    /// In words: `scene 2 of 5`.
    pub(crate) what: String,
    /// Since the workflow began.
    pub(crate) started_ms: u64,
    pub(crate) took_ms: u64,
}

/// The `data` of every progress frame in the studio: what a front end needs to draw a bar.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bar {
    pub(crate) agent: String,
    pub(crate) instance: String,
    pub(crate) done: u32,
    pub(crate) total: u32,
    pub(crate) note: String,
}

impl Bar {
    /// The bar in a progress frame of the studio; other frames have none.
    pub(crate) fn of(progress: &Progress) -> Option<Self> {
        serde_json::from_value(progress.data.clone()?).ok()
    }
}
