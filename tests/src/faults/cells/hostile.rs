//! F9: what is on the wire is anything at all, on every subject that an agent listens to.

use std::time::Duration;

use async_nats::HeaderMap;
use rand::{Rng, RngCore};

use crate::faults::{Failed, load, scene::Scene};

use super::Extent;

/// What one agent may need beyond what it needs without hostility.
const MOST_MORE_KIB: u64 = 200 * 1024;

/// Where it is sent: all that agents and engines read. Not to the subjects of timers, which nobody reads before their time:
/// what has none would lie there, and is the sender's.
const SUBJECTS: [&str; 8] = [
    "mcp.cmd.probe.critical.effect",
    "mcp.cmd.probe.low.no_such_action",
    "mcp.rt.probe.effect",
    "mcp.ctl.probe.cancel",
    "mcp.presence.probe.x",
    "mcp.evt.workflow.probe_pipeline.started",
    "mcp.wf.probe_pipeline.0.start.hostile",
    "mcp.wf.probe_pipeline.0.control.hostile",
];

/// Headers that somebody reads.
const HEADERS: [&str; 8] = [
    "Content-Type",
    "traceparent",
    "tracestate",
    "Mcp-Payload-Ref",
    "Mcp-Not-Instance",
    "Mcp-Stored-At",
    "Mcp-Payload-Size",
    "Mcp-Payload-Sha256",
];

pub(super) async fn messages(scene: &mut Scene) -> Result<(), Failed> {
    scene.begin(2).await?;
    let client = scene.client().await?;
    let before: Vec<u64> = scene.crew.members.iter().map(memory_kib).collect();
    let count = match scene.extent {
        Extent::Quick => 1_500,
        Extent::Full => 30_000,
    };
    for n in 0..count {
        let subject = SUBJECTS[scene.random.random_range(0..SUBJECTS.len())];
        let mut headers = HeaderMap::new();
        for _ in 0..scene.random.random_range(0..3) {
            let name = HEADERS[scene.random.random_range(0..HEADERS.len())];
            headers.insert(name, header_value(&mut scene.random));
        }
        let body = load::malformed_body(scene.random.random());
        let nats = client.nats();
        nats.publish_with_headers(subject, headers, body.into())
            .await?;
        // The agents are to be busy with it, not the server's buffer full of it.
        if n % 50 == 0 {
            nats.flush().await?;
            scene.settle(Duration::from_millis(20)).await;
        }
    }
    client.nats().flush().await?;
    scene.settle(Duration::from_secs(1)).await;
    for (member, before) in scene.crew.members.iter().zip(before) {
        let now = memory_kib(member);
        if now > before + MOST_MORE_KIB {
            let text = format!("an agent took {now} KiB of memory, {before} KiB before");
            scene.recorder.remarks("I6", text);
        }
    }
    Ok(())
}

fn header_value(random: &mut impl RngCore) -> String {
    let length = random.random_range(0..64);
    let printable = (0..length).map(|_| char::from(random.random_range(b' '..=b'~')));
    printable.collect()
}

/// Resident memory.
fn memory_kib(member: &crate::faults::crew::Member) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", member.process.pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}
