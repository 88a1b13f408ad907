//! Whether the servers have what the folder of `mcpctl auth` says: each identity's rights on each server, and its consumers.
//!
//! A server tells a connection its own rights and nobody else's. So this connects as each identity whose files are here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use mcp_agent_sdk::{Client, Config, runtime::ConnectError};
use serde_json::Value;

use super::{finding::Finding, rights};
use crate::{
    cli::Global,
    commands::auth::{Expected, expected},
    failure::Failure,
    streams,
};

/// Identities that are named in one finding; the rest is only counted.
const NAMED: usize = 8;

/// One finding about rights, and those about consumers.
pub(super) async fn check(
    client: &Client,
    dir: &Path,
    global: &Global,
) -> Result<Vec<Finding>, Failure> {
    let identities = expected(dir, client.namespace())?;
    let mut findings = vec![servers(&identities, global).await?];
    findings.extend(consumers(client, &identities).await?);
    Ok(findings)
}

/// Asks each server about each identity.
async fn servers(identities: &[Expected], global: &Global) -> Result<Finding, Failure> {
    let (here, away): (Vec<_>, Vec<_>) = identities
        .iter()
        .partition(|identity| identity.folder.is_dir());
    let mut wrong = Vec::new();
    let mut servers = 0;
    'servers: for url in global.server.split(',') {
        let config = global.config("mcpctl")?.url(url);
        for identity in &here {
            match difference(&config, identity).await {
                Ok(None) => {}
                Ok(Some(difference)) => wrong.push(format!(
                    "{} {difference} at {}",
                    identity.name,
                    config.display_url()
                )),
                // Whether servers are away is for other checks.
                Err(_) => continue 'servers,
            }
        }
        servers += 1;
    }
    let mut text = match wrong.is_empty() {
        true => format!(
            "{} have the rights that auth.json says, servers asked: {servers}",
            here.len()
        ),
        false => format!("not as in auth.json: {}", few(&wrong)),
    };
    if !away.is_empty() {
        let names: Vec<String> = away.iter().map(|identity| identity.name.clone()).collect();
        text += &format!(
            "; not looked at, their folders are elsewhere: {}",
            few(&names)
        );
    }
    Ok(match wrong.is_empty() {
        true => Finding::ok("identities", text),
        false => Finding::fail("identities", text).remedy(
            "give each server the folder `server` as it is now, and tell it with `nats-server --signal reload`",
        ),
    })
}

fn few(all: &[String]) -> String {
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>();
    match all.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{}, and {more} more", named.join(", ")),
    }
}

/// What a server has otherwise than it should, about one identity.
async fn difference(config: &Config, identity: &Expected) -> Result<Option<String>, ConnectError> {
    let config = config.clone().auth(&identity.folder);
    let nats = match config.open().await {
        Ok(nats) => nats,
        Err(ConnectError::Refused { .. }) => return Ok(Some("is not known".to_owned())),
        Err(error) => return Err(error),
    };
    let user = rights::user_info(&nats).await;
    let permissions = &user["permissions"];
    let Some((publish, subscribe)) = &identity.rights else {
        let restricted = permissions["publish"]["allow"].is_array();
        return Ok(restricted.then(|| "may not do everything".to_owned()));
    };
    let (mut missing, mut surplus) = (0, 0);
    for (verb, wanted) in [("publish", publish), ("subscribe", subscribe)] {
        let found = subjects(&permissions[verb]["allow"]);
        missing += wanted.difference(&found).count();
        surplus += found.difference(wanted).count();
    }
    Ok((missing + surplus > 0)
        .then(|| format!("has {missing} rights too few and {surplus} too many")))
}

fn subjects(allowed: &Value) -> BTreeSet<String> {
    let allowed = allowed.as_array().into_iter().flatten();
    allowed
        .filter_map(|subject| Some(subject.as_str()?.to_owned()))
        .collect()
}

/// Consumers that somebody needs and nobody has made, and those of nobody.
async fn consumers(client: &Client, identities: &[Expected]) -> Result<Vec<Finding>, Failure> {
    let namespace = client.namespace();
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (stream, consumer) in identities.iter().flat_map(|identity| &identity.consumers) {
        wanted.entry(stream).or_default().insert(consumer);
    }
    let shards = streams::shards(client).await?;
    let mut all = vec![namespace.commands_stream(), namespace.events_stream()];
    all.extend((0..shards).map(|shard| namespace.tasks_stream(shard)));
    let mut findings = Vec::new();
    for stream in &all {
        let none = BTreeSet::new();
        let wanted = wanted.get(stream.as_str()).unwrap_or(&none);
        let found = streams::consumers(client, stream).await?;
        let durable = found
            .iter()
            .filter(|info| info.config.durable_name.is_some());
        let found: BTreeSet<&str> = durable.map(|info| info.name.as_str()).collect();
        findings.extend(compared(stream, wanted, &found));
    }
    Ok(findings)
}

fn compared(stream: &str, wanted: &BTreeSet<&str>, found: &BTreeSet<&str>) -> Vec<Finding> {
    let list = |names: Vec<&&str>| {
        few(&names
            .iter()
            .map(|name| (**name).to_owned())
            .collect::<Vec<_>>())
    };
    let missing: Vec<_> = wanted.difference(found).collect();
    let orphaned: Vec<_> = found.difference(wanted).collect();
    let subject = format!("consumers of {stream}");
    let mut findings = Vec::new();
    if !missing.is_empty() {
        let text = format!("missing: {}", list(missing));
        findings.push(Finding::fail(&*subject, text).remedy("make them with `mcpctl auth apply`"));
    }
    if !orphaned.is_empty() {
        let text = format!("of nobody in auth.json: {}", list(orphaned));
        findings.push(Finding::warn(&*subject, text).remedy(format!(
            "what waits for them waits for ever; remove them with `nats consumer rm {stream} NAME`"
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn consumers_that_are_missing_and_consumers_of_nobody_are_told_apart() {
        let check = |wanted: &[&'static str], found: &[&'static str], levels: &[Level]| {
            let set = |names: &[&'static str]| names.iter().copied().collect::<BTreeSet<_>>();
            let findings = compared("s", &set(wanted), &set(found));
            let found: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
            assert_eq!(found, levels);
        };
        check(&["a"], &["a"], &[]);
        check(&["a", "b"], &["a"], &[Level::Fail]);
        check(&["a"], &["a", "b"], &[Level::Warn]);
        check(&["a"], &["b"], &[Level::Fail, Level::Warn]);
    }
}
