//! The buckets do what the protocol needs of them, through an ordinary client.

use std::time::Duration;

use futures_util::StreamExt;
use mcp_runtime::topology::{TopologyConfig, ensure};

use crate::broker;

#[tokio::test]
async fn presence_changes_and_expiries_are_republished() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    let mut presence = context.client().subscribe("mcp.presence.>").await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-TTL", "1s");
    let stored = context
        .publish_with_headers("$KV.mcp_agents.greeter.i-1", headers, "{}".into())
        .await
        .unwrap();
    stored.await.unwrap();

    let change = presence.next().await.unwrap();
    assert_eq!(
        (change.subject.as_str(), &change.payload[..]),
        ("mcp.presence.greeter.i-1", &b"{}"[..])
    );
    let expiry = tokio::time::timeout(Duration::from_secs(10), presence.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(expiry.subject.as_str(), "mcp.presence.greeter.i-1");
    assert_eq!(
        expiry
            .headers
            .unwrap()
            .get("Nats-Marker-Reason")
            .unwrap()
            .as_str(),
        "MaxAge"
    );
}

#[tokio::test]
async fn expired_reservation_leaves_room_for_a_new_one() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    let outcomes = context.get_key_value("mcp_outcomes").await.unwrap();
    outcomes
        .create_with_ttl("a.b.c", "one".into(), Duration::from_secs(1))
        .await
        .unwrap();
    assert!(outcomes.create("a.b.c", "two".into()).await.is_err());
    let expired = async {
        while outcomes.entry("a.b.c").await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), expired)
        .await
        .unwrap();
    outcomes.create("a.b.c", "two".into()).await.unwrap();
}

#[tokio::test]
async fn buckets_and_object_store_open_with_an_ordinary_client() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    for bucket in [
        "mcp_agents",
        "mcp_outcomes",
        "mcp_workflows_0",
        "mcp_checkpoints_0",
        "mcp_definitions",
    ] {
        let bucket = context.get_key_value(bucket).await.unwrap();
        bucket.put("a.b", "value".into()).await.unwrap();
        assert_eq!(
            bucket.get("a.b").await.unwrap().as_deref(),
            Some(&b"value"[..])
        );
        bucket.delete("a.b").await.unwrap();
        assert_eq!(bucket.get("a.b").await.unwrap(), None);
    }
    let payloads = context.get_object_store("mcp_payloads").await.unwrap();
    let body = vec![7; 300_000];
    payloads.put("id", &mut body.as_slice()).await.unwrap();
    let mut read = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut payloads.get("id").await.unwrap(), &mut read)
        .await
        .unwrap();
    assert!(read == body);
}

/// Instances purge their record, and a checkpoint goes with its history; whoever may write a key of another bucket cannot
/// empty it.
#[tokio::test]
async fn only_buckets_that_need_rollups_allow_them() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    for (bucket, allowed) in [
        ("mcp_agents", true),
        ("mcp_checkpoints_0", true),
        ("mcp_outcomes", false),
        ("mcp_workflows_0", false),
        ("mcp_definitions", false),
    ] {
        let bucket = context.get_key_value(bucket).await.unwrap();
        bucket.put("a.b", "value".into()).await.unwrap();
        let purged = bucket.purge("a.b").await;
        assert_eq!(purged.is_ok(), allowed, "{}: {purged:?}", bucket.name);
    }
}
