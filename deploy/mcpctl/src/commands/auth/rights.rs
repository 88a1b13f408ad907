//! What an identity may publish and hear, derived from what it is there for. Whatever is not listed is refused.
//!
//! No identity but the administrator's may create a consumer on a shared stream: where a consumer delivers to cannot be
//! restricted. So all of them pull from consumers that `mcpctl auth apply` has made.

use std::collections::BTreeSet;

use super::roster::{Purpose, Tenant, consumer_of_events};

const LANES: [&str; 4] = ["critical", "high", "normal", "low"];

/// Subjects that may be published to, and listened to.
#[derive(Debug, Default)]
pub(super) struct Rights {
    pub(super) publish: BTreeSet<String>,
    pub(super) subscribe: BTreeSet<String>,
}

/// The rights of one identity in a namespace.
pub(super) fn of(namespace: &str, tenant: &Tenant, name: &str, purpose: &Purpose) -> Rights {
    let mut rights = Rights::default();
    let mut drawing = Drawing {
        ns: namespace,
        name,
        shards: tenant.shards,
        rights: &mut rights,
    };
    drawing.connects();
    for target in &purpose.commands {
        drawing.commands(target);
    }
    if purpose.serves {
        drawing.serves();
    }
    for subscription in purpose.subscriptions.keys() {
        drawing.pulls("events", &consumer_of_events(name, subscription));
    }
    for definition in &purpose.runs {
        drawing.runs(definition);
    }
    for definition in purpose.drives.union(&purpose.runs) {
        drawing.drives(definition);
    }
    for parent in tenant.parents(purpose) {
        drawing.tells(parent);
    }
    if purpose.payloads {
        drawing.stores_payloads();
    }
    if purpose.serves || !purpose.runs.is_empty() {
        for caller in tenant.callers(name) {
            drawing.answers(caller);
        }
    }
    rights
}

struct Drawing<'a> {
    ns: &'a str,
    name: &'a str,
    shards: u16,
    rights: &'a mut Rights,
}

