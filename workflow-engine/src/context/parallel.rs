//! Commands side by side, each under a label.

use std::{future::IntoFuture, sync::Arc};

use futures_util::future::join_all;
use mcp_runtime::{McpError, SendCommand, code};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;

use super::WorkflowContext;
use crate::record::{CommandProgress, LabelProgress};

/// Commands that one call sends side by side, at most: the record names each of them.
const MAX_PARALLEL: usize = 256;

/// The news of a run: how far its parallel commands have come.
#[derive(Debug, Clone)]
pub(crate) struct News(Arc<watch::Sender<Vec<LabelProgress>>>);

impl Default for News {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }
}

impl News {
    pub(crate) fn follow(&self) -> watch::Receiver<Vec<LabelProgress>> {
        self.0.subscribe()
    }

    /// Labels of a second call in the same run come after those of the first.
    /// What an earlier attempt has done has its result at once.
    fn begin(&self, labels: &[String], known: &[LabelProgress]) {
        let done = |label: &String| {
            let is_done = |it: &&LabelProgress| it.progress == CommandProgress::Done;
            let mut done = known.iter().filter(is_done);
            done.find(|it| it.label == *label).cloned()
        };
        let begun = |label| done(label).unwrap_or_else(|| LabelProgress::running(label));
        self.0.send_modify(|all| {
            all.retain(|known| !labels.contains(&known.label));
            all.extend(labels.iter().map(begun));
            let surplus = all.len().saturating_sub(MAX_PARALLEL);
            all.drain(..surplus);
        });
    }

    fn ended(&self, label: &str, progress: CommandProgress) {
        self.0.send_modify(|all| {
            for known in all.iter_mut().filter(|known| known.label == label) {
                known.progress = progress;
            }
        });
    }
}

/// A command under a label, for [`WorkflowContext::join_all`].
#[must_use = "nothing is sent before it is joined"]
pub struct LabelledCommand<R> {
    label: String,
    command: SendCommand<R>,
}

impl<S> WorkflowContext<S> {
    /// A command for [`WorkflowContext::join_all`], whose idempotency key is derived from its label: it must be its own in the
    /// run.
    pub fn command<R>(
        &self,
        label: &str,
        target: &str,
        action: &str,
        parameters: impl Serialize,
    ) -> LabelledCommand<R> {
        LabelledCommand {
            label: label.to_owned(),
            command: self
                .labelled(label)
                .send_command(target, action, parameters),
        }
    }

    /// Sends commands side by side, at most 256, and waits for all of them; their results come in the order of the commands. The
    /// record shows how far each has come. When the state runs again, those that are done are not executed again: they have
    /// their results at once.
    ///
    /// # Errors
    /// The first error in the order of the commands, when all have come to their end; its details name the `label`. And PERMANENT
    /// `INVALID_PARAMETERS` for a label that is there twice, or for too many commands.
    pub async fn join_all<R: DeserializeOwned + Send + 'static>(
        &self,
        commands: impl IntoIterator<Item = LabelledCommand<R>>,
    ) -> Result<Vec<R>, McpError> {
        let commands: Vec<LabelledCommand<R>> = commands.into_iter().collect();
        let labels: Vec<String> = commands.iter().map(|it| it.label.clone()).collect();
        check(&labels)?;
        self.scope.news.begin(&labels, &self.scope.record.progress);
        let sent = commands.into_iter().map(|command| self.joined(command));
        join_all(sent).await.into_iter().collect()
    }

    async fn joined<R: DeserializeOwned + Send + 'static>(
        &self,
        LabelledCommand { label, command }: LabelledCommand<R>,
    ) -> Result<R, McpError> {
        let result = command.into_future().await;
        let progress = match &result {
            Ok(_) => CommandProgress::Done,
            Err(_) => CommandProgress::Failed,
        };
        self.scope.news.ended(&label, progress);
        result.map_err(|error| McpError::from(error).detail("label", label))
    }
}

fn check(labels: &[String]) -> Result<(), McpError> {
    let refuse = |reason: String| McpError::permanent(code::INVALID_PARAMETERS).message(reason);
    if labels.len() > MAX_PARALLEL {
        return Err(refuse(format!(
            "{} commands are more than the {MAX_PARALLEL} that can be joined",
            labels.len()
        )));
    }
    let mut sorted: Vec<&String> = labels.iter().collect();
    sorted.sort();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(refuse(format!("two commands have the label `{}`", pair[0]))),
        None => Ok(()),
    }
}
