//! Pure comparison of what is there with what has to be, setting by setting, in an operator's words.

use std::fmt;

use async_nats::jetstream::consumer;
use async_nats::jetstream::stream::{Config, RetentionPolicy};

use super::spec::{SHARDS, StreamSpec, TOPOLOGY_VERSION, version};
use super::words::{
    ack, age, discard, duration, filters, kind, limit, markers, names, on, persistence, replay,
    republish, retention, shards, start, storage,
};

/// One setting that is not as the protocol has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The setting's name.
    pub setting: &'static str,
    /// What the server has.
    pub found: String,
    /// What the protocol or the configuration asks for.
    pub expected: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {}, expected {}",
            self.setting, self.found, self.expected
        )
    }
}

#[derive(Default)]
struct Comparison(Vec<Difference>);

impl Comparison {
    fn row(
        &mut self,
        setting: &'static str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        let (found, expected) = (found.into(), expected.into());
        if found != expected {
            self.0.push(Difference {
                setting,
                found,
                expected,
            });
        }
    }

    /// A capability that must be there where it is expected and does no harm where it is not.
    fn needed(&mut self, setting: &'static str, found: bool, expected: bool) {
        if expected {
            self.row(setting, on(found), on(expected));
        }
    }
}

/// The differences between a stream and its specification; none when it can be used.
pub(super) fn stream_differences(spec: &StreamSpec, found: &Config) -> Vec<Difference> {
    let wanted = &spec.config;
    let mut rows = Comparison::default();
    rows.row("subjects", names(&found.subjects), names(&wanted.subjects));
    rows.row(
        "retention",
        retention(found.retention),
        retention(wanted.retention),
    );
    rows.row("storage", storage(found.storage), storage(wanted.storage));
    rows.row(
        "discard policy",
        discard(found.discard),
        discard(wanted.discard),
    );
    rows.row("maximum age", age(found.max_age), age(wanted.max_age));
    rows.row(
        "duplicate window",
        duration(found.duplicate_window),
        duration(wanted.duplicate_window),
    );
    let per_subject = |config: &Config| limit(config.max_messages_per_subject);
    rows.row(
        "messages per subject",
        per_subject(found),
        per_subject(wanted),
    );
    if spec.bytes_matter {
        rows.row(
            "maximum bytes",
            limit(found.max_bytes),
            limit(wanted.max_bytes),
        );
    }
    if wanted.retention == RetentionPolicy::WorkQueue {
        rows.row(
            "maximum messages",
            limit(found.max_messages),
            limit(wanted.max_messages),
        );
    }
    if spec.replicas_matter {
        rows.row(
            "replicas",
            found.num_replicas.to_string(),
            wanted.num_replicas.to_string(),
        );
    }
    rows.row(
        "message schedules",
        on(found.allow_message_schedules),
        on(wanted.allow_message_schedules),
    );
    rows.row(
        "message TTL",
        on(found.allow_message_ttl),
        on(wanted.allow_message_ttl),
    );
    rows.row("delete markers", markers(found), markers(wanted));
    rows.row(
        "republish",
        republish(found.republish.as_ref()),
        republish(wanted.republish.as_ref()),
    );
    rows.row("deny purge", on(found.deny_purge), on(wanted.deny_purge));
    rows.row("acknowledgements", on(!found.no_ack), on(!wanted.no_ack));
    rows.row("sealed", on(found.sealed), on(wanted.sealed));
    rows.row("persistence", persistence(found), persistence(wanted));
    rows.needed("rollup headers", found.allow_rollup, wanted.allow_rollup);
    rows.needed("deny delete", found.deny_delete, wanted.deny_delete);
    if spec.direct_matters {
        rows.needed("direct get", found.allow_direct, wanted.allow_direct);
    }
    if wanted.metadata.contains_key(SHARDS) {
        rows.row("workflow shards", shards(found), shards(wanted));
    }
    rows.0
}

/// The version that is written down, when it is older. No reason to refuse a stream, because its settings are compared.
pub(super) fn version_difference(found: &Config) -> Option<Difference> {
    let found = version(found);
    (found < TOPOLOGY_VERSION).then(|| Difference {
        setting: "topology version",
        found: match found {
            0 => "not in the metadata".to_owned(),
            older => older.to_string(),
        },
        expected: TOPOLOGY_VERSION.to_string(),
    })
}

/// What works as it is, and is safer as it should be. No reason to refuse a stream, but for an upgrade to change it.
pub(super) fn hardening(spec: &StreamSpec, found: &Config) -> Vec<Difference> {
    let wanted = &spec.config;
    let mut rows = Comparison::default();
    if found.allow_rollup && !wanted.allow_rollup {
        rows.row("rollup headers", on(true), on(false));
    }
    if !spec.direct_matters {
        rows.needed("direct get", found.allow_direct, wanted.allow_direct);
    }
    rows.0
}

/// The differences between a consumer and the one that is needed.
pub(super) fn consumer_differences(
    wanted: &consumer::Config,
    found: &consumer::Config,
) -> Vec<Difference> {
    let mut rows = Comparison::default();
    rows.row("kind", kind(found), kind(wanted));
    rows.row("filter", names(&filters(found)), names(&filters(wanted)));
    rows.row(
        "start",
        start(found.deliver_policy),
        start(wanted.deliver_policy),
    );
    rows.row("ack policy", ack(found.ack_policy), ack(wanted.ack_policy));
    rows.row(
        "ack wait",
        duration(found.ack_wait),
        duration(wanted.ack_wait),
    );
    rows.row(
        "maximum ack pending",
        limit(found.max_ack_pending),
        limit(wanted.max_ack_pending),
    );
    rows.row(
        "maximum deliveries",
        limit(found.max_deliver),
        limit(wanted.max_deliver),
    );
    rows.row(
        "backoff steps",
        found.backoff.len().to_string(),
        wanted.backoff.len().to_string(),
    );
    rows.row(
        "replay",
        replay(found.replay_policy),
        replay(wanted.replay_policy),
    );
    rows.row(
        "headers only",
        on(found.headers_only),
        on(wanted.headers_only),
    );
    rows.row(
        "inactive threshold",
        age(found.inactive_threshold),
        age(wanted.inactive_threshold),
    );
    rows.0
}
