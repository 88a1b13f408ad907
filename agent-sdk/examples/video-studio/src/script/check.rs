//! Scripts may come from elsewhere: by hand, from a model. Nobody should spend time on a bad one.

use super::{Scene, Script};

/// Bounds for scripts that did not come from here: what fits the picture, the memory and the patience.
const MAX_SCENES: usize = 12;
const SCENE_MS: std::ops::RangeInclusive<u32> = 250..=15_000;
const MAX_SCENE_CHARS: usize = 240;

impl Script {
    /// Says what is wrong with a script from elsewhere, before anybody spends time on it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1..=MAX_SCENES).contains(&self.scenes.len()) {
            return Err(format!(
                "a script has 1 to {MAX_SCENES} scenes, not {}",
                self.scenes.len()
            ));
        }
        if !(40..=240).contains(&self.bpm) {
            return Err(format!(
                "a script has 40 to 240 beats a minute, not {}",
                self.bpm
            ));
        }
        self.scenes.iter().try_for_each(Scene::check)
    }
}

impl Scene {
    /// Says what is wrong with a scene from elsewhere.
    pub(crate) fn check(&self) -> Result<(), String> {
        let letters = self.caption.chars().count()
            + self.title.iter().flat_map(|title| title.chars()).count();
        if !SCENE_MS.contains(&self.duration_ms) {
            return Err(format!(
                "a scene lasts {SCENE_MS:?} ms, not {}",
                self.duration_ms
            ));
        }
        if letters > MAX_SCENE_CHARS {
            return Err(format!(
                "a scene's texts have {letters} characters, more than {MAX_SCENE_CHARS}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_from_elsewhere_are_checked() {
        let good = Script::for_theme("ocean");
        assert_eq!(good.check(), Ok(()));
        let check = |spoil: fn(&mut Script), word: &str| {
            let mut script = good.clone();
            spoil(&mut script);
            assert!(
                script.check().is_err_and(|text| text.contains(word)),
                "{word}"
            );
        };
        check(|script| script.scenes.clear(), "scenes");
        check(|script| script.bpm = 0, "beats");
        check(|script| script.scenes[1].duration_ms = u32::MAX, "lasts");
        check(
            |script| script.scenes[0].caption = "a".repeat(241),
            "characters",
        );
    }
}