impl Drawing<'_> {
    fn publish(&mut self, subject: impl Into<String>) {
        self.rights.publish.insert(subject.into());
    }

    fn subscribe(&mut self, subject: impl Into<String>) {
        self.rights.subscribe.insert(subject.into());
    }

    fn api(&mut self, verb: impl std::fmt::Display) {
        self.publish(format!("$JS.API.{verb}"));
    }

    /// What everybody may: hear answers, tell of itself, see who is there.
    fn connects(&mut self) {
        let (ns, name) = (self.ns, self.name);
        self.api("INFO");
        self.publish("$SYS.REQ.USER.INFO");
        self.subscribe(format!("_INBOX_{name}.>"));
        self.subscribe(format!("{ns}.reply.{name}.>"));
        self.publish(format!("{ns}.evt.{name}.*"));
        self.subscribe(format!("{ns}.presence.>"));
        self.api(format_args!("DIRECT.GET.KV_{ns}_agents"));
    }

    fn commands(&mut self, target: &str) {
        let ns = self.ns;
        self.publish(format!("{ns}.cmd.{target}.*.*"));
        self.publish(format!("{ns}.rt.{target}.*"));
        self.publish(format!("{ns}.ctl.{target}.cancel"));
        self.reads(&format!("{ns}_outcomes"), &format!("{target}.>"));
    }

    fn serves(&mut self) {
        let (ns, name) = (self.ns, self.name);
        for lane in LANES {
            self.pulls("commands", &format!("{name}_{lane}"));
        }
        // Members of a pack that this instance has no room for.
        self.publish(format!("{ns}.cmd.{name}.*.*"));
        self.publish(format!("{ns}.delay.{name}.*"));
        self.buries(&format!("{name}.*"));
        // Whoever sees an instance fall silent tells of it.
        self.publish(format!("{ns}.evt.*.instance_offline"));
        self.publish(format!("$KV.{ns}_agents.{name}.*"));
        self.publish(format!("$KV.{ns}_outcomes.{name}.*.*"));
        self.reads(&format!("{ns}_outcomes"), &format!("{name}.>"));
        self.subscribe(format!("{ns}.rt.{name}.* {name}"));
        self.subscribe(format!("{ns}.ctl.{name}.*"));
    }

    fn answers(&mut self, caller: &str) {
        self.publish(format!("{}.reply.{caller}.>", self.ns));
        self.publish(format!("_INBOX_{caller}.>"));
    }

    fn pulls(&mut self, stream: &str, consumer: &str) {
        let ns = self.ns;
        self.api(format_args!("CONSUMER.MSG.NEXT.{ns}_{stream}.{consumer}"));
        self.api(format_args!("CONSUMER.INFO.{ns}_{stream}.{consumer}"));
        self.publish(format!("$JS.ACK.{ns}_{stream}.{consumer}.>"));
    }

    /// Its own dead letters, and the look whether one that seems to be there is its own.
    fn buries(&mut self, which: &str) {
        let ns = self.ns;
        let subject = format!("{ns}.dead.{which}");
        self.api(format_args!("DIRECT.GET.{ns}_dead_letters.{subject}"));
        self.publish(subject);
    }

    /// Single keys of a bucket: the subject says which.
    fn reads(&mut self, bucket: &str, keys: &str) {
        self.api(format_args!("DIRECT.GET.KV_{bucket}.$KV.{bucket}.{keys}"));
    }

    /// The engine of a definition. Records do not say of which definition they are, so engines of one namespace trust each
    /// other.
    fn runs(&mut self, definition: &str) {
        let (ns, shards) = (self.ns, self.shards);
        for shard in 0..shards {
            for kind in ["start", "control"] {
                self.pulls(&format!("tasks_{shard}"), &format!("{definition}_{kind}"));
            }
            self.publish(format!("$KV.{ns}_workflows_{shard}.*"));
            self.publish(format!("$KV.{ns}_checkpoints_{shard}.*.*"));
        }
        self.publish(format!("{ns}.timer.{definition}.*.*"));
        self.publish(format!("{ns}.evt.workflow.*"));
        self.buries(&format!("workflow.{definition}"));
        // Versions may have dots, and below them are the notes of parked workflows.
        self.publish(format!("$KV.{ns}_definitions.{definition}.>"));
    }

    /// What ends tells the workflow that has started it.
    fn tells(&mut self, parent: &str) {
        self.publish(format!("{}.wf.{parent}.*.control.*", self.ns));
    }

    fn drives(&mut self, definition: &str) {
        let (ns, shards) = (self.ns, self.shards);
        self.publish(format!("{ns}.wf.{definition}.*.start.*"));
        self.publish(format!("{ns}.wf.{definition}.*.control.*"));
        self.api(format_args!("STREAM.INFO.{ns}_tasks_0"));
        self.api(format_args!("DIRECT.GET.KV_{ns}_definitions"));
        self.reads(&format!("{ns}_definitions"), ">");
        for shard in 0..shards {
            self.reads(&format!("{ns}_workflows_{shard}"), ">");
            self.reads(&format!("{ns}_checkpoints_{shard}"), ">");
            self.api(format_args!("DIRECT.GET.KV_{ns}_workflows_{shard}"));
            self.api(format_args!("DIRECT.GET.KV_{ns}_checkpoints_{shard}"));
            // Whoever is about to say that there is no such workflow, or decides by a checkpoint, asks the leader.
            self.api(format_args!("STREAM.MSG.GET.KV_{ns}_workflows_{shard}"));
            self.api(format_args!("STREAM.MSG.GET.KV_{ns}_checkpoints_{shard}"));
            self.api(format_args!("STREAM.MSG.GET.{ns}_tasks_{shard}"));
        }
    }

    /// The store of large bodies has no owners: who may use it may read all of it.
    fn stores_payloads(&mut self) {
        let store = format!("{}_payloads", self.ns);
        self.publish(format!("$O.{store}.>"));
        self.api(format_args!("STREAM.MSG.GET.OBJ_{store}"));
        self.api(format_args!("DIRECT.GET.OBJ_{store}"));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::commands::auth::roster::Identity;

    fn tenant(purposes: &[(&str, Purpose)]) -> Tenant {
        let identity = |purpose: &Purpose| Identity {
            keys: Vec::new(),
            purpose: Some(purpose.clone()),
        };
        let identities = purposes.iter();
        let identities: BTreeMap<_, _> = identities
            .map(|(name, purpose)| ((*name).to_owned(), identity(purpose)))
            .collect();
        Tenant {
            shards: 2,
            storage: None,
            identities,
        }
    }

    #[test]
    fn an_agent_may_nothing_of_others_that_it_does_not_command() {
        let worker = Purpose {
            serves: true,
            ..Purpose::default()
        };
        let boss = Purpose {
            serves: true,
            commands: ["worker".to_owned()].into(),
            ..Purpose::default()
        };
        let tenant = tenant(&[
            ("worker", worker.clone()),
            ("boss", boss.clone()),
            ("thief", worker.clone()),
        ]);
        let of = |name, purpose| of("mcp", &tenant, name, purpose);
        let thief = of("thief", &worker);
        for subject in thief.publish.iter().chain(&thief.subscribe) {
            assert!(
                !subject.contains("worker") && !subject.contains("boss"),
                "{subject}"
            );
            assert!(
                !subject.contains("CREATE") && !subject.contains("PURGE"),
                "{subject}"
            );
        }
        assert!(of("boss", &boss).publish.contains("mcp.cmd.worker.*.*"));
        let answers = of("worker", &worker).publish;
        assert!(answers.contains("mcp.reply.boss.>"));
        assert!(!answers.contains("mcp.reply.thief.>"));
    }

    #[test]
    fn engine_of_a_child_may_tell_its_parents_and_nobody_elses() {
        let runs = |definition: &str, drives: &[&str]| Purpose {
            serves: true,
            runs: [definition.to_owned()].into(),
            drives: drives.iter().map(|name| (*name).to_owned()).collect(),
            ..Purpose::default()
        };
        let child = runs("scene", &[]);
        let tenant = tenant(&[
            ("director", runs("film", &["scene"])),
            ("painter", child.clone()),
            ("banker", runs("bill", &[])),
        ]);
        let rights = of("mcp", &tenant, "painter", &child);
        assert!(rights.publish.contains("mcp.wf.film.*.control.*"));
        assert!(!rights.publish.contains("mcp.wf.film.*.start.*"));
        assert!(!rights.publish.contains("mcp.wf.bill.*.control.*"));
    }

    #[test]
    fn every_subject_lies_in_the_own_namespace() {
        let all = Purpose {
            serves: true,
            commands: ["b".to_owned()].into(),
            subscriptions: [("s".to_owned(), "*.*".to_owned())].into(),
            runs: ["w".to_owned()].into(),
            drives: ["w".to_owned()].into(),
            payloads: true,
        };
        let tenant = tenant(&[("a", all.clone())]);
        let rights = of("acme", &tenant, "a", &all);
        for subject in rights.publish.iter().chain(&rights.subscribe) {
            let own = subject.starts_with("acme.")
                || subject.contains("acme_")
                || subject.starts_with("_INBOX_a.")
                || ["$JS.API.INFO", "$SYS.REQ.USER.INFO"].contains(&subject.as_str());
            assert!(own, "{subject}");
        }
    }
}
