//! One sender: commands at random moments, in all lanes, whatever becomes of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use mcp_agent_sdk::{Client, Config, Priority, SendError};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{AGENT, Failed, WORK, code};

/// How long a caller waits, for the limiter and the reply together.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Commands under way at once; above it the sender is broken, not busy.
const MOST_UNDER_WAY: usize = 20_000;

/// What became of one command.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) lane: Priority,
    pub(super) code: Option<String>,
    pub(super) took: Duration,
    pub(super) ended: Instant,
}

pub(super) struct Sender {
    sent: Arc<Mutex<Vec<Sent>>>,
    stop: CancellationToken,
}

impl Sender {
    pub(super) async fn start(
        url: &str,
        number: usize,
        rate: f64,
        realtime: bool,
    ) -> Result<Self, Failed> {
        let client = Client::connect(Config::new(url).name(format!("sender-{number}"))).await?;
        let sent = Arc::new(Mutex::new(Vec::new()));
        let stop = CancellationToken::new();
        let offering = offer(client, number, rate, realtime, Arc::clone(&sent));
        let stopped = stop.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(offering).await });
        Ok(Self { sent, stop })
    }

    /// What ended between the two moments.
    pub(super) fn between(&self, from: Instant, until: Instant) -> Vec<Sent> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = sent
            .iter()
            .filter(|sent| (from..until).contains(&sent.ended));
        ended.cloned().collect()
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Poisson arrivals: the distances are exponential, so that the senders are not in step.
async fn offer(
    client: Client,
    number: usize,
    rate: f64,
    realtime: bool,
    sent: Arc<Mutex<Vec<Sent>>>,
) {
    let mut random = StdRng::seed_from_u64(number as u64);
    let under_way = Arc::new(tokio::sync::Semaphore::new(MOST_UNDER_WAY));
    let mut next = tokio::time::Instant::now();
    while let Ok(permit) = Arc::clone(&under_way).acquire_owned().await {
        let distance = -(1.0 - random.random::<f64>()).ln() / rate;
        next += Duration::from_secs_f64(distance);
        tokio::time::sleep_until(next).await;
        let lane = lane(random.random());
        let (client, sent) = (client.clone(), Arc::clone(&sent));
        tokio::spawn(async move {
            let began = Instant::now();
            let outcome = send(&client, lane, realtime).await;
            let ended = Instant::now();
            drop(permit);
            let result = Sent {
                lane,
                code: code(&outcome),
                took: ended - began,
                ended,
            };
            sent.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(result);
        });
    }
}

pub(super) async fn send(
    client: &Client,
    lane: Priority,
    realtime: bool,
) -> Result<Value, SendError> {
    let parameters = json!({ "ms": WORK.as_millis() });
    let command = client
        .send_command(AGENT, "sleep", parameters)
        .priority(lane)
        .timeout(TIMEOUT);
    match realtime {
        true => command.realtime().await,
        false => command.await,
    }
}

/// Of ten commands one is critical, two are high, five normal and two low.
fn lane(draw: f64) -> Priority {
    match draw {
        draw if draw < 0.1 => Priority::Critical,
        draw if draw < 0.3 => Priority::High,
        draw if draw < 0.8 => Priority::Normal,
        _ => Priority::Low,
    }
}
