//! An upgrade changes what loses nothing, and nothing at all when something would be lost.

use std::time::Duration;

use async_nats::jetstream::{Context, stream::Config};
use mcp_runtime::topology::{
    SizeLimits, TopologyConfig, TopologyError, ensure, ensure_agent, plan_upgrade,
};
use serde_json::{Value, json};

use crate::{broker, config_of, consumer_config};

async fn change(context: &Context, name: &str, change: impl FnOnce(&mut Config)) {
    let mut stream = context.get_stream(name).await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    change(&mut config);
    context.update_stream(config).await.unwrap();
}

/// Replaces a consumer by one as an older program might have made it.
async fn change_consumer(context: &Context, stream: &str, name: &str, more: Value) {
    let mut config = consumer_config(context, stream, name).await;
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let filter = config["filter_subject"].as_str().unwrap().to_owned();
    let answer: Value = context
        .request(
            format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
            &json!({ "stream_name": stream, "config": config, "action": "update" }),
        )
        .await
        .unwrap();
    assert!(answer["error"].is_null(), "{answer}");
}

#[tokio::test]
async fn older_topology_is_brought_up_to_date_and_its_messages_stay() {
    let (_broker, context) = broker().await;
    let config = TopologyConfig::default();
    ensure(&context, &config).await.unwrap();
    ensure_agent(&context, "mcp", "greeter").await.unwrap();
    context
        .publish("mcp.evt.greeter.greeted", "hello".into())
        .await
        .unwrap()
        .await
        .unwrap();
    change(&context, "mcp_events", |stream| {
        stream.max_age = Duration::from_secs(3_600);
        stream.duplicate_window = Duration::from_secs(60);
        stream.metadata.clear();
    })
    .await;
    change(&context, "KV_mcp_checkpoints_0", |stream| {
        stream.max_messages_per_subject = 3;
    })
    .await;
    change(&context, "mcp_commands", |stream| {
        stream.subjects.retain(|subject| subject != "mcp.delay.>");
    })
    .await;
    change(&context, "KV_mcp_outcomes", |stream| {
        stream.allow_rollup = true;
    })
    .await;
    change(&context, "mcp_dead_letters", |stream| {
        stream.allow_direct = false;
    })
    .await;
    context.delete_stream("KV_mcp_definitions").await.unwrap();
    change_consumer(
        &context,
        "mcp_commands",
        "greeter_low",
        json!({ "ack_wait": 30_000_000_000_u64, "max_ack_pending": 20 }),
    )
    .await;
    ensure(&context, &config).await.unwrap_err();
    ensure_agent(&context, "mcp", "greeter").await.unwrap_err();

    let plan = plan_upgrade(&context, &config).await.unwrap();
    assert!(plan.refusals().is_empty(), "{:?}", plan.refusals());
    let said: Vec<String> = plan
        .changes()
        .flat_map(|change| {
            let object = change.object.clone();
            let rows = change.differences.iter();
            rows.map(move |row| format!("{object}: {row}"))
        })
        .collect();
    for row in [
        "stream `mcp_events`: maximum age is 1h, expected 7days",
        "stream `mcp_events`: topology version is not in the metadata, expected 1",
        "bucket `mcp_checkpoints_0`: messages per subject is 3, expected 8",
        "bucket `mcp_outcomes`: rollup headers is on, expected off",
        "stream `mcp_dead_letters`: direct get is off, expected on",
        "stream `mcp_commands`: subjects is `mcp.cmd.>`, expected `mcp.cmd.>` `mcp.delay.>`",
        "consumer `greeter_low` of stream `mcp_commands`: ack wait is 30s, expected 10s",
    ] {
        assert!(
            said.iter().any(|said| said == row),
            "{row} not in {said:#?}"
        );
    }
    plan.carry_out(&context, &config).await.unwrap();

    ensure(&context, &config).await.unwrap();
    ensure_agent(&context, "mcp", "greeter").await.unwrap();
    assert_eq!(
        config_of(&context, "mcp_events").await["metadata"]["mcp.topology"],
        "1"
    );
    let mut events = context.get_stream("mcp_events").await.unwrap();
    assert_eq!(events.info().await.unwrap().state.messages, 1);
    let again = plan_upgrade(&context, &config).await.unwrap();
    assert_eq!(again.changes().count(), 0, "{again:?}");
}

#[tokio::test]
async fn what_would_lose_something_is_refused_and_then_nothing_is_changed() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    for _ in 0..3 {
        let publish = context.publish("mcp.evt.greeter.greeted", "x".repeat(1_000).into());
        publish.await.unwrap().await.unwrap();
    }
    let wanted = TopologyConfig {
        workflow_shards: Some(4),
        event_max_age: Duration::from_secs(3_600),
        dead_max_age: Duration::from_secs(90 * 86_400),
        max_bytes: SizeLimits {
            events: Some(2_000),
            ..SizeLimits::default()
        },
        ..TopologyConfig::default()
    };
    let before = config_of(&context, "mcp_dead_letters").await;
    let plan = plan_upgrade(&context, &wanted).await.unwrap();
    assert!(
        plan.changes().count() > 0,
        "dead letters could be kept longer"
    );
    let error = plan.carry_out(&context, &wanted).await.unwrap_err();
    assert!(
        matches!(&error, TopologyError::NotUpgradable { refusals } if refusals.len() == 3),
        "{error}"
    );
    let said = error.to_string();
    for part in [
        "stream `mcp_events`: maximum age is 7days, expected 1h: that would delete",
        "stream `mcp_events`: maximum bytes is unlimited, expected 2000: that would delete",
        "stream `mcp_tasks_0`: workflow shards is 1, expected 4: a workflow's shard",
    ] {
        assert!(said.contains(part), "{part} not in {said}");
    }
    assert_eq!(config_of(&context, "mcp_dead_letters").await, before);
}

#[tokio::test]
async fn topology_of_a_newer_program_is_refused_and_left_alone() {
    let (_broker, context) = broker().await;
    let config = TopologyConfig::default();
    ensure(&context, &config).await.unwrap();
    change(&context, "mcp_commands", |stream| {
        stream
            .metadata
            .insert("mcp.topology".to_owned(), "9".to_owned());
    })
    .await;
    let said = "stream `mcp_commands` has topology version 9, but this program knows no version after 1; \
                use the release that upgraded it, or a newer one";
    assert_eq!(
        ensure(&context, &config).await.unwrap_err().to_string(),
        said
    );
    assert_eq!(
        plan_upgrade(&context, &config)
            .await
            .unwrap_err()
            .to_string(),
        said
    );
}
