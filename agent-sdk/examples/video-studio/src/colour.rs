//! Colours: `#rrggbb` on the wire, floats while drawing.

use serde::{Deserialize, Serialize};

/// A colour, written `#rrggbb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Rgb(pub(crate) u8, pub(crate) u8, pub(crate) u8);

/// What a scene is painted with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Palette {
    /// The sky at the upper edge.
    pub(crate) top: Rgb,
    /// The sky at the horizon.
    pub(crate) horizon: Rgb,
    /// Whatever stands in front of the light.
    pub(crate) shade: Rgb,
    /// Sun, sparks, windows, stars.
    pub(crate) glow: Rgb,
}

impl Palette {
    /// The same palette with every hue turned by `degrees`: how two themes of one genre differ.
    pub(crate) fn turned(&self, degrees: f32) -> Self {
        let turn = |colour: Rgb| colour.turned(degrees);
        Self {
            top: turn(self.top),
            horizon: turn(self.horizon),
            shade: turn(self.shade),
            glow: turn(self.glow),
        }
    }
}

impl Rgb {
    /// Parts between 0 and 1, as the canvas wants them.
    pub(crate) fn light(self) -> [f32; 3] {
        [self.0, self.1, self.2].map(|part| f32::from(part) / 255.0)
    }

    fn turned(self, degrees: f32) -> Self {
        // Rotation about the grey axis keeps the brightness, so text stays as readable as it was.
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (third, root) = ((1.0 - cos) / 3.0, sin / 3f32.sqrt());
        let [r, g, b] = self.light();
        let mix = |x: f32, y: f32, z: f32| {
            let part = x * (cos + third) + y * (third - root) + z * (third + root);
            (part * 255.0).round().clamp(0.0, 255.0) as u8
        };
        Self(mix(r, g, b), mix(g, b, r), mix(b, r, g))
    }
}

/// `from` at 0, `to` at 1.
pub(crate) fn mix(from: [f32; 3], to: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|i| from[i] + (to[i] - from[i]) * share)
}

impl From<Rgb> for String {
    fn from(Rgb(r, g, b): Rgb) -> Self {
        format!("#{r:02x}{g:02x}{b:02x}")
    }
}

impl TryFrom<String> for Rgb {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a colour like `#1a2b3c`");
        let digits = text
            .strip_prefix('#')
            .filter(|d| d.len() == 6)
            .ok_or_else(wrong)?;
        let value = u32::from_str_radix(digits, 16).map_err(|_| wrong())?;
        let [_, r, g, b] = value.to_be_bytes();
        Ok(Self(r, g, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_the_wire() {
        let text = String::from(Rgb(26, 43, 60));
        assert_eq!(text, "#1a2b3c");
        assert_eq!(Rgb::try_from(text), Ok(Rgb(26, 43, 60)));
    }

    #[test]
    fn what_is_no_colour_is_refused() {
        for text in ["", "1a2b3c", "#1a2b3", "#1a2b3g", "#1a2b3c4"] {
            assert!(Rgb::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_full_turn_changes_nothing() {
        assert_eq!(Rgb(200, 120, 40).turned(360.0), Rgb(200, 120, 40));
        assert_eq!(Rgb(255, 0, 0).turned(120.0), Rgb(0, 255, 0));
    }
}
