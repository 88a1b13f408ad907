//! From a theme to a script: what is seen, read and heard in each scene, and for how long.
//!
//! The words and colours are in [`genre`]; this file decides how they are put together. The result
//! depends on the theme alone.

mod check;
mod genre;

use serde::{Deserialize, Serialize};

use crate::{
    colour::Palette,
    rng::{Rng, seed_of},
};
use genre::Genre;

/// Frames per second of everything the studio makes.
pub(crate) const FPS: u32 = 24;

/// The longest theme that still fits on a title card.
pub(crate) const MAX_THEME_CHARS: usize = 60;

/// A video before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Script {
    pub(crate) theme: String,
    pub(crate) mood: Mood,
    /// Beats a minute. Scenes last whole beats, so that cuts fall on the beat.
    pub(crate) bpm: u32,
    pub(crate) seed: u32,
    pub(crate) scenes: Vec<Scene>,
}

/// One picture with its caption.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scene {
    pub(crate) index: u32,
    /// Large text above the caption: only the first scene has it.
    pub(crate) title: Option<String>,
    pub(crate) caption: String,
    pub(crate) duration_ms: u32,
    pub(crate) motif: Motif,
    pub(crate) palette: Palette,
    pub(crate) seed: u32,
}

/// How the music feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mood {
    Calm,
    Bright,
    Dark,
    Driving,
    Dreamy,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Motif {
    Aurora,
    Bokeh,
    City,
    Deep,
    Dunes,
    Embers,
    Forest,
    Peaks,
    Petals,
    Planet,
    Pulse,
    Rain,
    Snow,
    Stars,
    Waves,
}

impl Motif {
    /// Every motif: for tests and for the curious.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 15] = [
        Self::Aurora,
        Self::Bokeh,
        Self::City,
        Self::Deep,
        Self::Dunes,
        Self::Embers,
        Self::Forest,
        Self::Peaks,
        Self::Petals,
        Self::Planet,
        Self::Pulse,
        Self::Rain,
        Self::Snow,
        Self::Stars,
        Self::Waves,
    ];
}

impl Script {
    /// Writes the script for `theme`.
    pub(crate) fn for_theme(theme: &str) -> Self {
        let theme = theme.split_whitespace().collect::<Vec<_>>().join(" ");
        let seed = seed_of(&theme.to_lowercase());
        let mut rng = Rng::new(seed);
        let genre = Genre::of(&theme, seed);
        let bpm = genre.bpm + rng.below(5) as u32 * 2;
        let turn = genre.turn(&mut rng);
        let lines = captions(genre, &theme, &mut rng);
        let looks = genre.looks(&mut rng);
        let scenes = lines
            .into_iter()
            .zip(looks)
            .zip(beats_of(bpm, &mut rng))
            .enumerate()
            .map(|(index, ((caption, (motif, palette)), beats))| Scene {
                index: index as u32,
                title: (index == 0).then(|| capitalised(&theme)),
                caption,
                duration_ms: beats * 60_000 / bpm,
                motif,
                palette: palette.turned(turn),
                seed: rng.next() as u32,
            })
            .collect();
        Self {
            theme,
            mood: genre.mood,
            bpm,
            seed,
            scenes,
        }
    }

    /// Length of the video.
    pub(crate) fn duration_ms(&self) -> u32 {
        self.scenes.iter().map(|scene| scene.duration_ms).sum()
    }
}

impl Scene {
    /// Pictures in this scene; sound and picture both count in these, so they cannot drift apart.
    pub(crate) fn frames(&self) -> u32 {
        (self.duration_ms * FPS + 500) / 1000
    }
}

/// An opening, some lines of the genre, a closing.
fn captions(genre: &Genre, theme: &str, rng: &mut Rng) -> Vec<String> {
    let mut pool = genre.lines.to_vec();
    let middle = 2 + rng.below(2);
    let mut lines = vec![genre::OPENINGS[rng.below(genre::OPENINGS.len())].to_owned()];
    lines.extend(
        (0..middle)
            .filter_map(|_| rng.take(&mut pool))
            .map(str::to_owned),
    );
    let closing = genre::CLOSINGS[rng.below(genre::CLOSINGS.len())];
    lines.push(capitalised(&closing.replace("{theme}", theme)));
    lines
}

/// Beats of each scene: about three seconds a scene, and never under three seconds, so that four
/// scenes make at least twelve.
fn beats_of(bpm: u32, rng: &mut Rng) -> [u32; 5] {
    let least = (3 * bpm).div_ceil(60);
    [least; 5].map(|least| least + rng.below(2) as u32)
}

fn capitalised(theme: &str) -> String {
    let mut letters = theme.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEMES: [&str; 9] = [
        "ocean",
        "deep space",
        "forest",
        "city at night",
        "a desert road",
        "snow",
        "first love",
        "techno",
        "the meaning of Tuesdays",
    ];

    #[test]
    fn same_theme_gives_the_same_script() {
        for theme in THEMES {
            assert_eq!(Script::for_theme(theme), Script::for_theme(theme));
        }
        assert_eq!(
            Script::for_theme(" Deep  Space ").seed,
            Script::for_theme("deep space").seed
        );
    }

    #[test]
    fn every_script_has_four_or_five_scenes_of_some_seconds() {
        for theme in THEMES {
            let script = Script::for_theme(theme);
            assert!((4..=5).contains(&script.scenes.len()), "{theme}");
            assert!((12_000..=30_000).contains(&script.duration_ms()), "{theme}");
            let frames: u32 = script.scenes.iter().map(Scene::frames).sum();
            assert!(frames >= 12 * FPS, "{theme}");
        }
    }

    #[test]
    fn different_themes_look_different() {
        let looks: Vec<_> = THEMES
            .iter()
            .map(|theme| {
                let script = Script::for_theme(theme);
                script
                    .scenes
                    .iter()
                    .map(|s| (s.motif, s.palette.clone()))
                    .collect::<Vec<_>>()
            })
            .collect();
        for (i, look) in looks.iter().enumerate() {
            assert!(
                !looks[..i].contains(look),
                "{} repeats an earlier look",
                THEMES[i]
            );
        }
    }

    #[test]
    fn captions_name_the_theme_and_never_repeat() {
        for theme in THEMES {
            let script = Script::for_theme(theme);
            let captions: Vec<_> = script.scenes.iter().map(|s| &s.caption).collect();
            assert!(captions.iter().all(|c| !c.contains('{')), "{captions:?}");
            let mut unique = captions.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), captions.len());
        }
    }
}
