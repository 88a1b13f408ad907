//! Packs on the receiving side: from one message to commands that each go their own way, and back to one acknowledgement.
//!
//! A member has a [`Lease`] like any command; what it settles is its place in the pack, and the last one acknowledges the whole.
//! What is not settled when all its members are gone comes back with the pack. Then **every member travels on its own**:
//! whatever has killed the worker is to kill no other member, and is counted by its own deliveries.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::Message;
use futures_util::future::join_all;
use moka::sync::Cache;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    dead_letter::without_server_headers,
    message::{Command, DecodeError, Format, Priority, pack},
    provenance,
    store::{self, Outgoing},
};

use super::{
    Shared,
    delivery::{DeliveryInfo, age_before},
    lease::{Lease, Whole},
};

/// Packs whose settled members are remembered, and for how long: one that comes back does so after 10 s, or soon after
/// the server is back.
const MOST_PACKS: u64 = 4_096;
const REMEMBERED: Duration = Duration::from_secs(600);

/// How long it is tried to publish a member again; then the pack comes back.
const STORE_TIMEOUT: Duration = Duration::from_secs(20);

/// Which members of the latest packs are settled, by the packs' sequences.
pub(super) struct SettledPacks(Cache<u64, Arc<Settled>>);

/// One flag a member.
struct Settled(Box<[AtomicBool]>);

/// A pack of which something is not settled.
struct Pack {
    lease: Mutex<Option<Whole>>,
    lost: CancellationToken,
    open: AtomicUsize,
    settled: Arc<Settled>,
}

/// One place in a pack. Dropped without being settled, it lets the pack come back.
pub(super) struct Place {
    pack: Arc<Pack>,
    number: usize,
}

/// A member on its way to its handler.
pub(super) struct Member {
    pub(super) message: Message,
    pub(super) info: DeliveryInfo,
    pub(super) lease: Lease,
    /// `None` when it cannot be read, or its body is not here.
    pub(super) command: Option<Box<Command>>,
}

impl Default for SettledPacks {
    fn default() -> Self {
        let cache = Cache::builder()
            .max_capacity(MOST_PACKS)
            .time_to_live(REMEMBERED);
        Self(cache.build())
    }
}

/// Whether a message is a pack. What the server has published on somebody's behalf is none: no pack is ever delayed.
pub(super) fn is_pack(message: &Message) -> bool {
    let headers = message.headers.as_ref();
    let is_own = provenance::borrowed(message, "-").is_none();
    is_own && headers.is_some_and(|headers| headers.get(pack::PACK).is_some())
}

impl Shared {
    /// Takes a pack apart: the members that are not settled yet.
    ///
    /// # Errors
    /// When it is no pack; the lease is given back.
    pub(super) fn unpack(
        &self,
        lane: Priority,
        message: &Message,
        info: &DeliveryInfo,
        lease: Lease,
    ) -> Result<Vec<Member>, Box<(Lease, DecodeError)>> {
        let declared = message.headers.as_ref();
        let declared = declared.and_then(|headers| headers.get(pack::PACK));
        let members = match pack::decode(&message.payload, declared.map(|n| n.as_str())) {
            Ok(members) => members,
            Err(error) => return Err(Box::new((lease, error))),
        };
        let new = || Arc::new(Settled::none_of(members.len()));
        let settled = self.settled_packs.0.get_with(info.stream_sequence, new);
        // Sequences are those of one stream: only one that was made anew could have another pack there.
        let settled = match settled.0.len() == members.len() {
            true => settled,
            false => new(),
        };
        let count = members.len();
        let open: Vec<_> = members
            .into_iter()
            .enumerate()
            .filter(|(number, _)| !settled.contains(*number))
            .collect();
        let pack = Arc::new(Pack {
            lost: lease.lost().clone(),
            lease: Mutex::new(lease.whole()),
            open: AtomicUsize::new(open.len()),
            settled,
        });
        if open.is_empty() {
            // Its acknowledgement was lost.
            tokio::spawn(async move { pack.acknowledge().await });
            return Ok(Vec::new());
        }
        let member = |(number, member): (usize, pack::Packed)| {
            let format = member.headers.get("Content-Type").map(|it| it.as_str());
            let command = Format::from_content_type(format)
                .and_then(|format| Command::decode(format, &member.body))
                .ok();
            let subject = command.as_ref().map(|command| {
                let namespace = self.client.namespace();
                namespace.command(&self.agent, lane, &command.action).into()
            });
            let message = Message {
                subject: subject.unwrap_or_else(|| message.subject.clone()),
                reply: message.reply.clone(),
                length: member.body.len(),
                payload: member.body,
                headers: Some(member.headers),
                status: None,
                description: None,
            };
            Member {
                message,
                info: DeliveryInfo {
                    place: u32::try_from(number).ok(),
                    members: u32::try_from(count).ok(),
                    ..info.clone()
                },
                lease: Lease::in_pack(Place {
                    pack: Arc::clone(&pack),
                    number,
                }),
                command: command.map(Box::new),
            }
        };
        Ok(open.into_iter().map(member).collect())
    }

    /// Publishes members again, each as a message of its own, for whoever has room.
    pub(super) async fn pass_on(&self, members: Vec<(Member, Box<Command>)>) {
        tracing::debug!(members = members.len(), "passing on members of a pack");
        join_all(members.into_iter().map(|(member, command)| async move {
            let outgoing = self.on_its_own(&member, &command);
            let deadline = Instant::now() + STORE_TIMEOUT;
            match store::store(&self.client, &outgoing, deadline).await {
                Ok(_) => member.lease.acknowledge().await,
                Err(error) => {
                    tracing::warn!(%error, "a member of a pack could not be passed on, the pack comes back");
                }
            }
        }))
        .await;
    }

    fn on_its_own(&self, member: &Member, command: &Command) -> Outgoing {
        let mut headers = without_server_headers(member.message.headers.as_ref());
        headers.insert("Nats-Msg-Id", format!("{}.{}", command.id, command.attempt));
        let before = age_before(member.message.headers.as_ref());
        let age = self.client.clock().age(member.info.stored_at_ms) + before;
        headers.insert("Mcp-Age-Ms", age.as_millis().to_string());
        Outgoing {
            subject: member.message.subject.to_string(),
            headers,
            body: member.message.payload.clone(),
        }
    }
}

impl Settled {
    fn none_of(members: usize) -> Self {
        Self((0..members).map(|_| AtomicBool::new(false)).collect())
    }

    fn contains(&self, number: usize) -> bool {
        let flag = self.0.get(number);
        flag.is_some_and(|flag| flag.load(Ordering::Acquire))
    }
}

impl Pack {
    async fn acknowledge(&self) {
        let lease = self.lock().take();
        if let Some(lease) = lease {
            lease.acknowledge().await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Whole>> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    pub(super) fn lost(&self) -> &CancellationToken {
        &self.pack.lost
    }

    pub(super) fn is_held(&self) -> bool {
        self.pack.lock().as_ref().is_some_and(Whole::is_held)
    }

    /// Notes that this member is done with, one way or the other.
    pub(super) async fn settle(self) {
        if !self.is_held() {
            tracing::warn!("the lease of a pack has passed, leaving it to its new owner");
            return;
        }
        if let Some(flag) = self.pack.settled.0.get(self.number) {
            flag.store(true, Ordering::Release);
        }
        if self.pack.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.pack.acknowledge().await;
        }
    }
}
