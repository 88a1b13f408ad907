//! Stopping deliveries while a backup is taken.
//!
//! The server holds back what the consumers would deliver; publishing goes on. The pause ends by itself, so that a backup
//! that is killed does not stop the system.

use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ask;
use crate::failure::Failure;

/// When the pause of a backup that was killed ends.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// Between two looks whether anything is still being worked on.
const LOOK: Duration = Duration::from_millis(50);
/// How long restored consumers may take to be there.
const ARRIVAL: Duration = Duration::from_secs(30);
/// Requests under way at once.
const CONCURRENCY: usize = 16;
/// Pages of a list of consumers; at the server's 1,024 names a page, a million of them.
const PAGES: usize = 1_000;

/// Deliveries that are paused. They go on after [`Pause::end`], or by themselves.
#[derive(Debug)]
pub(crate) struct Pause {
    consumers: Vec<(String, String)>,
    began: Instant,
}

#[derive(Deserialize)]
struct Names {
    total: usize,
    #[serde(default)]
    consumers: Option<Vec<String>>,
}

impl Pause {
    /// Pauses all consumers of these streams.
    pub(crate) async fn begin(jetstream: &Context, streams: &[String]) -> Result<Self, Failure> {
        let mut consumers = Vec::new();
        for stream in streams {
            let names = consumers_of(jetstream, stream).await?;
            consumers.extend(names.into_iter().map(|name| (stream.clone(), name)));
        }
        let pause = Self {
            consumers,
            began: Instant::now(),
        };
        let until = match streams.first() {
            Some(stream) => server_time(jetstream, stream).await? + LONGEST,
            None => return Ok(pause),
        };
        let until = until.format(&Rfc3339).unwrap_or_default();
        let paused = pause
            .tell_all(jetstream, &json!({ "pause_until": until }))
            .await;
        match paused {
            Ok(()) => Ok(pause),
            Err(failure) => {
                // Some may be paused already.
                let _ = pause.end(jetstream).await;
                Err(failure)
            }
        }
    }

    /// Waits until nothing is being worked on, for at most `limit`; returns how many messages still are.
    pub(crate) async fn settle(
        &self,
        jetstream: &Context,
        limit: Duration,
    ) -> Result<u64, Failure> {
        let give_up = Instant::now() + limit;
        loop {
            let in_hand = self.in_hand(jetstream).await?;
            if in_hand == 0 || Instant::now() >= give_up {
                return Ok(in_hand);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Lets deliveries go on; an error when they had gone on before.
    pub(crate) async fn end(&self, jetstream: &Context) -> Result<(), Failure> {
        self.tell_all(jetstream, &json!({})).await?;
        match self.began.elapsed() < LONGEST {
            true => Ok(()),
            false => Err(Failure::answered(format!(
                "the backup took longer than deliveries are paused ({} min), so that its parts may not fit together",
                LONGEST.as_secs() / 60
            ))
            .remedy("take it again with --no-events, or with --live when agents are stopped")),
        }
    }

    async fn in_hand(&self, jetstream: &Context) -> Result<u64, Failure> {
        let each = stream::iter(&self.consumers).map(|(stream, consumer)| async move {
            let what = format!("consumer `{consumer}` of stream `{stream}`");
            let subject = format!("CONSUMER.INFO.{stream}.{consumer}");
            let info: Value = ask(jetstream, subject, &json!({}), &what).await?;
            Ok::<u64, Failure>(info["num_ack_pending"].as_u64().unwrap_or_default())
        });
        each.buffer_unordered(CONCURRENCY)
            .try_fold(0, |sum, one| async move { Ok(sum + one) })
            .await
    }

    async fn tell_all(&self, jetstream: &Context, request: &Value) -> Result<(), Failure> {
        let wanted = request.get("pause_until").is_some();
        stream::iter(&self.consumers)
            .map(|(stream, consumer)| async move {
                let what = format!("to pause consumer `{consumer}` of stream `{stream}`");
                let subject = format!("CONSUMER.PAUSE.{stream}.{consumer}");
                let answer: Value = ask(jetstream, subject, request, &what).await?;
                match answer["paused"].as_bool().unwrap_or_default() == wanted {
                    true => Ok(()),
                    false => Err(Failure::answered(format!(
                        "the server did not agree {what}"
                    ))),
                }
            })
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }
}

/// Lets the consumers of a stream that was restored deliver: a snapshot keeps their pause.
///
/// In a cluster they come some time after their stream, and choose their leaders after that.
pub(crate) async fn resume(jetstream: &Context, stream: &str, count: usize) -> Result<(), Failure> {
    let give_up = Instant::now() + ARRIVAL;
    loop {
        let names = consumers_of(jetstream, stream).await?;
        let missing = count.saturating_sub(names.len());
        let pause = Pause {
            consumers: names
                .into_iter()
                .map(|name| (stream.to_owned(), name))
                .collect(),
            began: Instant::now(),
        };
        let resumed = match missing {
            0 => pause.end(jetstream).await,
            missing => Err(Failure::unreachable(format!(
                "{missing} consumers of stream `{stream}` have not come back"
            ))),
        };
        match resumed {
            Err(_) if Instant::now() < give_up => tokio::time::sleep(LOOK).await,
            other => return other,
        }
    }
}

async fn consumers_of(jetstream: &Context, stream: &str) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for _ in 0..PAGES {
        let request = json!({ "offset": names.len() });
        let what = format!("the consumers of stream `{stream}`");
        let subject = format!("CONSUMER.NAMES.{stream}");
        let page: Names = ask(jetstream, subject, &request, &what).await?;
        let found = page.consumers.unwrap_or_default();
        let last = found.is_empty();
        names.extend(found);
        if last || names.len() >= page.total {
            break;
        }
    }
    Ok(names)
}

/// The server compares the end of a pause with its own clock, which may differ from ours.
async fn server_time(jetstream: &Context, stream: &str) -> Result<OffsetDateTime, Failure> {
    let what = format!("stream `{stream}`");
    let info: Value = ask(
        jetstream,
        format!("STREAM.INFO.{stream}"),
        &json!({}),
        &what,
    )
    .await?;
    let stamp = info["ts"].as_str().unwrap_or_default();
    OffsetDateTime::parse(stamp, &Rfc3339)
        .map_err(|_| Failure::answered("the server does not say what time it is".to_owned()))
}
