//! The task that owns an agent's intake: what is asked for, what is here, what runs.

mod packs;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    error::ReceiveError,
    message::{Command, Format, McpError, Namespace, Priority, code},
    provenance,
    resilience::LaneScheduler,
    telemetry::{self, Ending},
};

use super::{
    Shared,
    control::{self, Control, Wanted},
    delivery::DeliveryInfo,
    inbound::Inbound,
    lease::{Lease, Leases},
    pack::is_pack,
    plan::{ByteState, LaneState, byte_budgets, pulls},
    puller::{DRAIN_SILENCE, Puller},
    room::Room,
    slots::{Held, Slot, Slots},
};
use packs::PackSize;

/// How long a lower lane's command waits when a higher one's is on its way.
const HIGHER_LANE_GRACE: Duration = Duration::from_millis(20);

/// What the server counts of a message beside headers and body: subject and acknowledgement subject.
const SUBJECTS: u64 = 4_096;

/// The advice to whoever sends a realtime command to a full agent that has no figures yet.
const OVERLOADED_ADVICE: Duration = Duration::from_millis(100);

pub(super) struct Intake {
    shared: Arc<Shared>,
    leases: Leases,
    pullers: [Puller; 4],
    ready: [VecDeque<Ready>; 4],
    pack_sizes: [PackSize; 4],
    /// Realtime commands that wait for a place.
    realtime_room: Room<(Inbound, Held)>,
    /// Whether of a realtime command and a stored one of the same lane the former is next.
    realtime_turn: bool,
    scheduler: LaneScheduler,
    slots: Slots,
    tasks: TaskTracker,
    realtime: Subscriber,
    control: Subscriber,
    connections: watch::Receiver<u64>,
    drain: CancellationToken,
    drain_requested: mpsc::Sender<()>,
}

/// A stored command that is here and has not begun.
struct Ready {
    message: Message,
    info: DeliveryInfo,
    lease: Lease,
    held: Held,
    /// What was read of it already.
    command: Option<Box<Command>>,
}

enum Happening {
    Pulled(Priority, Option<Message>),
    Realtime(Message),
    Control(Message),
    SlotFreed,
    Reconnected,
    LookAgain,
    Drain,
}

impl Intake {
    pub(super) async fn new(
        shared: Arc<Shared>,
        leases: Leases,
        slots: Slots,
        drain: CancellationToken,
        drain_requested: mpsc::Sender<()>,
    ) -> Result<Self, ReceiveError> {
        let client = &shared.client;
        let (namespace, agent) = (client.namespace(), &shared.agent);
        let stream = namespace.commands_stream();
        let puller = |lane| {
            let consumer = Namespace::lane_consumer(agent, lane);
            let stream = &stream;
            async move { Puller::new(client.clone(), stream, &consumer).await }
        };
        let [critical, high, normal, low] = Priority::ALL;
        let pullers = [
            puller(critical).await?,
            puller(high).await?,
            puller(normal).await?,
            puller(low).await?,
        ];
        let subscribe_error = |subject: String| {
            move |error: async_nats::SubscribeError| ReceiveError::Subscribe {
                subject,
                reason: error.to_string(),
            }
        };
        let realtime_subject = namespace.realtime_filter(agent);
        let realtime = client
            .nats()
            .queue_subscribe(realtime_subject.clone(), agent.to_string())
            .await
            .map_err(subscribe_error(realtime_subject))?;
        let control_subject = namespace.control(agent, "*");
        let control = client
            .nats()
            .subscribe(control_subject.clone())
            .await
            .map_err(subscribe_error(control_subject))?;
        Ok(Self {
            connections: client.connections(),
            shared,
            leases,
            realtime_room: Room::new((slots.capacity() as usize / 2).max(1)),
            realtime_turn: false,
            slots,
            tasks: TaskTracker::new(),
            pullers,
            ready: Default::default(),
            pack_sizes: Default::default(),
            scheduler: LaneScheduler::default(),
            realtime,
            control,
            drain,
            drain_requested,
        })
    }

