//! Packing: commands that would wait behind each other's publish travel together.
//!
//! **Under load only.** A lane of a target has [`MOST_PUBLISHES`] publishes under way at most; while there is one left, a command
//! leaves at once, alone and without another task. The others wait for a publish to end, and whatever waits then is one
//! message. So nothing ever waits for a pack to fill.
//!
//! **Where it helps only.** A pack belongs to one instance, so it must be small work: what is packed is judged by
//! [`Appetite`], from the target's own replies. A target that has told nothing of late, or whose handlers take long, gets none, and
//! then nothing here is in the way.
//!
//! How a pack looks is in `message/pack.rs`, what a receiver does with it in `receive/pack.rs`.

mod appetite;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_nats::HeaderMap;
use futures_util::future::join_all;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    client::Client,
    message::{Format, Priority, new_message_id, pack},
    store::{self, Outgoing, StoreError, Stored},
    targets::Target,
    telemetry,
};

pub(crate) use appetite::{Appetite, SLOW_HANDLER};

/// Publishes of one lane under way at once: enough that the next pack is on its way while the server stores the last.
const MOST_PUBLISHES: usize = 4;

/// Bytes of a pack at most. More would make the members wait for the pack's own journey.
const MOST_BYTES: usize = 256 * 1024;

/// A larger body travels alone: it fills a message by itself.
const LARGEST_MEMBER: usize = 64 * 1024;

/// Commands that wait for a publish at most; what comes beyond them leaves alone.
const MOST_WAITING: usize = 16_384;

/// The commands of one lane on their way to one target.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<State>,
    /// The server does not let this client publish packs there.
    denied: AtomicBool,
}

#[derive(Default)]
struct State {
    publishes: usize,
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    outgoing: Outgoing,
    deadline: Instant,
    told: oneshot::Sender<Result<Stored, StoreError>>,
}

enum Entered {
    /// There was a publish left.
    Leaves(Outgoing),
    Waits(oneshot::Receiver<Result<Stored, StoreError>>),
}

/// Publishes a command until it is stored or the deadline has passed: alone, or with others.
pub(crate) async fn store(
    client: &Client,
    target: &Arc<Target>,
    lane: Priority,
    outgoing: Outgoing,
    deadline: Instant,
) -> Result<Stored, StoreError> {
    let line = target.line(lane).filter(|line| {
        client.packs()
            && outgoing.body.len() <= LARGEST_MEMBER
            && !line.denied.load(Ordering::Relaxed)
            && outgoing.headers.get("Mcp-Not-Instance").is_none()
            && target.appetite.limit(Instant::now()) > 1
    });
    let Some(line) = line else {
        return store::store(client, &outgoing, deadline).await;
    };
    match line.enter(outgoing, deadline) {
        Entered::Leaves(outgoing) => {
            let _publish = Publish {
                client,
                target,
                lane,
                line,
            };
            store::store(client, &outgoing, deadline).await
        }
        Entered::Waits(told) => told.await.unwrap_or_else(|_| {
            let reason = "the publish was given up".to_owned();
            Err(StoreError::Unavailable { reason })
        }),
    }
}

impl Line {
    fn enter(&self, outgoing: Outgoing, deadline: Instant) -> Entered {
        let mut state = self.lock();
        if state.publishes < MOST_PUBLISHES || state.waiting.len() >= MOST_WAITING {
            state.publishes += 1;
            return Entered::Leaves(outgoing);
        }
        let (told, result) = oneshot::channel();
        state.waiting.push_back(Waiting {
            outgoing,
            deadline,
            told,
        });
        Entered::Waits(result)
    }

    /// Gives one publish back, unless somebody waits for it.
    fn passes_on(&self) -> bool {
        let mut state = self.lock();
        let somebody_waits = !state.waiting.is_empty();
        state.publishes -= usize::from(!somebody_waits);
        somebody_waits
    }

    /// Takes what goes into the next pack; where nothing waits, gives the publish back.
    fn next_pack(&self, limit: usize, most_bytes: usize) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        let (mut members, mut bytes) = (Vec::new(), 0);
        while members.len() < limit
            && let Some(next) = state.waiting.front()
        {
            let size = pack::size_of(&next.outgoing.headers, &next.outgoing.body);
            if !members.is_empty() && bytes + size > most_bytes {
                break;
            }
            // Whoever has gone meanwhile has nothing published.
            members.extend(
                state
                    .waiting
                    .pop_front()
                    .filter(|next| !next.told.is_closed()),
            );
            bytes += size;
        }
        if members.is_empty() {
            state.publishes -= 1;
            return None;
        }
        Some(members)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete: a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One publish under way; when it ends, also by being dropped, those who wait are next.
struct Publish<'a> {
    client: &'a Client,
    target: &'a Arc<Target>,
    lane: Priority,
    line: &'a Line,
}

impl Drop for Publish<'_> {
    fn drop(&mut self) {
        if !self.line.passes_on() {
            return;
        }
        let pumping = pump(self.client.clone(), Arc::clone(self.target), self.lane);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(pumping)),
            // The runtime has gone, and with it whoever waited.
            Err(_) => self.line.lock().publishes -= 1,
        }
    }
}

