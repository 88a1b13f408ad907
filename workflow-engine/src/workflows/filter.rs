//! Which workflows are wanted.

use mcp_runtime::Name;

use crate::{record::WorkflowStatus, shape::WorkflowShape};

use super::{
    WorkflowError,
    peek::{Field, Peek},
};

/// Which workflows are wanted. What is not said does not matter.
///
/// ```
/// use mcp_workflow_engine::{WorkflowFilter, WorkflowStatus};
/// let stuck = WorkflowFilter::default()
///     .definition("order")
///     .status(WorkflowStatus::Failed)
///     .error_code("CARD_REFUSED")
///     .field("customer", "acme") // `.index("customer")` in the definition
///     .limit(10);
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a filter does nothing by itself"]
pub struct WorkflowFilter {
    pub(super) definition: Option<String>,
    statuses: Vec<WorkflowStatus>,
    state: Option<String>,
    conversation: Option<String>,
    error_code: Option<String>,
    fields: Vec<Field>,
    created_before: Option<u64>,
    created_after: Option<u64>,
    updated_before: Option<u64>,
    pub(super) limit: Option<usize>,
    pub(super) after: Option<String>,
}

impl WorkflowFilter {
    /// Of this definition.
    pub fn definition(mut self, definition: &str) -> Self {
        self.definition = Some(definition.to_owned());
        self
    }

    /// With this status; may be said again, for any of several.
    pub fn status(mut self, status: WorkflowStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// In this state.
    pub fn state(mut self, state: &str) -> Self {
        self.state = Some(state.to_owned());
        self
    }

    /// Of this conversation.
    pub fn conversation(mut self, id: &str) -> Self {
        self.conversation = Some(id.to_owned());
        self
    }

    /// Whose last error has this code.
    pub fn error_code(mut self, code: &str) -> Self {
        self.error_code = Some(code.to_owned());
        self
    }

    /// Whose data have this value in a field that the definition declares with [`Workflow::index`](crate::Workflow::index).
    /// Numbers and booleans are compared as they are written. May be said again, for all of several.
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push(Field {
            name: name.to_owned(),
            value: value.into(),
        });
        self
    }

    /// Created before a time in Unix milliseconds.
    pub fn created_before(mut self, unix_ms: u64) -> Self {
        self.created_before = Some(unix_ms);
        self
    }

    /// Created at a time in Unix milliseconds, or after it.
    pub fn created_after(mut self, unix_ms: u64) -> Self {
        self.created_after = Some(unix_ms);
        self
    }

    /// Written last before a time in Unix milliseconds.
    pub fn updated_before(mut self, unix_ms: u64) -> Self {
        self.updated_before = Some(unix_ms);
        self
    }

    /// No more than these, the last updated ones (default all).
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on where a page has ended: [`WorkflowPage::next`](crate::WorkflowPage::next).
    pub fn after(mut self, cursor: &str) -> Self {
        self.after = Some(cursor.to_owned());
        self
    }

    pub(super) fn searches_data(&self) -> bool {
        !self.fields.is_empty()
    }

    /// A field that no definition declares is a mistake, not an empty result.
    pub(super) fn check(&self, shapes: &[WorkflowShape]) -> Result<(), WorkflowError> {
        let wanted = |name: &Name| {
            let definition = self.definition.as_deref();
            definition.is_none_or(|definition| definition == name.as_str())
        };
        let mut declared: Vec<&str> = (shapes.iter())
            .filter(|shape| wanted(&shape.name))
            .flat_map(|shape| shape.indexes.iter().map(String::as_str))
            .collect();
        declared.sort_unstable();
        declared.dedup();
        let unknown = |field: &&Field| !declared.contains(&field.name.as_str());
        let Some(field) = self.fields.iter().find(unknown) else {
            return Ok(());
        };
        let (name, known) = (&field.name, declared.join(", "));
        let known = match known.is_empty() {
            true => "none is".to_owned(),
            false => format!("declared are: {known}"),
        };
        Err(WorkflowError::Invalid {
            reason: format!(
                "the field `{name}` is not declared: add `.index(\"{name}\")` to the definition; {known}"
            ),
        })
    }

    /// Whether a record fits; `body` is read further only where its data are asked for.
    pub(super) fn matches(&self, record: &Peek<'_>, body: &[u8]) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| found == Some(wanted))
        };
        let before = |wanted: Option<u64>, found: u64| wanted.is_none_or(|wanted| found < wanted);
        let status = |status: &WorkflowStatus| status.as_str() == record.status;
        same(&self.definition, Some(record.definition))
            && same(&self.state, Some(record.state))
            && same(&self.conversation, record.conversation_id)
            && same(
                &self.error_code,
                record.error.as_ref().map(|error| error.code),
            )
            && (self.statuses.is_empty() || self.statuses.iter().any(status))
            && before(self.created_before, record.created_at)
            && before(self.updated_before, record.updated_at)
            && self
                .created_after
                .is_none_or(|after| record.created_at >= after)
            && (self.fields.is_empty() || Field::all_in(&self.fields, body))
    }
}
