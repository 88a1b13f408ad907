//! News of the videos that are being made: from the states to the handlers that follow them, within
//! one process.

use std::sync::Arc;

use mcp_agent_sdk::Progress;
use tokio::sync::broadcast;

/// Bars that wait to be passed on, of all videos together. The oldest make room for newer ones, which
/// say more.
const BARS_AHEAD: usize = 256;

/// What the states and the handlers of one director share.
#[derive(Clone)]
pub(crate) struct Director {
    news: broadcast::Sender<News>,
}

/// Progress of one video.
#[derive(Clone, Debug)]
pub(crate) struct News {
    pub(super) workflow: Arc<str>,
    pub(super) progress: Progress,
}

impl Director {
    pub(super) fn new() -> Self {
        Self {
            news: broadcast::Sender::new(BARS_AHEAD),
        }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Tells whoever listens; nobody has to.
    pub(super) fn tell(&self, workflow: &Arc<str>, progress: Progress) {
        let _ = self.news.send(News {
            workflow: Arc::clone(workflow),
            progress,
        });
    }
}
