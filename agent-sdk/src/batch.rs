//! Events by the batch: handlers that would rather have many at once, for one write to a database instead of a hundred.
//!
//! Every event stays a message of its own, with its own lease and its own retries; what they share is the call of the handler
//! and what comes of it. Nothing waits for a batch to fill: while one is handled, the next gathers.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use mcp_runtime::{McpError, code};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot};

use crate::{context::Context, event::Event, handler::BoxEventHandler};

/// A plain async function that handles events together: `async fn(Context, Vec<Event<D>>) -> Result<(), McpError>`.
///
/// Implemented for every such function and closure; nobody needs to implement it by hand.
pub trait BatchFunction<S, D>: Send + Sync + 'static {
    /// Calls the function.
    fn call(
        &self,
        context: Context<S>,
        events: Vec<Event<D>>,
    ) -> impl Future<Output = Result<(), McpError>> + Send;
}

impl<S, D, F, Fut> BatchFunction<S, D> for F
where
    F: Fn(Context<S>, Vec<Event<D>>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), McpError>> + Send,
{
    fn call(
        &self,
        context: Context<S>,
        events: Vec<Event<D>>,
    ) -> impl Future<Output = Result<(), McpError>> + Send {
        self(context, events)
    }
}

/// An event that waits for its batch.
struct Waiting<S, D> {
    context: Context<S>,
    event: Event<D>,
    told: oneshot::Sender<Result<(), McpError>>,
}

/// A handler of single events that hands them on by up to `most`.
pub(crate) fn boxed<S, D, F>(most: usize, function: F) -> BoxEventHandler<S>
where
    S: Send + Sync + 'static,
    D: DeserializeOwned + Send + 'static,
    F: BatchFunction<S, D>,
{
    let function = Arc::new(function);
    // Begun with the first event: before that there is no runtime to begin in.
    let queue: OnceLock<mpsc::Sender<Waiting<S, D>>> = OnceLock::new();
    Arc::new(move |context, delivery| {
        let begin = || {
            let (queue, queued) = mpsc::channel(most);
            tokio::spawn(handle(queued, most, Arc::clone(&function)));
            queue
        };
        let queue = queue.get_or_init(begin).clone();
        Box::pin(async move {
            let event = Event::read(&delivery)?;
            let (told, outcome) = oneshot::channel();
            let waiting = Waiting {
                context,
                event,
                told,
            };
            // Both ends live as long as the agent.
            let ended =
                || McpError::temporary(code::DRAINING).message("the instance is shutting down");
            queue.send(waiting).await.map_err(|_| ended())?;
            outcome.await.unwrap_or_else(|_| Err(ended()))
        })
    })
}

/// Handles batch after batch, each of what has come meanwhile.
async fn handle<S, D, F>(mut queued: mpsc::Receiver<Waiting<S, D>>, most: usize, function: Arc<F>)
where
    S: Send + Sync + 'static,
    D: Send + 'static,
    F: BatchFunction<S, D>,
{
    let mut waiting = Vec::new();
    while queued.recv_many(&mut waiting, most).await > 0 {
        let (mut contexts, mut events, mut told) = (Vec::new(), Vec::new(), Vec::new());
        for one in waiting.drain(..) {
            // Whoever has lost its lease is somebody else's by now.
            if !one.told.is_closed() {
                contexts.push(one.context);
                events.push(one.event);
                told.push(one.told);
            }
        }
        // Of many traces a batch continues one: that of its first event.
        let Some(context) = contexts.into_iter().next() else {
            continue;
        };
        let function = Arc::clone(&function);
        let handling = tokio::spawn(async move { function.call(context, events).await });
        let outcome = handling.await.unwrap_or_else(|_| {
            Err(McpError::temporary(code::HANDLER_PANICKED).message("the batch handler panicked"))
        });
        for told in told {
            let _ = told.send(outcome.clone());
        }
    }
}
