//! What a mood means in notes.

use crate::script::Mood;

/// How a mood sounds. Chords are semitones above the key.
pub(super) struct Style {
    pub(super) chords: [[i32; 4]; 4],
    /// Notes a melody may use.
    pub(super) scale: [i32; 5],
    /// Sixteen steps a bar each: kick, snare, hat.
    pub(super) drums: [u16; 3],
    /// Plucked notes a beat.
    pub(super) pace: u32,
}

impl Style {
    pub(super) fn of(mood: Mood) -> Self {
        let minor = [0, 3, 5, 7, 10];
        let major = [0, 2, 4, 7, 9];
        let (chords, scale, drums, pace) = match mood {
            Mood::Calm => (
                [[0, 4, 7, 11], [-3, 0, 4, 7], [5, 9, 12, 16], [-5, -1, 2, 7]],
                major,
                [0x8000, 0x0000, 0x2222],
                2,
            ),
            Mood::Bright => (
                [[0, 4, 7, 14], [-5, -1, 2, 7], [-3, 0, 4, 7], [5, 9, 12, 16]],
                major,
                [0x8280, 0x0808, 0xaaaa],
                2,
            ),
            Mood::Dark => (
                [[0, 3, 7, 10], [-4, 0, 3, 7], [5, 8, 12, 15], [-5, -1, 2, 8]],
                minor,
                [0x8220, 0x0808, 0x2222],
                2,
            ),
            Mood::Driving => (
                [[0, 3, 7, 10], [-4, 0, 3, 7], [3, 7, 10, 14], [-2, 2, 5, 10]],
                minor,
                [0x8888, 0x0808, 0x2a2a],
                4,
            ),
            Mood::Dreamy => (
                [
                    [0, 7, 11, 16],
                    [2, 6, 9, 14],
                    [-3, 4, 7, 12],
                    [-5, 2, 6, 11],
                ],
                [0, 2, 4, 7, 11],
                [0x8000, 0x0008, 0x0202],
                3,
            ),
        };
        Self {
            chords,
            scale,
            drums,
            pace,
        }
    }
}
