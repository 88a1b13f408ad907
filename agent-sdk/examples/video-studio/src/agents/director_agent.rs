//! Makes a video by asking the others.
//!
//! ```text
//! generate_script --+--> render_scene x5 --+--> assemble
//!                   +--> synthesize -------+
//! ```
//!
//! The director holds nothing that matters: when its process dies, the command is delivered to the
//! next director, which starts over. [`crew`] keeps the conversation, the clock and the bars.

mod crew;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use futures_util::{future::try_join_all, try_join};
use mcp_agent_sdk::{Agent, Context, McpError};
use serde_json::json;

use super::editing_agent::check_output;
use crate::{
    actions::{
        ASSEMBLE, Assemble, FilmFile, GENERATE_SCRIPT, MAKE_VIDEO, MakeVideo, RENDER_SCENE,
        RenderScene, SYNTHESIZE, Synthesize, Theme, Video,
    },
    failure::MediaError,
    script::Scene,
};
use crew::Crew;

/// For everything when the requester sets no deadline: a video takes seconds, a slow machine minutes.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn agent() -> Agent {
    Agent::new("director_agent")
        .handle(MAKE_VIDEO, make_video)
        .capacity(4)
}

async fn make_video(ctx: Context, order: MakeVideo) -> Result<Video, McpError> {
    check_output(&order.output)?;
    let workdir = Workdir::create(&order.output, ctx.message_id())?;
    let crew = Crew::new(&ctx, ctx.remaining().unwrap_or(PATIENCE));
    let film = produce(&crew, &order, &workdir.0).await;
    let (steps, took_ms) = crew.finish().await;
    let film = film?;

    let news = json!({ "theme": order.theme, "file": film.file, "duration_ms": film.duration_ms });
    ctx.publish("video_made", news).await?;
    Ok(Video {
        theme: order.theme,
        film,
        took_ms,
        steps,
    })
}

async fn produce(crew: &Crew, order: &MakeVideo, workdir: &Path) -> Result<FilmFile, McpError> {
    let theme = Theme {
        theme: order.theme.clone(),
    };
    let script = crew.ask(GENERATE_SCRIPT, "the script", &theme).await?;

    // Pictures and sound need only the script: all scenes and the music are asked for at once, and the
    // queues see to it that every replica is busy.
    let frames: u32 = script.scenes.iter().map(Scene::frames).sum();
    crew.expect(1 + 2 * frames + script.scenes.len() as u32 + 1);
    let scenes = script.scenes.iter().map(|scene| async {
        let what = format!("scene {} of {}", scene.index + 1, script.scenes.len());
        let parameters = RenderScene {
            scene: scene.clone(),
            workdir: workdir.to_owned(),
        };
        crew.ask(RENDER_SCENE, &what, &parameters).await
    });
    let music = Synthesize {
        script: script.clone(),
        workdir: workdir.to_owned(),
    };
    let (scenes, sound) = try_join!(
        try_join_all(scenes),
        crew.ask(SYNTHESIZE, "the music", &music)
    )?;

    let scenes = scenes.into_iter().map(|scene| scene.file).collect();
    let cut = Assemble {
        script: script.clone(),
        scenes,
        sound: sound.file,
        output: order.output.clone(),
    };
    crew.ask(ASSEMBLE, "the film", &cut).await
}

/// A folder for what is needed only on the way, beside the film and gone when the work ends, however
/// it ends. Its name comes from the command, so a second attempt finds and clears what a first one left.
struct Workdir(PathBuf);

impl Workdir {
    fn create(output: &Path, message_id: &str) -> Result<Self, McpError> {
        let parent = output.parent().unwrap_or(Path::new("/"));
        let path = parent.join(format!(".studio-{message_id}"));
        fs::create_dir_all(&path)
            .map_err(MediaError::at(&path))
            .map_err(|error| super::to_mcp_error(&error))?;
        Ok(Self(path))
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use mcp_agent_sdk::{SendError, TestBroker};

    use super::*;
    use crate::{
        actions::Bar,
        agents::{audio_agent, content_agent, editing_agent, visual_agent},
    };

    /// The whole studio in one process, on a broker of its own.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_theme_becomes_a_film_and_everybody_reports() {
        let broker = TestBroker::start().await.unwrap();
        let client = broker.client().await.unwrap();
        let mut crew = Vec::new();
        for make in [
            content_agent::agent,
            visual_agent::agent,
            visual_agent::agent,
            audio_agent::agent,
            editing_agent::agent,
            agent,
        ] {
            crew.push(make().start(&client).await.unwrap());
        }
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("film.mp4");
        let bars: Arc<Mutex<Vec<(f64, Bar)>>> = Arc::default();
        let seen = Arc::clone(&bars);
        let order = MakeVideo {
            theme: "ocean".to_owned(),
            output: output.clone(),
        };
        let video: Video = client
            .send_command("director_agent", "make_video", &order)
            .timeout(Duration::from_secs(300))
            .on_progress(move |progress| {
                let bar = Bar::of(progress).unwrap();
                seen.lock().unwrap().push((progress.fraction.unwrap(), bar));
            })
            .await
            .unwrap();

        assert!(video.film.duration_ms >= 12_000);
        assert_eq!(fs::metadata(&output).unwrap().len(), video.film.bytes);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "only the film stays"
        );
        let done_by = |name: &str| video.steps.iter().filter(|step| step.agent == name).count();
        assert_eq!(video.steps.len(), 3 + done_by("visual_agent"));
        assert!(done_by("visual_agent") >= 4);
        assert!(video.steps.iter().all(|step| !step.instance.is_empty()));

        for agent in crew {
            agent.drain().await;
        }
        let bars = bars.lock().unwrap();
        for name in [
            "content_agent",
            "visual_agent",
            "audio_agent",
            "editing_agent",
        ] {
            assert!(
                bars.iter()
                    .any(|(_, bar)| bar.agent == name && bar.done == bar.total),
                "{name}"
            );
        }
        assert_eq!(
            bars.last().map(|(fraction, bar)| (*fraction, bar.done)),
            Some((1.0, bars.last().unwrap().1.total))
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn orders_that_make_no_sense_are_refused_for_good() {
        let broker = TestBroker::start().await.unwrap();
        let client = broker.client().await.unwrap();
        let content = content_agent::agent().start(&client).await.unwrap();
        let director = agent().start(&client).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (theme, output) in [
            ("", "film.mp4"),
            ("ocean", "film.avi"),
            (&"a".repeat(61)[..], "film.mp4"),
        ] {
            let order = MakeVideo {
                theme: theme.to_owned(),
                output: folder.path().join(output),
            };
            let answer: Result<Video, SendError> = client
                .send_command("director_agent", "make_video", &order)
                .await;
            let error = answer.unwrap_err().to_mcp_error();
            assert_eq!(
                (&error.code[..], error.is_temporary()),
                ("INVALID_PARAMETERS", false),
                "{error}"
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        director.drain().await;
        content.drain().await;
    }
}
