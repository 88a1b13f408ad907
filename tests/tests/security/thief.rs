//! A thief has the credentials of one agent and tries to read, forge, acknowledge, purge and eavesdrop on everything else.

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::{FutureExt, StreamExt};
use mcp_agent_sdk::{Agent, Context, McpError};
use mcp_tests::eventually;
use tokio::{sync::mpsc, time::timeout};

use crate::realm::{Realm, TestResult};

/// Far above what a refusal takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the thief listens to.
const EAVESDROPS: [&str; 16] = [
    ">",
    "mcp.>",
    "mcp.cmd.>",
    "mcp.cmd.victim.>",
    "mcp.rt.victim.*",
    "mcp.ctl.victim.*",
    "mcp.reply.>",
    "mcp.reply.boss.>",
    "_INBOX.>",
    "_INBOX_boss.>",
    "mcp.evt.victim.*",
    "mcp.dead.>",
    "$KV.mcp_outcomes.>",
    "$KV.mcp_workflows_0.>",
    "$O.mcp_payloads.>",
    "$JS.ACK.>",
];

/// What the thief publishes: to read, to forge, to acknowledge, to purge.
const PUBLISHES: [&str; 43] = [
    // Read.
    "$JS.API.CONSUMER.MSG.NEXT.mcp_commands.victim_normal",
    "$JS.API.CONSUMER.CREATE.mcp_commands.spy.mcp.cmd.victim.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.mcp_commands.spy",
    "$JS.API.CONSUMER.CREATE.mcp_events.spy",
    "$JS.API.CONSUMER.CREATE.mcp_commands.thief_normal.mcp.cmd.thief.normal.>",
    "$JS.API.CONSUMER.LIST.mcp_commands",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.mcp_commands",
    "$JS.API.STREAM.CREATE.spy",
    "$JS.API.STREAM.MSG.GET.mcp_commands",
    "$JS.API.STREAM.MSG.GET.mcp_dead_letters",
    "$JS.API.STREAM.MSG.GET.KV_mcp_outcomes",
    "$JS.API.STREAM.MSG.GET.KV_mcp_workflows_0",
    "$JS.API.STREAM.MSG.GET.OBJ_mcp_payloads",
    "$JS.API.DIRECT.GET.KV_mcp_outcomes",
    "$JS.API.DIRECT.GET.KV_mcp_outcomes.$KV.mcp_outcomes.victim.echo.00",
    "$JS.API.DIRECT.GET.KV_mcp_checkpoints_0",
    "$JS.API.DIRECT.GET.OBJ_mcp_payloads",
    "$JS.API.STREAM.SNAPSHOT.mcp_commands",
    // Forge.
    "mcp.cmd.victim.normal.echo",
    "mcp.rt.victim.echo",
    "mcp.ctl.victim.drain",
    "mcp.ctl.victim.cancel",
    "mcp.ctl.victim.breaker",
    "mcp.delay.victim.0",
    "mcp.evt.victim.made",
    "mcp.evt.workflow.completed",
    "mcp.dead.victim.echo",
    // It may answer its own callers, never somebody who calls others.
    "mcp.reply.victim.a.b",
    "_INBOX_victim.a.b",
    "mcp.presence.victim.fake",
    "$KV.mcp_agents.victim.fake",
    "$KV.mcp_outcomes.victim.echo.00",
    "$KV.mcp_definitions.video.1",
    "mcp.wf.video.0.start.forged",
    // Acknowledge.
    "$JS.ACK.mcp_commands.victim_normal.1.1.1.1.1",
    "$JS.ACK.mcp_commands.boss_normal.1.1.1.1.1",
    // Purge and break.
    "$JS.API.STREAM.PURGE.mcp_commands",
    "$JS.API.STREAM.DELETE.mcp_commands",
    "$JS.API.STREAM.UPDATE.mcp_commands",
    "$JS.API.STREAM.MSG.DELETE.mcp_commands",
    "$JS.API.CONSUMER.DELETE.mcp_commands.victim_normal",
    "$SYS.REQ.SERVER.PING",
];

