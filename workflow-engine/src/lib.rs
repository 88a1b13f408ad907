//! Durable state-machine workflows on NATS JetStream.

mod checkpoint;
mod context;
mod core;
mod definition;
mod effect;
mod engine;
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod graph;
mod hosted;
mod record;
mod run;
mod schedule;
mod shape;
mod store;
mod task;
pub mod testing;
mod transition;
mod workflows;

pub use checkpoint::WorkflowCheckpoint;
pub use context::{LabelledCommand, WorkflowContext};
pub use definition::{DefinitionError, Workflow, WorkflowMigration, WorkflowState};
pub use engine::{Definitions, Engine, EngineConfig, EngineError};
pub use hosted::Hosted;
pub use record::{
    Child, CommandProgress, Compensation, CompensationProgress, CompensationStep, Driver,
    HistoryEntry, LabelProgress, Signal, WorkflowRecord, WorkflowStatus,
};
pub use schedule::{
    AddSchedule, CatchUp, Fired, SCHEDULES, Schedule, ScheduleInfo, Schedules, schedule_workflow,
};
pub use shape::{StateKind, StateRetry, StateShape, WorkflowEvents, WorkflowShape};
pub use transition::WorkflowTransitionResult;
pub use workflows::{
    Ailing, Ailment, ControlWorkflow, CreateWorkflow, WorkflowError, WorkflowFilter, WorkflowPage,
    Workflows,
};
