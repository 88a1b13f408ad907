//! Publishing with a window of acknowledgements under way, and consuming in large batches.

use std::time::{Duration, Instant};

use async_nats::{
    HeaderMap,
    jetstream::{
        Context,
        consumer::{AckPolicy, pull},
        context::PublishAckFuture,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::{Failed, flow::Flow};

/// Acknowledgements under way at once. From here on a wider window brings nothing.
const WINDOW: usize = 1_024;

/// What is published: subject, headers and body.
pub(crate) type Outgoing = (String, HeaderMap, Bytes);

/// Publishes what `next` gives until it gives no more; acknowledged messages a second, from the first to the last.
pub(crate) async fn publish(
    jetstream: &Context,
    mut next: impl FnMut() -> Option<Outgoing>,
) -> Result<f64, Failed> {
    let (sent, mut acknowledgements) = mpsc::channel::<PublishAckFuture>(WINDOW);
    let awaited = tokio::spawn(async move {
        let mut count = 0_u64;
        while let Some(acknowledgement) = acknowledgements.recv().await {
            acknowledgement.await?;
            count += 1;
        }
        Ok::<_, Failed>(count)
    });
    let began = Instant::now();
    while let Some((subject, headers, body)) = next() {
        let acknowledgement = jetstream
            .publish_with_headers(subject, headers, body)
            .await?;
        if sent.send(acknowledgement).await.is_err() {
            break;
        }
    }
    drop(sent);
    let count = awaited.await??;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Consumes the `total` messages of a stream from its beginning; a second.
pub(crate) async fn consume(jetstream: &Context, stream: &str, total: u64) -> Result<f64, Failed> {
    let stream = jetstream.get_stream(stream).await?;
    let config = pull::Config {
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        inactive_threshold: Duration::from_secs(30),
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(1_000)
        .messages()
        .await?;
    let flow = Flow::of(total);
    for _ in 0..total {
        let message = messages.next().await.ok_or("the consumer ended")??;
        message.ack().await?;
        flow.note();
    }
    flow.rate().await
}
