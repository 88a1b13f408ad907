//! By when each instance is to be heard again, as one observer knows it: expiries may be missed, and a restarted server has none to
//! tell. Pure: time is an argument.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{Found, InstanceChange, LIFETIME_INTERVALS, PresenceChange};

/// Instances that are listened for; of more only what the server tells counts.
const MOST: usize = 65_536;

/// How much later than the end of its record an instance is looked for: the server tells an expiry within a second.
const SLACK: Duration = Duration::from_secs(1);

/// Agent and instance.
pub type InstanceKey = (String, String);

/// The instances that have been heard and not been seen to go.
#[derive(Debug)]
pub struct Roll {
    expected: HashMap<InstanceKey, Expected>,
    connected_at: Instant,
    /// The highest revision that was heard, and when the server stored it.
    newest: (u64, Option<i64>),
    /// The same as it was before the connection was lost.
    newest_before: (u64, Option<i64>),
}

#[derive(Debug)]
struct Expected {
    lifetime: Duration,
    heard_at: Instant,
    look_at: Instant,
    /// The server has lost its record since it was heard, so that nothing will tell of its expiry.
    is_forgotten: bool,
}

impl Roll {
    /// Of an observer that is connected since now.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            expected: HashMap::new(),
            connected_at: now,
            newest: (0, None),
            newest_before: (0, None),
        }
    }

    /// Takes in what the server tells of an instance; returns whether to believe it. After a reconnection an expiry is believed
    /// only when the instance had an interval's time to write a record: the server may have expired what it could not be sent.
    pub fn hear(&mut self, change: &PresenceChange, now: Instant) -> bool {
        // Within its life a bucket counts upwards; one that begins again is another one, of a server that had kept none. By the
        // time, because an old change may come late over a new connection.
        let (revision, at) = (change.revision, change.stored_at_ms);
        if revision <= self.newest_before.0 && at > self.newest_before.1 {
            let expected = self.expected.values_mut();
            let unheard = expected.filter(|expected| expected.heard_at < self.connected_at);
            unheard.for_each(|expected| expected.is_forgotten = true);
        }
        if revision >= self.newest.0 {
            self.newest = (revision, at);
        }
        let key = (change.agent.clone(), change.instance.clone());
        match &change.change {
            InstanceChange::Alive(_, lifetime) => self.expect(key, *lifetime, now),
            InstanceChange::Left => self.gone(&key),
            InstanceChange::Silent => {
                let expected = self.expected.get_mut(&key);
                let believed_from = expected.as_ref().map_or(self.connected_at, |expected| {
                    self.connected_at + expected.lifetime / LIFETIME_INTERVALS
                });
                if let Some(expected) = expected.filter(|_| now < believed_from) {
                    expected.look_at = believed_from;
                    return false;
                }
                self.gone(&key);
            }
        }
        true
    }

    /// Takes in what lay in the bucket.
    pub fn found(&mut self, found: &Found, now: Instant) {
        let key = (found.record.agent.clone(), found.record.instance.clone());
        self.expect(key, found.lifetime, now);
    }

    fn expect(&mut self, key: InstanceKey, lifetime: Duration, now: Instant) {
        if self.expected.len() < MOST || self.expected.contains_key(&key) {
            let expected = Expected {
                lifetime,
                heard_at: now,
                look_at: now + lifetime + SLACK,
                is_forgotten: false,
            };
            self.expected.insert(key, expected);
        }
    }

    /// It is known to have gone.
    pub fn gone(&mut self, key: &InstanceKey) {
        self.expected.remove(key);
    }

    /// The connection was lost and is back: each instance has as long as its record lives to be heard.
    pub fn reconnected(&mut self, now: Instant) {
        self.connected_at = now;
        if self.newest.0 > 0 {
            self.newest_before = std::mem::take(&mut self.newest);
        }
        for expected in self.expected.values_mut() {
            expected.look_at = now + expected.lifetime + SLACK;
        }
    }

    /// Those that should have been heard by now: whoever is not in the bucket has gone. They are named again after one of their
    /// intervals, unless they are heard or [`Roll::gone`].
    pub fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let late = self.expected.iter_mut();
        late.filter(|(_, expected)| expected.look_at <= now)
            .map(|(key, expected)| {
                let by = now - expected.look_at;
                let pause = (expected.lifetime / LIFETIME_INTERVALS).max(SLACK);
                expected.look_at = now + pause;
                Overdue {
                    key: key.clone(),
                    by,
                    is_forgotten: expected.is_forgotten,
                }
            })
            .collect()
    }
}

