//! Which stream is taken, and brought back, before which.
//!
//! A backup takes queues first and then what they lead to. Whatever goes on in between has its cause in the queues'
//! snapshots, unacknowledged: after a restore it is delivered again and finds what it has done, as after a crash. The
//! other way round a workflow could wait for a task that is nowhere. A restore goes backwards, so that nobody takes work
//! from a queue before what belongs to it is there.

use mcp_agent_sdk::runtime::Namespace;

/// The streams of a namespace in the order of a backup. Without the presence of agents, which is only true while they run.
pub(crate) fn of_backup(namespace: &Namespace, shards: u16, events: bool) -> Vec<String> {
    let ns = namespace.as_str();
    let each = |name: &str| {
        (0..shards)
            .map(move |shard| format!("{name}_{shard}"))
            .collect::<Vec<_>>()
    };
    let mut names = Vec::new();
    if events {
        names.push(namespace.events_stream());
    }
    names.push(namespace.commands_stream());
    names.extend(each(&format!("{ns}_tasks")));
    names.extend(each(&format!("KV_{ns}_workflows")));
    names.extend(each(&format!("KV_{ns}_checkpoints")));
    names.extend([
        format!("KV_{}", namespace.outcomes_bucket()),
        format!("KV_{ns}_definitions"),
        namespace.dead_letters_stream(),
        format!("OBJ_{}", namespace.payloads_bucket()),
    ]);
    names
}

/// Whether somebody takes work from it, so that deliveries have to pause.
pub(crate) fn is_queue(namespace: &Namespace, stream: &str) -> bool {
    [namespace.commands_stream(), namespace.events_stream()].contains(&stream.to_owned())
        || stream.starts_with(&format!("{namespace}_tasks_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_come_first_and_presence_not_at_all() {
        let namespace: Namespace = "mcp".parse().unwrap();
        let names = of_backup(&namespace, 2, true);
        assert_eq!(names.len(), 12);
        let queues: Vec<bool> = names
            .iter()
            .map(|name| is_queue(&namespace, name))
            .collect();
        assert!(queues.is_sorted_by(|a, b| a >= b), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("agents")));
        assert_eq!(of_backup(&namespace, 2, false).len(), 11);
    }

    #[test]
    fn everything_durable_that_a_namespace_has_is_saved() {
        let namespace: Namespace = "mcp".parse().unwrap();
        let mut all = crate::streams::names(&namespace, 3);
        all.retain(|name| name != "KV_mcp_agents");
        all.sort();
        let mut saved = of_backup(&namespace, 3, true);
        saved.sort();
        assert_eq!(saved, all);
    }
}
