//! The protocol of one idempotency key against a simulated store and stream: crashes, stops, lost acknowledgements,
//! leases that pass, redeliveries and slow handlers, in an order that a seed decides. Thousands of schedules in seconds;
//! what decides is the real code of [`decision`](super::decision) and of the outcome records.

mod store;
mod worker;
mod world;

use world::World;

/// Schedules of one run of the tests.
const SCHEDULES: u64 = 10_000;

#[test]
fn one_outcome_whatever_happens_in_whatever_order() {
    let mut seen = world::Seen::default();
    for seed in 0..SCHEDULES {
        seen.add(&play(seed));
    }
    // Schedules in which nothing happens would show nothing.
    println!("{seen:?}");
    assert!(seen.replays > SCHEDULES / 10, "{seen:?}");
    assert!(seen.crashes > SCHEDULES / 10, "{seen:?}");
    assert!(seen.stops > SCHEDULES / 10, "{seen:?}");
    assert!(seen.lost_acks > SCHEDULES / 10, "{seen:?}");
    assert!(seen.failures > SCHEDULES / 10, "{seen:?}");
    assert!(seen.second_executions > SCHEDULES / 100, "{seen:?}");
    assert!(seen.overtaken > SCHEDULES / 1_000, "{seen:?}");
}

fn play(seed: u64) -> world::Seen {
    let mut world = World::new(seed);
    while !world.is_over() {
        world.step();
    }
    world.check_the_end();
    world.seen
}

/// The checks bite: a worker that takes what another works on is found out.
#[test]
#[should_panic(expected = "at the same time")]
fn a_worker_without_patience_is_found_out() {
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed);
        world.impatient = true;
        while !world.is_over() {
            world.step();
        }
    }
}