async fn echo(_: Context, text: String) -> Result<String, McpError> {
    Ok(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thief_with_one_agents_credentials_gets_nothing_else() -> TestResult {
    let realm = Realm::found(&[
        &["victim"],
        &["thief"],
        &["boss", "--commands", "victim,thief"],
    ])
    .await;
    let victim = realm.client("victim").await;
    let _victim = Agent::new("victim").on("echo", echo).start(&victim).await?;
    let own = realm.client("thief").await;
    let _own = Agent::new("thief").on("echo", echo).start(&own).await?;
    let boss = realm.client("boss").await;
    let ask = |agent: &'static str, text: &'static str| {
        let boss = boss.clone();
        async move { boss.send_command::<String>(agent, "echo", text).await }
    };
    assert_eq!(ask("victim", "before").await?, "before");

    let (thief, mut said) = realm.bare("thief").await;
    let mut heard = Vec::new();
    for subject in EAVESDROPS {
        heard.push(thief.subscribe(subject).await?);
        refused(&mut said, subject).await;
    }
    for subject in PUBLISHES {
        thief.publish(subject, "{}".into()).await?;
        refused(&mut said, subject).await;
    }
    // As another replica of the victim.
    heard.push(
        thief
            .queue_subscribe("mcp.rt.victim.*", "victim".into())
            .await?,
    );
    refused(&mut said, "mcp.rt.victim.*").await;

    // Nothing of it has reached anybody, and everybody goes on, the thief's own agent too.
    assert_eq!(ask("victim", "after").await?, "after");
    assert_eq!(ask("thief", "mine").await?, "mine");
    for mut heard in heard {
        assert!(heard.next().now_or_never().flatten().is_none(), "it hears");
    }
    Ok(())
}

/// The server publishes on a client's behalf: schedules to their targets, answers to their reply subjects. It asks nobody
/// whether that client might.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_publishes_for_a_thief_is_not_obeyed() -> TestResult {
    let realm = Realm::found(&[
        &["victim"],
        &["thief"],
        &["boss", "--commands", "victim,thief"],
    ])
    .await;
    let (ran, mut runs) = mpsc::channel::<String>(16);
    let victim = realm.client("victim").await;
    let steal = move |_: Context<()>, text: String| {
        let ran = ran.clone();
        async move {
            let _ = ran.send(text.clone()).await;
            Ok::<_, McpError>(text)
        }
    };
    let victim = Agent::new("victim")
        .on("steal", steal)
        .start(&victim)
        .await?;
    let admin = realm.client("admin").await;
    let boss = realm.client("boss").await;
    let (thief, _said) = realm.bare("thief").await;
    let forged = |id: &str| {
        serde_json::json!({
            "v": 1, "kind": "command", "id": id, "source": "boss", "target": "victim", "action": "steal",
            "parameters": "forged", "created_at": 0,
        })
        .to_string()
    };
    let json = |id: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", "application/json");
        headers.insert("Nats-Msg-Id", id);
        headers
    };

    // By a schedule of its own whose target is the victim.
    let id = "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a41";
    let mut headers = json(&format!("{id}.1"));
    headers.insert("Nats-Schedule", "@at 2020-01-01T00:00:00Z");
    headers.insert("Nats-Schedule-Target", "mcp.cmd.victim.normal.steal");
    let request = async_nats::Request::new()
        .headers(headers)
        .payload(forged(id).into());
    thief.send_request("mcp.delay.thief.a", request).await?;
    // By a read of its own key, answered to the victim.
    let id = "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a42";
    let request = async_nats::Request::new()
        .headers(json(&format!("{id}.1")))
        .payload(forged(id).into());
    thief
        .send_request("$KV.mcp_outcomes.thief.a.b", request)
        .await?;
    let own_key = "$JS.API.DIRECT.GET.KV_mcp_outcomes.$KV.mcp_outcomes.thief.a.b";
    for subject in ["mcp.cmd.victim.normal.steal", "mcp.rt.victim.steal"] {
        thief
            .publish_with_reply(own_key, subject, "".into())
            .await?;
    }
    // By an answer of the server that would pass for an order to drain.
    for question in ["$JS.API.INFO", own_key] {
        thief
            .publish_with_reply(question, "mcp.ctl.victim.drain", "".into())
            .await?;
    }
    thief.flush().await?;

    // The two stored ones end among the dead letters; the schedule has come due by then.
    eventually("both forgeries are dead letters", || async {
        let stream = admin.jetstream().get_stream("mcp_dead_letters").await;
        match stream {
            Ok(stream) => stream.cached_info().state.messages == 2,
            Err(_) => false,
        }
    })
    .await;
    // Behind all of them in the queue, and answered: so the forgeries have been looked at.
    let answered: String = boss.send_command("victim", "steal", "honest").await?;
    assert_eq!(answered, "honest");
    assert_eq!(
        timeout(PATIENCE, runs.recv()).await?.as_deref(),
        Some("honest")
    );
    assert!(runs.try_recv().is_err(), "a forgery was run");
    drop(victim);
    Ok(())
}

/// Waits until the server has refused this very subject.
async fn refused(said: &mut mpsc::Receiver<String>, subject: &str) {
    let looking = async {
        while let Some(error) = said.recv().await {
            if error.to_lowercase().contains("permissions violation")
                && error.contains(&format!("\"{subject}\""))
            {
                return;
            }
        }
        panic!("the connection is closed");
    };
    let waited = timeout(PATIENCE, looking).await;
    assert!(waited.is_ok(), "{subject} was not refused");
}
