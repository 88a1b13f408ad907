//! Text on the picture: set once per scene, faded in and out frame by frame.

use ab_glyph::{Font, FontRef, PxScale, ScaleFont, point};

use crate::{
    frames::{Frame, HEIGHT, WIDTH},
    script::{FPS, Scene},
};

const MARGIN: f32 = 44.0;
const TITLE_SIZE: f32 = 82.0;
const LINE_SIZE: f32 = 42.0;
/// How far text slides up while it appears.
const SLIDE: f32 = 16.0;

/// The text of a scene, ready to be laid on frames.
pub(super) struct Caption {
    /// How much of each pixel is letter, and how much lies in its shadow: 0 to 1.
    ink: Vec<f32>,
    shadow: Vec<f32>,
    rows: std::ops::Range<usize>,
}

impl Caption {
    pub(super) fn of(scene: &Scene) -> Self {
        let bold =
            FontRef::try_from_slice(dejavu::sans::bold()).expect("the embedded font is whole");
        let mut ink = vec![0.0; WIDTH * HEIGHT];
        let below = match &scene.title {
            Some(title) => {
                set(
                    &bold,
                    title,
                    fitting(&bold, title),
                    HEIGHT as f32 * 0.36,
                    &mut ink,
                ) + 26.0
            }
            None => HEIGHT as f32 * 0.74,
        };
        let end = set(&bold, &scene.caption, LINE_SIZE, below, &mut ink);
        let shadow = shadow_of(&ink);
        let top = if scene.title.is_some() {
            HEIGHT as f32 * 0.30
        } else {
            HEIGHT as f32 * 0.68
        };
        Self {
            ink,
            shadow,
            rows: top as usize..((end + 60.0) as usize).min(HEIGHT - SLIDE as usize),
        }
    }

    /// Lays the text on frame `number` of `frames`.
    pub(super) fn burn(&self, frame: &mut Frame, number: u32, frames: u32) {
        let fade = FPS as f32 * 0.5;
        let shown = ((number as f32 - 5.0) / fade)
            .min((frames - number) as f32 / (fade / 2.0))
            .clamp(0.0, 1.0);
        let shown = shown * shown * (3.0 - 2.0 * shown);
        if shown == 0.0 {
            return;
        }
        let rising = (number as f32 / (fade + 5.0)).min(1.0);
        let slide = (SLIDE * (1.0 - rising) * (1.0 - rising)) as usize;
        let (luma, blue, red) = frame.planes_mut();
        for row in self.rows.clone() {
            for column in 0..WIDTH {
                let (from, to) = (row * WIDTH + column, (row + slide) * WIDTH + column);
                let (ink, shadow) = (self.ink[from] * shown, self.shadow[from] * shown);
                if shadow > 0.0 || ink > 0.0 {
                    luma[to] = lay(luma[to], 235.0, 16.0, ink, shadow);
                    if row % 2 == 0 && column % 2 == 0 {
                        let half = (row + slide) / 2 * (WIDTH / 2) + column / 2;
                        blue[half] = lay(blue[half], 128.0, 128.0, ink, shadow);
                        red[half] = lay(red[half], 128.0, 128.0, ink, shadow);
                    }
                }
            }
        }
    }
}

/// Shadow first, letter over it.
fn lay(sample: u8, letter: f32, dark: f32, ink: f32, shadow: f32) -> u8 {
    let shaded = f32::from(sample) + (dark - f32::from(sample)) * shadow * 0.78;
    (shaded + (letter - shaded) * ink) as u8
}

/// The largest size at which the longest word fits the width and the title three lines.
fn fitting(font: &FontRef<'_>, title: &str) -> f32 {
    let mut size = TITLE_SIZE;
    let fits = |size: f32| {
        let lines = wrap(font, title, size);
        lines.len() <= 3
            && lines
                .iter()
                .all(|line| width_of(font, line, size) <= WIDTH as f32 - 2.0 * MARGIN)
    };
    while size > 30.0 && !fits(size) {
        size -= 2.0;
    }
    size
}

/// Draws wrapped, centred lines from `top` on; returns the lower edge.
fn set(font: &FontRef<'_>, text: &str, size: f32, top: f32, ink: &mut [f32]) -> f32 {
    let height = size * 1.22;
    let lines = wrap(font, text, size);
    for (number, line) in lines.iter().enumerate() {
        let baseline = top + height * number as f32 + size * 0.8;
        let mut x = (WIDTH as f32 - width_of(font, line, size)) / 2.0;
        let scaled = font.as_scaled(PxScale::from(size));
        for letter in line.chars() {
            let id = font.glyph_id(letter);
            let glyph = id.with_scale_and_position(size, point(x, baseline));
            if let Some(outline) = font.outline_glyph(glyph) {
                let bounds = outline.px_bounds();
                outline.draw(|dx, dy, cover| {
                    let (px, py) = (
                        bounds.min.x as i32 + dx as i32,
                        bounds.min.y as i32 + dy as i32,
                    );
                    if (0..WIDTH as i32).contains(&px) && (0..HEIGHT as i32).contains(&py) {
                        let pixel = &mut ink[py as usize * WIDTH + px as usize];
                        *pixel = pixel.max(cover.min(1.0));
                    }
                });
            }
            x += scaled.h_advance(id);
        }
    }
    top + height * lines.len() as f32
}

