//! Commands between agents in one process, over a real server.

use std::time::Duration;

use mcp_agent_sdk::{
    Action, Agent, Client, Context, McpError, Priority, Progress, SendError, TestBroker, code,
};
use serde::{Deserialize, Serialize};

type TestResult = Result<(), Box<dyn std::error::Error>>;

#[derive(Serialize, Deserialize)]
struct Greeting {
    name: String,
}

const GREET: Action<Greeting, String> = Action::new("greeter", "greet");

async fn greet(ctx: Context, greeting: Greeting) -> Result<String, McpError> {
    Ok(format!("hello, {} from {}", greeting.name, ctx.sender()))
}

fn greeter() -> Agent {
    Agent::new("greeter").handle(GREET, greet)
}

async fn client(broker: &TestBroker) -> Result<Client, Box<dyn std::error::Error>> {
    Ok(broker.client().await?)
}

#[tokio::test]
async fn a_command_brings_back_its_result() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = client(&broker).await?;
    let _agent = greeter().start(&client).await?;
    let greeting: String = client
        .send_command("greeter", "greet", Greeting { name: "Ada".into() })
        .await?;
    assert_eq!(greeting, "hello, Ada from test");
    let again: String = client
        .send_command("greeter", "greet", Greeting { name: "Ada".into() })
        .realtime()
        .await?;
    assert_eq!(again, greeting);
    Ok(())
}

#[tokio::test]
async fn a_command_sent_before_its_agent_runs_is_done_when_it_starts() -> TestResult {
    let broker = TestBroker::start().await?;
    let client = client(&broker).await?;
    greeter().start(&client).await?.drain().await;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .send_command::<String>("greeter", "greet", Greeting { name: "Bo".into() })
                .await
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let _agent = greeter().start(&client).await?;
    assert_eq!(waiting.await??, "hello, Bo from test");
    Ok(())
}

#[tokio::test]
async fn errors_reach_the_caller_typed() -> TestResult {
    async fn refuse(_: Context, _: ()) -> Result<(), McpError> {
        Err(McpError::temporary("GPU_BUSY")
            .message("later")
            .retry_after(Duration::from_secs(2)))
    }
    async fn panics(_: Context, _: ()) -> Result<(), McpError> {
        panic!("boom")
    }
    let broker = TestBroker::start().await?;
    let client = client(&broker).await?;
    let _agent = greeter()
        .on("refuse", refuse)
        .on("panics", panics)
        .start(&client)
        .await?;

    let error = client
        .send_command::<()>("greeter", "refuse", ())
        .await
        .unwrap_err();
    let SendError::Answered { error, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.code.as_str(), error.retry_delay),
        ("GPU_BUSY", Some(Duration::from_secs(2)))
    );

    let code_of = async |action: &str, parameters: serde_json::Value| {
        client
            .send_command::<()>("greeter", action, parameters)
            .await
            .unwrap_err()
            .to_mcp_error()
    };
    assert_eq!(
        code_of("panics", serde_json::Value::Null).await.code,
        code::HANDLER_PANICKED
    );
    let unknown = code_of("unknown", serde_json::Value::Null).await;
    assert_eq!(unknown.code, code::UNKNOWN_ACTION);
    assert_eq!(
        unknown.details["actions"],
        serde_json::json!(["greet", "refuse", "panics"])
    );
    let invalid = code_of("greet", serde_json::json!({"name": 7})).await;
    assert_eq!(
        (invalid.code.as_str(), &invalid.details["field"]),
        (code::INVALID_PARAMETERS, &"name".into())
    );
    Ok(())
}

#[tokio::test]
async fn progress_arrives_before_the_result() -> TestResult {
    async fn work(ctx: Context, steps: u32) -> Result<u32, McpError> {
        for step in 1..=steps {
            ctx.progress(Progress::fraction(f64::from(step) / f64::from(steps)).note("working"))
                .await;
        }
        Ok(steps)
    }
    let broker = TestBroker::start().await?;
    let client = client(&broker).await?;
    let _agent = Agent::new("worker").on("work", work).start(&client).await?;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let observer = std::sync::Arc::clone(&seen);
    let steps: u32 = client
        .send_command("worker", "work", 4)
        .on_progress(move |progress: &Progress| observer.lock().unwrap().push(progress.fraction))
        .await?;
    assert_eq!(steps, 4);
    assert_eq!(
        *seen.lock().unwrap(),
        [Some(0.25), Some(0.5), Some(0.75), Some(1.0)]
    );
    Ok(())
}

#[tokio::test]
async fn urgent_commands_go_first() -> TestResult {
    use std::sync::{Arc, Mutex};
    async fn note(ctx: Context<Mutex<Vec<Priority>>>, _: ()) -> Result<(), McpError> {
        tokio::time::sleep(Duration::from_millis(30)).await;
        ctx.state().lock().unwrap().push(ctx.priority());
        Ok(())
    }
    async fn order(ctx: Context<Mutex<Vec<Priority>>>, _: ()) -> Result<Vec<Priority>, McpError> {
        Ok(ctx.state().lock().unwrap().clone())
    }
    let broker = TestBroker::start().await?;
    let client = client(&broker).await?;
    let agent = || {
        Agent::with_state("worker", Mutex::default())
            .on("note", note)
            .on("order", order)
            .capacity(1)
    };
    agent().start(&client).await?.drain().await;
    let client = Arc::new(client);
    let sends: Vec<_> = [
        Priority::Low,
        Priority::Normal,
        Priority::High,
        Priority::Critical,
    ]
    .into_iter()
    .flat_map(|priority| std::iter::repeat_n(priority, 5))
    .map(|priority| {
        let client = Arc::clone(&client);
        tokio::spawn(async move {
            client
                .send_command::<()>("worker", "note", ())
                .priority(priority)
                .await
        })
    })
    .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _agent = agent().start(&client).await?;
    for send in sends {
        send.await??;
    }
    let order: Vec<Priority> = client.send_command("worker", "order", ()).await?;
    let mean = |priority| {
        let places: Vec<usize> = order
            .iter()
            .enumerate()
            .filter(|(_, p)| **p == priority)
            .map(|(place, _)| place)
            .collect();
        places.iter().sum::<usize>() as f64 / places.len() as f64
    };
    let means = Priority::ALL.map(mean);
    assert!(means.is_sorted(), "{means:?} {order:?}");
    Ok(())
}
