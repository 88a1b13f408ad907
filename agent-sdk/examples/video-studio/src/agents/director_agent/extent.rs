//! How much of a video is done, in units of work (frames and the like).

use mcp_agent_sdk::Progress;
use serde_json::json;

use crate::{
    actions::Bar,
    script::{Scene, Script},
};

/// The units of a video of which there is no script yet: about as many as most have.
const GUESS: u32 = 1000;

/// How many units there are, and how many lie before a state. Both follow from the script, so a
/// director that comes late knows them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) before: u32,
    pub(super) total: u32,
}

impl Extent {
    pub(super) fn of(state: &str, script: Option<&Script>) -> Self {
        let Some(script) = script else {
            return Self {
                before: 0,
                total: GUESS,
            };
        };
        let frames: u32 = script.scenes.iter().map(Scene::frames).sum();
        let music = script.scenes.len() as u32 + 1;
        let before = match state {
            "script" => 0,
            "visuals" => 1,
            "audio" => 1 + frames,
            "assembly" => 1 + frames + music,
            _ => 1 + frames + music + frames,
        };
        Self {
            before,
            total: 1 + frames + music + frames,
        }
    }

    /// A bar on its way to the requester, with the share of the whole that is done.
    pub(super) fn progress(self, done: u32, bar: &Bar) -> Progress {
        Progress::fraction(f64::from(done) / f64::from(self.total.max(1)))
            .note(format!("{}: {}", bar.agent, bar.note))
            .data(json!(bar))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_follow_each_other_in_the_extent() {
        let script = Script::for_theme("ocean");
        let before = |state| Extent::of(state, Some(&script)).before;
        let states = ["script", "visuals", "audio", "assembly", "done"];
        assert!(states.is_sorted_by(|one, next| before(one) < before(next)));
        assert_eq!(before("done"), Extent::of("done", Some(&script)).total);
    }
}
