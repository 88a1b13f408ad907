//! Two tenants on one server: the same names, and no way to each other.

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, SendError,
    runtime::{ConnectError, Setup},
};
use mcp_tests::{Cluster, eventually};

use crate::realm::{TestResult, auth, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn tenants_never_meet() -> TestResult {
    let folder = tempfile::tempdir()?;
    for tenant in ["red", "blue"] {
        for order in [
            &["init"][..],
            &["agent", "add", "echo"],
            &["agent", "add", "boss", "--commands", "echo"],
        ] {
            succeeded(auth(&folder, "", &[order, &["--namespace", tenant]].concat()).await);
        }
    }
    let cluster = Cluster::start_secured(1, &folder.path().join("auth/server")).await;
    for tenant in ["red", "blue"] {
        succeeded(auth(&folder, &cluster.url(), &["apply", "--namespace", tenant]).await);
    }
    let connect = async |tenant: &'static str, as_if_in: &'static str, name: &'static str| {
        let place = folder
            .path()
            .join("auth/identities")
            .join(tenant)
            .join(name);
        let config = Config::new(cluster.url()).name(name).namespace(as_if_in);
        Client::connect(config.auth(place).setup(Setup::Assume)).await
    };
    let mut agents = Vec::new();
    for tenant in ["red", "blue"] {
        let client = connect(tenant, tenant, "echo").await?;
        let say = move |_: Context<()>, (): ()| async move { Ok::<_, McpError>(tenant) };
        agents.push(Agent::new("echo").on("who", say).start(&client).await?);
    }
    // Each reaches its own.
    for tenant in ["red", "blue"] {
        let boss = connect(tenant, tenant, "boss").await?;
        assert_eq!(
            boss.send_command::<String>("echo", "who", ()).await?,
            tenant
        );
    }
    // Red's boss that says it were in blue is refused, at once, by the name of the subject: when it asks for replies, or
    // where the server's word on that comes later, when it sends.
    let subject = match connect("red", "blue", "boss").await {
        Err(ConnectError::PermissionDenied { subject, .. }) => subject,
        Err(other) => panic!("{other:?}"),
        Ok(spy) => match spy.send_command::<String>("echo", "who", ()).await {
            Err(SendError::PermissionDenied { subject }) => subject,
            other => panic!("{other:?}"),
        },
    };
    assert!(subject.starts_with("blue."), "{subject}");
    // Even red's administrator, who may do everything, sees nothing of blue: its account is another.
    let admin = connect("red", "blue", "admin").await?;
    let streams = admin.jetstream().get_stream("blue_commands").await;
    assert!(streams.is_err(), "red's administrator finds blue's streams");
    let answer = admin
        .send_command::<String>("echo", "who", ())
        .realtime()
        .await;
    assert!(
        matches!(answer, Err(SendError::NobodyListens { .. })),
        "{answer:?}"
    );
    Ok(())
}

/// Events of one tenant up to its limit: the other has its own room, and the limit can be raised.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_stores_too_much_is_refused_more_and_no_other() -> TestResult {
    let folder = tempfile::tempdir()?;
    for (tenant, limit) in [("red", "1MiB"), ("blue", "64MiB")] {
        let order = ["init", "--namespace", tenant, "--max-file", limit];
        succeeded(auth(&folder, "", &order).await);
    }
    let cluster = Cluster::start_secured(1, &folder.path().join("auth/server")).await;
    let admin = async |tenant: &'static str| {
        succeeded(auth(&folder, &cluster.url(), &["apply", "--namespace", tenant]).await);
        let place = folder.path().join("auth/identities").join(tenant);
        let config = Config::new(cluster.url()).name("admin").namespace(tenant);
        Client::connect(config.auth(place.join("admin")).setup(Setup::Assume)).await
    };
    let (red, blue) = (admin("red").await?, admin("blue").await?);
    let body = "x".repeat(100 * 1024);
    let mut refused = None;
    for _ in 0..20 {
        blue.publish("said", &body).await?;
        if refused.is_none() {
            refused = red.publish("said", &body).await.err();
        }
    }
    let refused = refused.ok_or("2 MiB were taken")?.to_string();
    assert!(refused.contains("exceeded"), "{refused}");

    let order = ["init", "--namespace", "red", "--max-file", "64MiB"];
    succeeded(auth(&folder, "", &order).await);
    cluster.reload();
    eventually("there is room again", || async {
        red.publish("said", &body).await.is_ok()
    })
    .await;
    Ok(())
}
