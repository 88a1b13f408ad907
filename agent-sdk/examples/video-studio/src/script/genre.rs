//! The studio's taste: words, colours and music per kind of theme. Add a genre by adding a row.

use crate::{
    colour::{Palette, Rgb},
    rng::Rng,
    script::{Mood, Motif},
};

/// One kind of video.
pub(super) struct Genre {
    /// A theme with a word that begins with one of these belongs to the genre.
    words: &'static [&'static str],
    pub(super) mood: Mood,
    /// The slowest tempo; a theme adds up to 8.
    pub(super) bpm: u32,
    /// What is drawn, with the colours it looks best in: top, horizon, shade, glow.
    looks: &'static [(Motif, [u32; 4])],
    pub(super) lines: &'static [&'static str],
}

pub(super) const OPENINGS: &[&str] = &[
    "a story in a few breaths",
    "watch closely",
    "and everything around it",
    "seen with new eyes",
    "as it wants to be seen",
];

pub(super) const CLOSINGS: &[&str] = &[
    "Keep a little {theme} with you.",
    "And that was {theme}.",
    "{theme}: see you there.",
    "There is always more {theme}.",
];

impl Genre {
    /// The genre of a theme; one picked by the seed when no word is known.
    pub(super) fn of(theme: &str, seed: u32) -> &'static Self {
        let theme = theme.to_lowercase();
        let known = |genre: &&Self| {
            theme
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| genre.words.iter().any(|known| word.starts_with(known)))
        };
        let any = seed as usize % GENRES.len();
        GENRES.iter().find(known).unwrap_or(&GENRES[any])
    }

    /// A look per scene: the genre's first one opens, the others follow in any order.
    pub(super) fn looks(&self, rng: &mut Rng) -> Vec<(Motif, Palette)> {
        let (first, rest) = self.looks.split_first().expect("every genre has looks");
        let mut rest = rest.to_vec();
        let others = std::iter::from_fn(|| rng.take(&mut rest));
        std::iter::once(*first)
            .chain(others)
            .map(|(motif, colours)| (motif, palette(colours)))
            .collect()
    }

    /// How far this theme's colours are turned from the genre's: enough to tell two themes apart,
    /// not so far that the sea turns red.
    pub(super) fn turn(&self, rng: &mut Rng) -> f32 {
        rng.range(-13.0, 13.0)
    }
}

fn palette(colours: [u32; 4]) -> Palette {
    let [top, horizon, shade, glow] = colours.map(|hex| {
        let [_, r, g, b] = hex.to_be_bytes();
        Rgb(r, g, b)
    });
    Palette {
        top,
        horizon,
        shade,
        glow,
    }
}

