//! The director's side of the conversation: asks the agents, passes their progress on, and writes
//! down who did what.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use mcp_agent_sdk::{Action, Context, McpError, Progress};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use crate::actions::{Bar, Step};

/// Bars that wait to be passed on. When it is full, one is dropped: the next one says more.
const BARS_AHEAD: usize = 64;

/// How long the last bars may take to be passed on before the result goes out without them.
const LAST_BARS: Duration = Duration::from_secs(1);

/// The agents, as the director of one video sees them.
pub(super) struct Crew {
    ctx: Context,
    began: Instant,
    patience: Duration,
    tally: Arc<Mutex<Tally>>,
    bars: mpsc::Sender<Bar>,
    forwarder: JoinHandle<()>,
}

/// What has been done so far.
#[derive(Default)]
struct Tally {
    steps: Vec<Step>,
    /// Units of work done, by step.
    done: HashMap<String, u32>,
    expected: u32,
}

/// Who works on a step, and since when: known from its first progress frame.
type Worker = Arc<Mutex<Option<(String, Instant)>>>;

impl Crew {
    pub(super) fn new(ctx: &Context, patience: Duration) -> Self {
        let tally = Arc::default();
        let (bars, waiting) = mpsc::channel(BARS_AHEAD);
        let forwarder = tokio::spawn(pass_on(ctx.clone(), waiting, Arc::clone(&tally)));
        Self {
            ctx: ctx.clone(),
            began: Instant::now(),
            patience,
            tally,
            bars,
            forwarder,
        }
    }

    /// Says how many units of work (frames and the like) there will be, for the share that is done.
    pub(super) fn expect(&self, units: u32) {
        locked(&self.tally).expected = units;
    }

    /// Asks an agent for something and waits for it.
    pub(super) async fn ask<P, R>(
        &self,
        action: Action<P, R>,
        what: &str,
        parameters: &P,
    ) -> Result<R, McpError>
    where
        P: Serialize,
        R: DeserializeOwned + 'static,
    {
        let asked = Instant::now();
        let worker = Worker::default();
        // All commands of a video are in one conversation: the requester's, else one of its own.
        let conversation = self.ctx.conversation_id().unwrap_or(self.ctx.message_id());
        let result = self
            .ctx
            .call(action, parameters)
            .conversation(conversation)
            .timeout(self.patience.saturating_sub(self.began.elapsed()))
            .on_progress(self.observer(what, &worker))
            .await?;
        let (instance, started) = locked(&worker).take().unwrap_or((String::new(), asked));
        locked(&self.tally).steps.push(Step {
            agent: action.agent().to_owned(),
            instance,
            action: action.name().to_owned(),
            what: what.to_owned(),
            started_ms: millis(started - self.began),
            took_ms: millis(started.elapsed()),
        });
        self.tell(&format!("{what} is ready"));
        Ok(result)
    }

    /// What to do with each progress frame of a step. It must not block, so it only takes notes.
    fn observer(&self, what: &str, worker: &Worker) -> impl Fn(&Progress) + Send + Sync + use<> {
        let (what, worker) = (what.to_owned(), Arc::clone(worker));
        let (tally, bars) = (Arc::clone(&self.tally), self.bars.clone());
        move |progress| {
            let Some(bar) = Bar::of(progress) else { return };
            let mut worker = locked(&worker);
            // Another instance than before: the first one died over it, and this one starts anew.
            if worker
                .as_ref()
                .is_none_or(|(instance, _)| *instance != bar.instance)
            {
                *worker = Some((bar.instance.clone(), Instant::now()));
            }
            locked(&tally).done.insert(what.clone(), bar.done);
            let _ = bars.try_send(bar);
        }
    }

    /// The director's own bar.
    fn tell(&self, note: &str) {
        let (done, total) = locked(&self.tally).share();
        let (agent, instance) = (self.ctx.agent().to_owned(), self.ctx.instance().to_owned());
        let _ = self.bars.try_send(Bar {
            agent,
            instance,
            done,
            total,
            note: note.to_owned(),
        });
    }

    /// Waits until all progress is passed on, and returns who did what and how long all of it took.
    pub(super) async fn finish(self) -> (Vec<Step>, u64) {
        drop(self.bars);
        let _ = timeout(LAST_BARS, self.forwarder).await;
        let mut steps = std::mem::take(&mut locked(&self.tally).steps);
        steps.sort_by_key(|step| step.started_ms);
        (steps, millis(self.began.elapsed()))
    }
}

impl Tally {
    /// Units done, and units in all.
    fn share(&self) -> (u32, u32) {
        let done = self.done.values().sum();
        (done, self.expected.max(done))
    }
}

/// Passes bars on to whoever asked for the video, with the share of the whole that is done.
async fn pass_on(ctx: Context, mut bars: mpsc::Receiver<Bar>, tally: Arc<Mutex<Tally>>) {
    while let Some(bar) = bars.recv().await {
        let (done, total) = locked(&tally).share();
        let progress = Progress::fraction(f64::from(done) / f64::from(total.max(1)));
        let note = format!("{}: {}", bar.agent, bar.note);
        ctx.progress(progress.note(note).data(json!(bar))).await;
    }
}

/// The lock; when a thread panicked with it, the notes inside are still good.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
