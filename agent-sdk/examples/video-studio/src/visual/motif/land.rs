//! Mountains, dunes, a forest, a city.

use super::{H, Moment, W, ridge, starfield, sun};
use crate::{
    colour::mix,
    rng::Rng,
    visual::canvas::{Area, Canvas},
};

/// Ridge behind ridge in the haze, a sun rising behind them.
pub(super) fn peaks(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.6);
    let mut rng = m.rng(20);
    sun(
        m,
        canvas,
        W * rng.range(0.3, 0.7),
        H * 0.40 - 9.0 * m.seconds,
        42.0,
    );
    for layer in 0..6 {
        let near = layer as f32 / 5.0;
        let crags = jagged(&mut rng, 95.0 - 26.0 * near, 260.0 - 60.0 * near);
        let shift = (6.0 + 22.0 * near) * m.seconds;
        let top = |x: f32| H * (0.45 + 0.40 * near) + crags(x + shift);
        let crest = mix(m.horizon, m.shade, 0.28 + 0.72 * near);
        canvas.below(&Area {
            top: &top,
            crest,
            foot: mix(crest, m.horizon, 0.5 - 0.42 * near),
            depth: 210.0,
            level: None,
        });
    }
    birds(m, canvas, &mut rng);
}

fn birds(m: &Moment, canvas: &mut Canvas, rng: &mut Rng) {
    let (x, y) = (W * 0.2 + 34.0 * m.seconds, H * rng.range(0.2, 0.3));
    for bird in 0..7 {
        let (dx, dy) = (rng.range(-60.0, 60.0), rng.range(-36.0, 36.0));
        let flap = 5.0 * (m.seconds * 7.0 + bird as f32 * 1.3).sin();
        let at = (x + dx, y + dy);
        for side in [-1.0, 1.0] {
            // Negative light is shadow: the birds are dark against the sky.
            canvas.ray(
                at,
                (at.0 + side * 10.0, at.1 - 3.0 - flap),
                2.0,
                [1.0; 3],
                -0.6,
            );
        }
    }
}

/// Straight slopes between random points, with smaller ones on top.
fn jagged(rng: &mut Rng, height: f32, width: f32) -> impl Fn(f32) -> f32 + use<> {
    let points: Vec<f32> = (0..96).map(|_| rng.range(-1.0, 1.0)).collect();
    let slope = move |x: f32| {
        let (cell, share) = ((x.floor() as isize).rem_euclid(95) as usize, x - x.floor());
        points[cell] + (points[cell + 1] - points[cell]) * share
    };
    move |x| {
        let x = x / width + 7.0;
        height * (0.72 * slope(x) + 0.26 * slope(x * 3.1) + 0.09 * slope(x * 9.7))
    }
}

/// Dunes, each with a lit and a shaded side, under a large sun.
pub(super) fn dunes(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.55);
    let mut rng = m.rng(21);
    sun(
        m,
        canvas,
        W * rng.range(0.25, 0.75),
        H * 0.30 + 7.0 * m.seconds,
        62.0,
    );
    for layer in 0..5 {
        let near = layer as f32 / 4.0;
        let line = ridge(&mut rng, 30.0 + 26.0 * near, 380.0 + 240.0 * near);
        let shift = (5.0 + 34.0 * near) * m.seconds;
        let top = |x: f32| H * (0.50 + 0.36 * near) + line(x + shift);
        let lit = mix(
            mix(m.horizon, m.shade, 0.25 + 0.5 * near),
            m.glow,
            0.22 - 0.1 * near,
        );
        canvas.below(&Area {
            top: &top,
            crest: lit,
            foot: mix(m.shade, m.horizon, 0.28 - 0.28 * near),
            depth: 150.0 + 70.0 * near,
            level: None,
        });
    }
    for _ in 0..90 {
        let (near, start, y) = (rng.unit(), rng.range(0.0, W), H * rng.range(0.45, 0.98));
        let x = (start + (90.0 + 190.0 * near) * m.seconds).rem_euclid(W + 40.0) - 20.0;
        canvas.ray(
            (x, y),
            (x + 8.0 + 14.0 * near, y - 1.5),
            1.0 + near,
            m.glow,
            0.22,
        );
    }
}

/// Firs in the mist, fireflies between them.
pub(super) fn forest(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.7);
    let mut rng = m.rng(22);
    canvas.glow(W * rng.range(0.3, 0.7), H * 0.38, 360.0, m.glow, 0.16);
    for layer in 0..5 {
        let near = layer as f32 / 4.0;
        let firs = Firs::grow(&mut rng, 22.0 + 30.0 * near, 110.0 + 150.0 * near);
        let hill = ridge(&mut rng, 16.0, 420.0);
        let shift = (5.0 + 26.0 * near) * m.seconds;
        let base = H * (0.58 + 0.32 * near);
        let top = |x: f32| base + hill(x + shift) - firs.height(x + shift);
        let crest = mix(m.horizon, m.shade, 0.34 + 0.66 * near);
        canvas.below(&Area {
            top: &top,
            crest,
            foot: mix(crest, m.horizon, 0.55 - 0.5 * near),
            depth: 260.0,
            level: Some(base - 120.0 - 40.0 * near),
        });
    }
    for _ in 0..44 {
        let (x, y, phase) = (
            rng.range(0.0, W),
            H * rng.range(0.45, 0.95),
            rng.range(0.0, 6.3),
        );
        let at = (
            x + 26.0 * (m.seconds * 0.7 + phase).sin(),
            y + 18.0 * (m.seconds * 0.9 + phase * 2.0).cos(),
        );
        let shine = (m.seconds * 1.7 + phase * 3.0).sin().max(0.0);
        canvas.glow(at.0, at.1, 17.0, m.glow, 0.5 * shine);
        canvas.glow(at.0, at.1, 4.0, m.glow, 1.3 * shine);
    }
}

