//! What each motif looks like at a moment of its scene.
//!
//! Everything is a function of the scene and the time: no state from frame to frame, so any replica
//! can draw any scene, and draws the same.

mod abstracts;
mod land;
mod sky;
mod water;

use super::canvas::{Canvas, Light};
use crate::{
    frames::{HEIGHT, WIDTH},
    rng::Rng,
    script::{Motif, Scene},
};

const W: f32 = WIDTH as f32;
const H: f32 = HEIGHT as f32;

/// A scene at a moment: what the drawing functions get.
struct Moment {
    seconds: f32,
    seed: u32,
    top: Light,
    horizon: Light,
    shade: Light,
    glow: Light,
}

impl Moment {
    /// The same numbers in every frame of the scene; `salt` tells the uses apart.
    fn rng(&self, salt: u32) -> Rng {
        Rng::new(self.seed ^ salt.wrapping_mul(0x9e37_79b9))
    }
}

/// Draws the picture of `scene` at `seconds` after its start.
pub(super) fn draw(scene: &Scene, seconds: f32, canvas: &mut Canvas) {
    let palette = &scene.palette;
    let moment = Moment {
        seconds,
        seed: scene.seed,
        top: palette.top.light(),
        horizon: palette.horizon.light(),
        shade: palette.shade.light(),
        glow: palette.glow.light(),
    };
    let paint = match scene.motif {
        Motif::Aurora => sky::aurora,
        Motif::Bokeh => abstracts::bokeh,
        Motif::City => land::city,
        Motif::Deep => water::deep,
        Motif::Dunes => land::dunes,
        Motif::Embers => abstracts::embers,
        Motif::Forest => land::forest,
        Motif::Peaks => land::peaks,
        Motif::Petals => sky::petals,
        Motif::Planet => sky::planet,
        Motif::Pulse => abstracts::pulse,
        Motif::Rain => water::rain,
        Motif::Snow => sky::snow,
        Motif::Stars => sky::stars,
        Motif::Waves => water::waves,
    };
    paint(&moment, canvas);
}

/// Stars over the whole sky, twinkling.
fn starfield(moment: &Moment, canvas: &mut Canvas, count: u32, drift: f32) {
    let mut rng = moment.rng(1);
    for _ in 0..count {
        let depth = rng.range(0.2, 1.0);
        let x = (rng.range(0.0, W) + drift * moment.seconds * depth).rem_euclid(W);
        let y = rng.range(0.0, H);
        let (phase, pace) = (rng.range(0.0, 6.3), rng.range(1.0, 4.0));
        let twinkle = 0.65 + 0.35 * (phase + pace * moment.seconds).sin();
        let size = 0.9 + 1.9 * depth * depth * depth;
        canvas.glow(x, y, size * 1.6, moment.glow, 1.1 * twinkle * depth);
        if size > 2.4 {
            canvas.glow(x, y, size * 7.0, moment.glow, 0.16 * twinkle);
        }
    }
}

/// A sun or moon with its halo.
fn sun(moment: &Moment, canvas: &mut Canvas, x: f32, y: f32, radius: f32) {
    canvas.glow(x, y, radius * 5.0, moment.glow, 0.22);
    canvas.glow(x, y, radius * 2.2, moment.glow, 0.40);
    canvas.disc(x, y, radius, moment.glow.map(|part| part * 1.25), 1.0);
}

/// A bumpy line: three sines of falling size. `rough` is the height of the largest.
fn ridge(rng: &mut Rng, rough: f32, wavelength: f32) -> impl Fn(f32) -> f32 + use<> {
    let waves: [(f32, f32, f32); 3] = std::array::from_fn(|i| {
        let finer = 2.3f32.powi(i as i32);
        let frequency = std::f32::consts::TAU * finer / wavelength * rng.range(0.8, 1.2);
        (rough / finer, frequency, rng.range(0.0, 6.3))
    });
    move |x| {
        waves
            .iter()
            .map(|(height, f, phase)| height * (x * f + phase).sin())
            .sum()
    }
}
