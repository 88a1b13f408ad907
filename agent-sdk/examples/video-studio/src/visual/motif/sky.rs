//! Stars, a planet, northern lights, snow and petals.

use super::{H, Moment, W, ridge, starfield};
use crate::{
    colour::mix,
    frames::WIDTH,
    visual::canvas::{Area, Canvas, Loop, Part},
};

/// A galaxy's band, stars and a shooting star.
pub(super) fn stars(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, mix(m.top, m.horizon, 0.55), H);
    let mut rng = m.rng(10);
    let lean = rng.range(-0.9, 0.9);
    for cloud in 0..34 {
        let along = cloud as f32 / 33.0 - 0.5;
        let y = H * (0.5 + along * 1.2) + rng.range(-60.0, 60.0);
        let x = W * 0.5 + along * lean * H + rng.range(-70.0, 70.0) + 6.0 * m.seconds;
        let colour = mix(m.horizon, m.glow, rng.range(0.0, 0.45));
        canvas.glow(x, y, rng.range(70.0, 210.0), colour, 0.13);
    }
    starfield(m, canvas, 420, 9.0);
    let flight = (m.seconds - rng.range(0.6, 1.4)) / 0.8;
    if (0.0..1.0).contains(&flight) {
        let (x, y) = (W * (0.95 - 0.8 * flight), H * (0.12 + 0.22 * flight));
        let fade = (flight * std::f32::consts::PI).sin();
        for part in 0..12 {
            let back = part as f32 * 11.0;
            let from = (x + back, y - back * 0.47);
            canvas.ray(
                from,
                (from.0 + 11.0, from.1 - 5.2),
                2.2 - 0.14 * part as f32,
                m.glow,
                fade * (1.0 - part as f32 / 12.0),
            );
        }
        canvas.glow(x, y, 16.0, m.glow, fade);
    }
}

/// A large planet in half light, with a ring and a moon.
pub(super) fn planet(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, mix(m.top, m.horizon, 0.35), H);
    starfield(m, canvas, 260, 5.0);
    let mut rng = m.rng(11);
    let (x, y, radius) = (W * rng.range(0.42, 0.58), H * 0.42, rng.range(135.0, 165.0));
    let tilt = rng.range(-0.5, 0.5);
    canvas.glow(x - 30.0, y - 30.0, radius * 2.3, m.horizon, 0.55);
    ring_half(m, canvas, (x, y), radius, tilt, Part::Back);
    ball(m, canvas, (x, y), radius);
    ring_half(m, canvas, (x, y), radius, tilt, Part::Front);
    let turn = m.seconds * 0.35 + rng.range(0.0, 6.3);
    let (mx, my) = (
        x + radius * 1.75 * turn.cos(),
        y + radius * 1.15 * turn.sin() * 0.6 + radius * 1.35,
    );
    canvas.glow(mx, my, 60.0, m.glow, 0.25);
    canvas.disc(mx, my, 15.0, mix(m.horizon, m.glow, 0.7), 1.0);
    canvas.disc(mx + 5.0, my + 4.0, 13.0, m.shade, 0.55);
}

/// The planet's body: bands that drift, lit from the upper left.
fn ball(m: &Moment, canvas: &mut Canvas, (x, y): (f32, f32), radius: f32) {
    canvas.disc(x, y, radius, m.shade, 1.0);
    let mut rng = m.rng(12);
    let bands = ridge(&mut rng, 1.0, radius * 0.9);
    let swirl = ridge(&mut rng, 5.0, radius * 1.3);
    let mut dy = -radius;
    while dy < radius {
        let half = (radius * radius - dy * dy).max(0.0).sqrt();
        let mut dx = -half;
        while dx < half {
            let light = (-(dx * 0.62 + dy * 0.5) / radius + 0.35).clamp(0.0, 1.0);
            let band = 0.5 + 0.33 * bands(dy + swirl(dx + 14.0 * m.seconds));
            let colour = mix(m.horizon, m.glow, band.clamp(0.0, 1.0));
            canvas.rect(x + dx, y + dy, 2.0, 2.0, colour, light * 0.95);
            dx += 2.0;
        }
        dy += 2.0;
    }
    canvas.ring(x, y, radius, 5.0, m.glow, 0.22);
}

/// Half of the planet's ring: the back is drawn before the ball, the front after it.
fn ring_half(m: &Moment, canvas: &mut Canvas, at: (f32, f32), radius: f32, tilt: f32, part: Part) {
    for (lane, width, strength) in [
        (1.42, 5.0, 0.35),
        (1.55, 9.0, 0.6),
        (1.67, 5.0, 0.3),
        (1.78, 7.0, 0.45),
    ] {
        let radii = (radius * lane, radius * lane * 0.26);
        canvas.ellipse_line(
            Loop {
                at,
                radii,
                tilt,
                width,
            },
            part,
            m.glow,
            strength,
        );
    }
}

