//! PROTOCOL.md section 2 as data.

use serde_json::{Value, json};

pub(crate) fn seconds(seconds: u64) -> u64 {
    seconds * 1_000_000_000
}

/// PROTOCOL.md section 2, in the server's own words.
pub(crate) fn table() -> Vec<(&'static str, Value)> {
    let (two_minutes, day) = (seconds(120), seconds(86_400));
    let work_queue = |subjects: Value| {
        json!({
            "subjects": subjects, "retention": "workqueue", "storage": "file", "discard": "old",
            "allow_msg_schedules": true, "duplicate_window": two_minutes, "max_age": 0, "max_bytes": -1,
            "max_msgs": -1, "max_msgs_per_subject": -1, "num_replicas": 1, "allow_msg_ttl": false,
        })
    };
    // Whoever may write one key could empty a bucket that allows rollups.
    let bucket = |name: &str, history: u8, rollups: bool| {
        json!({
            "subjects": [format!("$KV.{name}.>")], "retention": "limits", "storage": "file", "discard": "new",
            "max_msgs_per_subject": history, "allow_rollup_hdrs": rollups, "deny_delete": true, "deny_purge": false,
            "allow_direct": true, "max_age": 0, "num_replicas": 1, "max_bytes": -1, "allow_msg_ttl": false,
            "subject_delete_marker_ttl": null, "republish": null,
        })
    };
    let with = |mut config: Value, more: Value| {
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    vec![
        (
            "mcp_commands",
            work_queue(json!(["mcp.cmd.>", "mcp.delay.>"])),
        ),
        (
            "mcp_tasks_0",
            work_queue(json!(["mcp.timer.*.0.>", "mcp.wf.*.0.>"])),
        ),
        (
            "mcp_events",
            json!({
                "subjects": ["mcp.evt.>"], "retention": "limits", "storage": "file", "discard": "old",
                "max_age": 7 * day, "duplicate_window": two_minutes, "max_bytes": -1, "max_msgs": -1,
            }),
        ),
        (
            "mcp_dead_letters",
            json!({
                "subjects": ["mcp.dead.>"], "retention": "limits", "storage": "file", "discard": "new",
                "max_age": 30 * day, "max_bytes": -1, "max_msgs": -1, "allow_direct": true, "allow_rollup_hdrs": false,
            }),
        ),
        (
            "KV_mcp_agents",
            with(
                bucket("mcp_agents", 1, true),
                json!({
                    "storage": "memory", "allow_msg_ttl": true, "subject_delete_marker_ttl": seconds(30),
                    "republish": { "src": "$KV.mcp_agents.>", "dest": "mcp.presence.>" },
                }),
            ),
        ),
        (
            "KV_mcp_outcomes",
            with(
                bucket("mcp_outcomes", 1, false),
                json!({ "max_age": day, "allow_msg_ttl": true }),
            ),
        ),
        ("KV_mcp_workflows_0", bucket("mcp_workflows_0", 1, false)),
        ("KV_mcp_checkpoints_0", bucket("mcp_checkpoints_0", 8, true)),
        ("KV_mcp_definitions", bucket("mcp_definitions", 1, false)),
        (
            "OBJ_mcp_payloads",
            json!({
                "subjects": ["$O.mcp_payloads.C.>", "$O.mcp_payloads.M.>"], "storage": "file", "discard": "new",
                "max_age": day, "allow_rollup_hdrs": true, "allow_direct": true,
            }),
        ),
    ]
}
