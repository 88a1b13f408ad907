//! The consumers of agents and of event subscriptions.

use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use mcp_runtime::topology::{
    EventConsumer, Start, TopologyConfig, ensure, ensure_agent, ensure_event_consumer,
};
use serde_json::json;

use crate::table::seconds;
use crate::{broker, check_fields, consumer_config};

#[tokio::test]
async fn agent_has_one_consumer_per_lane() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    ensure_agent(&context, "mcp", "greeter").await.unwrap();
    for lane in ["critical", "high", "normal", "low"] {
        let name = format!("greeter_{lane}");
        let expected = json!({
            "durable_name": name, "filter_subject": format!("mcp.cmd.greeter.{lane}.>"), "ack_policy": "explicit",
            "ack_wait": seconds(10), "max_ack_pending": 10_000, "max_deliver": -1, "backoff": null,
            "deliver_policy": "all", "deliver_subject": null,
        });
        check_fields(
            &name,
            &consumer_config(&context, "mcp_commands", &name).await,
            &expected,
        );
    }
}

#[tokio::test]
async fn consumer_with_other_settings_is_refused() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    let foreign = jetstream::consumer::pull::Config {
        durable_name: Some("greeter_high".to_owned()),
        filter_subject: "mcp.cmd.greeter.high.>".to_owned(),
        max_deliver: 5,
        backoff: vec![Duration::from_secs(1)],
        ..Default::default()
    };
    context
        .create_consumer_on_stream(foreign, "mcp_commands")
        .await
        .unwrap();
    let said = ensure_agent(&context, "mcp", "greeter")
        .await
        .unwrap_err()
        .to_string();
    for difference in [
        "consumer `greeter_high` of stream `mcp_commands`: ack wait is 1s, expected 10s; ",
        "maximum ack pending is 1000, expected 10000; ",
        "maximum deliveries is 5, expected unlimited; ",
        "backoff steps is 1, expected 0; ",
        "`nats consumer edit mcp_commands greeter_high`",
    ] {
        assert!(said.contains(difference), "{said}");
    }
}

#[tokio::test]
async fn subscription_starts_where_it_says_and_stays_when_it_is_there() {
    let (_broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    let one = ["mcp.evt.content_agent.script_generated".to_owned()];
    let two = [one[0].clone(), "mcp.evt.audio_agent.>".to_owned()];
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let wanted = |subscription, subjects, start| EventConsumer {
        agent: "director",
        subscription,
        subjects,
        start,
    };
    let rows = [
        (
            wanted("a", &one[..], Start::New),
            "new",
            json!({ "filter_subject": one[0], "filter_subjects": null }),
        ),
        (
            wanted("b", &two[..], Start::All),
            "all",
            json!({ "filter_subject": null, "filter_subjects": two }),
        ),
        (
            wanted("c", &two[..], Start::Since(hour_ago)),
            "by_start_time",
            json!({ "ack_wait": seconds(10) }),
        ),
    ];
    for (wanted, policy, expected) in rows {
        ensure_event_consumer(&context, "mcp", wanted)
            .await
            .unwrap();
        ensure_event_consumer(&context, "mcp", wanted)
            .await
            .unwrap();
        let name = format!("director_evt_{}", wanted.subscription);
        let found = consumer_config(&context, "mcp_events", &name).await;
        assert_eq!(found["deliver_policy"], policy);
        check_fields(&name, &found, &expected);
    }

    let later = wanted("c", &two[..], Start::Since(SystemTime::now()));
    ensure_event_consumer(&context, "mcp", later).await.unwrap();
    let other = ensure_event_consumer(&context, "mcp", wanted("a", &two[..], Start::All))
        .await
        .unwrap_err();
    let said = other.to_string();
    assert!(said.contains("start is new, expected all"), "{said}");
    assert!(
        said.contains(
            "filter is `mcp.evt.content_agent.script_generated`, expected `mcp.evt.audio"
        ),
        "{said}"
    );
}
