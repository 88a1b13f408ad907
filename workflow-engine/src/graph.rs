//! A definition as a Mermaid state diagram.

use std::fmt::Write as _;

use crate::shape::{StateKind, StateShape, WorkflowShape};

impl WorkflowShape {
    /// The definition as a [Mermaid](https://mermaid.js.org) state diagram.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    [*] --> {}", self.initial);
        for state in &self.states {
            for to in &state.transitions {
                let _ = writeln!(text, "    {} --> {to}{}", state.name, label(state, to.as_str()));
            }
            let fails_to = state.on_error.as_ref().or(self.on_error.as_ref());
            if let Some(to) = fails_to.filter(|to| state.kind == StateKind::Work && **to != state.name) {
                let _ = writeln!(text, "    {} --> {to}: error", state.name);
            }
            if state.kind == StateKind::Final || state.completes {
                let _ = writeln!(text, "    {} --> [*]", state.name);
            }
        }
        text
    }
}

/// What leads there, when it is not the state's own decision.
fn label(state: &StateShape, to: &str) -> String {
    let is = |name: &Option<mcp_runtime::Name>| name.as_ref().is_some_and(|name| name.as_str() == to);
    match (&state.signal, state.within_ms) {
        (Some(signal), _) if is(&state.then) => format!(": {signal}"),
        (_, Some(_)) if is(&state.or_else) => ": timer".to_owned(),
        _ => String::new(),
    }
}
