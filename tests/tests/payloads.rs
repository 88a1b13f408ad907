//! Bodies too large for one message, over a real server: they travel through the object store unseen.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use mcp_agent_sdk::{
    Agent, Client, Config, Context, Event, McpError, SendError, Subscription, TestBroker, code,
};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

type TestResult = Result<(), Box<dyn std::error::Error>>;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[derive(Serialize, Deserialize)]
struct Order {
    bytes: usize,
}

fn probe() -> Agent {
    async fn echo(_: Context, text: String) -> Result<String, McpError> {
        Ok(text)
    }
    async fn length(_: Context, text: String) -> Result<usize, McpError> {
        Ok(text.len())
    }
    async fn make(_: Context, order: Order) -> Result<String, McpError> {
        Ok("x".repeat(order.bytes))
    }
    Agent::new("probe")
        .on("echo", echo)
        .on("length", length)
        .on("make", make)
}

fn text(bytes: usize) -> String {
    ('a'..='z').cycle().take(bytes).collect()
}

/// How many objects and chunks the payload store of the default namespace has.
async fn stored(client: &Client) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(client
        .jetstream()
        .get_stream("OBJ_mcp_payloads")
        .await?
        .info()
        .await?
        .state
        .messages)
}

#[tokio::test]
async fn large_bodies_travel_both_ways() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = probe().start(&client).await?;
    for bytes in [200 * KIB, 300 * KIB, MIB, 20 * MIB] {
        let sent = text(bytes);
        let echoed: String = client.send_command("probe", "echo", &sent).await?;
        assert!(
            echoed == sent,
            "{bytes} bytes came back as {}",
            echoed.len()
        );
        let echoed: String = client
            .send_command("probe", "echo", &sent)
            .realtime()
            .await?;
        assert!(
            echoed == sent,
            "{bytes} bytes came back as {} in real time",
            echoed.len()
        );
    }
    Ok(())
}

#[tokio::test]
async fn small_bodies_do_not_touch_the_store() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = probe().start(&client).await?;
    let sent = text(200 * KIB);
    let _: String = client.send_command("probe", "echo", &sent).await?;
    assert_eq!(stored(&client).await?, 0);
    let _: String = client
        .send_command("probe", "echo", text(300 * KIB))
        .await?;
    assert!(stored(&client).await? > 0);
    Ok(())
}

#[tokio::test]
async fn twenty_megabytes_take_little_more_than_their_copies() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = probe().start(&client).await?;
    let start = Instant::now();
    let made: String = client
        .send_command("probe", "make", Order { bytes: 20 * MIB })
        .await?;
    assert_eq!(made.len(), 20 * MIB);
    // Far above what it takes, far below what one round trip per chunk and a second try would.
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}

#[tokio::test]
async fn a_command_over_the_limit_is_refused_before_it_is_sent() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = Client::connect(Config::new(broker.url()).name("test").max_body(MIB)).await?;
    let _agent = probe().start(&client).await?;
    let error = client
        .send_command::<usize>("probe", "length", text(2 * MIB))
        .await
        .unwrap_err();
    assert_eq!(error.to_mcp_error().code, code::PAYLOAD_TOO_LARGE);
    assert!(!error.is_temporary());
    assert_eq!(stored(&client).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_result_over_the_limit_is_answered_as_an_error() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = Client::connect(Config::new(broker.url()).name("test").max_body(MIB)).await?;
    let _agent = probe().start(&client).await?;
    let error = client
        .send_command::<String>("probe", "make", Order { bytes: 2 * MIB })
        .await
        .unwrap_err();
    let SendError::Answered { error, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(error.code, code::PAYLOAD_TOO_LARGE);
    Ok(())
}

#[tokio::test]
async fn events_carry_large_data() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let (heard_tx, mut heard) = mpsc::channel(4);
    async fn note(ctx: Context<mpsc::Sender<usize>>, event: Event<String>) -> Result<(), McpError> {
        ctx.state()
            .send(event.data.len())
            .await
            .map_err(|_| McpError::permanent("GONE"))
    }
    let listener =
        Agent::with_state("listener", heard_tx).on_events(Subscription::to("test", "grown"), note);
    let _listener = listener.start(&client).await?;
    client.publish("grown", text(3 * MIB)).await?;
    assert_eq!(
        timeout(Duration::from_secs(10), heard.recv()).await?,
        Some(3 * MIB)
    );
    Ok(())
}

/// A durable command with a claim instead of a body, as a stranger may send it; the answer's error code.
async fn answer_to_claim(
    client: &Client,
    size: u64,
    sha256: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let mut headers = HeaderMap::new();
    headers.insert("Mcp-Payload", "0192a000-0000-7000-8000-000000000001");
    headers.insert("Mcp-Payload-Size", size.to_string());
    headers.insert("Mcp-Payload-Sha256", sha256);
    let subject = "mcp.cmd.probe.normal.length";
    client
        .jetstream()
        .publish_with_headers(subject, headers, Default::default())
        .await?
        .await?;
    // Its body tells no reply subject: it ends among the dead letters.
    let letters = client.jetstream().get_stream("mcp_dead_letters").await?;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match letters
            .get_last_raw_message_by_subject("mcp.dead.probe.length")
            .await
        {
            Ok(letter) => {
                let reason = letter
                    .headers
                    .get("Mcp-Dead-Reason")
                    .map(|reason| reason.as_str().to_owned());
                return Ok(reason.unwrap_or_default());
            }
            Err(error)
                if error.kind() == jetstream::stream::LastRawMessageErrorKind::NoMessageFound =>
            {
                assert!(Instant::now() < deadline, "no dead letter");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[tokio::test]
async fn a_claim_of_a_gigabyte_is_refused_unread() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = probe().start(&client).await?;
    assert_eq!(
        answer_to_claim(&client, 1 << 30, &"0".repeat(64)).await?,
        code::PAYLOAD_TOO_LARGE
    );
    Ok(())
}

#[tokio::test]
async fn a_claim_of_nothing_is_no_message() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let _agent = probe().start(&client).await?;
    assert_eq!(
        answer_to_claim(&client, 300_000, &"0".repeat(64)).await?,
        code::INVALID_MESSAGE
    );
    Ok(())
}
