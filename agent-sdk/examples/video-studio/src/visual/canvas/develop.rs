//! From light to a video frame.

use super::Canvas;
use crate::frames::{Frame, HEIGHT, WIDTH};

impl Canvas {
    /// Turns the light into a picture: corners, highlights, then BT.709 YUV 4:2:0.
    pub(crate) fn develop(&self, frame: &mut Frame) {
        let (luma, blue, red) = frame.planes_mut();
        for row in 0..HEIGHT / 2 {
            for column in 0..WIDTH / 2 {
                let mut sum = [0.0; 3];
                for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                    let at = (row * 2 + dy) * WIDTH + column * 2 + dx;
                    let [r, g, b] = self.pixels[at].map(|part| soften(part * self.lens[at]));
                    luma[at] = (16.5 + 46.559 * r + 156.629 * g + 15.812 * b) as u8;
                    sum = [sum[0] + r, sum[1] + g, sum[2] + b];
                }
                let [r, g, b] = sum.map(|part| part / 4.0);
                let at = row * WIDTH / 2 + column;
                blue[at] = (128.5 - 25.664 * r - 86.336 * g + 112.0 * b) as u8;
                red[at] = (128.5 + 112.0 * r - 101.730 * g - 10.270 * b) as u8;
            }
        }
    }
}

/// Lets highlights run into white gently, as film does, instead of cutting them off at 1.
fn soften(part: f32) -> f32 {
    const KNEE: f32 = 0.75;
    if part <= KNEE {
        return part.max(0.0);
    }
    let over = (part - KNEE) / (1.0 - KNEE);
    KNEE + (1.0 - KNEE) * over / (1.0 + over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_have_the_levels_of_video() {
        let mut frame = Frame::black();
        let mut canvas = Canvas::new();
        canvas.develop(&mut frame);
        assert_eq!(frame, Frame::black());
        canvas.sky([1e6; 3], [1e6; 3], 1.0);
        canvas.develop(&mut frame);
        let (luma, blue, red) = frame.planes();
        assert!((234..=236).contains(luma.iter().max().unwrap()));
        assert!(blue.iter().chain(red).all(|c| (127..=129).contains(c)));
    }
}
