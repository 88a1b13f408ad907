//! How many messages to ask for, by lane.
//!
//! Pure: the receive loop tells what it has, this says what to ask.

use std::time::Duration;

const LANES: usize = 4;

/// Where a place becomes free no sooner than in this, nothing is gained by a message held ready, while another instance
/// could have begun with it.
const QUICK: Duration = Duration::from_millis(20);

/// What one lane has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LaneState {
    /// Messages asked for and not yet here.
    pub(crate) outstanding: u64,
    /// Messages here and not yet begun.
    pub(crate) ready: u64,
    /// Messages that the server had left when it was last heard of.
    pub(crate) pending: u64,
}

/// What there is of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteState {
    pub(crate) capacity: u64,
    /// Not taken by what is here.
    pub(crate) free: u64,
    /// Asked for and not yet here.
    pub(crate) outstanding: u64,
    /// The largest message that the server lets through.
    pub(crate) largest: u64,
}

/// What is to be asked for now, the highest lane first.
///
/// What is asked for, here and expected never exceeds what is free by more than one for each lane: every lane needs one
/// question open to hear of its work at all. Expected are of a lane that had nothing left one message, however many are
/// asked for: idle lanes would keep places from one that has work. Should they all get work at once, it waits here for a
/// moment. The highest lane may have some more here: as many as find a place at once, because a place that becomes free
/// while the next of them is still asked for goes to a lower lane. They take no questions from the others.
pub(crate) fn pulls(
    lanes: [LaneState; LANES],
    capacity: u64,
    in_flight: u64,
    typical: Option<Duration>,
) -> [u64; LANES] {
    let free = capacity.saturating_sub(in_flight);
    // Of many places one becomes free soon, however long the work takes.
    let places = u32::try_from(capacity).unwrap_or(u32::MAX).max(1);
    let quick = typical.is_some_and(|typical| typical / places < QUICK);
    let prefetch = match (free, quick) {
        (0, false) => 0,
        (0, true) => LANES as u64,
        _ => LANES as u64 - 1,
    };
    let mut budget = (free + prefetch).saturating_sub(counted(lanes, free));
    let idle_share = (capacity / 8).clamp(1, 64);

    let mut asks = [0; LANES];
    // First one question for each lane that has none open and nothing here ...
    for (ask, lane) in asks.iter_mut().zip(lanes) {
        if lane.outstanding + lane.ready == 0 && budget > 0 {
            *ask = 1;
            budget -= 1;
        }
    }
    // ... then as much as each is known or likely to have. Topped up in halves, not one by one.
    for (ask, lane) in asks.iter_mut().zip(lanes) {
        let wanted = lane.pending.max(idle_share).min(free.max(1));
        let short = wanted.saturating_sub(lane.outstanding + lane.ready + *ask);
        if short * 2 >= wanted {
            let more = short.min(budget);
            *ask += more;
            budget -= more;
        }
    }
    let [highest, ..] = lanes;
    let known = highest.pending.min(soon_free(capacity, typical));
    asks[0] = asks[0].max(known.saturating_sub(highest.outstanding + highest.ready));
    asks
}

/// How much of what is here or asked for counts against what is free.
fn counted(lanes: [LaneState; LANES], free: u64) -> u64 {
    let [highest, lower @ ..] = lanes.map(|lane| {
        let expected = match lane.pending {
            0 => lane.outstanding.min(1),
            _ => lane.outstanding,
        };
        expected + lane.ready
    });
    highest.min(free.max(1)) + lower.iter().sum::<u64>()
}

/// How many places become free so soon that what is to begin in them should be here by then.
fn soon_free(capacity: u64, typical: Option<Duration>) -> u64 {
    let Some(typical) = typical else { return 0 };
    let turns = QUICK.as_secs_f64() / typical.as_secs_f64().max(f64::MIN_POSITIVE);
    ((capacity as f64 * turns) as u64).min(capacity / 2)
}

