//! A state's side of the conversation: asks the agents, tells of their progress, and writes down who
//! did what.
//!
//! What is told here reaches whoever waits for the video only as long as the same process follows the
//! workflow (see [`Director`]); what must survive is in the workflow's data.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mcp_agent_sdk::{Action, McpError, Progress, WorkflowContext};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::sync::broadcast;

use super::production::{Credit, Production};
use crate::{
    actions::{Bar, Credited},
    script::{Scene, Script},
};

/// For one piece of work: a scene takes seconds, on a slow machine and behind others minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Bars that wait to be passed on, of all videos together. The oldest make room for newer ones, which
/// say more.
const BARS_AHEAD: usize = 256;

/// What the states and the handlers of one director share: news of the videos that are being made.
pub(super) struct Director {
    news: broadcast::Sender<News>,
}

/// Progress of one video.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) workflow: Arc<str>,
    pub(super) progress: Progress,
}

impl Director {
    pub(super) fn new() -> Self {
        Self {
            news: broadcast::Sender::new(BARS_AHEAD),
        }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}

/// Units of work (frames and the like): how many there are, and how many lie before a state. Both
/// follow from the script, so a director that comes late knows them as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) before: u32,
    pub(super) total: u32,
}

impl Extent {
    pub(super) fn of(state: &str, script: Option<&Script>) -> Self {
        let Some(script) = script else {
            // How much there will be is not known yet; certainly more than nothing.
            return Self {
                before: 0,
                total: u32::MAX,
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

    /// A director's bar when so much is done.
    pub(super) fn progress(self, done: u32, bar: &Bar) -> Progress {
        Progress::fraction(f64::from(done) / f64::from(self.total.max(1)))
            .note(format!("{}: {}", bar.agent, bar.note))
            .data(json!(bar))
    }
}

/// A piece of work that somebody is asked for.
pub(super) struct Piece {
    /// In words: `scene 2 of 5`.
    pub(super) what: String,
    /// Units of work in it.
    pub(super) units: u32,
}

impl Piece {
    pub(super) fn new(what: impl Into<String>, units: u32) -> Self {
        Self {
            what: what.into(),
            units,
        }
    }
}

/// The agents, as one state of one video sees them.
pub(super) struct Crew {
    ctx: WorkflowContext<Director>,
    workflow: Arc<str>,
    extent: Extent,
    /// Units done in this state, by piece.
    done: Arc<Mutex<HashMap<String, u32>>>,
    credits: Mutex<Vec<Credit>>,
}

impl Crew {
    pub(super) fn of(ctx: &WorkflowContext<Director>, video: &Production) -> Self {
        Self {
            ctx: ctx.clone(),
            workflow: ctx.workflow_id().into(),
            extent: Extent::of(ctx.current_state(), video.script.as_ref()),
            done: Arc::default(),
            credits: Mutex::default(),
        }
    }

    /// Asks an agent for a piece and waits for it. Asked again, by this director or by the next one,
    /// it gets the same result: the key of the command is derived by `ctx`.
    pub(super) async fn ask<P, R>(
        &self,
        ctx: &WorkflowContext<Director>,
        action: Action<P, Credited<R>>,
        parameters: &P,
        piece: Piece,
    ) -> Result<R, McpError>
    where
        P: Serialize,
        R: DeserializeOwned + 'static,
    {
        let Credited { result, made } = ctx
            .call(action, parameters)
            .timeout(PATIENCE)
            .on_progress(self.observer(&piece.what))
            .await?;
        locked(&self.done).insert(piece.what.clone(), piece.units);
        self.tell(&format!("{} is ready", piece.what));
        locked(&self.credits).push(Credit {
            agent: action.agent().to_owned(),
            action: action.name().to_owned(),
            what: piece.what,
            made,
        });
        Ok(result)
    }

    /// Who did what in this state, in the order of their beginning.
    pub(super) fn credits(self) -> Vec<Credit> {
        let mut credits = std::mem::take(&mut *locked(&self.credits));
        credits.sort_by_key(|credit| credit.made.began_at);
        credits
    }

    /// What to do with each progress frame of a piece: tell it, with the share of the whole.
    fn observer(&self, what: &str) -> impl Fn(&Progress) + Send + Sync + use<> {
        let (what, workflow, extent) = (what.to_owned(), Arc::clone(&self.workflow), self.extent);
        let (done, news) = (Arc::clone(&self.done), self.ctx.state().news.clone());
        move |progress| {
            let Some(bar) = Bar::of(progress) else { return };
            let mut pieces = locked(&done);
            pieces.insert(what.clone(), bar.done);
            let done = extent.before + pieces.values().sum::<u32>();
            drop(pieces);
            // An error means that nobody listens.
            let _ = news.send(News {
                workflow: Arc::clone(&workflow),
                progress: extent.progress(done, &bar),
            });
        }
    }

    /// The director's own bar.
    fn tell(&self, note: &str) {
        let done = self.extent.before + locked(&self.done).values().sum::<u32>();
        let bar = Bar {
            agent: self.ctx.agent().to_owned(),
            instance: self.ctx.instance().to_owned(),
            done,
            total: self.extent.total,
            note: note.to_owned(),
        };
        let _ = self.ctx.state().news.send(News {
            workflow: Arc::clone(&self.workflow),
            progress: self.extent.progress(done, &bar),
        });
    }
}

/// The lock; when a thread panicked with it, the notes inside are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
