//! How long a search over many workflows takes, and an error when that is over a second: `cargo run --release -p mcp-benches --bin search`; `WORKFLOWS=100000` is how
//! many.
//!
//! Three workflows are run, one that completes, one that fails and one that waits, and their records copied, each with an id and
//! a customer of its own: what is searched is what engines have written.

use std::time::{Duration, Instant};

use async_nats::{HeaderMap, jetstream::context::PublishAckFuture};
use mcp_agent_sdk::{
    Agent, Client, McpError, TestBroker, Workflow, WorkflowContext, WorkflowFilter, WorkflowState,
    WorkflowStatus, WorkflowTransitionResult as Then, Workflows,
};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Records that are published before their acknowledgements are looked at.
const AT_ONCE: usize = 500;

/// Each search is made so often, and the slowest counts.
const ROUNDS: usize = 5;

/// What a search over 100,000 may take.
const MOST: Duration = Duration::from_secs(1);

/// The ends that are copied, by the digit that stands for them in an id.
const ENDS: [&str; 3] = ["completed", "failed", "waiting"];

/// Which page of the result is measured.
enum Page {
    First,
    Second,
}

async fn pay(_: WorkflowContext, order: Value) -> Result<Then, McpError> {
    match order["end"].as_str() {
        Some("failed") => Err(McpError::permanent("CARD_REFUSED")),
        Some("waiting") => Ok(Then::to("review")),
        _ => Ok(Then::to("paid")),
    }
}

#[tokio::main]
async fn main() -> Outcome {
    let wanted = std::env::var("WORKFLOWS").ok();
    let wanted: usize = wanted.map_or(Ok(100_000), |wanted| wanted.parse())?;
    let broker = TestBroker::start().await?;
    let client = broker.client().await?;
    let order = Workflow::new("order")
        .index("customer")
        .state("pay", WorkflowState::run(pay).to("paid").to("review"))
        .state("review", WorkflowState::wait_for("approved").then("paid"))
        .state("paid", WorkflowState::end());
    let agent = Agent::new("shop").workflow(order).start(&client).await?;
    let size = copy(&client, &run_some(&client).await?, wanted).await?;
    println!("{wanted} workflows, {size} bytes each in the mean");

    let all = WorkflowFilter::default;
    let failed = WorkflowStatus::Failed;
    measure(&client, "the first 50 of all", all().limit(50), Page::First).await?;
    measure(
        &client,
        "failed with a code",
        all().status(failed).error_code("CARD_REFUSED").limit(50),
        Page::First,
    )
    .await?;
    measure(
        &client,
        "in a state",
        all().definition("order").state("review").limit(50),
        Page::First,
    )
    .await?;
    measure(
        &client,
        "of a customer",
        all().field("customer", "customer-0000042").limit(50),
        Page::First,
    )
    .await?;
    measure(&client, "the second page", all().limit(50), Page::Second).await?;
    agent.drain().await;
    Ok(())
}

/// The records of one workflow for each end, as they lie in the bucket.
async fn run_some(client: &Client) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error>> {
    let workflows = Workflows::new(client);
    let mut records = Vec::new();
    for (digit, end) in ENDS.iter().enumerate() {
        let id = format!("order-{digit}000000");
        let data = json!({ "end": end, "customer": "customer-0000000", "lines": [{ "sku": 17, "count": 2 }] });
        workflows
            .create_workflow("order", None, data)
            .id(&id)
            .await?;
        let begun = Instant::now();
        loop {
            let record = workflows.get_workflow(&id).await?;
            if record.is_some_and(|record| record.status.as_str() == *end) {
                break;
            }
            if begun.elapsed() > Duration::from_secs(20) {
                return Err(format!("`{id}` is not {end}").into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let bucket = client.namespace().workflows_bucket(0);
        let stored = client
            .jetstream()
            .get_key_value(bucket)
            .await?
            .get(id)
            .await?;
        records.push(stored.ok_or("the record is there")?.to_vec());
    }
    Ok(records)
}

/// Writes so many of them, and returns how large they are in the mean.
async fn copy(
    client: &Client,
    records: &[Vec<u8>],
    wanted: usize,
) -> Result<usize, Box<dyn std::error::Error>> {
    let bucket = client.namespace().workflows_bucket(0);
    let mut waiting: Vec<PublishAckFuture> = Vec::new();
    let mut bytes = 0;
    for number in records.len()..wanted {
        let digit = number % records.len();
        let id = format!("order-{digit}{number:06}");
        let body = replace(
            &records[digit],
            format!("order-{digit}000000").as_bytes(),
            id.as_bytes(),
        );
        let customer = format!("customer-{:07}", number % 1_000);
        let body = replace(&body, b"customer-0000000", customer.as_bytes());
        bytes += body.len();
        let subject = format!("$KV.{bucket}.{id}");
        let published =
            client
                .jetstream()
                .publish_with_headers(subject, HeaderMap::new(), body.into());
        waiting.push(published.await?);
        if waiting.len() == AT_ONCE {
            for acknowledged in waiting.drain(..) {
                acknowledged.await?;
            }
        }
    }
    for acknowledged in waiting {
        acknowledged.await?;
    }
    Ok(bytes / wanted.max(1))
}

/// The same bytes with one text for another of the same length.
fn replace(body: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "the encoding stays as it is");
    let mut copy = body.to_vec();
    let mut at = 0;
    while at + from.len() <= copy.len() {
        if copy[at..].starts_with(from) {
            copy[at..at + from.len()].copy_from_slice(to);
        }
        at += 1;
    }
    copy
}

async fn measure(client: &Client, what: &str, filter: WorkflowFilter, page: Page) -> Outcome {
    let workflows = Workflows::new(client);
    let mut slowest = Duration::ZERO;
    let mut found = 0;
    let filter = match page {
        Page::First => filter,
        Page::Second => {
            let next = workflows.search_workflows(&filter).await?.next;
            filter.after(&next.ok_or("there is a second page")?)
        }
    };
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        found = workflows.search_workflows(&filter).await?.workflows.len();
        slowest = slowest.max(begun.elapsed());
    }
    println!("{what:<24} {found:>3} found in {slowest:.3?}, the slowest of {ROUNDS}");
    match slowest > MOST {
        true => Err(format!("{what}: {slowest:.3?} is longer than the {MOST:?} promised").into()),
        false => Ok(()),
    }
}