/// A row of firs: where they stand and how tall they are.
struct Firs {
    gap: f32,
    trees: Vec<(f32, f32)>,
}

impl Firs {
    fn grow(rng: &mut Rng, gap: f32, tall: f32) -> Self {
        let trees = (0..64)
            .map(|_| (rng.range(-0.3, 0.3), tall * rng.range(0.6, 1.0)))
            .collect();
        Self { gap, trees }
    }

    /// Height of the wood at `x`: the tallest of the trees that reach there.
    fn height(&self, x: f32) -> f32 {
        let cell = (x / self.gap).floor() as isize;
        (cell - 2..=cell + 2)
            .map(|n| {
                let (off, tall) = self.trees[n.rem_euclid(64) as usize];
                let away = (x - (n as f32 + 0.5 + off) * self.gap).abs() / (tall * 0.24);
                // Branches: the outline steps outwards several times on its way down.
                let tier = (away * 7.0).fract() * 0.10;
                tall * (1.0 - away - tier).max(0.0)
            })
            .fold(0.0, f32::max)
    }
}

/// A skyline at night, windows lit, over its reflection.
pub(super) fn city(m: &Moment, canvas: &mut Canvas) {
    canvas.sky(m.top, m.horizon, H * 0.74);
    starfield(m, canvas, 110, 2.0);
    let mut rng = m.rng(23);
    sun(m, canvas, W * rng.range(0.2, 0.8), H * 0.20, 34.0);
    canvas.glow(W * 0.5, H * 0.74, 430.0, m.horizon, 0.5);
    for layer in 0..3 {
        let near = layer as f32 / 2.0;
        let wall = mix(m.horizon, m.shade, 0.45 + 0.5 * near);
        let mut x = -60.0 - (9.0 + 20.0 * near) * m.seconds;
        while x < W + 200.0 {
            let (width, tall) = (
                rng.range(44.0, 92.0),
                rng.range(130.0, 380.0) * (1.15 - 0.42 * near),
            );
            let top = H * (0.70 + 0.14 * near) - tall;
            tower(m, canvas, &mut rng, (x, top, width), wall, near);
            x += width + rng.range(-4.0, 14.0);
        }
    }
    traffic(m, canvas, &mut rng);
}

fn tower(
    m: &Moment,
    canvas: &mut Canvas,
    rng: &mut Rng,
    (x, top, width): (f32, f32, f32),
    wall: [f32; 3],
    near: f32,
) {
    canvas.rect(x, top, width, H - top, wall, 1.0);
    canvas.rect(x, top, 3.0, H - top, m.glow, 0.10);
    if rng.below(3) == 0 {
        canvas.rect(x + width / 2.0, top - 34.0, 2.0, 34.0, wall, 1.0);
        let blink = (m.seconds * 3.0 + width).sin().max(0.0);
        canvas.glow(
            x + width / 2.0 + 1.0,
            top - 35.0,
            9.0,
            [1.0, 0.25, 0.2],
            blink,
        );
    }
    let (cell, pane) = (13.0 + 4.0 * near, 5.5 + 2.5 * near);
    for row in 0..17 {
        for column in 0..((width - 8.0) / cell) as i32 {
            let (lit, hour) = (rng.below(100), rng.range(0.0, 8.0));
            let on = lit < 36 || (lit < 44 && (m.seconds + hour).rem_euclid(5.0) > 2.5);
            if on {
                let at = (
                    x + 6.0 + column as f32 * cell,
                    top + 14.0 + row as f32 * cell * 1.25,
                );
                canvas.rect(at.0, at.1, pane, pane * 1.3, m.glow, 0.42 + 0.5 * near);
            }
        }
    }
}

/// Cars along the lower edge: warm lights one way, red the other.
fn traffic(m: &Moment, canvas: &mut Canvas, rng: &mut Rng) {
    canvas.rect(
        0.0,
        H * 0.93,
        W,
        H * 0.07,
        m.shade.map(|part| part * 0.7),
        1.0,
    );
    for car in 0..20 {
        let (way, speed, start) = (car % 2, rng.range(150.0, 270.0), rng.range(0.0, W));
        let (course, colour) = if way == 0 {
            (1.0, [1.0, 0.9, 0.7])
        } else {
            (-1.0, [1.0, 0.2, 0.16])
        };
        let x = (start + course * speed * m.seconds).rem_euclid(W + 120.0) - 60.0;
        let y = H * (0.948 + 0.024 * way as f32);
        canvas.ray((x, y), (x - course * 40.0, y), 3.0, colour, 0.5);
        canvas.glow(x, y, 14.0, colour, 0.8);
    }
}
