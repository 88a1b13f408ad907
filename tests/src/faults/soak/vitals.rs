//! What must not grow: the veteran's memory, files, threads and tasks; the server's connections, subscriptions, consumers and keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    time::Duration,
};

use mcp_agent_sdk::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::faults::{
    Failed,
    history::{History, Kind},
    scene::Scene,
};

/// Caches that are bounded may fill meanwhile: that of outcomes takes up to 32 MiB, and allocators round up.
const MOST_MORE_MIB: f64 = 64.0;

/// A slope is told from noise by no fewer looks than these.
const LOOKS: usize = 40;

/// With so many looks, the second half may rise by this at most.
const MOST_MIB_PER_HOUR: f64 = 30.0;

/// Connections, subscriptions and files differ by a few as connections come and go.
const FEW: u64 = 4;

/// How long the last of what was begun may take to go.
const REST_WITHIN: Duration = Duration::from_secs(40);

/// One look.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Vitals {
    /// Resident memory of the veteran.
    pub agent_mib: f64,
    /// Resident memory of the server.
    pub server_mib: f64,
    /// Open files of the veteran.
    pub files: u64,
    /// Its threads.
    pub threads: u64,
    /// Its tasks; looked at when it is alone only.
    pub tasks: Option<u64>,
    /// Connections of the server, but for those of the senders.
    pub connections: u64,
    /// Subscriptions of these connections.
    pub subscriptions: u64,
    /// Consumers of all streams.
    pub consumers: u64,
    /// Agents that say they are there.
    pub present: u64,
    /// Keys of each bucket.
    pub keys: BTreeMap<String, u64>,
}

impl fmt::Display for Vitals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "agent {:>5.1} MiB {:>3} files {:>3} threads  server {:>5.1} MiB {:>3} connections {:>4} subscriptions {:>3} consumers {:>2} present",
            self.agent_mib,
            self.files,
            self.threads,
            self.server_mib,
            self.connections,
            self.subscriptions,
            self.consumers,
            self.present,
        )?;
        match self.tasks {
            Some(tasks) => write!(f, " {tasks} tasks"),
            None => Ok(()),
        }
    }
}

/// While everything is at work.
pub(super) async fn now(scene: &Scene) -> Result<Vitals, Failed> {
    let cluster = &scene.servers.cluster;
    let open = cluster.monitoring(0, "connz?limit=4096").await?;
    let open: Vec<&Value> = (open["connections"].as_array().into_iter().flatten())
        .filter(|one| !is_sender(one))
        .collect();
    let streams = cluster.monitoring(0, "jsz?accounts=1&streams=1").await?;
    let veteran = scene.crew.members[0].process.pid();
    let count = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    Ok(Vitals {
        agent_mib: status(veteran, "VmRSS:") as f64 / 1_024.0,
        server_mib: status(cluster.pid(0), "VmRSS:") as f64 / 1_024.0,
        files: fs::read_dir(format!("/proc/{veteran}/fd"))?.count() as u64,
        threads: status(veteran, "Threads:"),
        tasks: None,
        connections: open.len() as u64,
        subscriptions: open.iter().map(|one| count(&one["subscriptions"])).sum(),
        consumers: count(&streams["consumers"]),
        present: present(&scene.client().await?).await,
        keys: keys(&streams),
    })
}

/// When nothing is to be done, and the veteran is alone.
pub(super) async fn at_rest(scene: &Scene) -> Result<Vitals, Failed> {
    let client = scene.client().await?;
    let give_up = Instant::now() + REST_WITHIN;
    while present(&client).await != 1 && Instant::now() < give_up {
        sleep(Duration::from_millis(200)).await;
    }
    // Flights, leases and renewals of the last commands end within one lease.
    sleep(Duration::from_secs(12)).await;
    let asked = client.send_command::<Value>("probe", "tasks", json!({}));
    let tasks = asked.await?["tasks"].as_u64();
    drop(client);
    Ok(Vitals {
        tasks,
        ..now(scene).await?
    })
}

/// What was submitted is asked for its outcome at the end, so the clients of the senders live that long.
fn is_sender(connection: &Value) -> bool {
    let name = connection["name"].as_str();
    name.is_some_and(|name| name.starts_with("sender_"))
}

