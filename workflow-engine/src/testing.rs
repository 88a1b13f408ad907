//! A test kit for authors: runs a definition without a server.
//!
//! The rules are the real ones (the core that every engine asks), the states run as they would; what is made up is what
//! lies around them: time that passes at once, agents that answer and children that end out of a script, and engines that die where
//! they are told to.

mod children;
mod crash;
mod error;
mod outcome;
mod reaction;
mod script;
mod shell;

use std::{any::Any, sync::Arc, time::Duration};

use mcp_runtime::{McpError, Name, Raw, Token};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    definition::{Definition, Workflow},
    task::{Task, Verb},
};

use children::{Ending, Endings, Kids};
use crash::Crash;
use reaction::Reaction;
use script::{AgentScript, Answer, Answers};
use shell::Shell;

pub use error::WorkflowTestError;
pub use outcome::{CrashReport, SentCommand, SentEvent, WorkflowRun};

/// Places to crash at that are tried: more would be a test that nobody waits for.
const MAX_POINTS: u64 = 10_000;

/// When the virtual time begins: 2026-01-01, so that dates look like dates.
const BEGINNING_MS: u64 = 1_767_225_600_000;

/// One workflow, what it is told and what the agents answer it.
///
/// ```
/// use mcp_workflow_engine::{Workflow, WorkflowContext, WorkflowState, WorkflowTransitionResult as Then};
/// use mcp_workflow_engine::testing::WorkflowTest;
/// use mcp_runtime::McpError;
///
/// async fn draft(ctx: WorkflowContext, topic: String) -> Result<Then, McpError> {
///     let text: String = ctx.send_command("writer", "write", &topic).await?;
///     Ok(Then::to("review").with(&text))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let article: Workflow = Workflow::new("article")
///     .state("draft", WorkflowState::run(draft).to("review"))
///     .state("review", WorkflowState::wait_for("approved").then("published"))
///     .state("published", WorkflowState::end());
///
/// let test = WorkflowTest::new(article)
///     .data(&"the sea")
///     .fail_first("writer", "write", McpError::temporary("BUSY"))
///     .answer("writer", "write", &"waves")
///     .signal("review", "approved", &());
/// let run = test.run().await?;
/// run.assert_path(&["draft", "review", "published"]);
/// assert_eq!(run.data::<String>()?, "waves");
/// test.crash_at_every_step().await?; // the same end, and nothing is written twice
/// # Ok(()) }
/// ```
///
/// Time that a workflow waits (signals, timers, retries) passes at once. What a state itself sleeps is the test's own time:
/// `#[tokio::test(start_paused = true)]` skips that too. Commands and events are answered; anything else that a state asks
/// of the server directly gets no answer, because there is none.
#[must_use = "nothing runs before `run`"]
pub struct WorkflowTest {
    /// The version that the workflow begins with first.
    versions: Result<Vec<Arc<Definition>>, WorkflowTestError>,
    agent: Arc<dyn Any + Send + Sync>,
    data: Result<Raw, WorkflowTestError>,
    state: Option<String>,
    answers: Answers,
    endings: Endings,
    reactions: Vec<Reaction>,
}

impl WorkflowTest {
    /// A workflow of an agent without a state of its own.
    pub fn new(workflow: Workflow) -> Self {
        Self::with_state(workflow, ())
    }