/// Publishes pack after pack until nothing waits.
async fn pump(client: Client, target: Arc<Target>, lane: Priority) {
    let Some(line) = target.line(lane) else {
        return;
    };
    loop {
        let limit = target.appetite.limit(Instant::now());
        let packs = limit > 1 && !line.denied.load(Ordering::Relaxed);
        let (limit, most_bytes) = match packs {
            // Where the server takes small messages, its limit counts.
            true => (limit, MOST_BYTES.min(client.nats().max_payload() / 2)),
            false => (MOST_WAITING, usize::MAX),
        };
        let Some(members) = line.next_pack(limit, most_bytes) else {
            return;
        };
        match packs && members.len() > 1 {
            true => together(&client, &target, lane, line, members).await,
            false => apart(&client, members).await,
        }
    }
}

/// Publishes each alone, none waiting for another.
async fn apart(client: &Client, members: Vec<Waiting>) {
    join_all(members.into_iter().map(|member| async move {
        let stored = store::store(client, &member.outgoing, member.deadline).await;
        // Nobody may be waiting any more.
        let _ = member.told.send(stored);
    }))
    .await;
}

async fn together(
    client: &Client,
    target: &Target,
    lane: Priority,
    line: &Line,
    members: Vec<Waiting>,
) {
    let pack = outgoing(client, target, lane, &members);
    let deadline = members.iter().map(|member| member.deadline).max();
    let stored = store::store(client, &pack, deadline.unwrap_or_else(Instant::now)).await;
    if matches!(stored, Err(StoreError::Denied { .. })) {
        tracing::warn!(
            subject = pack.subject,
            "packs may not be published there, commands travel alone"
        );
        line.denied.store(true, Ordering::Relaxed);
        return apart(client, members).await;
    }
    telemetry::pack_of(target.name().as_str(), members.len());
    for member in members {
        let _ = member.told.send(stored.clone());
    }
}

fn outgoing(client: &Client, target: &Target, lane: Priority, members: &[Waiting]) -> Outgoing {
    let parts = members
        .iter()
        .map(|member| (&member.outgoing.headers, &member.outgoing.body));
    let size = parts
        .clone()
        .map(|(headers, body)| pack::size_of(headers, body))
        .sum();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", new_message_id());
    headers.insert("Content-Type", Format::Msgpack.content_type());
    headers.insert(pack::PACK, members.len().to_string());
    Outgoing {
        subject: client.namespace().pack(target.name(), lane),
        headers,
        body: pack::encode(parts, size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outgoing(bytes: usize) -> Outgoing {
        Outgoing {
            subject: String::new(),
            headers: HeaderMap::new(),
            body: vec![0; bytes].into(),
        }
    }

    /// Fills the publishes, then lets so many wait.
    fn waiting(line: &Line, bytes: &[usize]) -> Vec<oneshot::Receiver<Result<Stored, StoreError>>> {
        for _ in 0..MOST_PUBLISHES {
            assert!(matches!(
                line.enter(outgoing(1), Instant::now()),
                Entered::Leaves(_)
            ));
        }
        let enter = |&bytes: &usize| match line.enter(outgoing(bytes), Instant::now()) {
            Entered::Waits(told) => told,
            Entered::Leaves(_) => panic!("all publishes are taken"),
        };
        bytes.iter().map(enter).collect()
    }

    #[tokio::test]
    async fn packs_stay_within_number_and_bytes() {
        let line = Line::default();
        let _told = waiting(&line, &[10, 10, 10, 200 * 1024, 60 * 1024, 300 * 1024, 5]);
        let sizes: Vec<usize> =
            std::iter::from_fn(|| line.next_pack(3, MOST_BYTES).map(|pack| pack.len()))
                .take(9)
                .collect();
        assert_eq!(sizes, [3, 1, 1, 1, 1]);
        assert_eq!(
            line.lock().publishes,
            MOST_PUBLISHES - 1,
            "given back at the end"
        );
    }

    #[tokio::test]
    async fn whoever_has_gone_is_not_published() {
        let line = Line::default();
        let mut told = waiting(&line, &[1, 2, 3]);
        drop(told.remove(1));
        let pack = line.next_pack(64, MOST_BYTES).unwrap();
        let bodies: Vec<usize> = pack.iter().map(|it| it.outgoing.body.len()).collect();
        assert_eq!(bodies, [1, 3]);
        assert!(line.next_pack(64, MOST_BYTES).is_none());
    }

    #[tokio::test]
    async fn a_publish_that_nobody_waits_for_is_given_back() {
        let line = Line::default();
        let _told = waiting(&line, &[1]);
        assert!(line.passes_on());
        assert_eq!(line.lock().publishes, MOST_PUBLISHES);
        assert!(line.next_pack(64, MOST_BYTES).is_some());
        assert!(!line.passes_on());
        assert_eq!(line.lock().publishes, MOST_PUBLISHES - 1);
    }
}
