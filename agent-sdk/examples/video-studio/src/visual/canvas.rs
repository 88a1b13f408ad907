//! A picture made of light: floats per pixel, so that many soft layers add up without steps.
//!
//! A handful of ways to put something on it are all the motifs need.

mod develop;

use crate::{
    colour::mix,
    frames::{HEIGHT, WIDTH},
};

pub(crate) type Light = [f32; 3];

pub(crate) struct Canvas {
    pixels: Vec<Light>,
    /// How much light the lens lets through at each pixel: a little less at the corners.
    lens: Vec<f32>,
}

/// A filled area: from the curve `top(x)` down to the lower edge.
pub(crate) struct Area<'a> {
    pub(crate) top: &'a dyn Fn(f32) -> f32,
    /// At the curve.
    pub(crate) crest: Light,
    /// `depth` pixels below it, and from there on.
    pub(crate) foot: Light,
    pub(crate) depth: f32,
    /// Where the crest's colour ends: at the curve, or at one height for the whole area.
    pub(crate) level: Option<f32>,
}

/// An ellipse drawn as a line.
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    pub(crate) at: (f32, f32),
    pub(crate) radii: (f32, f32),
    pub(crate) tilt: f32,
    pub(crate) width: f32,
}

/// Which part of a [`Loop`] is drawn: something may stand in the middle of it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Part {
    Whole,
    Front,
    Back,
}

impl Canvas {
    pub(crate) fn new() -> Self {
        let lens = (0..WIDTH * HEIGHT)
            .map(|i| {
                let x = (i % WIDTH) as f32 / WIDTH as f32 - 0.5;
                let y = (i / WIDTH) as f32 / HEIGHT as f32 - 0.5;
                1.0 - 0.55 * (x * x + y * y)
            })
            .collect();
        Self {
            pixels: vec![[0.0; 3]; WIDTH * HEIGHT],
            lens,
        }
    }

    /// Fills everything: `top` at the upper edge to `bottom` at height `end`.
    pub(crate) fn sky(&mut self, top: Light, bottom: Light, end: f32) {
        for (y, row) in self.pixels.chunks_exact_mut(WIDTH).enumerate() {
            let share = (y as f32 / end).min(1.0);
            row.fill(mix(top, bottom, share * share * (3.0 - 2.0 * share)));
        }
    }

    /// Adds a soft ball of light.
    pub(crate) fn glow(&mut self, x: f32, y: f32, radius: f32, colour: Light, strength: f32) {
        self.within((x, y), (radius, radius), |pixel, dx, dy| {
            let fall = 1.0 - (dx * dx + dy * dy) / (radius * radius);
            if fall > 0.0 {
                add(pixel, colour, strength * fall * fall);
            }
        });
    }

    /// Paints a disc with a smooth edge.
    pub(crate) fn disc(&mut self, x: f32, y: f32, radius: f32, colour: Light, alpha: f32) {
        self.within((x, y), (radius + 1.0, radius + 1.0), |pixel, dx, dy| {
            let cover = (radius + 0.5 - dx.hypot(dy)).clamp(0.0, 1.0);
            cover_with(pixel, colour, cover * alpha);
        });
    }

    /// Paints a tilted ellipse with a smooth edge.
    pub(crate) fn ellipse(
        &mut self,
        at: (f32, f32),
        radii: (f32, f32),
        tilt: f32,
        colour: Light,
        alpha: f32,
    ) {
        let (sin, cos) = tilt.sin_cos();
        let edge = radii.0.min(radii.1);
        self.within(at, reach_of(radii, tilt, 1.0), |pixel, dx, dy| {
            let along = (dx * cos + dy * sin) / radii.0;
            let across = (dy * cos - dx * sin) / radii.1;
            let cover = ((1.0 - along.hypot(across)) * edge + 0.5).clamp(0.0, 1.0);
            cover_with(pixel, colour, cover * alpha);
        });
    }

    /// Adds a ring of light, `width` thick.
    pub(crate) fn ring(
        &mut self,
        x: f32,
        y: f32,
        radius: f32,
        width: f32,
        colour: Light,
        strength: f32,
    ) {
        self.within((x, y), (radius + width, radius + width), |pixel, dx, dy| {
            let off = (dx.hypot(dy) - radius) / width;
            let fall = 1.0 - off * off;
            if fall > 0.0 {
                add(pixel, colour, strength * fall * fall);
            }
        });
    }

    /// Adds a line of light that fades towards its sides.
    pub(crate) fn ray(
        &mut self,
        from: (f32, f32),
        to: (f32, f32),
        width: f32,
        colour: Light,
        strength: f32,
    ) {
        let (run, rise) = (to.0 - from.0, to.1 - from.1);
        let length = (run * run + rise * rise).max(1e-6);
        let middle = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
        let reach = (run.abs() / 2.0 + width, rise.abs() / 2.0 + width);
        self.within(middle, reach, |pixel, dx, dy| {
            let (px, py) = (dx + run / 2.0, dy + rise / 2.0);
            let along = ((px * run + py * rise) / length).clamp(0.0, 1.0);
            let off = (px - run * along).hypot(py - rise * along) / width;
            if off < 1.0 {
                add(pixel, colour, strength * (1.0 - off * off));
            }
        });
    }

