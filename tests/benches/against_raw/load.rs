//! Closed load: a number of tasks, each of which begins the next operation when the last has ended.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::Failed;

/// What a load got done.
pub(crate) struct Measured {
    /// Operations a second.
    pub(crate) rate: f64,
    /// What half of them took at most, in microseconds.
    pub(crate) p50_us: f64,
}

/// Keeps `parallel` operations under way for a warm-up of a quarter of `window`, then for `window`, which is counted.
pub(crate) async fn closed<F, Fut>(
    parallel: usize,
    window: Duration,
    operation: F,
) -> Result<Measured, Failed>
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failed>> + Send,
{
    let from = Instant::now() + window / 4;
    let until = from + window;
    let mut tasks = JoinSet::new();
    for _ in 0..parallel {
        let operation = operation.clone();
        tasks.spawn(async move {
            let mut took = Vec::new();
            loop {
                let began = Instant::now();
                if began >= until {
                    return Ok::<_, Failed>(took);
                }
                operation().await?;
                let ended = Instant::now();
                if ended >= from && ended < until {
                    took.push(ended - began);
                }
            }
        });
    }
    let mut took = Vec::new();
    while let Some(of_one) = tasks.join_next().await {
        took.extend(of_one??);
    }
    let rate = took.len() as f64 / window.as_secs_f64();
    took.sort_unstable();
    let p50 = took.get(took.len() / 2).copied().unwrap_or_default();
    Ok(Measured {
        rate,
        p50_us: p50.as_secs_f64() * 1e6,
    })
}
