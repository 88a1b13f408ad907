//! What exists with other settings is refused by name, and left alone.

use std::time::Duration;

use async_nats::jetstream::stream::Config as StreamConfig;
use async_nats::jetstream::{self, Context};
use mcp_runtime::topology::{SizeLimits, TopologyConfig, TopologyError, ensure};

use crate::{broker, config_of};

/// Changes one stream behind the runtime's back and returns what `ensure` says about it.
async fn complaint(
    context: &Context,
    name: &str,
    change: impl FnOnce(&mut StreamConfig),
) -> String {
    let mut stream = context.get_stream(name).await.unwrap();
    let original = stream.info().await.unwrap().config.clone();
    let mut changed = original.clone();
    change(&mut changed);
    context.update_stream(changed).await.unwrap();
    let error = ensure(context, &TopologyConfig::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error, TopologyError::Differs { .. }) && !error.is_transient(),
        "{error}"
    );
    context.update_stream(original).await.unwrap();
    error.to_string()
}

#[tokio::test]
async fn each_difference_of_a_stream_is_named_and_nothing_is_changed() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();

    let said = complaint(&context, "mcp_commands", |stream| {
        stream.duplicate_window = Duration::from_secs(60);
        stream.max_messages = 1000;
        stream.max_bytes = 4096;
        stream.max_age = Duration::from_secs(3600);
    });
    assert_eq!(
        said.await,
        "stream `mcp_commands`: maximum age is 1h, expected unlimited; duplicate window is 1m, expected 2m; \
         maximum bytes is 4096, expected unlimited; maximum messages is 1000, expected unlimited; \
         bring it up to date with `mcpctl setup --upgrade`, change it with `nats stream edit mcp_commands`, configure what is there, or use another namespace"
    );
    let said = complaint(&context, "mcp_events", |stream| {
        stream.subjects.push("more.>".to_owned())
    });
    assert!(
        said.await
            .contains("subjects is `mcp.evt.>` `more.>`, expected `mcp.evt.>`")
    );
    let said = complaint(&context, "mcp_dead_letters", |stream| {
        stream.discard = jetstream::stream::DiscardPolicy::Old;
    });
    assert!(said.await.contains("discard policy is old, expected new"));
    let said = complaint(&context, "KV_mcp_agents", |stream| {
        stream.republish = None;
        stream.subject_delete_marker_ttl = Some(Duration::from_secs(5));
    });
    let said = said.await;
    assert!(
        said.starts_with(
            "bucket `mcp_agents`: delete markers is 5s, expected 30s; republish is off"
        ),
        "{said}"
    );
    let said = complaint(&context, "KV_mcp_checkpoints_0", |stream| {
        stream.max_messages_per_subject = 3
    });
    assert!(said.await.contains("messages per subject is 3, expected 8"));
    let said = complaint(&context, "OBJ_mcp_payloads", |stream| {
        stream.allow_direct = false
    });
    assert!(
        said.await
            .contains("object store `mcp_payloads`: direct get is off, expected on")
    );

    ensure(&context, &TopologyConfig::default()).await.unwrap();
}

#[tokio::test]
async fn stream_of_another_kind_under_our_name_is_refused() {
    let (_broker, context) = broker().await;
    let foreign = StreamConfig {
        name: "mcp_commands".to_owned(),
        subjects: vec!["mcp.cmd.>".to_owned(), "mcp.delay.>".to_owned()],
        storage: jetstream::stream::StorageType::Memory,
        ..StreamConfig::default()
    };
    context.create_stream(foreign).await.unwrap();
    let said = ensure(&context, &TopologyConfig::default())
        .await
        .unwrap_err()
        .to_string();
    for difference in [
        "retention is limits, expected work queue",
        "storage is memory, expected file",
        "message schedules is off, expected on",
    ] {
        assert!(said.contains(difference), "{said}");
    }
}

#[tokio::test]
async fn stream_of_somebody_else_on_our_subjects_is_named() {
    let (_broker, context) = broker().await;
    let audit = StreamConfig {
        name: "audit".into(),
        subjects: vec!["mcp.evt.x".into()],
        ..StreamConfig::default()
    };
    context.create_stream(audit).await.unwrap();
    let said = ensure(&context, &TopologyConfig::default())
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        said,
        "stream `mcp_events` cannot be created: stream `audit` takes some of its subjects (mcp.evt.>); \
         use another namespace"
    );
}

#[tokio::test]
async fn replicas_and_sizes_are_compared_only_when_asked_for() {
    let (_broker, context) = broker().await;
    let limited = TopologyConfig {
        replicas: Some(1),
        max_bytes: SizeLimits {
            events: Some(1 << 20),
            ..SizeLimits::default()
        },
        ..TopologyConfig::default()
    };
    ensure(&context, &limited).await.unwrap();
    assert_eq!(
        config_of(&context, "mcp_events").await["max_bytes"],
        1 << 20
    );
    ensure(&context, &TopologyConfig::default()).await.unwrap();

    let refusal = |config: TopologyConfig| {
        let context = context.clone();
        async move { ensure(&context, &config).await.unwrap_err().to_string() }
    };
    let three = refusal(TopologyConfig {
        replicas: Some(3),
        ..TopologyConfig::default()
    })
    .await;
    assert!(three.contains("replicas is 1, expected 3"), "{three}");
    let larger = SizeLimits {
        events: Some(2 << 20),
        ..SizeLimits::default()
    };
    let larger = refusal(TopologyConfig {
        max_bytes: larger,
        ..TopologyConfig::default()
    })
    .await;
    assert!(
        larger.contains("maximum bytes is 1048576, expected 2097152"),
        "{larger}"
    );
    let shards = refusal(TopologyConfig {
        workflow_shards: Some(4),
        ..TopologyConfig::default()
    })
    .await;
    assert!(
        shards.starts_with("stream `mcp_tasks_0`: workflow shards is 1, expected 4; "),
        "{shards}"
    );
}
