//! Which lane is next: the higher first, but none starved.
//!
//! Used where commands wait side by side: in the rate limiter and by the receiver. It knows lanes, not what waits there.

use crate::Priority;

use super::config::{Checked, InvalidConfig, Validate, ensure};

/// The lanes from the highest to the lowest; a lane's place here is its index everywhere in this module.
pub(super) const LANES: [Priority; 4] = [
    Priority::Critical,
    Priority::High,
    Priority::Normal,
    Priority::Low,
];

pub(super) fn index(lane: Priority) -> usize {
    match lane {
        Priority::Critical => 0,
        Priority::High => 1,
        Priority::Normal => 2,
        Priority::Low => 3,
    }
}

/// So often `critical` goes before a lane whose turn is due. What is urgent need not wait for a floor; but for a flood of it
/// there must be an end.
pub(super) const RESERVED_TURNS: u32 = 4;

/// How often each lane may be passed over while something waits in it, before its turn is due. Each from 1 up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneFloors {
    /// Default 1: once another lane had its due turn, `critical` is due itself.
    pub critical: u32,
    /// Default 8: under a flood of `critical`, a ninth of the turns.
    pub high: u32,
    /// Default 8: a ninth of the turns, enough to see that it moves.
    pub normal: u32,
    /// Default 32: work that may take long, but not for ever. Four times that of `normal`, because less of it is offered
    /// nearly everywhere, and of what is offered less than of `normal` is to pass.
    pub low: u32,
}

impl Default for LaneFloors {
    fn default() -> Self {
        Self {
            critical: 1,
            high: 8,
            normal: 8,
            low: 32,
        }
    }
}

impl LaneFloors {
    fn by_index(&self) -> [u32; 4] {
        [self.critical, self.high, self.normal, self.low]
    }
}

impl Validate for LaneFloors {
    fn validate(&self) -> Result<(), InvalidConfig> {
        ensure(self.critical >= 1, "critical", self.critical, "at least 1")?;
        ensure(self.high >= 1, "high", self.high, "at least 1")?;
        ensure(self.normal >= 1, "normal", self.normal, "at least 1")?;
        ensure(self.low >= 1, "low", self.low, "at least 1")
    }
}

/// Chooses the lane whose turn it is.
///
/// The highest lane with something waiting goes first. A lane passed over as often as its floor says is due and goes
/// before all that are not; among those due the longest overdue goes first. So whatever waits, its lane is served within
/// its floor plus three turns. Being passed over is remembered while a lane is empty: commands that
/// give up one after the other do not start the count anew.
///
/// ```
/// use mcp_runtime::{Priority, resilience::LaneScheduler};
///
/// let mut lanes = LaneScheduler::default();
/// // Something waits in all lanes, always: [critical, high, normal, low].
/// let turns: Vec<_> = (0..40).filter_map(|_| lanes.next([true; 4])).collect();
/// assert_eq!(turns[..8], [Priority::Critical; 8]);
/// assert_eq!(turns[8], Priority::High); // due after 8
/// assert!(turns.contains(&Priority::Low));
/// assert_eq!(lanes.next([false; 4]), None);
/// ```
#[derive(Debug, Clone, Default)]
pub struct LaneScheduler {
    floors: Checked<LaneFloors>,
    passed: [u32; 4],
}

impl LaneScheduler {
    /// Makes a scheduler with nothing passed over yet.
    pub fn new(floors: Checked<LaneFloors>) -> Self {
        Self {
            floors,
            passed: [0; 4],
        }
    }

    /// Chooses the next lane among those where something waits, and counts it as served.
    pub fn next(&mut self, waiting: [bool; 4]) -> Option<Priority> {
        let lane = self.peek(waiting)?;
        self.served(lane, waiting);
        Some(lane)
    }

    /// Tells which lane [`next`](Self::next) would choose, without counting it.
    pub fn peek(&self, waiting: [bool; 4]) -> Option<Priority> {
        self.longest_overdue(waiting)
            .or_else(|| (0..LANES.len()).find(|&lane| waiting[lane]))
            .map(|lane| LANES[lane])
    }

    /// As [`peek`](Self::peek), but a due lane lets `critical` go before it, a few times.
    pub fn peek_urgent(&self, waiting: [bool; 4]) -> Option<Priority> {
        let overdue = self.overdue(waiting).unwrap_or(0);
        match waiting[index(Priority::Critical)] && overdue < RESERVED_TURNS {
            true => Some(Priority::Critical),
            false => self.peek(waiting),
        }
    }

