//! Rights that the server refuses, and limits of the requester's own: typed errors at once, not time-outs.

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, SendError, TestBroker, code,
    runtime::{
        PublishError,
        resilience::{AdaptConfig, LimiterConfig},
    },
};
use mcp_tests::{eventually, nats_server};
use tokio::process::{Child, Command};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A server on which the user `limited` may command only `open`.
async fn guarded_server(
    folder: &std::path::Path,
) -> Result<(Child, String), Box<dyn std::error::Error>> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let configuration = format!(
        r#"
        listen: "127.0.0.1:{port}"
        jetstream {{ store_dir: "{}" }}
        authorization {{ users = [ {{
            user: limited, password: pw
            permissions: {{ publish: {{ deny: ["mcp.cmd.secret.>", "mcp.rt.secret.>", "mcp.evt.limited.forbidden"] }} }}
        }} ] }}
        "#,
        folder.display()
    );
    let file = folder.join("server.conf");
    std::fs::write(&file, configuration)?;
    let server = Command::new(nats_server().await)
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let url = format!("nats://limited:pw@127.0.0.1:{port}");
    eventually("the server answers", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_ok()
    })
    .await;
    Ok((server, url))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denied_right_is_a_typed_error_that_names_the_subject() -> TestResult {
    let folder = tempfile::tempdir()?;
    let (_server, url) = guarded_server(folder.path()).await?;
    let client = Client::connect(Config::new(url).name("limited")).await?;
    let began = Instant::now();
    let send = || client.send_command::<()>("secret", "steal", ());
    let denied = [
        send().await.expect_err("it is denied"),
        send().realtime().await.expect_err("it is denied"),
        client
            .submit_command("secret", "steal", ())
            .await
            .expect_err("it is denied"),
    ];
    for error in denied {
        let error = error.to_mcp_error();
        assert_eq!(error.code, code::PERMISSION_DENIED);
        let subject = error.details["subject"]
            .as_str()
            .expect("a subject is a text");
        assert!(subject.contains(".secret."), "{subject}");
    }
    let event = client.publish("forbidden", 1).await;
    assert!(
        matches!(event, Err(PublishError::PermissionDenied { .. })),
        "{event:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    client.publish("allowed", 1).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_limit_is_refused_with_the_wait_as_advice() -> TestResult {
    async fn nothing(_: Context, _: ()) -> Result<(), McpError> {
        Ok(())
    }
    let broker = TestBroker::start().await?;
    let adapt = AdaptConfig {
        min_rate: 1.0,
        max_rate: Some(1.0),
        ..AdaptConfig::default()
    };
    let limiter = LimiterConfig {
        adapt,
        max_wait: Duration::from_millis(50),
        ..LimiterConfig::default()
    };
    let client = Client::connect(Config::new(broker.url()).name("test").limiter(limiter)).await?;
    let _agent = Agent::new("worker")
        .on("nothing", nothing)
        .start(&client)
        .await?;
    let mut refusal = None;
    for _ in 0..20 {
        refusal = client
            .send_command::<()>("worker", "nothing", ())
            .await
            .err()
            .or(refusal);
    }
    let refusal = refusal.expect("twenty at once are more than one a second");
    assert!(
        matches!(refusal, SendError::RateLimited { .. }),
        "{refusal}"
    );
    let error = refusal.to_mcp_error();
    assert_eq!(error.code, code::RATE_LIMITED);
    assert!(
        error
            .retry_delay
            .is_some_and(|delay| delay <= Duration::from_secs(2)),
        "{error:?}"
    );
    Ok(())
}
