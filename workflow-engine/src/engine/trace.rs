//! The spans of one drive. A workflow is one trace, however many engines and restarts it takes: its record carries it.

use async_nats::HeaderMap;
use mcp_runtime::{
    TraceContext,
    telemetry::{self, WorkflowSpan, link},
};
use tracing::Span;

use crate::{
    record::WorkflowRecord,
    task::{Task, Verb},
};

/// The span of a task, and what it belongs to.
pub(super) struct Trace {
    /// Of the message: for anything but a start that is whoever told the workflow something.
    told: TraceContext,
    span: Option<Span>,
}

impl Trace {
    /// Looks where a task comes from. A start that belongs to no trace begins one.
    pub(super) fn begin(task: &mut Task, headers: Option<&HeaderMap>) -> Self {
        let mut trace = Self {
            told: TraceContext::extract(headers),
            span: None,
        };
        if task.task == Verb::Start {
            if task.traceparent.is_none() {
                task.traceparent = trace.told.traceparent().map(str::to_owned);
            }
            let given = TraceContext::new(task.traceparent.clone(), None);
            let (definition, instance) = (task.definition.as_str(), task.workflow_id.as_str());
            let span = WorkflowSpan {
                definition,
                instance,
                epoch: 0,
            };
            let span = span.run(&given);
            if task.traceparent.is_none() {
                let own = TraceContext::of_span(&span);
                task.traceparent = own.and_then(|own| own.traceparent().map(str::to_owned));
            }
            trace.span = Some(span);
        }
        trace
    }

    /// The span of the task, begun with the first thing that is done for it: a task that changes nothing has none.
    pub(super) fn task(&mut self, record: &WorkflowRecord) -> &Span {
        let told = &self.told;
        self.span.get_or_insert_with(|| {
            let span = of(record).run(&given(record));
            // The signal or timer that ended a wait.
            link(&span, told);
            span
        })
    }

    /// The span of a state that is about to run.
    pub(super) fn state(&mut self, record: &WorkflowRecord) -> Span {
        self.task(record)
            .in_scope(|| of(record).state(record.state.as_str()))
    }

    /// The span of reading a checkpoint, for a record where there is one already.
    pub(super) fn restore(&mut self, record: Option<&WorkflowRecord>) -> Span {
        let begin = || telemetry::checkpoint_span(true);
        match (record, &self.span) {
            (Some(record), _) => self.task(record).in_scope(begin),
            (None, Some(task)) => task.in_scope(begin),
            (None, None) => begin(),
        }
    }
}

/// The trace that a workflow belongs to.
pub(super) fn given(record: &WorkflowRecord) -> TraceContext {
    TraceContext::new(record.traceparent.clone(), None)
}

fn of(record: &WorkflowRecord) -> WorkflowSpan<'_> {
    WorkflowSpan {
        definition: record.definition.as_str(),
        instance: record.id.as_str(),
        epoch: record.epoch,
    }
}
