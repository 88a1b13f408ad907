//! The messages of a workflow without an engine: what the protocol asks the server for, and nothing computed.
//!
//! A start is pulled from a work queue, the key is looked for, five compare-and-set writes follow one another, two events are
//! published with a message id, and the start is acknowledged once these are. What an engine of the same protocol reaches
//! cannot be more than this.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context, Message,
        consumer::{AckPolicy, PullConsumer, pull},
        context::PublishAckFuture,
        kv, stream,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Semaphore;

use crate::{Failed, flow::Flow};

use super::pipeline;

/// Writes of one workflow.
const WRITES: u64 = 5;

/// The streams of workflows, with the settings of ours and names of their own.
#[derive(Clone)]
pub(crate) struct Chains {
    jetstream: Context,
    starts: PullConsumer,
    records: kv::Store,
    next: Arc<AtomicU64>,
}

impl Chains {
    pub(crate) async fn create(client: async_nats::Client) -> Result<Self, Failed> {
        let jetstream = jetstream::new(client);
        let tasks = jetstream.create_stream(stream::Config {
            name: "hand_tasks".to_owned(),
            subjects: vec!["hand.start.>".to_owned()],
            retention: stream::RetentionPolicy::WorkQueue,
            ..stream::Config::default()
        });
        let tasks = tasks.await?;
        let starts = tasks.create_consumer(pull::Config {
            durable_name: Some("hand".to_owned()),
            ack_policy: AckPolicy::Explicit,
            max_ack_pending: 10_000,
            ..pull::Config::default()
        });
        let starts = starts.await?;
        let events = jetstream.create_stream(stream::Config {
            name: "hand_events".to_owned(),
            subjects: vec!["hand.evt.>".to_owned()],
            ..stream::Config::default()
        });
        events.await?;
        let records = jetstream.create_key_value(kv::Config {
            bucket: "hand_records".to_owned(),
            history: 1,
            ..kv::Config::default()
        });
        let records = records.await?;
        Ok(Self {
            jetstream,
            starts,
            records,
            next: Arc::default(),
        })
    }

    /// Writes a second over so many workflows, of which `parallel` are worked on at once.
    pub(crate) async fn rate(
        &self,
        parallel: usize,
        size: usize,
        workflows: u64,
    ) -> Result<f64, Failed> {
        let body = Bytes::from(vec![b'x'; size]);
        self.stock(&body, workflows).await?;
        let flow = Arc::new(Flow::of(workflows * WRITES));
        let places = Arc::new(Semaphore::new(parallel));
        let mut starts = self
            .starts
            .stream()
            .max_messages_per_batch(1_000)
            .messages()
            .await?;
        for _ in 0..workflows {
            let place = Arc::clone(&places).acquire_owned().await?;
            let start = starts.next().await.ok_or("the consumer ended")??;
            let (this, body, flow) = (self.clone(), body.clone(), Arc::clone(&flow));
            tokio::spawn(async move {
                if let Err(error) = this.workflow(start, &body, &flow).await {
                    eprintln!("a workflow by hand failed: {error}");
                }
                drop(place);
            });
        }
        flow.rate().await
    }

    async fn stock(&self, body: &Bytes, workflows: u64) -> Result<(), Failed> {
        let mut left = workflows;
        let next = || {
            left = left.checked_sub(1)?;
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{id}.start"));
            Some((format!("hand.start.{id}"), headers, body.clone()))
        };
        pipeline::publish(&self.jetstream, next).await.map(drop)
    }

    async fn workflow(&self, start: Message, body: &Bytes, flow: &Flow) -> Result<(), Failed> {
        let key = start.subject.rsplit('.').next().unwrap_or("0").to_owned();
        if self.records.get(&key).await?.is_some() {
            return Err("the key of a new workflow is taken".into());
        }
        let (mut revision, mut events) = (0, Vec::new());
        for write in 1..=WRITES {
            revision = self.records.update(&key, body.clone(), revision).await?;
            flow.note();
            if write == 1 || write == WRITES {
                events.push(self.event(&key, write).await?);
            }
        }
        for stored in events {
            stored.await?;
        }
        start.ack().await
    }

    async fn event(&self, key: &str, number: u64) -> Result<PublishAckFuture, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{key}.{number}"));
        let body = Bytes::from(vec![b'x'; 256]);
        let subject = format!("hand.evt.{number}");
        let publishing = self.jetstream.publish_with_headers(subject, headers, body);
        Ok(publishing.await?)
    }
}
