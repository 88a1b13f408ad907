//! The workflow without a server and without agents: what they would answer is written down here.

use mcp_agent_sdk::{WorkflowStatus, WorkflowTest, WorkflowTestError, code};

use super::*;
use crate::actions::{Credited, SceneFile, SoundFile};

fn credited<R>(result: R) -> Credited<R> {
    let made = Made {
        instance: "test".to_owned(),
        began_at: 1,
        took_ms: 2,
    };
    Credited { result, made }
}

/// A studio in which everybody knows the answer at once. `folder` is where the films go.
fn studio(folder: &Path) -> WorkflowTest {
    let order = MakeVideo {
        theme: "ocean".to_owned(),
        output: folder.join("film.mp4"),
    };
    let write = |theme: Theme| Ok(credited(Script::for_theme(&theme.theme)));
    let draw = |order: RenderScene| {
        let file = order.workdir.join(format!("{}.scene", order.scene.index));
        let (frames, bytes) = (order.scene.frames(), 1);
        Ok(credited(SceneFile {
            file,
            frames,
            bytes,
        }))
    };
    let (file, duration_ms) = (folder.join("sound.wav"), 12_000);
    let sound = SoundFile { file, duration_ms };
    let cut = |cut: Assemble| {
        let (file, sound) = (cut.output, "flac".to_owned());
        let (duration_ms, bytes) = (cut.script.duration_ms(), 1);
        Ok(credited(FilmFile {
            file,
            duration_ms,
            bytes,
            sound,
        }))
    };
    WorkflowTest::with_state(definition(), Director::new())
        .data(&Production::of(order))
        .answer_with("content_agent", "generate_script", write)
        .answer_with("visual_agent", "render_scene", draw)
        .answer("audio_agent", "synthesize", &credited(sound))
        .answer_with("editing_agent", "assemble", cut)
}

#[tokio::test]
async fn a_scene_that_fails_once_is_drawn_again_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let busy = McpError::temporary(code::OVERLOADED);
    let test = studio(folder.path()).fail_first("visual_agent", "render_scene", busy);
    let run = test.run().await.unwrap();
    run.assert_status(WorkflowStatus::Completed)
        .assert_path(&["script", "visuals", "audio", "assembly", "done"]);
    let video: Production = run.data().unwrap();
    let scenes = video.script().unwrap().scenes.len();
    assert_eq!(run.count("visual_agent", "render_scene"), scenes + 1);
    assert_eq!(run.events[0].name, "video_made");
}

#[tokio::test]
async fn whoever_dies_wherever_the_film_is_the_same_and_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let report = studio(folder.path()).crash_at_every_step().await.unwrap();
    assert!(report.crashes > 50, "{} crashes", report.crashes);
}

#[tokio::test]
async fn an_agent_that_nobody_wrote_down_is_named() {
    let test = WorkflowTest::with_state(definition(), Director::new());
    let folder = tempfile::tempdir().unwrap();
    let order = MakeVideo {
        theme: "ocean".to_owned(),
        output: folder.path().join("film.mp4"),
    };
    let error = test.data(&Production::of(order)).run().await.unwrap_err();
    assert!(
        matches!(error, WorkflowTestError::Unscripted { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("content_agent"), "{error}");
}
