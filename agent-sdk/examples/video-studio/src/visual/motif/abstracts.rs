//! Light for its own sake: embers, soft discs, rings on the beat.

use super::{H, Moment, W};
use crate::{colour::mix, visual::canvas::Canvas};

/// Sparks rising from a fire below the picture.
pub(super) fn embers(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, mix(m.top, m.horizon, 0.65), H);
    let mut rng = m.rng(30);
    for tongue in 0..22 {
        let (x, phase) = (rng.range(-0.05, 1.05) * W, rng.range(0.0, 6.3));
        let lick = (m.seconds * (2.0 + 0.1 * tongue as f32) + phase).sin();
        let y = H + 20.0 - 46.0 * lick;
        canvas.glow(x + 20.0 * lick, y, rng.range(120.0, 250.0), m.horizon, 0.30);
        canvas.glow(x, y + 40.0, rng.range(60.0, 130.0), m.glow, 0.30);
    }
    for _ in 0..230 {
        let (near, start, phase) = (rng.unit(), rng.range(0.0, W), rng.range(0.0, 6.3));
        let life = (m.seconds * rng.range(0.16, 0.38) + phase).rem_euclid(1.0);
        let y = H * (1.02 - 1.05 * life);
        let x = start + (20.0 + 50.0 * life) * (m.seconds * (0.8 + near) + phase * 2.0).sin();
        let fade = (1.0 - life) * (life * 14.0).min(1.0);
        let flicker = 0.7 + 0.3 * (m.seconds * 11.0 + phase * 5.0).sin();
        canvas.glow(
            x,
            y,
            1.8 + 3.4 * near,
            mix(m.glow, [1.0, 0.95, 0.8], 0.4 * near),
            1.5 * fade * flicker,
        );
        canvas.glow(x, y, 9.0 + 17.0 * near, m.glow, 0.16 * fade * flicker);
    }
}

/// Lights out of focus, drifting.
pub(super) fn bokeh(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H);
    let mut rng = m.rng(31);
    for _ in 0..7 {
        let (x, y, phase) = (rng.range(0.0, W), rng.range(0.0, H), rng.range(0.0, 6.3));
        let at = (
            x + 60.0 * (m.seconds * 0.4 + phase).sin(),
            y + 50.0 * (m.seconds * 0.3 + phase).cos(),
        );
        canvas.glow(
            at.0,
            at.1,
            rng.range(190.0, 330.0),
            mix(m.shade, m.horizon, rng.unit()),
            0.45,
        );
    }
    for _ in 0..46 {
        let (near, phase) = (rng.unit(), rng.range(0.0, 6.3));
        let rise = (10.0 + 42.0 * near) * m.seconds;
        let x = rng.range(0.0, W) + 24.0 * (m.seconds * 0.6 + phase).sin();
        let y = (rng.range(0.0, H) - rise).rem_euclid(H + 160.0) - 80.0;
        let radius = 10.0 + 44.0 * near;
        let shine = 0.13 + 0.12 * (m.seconds * 1.2 + phase).sin().abs();
        let colour = mix(m.glow, m.horizon, rng.range(0.0, 0.7));
        canvas.disc(x, y, radius, colour, shine);
        canvas.ring(x, y, radius - 1.0, 2.2, colour, shine * 1.4);
    }
}

/// Rings that leave the centre on every beat, bars below them.
pub(super) fn pulse(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, mix(m.top, m.horizon, 0.8), H);
    let (x, y) = (W * 0.5, H * 0.42);
    let beat = m.seconds * 2.0;
    let kick = (1.0 - beat.fract()) * (1.0 - beat.fract());
    canvas.glow(x, y, 330.0 + 50.0 * kick, m.horizon, 0.55 + 0.35 * kick);
    for wave in 0..7 {
        let age = (wave as f32 + beat.fract()) / 7.0;
        let colour = mix(m.glow, m.horizon, age);
        canvas.ring(
            x,
            y,
            40.0 + 430.0 * age,
            3.0 + 12.0 * age,
            colour,
            0.75 * (1.0 - age) * (1.0 - age),
        );
    }
    canvas.glow(x, y, 92.0 + 24.0 * kick, m.glow, 0.55 + 0.5 * kick);
    canvas.disc(x, y, 30.0 + 12.0 * kick, mix(m.glow, [1.0; 3], 0.55), 1.0);
    orbit(m, canvas, (x, y));
    let mut rng = m.rng(33);
    let bars = 21;
    for bar in 0..bars {
        let (pace, phase) = (rng.range(3.0, 8.0), rng.range(0.0, 6.3));
        let level = 0.25 + 0.45 * (m.seconds * pace + phase).sin().abs() + 0.3 * kick;
        let (left, tall) = (W * (bar as f32 + 0.2) / bars as f32, 210.0 * level);
        let colour = mix(m.horizon, m.glow, level.min(1.0));
        canvas.rect(left, H - tall, W / bars as f32 * 0.6, tall, colour, 0.75);
        canvas.rect(
            left,
            H - tall - 7.0,
            W / bars as f32 * 0.6,
            3.0,
            [1.0; 3],
            0.7,
        );
    }
}

fn orbit(m: &Moment, canvas: &mut Canvas, (x, y): (f32, f32)) {
    let mut rng = m.rng(32);
    for _ in 0..70 {
        let (far, phase, pace) = (
            rng.range(80.0, 300.0),
            rng.range(0.0, 6.3),
            rng.range(0.3, 1.1),
        );
        let angle = phase + pace * m.seconds;
        let at = (x + far * angle.cos(), y + far * angle.sin());
        canvas.glow(at.0, at.1, 7.0, m.glow, 0.5);
        canvas.glow(at.0, at.1, 2.4, [1.0; 3], 0.9);
    }
}