    /// Counts a turn of `lane`, and that the others in `waiting` were passed over.
    pub fn served(&mut self, lane: Priority, waiting: [bool; 4]) {
        for (passed, waits) in self.passed.iter_mut().zip(waiting) {
            *passed = passed.saturating_add(u32::from(waits));
        }
        self.passed[index(lane)] = 0;
    }

    /// Tells by how many turns the lane that waits longest beyond its floor is overdue; `None` where no lane is due.
    pub(super) fn overdue(&self, waiting: [bool; 4]) -> Option<u32> {
        let lane = self.longest_overdue(waiting)?;
        Some(self.passed[lane] - self.floors.by_index()[lane])
    }

    fn longest_overdue(&self, waiting: [bool; 4]) -> Option<usize> {
        let floors = self.floors.by_index();
        (0..LANES.len())
            .rev() // `max_by_key` keeps the last of equals: the higher lane
            .filter(|&lane| waiting[lane])
            .filter_map(|lane| Some((lane, self.passed[lane].checked_sub(floors[lane])?)))
            .max_by_key(|&(_, overdue)| overdue)
            .map(|(lane, _)| lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn floors() -> impl Strategy<Value = LaneFloors> {
        [1_u32..20, 1..20, 1..20, 1..20].prop_map(|[critical, high, normal, low]| LaneFloors {
            critical,
            high,
            normal,
            low,
        })
    }

    proptest! {
        #[test]
        fn a_waiting_lane_is_served_within_its_floor_and_three_turns(
            floors in floors(),
            turns in prop::collection::vec(any::<[bool; 4]>(), 1..300),
            steady in 0_usize..4,
        ) {
            let mut lanes = LaneScheduler::new(Checked::new(floors).unwrap());
            let mut since = 0;
            for mut waiting in turns {
                waiting[steady] = true;
                let lane = lanes.next(waiting).unwrap();
                prop_assert!(waiting[index(lane)]);
                since = if index(lane) == steady { 0 } else { since + 1 };
                prop_assert!(since <= floors.by_index()[steady] + 3);
            }
        }

        #[test]
        fn without_floors_in_reach_the_highest_goes_first(waiting in any::<[bool; 4]>()) {
            let highest = (0..4).find(|&lane| waiting[lane]).map(|lane| LANES[lane]);
            prop_assert_eq!(LaneScheduler::default().next(waiting), highest);
        }
    }

    #[test]
    fn a_due_lane_lets_critical_pass_and_keeps_its_turn() {
        let mut lanes = LaneScheduler::default();
        let mut turns = [0; 4];
        let mut without = 0;
        for _ in 0..1_000 {
            let lane = lanes.peek_urgent([true; 4]).unwrap();
            lanes.served(lane, [true; 4]);
            turns[index(lane)] += 1;
            without = if lane == Priority::Critical {
                without + 1
            } else {
                0
            };
            assert!(without <= 8 + RESERVED_TURNS, "{turns:?}");
        }
        let [critical, high, normal, low] = turns;
        assert!(critical > 800, "{turns:?}");
        assert!(high > 70 && normal > 70 && low > 20, "{turns:?}");
        // Whoever is due goes first where nothing is critical.
        let mut lanes = LaneScheduler::default();
        (0..9).for_each(|_| lanes.served(Priority::Critical, [true, false, true, false]));
        assert_eq!(
            lanes.peek_urgent([false, true, true, false]),
            Some(Priority::Normal)
        );
    }

    #[test]
    fn shares_under_a_flood_in_every_lane() {
        let mut lanes = LaneScheduler::default();
        let mut turns = [0; 4];
        for _ in 0..1_000 {
            turns[index(lanes.next([true; 4]).unwrap())] += 1;
        }
        let [critical, high, normal, low] = turns;
        assert!(critical > 700, "{turns:?}");
        assert!(high > 90 && normal > 90 && low > 25, "{turns:?}");
    }

    #[test]
    fn giving_up_does_not_start_the_count_anew() {
        let mut lanes = LaneScheduler::default();
        for _ in 0..8 {
            assert_eq!(lanes.next([false, true, true, false]), Some(Priority::High));
            assert_eq!(
                lanes.next([false, true, false, false]),
                Some(Priority::High)
            );
        }
        assert_eq!(
            lanes.next([false, true, true, false]),
            Some(Priority::Normal)
        );
    }
}
