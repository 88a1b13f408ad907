//! Compare-and-set on keys of a bucket: what one transition of a workflow cannot do without.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream::{self, kv};
use bytes::Bytes;

use crate::{Failed, load};

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
        let this = self.clone();
        let keys = move || {
            let (this, body) = (this.clone(), body.clone());
            async move { this.key(body).await }
        };
        Ok(load::closed(parallel, window, keys).await?.rate * WRITES as f64)
    }

    async fn key(&self, body: Bytes) -> Result<(), Failed> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let store = &self.stores[number as usize % self.stores.len()];
        let key = number.to_string();
        let mut revision = 0;
        for _ in 0..WRITES {
            revision = store.update(&key, body.clone(), revision).await?;
        }
        Ok(())
    }
}
