//! Which instances run a definition, as their presence records say.

use mcp_agent_sdk::runtime::PresenceRecord;
use serde_json::{Value, json};

/// The instances that run this version of the definition.
pub(super) fn of<'a>(
    records: &'a [PresenceRecord],
    name: &'a str,
    version: &'a str,
) -> impl Iterator<Item = &'a PresenceRecord> {
    let runs = move |hosted: &Value| {
        let versions = hosted["versions"].as_array().into_iter().flatten();
        hosted["name"] == name && versions.into_iter().any(|hosted| hosted == version)
    };
    records
        .iter()
        .filter(move |record| record.definitions.iter().any(runs))
}

/// An engine as `--json` shows it.
pub(super) fn document(record: &PresenceRecord) -> Value {
    json!({ "agent": record.agent, "instance": record.instance, "state": record.state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_instances_with_the_version_count() {
        let record: PresenceRecord = serde_json::from_value(json!({
            "agent": "studio", "instance": "s1", "state": "ready",
            // The last is of a careless peer.
            "definitions": [{ "name": "film", "versions": ["1", "2"] }, { "name": "cut", "versions": ["3"] }, "film"],
        }))
        .unwrap();
        let records = [record];
        let check = |name: &str, version: &str, expected: usize| {
            assert_eq!(of(&records, name, version).count(), expected);
        };
        check("film", "2", 1);
        check("film", "3", 0);
        check("song", "1", 0);
    }
}
