//! One run of a state, which may have news before it ends.

use std::{sync::Arc, time::Duration};

use mcp_runtime::{Name, telemetry};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};
use tracing::{Instrument, Span};

use crate::{
    context::Scope,
    core::{Input, Ran},
    definition::Definition,
    record::LabelProgress,
    run::{self, BoxFuture},
};

/// Between two writes of news: what happens meanwhile is told in one.
const NEWS_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Running {
    run: BoxFuture<Ran>,
    news: watch::Receiver<Vec<LabelProgress>>,
    /// News before this time wait.
    quiet_until: Instant,
    definition: Arc<Definition>,
    state: Name,
    span: Span,
    _place: OwnedSemaphorePermit,
}

impl Running {
    pub(super) fn begin(
        definition: Arc<Definition>,
        state: Name,
        scope: Scope,
        span: Span,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let news = scope.news.follow();
        let (known, name) = (Arc::clone(&definition), state.clone());
        let run = async move {
            let known = (known.steps.get(&name)).zip(known.shape.state(&name));
            match known {
                Some((steps, state)) => run::run(steps, state, scope).await,
                None => run::no_code(),
            }
        };
        Self {
            run: Box::pin(run.instrument(span.clone())),
            news,
            quiet_until: Instant::now(),
            definition,
            state,
            span,
            _place: place,
        }
    }

    /// Until the end of the run, or until there are news worth a write.
    pub(super) async fn go_on(&mut self) -> Input {
        let quiet_until = self.quiet_until;
        let news = &mut self.news;
        // Cannot end: the run has the sender.
        let told = async {
            let changed = news.changed().await.is_ok();
            tokio::time::sleep_until(quiet_until).await;
            changed
        };
        tokio::select! {
            biased;
            ran = &mut self.run => Input::Ran(Box::new(self.ended(ran))),
            true = told => {
                self.quiet_until = Instant::now() + NEWS_PAUSE;
                Input::Progressed(self.news.borrow_and_update().clone())
            }
        }
    }

    fn ended(&self, ran: Ran) -> Ran {
        let outcome = match &ran.outcome {
            Ok(_) => "ok",
            Err(error) => {
                telemetry::span_failed(&self.span, &error.code);
                "failed"
            }
        };
        let definition = self.definition.shape.name.as_str();
        telemetry::workflow_transition(definition, self.state.as_str(), outcome);
        ran
    }
}
