//! Workflow shards are streams of their own, so their leaders, and with them the work of the servers, spread.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use mcp_agent_sdk::{Client, Config, WorkflowStatus, Workflows, runtime::topology::TopologyConfig};
use mcp_tests::{Cluster, spawn_probe};
use serde_json::json;

use crate::{TestResult, replicas::replicated};

/// By chance alone all leaders are on one server once in 6,561 times.
const SHARDS: u16 = 9;

const WORKFLOWS: usize = 60;

#[tokio::test(flavor = "multi_thread")]
async fn shards_have_their_leaders_on_several_servers_and_all_of_them_work() -> TestResult {
    let cluster = Cluster::start(3).await;
    let url = cluster.url();
    let topology = TopologyConfig {
        workflow_shards: Some(SHARDS),
        ..replicated()
    };
    let config = Config::new(&url).name("load").topology(topology);
    let client = Client::connect(config).await?;
    let mut leaders: BTreeMap<String, u16> = BTreeMap::new();
    for shard in 0..SHARDS {
        let stream = client
            .jetstream()
            .get_stream(format!("mcp_tasks_{shard}"))
            .await?;
        let info = stream.cached_info();
        assert_eq!(info.config.num_replicas, 3);
        let leader = info
            .cluster
            .as_ref()
            .and_then(|cluster| cluster.leader.clone());
        *leaders
            .entry(leader.ok_or("a shard has a leader")?)
            .or_default() += 1;
    }
    println!("leaders of {SHARDS} shards: {leaders:?}");
    assert!(leaders.len() >= 2, "{leaders:?}");

    let _engines = [spawn_probe(&url, &[]).await, spawn_probe(&url, &[]).await];
    let workflows = Workflows::new(&client);
    let runs = (0..WORKFLOWS).map(|n| {
        let workflows = workflows.clone();
        async move {
            let id = format!("w{n}");
            workflows
                .create_workflow("probe_pipeline", None, json!({}))
                .id(&id)
                .await?;
            workflows.signal_workflow(&id, "approve", json!({})).await?;
            workflows.wait_for_end(&id).await
        }
    });
    for record in try_join_all(runs).await? {
        assert_eq!(record.status, WorkflowStatus::Completed, "{record:?}");
    }
    Ok(())
}
