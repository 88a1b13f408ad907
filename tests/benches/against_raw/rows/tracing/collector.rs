//! A collector that takes everything and keeps nothing: what a real one does with it is not our cost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, body::Bytes, routing::post};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::Failed;

/// Larger than any batch.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// It listens until it is dropped.
pub(super) struct Collector {
    endpoint: String,
    bytes: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Collector {
    pub(super) async fn start() -> Result<Self, Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(AtomicU64::new(0));
        let taken = Arc::clone(&bytes);
        let take = move |body: Bytes| async move {
            taken.fetch_add(body.len() as u64, Ordering::Relaxed);
        };
        let router = Router::new()
            .route("/v1/traces", post(take))
            .layer(axum::extract::DefaultBodyLimit::max(MOST_BYTES));
        let serving = tokio::spawn(async move {
            // It ends with the benchmark; a round without a collector is noticed by its bytes.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self {
            endpoint,
            bytes,
            serving,
        })
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What has come in so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