    /// A workflow of an agent whose handlers share `state`, which all runs of this test share as well.
    pub fn with_state<S: Send + Sync + 'static>(workflow: Workflow<S>, state: S) -> Self {
        let agent = Arc::new(state);
        let built = workflow.build(&agent);
        let versions = built.map(|definition| vec![Arc::new(definition)]);
        Self {
            versions: versions.map_err(WorkflowTestError::Definition),
            agent,
            data: Ok(Raw::empty_map()),
            state: None,
            answers: Answers::default(),
            endings: Endings::default(),
            reactions: Vec::new(),
        }
    }

    /// Another version of the definition, which the engines of the test have as well, for [`WorkflowTest::migrate`]. The
    /// workflow begins with the one that the test was made of.
    pub fn version<S: Send + Sync + 'static>(mut self, workflow: Workflow<S>) -> Self {
        let agent = Arc::clone(&self.agent).downcast::<S>();
        let agent = agent.map_err(|_| WorkflowTestError::Invalid {
            reason: "the versions of a definition share the state of one agent".to_owned(),
        });
        let build = |agent| {
            workflow
                .build(&agent)
                .map_err(WorkflowTestError::Definition)
        };
        self.versions = self.versions.and_then(|mut versions| {
            let definition = agent.and_then(build)?;
            let same = |known: &Arc<Definition>| known.shape.version == definition.shape.version;
            if versions[0].shape.name != definition.shape.name || versions.iter().any(same) {
                let (name, version) = (&definition.shape.name, &definition.shape.version);
                let reason = format!(
                    "version {version} of `{name}` is no other version of the same definition"
                );
                return Err(WorkflowTestError::Invalid { reason });
            }
            versions.push(Arc::new(definition));
            Ok(versions)
        });
        self
    }

    /// The data that the workflow begins with (default: an empty map).
    pub fn data(mut self, data: &(impl Serialize + ?Sized)) -> Self {
        self.data = Raw::encode(data).map_err(|error| WorkflowTestError::invalid(&error));
        self
    }

    /// The state that it begins in (default: that of the definition).
    pub fn starts_at(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// What an action answers, each time that it is asked.
    pub fn answer(self, agent: &str, action: &str, result: &(impl Serialize + ?Sized)) -> Self {
        self.always(agent, action, Answer::of(result))
    }

    /// What an action answers, found by a function of its parameters.
    pub fn answer_with<P, R>(
        self,
        agent: &str,
        action: &str,
        function: impl Fn(P) -> Result<R, McpError> + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        self.always(agent, action, Answer::by(function))
    }

    /// What an action answers once, before everything else; said again, the next time.
    pub fn answer_first(
        mut self,
        agent: &str,
        action: &str,
        result: &(impl Serialize + ?Sized),
    ) -> Self {
        self.answers.first(agent, action, Answer::of(result));
        self
    }

    /// An error that an action answers once, before everything else; said again, the next time.
    pub fn fail_first(mut self, agent: &str, action: &str, error: McpError) -> Self {
        self.answers.first(agent, action, Answer::error(error));
        self
    }

    /// The data that each child of a definition completes with, as soon as it is started. Children are not run: test their
    /// definition by itself.
    pub fn child(self, definition: &str, data: &(impl Serialize + ?Sized)) -> Self {
        self.ends(definition, Ending::With(Answer::of(data)))
    }

    /// What each child of a definition completes with or fails by, found by a function of the data that it is started with.
    pub fn child_with<P, R>(
        self,
        definition: &str,
        function: impl Fn(P) -> Result<R, McpError> + Send + Sync + 'static,
    ) -> Self
    where
        P: DeserializeOwned,
        R: Serialize,
    {
        self.ends(definition, Ending::With(Answer::by(function)))
    }

    /// Children of a definition that are under way until they are stopped: for time-outs, and for stops of their parent.
    pub fn child_hangs(self, definition: &str) -> Self {
        self.ends(definition, Ending::Never)
    }

    /// Tells the workflow something once it waits in a state.
    pub fn signal(self, state: &str, name: &str, data: &(impl Serialize + ?Sized)) -> Self {
        self.signal_after(state, Duration::ZERO, name, data)
    }

    /// Tells the workflow something once it has waited in a state for so long, unless its own time-out comes first.
    pub fn signal_after(
        self,
        state: &str,
        delay: Duration,
        name: &str,
        data: &(impl Serialize + ?Sized),
    ) -> Self {
        let data = Raw::encode(data).map_err(|error| error.to_string());
        self.reacts(Reaction::signal(state, delay, name, data))
    }

    /// Moves the workflow on by a transition once it waits in a state.
    pub fn transition(self, state: &str, to: &str) -> Self {
        self.reacts(Reaction::transition(state, to))
    }

    /// Stops the workflow once it waits in a state.
    pub fn stop(self, state: &str) -> Self {
        self.reacts(Reaction::stop(state))
    }

    /// Stops the workflow with compensation once it waits in a state.
    pub fn stop_compensating(self, state: &str) -> Self {
        self.reacts(Reaction::compensate(state))
    }

    /// Takes the workflow to another version once it waits in a state; see [`WorkflowTest::version`].
    pub fn migrate(self, state: &str, version: &str) -> Self {
        self.reacts(Reaction::migrate(state, version))
    }

    fn ends(mut self, definition: &str, ending: Ending) -> Self {
        self.endings.add(definition, ending);
        self
    }

    fn always(mut self, agent: &str, action: &str, answer: Answer) -> Self {
        self.answers.always(agent, action, answer);
        self
    }

    fn reacts(mut self, reaction: Reaction) -> Self {
        self.reactions.push(reaction);
        self
    }

    /// Runs the workflow until it has ended, or waits for something that the test does not tell it.
    ///
    /// # Errors
    /// When the definition cannot be run, an action was asked that has no answer in the script, a task was refused, or there is
    /// no end.
    pub async fn run(&self) -> Result<WorkflowRun, WorkflowTestError> {
        self.run_with(Crash::never()).await.map(|(run, _)| run)
    }

    /// Runs it once without harm, and then once for each place where an engine can die: before and after each of its own steps,
    /// and before and after each command and event of a state. The task then comes to another engine, as it would.
    ///
    /// # Errors
    /// As [`WorkflowTest::run`], and when one of the runs comes to another end, or takes effect more often.
    pub async fn crash_at_every_step(&self) -> Result<CrashReport, WorkflowTestError> {
        let (undisturbed, points) = self.run_with(Crash::never()).await?;
        if points > MAX_POINTS {
            return Err(WorkflowTestError::TooLong);
        }
        for point in 0..points {
            let crash = Crash::at(point);
            let (run, _) = self.run_with(Arc::clone(&crash)).await?;
            undisturbed.compare(&run, &crash.place())?;
        }
        Ok(CrashReport {
            crashes: points,
            run: undisturbed,
        })
    }

    /// One run; tells also how many places to crash at it has passed.
    async fn run_with(&self, crash: Arc<Crash>) -> Result<(WorkflowRun, u64), WorkflowTestError> {
        let versions = self.versions.clone()?;
        let script = Arc::new(AgentScript::new(self.answers.clone(), Arc::clone(&crash)));
        let start = self.start(&versions[0])?;
        let kids = Kids::new(self.endings.clone());
        let reactions = self.reactions.clone();
        let shell = Shell::new(versions, &script, &crash, reactions, kids).await;
        let world = shell.run(start).await?;
        script.check()?;
        let (commands, events) = script.sent();
        let record = world.record.ok_or(WorkflowTestError::TooLong)?;
        let elapsed = Duration::from_millis(world.now_ms - BEGINNING_MS);
        let run = WorkflowRun {
            record,
            commands,
            events,
            elapsed,
        };
        Ok((run, crash.passed()))
    }

    fn start(&self, definition: &Definition) -> Result<Task, WorkflowTestError> {
        let id = Token::new("test").map_err(|error| WorkflowTestError::invalid(&error))?;
        let name = definition.shape.name.clone();
        let mut task = Task::new(Verb::Start, name, id, BEGINNING_MS);
        task.version = Some(definition.shape.version.clone());
        task.data = Some(self.data.clone()?);
        let state = self.state.as_deref().map(Name::new).transpose();
        task.state = state.map_err(|error| WorkflowTestError::invalid(&error))?;
        Ok(task)
    }
}

impl std::fmt::Debug for WorkflowTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowTest").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
