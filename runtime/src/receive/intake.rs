//! The task that owns an agent's intake: what is asked for, what is here, what runs.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    error::ReceiveError,
    message::{McpError, Namespace, Priority, code},
    resilience::LaneScheduler,
};

use super::{
    Shared,
    delivery::DeliveryInfo,
    inbound::Inbound,
    lease::{Lease, Leases},
    plan::{LaneState, pulls},
    puller::{DRAIN_SILENCE, Puller},
    slots::{Slot, Slots},
};

/// How long a lower lane's command waits when a higher one's is on its way.
const HIGHER_LANE_GRACE: Duration = Duration::from_millis(20);

/// The advice to whoever sends a realtime command to a full agent that has no figures yet.
const OVERLOADED_ADVICE: Duration = Duration::from_millis(100);

pub(super) struct Intake {
    shared: Arc<Shared>,
    leases: Leases,
    pullers: [Puller; 4],
    ready: [VecDeque<(Message, Lease)>; 4],
    scheduler: LaneScheduler,
    slots: Slots,
    tasks: TaskTracker,
    realtime: Subscriber,
    control: Subscriber,
    connections: watch::Receiver<u64>,
    drain: CancellationToken,
    drain_requested: mpsc::Sender<()>,
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
        capacity: u32,
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
            slots: Slots::new(capacity),
            tasks: TaskTracker::new(),
            pullers,
            ready: Default::default(),
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
            let look_again_at = self.begin_what_is_ready();
            // After the beginning: what has left the queue here makes room for a question.
            self.ask().await;
            match self.next(look_again_at).await {
                Happening::Pulled(lane, Some(message)) => self.keep(lane, message),
                Happening::Realtime(message) => self.begin_realtime(message).await,
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
        tokio::select! {
            // In this order: the drain first, then ends before beginnings, then the lanes by their rank.
            biased;
            () = self.drain.cancelled() => Happening::Drain,
            () = self.slots.freed() => Happening::SlotFreed,
            Ok(()) = self.connections.changed() => Happening::Reconnected,
            Some(message) = self.control.next() => Happening::Control(message),
            Some(message) = self.realtime.next() => Happening::Realtime(message),
            message = critical.next() => Happening::Pulled(Priority::Critical, message),
            message = high.next() => Happening::Pulled(Priority::High, message),
            message = normal.next() => Happening::Pulled(Priority::Normal, message),
            message = low.next() => Happening::Pulled(Priority::Low, message),
            () = look_again => Happening::LookAgain,
        }
    }

    /// Asks the server for as much as there is room for.
    async fn ask(&mut self) {
        let lanes: [LaneState; 4] = std::array::from_fn(|lane| LaneState {
            outstanding: self.pullers[lane].outstanding(),
            ready: self.ready[lane].len() as u64,
            pending: self.pullers[lane].pending(),
        });
        let asks = pulls(
            lanes,
            self.slots.capacity(),
            self.slots.in_use(),
            self.shared.load.typical(),
        );
        for (puller, ask) in self.pullers.iter_mut().zip(asks) {
            if ask > 0 && puller.may_ask() {
                puller.ask(ask).await;
            }
        }
    }

    fn keep(&mut self, lane: Priority, message: Message) {
        let Some(reply) = message.reply.clone() else {
            tracing::warn!(subject = %message.subject, "a message without an acknowledgement subject is ignored");
            return;
        };
        let lease = self.leases.take(reply);
        self.ready[lane.index()].push_back((message, lease));
    }

    /// Begins as many commands as there is room for; returns when to look again if one is held back.
    fn begin_what_is_ready(&mut self) -> Option<Instant> {
        loop {
            let waiting: [bool; 4] = std::array::from_fn(|lane| !self.ready[lane].is_empty());
            let lane = self.scheduler.peek(waiting)?;
            let highest_waiting = waiting.iter().position(|waits| *waits)?;
            let higher_is_coming = self.pullers[..highest_waiting]
                .iter()
                .any(|puller| puller.expects_soon(HIGHER_LANE_GRACE));
            if higher_is_coming && !self.drain.is_cancelled() {
                return Some(Instant::now() + HIGHER_LANE_GRACE);
            }
            let slot = self.slots.try_take()?;
            self.scheduler.served(lane, waiting);
            if let Some((message, lease)) = self.ready[lane.index()].pop_front() {
                self.begin(message, Some(lease), slot);
            }
        }
    }

    fn begin(&self, message: Message, lease: Option<Lease>, slot: Slot) {
        let info = message
            .reply
            .as_ref()
            .and_then(|reply| DeliveryInfo::parse(reply));
        let inbound = Inbound::new(message, info.unwrap_or_else(DeliveryInfo::realtime), lease);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            let _running = shared.load.begin(inbound.age(&shared));
            // Boxed: it is large, and a task is moved before it is pinned.
            Box::pin(shared.process(inbound, slot)).await;
        });
    }

    async fn begin_realtime(&mut self, message: Message) {
        if let Some(slot) = self.slots.try_take() {
            return self.begin(message, None, slot);
        }
        let advice = self
            .shared
            .load
            .typical()
            .unwrap_or(OVERLOADED_ADVICE)
            .max(Duration::from_millis(10));
        let error = McpError::temporary(code::OVERLOADED)
            .message(format!(
                "all {} handlers of this instance are busy",
                self.slots.capacity()
            ))
            .retry_after(advice);
        self.refuse(message, error).await;
    }

    async fn refuse(&self, message: Message, error: McpError) {
        let inbound = Inbound::new(message, DeliveryInfo::realtime(), None);
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
        match read_control(message) {
            Some(Control::Cancel { command_id }) => self.shared.cancellations.cancel(&command_id),
            Some(Control::Drain { instance }) => {
                if instance.is_none_or(|instance| instance == self.shared.instance.as_str()) {
                    tracing::info!("asked to drain by the control verb");
                    let _ = self.drain_requested.try_send(());
                }
            }
            None => {
                tracing::warn!(subject = %message.subject, "a control message cannot be read, ignoring it")
            }
        }
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
            self.refuse(
                message,
                McpError::temporary(code::DRAINING).message("the instance is shutting down"),
            )
            .await;
        }
        self.begin_what_is_ready();
        while self.ready.iter().any(|ready| !ready.is_empty())
            && !self.shared.abandon.is_cancelled()
        {
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

enum Control {
    Cancel { command_id: String },
    Drain { instance: Option<String> },
}

fn read_control(message: &Message) -> Option<Control> {
    #[derive(Deserialize)]
    struct Cancel {
        command_id: String,
    }
    #[derive(Default, Deserialize)]
    struct Drain {
        #[serde(default)]
        instance: Option<String>,
    }
    let inbound_format = crate::message::Format::of_message(message).ok()?;
    match message.subject.rsplit('.').next()? {
        "cancel" => {
            let body: Cancel = inbound_format.decode(&message.payload).ok()?;
            Some(Control::Cancel {
                command_id: body.command_id,
            })
        }
        "drain" => {
            let body: Drain = match message.payload.is_empty() {
                true => Drain::default(),
                false => inbound_format.decode(&message.payload).ok()?,
            };
            Some(Control::Drain {
                instance: body.instance,
            })
        }
        _ => None,
    }
}
