//! Echo and a little room: the difference between a test tone and music.

use super::{RATE, Stereo};

/// Adds echoes `gap` seconds apart, crossing from side to side, and a short reverberation.
pub(super) fn add_echo(sound: &mut Stereo, gap: f32) {
    let delay = (gap * RATE as f32) as usize;
    for at in delay..sound.left.len() {
        // Each echo is made of what the other side already echoes: that is the crossing.
        let (left, right) = (sound.left[at - delay], sound.right[at - delay]);
        sound.left[at] += right * 0.22;
        sound.right[at] += left * 0.22;
    }
    for (channel, spread) in sound.channels().into_iter().zip([0, 23]) {
        reverberate(channel, spread);
    }
}

/// Schroeder's reverberator: combs side by side, then all-passes in a row. The lengths share no
/// factor, so the echoes never fall together.
fn reverberate(channel: &mut [f32], spread: usize) {
    let mut wet = vec![0.0; channel.len()];
    for (length, feedback) in [(1557, 0.80), (1617, 0.79), (1491, 0.81), (1422, 0.82)] {
        let mut line = vec![0.0f32; length + spread];
        let (mut at, mut damped) = (0, 0.0);
        for (dry, out) in channel.iter().zip(&mut wet) {
            let echo = line[at];
            damped += (echo - damped) * 0.7;
            line[at] = dry + damped * feedback;
            *out += echo * 0.25;
            at = (at + 1) % line.len();
        }
    }
    for length in [225, 556] {
        let mut line = vec![0.0f32; length + spread];
        let mut at = 0;
        for sample in &mut wet {
            let echo = line[at];
            line[at] = *sample + echo * 0.5;
            *sample = echo - *sample * 0.5;
            at = (at + 1) % line.len();
        }
    }
    for (sample, wet) in channel.iter_mut().zip(wet) {
        *sample += wet * 0.20;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_click_rings_on_and_dies_away() {
        let mut sound = Stereo::silence(6.0);
        sound.left[0] = 1.0;
        sound.right[0] = 1.0;
        add_echo(&mut sound, 0.3);
        let power = |from: f32| -> f32 {
            let from = (from * RATE as f32) as usize;
            sound.left[from..from + RATE as usize / 2]
                .iter()
                .map(|s| s * s)
                .sum()
        };
        assert!(power(0.1) > power(2.0) && power(2.0) > power(5.0));
        assert!(power(0.1) > 1e-4 && power(5.0) < 1e-6);
    }
}