/// An instance that should have been heard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overdue {
    /// Which.
    pub key: InstanceKey,
    /// For how long it is late: long, where the observer itself was held.
    pub by: Duration,
    /// Whether the server had lost its record, as a restarted one does: then nobody was told of an expiry.
    pub is_forgotten: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn change(instance: &str, revision: u64, what: InstanceChange) -> PresenceChange {
        PresenceChange {
            agent: "writer".to_owned(),
            instance: instance.to_owned(),
            revision,
            stored_at_ms: Some(1_000),
            change: what,
        }
    }

    fn alive(instance: &str, revision: u64, lifetime: u32) -> PresenceChange {
        let record = serde_json::json!({"agent": "writer", "instance": instance, "state": "ready"});
        let record = serde_json::from_value(record).unwrap();
        let what = InstanceChange::Alive(Box::new(record), lifetime * SECOND);
        change(instance, revision, what)
    }

    fn late(roll: &mut Roll, now: Instant) -> Vec<String> {
        let mut late: Vec<String> = roll
            .overdue(now)
            .into_iter()
            .map(|late| late.key.1)
            .collect();
        late.sort();
        late
    }

    #[test]
    fn each_instance_is_late_by_its_own_lifetime() {
        let begin = Instant::now();
        let mut roll = Roll::new(begin);
        assert!(roll.hear(&alive("quick", 1, 3), begin));
        assert!(roll.hear(&alive("slow", 2, 180), begin));
        assert_eq!(late(&mut roll, begin + 3 * SECOND), [""; 0]);
        assert_eq!(late(&mut roll, begin + 4 * SECOND), ["quick"]);
        assert_eq!(
            late(&mut roll, begin + 4 * SECOND),
            [""; 0],
            "it is being looked for"
        );
        assert_eq!(
            late(&mut roll, begin + 5 * SECOND),
            ["quick"],
            "and was not heard"
        );
        assert!(roll.hear(&change("quick", 3, InstanceChange::Left), begin));
        assert_eq!(late(&mut roll, begin + 181 * SECOND), ["slow"]);
    }

    #[test]
    fn after_a_reconnection_each_has_its_own_interval_to_be_heard() {
        let begin = Instant::now();
        let mut roll = Roll::new(begin);
        for (revision, (instance, lifetime)) in [("quick", 3), ("slow", 180)].iter().enumerate() {
            roll.hear(&alive(instance, 1 + revision as u64, *lifetime), begin);
        }
        roll.reconnected(begin + 10 * SECOND);
        let silent = |instance: &str, revision| change(instance, revision, InstanceChange::Silent);
        assert!(
            roll.hear(&silent("quick", 3), begin + 12 * SECOND),
            "it had its second"
        );
        assert!(
            !roll.hear(&silent("slow", 4), begin + 12 * SECOND),
            "it writes once a minute"
        );
        assert_eq!(late(&mut roll, begin + 69 * SECOND), [""; 0]);
        assert_eq!(late(&mut roll, begin + 70 * SECOND), ["slow"]);
    }

    #[test]
    fn a_bucket_that_counts_anew_is_one_that_was_forgotten() {
        let begin = Instant::now();
        let after = |seconds: u32| begin + seconds * SECOND;
        let at = |stored_at_ms, change| PresenceChange {
            stored_at_ms,
            ..change
        };
        let mut roll = Roll::new(begin);
        for (revision, instance) in [(6, "w1"), (7, "w2")] {
            roll.hear(&alive(instance, revision, 3), begin);
        }
        let forgotten = |roll: &mut Roll, now| -> Vec<(String, bool)> {
            let late = roll.overdue(now).into_iter();
            late.map(|late| (late.key.1, late.is_forgotten)).collect()
        };
        roll.reconnected(after(1));
        roll.hear(&at(Some(999), alive("w1", 6, 3)), after(1));
        roll.hear(&at(Some(1_001), alive("w1", 8, 3)), after(4));
        let w2 = |is_forgotten| [("w2".to_owned(), is_forgotten)];
        assert_eq!(
            forgotten(&mut roll, after(5)),
            w2(false),
            "the connection alone was lost, and an old change came late"
        );
        roll.reconnected(after(6));
        // Nothing is heard over this connection.
        roll.reconnected(after(7));
        roll.hear(&at(Some(2_000), alive("w1", 1, 3)), after(8));
        assert_eq!(forgotten(&mut roll, after(11)), w2(true));
    }
}
