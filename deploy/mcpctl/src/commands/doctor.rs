//! `mcpctl doctor`: looks at everything, and with `--repair` helps workflows that nothing else would.
//!
//! `finding` is what a check says; the other modules are the checks.

mod agents;
mod dead_letters;
mod finding;
mod identities;
mod leftovers;
mod orphans;
mod rights;
mod server;
mod servers;
mod topology;
mod workflows;

use std::{path::PathBuf, time::Duration};

use clap::Args;
use mcp_agent_sdk::runtime::Setup;
use serde_json::json;

use crate::{
    cli::Global,
    failure::Failure,
    output::{self, Tone, paint},
    streams,
};
use finding::{Finding, Level};

/// Checks server, rights, streams, consumers, dead letters, workflows and clocks.
///
/// Each line is ok, warn or fail, with the remedy. It changes nothing without --repair. The exit code is 0 when nothing failed, else 1.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// An identity of the system account, such as auth/system: checks each server of a cluster too
    #[arg(long, env = "MCP_SYSTEM_AUTH", value_name = "FOLDER")]
    system: Option<PathBuf>,
    /// The folder that `mcpctl auth` has made: looks whether the servers have what it says, with the identities in it
    #[arg(long, env = "MCP_AUTH_DIR", value_name = "FOLDER")]
    auth_dir: Option<PathBuf>,
    /// Gives abandoned workflows a new task or timer; removes checkpoints of workflows that are gone, and messages that
    /// queues keep although they are done
    #[arg(long)]
    repair: bool,
    /// Only workflows that have not changed for so long are looked at
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = humantime::parse_duration)]
    older_than: Duration,
}

pub(crate) async fn run(args: DoctorArgs, global: &Global) -> Result<(), Failure> {
    let config = global.config("mcpctl")?.setup(Setup::Assume);
    let client = match global.connect_with(config).await {
        Ok(client) => client,
        Err(failure) => return unusable(failure, &args, global).await,
    };
    let rights = rights::check(&client).await;
    if !rights.suffice {
        return conclude(&[rights.finding], global);
    }
    let mut findings = server::check(&client).await?;
    findings.push(rights.finding);
    match &args.system {
        Some(identity) => {
            findings.extend(servers::check(global.config("mcpctl")?, identity).await?)
        }
        None => findings.push(servers::unasked(client.nats().server_info().auth_required)),
    }

    let shards = streams::shards(&client).await?;
    let names = streams::names(client.namespace(), shards);
    let found = streams::infos(client.jetstream(), &names).await?;
    let missing: Vec<&str> = found
        .iter()
        .filter(|(_, info)| info.is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        findings.push(topology::settings(&client, global.topology()?).await?);
        let infos: Vec<_> = found.iter().filter_map(|(_, info)| info.as_ref()).collect();
        findings.extend(topology::replicas(&client, &infos));
        findings.extend(topology::limits(&infos));
        findings.extend(agents::check(&client).await?);
        findings.extend(orphans::check(&client, shards).await?);
        if let Some(dir) = &args.auth_dir {
            findings.extend(identities::check(&client, dir, global).await?);
        }
        findings.push(dead_letters::check(&client).await?);
        let repair = match args.repair {
            true => workflows::Repair::Do,
            false => workflows::Repair::Show,
        };
        findings.extend(workflows::check(&client, repair, args.older_than).await?);
        findings.extend(leftovers::check(&client, shards, repair).await?);
        findings.push(server::clock(&client).await?);
    } else {
        findings.push(topology::missing(&missing, names.len()));
    }
    conclude(&findings, global)
}

/// JetStream cannot be asked; the system account may still tell which servers are there.
async fn unusable(failure: Failure, args: &DoctorArgs, global: &Global) -> Result<(), Failure> {
    let Some(identity) = &args.system else {
        return Err(failure);
    };
    let Ok(mut findings) = servers::check(global.config("mcpctl")?, identity).await else {
        return Err(failure);
    };
    let (message, remedy) = failure.parts();
    let finding = Finding::fail("jetstream", message);
    findings.push(match remedy {
        Some(remedy) => finding.remedy(remedy),
        None => finding,
    });
    conclude(&findings, global)
}

fn conclude(findings: &[Finding], global: &Global) -> Result<(), Failure> {
    let failed = findings
        .iter()
        .filter(|finding| finding.level == Level::Fail)
        .count();
    let document =
        json!({ "ok": failed == 0, "server": global.server_shown(), "checks": findings });
    if !global.json {
        for finding in findings {
            output::line(in_words(finding));
        }
    }
    match failed {
        0 if global.json => output::json(&document),
        0 => {}
        1 => return Err(Failure::answered("1 check failed").document(document)),
        _ => return Err(Failure::answered(format!("{failed} checks failed")).document(document)),
    }
    Ok(())
}

fn in_words(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => paint(Tone::Good, "ok  "),
        Level::Warn => paint(Tone::Warning, "warn"),
        Level::Fail => paint(Tone::Bad, "fail"),
    };
    let line = format!(
        "{level}  {}: {}",
        paint(Tone::Strong, &finding.subject),
        finding.text
    );
    match &finding.remedy {
        Some(remedy) => format!("{line}; {remedy}"),
        None => line,
    }
}
