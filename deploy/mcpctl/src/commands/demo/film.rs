//! What comes of the demo: the file, and who did what.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::Duration,
};

use mcp_agent_sdk::{WorkflowRecord, runtime::PresenceRecord};
use serde::{Deserialize, Serialize};

use super::{board, tracing};
use crate::{
    failure::Failure,
    jaeger::Jaeger,
    output::{self, Table, Tone, bytes, paint},
};

/// The longest part of a file's name that comes from the theme.
const SLUG: usize = 40;

/// What director_agent answers, as far as it is shown here.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Film {
    file: PathBuf,
    duration_ms: u64,
    bytes: u64,
    #[serde(default)]
    sound: String,
    took_ms: u64,
    /// The id of the workflow that made it.
    #[serde(default)]
    pub(super) workflow: String,
    /// The states that the workflow went through.
    #[serde(default)]
    path: Vec<Stay>,
    #[serde(default)]
    steps: Vec<Credit>,
    /// Its trace, where a Jaeger has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<tracing::Link>,
    #[serde(skip)]
    trace_id: Option<String>,
}

/// A state of the workflow, and for how long.
#[derive(Debug, Serialize, Deserialize)]
struct Stay {
    state: String,
    took_ms: u64,
}

/// Who did what.
#[derive(Debug, Serialize, Deserialize)]
struct Credit {
    agent: String,
    #[serde(default)]
    instance: String,
    action: String,
    #[serde(default)]
    what: String,
    started_ms: u64,
    took_ms: u64,
}

/// Where the video goes: an absolute path that ends with `.mp4`, in a folder that exists.
pub(super) fn output_path(theme: &str, named: Option<&Path>) -> Result<PathBuf, Failure> {
    if theme.trim().is_empty() {
        return Err(Failure::usage("the theme is empty").remedy("give one such as --theme ocean"));
    }
    let path = named.map_or_else(
        || PathBuf::from(format!("short-video-{}.mp4", slug(theme))),
        Path::to_owned,
    );
    if path.extension().is_none_or(|extension| extension != "mp4") {
        return Err(Failure::usage(format!(
            "{} does not end with .mp4",
            path.display()
        )));
    }
    let path = std::path::absolute(&path)
        .map_err(|error| Failure::io("cannot find the current folder", &error))?;
    match path.parent().is_some_and(Path::is_dir) {
        true => Ok(path),
        false => Err(Failure::usage(format!(
            "the folder of {} does not exist",
            path.display()
        ))),
    }
}

/// A theme as part of a file's name.
fn slug(theme: &str) -> String {
    let lower = theme.to_lowercase();
    let words = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug: String = words
        .collect::<Vec<_>>()
        .join("-")
        .chars()
        .take(SLUG)
        .collect();
    match slug.trim_end_matches('-') {
        "" => "untitled".to_owned(),
        slug => slug.to_owned(),
    }
}

impl Film {
    /// Names the replicas as the board did.
    pub(super) fn credited_to(mut self, present: &[PresenceRecord]) -> Self {
        let names: HashMap<String, String> = board::names(present);
        for step in &mut self.steps {
            if let Some(name) = names.get(&step.instance) {
                step.agent.clone_from(name);
            }
        }
        self
    }

    /// Adds the way that its workflow has gone.
    pub(super) fn by_way_of(mut self, record: &WorkflowRecord) -> Self {
        self.trace_id = tracing::id_of(record);
        let mut since = record.created_at;
        self.path = (record.history.iter())
            .map(|change| {
                let took_ms = change.at.saturating_sub(since);
                since = change.at;
                let state = change.from.to_string();
                Stay { state, took_ms }
            })
            .collect();
        self
    }

    /// Adds the link to its trace.
    pub(super) async fn traced_by(mut self, jaeger: Option<&Jaeger>) -> Self {
        if let (Some(jaeger), Some(id)) = (jaeger, &self.trace_id) {
            self.trace = tracing::link(jaeger, id).await;
        }
        self
    }

    pub(super) fn announce(&self, theme: &str) {
        let mut table = Table::new(&["who", "did", "began after", "took"]);
        for step in &self.steps {
            let did = match step.what.is_empty() {
                true => step.action.clone(),
                false => format!("{}: {}", step.action, step.what),
            };
            let (began, took) = (seconds(step.started_ms), seconds(step.took_ms));
            table.row([
                step.agent.as_str().into(),
                did.into(),
                began.into(),
                took.into(),
            ]);
        }
        output::line(table.render());
        output::line("");
        output::line(paint(Tone::Strong, &self.file.display().to_string()));
        output::line(format!(
            "{} of `{theme}`, {}, made in {}",
            seconds(self.duration_ms),
            self.details(),
            seconds(self.took_ms)
        ));
        if !self.path.is_empty() {
            let path = self.path.iter();
            let path = path.map(|stay| format!("{} {}", stay.state, seconds(stay.took_ms)));
            let path = path.collect::<Vec<_>>().join(" → ");
            output::line(format!("Its workflow: {path} → done"));
        }
        if let Some(trace) = &self.trace {
            output::line(format!(
                "Its trace: {}, {} spans of {} services",
                paint(Tone::Strong, &trace.url),
                trace.spans,
                trace.services
            ));
        }
        output::line("");
        let mcpctl = output::program();
        let other = if theme == "ocean" { "desert" } else { "ocean" };
        output::line("Try next:");
        output::hints(&[
            (format!("{mcpctl} demo --theme {other}"), "another video"),
            (format!("{mcpctl} new greeter"), "an agent of your own"),
            (format!("{mcpctl} dev"), "a server for it"),
        ]);
        output::line(
            "  agent-sdk/examples/video-studio/src/actions.rs is what these agents say to each other",
        );
    }

    fn details(&self) -> String {
        match self.sound.as_str() {
            "" => bytes(self.bytes),
            sound => format!("{}, sound in {sound}", bytes(self.bytes)),
        }
    }
}

fn seconds(ms: u64) -> String {
    format!("{:.1} s", Duration::from_millis(ms).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn themes_become_file_names() {
        let check = |theme: &str, expected: &str| assert_eq!(slug(theme), expected);
        check("ocean", "ocean");
        check("  The sea, at night! ", "the-sea-at-night");
        check("../../etc/passwd", "etc-passwd");
        check("Überall Köln", "überall-köln");
        check("!!!", "untitled");
        assert!(slug(&"long ".repeat(40)).len() <= SLUG);
    }

    #[test]
    fn unusable_outputs_are_refused_before_anything_starts() {
        assert!(output_path(" ", None).is_err());
        assert!(output_path("sea", Some(Path::new("film.avi"))).is_err());
        assert!(output_path("sea", Some(Path::new("/no/such/folder/film.mp4"))).is_err());
        assert!(output_path("sea", None).unwrap().is_absolute());
    }
}
