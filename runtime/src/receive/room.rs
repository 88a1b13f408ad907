//! Where realtime commands wait for a place to run in: few, and by their lanes.
//!
//! Only the body says how urgent such a command is, so they are put in order here. When the room is full, whoever came last
//! in the lowest lane makes way for one of a higher.

use std::collections::VecDeque;

use crate::message::Priority;

pub(super) struct Room<T> {
    lanes: [VecDeque<T>; 4],
    places: usize,
}

impl<T> Room<T> {
    pub(super) fn new(places: usize) -> Self {
        Self {
            lanes: Default::default(),
            places,
        }
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    /// Lets one in; returns the one that there is no place for.
    pub(super) fn enter(&mut self, lane: Priority, item: T) -> Option<T> {
        let all: usize = self.lanes.iter().map(VecDeque::len).sum();
        let displaced = match all < self.places {
            true => None,
            false => {
                let lower = self.lanes[lane.index() + 1..].iter_mut().rev();
                let last = lower.filter_map(VecDeque::pop_back).next();
                match last {
                    Some(last) => Some(last),
                    None => return Some(item),
                }
            }
        };
        self.lanes[lane.index()].push_back(item);
        displaced
    }

    /// In which lanes somebody waits.
    pub(super) fn waiting(&self) -> [bool; 4] {
        self.lanes.each_ref().map(|lane| !lane.is_empty())
    }

    pub(super) fn front(&self, lane: Priority) -> Option<&T> {
        self.lanes[lane.index()].front()
    }

    pub(super) fn leave(&mut self, lane: Priority) -> Option<T> {
        self.lanes[lane.index()].pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_the_lowest_lane_makes_way() {
        let mut room = Room::new(3);
        assert_eq!(room.enter(Priority::Low, 1), None);
        assert_eq!(room.enter(Priority::Low, 2), None);
        assert_eq!(room.enter(Priority::Normal, 3), None);
        assert_eq!(room.enter(Priority::Low, 4), Some(4), "of its own lane");
        assert_eq!(room.enter(Priority::Critical, 5), Some(2));
        assert_eq!(room.enter(Priority::High, 6), Some(1));
        assert_eq!(room.enter(Priority::High, 7), Some(3));
        assert_eq!(room.enter(Priority::High, 8), Some(8));
        assert_eq!(room.waiting(), [true, true, false, false]);
        assert_eq!(room.front(Priority::High), Some(&6));
        let order = [Priority::High, Priority::High, Priority::Critical].map(|it| room.leave(it));
        assert_eq!(order, [Some(6), Some(7), Some(5)]);
        assert_eq!(room.waiting(), [false; 4]);
    }
}
