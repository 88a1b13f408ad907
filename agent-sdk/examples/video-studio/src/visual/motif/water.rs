//! Waves, the deep, rain.

use super::{H, Moment, W, ridge, sun};
use crate::{
    colour::mix,
    visual::canvas::{Area, Canvas, Loop, Part},
};

/// The sea under a low sun, wave behind wave.
pub(super) fn waves(m: &Moment, canvas: &mut Canvas) {
    let sea = H * 0.52;
    canvas.sky(m.top, m.horizon, sea);
    let mut rng = m.rng(2);
    let x = W * rng.range(0.3, 0.7);
    sun(m, canvas, x, sea - 55.0 - 4.0 * m.seconds, 48.0);
    for layer in 0..7 {
        let near = layer as f32 / 6.0;
        let line = ridge(&mut rng, 4.0 + 17.0 * near, 240.0 + 260.0 * near);
        let (speed, heave) = (
            26.0 + 50.0 * near,
            7.0 * near * (m.seconds * 1.3 + layer as f32).sin(),
        );
        let top = |x: f32| sea + near * near * 330.0 + heave + line(x + speed * m.seconds);
        let body = mix(
            mix(m.top, m.horizon, 0.45 * (1.0 - near)),
            m.shade,
            0.2 + 0.6 * near,
        );
        let crest = mix(body, m.glow, 0.34 - 0.2 * near);
        canvas.below(&Area {
            top: &top,
            crest,
            foot: mix(body, m.shade, 0.5),
            depth: 40.0 + 90.0 * near,
            level: None,
        });
    }
    glitter(m, canvas, x, sea);
}

/// The sun's path on the water.
fn glitter(m: &Moment, canvas: &mut Canvas, x: f32, sea: f32) {
    let mut rng = m.rng(3);
    for _ in 0..90 {
        let near = rng.unit();
        let spread = 14.0 + 120.0 * near;
        let at = x + rng.range(-1.0, 1.0) * spread;
        let (phase, pace) = (rng.range(0.0, 6.3), rng.range(2.0, 5.0));
        let shine = (phase + pace * m.seconds).sin().max(0.0);
        let (y, half) = (sea + 6.0 + near * 330.0, 5.0 + 15.0 * near);
        let sway = 6.0 * (m.seconds + phase).sin();
        canvas.ray(
            (at - half + sway, y),
            (at + half + sway, y),
            1.2 + 1.6 * near,
            m.glow,
            0.55 * shine,
        );
    }
}

/// Under water: shafts of light, bubbles, a shoal of fish.
pub(super) fn deep(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.shade, H * 0.95);
    canvas.glow(W * 0.5, -80.0, 620.0, m.horizon, 0.5);
    let mut rng = m.rng(4);
    for shaft in 0..7 {
        let x = rng.range(-0.1, 1.1) * W + 22.0 * (m.seconds * 0.5 + shaft as f32).sin();
        let bright = 0.05 + 0.05 * (m.seconds * 0.9 + shaft as f32 * 2.0).sin().abs();
        let lean = rng.range(40.0, 170.0);
        canvas.ray(
            (x, -60.0),
            (x + lean, H * rng.range(0.6, 0.95)),
            rng.range(26.0, 70.0),
            m.glow,
            bright,
        );
    }
    shoal(m, canvas);
    for _ in 0..46 {
        let (size, pace) = (rng.range(2.0, 9.0), rng.range(40.0, 120.0));
        let y = H - (rng.range(0.0, H) + pace * m.seconds).rem_euclid(H + 40.0) + 20.0;
        let x = rng.range(0.0, W) + 9.0 * (m.seconds * 2.0 + size * 3.0).sin();
        canvas.ring(x, y, size, 1.6, m.glow, 0.5);
        canvas.glow(x - size * 0.3, y - size * 0.3, size * 0.6, m.glow, 0.8);
    }
}

fn shoal(m: &Moment, canvas: &mut Canvas) {
    let mut rng = m.rng(5);
    let (course, height) = (
        if rng.below(2) == 0 { 1.0 } else { -1.0 },
        H * rng.range(0.38, 0.55),
    );
    for fish in 0..26 {
        let (dx, dy, size) = (
            rng.range(-190.0, 190.0),
            rng.range(-110.0, 110.0),
            rng.range(12.0, 24.0),
        );
        let phase = fish as f32 * 1.7;
        let travel = course * (m.seconds * 62.0 - 110.0);
        let x = W / 2.0 + travel + dx + 6.0 * (m.seconds * 1.1 + phase).sin();
        let y = height + dy + 30.0 * (m.seconds * 0.7 + dx * 0.01).sin();
        let tail = course * size * (0.95 + 0.12 * (m.seconds * 9.0 + phase).sin());
        let body = mix(m.shade, m.glow, 0.4 + 0.3 * rng.unit());
        canvas.ellipse(
            (x - tail, y),
            (size * 0.42, size * 0.26),
            0.9 * (m.seconds * 9.0 + phase).sin(),
            body,
            0.9,
        );
        canvas.ellipse((x, y), (size, size * 0.36), 0.0, body, 0.95);
    }
}

/// Rain on a pond: streaks in front, rings where they land.
pub(super) fn rain(m: &Moment, canvas: &mut Canvas) {
    let pond = H * 0.58;
    canvas.sky(m.top, m.horizon, pond);
    let mut rng = m.rng(6);
    for cloud in 0..9 {
        let x = (rng.range(0.0, W) + 12.0 * m.seconds + cloud as f32 * 40.0).rem_euclid(W + 400.0)
            - 200.0;
        canvas.glow(
            x,
            rng.range(0.0, H * 0.3),
            rng.range(120.0, 260.0),
            mix(m.top, m.glow, 0.35),
            0.16,
        );
    }
    let (crest, foot) = (mix(m.horizon, m.shade, 0.35), m.shade);
    let line = ridge(&mut rng, 2.0, 300.0);
    let top = |x: f32| pond + line(x + 14.0 * m.seconds);
    canvas.below(&Area {
        top: &top,
        crest,
        foot,
        depth: H * 0.36,
        level: None,
    });
    for _ in 0..42 {
        let (near, x, phase) = (rng.unit(), rng.range(0.0, W), rng.unit());
        let age = (m.seconds * 0.9 + phase).rem_euclid(1.0);
        let y = pond + 14.0 + near * (H - pond);
        ripple(
            m,
            canvas,
            (x, y),
            age * (16.0 + 50.0 * near),
            0.42 * (1.0 - age),
        );
    }
    for _ in 0..150 {
        let (near, start, drop) = (rng.unit(), rng.range(0.0, W + 120.0), rng.range(0.0, H));
        let length = 16.0 + 34.0 * near;
        let y = (drop + (620.0 + 700.0 * near) * m.seconds).rem_euclid(H + 80.0) - 60.0;
        let x = start - y * 0.09;
        canvas.ray(
            (x, y),
            (x - length * 0.09, y + length),
            0.9 + 0.9 * near,
            m.glow,
            0.20 + 0.22 * near,
        );
    }
}

/// A flat ring: a circle seen at a low angle.
fn ripple(m: &Moment, canvas: &mut Canvas, at: (f32, f32), radius: f32, strength: f32) {
    let line = Loop {
        at,
        radii: (radius + 1.0, radius * 0.3 + 0.5),
        tilt: 0.0,
        width: 1.5,
    };
    canvas.ellipse_line(line, Part::Whole, m.glow, strength);
}