    /// Runs until it is drained; tells through `idle` when the last command has ended.
    pub(super) async fn run(mut self, idle: watch::Sender<bool>) {
        loop {
            self.shared.pulse.beat();
            let look_again_at = self.begin_what_is_ready();
            // After the beginning: what has left the queue here makes room for a question.
            self.ask().await;
            match self.next(look_again_at).await {
                Happening::Pulled(lane, Some(message)) => self.keep(lane, message),
                Happening::Realtime(message) => self.keep_realtime(message).await,
                Happening::Control(message) => self.obey(&message),
                Happening::Reconnected => self.pullers.iter_mut().for_each(Puller::reset),
                Happening::Pulled(_, None) | Happening::SlotFreed | Happening::LookAgain => {}
                Happening::Drain => break,
            }
        }
        self.finish().await;
        idle.send_replace(true);
    }

    async fn next(&mut self, look_again_at: Option<Instant>) -> Happening {
        let look_again = async {
            match look_again_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let [critical, high, normal, low] = &mut self.pullers;
        let stored = async {
            tokio::select! {
                // The lanes by their rank.
                biased;
                message = critical.next() => Happening::Pulled(Priority::Critical, message),
                message = high.next() => Happening::Pulled(Priority::High, message),
                message = normal.next() => Happening::Pulled(Priority::Normal, message),
                message = low.next() => Happening::Pulled(Priority::Low, message),
            }
        };
        let realtime = &mut self.realtime;
        let arrival = async {
            tokio::select! {
                // By chance: a flood of the one must not keep out what is urgent of the other.
                Some(message) = realtime.next() => Happening::Realtime(message),
                pulled = stored => pulled,
            }
        };
        tokio::select! {
            // In this order: the drain first, then ends before beginnings.
            biased;
            () = self.drain.cancelled() => Happening::Drain,
            () = self.slots.freed() => Happening::SlotFreed,
            Ok(()) = self.connections.changed() => Happening::Reconnected,
            Some(message) = self.control.next() => Happening::Control(message),
            arrived = arrival => arrived,
            () = look_again => Happening::LookAgain,
        }
    }

    /// Asks the server for as much as there is room for.
    async fn ask(&mut self) {
        let lanes: [LaneState; 4] = std::array::from_fn(|lane| LaneState {
            outstanding: self.pack_sizes[lane].commands_in(self.pullers[lane].outstanding()),
            ready: self.ready[lane].len() as u64,
            pending: self.pack_sizes[lane].commands_in(self.pullers[lane].pending()),
        });
        let asks = pulls(
            lanes,
            self.slots.capacity(),
            self.slots.in_use(),
            self.shared.load.typical(),
        );
        let asks = std::array::from_fn(|lane| self.pack_sizes[lane].messages_for(asks[lane]));
        let bytes = ByteState {
            capacity: self.slots.capacity_bytes(),
            free: self.slots.free_bytes(),
            outstanding: self.pullers.iter().map(Puller::outstanding_bytes).sum(),
            largest: self.shared.client.nats().max_payload() as u64 + SUBJECTS,
        };
        let budgets = byte_budgets(asks, lanes, bytes);
        for ((puller, ask), budget) in self.pullers.iter_mut().zip(asks).zip(budgets) {
            if ask > 0 && budget > 0 && puller.may_ask() {
                puller.ask_within(ask, budget).await;
            }
        }
    }

    fn keep(&mut self, lane: Priority, message: Message) {
        let Some(reply) = message.reply.clone() else {
            tracing::warn!(subject = %message.subject, "a message without an acknowledgement subject is ignored");
            return;
        };
        let info = DeliveryInfo::parse(&reply).unwrap_or_else(DeliveryInfo::realtime);
        let lease = self.leases.take(reply);
        if is_pack(&message) {
            return self.keep_pack(lane, message, info, lease);
        }
        self.pack_sizes[lane.index()].note(1);
        let held = self.slots.hold(message.payload.len() as u64);
        self.ready[lane.index()].push_back(Ready {
            message,
            info,
            lease,
            held,
            command: None,
        });
    }

    /// Begins as many commands as there is room for; returns when to look again if one is held back.
    fn begin_what_is_ready(&mut self) -> Option<Instant> {
        loop {
            let stored = self.ready.each_ref().map(|ready| !ready.is_empty());
            let realtime = self.realtime_room.waiting();
            let waiting: [bool; 4] = std::array::from_fn(|lane| stored[lane] || realtime[lane]);
            let lane = self.scheduler.peek_urgent(waiting)?;
            let highest_waiting = waiting.iter().position(|waits| *waits)?;
            let higher_is_coming = self.pullers[..highest_waiting]
                .iter()
                .any(|puller| puller.expects_soon(HIGHER_LANE_GRACE));
            if higher_is_coming && !self.drain.is_cancelled() {
                return Some(Instant::now() + HIGHER_LANE_GRACE);
            }
            let at = lane.index();
            // Turn by turn, so that neither starves the other.
            let begun = match realtime[at] && (self.realtime_turn || !stored[at]) {
                true => self.begin_realtime(lane),
                false => self.begin_stored(lane),
            };
            begun?;
            self.scheduler.served(lane, waiting);
        }
    }

    /// Begins the first stored command of a lane, where there is a place for it.
    fn begin_stored(&mut self, lane: Priority) -> Option<()> {
        let ready = &mut self.ready[lane.index()];
        let size = body_size(&ready.front()?.message);
        let slot = self.slots.place_for(size)?;
        let next = ready.pop_front()?;
        let inbound = Inbound::new(&self.shared, next.message, next.info, Some(next.lease));
        self.begin(inbound.with_command(next.command), size, next.held, slot);
        self.realtime_turn = true;
        Some(())
    }

    /// Begins the first realtime command of a lane, where there is a place for it.
    fn begin_realtime(&mut self, lane: Priority) -> Option<()> {
        let size = body_size(&self.realtime_room.front(lane)?.0.message);
        let slot = self.slots.place_for(size)?;
        let (inbound, held) = self.realtime_room.leave(lane)?;
        self.begin(inbound, size, held, slot);
        self.realtime_turn = false;
        Some(())
    }

    fn begin(&self, inbound: Inbound, size: u64, mut held: Held, slot: Slot) {
        held.begin(size);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let _held = held;
            let waited = inbound.age(&shared);
            telemetry::queue_wait(shared.agent.as_str(), &inbound.message.subject, waited);
            let slot = slot.counts(shared.load.begin(waited));
            // Boxed: it is large, and a task is moved before it is pinned.
            let scope = inbound.processing.scope();
            scope.run(Box::pin(shared.process(inbound, slot))).await;
        });
    }

    /// Lets a realtime command into the room, from where it begins before anything else happens if there is a place.
    async fn keep_realtime(&mut self, message: Message) {
        if provenance::redirected(&message) {
            tracing::warn!(subject = %message.subject, "a message out of a stream is no realtime command, ignoring it");
            return;
        }
        let inbound = Inbound::new(&self.shared, message, DeliveryInfo::realtime(), None);
        if !self.slots.fits(body_size(&inbound.message)) {
            return self.refuse(inbound, self.overloaded()).await;
        }
        // Read twice only where it is of use.
        let lane = match self.slots.in_use() < self.slots.capacity() {
            true => Priority::default(),
            false => inbound.lane(),
        };
        let held = self.slots.hold(inbound.message.payload.len() as u64);
        if let Some((displaced, _)) = self.realtime_room.enter(lane, (inbound, held)) {
            self.refuse(displaced, self.overloaded()).await;
        }
    }

    fn overloaded(&self) -> McpError {
        let typical = self.shared.load.typical().unwrap_or(OVERLOADED_ADVICE);
        McpError::temporary(code::OVERLOADED)
            .message(format!(
                "all {} handlers of this instance are busy, and {} commands that are not less urgent wait",
                self.slots.capacity(),
                self.realtime_room.places()
            ))
            .retry_after(typical.max(Duration::from_millis(10)))
    }

    async fn refuse(&self, mut inbound: Inbound, error: McpError) {
        inbound.processing.fails(Ending::Error, &error.code);
        let (command_id, attempt, reply_to) = match inbound.decode(&self.shared) {
            Ok(command) => (command.id, command.attempt, command.reply_to),
            Err(undecodable) => (undecodable.command_id, 1, undecodable.reply_to),
        };
        let Some(reply_to) = reply_to else { return };
        let mut frame = inbound
            .answerer(&self.shared, &command_id, attempt)
            .response(Err(error));
        frame.load = Some(self.shared.load.load());
        self.shared.answer(&reply_to, inbound.format, frame).await;
    }

    fn obey(&self, message: &Message) {
        let is_meant = |instance: &Option<String>| {
            let instance = instance.as_deref();
            instance.is_none_or(|instance| instance == self.shared.instance.as_str())
        };
        match control::read(message) {
            Some(Control::Cancel { command_id }) => self.shared.cancellations.cancel(&command_id),
            Some(Control::Drain { instance }) => {
                if is_meant(&instance) {
                    tracing::info!("asked to drain by the control verb");
                    let _ = self.drain_requested.try_send(());
                }
            }
            Some(Control::Breaker(order)) if is_meant(&order.instance) => {
                if let Err(error) = order.obey(&self.shared.client) {
                    tracing::warn!(%error, "the control verb for a breaker cannot be obeyed");
                }
            }
            Some(Control::History(wanted)) if is_meant(&wanted.instance) => {
                self.tell_history(&wanted, message);
            }
            Some(Control::Breaker(_) | Control::History(_)) => {}
            None => {
                tracing::warn!(subject = %message.subject, "a control message cannot be read, ignoring it")
            }
        }
    }

    /// Nobody waits for it: an answer that cannot be sent is missed by who has asked, and by nobody else.
    fn tell_history(&self, wanted: &Wanted, message: &Message) {
        let client = self.shared.client.clone();
        let replies = format!("{}.reply.", client.namespace());
        // Nowhere else: by its reply subject a question could have this agent publish what only it may.
        let Some(reply_to) = message.reply.clone().filter(|to| to.starts_with(&replies)) else {
            return;
        };
        let answer = wanted.answer(&client, self.shared.instance.as_str());
        tokio::spawn(async move {
            if let Ok(body) = Format::Json.encode(&answer) {
                let _ = client.nats().publish(reply_to, body).await;
            }
        });
    }

    fn something_waits(&self) -> bool {
        let realtime = self.realtime_room.waiting();
        self.ready.iter().any(|ready| !ready.is_empty()) || realtime != [false; 4]
    }

    /// Takes in what the server has sent already, does it all, and asks for nothing more.
    async fn finish(&mut self) {
        // Unsubscribing alone would lose what is on its way until its lease has passed.
        for lane in Priority::ALL {
            while let Some(message) = self.pullers[lane.index()].next_after_drain().await {
                self.keep(lane, message);
            }
        }
        if self.shared.client.is_connected() {
            let _ = self.realtime.drain().await;
        }
        while let Ok(Some(message)) = timeout(DRAIN_SILENCE, self.realtime.next()).await {
            let inbound = Inbound::new(&self.shared, message, DeliveryInfo::realtime(), None);
            let error =
                McpError::temporary(code::DRAINING).message("the instance is shutting down");
            self.refuse(inbound, error).await;
        }
        self.begin_what_is_ready();
        while self.something_waits() && !self.shared.abandon.is_cancelled() {
            tokio::select! {
                () = self.slots.freed() => {}
                Some(message) = self.control.next() => self.obey(&message),
                () = self.shared.abandon.cancelled() => {}
            }
            self.begin_what_is_ready();
        }
        self.tasks.close();
        loop {
            tokio::select! {
                () = self.tasks.wait() => break,
                Some(message) = self.control.next() => self.obey(&message),
            }
        }
    }
}

/// The size of a command's body, in the message or claimed by it.
fn body_size(message: &Message) -> u64 {
    let claimed = message.headers.as_ref();
    let claimed = claimed.and_then(|headers| headers.get("Mcp-Payload-Size"));
    let claimed = claimed.and_then(|size| size.as_str().parse::<u64>().ok());
    (message.payload.len() as u64).saturating_add(claimed.unwrap_or_default())
}
