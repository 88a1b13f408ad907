//! What everybody is doing, live: a bar per process on a terminal, plain lines elsewhere.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mcp_agent_sdk::{Progress, runtime::PresenceRecord};
use serde::Deserialize;

use crate::output;

/// What the studio puts into the data of each progress frame.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Step {
    pub(super) agent: String,
    pub(super) instance: String,
    done: u64,
    total: u64,
    #[serde(default)]
    note: String,
}

/// The board; shared with the observer of the progress frames.
pub(super) struct Board {
    names: HashMap<String, String>,
    drawing: Option<Drawing>,
    /// Without a terminal: what has been said already.
    told: Mutex<HashSet<String>>,
}

struct Drawing {
    all: MultiProgress,
    style: ProgressStyle,
    bars: Mutex<HashMap<String, ProgressBar>>,
}

impl Board {
    pub(super) fn new(present: &[PresenceRecord]) -> Self {
        let names = names(present);
        let drawing = output::can_draw().then(|| Drawing::new(present, &names));
        Self {
            names,
            drawing,
            told: Mutex::default(),
        }
    }

    /// Shows a progress frame; one that is not the studio's is passed over.
    pub(super) fn show(&self, progress: &Progress) {
        let data = progress.data.clone().unwrap_or_default();
        let Ok(step) = serde_json::from_value::<Step>(data) else {
            return;
        };
        match &self.drawing {
            Some(drawing) => drawing.show(&step),
            None => self.tell(&step),
        }
    }

    pub(super) fn clear(&self) {
        if let Some(drawing) = &self.drawing {
            // Only cosmetics can fail here.
            let _ = drawing.all.clear();
        }
    }

    /// One line when a piece of work is first heard of, another when one that takes longer is done.
    fn tell(&self, step: &Step) {
        let name = self.names.get(&step.instance).unwrap_or(&step.agent);
        let piece = format!("{name}: {}", step.note);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let done = format!("{piece}, done");
        if told.insert(piece.clone()) {
            output::note(&piece);
            if step.done >= step.total {
                told.insert(done);
            }
        } else if step.done >= step.total && told.insert(done.clone()) {
            output::note(&done);
        }
    }
}

impl Drawing {
    fn new(present: &[PresenceRecord], names: &HashMap<String, String>) -> Self {
        let template = match output::colours_on_stderr() {
            true => "{prefix:<18} {bar:28.cyan/blue} {percent:>3} %  {msg}",
            false => "{prefix:<18} {bar:28} {percent:>3} %  {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        let drawing = Self {
            all: MultiProgress::new(),
            style,
            bars: Mutex::default(),
        };
        let bars = present.iter().map(|record| {
            let name = names.get(&record.instance).cloned().unwrap_or_default();
            (record.instance.clone(), drawing.bar(name))
        });
        let bars = Mutex::new(bars.collect());
        Self { bars, ..drawing }
    }

    fn bar(&self, name: String) -> ProgressBar {
        let bar = self
            .all
            .add(ProgressBar::new(1))
            .with_style(self.style.clone())
            .with_message("waits");
        bar.set_prefix(name);
        bar.tick();
        bar
    }

    fn show(&self, step: &Step) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was not there at first has taken over from one that was killed.
        let bar = bars
            .entry(step.instance.clone())
            .or_insert_with(|| self.bar(step.agent.clone()));
        bar.set_length(step.total.max(1));
        bar.set_position(step.done.min(step.total));
        bar.set_message(step.note.clone());
    }
}

/// A name per instance: the agent's, with a number where there are several.
pub(super) fn names(present: &[PresenceRecord]) -> HashMap<String, String> {
    let several = |agent: &str| {
        present
            .iter()
            .filter(|record| record.agent == agent)
            .count()
            > 1
    };
    let name = |record: &PresenceRecord| match several(&record.agent) {
        true => format!("{} {}", record.agent, number(&record.instance, present)),
        false => record.agent.clone(),
    };
    present
        .iter()
        .map(|record| (record.instance.clone(), name(record)))
        .collect()
}

/// The place of an instance among those of its agent, from 1.
fn number(instance: &str, present: &[PresenceRecord]) -> usize {
    let Some(own) = present.iter().find(|record| record.instance == instance) else {
        return 0;
    };
    let same = present.iter().filter(|record| record.agent == own.agent);
    same.take_while(|record| record.instance != instance)
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_replicas_are_numbered() {
        let record = |agent: &str, instance: &str| -> PresenceRecord {
            serde_json::from_value(
                serde_json::json!({ "agent": agent, "instance": instance, "state": "ready" }),
            )
            .unwrap()
        };
        let names = names(&[record("a", "x"), record("b", "y"), record("b", "z")]);
        assert_eq!(
            (
                names["x"].as_str(),
                names["y"].as_str(),
                names["z"].as_str()
            ),
            ("a", "b 1", "b 2")
        );
    }
}