/// How many bytes each of these questions may bring, the highest lane first; where there is no room at all for bytes, the
/// question is not to be asked.
///
/// What is here, asked for and outstanding never exceeds what is free by more than the largest message for each lane. A
/// lane whose work is only guessed at gets a sixteenth of all at most, or the guesses would leave nothing to be asked for.
pub(crate) fn byte_budgets(
    asks: [u64; LANES],
    lanes: [LaneState; LANES],
    bytes: ByteState,
) -> [u64; LANES] {
    let mut left = bytes.free.saturating_sub(bytes.outstanding);
    let mut budgets = [0; LANES];
    if bytes.free == 0 {
        return budgets;
    }
    for ((budget, ask), lane) in budgets.iter_mut().zip(asks).zip(lanes) {
        if ask == 0 || (left == 0 && lane.outstanding > 0) {
            continue;
        }
        let guess = match lane.pending {
            0 => bytes.capacity / 16,
            _ => u64::MAX,
        };
        let wanted = ask.saturating_mul(bytes.largest).min(guess).min(left);
        *budget = wanted.max(bytes.largest);
        left = left.saturating_sub(*budget);
    }
    budgets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lane(outstanding: u64, ready: u64, pending: u64) -> LaneState {
        LaneState {
            outstanding,
            ready,
            pending,
        }
    }

    #[test]
    fn an_idle_agent_asks_on_every_lane() {
        assert_eq!(pulls([lane(0, 0, 0); 4], 1, 0, None), [1, 1, 1, 1]);
        assert_eq!(pulls([lane(0, 0, 0); 4], 64, 0, None), [8, 8, 8, 8]);
    }

    #[test]
    fn a_busy_agent_with_long_work_asks_for_nothing() {
        assert_eq!(
            pulls([lane(0, 0, 9); 4], 2, 2, Some(Duration::from_secs(1))),
            [0; 4]
        );
        assert_eq!(
            pulls([lane(0, 0, 9); 4], 2, 2, Some(Duration::from_millis(1))),
            [1; 4]
        );
    }

    #[test]
    fn a_backlog_gets_all_that_is_free() {
        let idle = lane(8, 0, 0);
        let lanes = [idle, idle, lane(0, 0, 500), idle];
        assert_eq!(pulls(lanes, 64, 0, None), [0, 0, 64, 0]);
        let one_place = pulls(lanes, 64, 63, Some(Duration::from_secs(9)));
        assert_eq!(one_place, [0, 0, 1, 0]);
    }

    #[test]
    fn what_is_urgent_is_here_before_its_place_is_free() {
        let check = |typical_ms, critical, expected| {
            let asks = pulls(
                [critical, lane(0, 1, 99), lane(0, 1, 99), lane(0, 1, 99)],
                8,
                8,
                Some(Duration::from_millis(typical_ms)),
            );
            assert_eq!(asks, [expected, 0, 0, 0], "{typical_ms} {critical:?}");
        };
        check(50, lane(0, 0, 9), 3);
        check(50, lane(0, 2, 9), 1);
        check(50, lane(0, 3, 9), 0);
        check(50, lane(0, 0, 0), 1);
        check(500, lane(0, 0, 9), 0);
        check(1, lane(0, 0, 99), 4);
    }

    proptest! {
        #[test]
        fn asked_and_held_stay_within_free_plus_one_a_lane(
            lanes in proptest::array::uniform4((0u64..4, 0u64..3, 0u64..1000)),
            capacity in 1u64..300, in_flight in 0u64..300, ms in 0u64..50,
        ) {
            let lanes = lanes.map(|(outstanding, ready, pending)| lane(outstanding, ready, pending));
            let asks = pulls(lanes, capacity, in_flight, Some(Duration::from_millis(ms)));
            let (asked, lower) = (asks.iter().sum::<u64>(), asks[1..].iter().sum::<u64>());
            let free = capacity.saturating_sub(in_flight);
            let counted = counted(lanes, free);
            prop_assert!(lower == 0 || counted + lower <= free + 4);
            prop_assert!(counted + asked <= (free + 4).max(counted) + capacity / 2);
            for (at, (ask, lane)) in asks.into_iter().zip(lanes).enumerate() {
                let most = free.max(1).max(if at == 0 { capacity / 2 } else { 0 });
                prop_assert!(ask == 0 || lane.outstanding + lane.ready + ask <= most);
            }
        }

        #[test]
        fn urgent_work_leaves_every_other_lane_its_question(
            critical in (0u64..40, 0u64..40, 1u64..1000), capacity in 1u64..300, free in 0u64..300,
        ) {
            let (outstanding, ready, pending) = critical;
            let none = lane(0, 0, 0);
            let lanes = [lane(outstanding, ready, pending), none, none, none];
            let quick = Some(Duration::from_millis(1));
            let asks = pulls(lanes, capacity, capacity.saturating_sub(free), quick);
            prop_assert!(asks[1..].iter().all(|ask| *ask > 0), "{asks:?}");
        }

        #[test]
        fn bytes_asked_for_stay_within_free_plus_the_largest_message_a_lane(
            asks in proptest::array::uniform4(0u64..100),
            outstanding in proptest::array::uniform4(0u64..3),
            free in 0u64..1_000, asked in 0u64..1_000, largest in 1u64..500,
        ) {
            let lanes = outstanding.map(|outstanding| lane(outstanding, 0, 9));
            let bytes = ByteState { capacity: 1_000, free, outstanding: asked, largest };
            let budgets = byte_budgets(asks, lanes, bytes);
            let sum: u64 = budgets.iter().sum();
            prop_assert!(sum <= free.saturating_sub(asked) + 4 * largest);
            for ((budget, ask), outstanding) in budgets.into_iter().zip(asks).zip(outstanding) {
                prop_assert!(budget == 0 || budget >= largest, "a question that the next message may not fit");
                prop_assert!(budget > 0 || ask == 0 || free == 0 || outstanding > 0, "a lane that hears of nothing");
            }
        }

        #[test]
        fn with_room_no_lane_is_left_without_a_question(
            ready in proptest::array::uniform4(0u64..2), capacity in 9u64..300,
        ) {
            let lanes = ready.map(|ready| lane(0, ready, 0));
            let asks = pulls(lanes, capacity, 0, None);
            for (ask, ready) in asks.into_iter().zip(ready) {
                prop_assert!(ask + ready > 0);
            }
        }
    }
}
