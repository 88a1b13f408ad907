//! Cuts the film: scenes one after the other, captions on top, sound beside, one MP4.
//!
//! Works through the scenes frame by frame and holds two frames at a time; only the finished, small
//! H.264 stream stays in memory until the file is written.

mod caption;
mod ffmpeg;
mod flac;
mod h264;
mod mp4;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    audio::wav,
    failure::{MediaError, Step},
    frames::{Frame, SceneReader},
    script::{FPS, Scene, Script},
};
use caption::Caption;
use h264::Encoder;

/// Frames over which one scene becomes the next.
const DISSOLVE: u32 = 8;

/// Frames of darkness to light at the start, and back at the end.
const FADE: u32 = 12;

/// What has been made.
#[derive(Clone, Debug)]
pub(crate) struct Film {
    pub(crate) bytes: u64,
    pub(crate) duration_ms: u32,
    /// The sound inside: "flac" or "aac".
    pub(crate) sound: &'static str,
}

/// Makes the film of `script` from scene files and a sound file; `step` is called after each frame.
pub(crate) fn assemble(
    script: &Script,
    scenes: &[PathBuf],
    sound: &Path,
    output: &Path,
    step: Step<'_>,
) -> Result<Film, MediaError> {
    // All inputs are opened before the long work: a missing one is noticed in a millisecond.
    let readers = scenes
        .iter()
        .map(|path| SceneReader::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let samples = wav::read(sound)?;

    let mut cut = Cut::new(readers.iter().map(SceneReader::left).sum(), step)?;
    for (scene, reader) in script.scenes.iter().zip(readers) {
        cut.append(scene, reader)?;
    }
    let video = cut.encoder.finish();
    let audio = flac::encode(&samples)?;

    let draft = output.with_extension(format!("draft-{}.mp4", std::process::id()));
    let written = mp4::write(&draft, &video, &audio).and_then(|()| {
        let sound = if ffmpeg::sound_to_aac(&draft) {
            "aac"
        } else {
            "flac"
        };
        fs::rename(&draft, output).map_err(MediaError::at(output))?;
        Ok(sound)
    });
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    let bytes = fs::metadata(output).map_err(MediaError::at(output))?.len();
    let frames = video.samples.len() as u32;
    Ok(Film {
        bytes,
        duration_ms: frames * 1000 / FPS,
        sound: written?,
    })
}

/// The film as far as it is cut.
struct Cut<'a> {
    encoder: Encoder,
    done: u32,
    total: u32,
    /// The last picture of the scene before, without its caption.
    before: Option<Frame>,
    step: Step<'a>,
}

impl<'a> Cut<'a> {
    fn new(total: u32, step: Step<'a>) -> Result<Self, MediaError> {
        Ok(Self {
            encoder: Encoder::new()?,
            done: 0,
            total,
            before: None,
            step,
        })
    }

    fn append(&mut self, scene: &Scene, mut reader: SceneReader) -> Result<(), MediaError> {
        let caption = Caption::of(scene);
        let frames = reader.left();
        let mut picture = Frame::black();
        for number in 0..frames {
            reader.next(&mut picture)?;
            let mut shown = picture.clone();
            if let Some(before) = &self.before {
                shown.blend(before, 1.0 - (number + 1) as f32 / DISSOLVE as f32);
            }
            caption.burn(&mut shown, number, frames);
            shown.blend(&Frame::black(), self.darkness());
            self.encoder.push(&shown, number == 0)?;
            self.done += 1;
            (self.step)(self.done, self.total)?;
        }
        self.before = Some(picture);
        Ok(())
    }

    fn darkness(&self) -> f32 {
        let edge = self.done.min(self.total - 1 - self.done);
        1.0 - (edge + 1) as f32 / FADE as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audio, visual};

    fn media(folder: &Path, script: &Script) -> (Vec<PathBuf>, PathBuf) {
        let scenes = script.scenes.iter().map(|scene| {
            let path = folder.join(format!("{}.scene", scene.index));
            visual::render(scene, &path, &mut |_, _| Ok(())).unwrap();
            path
        });
        let (scenes, sound) = (scenes.collect(), folder.join("sound.wav"));
        audio::synthesize(script, &sound, &mut |_, _| Ok(())).unwrap();
        (scenes, sound)
    }

    fn short_script() -> Script {
        let mut script = Script::for_theme("ocean");
        script.scenes.truncate(2);
        script
            .scenes
            .iter_mut()
            .for_each(|scene| scene.duration_ms = 1000);
        script
    }

    #[test]
    fn a_film_is_as_long_as_its_scenes() {
        let folder = tempfile::tempdir().unwrap();
        let script = short_script();
        let (scenes, sound) = media(folder.path(), &script);
        let output = folder.path().join("film.mp4");
        let mut steps = 0;
        let film = assemble(&script, &scenes, &sound, &output, &mut |done, total| {
            steps += 1;
            assert_eq!((done, total), (steps, 48));
            Ok(())
        })
        .unwrap();
        assert_eq!((film.duration_ms, steps), (2000, 48));
        let bytes = fs::read(&output).unwrap();
        assert_eq!(bytes.len() as u64, film.bytes);
        assert_eq!(&bytes[4..8], b"ftyp");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            4,
            "no drafts stay behind"
        );
    }

    #[test]
    fn a_missing_scene_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let script = short_script();
        let (mut scenes, sound) = media(folder.path(), &script);
        scenes[1] = folder.path().join("gone");
        let output = folder.path().join("film.mp4");
        let failed = assemble(&script, &scenes, &sound, &output, &mut |_, _| {
            panic!("no work yet")
        });
        assert!(matches!(failed, Err(MediaError::Missing { path }) if path == scenes[1]));
        assert!(!output.exists());
    }
}