fn keys(streams: &Value) -> BTreeMap<String, u64> {
    let accounts = streams["account_details"].as_array();
    let streams = accounts.into_iter().flatten();
    let streams = streams.filter_map(|account| account["stream_detail"].as_array());
    streams
        .flatten()
        .filter_map(|stream| {
            let bucket = stream["name"].as_str()?.strip_prefix("KV_")?;
            Some((bucket.to_owned(), stream["state"]["messages"].as_u64()?))
        })
        .collect()
}

async fn present(client: &Client) -> u64 {
    crate::instances(client, "probe").await.len() as u64
}

fn status(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0)
}

/// What is more than it was, in words.
pub(super) fn grown(before: &Vitals, looks: &[Vitals], after: &Vitals) -> Vec<String> {
    let mut grown = Vec::new();
    let tasks = |vitals: &Vitals| vitals.tasks.unwrap_or(u64::MAX);
    let counts = [
        ("files", before.files, after.files, FEW),
        ("threads", before.threads, after.threads, FEW),
        ("tasks", tasks(before), tasks(after), 2),
        ("connections", before.connections, after.connections, FEW),
        (
            "subscriptions",
            before.subscriptions,
            after.subscriptions,
            FEW,
        ),
        ("consumers", before.consumers, after.consumers, 0),
        ("agents present", before.present, after.present, 0),
    ];
    for (what, was, is, few) in counts {
        if is > was.saturating_add(few) {
            grown.push(format!("{what}: {was} before, {is} after"));
        }
    }
    let more = after.agent_mib - before.agent_mib;
    if more > MOST_MORE_MIB {
        grown.push(format!("the veteran has {more:.1} MiB more"));
    }
    let slope = mib_per_hour(&looks[looks.len() / 2..]);
    if looks.len() >= LOOKS && slope > MOST_MIB_PER_HOUR {
        grown.push(format!("the veteran grows by {slope:.1} MiB an hour"));
    }
    grown
}

/// Buckets with more keys than there is reason for, in words.
pub(super) fn too_many_keys(after: &Vitals, history: &History) -> Vec<String> {
    let named = |kinds: &[Kind], kept: bool| {
        let operations = history.operations.iter();
        let named: BTreeSet<&str> = operations
            .filter(|operation| kinds.contains(&operation.kind) && (operation.kept || !kept))
            .map(|operation| operation.key.as_str())
            .collect();
        named.len() as u64
    };
    let kept = named(&[Kind::Workflow], true);
    let reasons = [
        ("agents", 1),
        // A state of a workflow sends its effect under a key; there are three, and each checkpoint was forked.
        (
            "outcomes",
            named(&[Kind::Keyed, Kind::Submit, Kind::Failing], false)
                + 3 * (named(&[Kind::Workflow], false) + kept),
        ),
        ("workflows", named(&[Kind::Workflow], false) + kept),
        // The bucket keeps the last eight of each.
        ("checkpoints", 8 * kept),
    ];
    let mut many = Vec::new();
    for (bucket, keys) in &after.keys {
        let reason = reasons.iter().find(|(part, _)| bucket.contains(part));
        if let Some((_, most)) = reason.filter(|(_, most)| keys > most) {
            many.push(format!("bucket {bucket}: {keys} keys, reason for {most}"));
        }
    }
    many
}

/// Least squares over looks that are half a minute apart.
fn mib_per_hour(looks: &[Vitals]) -> f64 {
    let count = looks.len() as f64;
    let middle = (count - 1.0) / 2.0;
    let mean = looks.iter().map(|look| look.agent_mib).sum::<f64>() / count;
    let (mut up, mut along) = (0.0, 0.0);
    for (at, look) in looks.iter().enumerate() {
        let x = at as f64 - middle;
        up += x * (look.agent_mib - mean);
        along += x * x;
    }
    if along == 0.0 {
        0.0
    } else {
        up / along * 120.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_named_and_what_wavers_is_not() {
        let look = |agent_mib: f64| Vitals {
            agent_mib,
            tasks: Some(20),
            consumers: 6,
            ..Vitals::default()
        };
        let steady: Vec<Vitals> = (0..60).map(|at| look(50.0 + f64::from(at % 3))).collect();
        assert_eq!(grown(&look(50.0), &steady, &look(52.0)), [""; 0]);
        let rising: Vec<Vitals> = (0..60).map(|at| look(50.0 + f64::from(at))).collect();
        assert_eq!(grown(&look(50.0), &rising, &look(60.0)).len(), 1);
        let more = Vitals {
            consumers: 7,
            tasks: Some(40),
            ..look(120.0)
        };
        assert_eq!(grown(&look(50.0), &steady, &more).len(), 3);
    }
}
