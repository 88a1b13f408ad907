//! Schedules from outside.

use std::{future::IntoFuture, time::Duration};

use mcp_runtime::{Client, Name, transport::server_now_ms};

use crate::{
    record::{WorkflowRecord, WorkflowStatus},
    run::BoxFuture,
    workflows::{WorkflowError, WorkflowFilter, Workflows},
};

use super::{
    SCHEDULES, Schedule, ScheduleInfo,
    plan::Plan,
    tick::{DEFINE, PAUSE, REMOVE, RESUME, RUN_NOW},
};

/// How long a change is waited for, and the pause between two looks.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

const NOBODY: &str = "nobody has ever run schedules here: `Agent::schedules` in an agent does, or `mcpctl workflow schedule run`";

/// The schedules of a namespace; an agent with `Agent::schedules` runs them.
///
/// ```no_run
/// # async fn example(client: mcp_runtime::Client) -> Result<(), mcp_workflow_engine::WorkflowError> {
/// use mcp_workflow_engine::{Schedule, Schedules};
///
/// let schedules = Schedules::new(&client);
/// let nightly = Schedule::cron("0 2 * * *", "Europe/Berlin").starts("clean_up", &());
/// schedules.add("nightly", nightly).await?;
/// schedules.run_now("nightly").await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Schedules {
    client: Client,
    workflows: Workflows,
}

