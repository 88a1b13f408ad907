//! What may be changed where something exists, setting by setting: pure.
//!
//! Safe is what deletes nothing, moves nothing and can be taken back. `compare` names the settings.

use std::time::Duration;

use async_nats::jetstream::{consumer, stream};

use crate::topology::compare::Difference;
use crate::topology::spec::VERSION;

const ANEW: &str = "it is fixed when it is made; save it with `mcpctl backup`, and use another namespace or delete it";
const ONE_WAY: &str = "the server cannot take that back; use another namespace, or delete it when nothing in it is needed";
const DELETES: &str =
    "that would delete what it holds; change it by hand (`nats stream edit`) if that is meant";
const SUBJECTS: &str =
    "somebody's messages come by them; take the additional ones away by hand (`nats stream edit`)";
const SHARDS: &str = "a workflow's shard is computed from their number; let the workflows end, or start the new ones in another namespace";
const CONSUMER: &str = "it is fixed when it is made; stop who uses it, delete it (`nats consumer rm`), and it is made anew: unacknowledged messages come again";

/// What becomes of one object.
#[derive(Debug)]
pub(super) struct Merged<C> {
    /// What is there, with the changes in it.
    pub(super) config: C,
    pub(super) changed: Vec<Difference>,
    pub(super) refused: Vec<(Difference, &'static str)>,
}

/// Takes what is safe into the stream's settings.
pub(super) fn stream(
    wanted: &stream::Config,
    found: &stream::Info,
    differences: &[Difference],
) -> Merged<stream::Config> {
    let mut config = found.config.clone();
    split(differences, |setting| {
        take(setting, wanted, found, &mut config)
    })
    .with(config)
}

/// Takes what is safe into the consumer's settings.
pub(super) fn consumer(
    wanted: &consumer::Config,
    found: &consumer::Config,
    differences: &[Difference],
) -> Merged<consumer::Config> {
    let mut config = found.clone();
    split(differences, |setting| {
        match setting {
            "ack wait" => config.ack_wait = wanted.ack_wait,
            "maximum ack pending" => config.max_ack_pending = wanted.max_ack_pending,
            "maximum deliveries" => config.max_deliver = wanted.max_deliver,
            "backoff steps" => config.backoff.clone_from(&wanted.backoff),
            "headers only" => config.headers_only = wanted.headers_only,
            "inactive threshold" => config.inactive_threshold = wanted.inactive_threshold,
            _ => return Err(CONSUMER),
        }
        Ok(())
    })
    .with(config)
}

fn take(
    setting: &str,
    wanted: &stream::Config,
    found: &stream::Info,
    config: &mut stream::Config,
) -> Result<(), &'static str> {
    let (held, empty) = (&found.state, found.state.messages == 0);
    match setting {
        "topology version" => {
            config.metadata.insert(
                VERSION.to_owned(),
                wanted.metadata.get(VERSION).cloned().unwrap_or_default(),
            );
        }
        "subjects" => {
            let all_kept = config
                .subjects
                .iter()
                .all(|subject| wanted.subjects.contains(subject));
            safe(all_kept, SUBJECTS)?;
            config.subjects.clone_from(&wanted.subjects);
        }
        "discard policy" => config.discard = wanted.discard,
        "maximum age" => {
            safe(
                empty || keeps_longer(config.max_age, wanted.max_age),
                DELETES,
            )?;
            config.max_age = wanted.max_age;
        }
        "duplicate window" => config.duplicate_window = wanted.duplicate_window,
        "messages per subject" => {
            let raised = holds_more(
                config.max_messages_per_subject,
                wanted.max_messages_per_subject,
            );
            safe(empty || raised, DELETES)?;
            config.max_messages_per_subject = wanted.max_messages_per_subject;
        }
        "maximum bytes" => {
            safe(fits(held.bytes, wanted.max_bytes), DELETES)?;
            config.max_bytes = wanted.max_bytes;
        }
        "maximum messages" => {
            safe(fits(held.messages, wanted.max_messages), DELETES)?;
            config.max_messages = wanted.max_messages;
        }
        "replicas" => config.num_replicas = wanted.num_replicas,
        "message schedules" => {
            safe(wanted.allow_message_schedules, ONE_WAY)?;
            config.allow_message_schedules = true;
        }
        "message TTL" => {
            safe(wanted.allow_message_ttl, ONE_WAY)?;
            config.allow_message_ttl = true;
        }
        "delete markers" => config.subject_delete_marker_ttl = wanted.subject_delete_marker_ttl,
        "republish" => config.republish.clone_from(&wanted.republish),
        "acknowledgements" => config.no_ack = wanted.no_ack,
        "rollup headers" => config.allow_rollup = wanted.allow_rollup,
        "deny delete" => config.deny_delete = true,
        "direct get" => config.allow_direct = true,
        "workflow shards" => return Err(SHARDS),
        "deny purge" | "sealed" => return Err(ONE_WAY),
        // Retention, storage, persistence, and whatever is compared one day and not thought of here.
        _ => return Err(ANEW),
    }
    Ok(())
}

fn safe(condition: bool, otherwise: &'static str) -> Result<(), &'static str> {
    condition.then_some(()).ok_or(otherwise)
}

/// Zero is for ever.
fn keeps_longer(found: Duration, wanted: Duration) -> bool {
    wanted.is_zero() || (!found.is_zero() && wanted >= found)
}

/// Zero and less is any number.
fn holds_more(found: i64, wanted: i64) -> bool {
    wanted <= 0 || (found > 0 && wanted >= found)
}

fn fits(held: u64, limit: i64) -> bool {
    limit <= 0 || u64::try_from(limit).is_ok_and(|limit| held <= limit)
}

struct Split {
    changed: Vec<Difference>,
    refused: Vec<(Difference, &'static str)>,
}

impl Split {
    fn with<C>(self, config: C) -> Merged<C> {
        Merged {
            config,
            changed: self.changed,
            refused: self.refused,
        }
    }
}

fn split(
    differences: &[Difference],
    mut take: impl FnMut(&str) -> Result<(), &'static str>,
) -> Split {
    let mut split = Split {
        changed: Vec::new(),
        refused: Vec::new(),
    };
    for difference in differences {
        match take(difference.setting) {
            Ok(()) => split.changed.push(difference.clone()),
            Err(remedy) => split.refused.push((difference.clone(), remedy)),
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_delete_is_told_from_what_keeps_more() {
        let (hour, day) = (Duration::from_secs(3_600), Duration::from_secs(86_400));
        assert!(keeps_longer(hour, day) && keeps_longer(hour, Duration::ZERO));
        assert!(!keeps_longer(day, hour) && !keeps_longer(Duration::ZERO, day));
        assert!(holds_more(3, 8) && holds_more(3, -1) && holds_more(8, 8));
        assert!(!holds_more(8, 3) && !holds_more(-1, 8));
        assert!(fits(10, -1) && fits(10, 10) && !fits(11, 10));
    }

    #[test]
    fn unknown_settings_are_refused() {
        let difference = Difference {
            setting: "colour",
            found: "red".to_owned(),
            expected: "blue".to_owned(),
        };
        let merged = consumer(
            &consumer::Config::default(),
            &consumer::Config::default(),
            &[difference],
        );
        assert!(merged.changed.is_empty() && merged.refused.len() == 1);
    }
}