static GENRES: &[Genre] = &[
    Genre {
        words: &[
            "ocean", "sea", "wave", "beach", "surf", "sail", "island", "water", "river", "fish",
            "whale", "harbo",
        ],
        mood: Mood::Calm,
        bpm: 84,
        looks: &[
            (Motif::Waves, [0x16386b, 0xf2a65a, 0x0b2a4a, 0xffd9a0]),
            (Motif::Deep, [0x2aa7c9, 0x0a4a78, 0x06263f, 0x9ff3ff]),
            (Motif::Rain, [0x25415f, 0x6f93a8, 0x10283c, 0xc9ecff]),
            (Motif::Deep, [0x0d6e8c, 0x062a52, 0x041a33, 0x7df0d0]),
            (Motif::Waves, [0x0a1440, 0x50509e, 0x070d2b, 0xe8ecff]),
        ],
        lines: &[
            "Every wave has come a long way.",
            "Below the surface, another sky.",
            "It breathes, twice a day.",
            "Salt, light and patience.",
            "Nobody has ever seen all of it.",
            "What sinks is not lost.",
        ],
    },
    Genre {
        words: &[
            "space", "star", "galax", "moon", "planet", "cosm", "universe", "astro", "rocket",
            "mars", "orbit", "alien",
        ],
        mood: Mood::Dreamy,
        bpm: 92,
        looks: &[
            (Motif::Stars, [0x05061a, 0x2b1b55, 0x03030c, 0xbfd0ff]),
            (Motif::Planet, [0x0a0826, 0x4a1d5f, 0x1c1030, 0xffb48a]),
            (Motif::Aurora, [0x031a2b, 0x0d4a4f, 0x020c14, 0x7dffc8]),
            (Motif::Stars, [0x0c0618, 0x552048, 0x08040f, 0xffd6f2]),
            (Motif::Planet, [0x04101f, 0x123a66, 0x0b1c33, 0x9fe0ff]),
        ],
        lines: &[
            "The light you see set out long ago.",
            "Quiet, in every direction.",
            "Somewhere, it is morning.",
            "We are made of what burned there.",
            "Far is only a kind of time.",
            "Gravity is how it holds hands.",
        ],
    },
    Genre {
        words: &[
            "forest", "tree", "wood", "jungle", "nature", "garden", "leaf", "green", "bird",
            "camp", "spring",
        ],
        mood: Mood::Calm,
        bpm: 88,
        looks: &[
            (Motif::Forest, [0x5a9c88, 0xe8d690, 0x12342b, 0xfff2b8]),
            (Motif::Peaks, [0x4f8f86, 0xe6d58f, 0x173a33, 0xfff6d0]),
            (Motif::Rain, [0x2c4f4a, 0x7a9c86, 0x122a26, 0xd8fff0]),
            (Motif::Forest, [0x0d2030, 0x2c6152, 0x06150f, 0xd8ff8a]),
            (Motif::Bokeh, [0x123324, 0x4c7d3a, 0x0a1f16, 0xf0ff9e]),
        ],
        lines: &[
            "Listen: it is growing.",
            "Roots talk in the dark.",
            "The oldest clocks have rings.",
            "Rain first, then everything.",
            "A path is made by walking.",
            "Small lights, after dusk.",
        ],
    },
    Genre {
        words: &[
            "city", "night", "street", "neon", "urban", "town", "tokyo", "york", "paris", "berlin",
            "london", "cyber", "future", "robot",
        ],
        mood: Mood::Driving,
        bpm: 108,
        looks: &[
            (Motif::City, [0x150d3a, 0xd4457f, 0x0c0a22, 0xffd27a]),
            (Motif::Rain, [0x0c1533, 0x35407f, 0x080c1e, 0x74d7ff]),
            (Motif::Bokeh, [0x1a0b2e, 0x6a1f66, 0x0d0618, 0xff9b5e]),
            (Motif::City, [0x071a33, 0x1f7a99, 0x050f1f, 0xfff0a8]),
            (Motif::Pulse, [0x120426, 0x40115c, 0x0a0216, 0xff4fc0]),
        ],
        lines: &[
            "A million windows, a million lives.",
            "It never quite sleeps.",
            "Every light is somebody.",
            "The rain paints it twice.",
            "Meet me on the roof.",
            "Take the last train home.",
        ],
    },
    Genre {
        words: &[
            "mountain",
            "alp",
            "hik",
            "climb",
            "peak",
            "hill",
            "sky",
            "cloud",
            "morning",
            "dawn",
            "travel",
            "adventure",
            "journey",
        ],
        mood: Mood::Bright,
        bpm: 96,
        looks: &[
            (Motif::Peaks, [0x3d5a96, 0xffc49b, 0x2a2f57, 0xfff0c9]),
            (Motif::Stars, [0x0a1230, 0x3e4a86, 0x090d20, 0xe0e8ff]),
            (Motif::Forest, [0x5590ac, 0xe8d2ac, 0x1c3b45, 0xfff2c8]),
            (Motif::Peaks, [0x6a4c93, 0xff8c7a, 0x2b1d46, 0xffe3b3]),
            (Motif::Aurora, [0x061427, 0x18485a, 0x040c16, 0x86ffcf]),
        ],
        lines: &[
            "The last metres are the longest.",
            "Up here, weather is a neighbour.",
            "Silence has an altitude.",
            "One foot, then the other.",
            "The valley forgets you for a day.",
            "Look back once. Then go on.",
        ],
    },
    Genre {
        words: &[
            "desert", "sun", "summer", "heat", "sand", "africa", "road", "gold", "west",
        ],
        mood: Mood::Bright,
        bpm: 100,
        looks: &[
            (Motif::Dunes, [0xe07a3f, 0xffd98a, 0x7a3418, 0xfff3c4]),
            (Motif::Embers, [0x3a0d12, 0xb5391a, 0x1c0608, 0xffb14a]),
            (Motif::Stars, [0x120b2e, 0x6e3a5e, 0x0d0716, 0xffe6c0]),
            (Motif::Dunes, [0x9c4a63, 0xffb36b, 0x4d1f33, 0xffedc2]),
            (Motif::Bokeh, [0x5c1f14, 0xd8722e, 0x2d0d0a, 0xffdf8e]),
        ],
        lines: &[
            "Distance is the only landmark.",
            "Shadows keep the time.",
            "The wind signs everything.",
            "Noon takes no questions.",
            "Gold, and then more gold.",
            "Cool comes with the stars.",
        ],
    },
    Genre {
        words: &[
            "fire", "volcan", "dragon", "battle", "storm", "thunder", "danger", "power", "ghost",
            "fear", "dark",
        ],
        mood: Mood::Dark,
        bpm: 100,
        looks: &[
            (Motif::Embers, [0x16060a, 0x8c1d0f, 0x0d0305, 0xff8a2b]),
            (Motif::Peaks, [0x2a0f1f, 0xc2452d, 0x16060f, 0xffc27a]),
            (Motif::Rain, [0x14161f, 0x40465c, 0x0a0b10, 0xc4d2ff]),
            (Motif::Embers, [0x1d0a02, 0xa84a08, 0x100502, 0xffc54a]),
            (Motif::Pulse, [0x12040f, 0x6b0f2e, 0x0a0208, 0xff5a4a]),
        ],
        lines: &[
            "First a spark. Then a decision.",
            "It asks for everything.",
            "The night leans closer.",
            "Nothing here is still.",
            "What burns also shines.",
            "Hold on to something.",
        ],
    },
    Genre {
        words: &[
            "snow",
            "winter",
            "ice",
            "christmas",
            "cold",
            "arctic",
            "north",
            "ski",
            "polar",
            "aurora",
        ],
        mood: Mood::Dreamy,
        bpm: 84,
        looks: &[
            (Motif::Snow, [0x2f5688, 0xb4cbe6, 0x2b4a70, 0xffffff]),
            (Motif::Aurora, [0x04142a, 0x134a5e, 0x030b18, 0x7dffd0]),
            (Motif::Forest, [0x6d8fb4, 0xe2d6cf, 0x2a4257, 0xffffff]),
            (Motif::Snow, [0x1d2a58, 0x8a86c4, 0x1a2547, 0xf2f4ff]),
            (Motif::Peaks, [0x6f95bf, 0xffd9cf, 0x3a5478, 0xfffaf0]),
        ],
        lines: &[
            "The world, under its breath.",
            "No two of them alike.",
            "Footprints: a short biography.",
            "Green fire over white ground.",
            "Warm hands, clear air.",
            "Everything can wait until spring.",
        ],
    },
    Genre {
        words: &[
            "love", "flower", "rose", "heart", "wedding", "romance", "kiss", "blossom", "dream",
            "mother", "family", "friend", "happ", "cat", "dog",
        ],
        mood: Mood::Bright,
        bpm: 92,
        looks: &[
            (Motif::Petals, [0xb8577c, 0xf7b9a8, 0x8c3358, 0xffc2d6]),
            (Motif::Bokeh, [0x6b2d5c, 0xe8769a, 0x3d1836, 0xffd0a8]),
            (Motif::Waves, [0x5a4a8c, 0xffa0a0, 0x2f2a5c, 0xffe6cc]),
            (Motif::Petals, [0x5d3a80, 0xe89aa8, 0x472a5c, 0xffd0e6]),
            (Motif::Stars, [0x1a1040, 0x7d3a78, 0x100a28, 0xffd6ec]),
        ],
        lines: &[
            "It starts with a very small yes.",
            "Some days are made of light.",
            "Stay a little longer.",
            "Nothing to prove, all to share.",
            "The best hours have no numbers.",
            "Look who is here.",
        ],
    },
    Genre {
        words: &[
            "music", "techno", "dance", "party", "disco", "jazz", "rock", "beat", "sport", "race",
            "speed", "code", "data", "comput", "agent",
        ],
        mood: Mood::Driving,
        bpm: 116,
        looks: &[
            (Motif::Pulse, [0x0a0324, 0x3a0f6e, 0x060114, 0x3affd6]),
            (Motif::Bokeh, [0x1a0433, 0x7a1172, 0x0d021c, 0xffd23a]),
            (Motif::City, [0x03122e, 0x0f4d8c, 0x020a1a, 0xff5ec4]),
            (Motif::Pulse, [0x140022, 0x5c0f8a, 0x0a0012, 0x5effa0]),
            (Motif::Stars, [0x020a1f, 0x1b2f7a, 0x010512, 0xa8c4ff]),
        ],
        lines: &[
            "Feel it before you hear it.",
            "Everyone on the same clock.",
            "Louder. No: closer.",
            "The drop is a promise.",
            "Many parts, one pulse.",
            "Again, from the top.",
        ],
    },
];
