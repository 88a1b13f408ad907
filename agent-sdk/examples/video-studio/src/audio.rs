//! The sound track: a small tune whose parts come and go with the scenes.
//!
//! [`tune`] decides which notes are played, [`voice`] how they sound, [`room`] adds echo, and
//! [`wav`] puts the result into a file.

mod room;
mod tune;
mod voice;
pub(crate) mod wav;

use std::path::Path;

use crate::{
    failure::{MediaError, Step},
    script::{FPS, Scene, Script},
};

/// Samples per second and channel.
pub(crate) const RATE: u32 = 44_100;

/// Plays the tune of `script` into the WAV file `path`, calling `step` after each scene.
pub(crate) fn synthesize(script: &Script, path: &Path, step: Step<'_>) -> Result<(), MediaError> {
    let total = script.scenes.len() as u32 + 1;
    let mut sound = Stereo::silence(seconds(&script.scenes));
    for (index, notes) in tune::compose(script).into_iter().enumerate() {
        for note in &notes {
            voice::play(note, &mut sound);
        }
        step(index as u32 + 1, total)?;
    }
    room::add_echo(&mut sound, 60.0 / script.bpm as f32 * 0.75);
    sound.master();
    wav::write(path, &sound)?;
    step(total, total)
}

/// Length of some scenes, counted in frames as the picture is.
fn seconds(scenes: &[Scene]) -> f32 {
    scenes.iter().map(Scene::frames).sum::<u32>() as f32 / FPS as f32
}

/// Two channels of sound.
pub(crate) struct Stereo {
    pub(crate) left: Vec<f32>,
    pub(crate) right: Vec<f32>,
}

impl Stereo {
    pub(crate) fn silence(seconds: f32) -> Self {
        let samples = (seconds * RATE as f32).round() as usize;
        Self {
            left: vec![0.0; samples],
            right: vec![0.0; samples],
        }
    }

    fn channels(&mut self) -> [&mut Vec<f32>; 2] {
        [&mut self.left, &mut self.right]
    }

    /// Brings the loudest sample to just under full scale and fades the end.
    fn master(&mut self) {
        const CEILING: f32 = 0.89;
        let loudest = self
            .left
            .iter()
            .chain(&self.right)
            .fold(1e-6f32, |max, s| max.max(s.abs()));
        let fade = 1.6 * RATE as f32;
        for channel in self.channels() {
            let end = channel.len() as f32;
            for (at, sample) in channel.iter_mut().enumerate() {
                let ending = ((end - at as f32) / fade).min(1.0);
                // A gentle curve evens out peaks, so that the tune is not quiet for one drum's sake.
                let pressed = (*sample / loudest * 1.3).tanh() / 1.3f32.tanh();
                *sample = pressed * CEILING * ending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tune_is_as_long_as_the_picture_and_can_be_heard_all_through() {
        let folder = tempfile::tempdir().unwrap();
        for theme in ["ocean", "techno", "fire", "deep space", "sunrise"] {
            let script = Script::for_theme(theme);
            let path = folder.path().join("sound.wav");
            synthesize(&script, &path, &mut |_, _| Ok(())).unwrap();
            let samples = wav::read(&path).unwrap();
            let frames: u32 = script.scenes.iter().map(Scene::frames).sum();
            assert_eq!(samples.len() as u32 / 2, frames * RATE / FPS, "{theme}");
            let loudest = samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
            assert!(
                (20_000..=32_000).contains(&loudest),
                "{theme}: peak {loudest}"
            );
            for second in
                samples[..samples.len() - RATE as usize * 4].chunks_exact(RATE as usize * 2)
            {
                let power =
                    second.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / second.len() as f64;
                assert!(power.sqrt() > 300.0, "{theme} is silent for a second");
            }
        }
    }

    #[test]
    fn stopping_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let script = Script::for_theme("ocean");
        let stopped = synthesize(&script, &folder.path().join("s.wav"), &mut |_, _| {
            Err(MediaError::Stopped)
        });
        assert!(matches!(stopped, Err(MediaError::Stopped)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
