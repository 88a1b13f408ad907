//! What of a worker is at work once others know of it; dropping it ends that at once.

use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    CommandHandler, Leases, LoadMeter, Shared, WorkerConfig, again::HeldBack, bulkhead::Bulkheads,
    cancellations::Cancellations, expect::expect_consumers, intake, pack::SettledPacks, slots,
};
use crate::{
    client::Client,
    denials::Listening,
    error::ReceiveError,
    message::{Namespace, Priority},
    outcome::Outcomes,
    presence::{self, Lifeline, PresenceChanges},
    telemetry,
};

/// The tasks of a worker, and how they are told to stop.
pub(super) struct Tasks {
    pub(super) shared: Arc<Shared>,
    pub(super) drain: CancellationToken,
    pub(super) idle: watch::Receiver<bool>,
    pub(super) leases: Leases,
    pub(super) stop: CancellationToken,
    pub(super) drain_requested: mpsc::Receiver<()>,
}

impl Tasks {
    /// Begins to pull; `refusals` has what the server said since before the announcement.
    pub(super) async fn begin(
        client: Client,
        config: WorkerConfig,
        handler: Arc<dyn CommandHandler>,
        load: Arc<LoadMeter>,
        lifeline: Arc<Lifeline>,
        mut refusals: Listening,
    ) -> Result<Self, ReceiveError> {
        telemetry::watch_load(&config.agent, &load);
        let stop = CancellationToken::new();
        let unless_begun = stop.clone().drop_guard();
        lifeline.follow(stop.clone());
        let bulkheads = Bulkheads::of(&*handler);
        let shared = Arc::new_cyclic(|myself| Shared {
            agent: config.agent,
            instance: config.instance,
            client: client.clone(),
            handler,
            load,
            cancellations: Cancellations::new(),
            outcomes: Outcomes::new(&client),
            bulkheads,
            held_back: HeldBack::default(),
            settled_packs: SettledPacks::default(),
            pulse: Arc::default(),
            myself: Weak::clone(myself),
            abandon: CancellationToken::new(),
        });
        let leases = Leases::keep(client, lifeline, stop.clone());
        let drain = CancellationToken::new();
        let (drain_tx, drain_requested) = mpsc::channel(1);
        let (idle_tx, idle) = watch::channel(false);
        let receiving = intake::Intake::new(
            Arc::clone(&shared),
            leases.clone(),
            slots::Slots::new(config.capacity.max(1), config.capacity_bytes.max(1)),
            drain.clone(),
            drain_tx,
        )
        .await?;
        tokio::spawn(receiving.run(idle_tx));
        // From here on dropping it ends what has begun.
        unless_begun.disarm();
        let tasks = Self {
            shared,
            drain,
            idle,
            leases,
            stop,
            drain_requested,
        };
        let changes_subject = format!("{}.presence.>", tasks.shared.client.namespace());
        let changes = PresenceChanges::listen(&tasks.shared.client).await;
        let changes = changes.map_err(|error| ReceiveError::Subscribe {
            subject: changes_subject,
            reason: error.to_string(),
        })?;
        tokio::spawn(presence::observe(
            tasks.shared.client.clone(),
            changes,
            tasks.stop.clone(),
        ));
        let lanes = Priority::ALL.map(|lane| Namespace::lane_consumer(&tasks.shared.agent, lane));
        let commands = tasks.shared.client.namespace().commands_stream();
        expect_consumers(&tasks.shared.client, &commands, &lanes).await?;
        // Their answers came after what the server had to say about the subscriptions.
        if let Some(denied) = refusals.refused_subscription() {
            return Err(denied.into());
        }
        Ok(tasks)
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.drain.cancel();
        self.shared.abandon.cancel();
        self.stop.cancel();
    }
}