impl Schedules {
    /// Those that `client` can reach. Nothing is asked of the server yet.
    #[must_use]
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            workflows: Workflows::new(client),
        }
    }

    /// Adds a schedule under a name. One of that name that is there already is an error, unless it is to be replaced.
    pub fn add(&self, name: &str, schedule: Schedule) -> AddSchedule {
        AddSchedule {
            schedules: self.clone(),
            name: name.to_owned(),
            schedule,
            replace: false,
        }
    }

    /// All schedules, by name.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn list(&self) -> Result<Vec<ScheduleInfo>, WorkflowError> {
        let filter = WorkflowFilter::default().definition(SCHEDULES);
        let records = self.workflows.list_workflows(&filter).await?;
        let plans = records.iter().filter_map(standing);
        let mut found: Vec<ScheduleInfo> = plans.map(ScheduleInfo::from).collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// One schedule; `None` when there is none of this name.
    ///
    /// # Errors
    /// When the name is not valid or the server cannot be reached.
    pub async fn get(&self, name: &str) -> Result<Option<ScheduleInfo>, WorkflowError> {
        let record = self.workflows.get_workflow(&id(name)?).await?;
        Ok(record.as_ref().and_then(standing).map(ScheduleInfo::from))
    }

    /// Lets a schedule rest until it is resumed; times within the pause are not made up for.
    ///
    /// # Errors
    /// When there is no such schedule, or no engine runs schedules.
    pub async fn pause(&self, name: &str) -> Result<ScheduleInfo, WorkflowError> {
        self.tell(name, PAUSE, |plan, _| plan.paused).await
    }

    /// Lets a paused schedule go on with its next time.
    ///
    /// # Errors
    /// When there is no such schedule, or no engine runs schedules.
    pub async fn resume(&self, name: &str) -> Result<ScheduleInfo, WorkflowError> {
        self.tell(name, RESUME, |plan, _| !plan.paused).await
    }

    /// Removes a schedule. What it has started stays.
    ///
    /// # Errors
    /// When there is no such schedule, or no engine runs schedules.
    pub async fn remove(&self, name: &str) -> Result<ScheduleInfo, WorkflowError> {
        self.tell(name, REMOVE, |plan, _| plan.removed).await
    }

    /// Does at once what the schedule does at its times, once; those stay as they are. It works on a paused one, too.
    ///
    /// # Errors
    /// When there is no such schedule, or no engine runs schedules.
    pub async fn run_now(&self, name: &str) -> Result<ScheduleInfo, WorkflowError> {
        self.tell(name, RUN_NOW, |plan, before| plan.fired > before.fired)
            .await
    }

    /// Tells a schedule something and waits until it shows.
    async fn tell(
        &self,
        name: &str,
        signal: &str,
        shows: impl Fn(&Plan, &Plan) -> bool,
    ) -> Result<ScheduleInfo, WorkflowError> {
        let id = id(name)?;
        let before = self.workflows.get_workflow(&id).await?;
        let Some(before) = before.as_ref().and_then(standing) else {
            return Err(unknown(name));
        };
        self.workflows.signal_workflow(&id, signal, ()).await?;
        self.until(&id, |plan| shows(plan, &before)).await
    }

    /// The state that a signal wakes runs after the signal is answered.
    async fn until(
        &self,
        id: &str,
        shows: impl Fn(&Plan) -> bool,
    ) -> Result<ScheduleInfo, WorkflowError> {
        let looking = async {
            loop {
                let record = self.workflows.get_workflow(id).await?;
                let rests = |record: &WorkflowRecord| record.status == WorkflowStatus::Waiting;
                let plan = record
                    .filter(rests)
                    .and_then(|record| record.data::<Plan>().ok());
                if let Some(plan) = plan.filter(&shows) {
                    return Ok(plan.into());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        let looked = tokio::time::timeout(PATIENCE, looking).await;
        looked.unwrap_or(Err(WorkflowError::NoAnswer { waited: PATIENCE }))
    }
}

/// A schedule about to be added; nothing is sent before it is awaited.
#[must_use = "nothing is added before it is awaited"]
pub struct AddSchedule {
    schedules: Schedules,
    name: String,
    schedule: Schedule,
    replace: bool,
}

impl AddSchedule {
    /// In the place of one of the same name, if there is one.
    pub fn replacing(mut self) -> Self {
        self.replace = true;
        self
    }

    async fn add(self) -> Result<ScheduleInfo, WorkflowError> {
        let Self {
            schedules,
            name,
            schedule,
            replace,
        } = self;
        let id = id(&name)?;
        let invalid = |reason: String| WorkflowError::Invalid { reason };
        let name = Name::new(&name).map_err(|error| invalid(error.to_string()))?;
        let workflows = &schedules.workflows;
        // Before its time is counted: the server's clock is known once it has answered.
        let found = workflows.get_workflow(&id).await?;
        let plan = schedule
            .plan(name, server_now_ms(&schedules.client))
            .map_err(invalid)?;
        let Some(found) = found else {
            let start = workflows.create_workflow(SCHEDULES, None, &plan);
            return match start.id(&id).await {
                Ok(_) => Ok(plan.into()),
                Err(WorkflowError::NoSuchDefinition { .. }) => Err(invalid(NOBODY.to_owned())),
                Err(error) => Err(error),
            };
        };
        if found.is_ended() {
            return Err(invalid(format!(
                "the workflow `{id}` of this schedule was ended by hand; choose another name"
            )));
        }
        if standing(&found).is_some() && !replace {
            return Err(invalid(format!(
                "there is a schedule `{}` already; remove it first, or replace it",
                plan.name
            )));
        }
        workflows.signal_workflow(&id, DEFINE, &plan).await?;
        let same = |found: &Plan| {
            (&found.times, &found.what, found.catch_up) == (&plan.times, &plan.what, plan.catch_up)
                && (found.paused, found.removed) == (plan.paused, false)
        };
        schedules.until(&id, same).await
    }
}

impl IntoFuture for AddSchedule {
    type Output = Result<ScheduleInfo, WorkflowError>;
    type IntoFuture = BoxFuture<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.add())
    }
}

/// The workflow of a schedule.
fn id(name: &str) -> Result<String, WorkflowError> {
    let name = Name::new(name).map_err(|error| WorkflowError::Invalid {
        reason: error.to_string(),
    })?;
    Ok(format!("schedule-{name}"))
}

/// The plan of a schedule that was not removed.
fn standing(record: &WorkflowRecord) -> Option<Plan> {
    let ours = record.definition.as_str() == SCHEDULES && !record.is_ended();
    let plan = ours.then(|| record.data::<Plan>().ok())??;
    (!plan.removed).then_some(plan)
}

fn unknown(name: &str) -> WorkflowError {
    WorkflowError::Invalid {
        reason: format!(
            "there is no schedule `{name}`; `mcpctl workflow schedule list` shows those there are"
        ),
    }
}
