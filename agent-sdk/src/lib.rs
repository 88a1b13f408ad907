//! Write agents that send each other durable commands and events, and let them run as scaled services.
//!
//! MCP here is the **Multi-agent Communication Protocol**, not the Model Context Protocol.
//!
//! ```no_run
//! use mcp_agent_sdk::{Agent, Context, McpError};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), mcp_agent_sdk::Error> {
//!     Agent::new("greeter").on("greet", greet).run().await
//! }
//!
//! async fn greet(_ctx: Context, name: String) -> Result<String, McpError> {
//!     Ok(format!("hello, {name}"))
//! }
//! ```
//!
//! - [`Agent`] is built from plain async functions; [`Agent::run`] makes it a service, [`Agent::start`]
//!   runs it inside a test or another program.
//! - [`Context`] is what a handler sees of its command, and how it sends others.
//! - [`Action`] names an action and its types once for both sides.
//! - [`TestBroker`] is a real, private server for a test; [`LocalServer`] one for a program.
//! - [`Schedules`] start workflows and send commands by interval or cron, each time once.
//! - [`WorkflowTest`] runs a workflow's definition without any server, and with crashes at every step.
//! - [`Client`] sends commands from outside an agent.
//! - [`Agents`] tells which agents are there, once or live.
//! - [`Workflow`] is a job that spans agents, as a state machine that survives every crash; [`Workflows`] drives it:
//!
//! ```
//! use mcp_agent_sdk::{Agent, McpError, Workflow, WorkflowContext, WorkflowState};
//! use mcp_agent_sdk::WorkflowTransitionResult as Then;
//!
//! async fn draft(ctx: WorkflowContext, topic: String) -> Result<Then, McpError> {
//!     let text: String = ctx.send_command("writer", "write", &topic).await?; // never written twice
//!     Ok(Then::to("review").with(&text))
//! }
//!
//! fn editor() -> Agent {
//!     let article = Workflow::new("article")
//!         .state("draft", WorkflowState::run(draft).to("review").checkpoint())
//!         .state("review", WorkflowState::wait_for("approved").then("published")) // for days, at no cost
//!         .state("published", WorkflowState::end());
//!     Agent::new("editor").workflow(article)
//! }
//! ```

mod agent;
mod agents;
mod batch;
mod context;
mod error;
mod event;
mod handler;
mod host;
mod logging;
mod schema;
mod server;
mod telemetry;
mod testing;
mod workflow;

pub use agent::Agent;
pub use agents::{AgentChange, Agents, AgentsView, Gone, several_versions};
pub use batch::BatchFunction;
pub use context::{Context, Idempotency};
pub use error::Error;
pub use event::{Event, Subscription};
pub use handler::{EventFunction, HandlerFunction};
pub use host::RunningAgent;
pub use logging::init_logging;
pub use mcp_runtime::Action;
pub use server::{LocalServer, LocalServerBuilder, ServerError, ServerProgram};
pub use telemetry::{RunningTelemetry, Telemetry};
pub use testing::TestBroker;

pub use mcp_runtime::{
    Category, Client, Config, InstanceState, McpError, Name, PresenceRecord, Priority, Progress,
    Raw, Recovery, SendCommand, SendError, Severity, SubmitCommand, Submitted, code,
    resilience::RetryConfig, topology::Start,
};

pub use mcp_workflow_engine::{
    AddSchedule, Ailing, Ailment, CatchUp, Fired, Hosted, SCHEDULES, Schedule, ScheduleInfo,
    Schedules,
};

pub use mcp_workflow_engine::{
    Child, CommandProgress, Compensation, CompensationProgress, CompensationStep, ControlWorkflow,
    CreateWorkflow, DefinitionError, HistoryEntry, LabelProgress, LabelledCommand, Signal,
    StateKind, StateRetry, StateShape, Workflow, WorkflowCheckpoint, WorkflowContext,
    WorkflowError, WorkflowEvents, WorkflowFilter, WorkflowMigration, WorkflowPage, WorkflowRecord,
    WorkflowShape, WorkflowState, WorkflowStatus, WorkflowTransitionResult, Workflows,
};

pub use mcp_workflow_engine::testing::{
    CrashReport, SentCommand, SentEvent, WorkflowRun, WorkflowTest, WorkflowTestError,
};

/// The JSON Schemas of types, for [`Agent::on_described`].
#[cfg(feature = "schemas")]
pub use schemars::{self, JsonSchema};

/// The crate below, for what this one does not cover.
pub use mcp_runtime as runtime;
