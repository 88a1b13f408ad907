//! Two tenants on one server: the same names, and no way to each other.

use mcp_agent_sdk::{
    Agent, Client, Config, Context, McpError, SendError,
    runtime::{ConnectError, Setup},
};
use mcp_tests::Cluster;

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