/// Curtains of light above a dark ridge.
pub(super) fn aurora(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.9);
    starfield(m, canvas, 170, 2.0);
    let mut rng = m.rng(13);
    for curtain in 0..3 {
        let fold = ridge(&mut rng, 60.0, 420.0);
        let pleat = ridge(&mut rng, 0.5, 46.0);
        let base = H * (0.50 - 0.12 * curtain as f32);
        let colour = mix(m.glow, m.horizon, 0.32 * curtain as f32);
        for column in 0..WIDTH {
            let x = column as f32;
            let foot = base + fold(x + m.seconds * (34.0 + 13.0 * curtain as f32));
            let shine =
                0.5 + pleat(x - m.seconds * 46.0) * 0.6 + 0.25 * (m.seconds + x * 0.013).sin();
            let tall = 230.0 + 90.0 * (x * 0.011 + m.seconds * 0.6).sin();
            canvas.curtain(column, foot, tall, colour, 0.75 * shine.max(0.05));
        }
    }
    let line = ridge(&mut rng, 52.0, 360.0);
    canvas.below(&Area {
        top: &|x| H * 0.80 + line(x),
        crest: mix(m.shade, m.horizon, 0.2),
        foot: m.shade,
        depth: 160.0,
        level: None,
    });
}

/// Snow over soft hills.
pub(super) fn snow(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.75);
    let mut rng = m.rng(14);
    canvas.glow(W * 0.5, H * 0.32, 330.0, m.glow, 0.10);
    for layer in 0..3 {
        let near = layer as f32 / 2.0;
        let line = ridge(&mut rng, 24.0 + 20.0 * near, 420.0);
        let crest = mix(mix(m.horizon, m.glow, 0.55), m.shade, 0.16 + 0.3 * near);
        let top = |x: f32| H * (0.66 + 0.12 * near) + line(x + 8.0 * near * m.seconds);
        canvas.below(&Area {
            top: &top,
            crest,
            foot: mix(crest, m.shade, 0.6),
            depth: 260.0,
            level: None,
        });
    }
    for _ in 0..260 {
        let (near, x, drop, phase) = (
            rng.unit(),
            rng.range(0.0, W),
            rng.range(0.0, H),
            rng.range(0.0, 6.3),
        );
        let y = (drop + (40.0 + 110.0 * near) * m.seconds).rem_euclid(H + 30.0) - 15.0;
        let sway = (8.0 + 18.0 * near) * (m.seconds * (0.6 + near) + phase).sin();
        let at = (x + sway - 14.0 * m.seconds * near).rem_euclid(W);
        canvas.glow(at, y, 2.0 + 6.5 * near * near, m.glow, 0.55 + 0.45 * near);
    }
}

/// Petals on a warm breeze.
pub(super) fn petals(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H);
    canvas.glow(W * 0.72, H * 0.18, 380.0, [1.0, 0.95, 0.85], 0.22);
    let mut rng = m.rng(15);
    for _ in 0..14 {
        let (x, y) = (rng.range(0.0, W), rng.range(0.0, H));
        canvas.disc(x, y, rng.range(40.0, 95.0), m.glow, 0.10);
    }
    for _ in 0..90 {
        let (near, x, drop, phase) = (
            rng.unit(),
            rng.range(0.0, W),
            rng.range(0.0, H),
            rng.range(0.0, 6.3),
        );
        let y = (drop + (46.0 + 92.0 * near) * m.seconds).rem_euclid(H + 80.0) - 40.0;
        let sway = 34.0 * (m.seconds * (0.7 + 0.5 * near) + phase).sin();
        let at = ((x + sway + 30.0 * m.seconds).rem_euclid(W + 60.0) - 30.0, y);
        let spin = phase + m.seconds * (0.8 + near);
        let size = 6.0 + 20.0 * near;
        let open = 0.30 + 0.28 * (m.seconds * 2.2 + phase).sin().abs();
        canvas.ellipse(
            at,
            (size, size * open),
            spin,
            mix(m.shade, m.glow, 0.35 + 0.6 * rng.unit()),
            0.92,
        );
        canvas.ellipse(
            (at.0 - 1.0, at.1 - 1.5),
            (size * 0.6, size * open * 0.4),
            spin,
            [1.0, 0.95, 0.95],
            0.30,
        );
    }
}
