//! `mcpctl agents --watch`: the table as it changes, or the changes one a line.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use mcp_agent_sdk::{AgentChange, Agents, AgentsView, Client, Gone, PresenceRecord};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::{failure::Failure, output};

use super::{now_ms, overview};

/// How often the table shows the load anew.
const REFRESH: Duration = Duration::from_secs(1);

/// Clears from the cursor's home to the end; what was there before the table stays in the terminal's history.
const HOME_AND_CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Watches until somebody ends it, or nobody reads any more.
pub(super) async fn watch(
    client: &Client,
    agent: Option<&str>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut agents = Agents::of(client).telling();
    if let Some(agent) = agent {
        agents = agents.agent(agent);
    }
    let mut view = agents.watch().await?;
    if io::stdout().is_terminal() && !as_json {
        return table(&mut view).await;
    }
    for record in view.snapshot() {
        if tell(as_json, &present(&record), "present", &record).is_err() {
            return Ok(());
        }
    }
    while let Some(change) = view.next().await {
        let (document, word, record) = match &change {
            AgentChange::Online(now) => (document("online", now), "online", now),
            AgentChange::Changed { now, .. } => (document("changed", now), "changed", now),
            AgentChange::Offline { last, gone } => {
                let mut document = document("offline", last);
                document["reason"] = reason(*gone).into();
                (document, reason(*gone), last)
            }
            _ => continue,
        };
        if tell(as_json, &document, word, record).is_err() {
            return Ok(());
        }
    }
    Err(Failure::unreachable("the connection is closed"))
}

fn present(record: &PresenceRecord) -> Value {
    document("present", record)
}

fn document(change: &str, record: &PresenceRecord) -> Value {
    json!({ "change": change, "agent": record.agent, "instance": record.instance, "record": record })
}

fn reason(gone: Gone) -> &'static str {
    match gone {
        Gone::Left => "left",
        Gone::Silent => "silent",
        _ => "filtered",
    }
}

fn tell(as_json: bool, document: &Value, word: &str, record: &PresenceRecord) -> io::Result<()> {
    match as_json {
        true => output::try_line(document.to_string()),
        false => output::try_line(format!(
            "{word:8} {} {} {} {:?}",
            record.agent, record.instance, record.version, record.state
        )),
    }
}

async fn table(view: &mut AgentsView) -> Result<(), Failure> {
    let mut refresh = interval(REFRESH);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let text = overview(&view.current(), now_ms());
        let mut out = io::stdout().lock();
        if writeln!(out, "{HOME_AND_CLEAR}{text}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return Ok(());
        }
        drop(out);
        tokio::select! {
            _ = refresh.tick() => {}
            change = view.next() => if change.is_none() {
                return Err(Failure::unreachable("the connection is closed"));
            },
        }
    }
}
