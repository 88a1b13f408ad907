//! Everything that agents do, done with exactly the rights that they have: nothing may be refused.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mcp_agent_sdk::{
    Agent, Client, Config, Context, Event, McpError, Progress, Recovery, RetryConfig, SendError,
    Subscription, Workflow, WorkflowContext, WorkflowState, WorkflowStatus,
    WorkflowTransitionResult as Then, Workflows, runtime::Setup,
};
use mcp_tests::eventually;

use crate::realm::{Realm, TestResult};

type Counts = Arc<AtomicU32>;

async fn echo(ctx: Context<Counts>, text: String) -> Result<String, McpError> {
    ctx.progress(Progress::fraction(0.5)).await;
    ctx.publish("echoed", text.len()).await?;
    Ok(text)
}

/// Fails once, and asks for another instance: the runtime sends it again later, by a schedule.
async fn stumble(ctx: Context<Counts>, _: ()) -> Result<u32, McpError> {
    match ctx.state().fetch_add(1, Ordering::Relaxed) {
        0 => Err(McpError::temporary("BUSY").recovery(Recovery::RetryElsewhere)),
        before => Ok(before + 1),
    }
}

async fn never(_: Context<Counts>, _: ()) -> Result<(), McpError> {
    Err(McpError::permanent("NEVER"))
}

async fn count(ctx: Context<Counts>, _: Event<usize>) -> Result<(), McpError> {
    ctx.state().fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn ask(ctx: WorkflowContext<Counts>, text: String) -> Result<Then, McpError> {
    let answer: String = ctx.send_command("worker", "echo", text).await?;
    Ok(Then::to("pause").with(&answer))
}

async fn pause(ctx: WorkflowContext<Counts>, _: String) -> Result<Then, McpError> {
    match ctx.timed_out() {
        true => Ok(Then::to("gate")),
        false => Ok(Then::after(Duration::from_millis(50)).then("gate")),
    }
}

fn job() -> Workflow<Counts> {
    Workflow::new("job")
        .state("ask", WorkflowState::run(ask).to("pause").checkpoint())
        .state("pause", WorkflowState::run(pause).to("gate"))
        .state("gate", WorkflowState::wait_for("go").then("done"))
        .state("done", WorkflowState::end())
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_do_all_of_their_work_with_nothing_more_than_their_rights() -> TestResult {
    let realm = Realm::found(&[
        &["worker", "--payloads"],
        &[
            "boss",
            "--commands",
            "worker",
            "--subscribe",
            "worker_echoed=worker.echoed",
            "--runs",
            "job",
            "--payloads",
        ],
        &[
            "desk",
            "--client",
            "--commands",
            "worker,boss",
            "--drives",
            "job",
            "--payloads",
        ],
    ])
    .await;
    let heard = Counts::default();
    let worker = Agent::with_state("worker", Counts::default())
        .on("echo", echo)
        .on("stumble", stumble)
        .on("never", never);
    let worker = worker.start(&realm.client("worker").await).await?;
    let boss = Agent::with_state("boss", Arc::clone(&heard))
        .on_events(
            Subscription::to("worker", "echoed").named("worker_echoed"),
            count,
        )
        .workflow(job());
    let boss = boss.start(&realm.client("boss").await).await?;
    let desk = realm.client("desk").await;

    let echo = |text: String| desk.send_command::<String>("worker", "echo", text);
    assert_eq!(echo("a".to_owned()).await?, "a");
    assert_eq!(echo("b".to_owned()).realtime().await?, "b");
    // Through the object store, there and back.
    let large = "x".repeat(600 * 1024);
    assert_eq!(echo(large.clone()).idempotency_key("large").await?, large);
    assert_eq!(echo(large.clone()).idempotency_key("large").await?, large);
    let submitted = desk
        .submit_command("worker", "stumble", ())
        .retry(RetryConfig {
            max_retries: 3,
            base_delay: Duration::from_millis(50),
            ..RetryConfig::default()
        })
        .await?;
    assert_eq!(submitted.outcome::<u32>(Duration::from_secs(30)).await?, 2);
    let doomed = desk.submit_command("worker", "never", ()).await?;
    let doomed = doomed.outcome::<()>(Duration::from_secs(30)).await;
    assert!(
        matches!(doomed, Err(SendError::Answered { .. })),
        "{doomed:?}"
    );
    desk.cancel("worker", "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a41")
        .await?;
    desk.publish("opened", 1).await?;

    let workflows = Workflows::new(&desk);
    workflows
        .create_workflow("job", None, "hello")
        .id("j1")
        .await?;
    eventually("the job waits at the gate", || async {
        let job = workflows.get_workflow("j1").await;
        matches!(job, Ok(Some(job)) if job.state.as_str() == "gate")
    })
    .await;
    workflows.create_workflow_checkpoint("j1", "mine").await?;
    assert!(!workflows.list_workflow_checkpoints("j1").await?.is_empty());
    workflows.signal_workflow("j1", "go", ()).await?;
    let ended = workflows.wait_for_end("j1").await?;
    assert_eq!(ended.status, WorkflowStatus::Completed);
    eventually("the events are heard", || async {
        heard.load(Ordering::Relaxed) >= 4
    })
    .await;
    assert!(worker.drain().await && boss.drain().await);

    let log = realm.cluster.log(0);
    let refused: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("Violation"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_at_once() -> TestResult {
    let realm = Realm::found(&[&["worker"], &["desk", "--client"]]).await;
    let began = Instant::now();
    // A worker under a name that is not the identity's.
    let client = realm.client("worker").await;
    let started = Agent::new("other").on("echo", |_: Context, text: String| async move {
        Ok::<_, McpError>(text)
    });
    let error = started.start(&client).await.err().expect("it may not");
    assert!(error.to_string().contains("mcp_"), "{error}");
    // An identity whose consumers nobody has made.
    realm.auth(&["agent", "add", "late"]).await;
    realm.cluster.reload();
    let config = realm.config("late");
    let client = connected(config).await;
    let late = Agent::new("late").on("echo", |_: Context, text: String| async move {
        Ok::<_, McpError>(text)
    });
    let error = late
        .start(&client)
        .await
        .err()
        .expect("there are no consumers");
    let text = format!("{error} {:?}", error);
    assert!(text.contains("late_critical"), "{text}");
    // A client that reads what is not its own.
    let desk = realm.client("desk").await;
    let outcome = desk.outcome("worker", "echo", "key").await;
    let text = outcome.expect_err("it may not read this").to_string();
    assert!(text.contains("$KV.mcp_outcomes.worker.echo."), "{text}");
    let workflow = Workflows::new(&desk).get_workflow("j1").await;
    let text = workflow.expect_err("it may not read this").to_string();
    assert!(text.contains("mcp_tasks_0"), "{text}");
    // One who cannot hear its answers.
    let deaf = Client::connect(realm.config("desk").identity("worker")).await;
    let text = deaf.expect_err("it hears nothing").to_string();
    assert!(text.contains("mcp.reply.worker."), "{text}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    Ok(())
}

/// Connects as soon as the server has read its configuration again.
async fn connected(config: Config) -> Client {
    let config = config.setup(Setup::Assume);
    eventually("the identity is known", || {
        let config = config.clone();
        async move { Client::connect(config).await.is_ok() }
    })
    .await;
    Client::connect(config)
        .await
        .expect("it was possible a moment ago")
}
