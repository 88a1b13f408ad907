//! A state's side of the conversation: asks the agents, tells of their progress, and writes down who
//! did what.
//!
//! What is told here reaches whoever waits for the video only as long as the same process follows the
//! workflow (see [`super::news`]); what must survive is in the workflow's data.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mcp_agent_sdk::{Action, McpError, Progress, WorkflowContext};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    extent::Extent,
    news::Director,
    production::{Credit, Production},
};
use crate::actions::{Bar, Credited};

/// For one piece of work: a scene takes seconds, on a slow machine and behind others minutes.
const PATIENCE: Duration = Duration::from_secs(600);

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
        let (done, director) = (Arc::clone(&self.done), self.ctx.state().clone());
        move |progress| {
            let Some(bar) = Bar::of(progress) else { return };
            let mut pieces = locked(&done);
            pieces.insert(what.clone(), bar.done);
            let done = extent.before + pieces.values().sum::<u32>();
            drop(pieces);
            director.tell(&workflow, extent.progress(done, &bar));
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
        let progress = self.extent.progress(done, &bar);
        self.ctx.state().tell(&self.workflow, progress);
    }
}

/// The lock; when a thread panicked with it, the notes inside are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
