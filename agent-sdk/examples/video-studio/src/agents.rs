//! The five agents, and what they have in common: long work off the async threads, progress while it
//! lasts, a credit for who did it, and errors that say whether trying again can help.

pub(crate) mod audio_agent;
pub(crate) mod content_agent;
pub(crate) mod director_agent;
pub(crate) mod editing_agent;
pub(crate) mod visual_agent;

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mcp_agent_sdk::{Context, McpError, Progress, Recovery, code};
use serde_json::json;
use tokio::{sync::mpsc, task};

use crate::{
    actions::{Bar, Credited, Made},
    failure::{self, MediaError},
};

/// A bar that moves ten times a second looks smooth; more would only be traffic.
const PACE: Duration = Duration::from_millis(100);

/// A piece of work that has been begun.
pub(crate) struct Begun {
    instance: String,
    at: SystemTime,
    clock: Instant,
}

/// Begins a piece of work: one line in the log, for each time that it is really done.
pub(crate) fn begin(ctx: &Context, what: &str) -> Begun {
    tracing::info!(what, "work begins");
    Begun {
        instance: ctx.instance().to_owned(),
        at: SystemTime::now(),
        clock: Instant::now(),
    }
}

impl Begun {
    /// The result, credited to whoever made it.
    pub(crate) fn credit<R>(self, result: R) -> Credited<R> {
        let made = Made {
            instance: self.instance,
            began_at: millis(self.at.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took_ms: millis(self.clock.elapsed()),
        };
        Credited { result, made }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Runs `job` on a thread for blocking work, telling the caller of its steps as progress.
///
/// Drawing and encoding take seconds without a single await; on an async thread they would hold up
/// everything else, even the lease on the command itself.
pub(crate) async fn work<T, J>(ctx: &Context, note: &str, job: J) -> Result<T, McpError>
where
    T: Send + 'static,
    J: FnOnce(failure::Step<'_>) -> Result<T, MediaError> + Send + 'static,
{
    let (sender, mut steps) = mpsc::channel(4);
    let thread = ctx.clone();
    let mut told: Option<Instant> = None;
    let job = task::spawn_blocking(move || {
        job(&mut |done, total| {
            // The caller may have gone, or the agent may be shutting down: look between two steps.
            if thread.is_cancelled() {
                return Err(MediaError::Stopped);
            }
            if done == total || told.is_none_or(|told| told.elapsed() >= PACE) {
                told = Some(Instant::now());
                // When the channel is full, the next step tells more than this one.
                let _ = sender.try_send((done, total));
            }
            Ok(())
        })
    });
    // Ends when the job drops its end of the channel.
    while let Some((done, total)) = steps.recv().await {
        tell(ctx, done, total, note).await;
    }
    job.await?.map_err(|error| to_mcp_error(&error))
}

/// Sends a progress frame with a [`Bar`] in it.
pub(crate) async fn tell(ctx: &Context, done: u32, total: u32, note: &str) {
    let bar = Bar {
        agent: ctx.agent().to_owned(),
        instance: ctx.instance().to_owned(),
        done,
        total,
        note: note.to_owned(),
    };
    let fraction = f64::from(done) / f64::from(total.max(1));
    ctx.progress(Progress::fraction(fraction).note(note).data(json!(bar)))
        .await;
}

/// PERMANENT for what stays wrong, TEMPORARY for what may be right next time.
pub(crate) fn to_mcp_error(error: &MediaError) -> McpError {
    let message = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    let path = |path: &Path| path.display().to_string();
    match error {
        MediaError::Stopped => {
            McpError::temporary(code::CANCELLED).recovery(Recovery::RetryElsewhere)
        }
        // Whoever makes the file may not be done, or the shared folder may be slow to show it.
        MediaError::Missing { path: file } => McpError::temporary("FILE_MISSING")
            .retry_after(Duration::from_secs(1))
            .detail("file", path(file)),
        MediaError::Io { path: file, .. } => {
            McpError::temporary("STORAGE_FAILED").detail("file", path(file))
        }
        MediaError::Unusable { path: file, .. } => {
            McpError::permanent("FILE_UNUSABLE").detail("file", path(file))
        }
        MediaError::Encoder { codec, .. } => {
            McpError::permanent("ENCODER_FAILED").detail("codec", *codec)
        }
    }
    .message(message)
}

/// An error for parameters that can be read but make no sense.
pub(crate) fn refuse(what: impl Into<String>) -> McpError {
    McpError::permanent(code::INVALID_PARAMETERS).message(what)
}

/// Relative paths would mean another folder in every process.
pub(crate) fn check_absolute(field: &str, path: &Path) -> Result<(), McpError> {
    match path.is_absolute() {
        true => Ok(()),
        false => Err(refuse(format!(
            "`{field}` must be an absolute path, not `{}`",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_trying_again_can_help() {
        let file = || Path::new("/films/0.scene").to_owned();
        let temporary = |error| to_mcp_error(&error).is_temporary();
        assert!(temporary(MediaError::Missing { path: file() }));
        assert!(temporary(MediaError::Stopped));
        assert!(!temporary(MediaError::unusable(&file(), "damaged")));
        assert!(!refuse("no").is_temporary());
        let missing = to_mcp_error(&MediaError::Missing { path: file() });
        assert_eq!(missing.details["file"], "/films/0.scene");
        assert!(missing.message.contains("/films/0.scene"));
    }

    #[test]
    fn relative_paths_are_refused() {
        assert!(check_absolute("workdir", Path::new("/tmp")).is_ok());
        let refused = check_absolute("workdir", Path::new("tmp")).unwrap_err();
        assert!(refused.message.contains("`workdir`"), "{refused}");
    }
}
