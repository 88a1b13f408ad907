//! What a state's handler decides.

use std::time::Duration;

use mcp_runtime::{McpError, Name, Raw, Token, code};
use serde::Serialize;

use crate::{
    core::{Next, Outcome},
    record::ChildWait,
};

/// What happens after a state, and what becomes of the workflow's data.
///
/// ```
/// use mcp_workflow_engine::WorkflowTransitionResult as Then;
/// use std::time::Duration;
///
/// let next = Then::to("visuals").with(&serde_json::json!({ "script": "…" }));
/// let ask = Then::wait_for("approve").within(Duration::from_secs(3600));
/// # let _ = (next, ask);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a state's handler returns it"]
pub struct WorkflowTransitionResult {
    next: Choice,
    data: Option<Result<Raw, String>>,
}

#[derive(Debug, Clone)]
enum Choice {
    To(String),
    Stay,
    Wait {
        signals: Vec<String>,
        children: Option<Children>,
        within: Option<Duration>,
    },
    After {
        delay: Duration,
        to: Option<String>,
    },
    Complete,
    Fail(McpError),
}

#[derive(Debug, Clone)]
enum Children {
    All,
    Any,
    One(String),
}

impl Children {
    fn wait(&self) -> Result<ChildWait, McpError> {
        Ok(match self {
            Self::All => ChildWait::All,
            Self::Any => ChildWait::Any,
            Self::One(id) => {
                ChildWait::One(Token::new(id).map_err(|error| {
                    McpError::permanent(code::INTERNAL).message(error.to_string())
                })?)
            }
        })
    }
}

impl WorkflowTransitionResult {
    fn new(next: Choice) -> Self {
        Self { next, data: None }
    }

    /// Goes on to another state, which the definition must allow.
    pub fn to(state: &str) -> Self {
        Self::new(Choice::To(state.to_owned()))
    }

    /// Stays in the state until somebody moves the workflow on by a transition, or stops it.
    pub fn stay() -> Self {
        Self::new(Choice::Stay)
    }

    /// Runs this state again when the signal comes; at once if it has come already. The handler then finds it in
    /// [`WorkflowContext::signal`](crate::WorkflowContext::signal).
    pub fn wait_for(signal: &str) -> Self {
        Self::new(Choice::Wait {
            signals: vec![signal.to_owned()],
            children: None,
            within: None,
        })
    }

    /// Runs this state again when none of the children is under way any more. The handler then finds them in
    /// [`WorkflowContext::children`](crate::WorkflowContext::children). To wait for what has ended is an error.
    pub fn wait_for_children() -> Self {
        Self::wait_for_these(Children::All)
    }

    /// Runs this state again when one more child has ended.
    pub fn wait_for_any_child() -> Self {
        Self::wait_for_these(Children::Any)
    }

    /// Runs this state again when this child has ended.
    pub fn wait_for_child(id: &str) -> Self {
        Self::wait_for_these(Children::One(id.to_owned()))
    }

    fn wait_for_these(children: Children) -> Self {
        Self::new(Choice::Wait {
            signals: Vec::new(),
            children: Some(children),
            within: None,
        })
    }

    /// Runs this state again after a while; goes to another with [`WorkflowTransitionResult::then`].
    pub fn after(delay: Duration) -> Self {
        Self::new(Choice::After { delay, to: None })
    }

    /// Completes the workflow, in a state that is declared to do that.
    pub fn complete() -> Self {
        Self::new(Choice::Complete)
    }

    /// Fails without further attempts: to the error state, if there is one.
    pub fn fail(error: McpError) -> Self {
        Self::new(Choice::Fail(error))
    }

    /// Of a wait: also until this signal comes.
    pub fn or_for(mut self, signal: &str) -> Self {
        if let Choice::Wait { signals, .. } = &mut self.next {
            signals.push(signal.to_owned());
        }
        self
    }

    /// Of a wait: only so long. The state then runs again, with
    /// [`WorkflowContext::timed_out`](crate::WorkflowContext::timed_out).
    pub fn within(mut self, time: Duration) -> Self {
        if let Choice::Wait { within, .. } = &mut self.next {
            *within = Some(time);
        }
        self
    }

    /// Of a delay: where it leads to.
    pub fn then(mut self, state: &str) -> Self {
        if let Choice::After { to, .. } = &mut self.next {
            *to = Some(state.to_owned());
        }
        self
    }

    /// Replaces the workflow's data; without it they stay as they are.
    pub fn with<D: Serialize + ?Sized>(mut self, data: &D) -> Self {
        self.data = Some(Raw::encode(data).map_err(|error| error.to_string()));
        self
    }

    /// Whether the state is left at once.
    pub(crate) fn leaves(&self) -> bool {
        matches!(self.next, Choice::To(_) | Choice::Complete)
    }

    pub(crate) fn outcome(self) -> Result<Outcome, McpError> {
        let data = self.data.transpose().map_err(|reason| {
            McpError::permanent(code::INTERNAL)
                .message(format!("the new data cannot be encoded: {reason}"))
        })?;
        let next = match self.next {
            Choice::To(state) => Next::To(name(&state)?),
            Choice::Stay => Next::Stay,
            Choice::Wait {
                signals,
                children,
                within,
            } => Next::Wait {
                children: children.as_ref().map(Children::wait).transpose()?,
                signals: signals
                    .iter()
                    .map(|signal| name(signal))
                    .collect::<Result<_, _>>()?,
                within,
            },
            Choice::After { delay, to } => Next::After {
                delay,
                to: to.as_deref().map(name).transpose()?,
            },
            Choice::Complete => Next::Complete,
            Choice::Fail(error) => Next::Fail(error),
        };
        Ok(Outcome { data, next })
    }
}

fn name(text: &str) -> Result<Name, McpError> {
    Name::new(text).map_err(|error| McpError::permanent(code::INTERNAL).message(error.to_string()))
}
