//! The seeded load: what clients ask for, in which order, and how each of it ended.

mod malformed;
mod operations;

pub(super) use malformed::body as malformed_body;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use mcp_agent_sdk::{Client, Config};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::task::JoinHandle;

use super::{
    Failed,
    history::{Kind, Recorder},
};

/// Senders, each with a connection of its own.
const SENDERS: u64 = 6;

/// What one sender does at most, whatever happens: a bound, not a goal.
const MOST_OPERATIONS: u64 = 20_000;

/// How often of a hundred a sender does what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    pub(super) shares: [(Kind, u32); 6],
    /// Between two operations of one sender, at most.
    pub(super) pause: Duration,
    /// How long one operation may take: longer than any fault lasts and an agent's lease beside it.
    pub(super) patience: Duration,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            shares: [
                (Kind::Command, 25),
                (Kind::Keyed, 30),
                (Kind::Submit, 25),
                (Kind::Failing, 5),
                (Kind::Workflow, 10),
                (Kind::Malformed, 5),
            ],
            pause: Duration::from_millis(40),
            patience: Duration::from_secs(45),
        }
    }
}

/// Senders at work.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    patience: Duration,
}

/// What a sender knows.
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) recorder: Arc<Recorder>,
    pub(super) number: u64,
    pub(super) patience: Duration,
    /// Keys are asked for by several senders: this many there are so far.
    pub(super) keys: Arc<AtomicU64>,
    /// The seed in the keys: no two runs on one server share them.
    pub(super) seed: u64,
}

impl Load {
    /// Lets the senders begin.
    pub(super) async fn begin(
        config: &Config,
        seed: u64,
        mix: Mix,
        recorder: &Arc<Recorder>,
    ) -> Result<Self, Failed> {
        let stop = Arc::new(AtomicBool::new(false));
        let keys = Arc::new(AtomicU64::new(0));
        let mut senders = Vec::new();
        for number in 0..SENDERS {
            let config = config.clone().name(format!("sender_{number}"));
            let sender = Sender {
                client: Client::connect(config).await?,
                recorder: Arc::clone(recorder),
                number,
                patience: mix.patience,
                keys: Arc::clone(&keys),
                seed,
            };
            let random = StdRng::seed_from_u64(seed ^ (number << 32));
            senders.push(tokio::spawn(work(sender, random, mix, Arc::clone(&stop))));
        }
        recorder.load_began();
        Ok(Self {
            stop,
            senders,
            patience: mix.patience,
        })
    }

    /// Lets each sender end what it has begun.
    pub(super) async fn end(self, recorder: &Recorder) {
        self.stop.store(true, Ordering::SeqCst);
        recorder.load_ended();
        for sender in self.senders {
            // A sender that panics leaves its operation without an end, which the checker sees.
            let _ = tokio::time::timeout(3 * self.patience, sender).await;
        }
    }
}

async fn work(sender: Sender, mut random: StdRng, mix: Mix, stop: Arc<AtomicBool>) {
    for n in 0..MOST_OPERATIONS {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let kind = choose(&mut random, &mix.shares);
        let dice = random.random::<u64>();
        sender.operate(kind, n, dice).await;
        let pause = random.random_range(Duration::ZERO..=mix.pause);
        tokio::time::sleep(pause).await;
    }
}

fn choose(random: &mut StdRng, shares: &[(Kind, u32)]) -> Kind {
    let all = shares.iter().map(|(_, share)| share).sum();
    let mut left = random.random_range(0..all);
    for (kind, share) in shares {
        match left.checked_sub(*share) {
            Some(rest) => left = rest,
            None => return *kind,
        }
    }
    Kind::Command
}