    /// Adds an ellipse of light.
    pub(crate) fn ellipse_line(&mut self, line: Loop, part: Part, colour: Light, strength: f32) {
        let (sin, cos) = line.tilt.sin_cos();
        let (long, short) = line.radii;
        self.within(
            line.at,
            reach_of(line.radii, line.tilt, line.width),
            |pixel, dx, dy| {
                let (along, across) = ((dx * cos + dy * sin) / long, (dy * cos - dx * sin) / short);
                let wanted = match part {
                    Part::Whole => true,
                    Part::Front => across >= 0.0,
                    Part::Back => across < 0.0,
                };
                // Distance to the ellipse, by the length of the gradient: good to a fraction of a pixel.
                let round = along.hypot(across).max(1e-3);
                let slope = (along / long).hypot(across / short).max(1e-6) / round;
                let off = (round - 1.0) / slope / line.width;
                if wanted && off.abs() < 1.0 {
                    add(pixel, colour, strength * (1.0 - off * off));
                }
            },
        );
    }

    /// Adds light to one column of pixels: brightest at `foot`, gone `tall` pixels above it.
    pub(crate) fn curtain(&mut self, x: usize, foot: f32, tall: f32, colour: Light, strength: f32) {
        for y in clip(foot - tall, HEIGHT)..clip(foot, HEIGHT) {
            let rise = (foot - y as f32) / tall;
            // The first pixels fade in, else the foot is a hard edge.
            let edge = ((foot - y as f32) / 9.0).min(1.0);
            add(
                &mut self.pixels[y * WIDTH + x],
                colour,
                strength * edge * (1.0 - rise) * (1.0 - rise),
            );
        }
    }

    /// Paints everything below a curve.
    pub(crate) fn below(&mut self, area: &Area<'_>) {
        for x in 0..WIDTH {
            // Three samples a column: steep edges would be jagged with one.
            let tops = [-0.33, 0.0, 0.33].map(|off| (area.top)(x as f32 + off));
            let first = tops.into_iter().fold(f32::MAX, f32::min);
            let level = area.level.unwrap_or(tops[1]);
            for y in first.floor().max(0.0) as usize..HEIGHT {
                let deep = y as f32 - level;
                let colour = mix(area.crest, area.foot, (deep / area.depth).clamp(0.0, 1.0));
                let cover: f32 = tops
                    .iter()
                    .map(|top| (y as f32 - top + 1.0).clamp(0.0, 1.0))
                    .sum();
                cover_with(&mut self.pixels[y * WIDTH + x], colour, cover / 3.0);
            }
        }
    }

    /// Paints an upright rectangle.
    pub(crate) fn rect(
        &mut self,
        x: f32,
        y: f32,
        width: f32,
        height: f32,
        colour: Light,
        alpha: f32,
    ) {
        let (left, right) = (clip(x, WIDTH), clip(x + width, WIDTH));
        for row in clip(y, HEIGHT)..clip(y + height, HEIGHT) {
            for pixel in &mut self.pixels[row * WIDTH + left..row * WIDTH + right.max(left)] {
                cover_with(pixel, colour, alpha);
            }
        }
    }

    /// Calls `paint` for the pixels of a box around a point, with their distance from it.
    fn within(
        &mut self,
        (x, y): (f32, f32),
        reach: (f32, f32),
        mut paint: impl FnMut(&mut Light, f32, f32),
    ) {
        let (left, right) = (clip(x - reach.0, WIDTH), clip(x + reach.0 + 1.0, WIDTH));
        for row in clip(y - reach.1, HEIGHT)..clip(y + reach.1 + 1.0, HEIGHT) {
            for column in left..right {
                let pixel = &mut self.pixels[row * WIDTH + column];
                paint(pixel, column as f32 - x, row as f32 - y);
            }
        }
    }
}

/// Half the box around a tilted ellipse.
fn reach_of((long, short): (f32, f32), tilt: f32, more: f32) -> (f32, f32) {
    let (sin, cos) = tilt.sin_cos();
    (
        (long * cos).hypot(short * sin) + more,
        (long * sin).hypot(short * cos) + more,
    )
}

fn clip(value: f32, end: usize) -> usize {
    (value.max(0.0) as usize).min(end)
}

fn add(pixel: &mut Light, colour: Light, strength: f32) {
    for (part, more) in pixel.iter_mut().zip(colour) {
        *part += more * strength;
    }
}

fn cover_with(pixel: &mut Light, colour: Light, alpha: f32) {
    *pixel = mix(*pixel, colour, alpha);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawing_outside_the_picture_is_harmless() {
        let mut canvas = Canvas::new();
        for at in [-1e6, -200.0, 2000.0, 1e6] {
            canvas.glow(at, at, 90.0, [1.0; 3], 1.0);
            canvas.disc(at, at, 90.0, [1.0; 3], 1.0);
            canvas.rect(at, at, 9.0, 9.0, [1.0; 3], 1.0);
            canvas.ray((at, at), (at + 9.0, at), 3.0, [1.0; 3], 1.0);
            canvas.below(&Area {
                top: &|_| at.max(HEIGHT as f32),
                crest: [1.0; 3],
                foot: [1.0; 3],
                depth: 1.0,
                level: None,
            });
        }
        assert!(canvas.pixels.iter().all(|p| *p == [0.0; 3]));
    }
}
