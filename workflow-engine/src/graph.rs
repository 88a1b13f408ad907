//! A definition as a Mermaid state diagram.

use std::fmt::Write as _;

use mcp_runtime::Name;

use crate::shape::{StateKind, StateShape, WorkflowShape};

impl WorkflowShape {
    /// The definition as a [Mermaid](https://mermaid.js.org) state diagram.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = String::from("stateDiagram-v2\n");
        // Writing to a string cannot fail.
        for state in self.states.iter().filter(|state| !is_id(&state.name)) {
            let _ = writeln!(
                text,
                "    state \"{}\" as {}",
                state.name,
                self.id(&state.name)
            );
        }
        let _ = writeln!(text, "    [*] --> {}", self.id(&self.initial));
        for state in &self.states {
            self.ways_out(state, &mut text);
        }
        text
    }

    fn ways_out(&self, state: &StateShape, text: &mut String) {
        let from = self.id(&state.name);
        for to in &state.transitions {
            let _ = writeln!(text, "    {from} --> {}{}", self.id(to), label(state, to));
        }
        let fails_to = state.on_error.as_ref().or(self.on_error.as_ref());
        let fails_to = fails_to.filter(|to| state.kind == StateKind::Work && **to != state.name);
        if let Some(to) = fails_to {
            let _ = writeln!(text, "    {from} --> {}: error", self.id(to));
        }
        if state.kind == StateKind::Final || state.completes {
            let _ = writeln!(text, "    {from} --> [*]");
        }
    }

    fn id(&self, name: &Name) -> String {
        if is_id(name) {
            return name.to_string();
        }
        let position = self.states.iter().position(|state| state.name == *name);
        format!("_s{}", position.map_or(0, |position| position + 1))
    }
}

/// Names may have hyphens, which ids of Mermaid may not, and `end` is a word of its language.
fn is_id(name: &Name) -> bool {
    !name.as_str().contains('-') && name.as_str() != "end"
}

/// What leads there, when it is not the state's own decision.
fn label(state: &StateShape, to: &Name) -> String {
    let is = |name: &Option<Name>| name.as_ref() == Some(to);
    match (&state.signal, state.within_ms) {
        (Some(signal), _) if is(&state.then) => format!(": {signal}"),
        (_, Some(_)) if is(&state.or_else) => ": timer".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{Workflow, WorkflowState};

    #[test]
    fn diagram_has_every_state_and_way() {
        let workflow: Workflow = Workflow::new("w")
            .state(
                "ask-for-it",
                WorkflowState::wait_for("yes")
                    .then("done")
                    .within(Duration::from_secs(1), "late"),
            )
            .state("late", WorkflowState::end())
            .state("done", WorkflowState::end());
        let expected = "stateDiagram-v2\n    state \"ask-for-it\" as _s1\n    \
             [*] --> _s1\n    _s1 --> done: yes\n    _s1 --> late: timer\n    late --> [*]\n    done --> [*]\n";
        assert_eq!(workflow.check().unwrap().mermaid(), expected);
    }
}