/// Breaks text into as few lines as possible, and those about equally long.
fn wrap(font: &FontRef<'_>, text: &str, size: f32) -> Vec<String> {
    let mut room = WIDTH as f32 - 2.0 * MARGIN;
    let mut best = fill(font, text, size, room);
    while room > 100.0 {
        room -= 10.0;
        let narrower = fill(font, text, size, room);
        if narrower.len() > best.len() {
            break;
        }
        best = narrower;
    }
    best
}

/// Puts as many words on each line as fit into `room`.
fn fill(font: &FontRef<'_>, text: &str, size: f32, room: f32) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        let longer = if line.is_empty() {
            word.to_owned()
        } else {
            format!("{line} {word}")
        };
        if line.is_empty() || width_of(font, &longer, size) <= room {
            *line = longer;
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

fn width_of(font: &FontRef<'_>, text: &str, size: f32) -> f32 {
    let scaled = font.as_scaled(PxScale::from(size));
    text.chars()
        .map(|letter| scaled.h_advance(font.glyph_id(letter)))
        .sum()
}

/// A soft dark edge around the letters, so that they can be read on any picture: the letters
/// smeared (three box blurs make a bell curve) and made stronger.
fn shadow_of(ink: &[f32]) -> Vec<f32> {
    let mut shadow = ink.to_vec();
    for _ in 0..3 {
        blur(&mut shadow, 1, WIDTH);
        blur(&mut shadow, WIDTH, HEIGHT);
    }
    shadow
        .iter_mut()
        .for_each(|part| *part = (*part * 2.6).min(1.0));
    shadow
        .iter_mut()
        .filter(|part| **part < 0.004)
        .for_each(|part| *part = 0.0);
    shadow
}

/// Averages each sample with its neighbours along lines of `length` samples, `stride` apart.
fn blur(plane: &mut [f32], stride: usize, length: usize) {
    const REACH: usize = 4;
    let lines = plane.len() / length;
    let mut line = vec![0.0; length];
    for number in 0..lines {
        let first = if stride == 1 { number * length } else { number };
        for (at, sample) in line.iter_mut().enumerate() {
            *sample = plane[first + at * stride];
        }
        let mut sum: f32 = line[..REACH].iter().sum();
        for at in 0..length {
            sum += line.get(at + REACH).copied().unwrap_or(0.0);
            plane[first + at * stride] = sum / (2 * REACH + 1) as f32;
            sum -= if at >= REACH { line[at - REACH] } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Script;

    fn brightest(frame: &Frame, rows: std::ops::Range<usize>) -> u8 {
        *frame.planes().0[rows.start * WIDTH..rows.end * WIDTH]
            .iter()
            .max()
            .unwrap()
    }

    #[test]
    fn captions_stand_in_the_lower_third_and_fade_in() {
        let scene = Script::for_theme("ocean").scenes.remove(1);
        let caption = Caption::of(&scene);
        let at = |number| {
            let mut frame = Frame::black();
            caption.burn(&mut frame, number, 72);
            frame
        };
        assert_eq!(at(0), Frame::black());
        assert!(brightest(&at(40), 0..600) <= 16 && brightest(&at(40), 640..960) > 220);
        assert!(brightest(&at(9), 640..960) < brightest(&at(40), 640..960));
    }

    #[test]
    fn long_and_strange_texts_stay_inside_the_picture() {
        let mut scene = Script::for_theme("ocean").scenes.remove(0);
        for text in [
            "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenfabrik",
            "",
            "日本 🎬 é",
            &"many words ".repeat(20),
        ] {
            scene.title = Some(text.chars().take(60).collect());
            scene.caption = text.to_owned();
            let mut frame = Frame::black();
            Caption::of(&scene).burn(&mut frame, 40, 72);
        }
    }

    #[test]
    fn lines_are_broken_between_words() {
        let bold = FontRef::try_from_slice(dejavu::sans::bold()).unwrap();
        let lines = wrap(&bold, "Every wave has come a long way.", LINE_SIZE);
        assert_eq!(lines.join(" "), "Every wave has come a long way.");
        assert!(lines.len() > 1);
    }
}
