//! Schedules: starting workflows and sending commands by interval or cron.
//!
//! A schedule is itself a workflow, of the built-in definition [`SCHEDULES`]: its timer is the server's, its state survives every
//! engine, and one engine at a time looks at it. What it fires carries an id that follows from the schedule and the time, so it
//! takes effect once, however often it is fired.

mod api;
mod plan;
mod tick;
mod times;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use plan::read_plan;

pub use api::{AddSchedule, Schedules};
pub use plan::{CatchUp, Fired, Schedule, ScheduleInfo};
pub use tick::schedule_workflow;

/// The definition that runs schedules; no author's definition may have this name.
pub const SCHEDULES: &str = "mcp_schedule";
