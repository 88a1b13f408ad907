//! Draws a scene, frame by frame, into a scene file.
//!
//! [`canvas`] knows how to put light on a picture, [`motif`] what to put where.

mod canvas;
mod motif;

use std::path::Path;

use crate::{
    failure::{MediaError, Step},
    frames::{Frame, SceneWriter},
    script::{FPS, Scene},
};
use canvas::Canvas;

/// Draws `scene` into the file `path`, calling `step` after each frame.
pub(crate) fn render(scene: &Scene, path: &Path, step: Step<'_>) -> Result<(), MediaError> {
    let frames = scene.frames();
    let mut writer = SceneWriter::create(path, frames)?;
    let mut canvas = Canvas::new();
    let mut frame = Frame::black();
    for number in 0..frames {
        let seconds = number as f32 / FPS as f32;
        motif::draw(scene, seconds, &mut canvas);
        canvas.develop(&mut frame);
        writer.push(&frame)?;
        step(number + 1, frames)?;
    }
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        frames::SceneReader,
        script::{Motif, Script},
    };

    fn first_frame(scene: &Scene) -> Frame {
        let mut canvas = Canvas::new();
        let mut frame = Frame::black();
        motif::draw(scene, 0.5, &mut canvas);
        canvas.develop(&mut frame);
        frame
    }

    #[test]
    fn a_rendered_scene_has_all_its_frames_and_moves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scene");
        let mut scene = Script::for_theme("ocean").scenes.remove(0);
        scene.duration_ms = 250;
        let mut steps = Vec::new();
        render(&scene, &path, &mut |done, total| {
            steps.push((done, total));
            Ok(())
        })
        .unwrap();
        assert_eq!(steps, (1..=6).map(|n| (n, 6)).collect::<Vec<_>>());

        let mut reader = SceneReader::open(&path).unwrap();
        let (mut first, mut second) = (Frame::black(), Frame::black());
        reader.next(&mut first).unwrap();
        reader.next(&mut second).unwrap();
        assert_ne!(first, second);
        assert_eq!(reader.left(), 4);
    }

    #[test]
    fn stopping_ends_the_work_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scene");
        let scene = Script::for_theme("ocean").scenes.remove(0);
        let stopped = render(&scene, &path, &mut |done, _| match done {
            3 => Err(MediaError::Stopped),
            _ => Ok(()),
        });
        assert!(matches!(stopped, Err(MediaError::Stopped)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn every_motif_draws_a_picture_with_light_and_shade() {
        let mut scene = Script::for_theme("deep space").scenes.remove(0);
        let mut seen: Vec<Frame> = Vec::new();
        for motif in Motif::ALL {
            scene.motif = motif;
            let frame = first_frame(&scene);
            let (luma, _, _) = frame.planes();
            let (dark, bright) = (luma.iter().min().unwrap(), luma.iter().max().unwrap());
            assert!(bright - dark > 60, "{motif:?}: {dark}..{bright}");
            assert!(!seen.contains(&frame), "{motif:?} looks like another one");
            seen.push(frame);
        }
    }
}
