//! The streams, buckets and consumers on a real server: created, found again, refused when they differ, and read back
//! as the protocol's table has them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

mod buckets;
mod consumers;
mod differences;
mod table;
mod upgrade;

use std::time::Duration;

use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use mcp_agent_sdk::{LocalServer, TestBroker};
use mcp_runtime::topology::{TopologyConfig, check_server, ensure, ensure_agent};
use serde_json::{Value, json};
use table::{seconds, table};

async fn consumer_config(context: &Context, stream: &str, consumer: &str) -> Value {
    let info: Value = context
        .request(format!("CONSUMER.INFO.{stream}.{consumer}"), &json!({}))
        .await
        .unwrap();
    assert!(info["error"].is_null(), "{consumer}: {info}");
    info["config"].clone()
}

async fn broker() -> (TestBroker, Context) {
    let broker = TestBroker::start().await.unwrap();
    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    (broker, context)
}

async fn config_of(context: &Context, stream: &str) -> Value {
    let info: Value = context
        .request(format!("STREAM.INFO.{stream}"), &())
        .await
        .unwrap();
    assert!(info["error"].is_null(), "{stream}: {info}");
    info["config"].clone()
}

/// Every expected field must be there with that value; `null` stands for "absent".
fn check_fields(name: &str, found: &Value, expected: &Value) {
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&found[field], value, "{name}: {field}");
    }
}

#[tokio::test]
async fn fresh_server_gets_the_protocols_table() {
    let (_broker, context) = broker().await;
    check_server(&context).await.unwrap();
    assert_eq!(
        ensure(&context, &TopologyConfig::default())
            .await
            .unwrap()
            .shards,
        1
    );

    let table = table();
    for (name, expected) in &table {
        check_fields(name, &config_of(&context, name).await, expected);
    }
    let streams: Vec<String> = context.stream_names().map(Result::unwrap).collect().await;
    assert_eq!(
        streams.len(),
        table.len(),
        "nothing else was made: {streams:?}"
    );
}

#[tokio::test]
async fn server_without_jetstream_is_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let program = LocalServer::find().await.unwrap().path;
    let mut command = tokio::process::Command::new(program);
    command
        .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
        .arg(dir.path())
        .kill_on_drop(true);
    let _server = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    let url = loop {
        let written = std::fs::read_dir(dir.path())
            .unwrap()
            .next()
            .map(|file| file.unwrap().path());
        let ports = written
            .and_then(|file| serde_json::from_slice::<Value>(&std::fs::read(file).unwrap()).ok());
        match ports {
            Some(ports) => break ports["nats"][0].as_str().unwrap().to_owned(),
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let context = jetstream::new(async_nats::connect(url).await.unwrap());
    assert_eq!(
        check_server(&context).await.unwrap_err().to_string(),
        "the server has no JetStream; start nats-server with `-js`, or enable it for this account"
    );
}

#[tokio::test]
async fn second_run_changes_nothing_and_concurrent_creators_all_succeed() {
    let (broker, context) = broker().await;
    let config = TopologyConfig {
        workflow_shards: Some(3),
        ..TopologyConfig::default()
    };
    let creators = (0..5).map(|_| {
        let (url, config) = (broker.url().to_owned(), config.clone());
        tokio::spawn(async move {
            let context = jetstream::new(async_nats::connect(url).await.unwrap());
            let topology = ensure(&context, &config).await?;
            ensure_agent(&context, "mcp", "greeter")
                .await
                .map(|()| topology)
        })
    });
    for creator in creators.collect::<Vec<_>>() {
        assert_eq!(creator.await.unwrap().unwrap().shards, 3);
    }

    let before = config_of(&context, "KV_mcp_workflows_2").await;
    assert_eq!(
        ensure(&context, &TopologyConfig::default())
            .await
            .unwrap()
            .shards,
        3,
        "read from the server"
    );
    ensure_agent(&context, "mcp", "greeter").await.unwrap();
    assert_eq!(config_of(&context, "KV_mcp_workflows_2").await, before);
}

#[tokio::test]
async fn topology_survives_a_killed_server() {
    let (mut broker, context) = broker().await;
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    broker.kill().await.unwrap();
    broker.restart().await.unwrap();

    let context = jetstream::new(async_nats::connect(broker.url()).await.unwrap());
    ensure(&context, &TopologyConfig::default()).await.unwrap();
    for (name, expected) in table() {
        check_fields(name, &config_of(&context, name).await, &expected);
    }
}

#[tokio::test]
async fn namespaces_share_a_server_without_meeting() {
    let (_broker, context) = broker().await;
    for namespace in ["mcp", "mcp_2", "other"] {
        let config = TopologyConfig {
            namespace: namespace.to_owned(),
            ..TopologyConfig::default()
        };
        ensure(&context, &config).await.unwrap();
        ensure_agent(&context, namespace, "greeter").await.unwrap();
    }
    let filter =
        &consumer_config(&context, "other_commands", "greeter_low").await["filter_subject"];
    assert_eq!(filter, "other.cmd.greeter.low.>");
}

#[tokio::test]
async fn short_ages_for_tests_are_possible() {
    let (_broker, context) = broker().await;
    let config = TopologyConfig {
        duplicate_window: Duration::from_secs(2),
        event_max_age: Duration::from_secs(1),
        outcome_ttl: Duration::from_secs(1),
        ..TopologyConfig::default()
    };
    ensure(&context, &config).await.unwrap();
    ensure(&context, &config).await.unwrap();
    assert_eq!(
        config_of(&context, "mcp_commands").await["duplicate_window"],
        seconds(2)
    );
    assert_eq!(
        config_of(&context, "mcp_events").await["duplicate_window"],
        seconds(1)
    );
}
