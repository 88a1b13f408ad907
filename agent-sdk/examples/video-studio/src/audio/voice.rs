//! How a note sounds. Each voice is a formula of time; no samples, no tables.

use std::f32::consts::TAU;

use super::{RATE, Stereo};
use crate::rng::Rng;

/// One sound at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) voice: Voice,
    /// Seconds from the beginning.
    pub(super) start: f32,
    /// Seconds.
    pub(super) length: f32,
    /// Hertz; drums have their own.
    pub(super) pitch: f32,
    pub(super) level: f32,
    /// -1 left, 1 right.
    pub(super) pan: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    Pad,
    Bass,
    Pluck,
    Lead,
    Bell,
    Kick,
    Snare,
    Hat,
    Sweep,
}

/// Adds `note` to `sound`; what would ring on after the end is cut off.
pub(super) fn play(note: &Note, sound: &mut Stereo) {
    let first = (note.start * RATE as f32) as usize;
    let samples = (note.length * RATE as f32) as usize;
    let end = (first + samples).min(sound.left.len());
    let (left, right) = ((1.0 - note.pan).min(1.0), (1.0 + note.pan).min(1.0));
    let mut noise = Noise::new(first as u32);
    for at in first..end {
        let t = (at - first) as f32 / RATE as f32;
        // A few milliseconds at both ends, else every note begins and ends with a click.
        let edge = (t / 0.003).min((note.length - t) / 0.012).min(1.0);
        let sample = tone(note, t, &mut noise) * note.level * edge;
        sound.left[at] += sample * left;
        sound.right[at] += sample * right;
    }
}

fn tone(note: &Note, t: f32, noise: &mut Noise) -> f32 {
    let wave = |ratio: f32| (TAU * note.pitch * ratio * t).sin();
    match note.voice {
        Voice::Pad => {
            let swell = (t / 0.35).min((note.length - t) / 0.5).clamp(0.0, 1.0);
            let strings = [0.996, 1.0, 1.005]
                .map(|off| wave(off) + 0.4 * wave(2.0 * off) + 0.15 * wave(3.0 * off));
            strings.iter().sum::<f32>() / 3.0 * swell
        }
        Voice::Bass => (1.6 * (wave(1.0) + 0.35 * wave(2.0))).tanh() * (-1.1 * t).exp(),
        Voice::Pluck => {
            let bite = 2.2 * (-9.0 * t).exp();
            (TAU * note.pitch * t + bite * wave(2.0)).sin() * (-4.5 * t).exp()
        }
        Voice::Lead => {
            let vibrato = 0.35 * (TAU * 5.2 * t).sin() * (t * 3.0).min(1.0);
            let body = (TAU * note.pitch * t + vibrato).sin() + 0.25 * wave(3.0) + 0.08 * wave(5.0);
            body * (t / 0.03).min(1.0) * (-1.6 * t).exp()
        }
        Voice::Bell => {
            let strike = 1.4 * (-2.0 * t).exp() * wave(3.51);
            (TAU * note.pitch * t + strike).sin() * (-2.2 * t).exp()
        }
        Voice::Kick => {
            // The pitch falls from 140 to 46 Hz: the integral of 46 + 94 e^(-28 t).
            let phase = 46.0 * t + 94.0 / 28.0 * (1.0 - (-28.0 * t).exp());
            (TAU * phase).sin() * (-9.0 * t).exp()
        }
        Voice::Snare => {
            (noise.high(0.35) * 1.3 + 0.5 * (TAU * 190.0 * t).sin()) * (-17.0 * t).exp()
        }
        Voice::Hat => noise.high(0.9) * (-60.0 * t).exp(),
        Voice::Sweep => {
            let rise = t / note.length;
            noise.low(0.02 + 0.25 * rise * rise) * rise * rise * 2.0
        }
    }
}

/// White noise with a simple filter.
struct Noise {
    rng: Rng,
    state: f32,
}

impl Noise {
    fn new(seed: u32) -> Self {
        Self {
            rng: Rng::new(seed),
            state: 0.0,
        }
    }

    /// Lets low tones through; `share` of each sample is new.
    fn low(&mut self, share: f32) -> f32 {
        self.state += (self.rng.range(-1.0, 1.0) - self.state) * share;
        self.state
    }

    /// Lets high tones through.
    fn high(&mut self, share: f32) -> f32 {
        let sample = self.rng.range(-1.0, 1.0);
        self.state += (sample - self.state) * (1.0 - share);
        sample - self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_voice_is_heard_in_its_place_only() {
        use Voice::*;
        for voice in [Pad, Bass, Pluck, Lead, Bell, Kick, Snare, Hat, Sweep] {
            let mut sound = Stereo::silence(2.0);
            play(
                &Note {
                    voice,
                    start: 0.5,
                    length: 1.0,
                    pitch: 220.0,
                    level: 1.0,
                    pan: -1.0,
                },
                &mut sound,
            );
            let loud = |part: &[f32]| part.iter().fold(0f32, |max, s| max.max(s.abs()));
            let rate = RATE as usize;
            assert_eq!(loud(&sound.left[..rate / 2]), 0.0, "{voice:?}");
            assert!(
                (0.1..2.5).contains(&loud(&sound.left[rate / 2..rate * 3 / 2])),
                "{voice:?}"
            );
            assert_eq!(loud(&sound.left[rate * 3 / 2..]), 0.0, "{voice:?}");
            assert_eq!(loud(&sound.right), 0.0, "{voice:?} is panned left");
        }
    }

    #[test]
    fn a_note_over_the_end_is_cut() {
        let mut sound = Stereo::silence(0.1);
        play(
            &Note {
                voice: Voice::Pad,
                start: 0.05,
                length: 9.0,
                pitch: 220.0,
                level: 1.0,
                pan: 0.0,
            },
            &mut sound,
        );
        play(
            &Note {
                voice: Voice::Pad,
                start: 5.0,
                length: 9.0,
                pitch: 220.0,
                level: 1.0,
                pan: 0.0,
            },
            &mut sound,
        );
    }
}
