//! Which notes are played: chords by mood, parts by scene.

mod style;

use super::{
    seconds,
    voice::{Note, Voice},
};
use crate::{rng::Rng, script::Script};
use style::Style;

/// A scene's place in the tune.
struct Bar {
    start: f32,
    length: f32,
    beat: f32,
    /// Frequency of the key, some octaves below the melody.
    key: f32,
    /// 0 in the first scene, 1 in the fullest.
    fullness: f32,
    last: bool,
}

/// The notes of each scene.
pub(super) fn compose(script: &Script) -> Vec<Vec<Note>> {
    let style = Style::of(script.mood);
    let mut rng = Rng::new(script.seed ^ 0x7e5e);
    let key = 110.0 * semitones(rng.below(9) as i32 - 3);
    let count = script.scenes.len();
    (0..count)
        .map(|index| {
            let scene = &script.scenes[index..=index];
            let bar = Bar {
                start: seconds(&script.scenes[..index]),
                length: seconds(scene),
                beat: 60.0 / script.bpm as f32,
                key,
                fullness: (index as f32 / (count - 1).clamp(1, 2) as f32).min(1.0),
                last: index + 1 == count,
            };
            play_scene(&bar, &style, &mut rng)
        })
        .collect()
}

fn play_scene(bar: &Bar, style: &Style, rng: &mut Rng) -> Vec<Note> {
    let mut notes = Vec::new();
    let beats = (bar.length / bar.beat).round() as u32;
    for beat in 0..beats {
        // Every scene begins on the first chord: the ear hears the cut.
        let chord = style.chords[(beat / 2) as usize % 4];
        if beat % 2 == 0 {
            harmony(bar, chord, beat, beats, &mut notes);
        }
        plucks(bar, style, chord, beat, rng, &mut notes);
        if bar.fullness > 0.0 {
            drums(bar, style, beat, beats, &mut notes);
        }
        if bar.fullness >= 1.0 {
            melody(bar, style, beat, rng, &mut notes);
        }
    }
    if !bar.last {
        notes.push(Note {
            voice: Voice::Sweep,
            start: bar.start + bar.length - bar.beat,
            length: bar.beat,
            pitch: 1.0,
            level: 0.16,
            pan: 0.0,
        });
    }
    notes.push(Note {
        voice: Voice::Bell,
        start: bar.start,
        length: 2.4,
        pitch: bar.key * 8.0,
        level: 0.16,
        pan: 0.2,
    });
    notes
}

/// Chord and bass, two beats long.
fn harmony(bar: &Bar, chord: [i32; 4], beat: u32, beats: u32, notes: &mut Vec<Note>) {
    let length = bar.beat * (beats - beat).min(2) as f32;
    let start = bar.start + beat as f32 * bar.beat;
    for (n, tone) in chord.into_iter().enumerate() {
        let pan = n as f32 / 1.5 - 1.0;
        notes.push(Note {
            voice: Voice::Pad,
            start,
            length: length + 0.5,
            pitch: bar.key * 2.0 * semitones(tone),
            level: 0.075,
            pan: pan * 0.7,
        });
    }
    let level = 0.17 + 0.10 * bar.fullness;
    notes.push(Note {
        voice: Voice::Bass,
        start,
        length,
        pitch: bar.key / 2.0 * semitones(chord[0]),
        level,
        pan: 0.0,
    });
}

/// The chord, picked note by note.
fn plucks(
    bar: &Bar,
    style: &Style,
    chord: [i32; 4],
    beat: u32,
    rng: &mut Rng,
    notes: &mut Vec<Note>,
) {
    for step in 0..style.pace {
        let tone = chord[((beat * style.pace + step) as usize * 3) % 4]
            + if rng.below(4) == 0 { 12 } else { 0 };
        let start = bar.start + (beat as f32 + step as f32 / style.pace as f32) * bar.beat;
        let level = 0.13 + 0.05 * bar.fullness + if step == 0 { 0.04 } else { 0.0 };
        let pan = if (beat * style.pace + step).is_multiple_of(2) {
            -0.45
        } else {
            0.45
        };
        notes.push(Note {
            voice: Voice::Pluck,
            start,
            length: 1.1,
            pitch: bar.key * 4.0 * semitones(tone),
            level,
            pan,
        });
    }
}

fn drums(bar: &Bar, style: &Style, beat: u32, beats: u32, notes: &mut Vec<Note>) {
    // The last scene ends on its own: no drums in its final beats.
    if bar.last && beat + 2 >= beats {
        return;
    }
    let voices = [
        (Voice::Kick, 0.55),
        (Voice::Snare, 0.22),
        (Voice::Hat, 0.08),
    ];
    for step in 0..4 {
        let bit = 15 - (beat % 4) * 4 - step;
        let start = bar.start + (beat as f32 + step as f32 / 4.0) * bar.beat;
        for ((voice, level), pattern) in voices.into_iter().zip(style.drums) {
            if pattern >> bit & 1 == 1 {
                notes.push(Note {
                    voice,
                    start,
                    length: 0.35,
                    pitch: 1.0,
                    level: level * (0.6 + 0.4 * bar.fullness),
                    pan: 0.0,
                });
            }
        }
    }
}

/// A tune on top: mostly on the beat, now and then after it, sometimes a rest.
fn melody(bar: &Bar, style: &Style, beat: u32, rng: &mut Rng, notes: &mut Vec<Note>) {
    let tone = style.scale[rng.below(5)];
    let (rest, late) = (rng.below(4) == 0, rng.below(3) == 0);
    if rest && beat != 0 {
        return;
    }
    let start = bar.start + (beat as f32 + if late { 0.5 } else { 0.0 }) * bar.beat;
    let length = bar.beat * if late { 0.6 } else { 1.1 };
    notes.push(Note {
        voice: Voice::Lead,
        start,
        length,
        pitch: bar.key * 4.0 * semitones(tone),
        level: 0.12,
        pan: 0.1,
    });
}

fn semitones(tone: i32) -> f32 {
    2f32.powf(tone as f32 / 12.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_in_scene_by_scene() {
        let script = Script::for_theme("techno");
        let scenes = compose(&script);
        let has = |scene: usize, voice| scenes[scene].iter().any(|note| note.voice == voice);
        assert!(has(0, Voice::Pad) && !has(0, Voice::Kick) && !has(0, Voice::Lead));
        assert!(has(1, Voice::Kick) && has(2, Voice::Lead));
    }

    #[test]
    fn notes_begin_inside_their_scene() {
        let script = Script::for_theme("ocean");
        for (index, notes) in compose(&script).iter().enumerate() {
            let (from, to) = (
                seconds(&script.scenes[..index]),
                seconds(&script.scenes[..=index]),
            );
            assert!(
                notes.iter().all(|n| n.start >= from - 1e-3 && n.start < to),
                "scene {index}"
            );
        }
    }

    #[test]
    fn another_theme_is_another_tune() {
        let pitches = |theme| -> Vec<u32> {
            compose(&Script::for_theme(theme))
                .concat()
                .iter()
                .map(|n| n.pitch as u32)
                .collect()
        };
        assert_eq!(pitches("ocean"), pitches("ocean"));
        assert_ne!(pitches("ocean"), pitches("the sea"));
    }
}
