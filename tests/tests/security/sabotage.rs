//! What an identity may write, used against others: buckets emptied by a header, dead letters swallowed by their ids, orders
//! that the server delivers to whom the thief names.

use std::time::Duration;

use async_nats::{HeaderMap, Request, Subscriber};
use futures_util::StreamExt;
use mcp_agent_sdk::{Agent, Context, McpError};
use mcp_tests::{eventually, spawn_probe_with};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::realm::{Realm, TestResult};

/// Far above what a delivery takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sequences of which one is that of the command that fails.
const GUESSES: u64 = 5;

async fn answer(nats: &async_nats::Client, subject: &str, request: Request) -> Value {
    let answer = nats.send_request(subject.to_owned(), request).await;
    let answer = answer.expect("the server answers");
    serde_json::from_slice(&answer.payload).expect("in JSON")
}

fn header(name: &'static str, value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, value);
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_some_keys_of_a_bucket_cannot_empty_it() -> TestResult {
    let engine = ["thief", "--runs", "theft"];
    let realm = Realm::found(&[&["victim"], &engine, &["boss", "--commands", "victim"]]).await;
    let victim = realm.client("victim").await;
    let echo = |_: Context, text: String| async move { Ok::<_, McpError>(text) };
    let _victim = Agent::new("victim").on("echo", echo).start(&victim).await?;
    let boss = realm.client("boss").await;
    let ask = || {
        let sent = boss.send_command::<String>("victim", "echo", "first");
        sent.idempotency_key("k")
    };
    assert_eq!(ask().await?, "first");

    let (thief, _said) = realm.bare("thief").await;
    for subject in [
        "$KV.mcp_outcomes.thief.a.b",
        "$KV.mcp_workflows_0.w",
        "$KV.mcp_definitions.theft.1",
        "mcp.evt.thief.a",
        "mcp.dead.thief.a",
    ] {
        for rollup in ["all", "sub"] {
            let request = Request::new().headers(header("Nats-Rollup", rollup));
            let answer = answer(&thief, subject, request).await;
            let error = answer["error"]["description"].as_str();
            assert!(
                error.is_some_and(|error| error.contains("rollup")),
                "{subject}: {answer}"
            );
        }
    }
    let outcomes = realm.client("admin").await;
    let outcomes = outcomes.jetstream().get_stream("KV_mcp_outcomes").await?;
    assert_eq!(outcomes.cached_info().state.messages, 1);
    Ok(())
}

/// The ids of dead letters can be guessed, and the server keeps one message of each id.
async fn a_failure_is_buried_once(taken: bool) -> TestResult {
    let realm = Realm::found(&[
        &["probe", "--runs", "probe_pipeline"],
        &["thief"],
        &["desk", "--client", "--commands", "probe"],
    ])
    .await;
    let admin = realm.client("admin").await;
    if taken {
        let (thief, _said) = realm.bare("thief").await;
        for sequence in 1..=GUESSES {
            let id = format!("dead.mcp_commands.{sequence}");
            let request = Request::new().headers(header("Nats-Msg-Id", &id));
            let stored = answer(&thief, "mcp.dead.thief.a", request).await;
            assert_eq!(stored["seq"], sequence, "{stored}");
        }
    }
    let letters = || async {
        let stream = admin.jetstream().get_stream("mcp_dead_letters").await;
        let stream = stream.expect("the stream is there");
        let found = stream.info_with_subjects("mcp.dead.probe.*").await;
        let mut found = found.expect("it tells its subjects");
        let mut count = 0;
        while let Some(Ok((_, here))) = found.next().await {
            count += here;
        }
        count
    };
    let queued = || async {
        let stream = admin.jetstream().get_stream("mcp_commands").await;
        stream.map_or(1, |stream| stream.cached_info().state.messages)
    };
    let identity = realm.identity("probe");
    let identity = ("MCP_AUTH", identity.to_str().ok_or("the path is text")?);
    let url = realm.cluster.url();
    let dies = [identity, ("MCP_FAILPOINT", "receive.buried:1")];
    let _first = spawn_probe_with(&url, &["--server", &url], &dies).await;
    let desk = realm.client("desk").await;
    let doomed = json!({ "key": "k", "times": 9, "code": "NEVER", "category": "PERMANENT" });
    desk.submit_command("probe", "fail", &doomed).await?;
    eventually("it is buried", || async { letters().await == 1 }).await;
    assert_eq!(queued().await, 1, "who buried it is dead");
    let _second = spawn_probe_with(&url, &["--server", &url], &[identity]).await;
    eventually("it is settled", || async { queued().await == 0 }).await;
    assert_eq!(letters().await, 1, "it was delivered twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_is_kept_once_though_its_worker_dies() -> TestResult {
    a_failure_is_buried_once(false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_is_kept_once_though_a_thief_has_used_its_id() -> TestResult {
    a_failure_is_buried_once(true).await
}

/// Writes into the thief's own queue, and has the server deliver it to a subject of the thief's choice. Who listens there sees
/// the subject that it is stored under, which has the same last word.
async fn redirect(thief: &async_nats::Client, id: &str, body: &Value, to: &str) -> TestResult {
    let mut headers = header("Content-Type", "application/json");
    headers.insert("Nats-Msg-Id", id);
    let request = Request::new().headers(headers);
    let request = request.payload(body.to_string().into());
    let verb = to.rsplit('.').next().unwrap_or_default();
    let own = format!("mcp.cmd.thief.normal.{verb}");
    let stored = answer(thief, &own, request).await;
    assert!(stored["seq"].is_u64(), "{stored}");
    let pull = "$JS.API.CONSUMER.MSG.NEXT.mcp_commands.thief_normal";
    thief
        .publish_with_reply(pull, to.to_owned(), "".into())
        .await?;
    Ok(thief.flush().await?)
}

/// Where the command that is seen next wants its answer.
async fn reply_subject(commands: &mut Subscriber) -> Result<String, Box<dyn std::error::Error>> {
    let command = timeout(PATIENCE, commands.next()).await?;
    let body = command.ok_or("the connection is closed")?.payload;
    let begin = b"mcp.reply.";
    let at = body.windows(begin.len()).position(|part| part == begin);
    let rest = &body[at.ok_or("it wants an answer")?..];
    let length = rest.iter().take_while(|byte| byte.is_ascii_graphic());
    Ok(String::from_utf8(rest[..length.count()].to_vec())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_answers_that_a_thief_has_redirected_are_not_obeyed() -> TestResult {
    let realm = Realm::found(&[&["victim"], &["thief"], &["boss", "--commands", "victim"]]).await;
    let (begun, mut begins) = mpsc::channel::<String>(16);
    let (release, released) = watch::channel(false);
    let hold = move |ctx: Context<()>, text: String| {
        let (begun, mut released) = (begun.clone(), released.clone());
        async move {
            let _ = begun.send(ctx.message_id().to_owned()).await;
            let _ = released.wait_for(|released| *released).await;
            Ok::<_, McpError>(text)
        }
    };
    let victim = realm.client("victim").await;
    let _victim = Agent::new("victim").on("hold", hold).start(&victim).await?;
    // The administrator sees that what is redirected does arrive.
    let (admin, _) = realm.bare("admin").await;
    let mut commands = admin.subscribe("mcp.cmd.victim.>").await?;
    let mut arrives = admin.subscribe("mcp.*.victim.>").await?;
    let mut replies = admin.subscribe("mcp.reply.boss.>").await?;
    admin.flush().await?;
    let boss = realm.client("boss").await;
    let held = tokio::spawn({
        let boss = boss.clone();
        async move {
            boss.send_command::<String>("victim", "hold", "honest")
                .await
        }
    });
    let reply_to = reply_subject(&mut commands).await?;
    let id = timeout(PATIENCE, begins.recv()).await?.ok_or("it begins")?;

    let (thief, _said) = realm.bare("thief").await;
    let cancel = json!({ "command_id": id });
    let forged = json!({
        "v": 1, "kind": "command", "id": "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a43", "source": "boss", "target": "victim",
        "action": "hold", "parameters": "forged", "created_at": 0,
    });
    let lie = json!({
        "v": 1, "kind": "response", "id": "01a1a15a-1d80-7c4e-9b1a-5f0e8c2d7a44", "command_id": id, "source": "victim",
        "instance": "victim-1", "attempt": 1, "status": "ok", "result": "forged", "processing_ms": 1.0,
    });
    let history = json!({});
    let breaker = json!({ "target": "victim", "do": "open" });
    for (body, to) in [
        (&cancel, "mcp.ctl.victim.cancel"),
        (&breaker, "mcp.ctl.victim.breaker"),
        (&history, "mcp.ctl.victim.history"),
        (&json!({}), "mcp.ctl.victim.drain"),
        (&forged, "mcp.rt.victim.hold"),
    ] {
        redirect(&thief, to, body, to).await?;
        let arrived = async {
            while let Some(message) = arrives.next().await {
                if message.subject.starts_with("mcp.cmd.thief.") {
                    return;
                }
            }
        };
        let arrived = timeout(PATIENCE, arrived).await;
        arrived.unwrap_or_else(|_| panic!("{to}: nothing arrives"));
    }
    redirect(&thief, "lie", &lie, &reply_to).await?;
    let lied = timeout(PATIENCE, replies.next()).await;
    assert!(lied.is_ok(), "{reply_to}: nothing arrives");

    // The forged command would begin before one that comes after it; a drain would let nobody in.
    let after = tokio::spawn(async move {
        let sent = boss.send_command::<String>("victim", "hold", "after");
        sent.realtime().await
    });
    let next = timeout(PATIENCE, begins.recv()).await?.ok_or("it begins")?;
    assert_ne!(next, forged["id"].as_str().unwrap_or_default());
    release.send(true)?;
    assert_eq!(after.await??, "after");
    assert_eq!(held.await??, "honest", "neither cancelled nor answered");
    assert!(begins.try_recv().is_err(), "a forgery was run");
    Ok(())
}
