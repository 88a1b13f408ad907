//! `mcpctl breakers --watch`: a line for each breaker that changes its state.

use std::{collections::BTreeMap, time::Duration};

use mcp_agent_sdk::runtime::{BreakerStatus, PresenceRecord, resilience::BreakerState};
use serde_json::{Value, json};

use super::{documents, state_in_words};
use crate::{
    cli::Global,
    commands::agents::now_ms,
    failure::Failure,
    output::{age, paint, try_line, utc},
    presence,
};

/// Between two looks: agents publish a change at once.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Agent, instance, target and action: whose breaker it is, and for what.
type Whose = [String; 4];

/// What was last seen of each breaker: its state, and whether an operator holds it open.
type Seen = BTreeMap<Whose, (BreakerState, bool)>;

/// Runs until nobody reads any more, or Ctrl-C.
pub(super) async fn watch(agent: Option<&str>, global: &Global) -> Result<(), Failure> {
    let client = global.connect().await.map_err(Failure::in_one_line)?;
    let mut seen = Seen::new();
    loop {
        let records = presence::records(&client).await;
        let mut records = records.map_err(Failure::in_one_line)?;
        records.retain(|record| agent.is_none_or(|agent| record.agent == agent));
        for change in changes(&mut seen, &records) {
            let text = match global.json {
                true => change.to_string(),
                false => in_words(&change),
            };
            if try_line(text).is_err() {
                // Whoever has stopped reading has what they wanted.
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The breakers that are new, changed, or no longer told of, as documents; `seen` is brought up to date.
fn changes(seen: &mut Seen, records: &[PresenceRecord]) -> Vec<Value> {
    let mut before = std::mem::take(seen);
    let mut changes = Vec::new();
    for document in documents(records) {
        let Ok(status) = serde_json::from_value::<BreakerStatus>(document.clone()) else {
            continue;
        };
        let whose = whose(&document);
        let now = (status.state, status.forced);
        let is_news = before.remove(&whose) != Some(now);
        seen.insert(whose, now);
        if is_news {
            changes.push(with_time(document));
        }
    }
    // A closed one without calls of late is not told of: that is no news.
    let open = |(state, _): &(BreakerState, bool)| *state != BreakerState::Closed;
    for ([agent, instance, target, action], _) in before.iter().filter(|(_, now)| open(now)) {
        changes.push(with_time(json!({
            "agent": agent, "instance": instance, "target": target,
            "action": (!action.is_empty()).then_some(action), "state": "gone",
        })));
    }
    changes
}

fn whose(document: &Value) -> Whose {
    ["agent", "instance", "target", "action"]
        .map(|field| document[field].as_str().unwrap_or_default().to_owned())
}

fn with_time(mut document: Value) -> Value {
    document["at"] = now_ms().into();
    document
}

fn in_words(change: &Value) -> String {
    let [agent, instance, target, action] = whose(change);
    let whom = match action.as_str() {
        "" => target,
        action => format!("{target}.{action}"),
    };
    let at = utc(change["at"].as_u64().unwrap_or_default());
    let whose = format!("{at}  {agent} ({instance}) -> {whom}");
    let Ok(status) = serde_json::from_value::<BreakerStatus>(change.clone()) else {
        return format!("{whose}: no longer told of");
    };
    let left = status.open_ms_left.map(Duration::from_millis);
    let left = left.map(|left| format!(" for {}", age(left)));
    let (tone, state) = state_in_words(&status);
    format!(
        "{whose}: {}{}, {} of {} calls failed",
        paint(tone, state),
        left.unwrap_or_default(),
        status.failures,
        status.calls
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(breakers: &Value) -> Vec<PresenceRecord> {
        let record = json!({
            "agent": "director", "instance": "d1", "state": "ready", "breakers": breakers,
        });
        vec![serde_json::from_value(record).unwrap()]
    }

    #[test]
    fn only_what_changes_is_told() {
        let mut seen = Seen::new();
        let breaker = |state: &str| json!([{ "target": "renderer", "state": state, "calls": 9, "failures": 5 }]);
        let mut told = |breakers: Value| {
            let changes = changes(&mut seen, &records(&breakers));
            let states = changes.iter().map(|change| change["state"].clone());
            states.collect::<Vec<_>>()
        };
        assert_eq!(told(breaker("closed")), ["closed"]);
        assert!(told(breaker("closed")).is_empty());
        assert_eq!(told(breaker("open")), ["open"]);
        assert!(told(breaker("open")).is_empty());
        assert_eq!(told(json!([])), ["gone"]);
        assert_eq!(told(breaker("closed")), ["closed"]);
        assert!(told(json!([])).is_empty(), "closed and quiet");
    }

    #[test]
    fn a_line_names_both_sides_and_what_is_left() {
        let breakers = json!([
            { "target": "renderer", "action": "draw", "state": "open", "open_ms_left": 30_000, "calls": 9, "failures": 5 },
        ]);
        let changes = changes(&mut Seen::new(), &records(&breakers));
        let line = in_words(&changes[0]);
        for part in ["director (d1) -> renderer.draw: ", "open for 30s", "5 of 9"] {
            assert!(line.contains(part), "{part} is missing in: {line}");
        }
    }
}
