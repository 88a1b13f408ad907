//! The whole protocol around [`Drive`](super::Drive), simulated: a store, a queue, engines that crash and wake again, and clients.
//!
//! One step happens at a time, in an order that a seed decides, and after each the checker looks. A failure names its seed:
//! `MCP_SIMULATION_SEED=<seed> cargo test -p mcp-workflow-engine simulation` runs that one alone, and tells each step.
//! `MCP_SIMULATIONS` is how many are run, `MCP_SIMULATION_FIRST` the first of them.

mod check;
mod client;
mod engine;
mod kids;
mod script;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) use script::{name, state};
use world::World;

/// What a normal test run can afford; `make simulate` and whoever changes the core run more.
const SIMULATIONS: u64 = 20_000;

/// So many steps and no end: it goes in circles.
const MAX_STEPS: usize = 20_000;

/// SplitMix64: small, fast without optimisation, and the same for ever.
#[derive(Debug, Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("a small number");
        usize::try_from(self.roll() % bound).expect("a small number")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn word<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// What came of all simulations together: a test that never saw a thing proves nothing about it.
#[derive(Debug, Default, Clone)]
struct Seen {
    simulations: u64,
    steps: u64,
    runs: u64,
    writes: u64,
    conflicts: u64,
    crashes: u64,
    zombies: u64,
    lost_answers: u64,
    takeovers: u64,
    appended: u64,
    refused: u64,
    parked: u64,
    timers: u64,
    checkpoints: u64,
    compensated: u64,
    children: u64,
    news: u64,
    ended: u64,
    waiting: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.simulations += 1;
        self.steps += other.steps;
        self.runs += other.runs;
        self.writes += other.writes;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.zombies += other.zombies;
        self.lost_answers += other.lost_answers;
        self.takeovers += other.takeovers;
        self.appended += other.appended;
        self.refused += other.refused;
        self.parked += other.parked;
        self.timers += other.timers;
        self.checkpoints += other.checkpoints;
        self.compensated += other.compensated;
        self.children += other.children;
        self.news += other.news;
        self.ended += other.ended;
        self.waiting += other.waiting;
    }

    fn join(mut self, other: &Self) -> Self {
        let simulations = self.simulations + other.simulations;
        self.add(other);
        self.simulations = simulations;
        self
    }
}

fn simulate(seed: u64, told: bool) -> Seen {
    let mut world = World::new(seed, told);
    for _ in 0..MAX_STEPS {
        if world.is_over() {
            world.check_the_end();
            return world.seen;
        }
        world.step();
    }
    panic!(
        "no end after {MAX_STEPS} steps: {:#?}",
        world.store.record()
    );
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Every `of`-th seed, beginning with `first`.
fn share(first: u64, of: u64, end: u64) -> Seen {
    let mut seen = Seen::default();
    for seed in (first..end).step_by(usize::try_from(of).expect("a few threads")) {
        match catch_unwind(AssertUnwindSafe(|| simulate(seed, false))) {
            Ok(one) => seen.add(&one),
            Err(panic) => {
                let text = format!("replay it with MCP_SIMULATION_SEED={seed}\n");
                eprint!("{text}");
                std::panic::resume_unwind(panic)
            }
        }
    }
    seen
}

#[test]
fn workflows_survive_every_interleaving() {
    if let Some(seed) = number("MCP_SIMULATION_SEED") {
        eprintln!("{:#?}", simulate(seed, true));
        return;
    }
    let all = number("MCP_SIMULATIONS").unwrap_or(SIMULATIONS);
    let first = number("MCP_SIMULATION_FIRST").unwrap_or_default();
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let started = std::time::SystemTime::now();
    let seen = std::thread::scope(|scope| {
        let share = |own| scope.spawn(move || share(first + own, threads, first + all));
        let shares: Vec<_> = (0..threads).map(share).collect();
        let joined = shares.into_iter().map(|share| share.join().unwrap());
        joined.fold(Seen::default(), |all, share| all.join(&share))
    });
    eprintln!("{seen:#?} in {:?}", started.elapsed().unwrap());
    if all >= 1_000 {
        let everything = [
            seen.conflicts,
            seen.crashes,
            seen.zombies,
            seen.lost_answers,
            seen.takeovers,
            seen.appended,
            seen.refused,
            seen.parked,
            seen.timers,
            seen.checkpoints,
            seen.compensated,
            seen.children,
            seen.news,
            seen.ended,
            seen.waiting,
        ];
        let rare = everything.iter().any(|count| *count < all / 200);
        assert!(!rare, "something hardly ever happens: {seen:#?}");
    }
}

/// Both: a delivery that ended without a write, and a sleeping one before it that then parked the workflow.
#[test]
fn seeds_that_have_found_something_stay_quiet() {
    for seed in [640_805, 890_842] {
        simulate(seed, false);
    }
}
