//! Whether anything is queued for a workflow: what repairing has to know, and engines do not.

use async_nats::jetstream::{ErrorCode, response::Response};
use mcp_runtime::{Name, transport::StoreError};
use serde::de::IgnoredAny;
use serde_json::json;

use super::Store;

impl Store {
    /// Whether a task of the workflow waits in its stream, or is being worked on.
    pub(crate) async fn is_queued(
        &self,
        definition: &Name,
        workflow_id: &str,
    ) -> Result<bool, StoreError> {
        for kind in ["control", "start"] {
            let subject = self.subject("wf", definition, kind, workflow_id);
            if self.has_message(workflow_id, subject).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the server has a timer of the workflow.
    pub(crate) async fn has_timer(
        &self,
        definition: &Name,
        workflow_id: &str,
    ) -> Result<bool, StoreError> {
        let (schedule, _) = self.timer_subjects(definition, workflow_id);
        self.has_message(workflow_id, schedule).await
    }

    async fn has_message(&self, workflow_id: &str, subject: String) -> Result<bool, StoreError> {
        let tasks = &self.of(workflow_id).tasks;
        let answer: Result<Response<IgnoredAny>, _> = self
            .client
            .jetstream()
            .request(
                format!("STREAM.MSG.GET.{tasks}"),
                &json!({ "last_by_subj": subject }),
            )
            .await;
        match answer {
            Ok(Response::Ok(_)) => Ok(true),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => {
                Ok(false)
            }
            Ok(Response::Err { error }) => Err(StoreError::Refused {
                code: error.error_code().0,
                description: error.to_string(),
            }),
            Err(error) => Err(StoreError::Unavailable {
                reason: error.to_string(),
            }),
        }
    }
}
