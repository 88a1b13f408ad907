//! Compare-and-set on keys of a bucket: what one transition of a workflow cannot do without.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::Failed;

/// Writes of one key before the next begins: as many as a workflow of the benchmark has states.
const WRITES: u64 = 5;

/// As many buckets as ours has shards.
#[derive(Clone)]
pub(crate) struct Buckets {
    stores: Arc<[kv::Store]>,
    next: Arc<AtomicU64>,
}

impl Buckets {
    pub(crate) async fn create(client: async_nats::Client, count: u16) -> Result<Self, Failed> {
        let jetstream = jetstream::new(client);
        let mut stores = Vec::new();
        for number in 0..count {
            let config = kv::Config {
                bucket: format!("raw_{count}_{number}"),
                history: 1,
                ..kv::Config::default()
            };
            stores.push(jetstream.create_key_value(config).await?);
        }
        Ok(Self {
            stores: stores.into(),
            next: Arc::default(),
        })
    }

    /// Writes a second, of bodies of this size, with so many keys worked on at once.
    pub(crate) async fn rate(
        &self,
        parallel: usize,
        size: usize,
        window: Duration,
    ) -> Result<f64, Failed> {
        let body = Bytes::from(vec![b'x'; size]);
        let from = Instant::now() + window / 4;
        let span = from..from + window;
        let mut tasks = JoinSet::new();
        for _ in 0..parallel {
            let (this, body, span) = (self.clone(), body.clone(), span.clone());
            tasks.spawn(async move {
                let mut written = 0;
                while Instant::now() < span.end {
                    written += this.key(&body, &span).await?;
                }
                Ok::<_, Failed>(written)
            });
        }
        let mut written = 0;
        while let Some(of_one) = tasks.join_next().await {
            written += of_one??;
        }
        Ok(f64::from(written) / window.as_secs_f64())
    }

    /// One key from its creation to its last write; how many of these ended in the span.
    async fn key(&self, body: &Bytes, span: &Range<Instant>) -> Result<u32, Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let store = &self.stores[number as usize % self.stores.len()];
        let key = number.to_string();
        let (mut revision, mut counted) = (0, 0);
        for _ in 0..WRITES {
            revision = store.update(&key, body.clone(), revision).await?;
            counted += u32::from(span.contains(&Instant::now()));
        }
        Ok(counted)
    }
}
