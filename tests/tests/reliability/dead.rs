//! A thousand submitted commands, some of which fail: nothing is lost, and what died lives again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt, stream};
use mcp_agent_sdk::{
    Agent, Client, Context, McpError, RetryConfig, SendError, Submitted, TestBroker,
    runtime::{DeadLetterFilter, DeadLetters, Edits},
};
use mcp_tests::{PATIENCE, eventually};

use crate::{MACHINE, TestResult, bounded};

const COMMANDS: u32 = 1_000;
const RETRIES: u32 = 3;
const AT_ONCE: usize = 64;

/// What is to become of a command, by its number: of ten, one is hopeless and two are slow to succeed.
#[derive(Debug, PartialEq)]
enum Fate {
    Hopeless,
    FailsTwice,
    Succeeds,
}

fn fate(number: u32) -> Fate {
    match number % 10 {
        0 => Fate::Hopeless,
        1 | 2 => Fate::FailsTwice,
        _ => Fate::Succeeds,
    }
}

/// What all replicas share.
struct Upstream {
    down: AtomicBool,
    runs: AtomicU32,
}

async fn render(ctx: Context<Arc<Upstream>>, number: u32) -> Result<u32, McpError> {
    let upstream = ctx.state();
    upstream.runs.fetch_add(1, Ordering::SeqCst);
    let fails = match fate(number) {
        Fate::Hopeless => upstream.down.load(Ordering::SeqCst),
        Fate::FailsTwice => ctx.attempt() <= 2,
        Fate::Succeeds => false,
    };
    match fails {
        true => Err(McpError::temporary("UPSTREAM_DOWN")
            .message(format!("{number}, attempt {}", ctx.attempt()))),
        false => Ok(number * 2),
    }
}

/// Every second one with a key of its own.
async fn submit(client: &Client, number: u32) -> Result<(u32, Submitted), SendError> {
    let retry = RetryConfig {
        max_retries: RETRIES,
        base_delay: Duration::from_millis(20),
        ..RetryConfig::default()
    };
    let command = client
        .submit_command("renderer", "render", number)
        .retry(retry);
    let command = match has_key(number) {
        true => command.idempotency_key(format!("render-{number}")),
        false => command,
    };
    Ok((number, command.await?))
}

fn has_key(number: u32) -> bool {
    (number / 10).is_multiple_of(2)
}

/// How many of the commands have ended well, all others being dead for the reason that is known.
async fn succeeded(commands: &[(u32, Submitted)]) -> usize {
    let ends = stream::iter(commands).map(|(number, submitted)| async move {
        match submitted.outcome::<u32>(PATIENCE).await {
            Ok(result) => {
                assert_eq!(result, number * 2);
                true
            }
            Err(error) => {
                assert_eq!(
                    (error.code().as_str(), fate(*number)),
                    ("UPSTREAM_DOWN", Fate::Hopeless)
                );
                false
            }
        }
    });
    ends.buffer_unordered(AT_ONCE)
        .filter(|ok| std::future::ready(*ok))
        .count()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_commands_the_dead_are_redriven_until_none_is_missing() -> TestResult {
    let _shared = MACHINE.read().await;
    bounded(Duration::from_secs(120), async {
        let broker = TestBroker::start().await?;
        let upstream = Arc::new(Upstream {
            down: AtomicBool::new(true),
            runs: AtomicU32::new(0),
        });
        let mut replicas = Vec::new();
        for _ in 0..3 {
            let agent = Agent::with_state("renderer", Arc::clone(&upstream)).on("render", render);
            replicas.push(agent.start(&broker.client().await?).await?);
        }
        let client = broker.client().await?;
        let submitting = stream::iter(0..COMMANDS).map(|number| submit(&client, number));
        let commands: Vec<_> = submitting.buffer_unordered(AT_ONCE).try_collect().await?;

        assert_eq!(succeeded(&commands).await, 900);
        check_letters(&DeadLetters::new(&client)).await?;
        check_errors_of_the_slow(&client, &commands).await?;
        assert_eq!(
            upstream.runs.load(Ordering::SeqCst),
            700 + 200 * 3 + 100 * (1 + RETRIES)
        );

        upstream.down.store(false, Ordering::SeqCst);
        let everything = DeadLetterFilter::new().reason("UPSTREAM_DOWN");
        let report = DeadLetters::new(&client)
            .redrive_matching(&everything, &Edits::new())
            .await?;
        assert_eq!((report.redriven.len(), report.failed.len()), (100, 0));
        eventually("a thousand outcomes", || async {
            succeeded(&commands).await == COMMANDS as usize
        })
        .await;
        assert!(
            DeadLetters::new(&client)
                .list(&DeadLetterFilter::new())
                .await?
                .is_empty()
        );
        assert_eq!(
            upstream.runs.load(Ordering::SeqCst),
            700 + 200 * 3 + 100 * (2 + RETRIES)
        );
        Ok(())
    })
    .await
}

/// A hundred letters, each with the error of every attempt, in order.
async fn check_letters(letters: &DeadLetters) -> TestResult {
    let all = DeadLetterFilter::new().limit(10_000);
    // The outcome is written before the letter.
    eventually("a hundred dead letters", || async {
        letters.list(&all).await.unwrap().len() >= 100
    })
    .await;
    let dead = letters.list(&all).await?;
    assert_eq!(dead.len(), 100);
    for letter in dead {
        let opened = letters.show(letter.sequence).await?;
        let number: u32 = opened.parameters().unwrap().decode()?;
        let header = opened.headers().get("Mcp-Errors").unwrap().as_str();
        let errors: Vec<McpError> = serde_json::from_str(header)?;
        let messages: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
        let expected: Vec<_> = (1..=1 + RETRIES)
            .map(|attempt| format!("{number}, attempt {attempt}"))
            .collect();
        assert_eq!(
            (messages, letter.attempts),
            (expected.iter().map(String::as_str).collect(), 1 + RETRIES)
        );
        assert_eq!(
            (fate(number), letter.reason.as_str()),
            (Fate::Hopeless, "UPSTREAM_DOWN")
        );
    }
    Ok(())
}

/// What failed twice and then went well says so.
async fn check_errors_of_the_slow(client: &Client, commands: &[(u32, Submitted)]) -> TestResult {
    let slow = commands
        .iter()
        .filter(|(number, _)| fate(*number) == Fate::FailsTwice);
    let records = stream::iter(slow)
        .map(|(_, submitted)| client.outcome("renderer", "render", submitted.key()));
    let mut records = records.buffer_unordered(AT_ONCE);
    while let Some(record) = records.try_next().await? {
        let record = record.unwrap();
        assert_eq!((record.is_done(), record.errors.len()), (true, 2));
    }
    Ok(())
}
