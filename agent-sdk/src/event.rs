//! Events as handlers see them, and which of them an agent wants.

use mcp_runtime::{
    EventDelivery, EventSubscriptionConfig, InvalidName, McpError, Name, code, topology::Start,
};
use serde::de::DeserializeOwned;

/// An event with typed data.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event<D> {
    /// The message id.
    pub id: String,
    /// The agent it happened to.
    pub source: String,
    /// What happened.
    pub name: String,
    /// What there is to know about it.
    pub data: D,
    /// When, in Unix milliseconds by the source's clock.
    pub created_at: u64,
}

impl<D: DeserializeOwned> Event<D> {
    pub(crate) fn read(delivery: &EventDelivery) -> Result<Self, McpError> {
        let event = &delivery.event;
        let data = event.data.decode().map_err(|error| {
            McpError::permanent(code::INVALID_PARAMETERS)
                .message(format!("the event's data cannot be read: {error}"))
        })?;
        Ok(Self {
            id: event.id.clone(),
            source: event.source.to_string(),
            name: event.name.to_string(),
            data,
            created_at: event.created_at,
        })
    }
}

/// Which events an agent wants, from when on and how often again.
///
/// A subscription is durable: what happens while no instance runs is received by the next one. All
/// instances of the agent share it.
///
/// ```
/// use mcp_agent_sdk::{Start, Subscription};
/// let scripts = Subscription::to("content_agent", "script_generated").start(Start::All);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Subscription {
    source: Option<String>,
    event: Option<String>,
    name: Option<String>,
    start: Start,
    concurrency: u32,
    max_retries: u32,
}

impl Subscription {
    /// One event of one agent.
    pub fn to(source: &str, event: &str) -> Self {
        Self {
            source: Some(source.to_owned()),
            event: Some(event.to_owned()),
            name: None,
            start: Start::New,
            concurrency: 16,
            max_retries: 10,
        }
    }

    /// Every event of one agent.
    pub fn to_all_of(source: &str) -> Self {
        Self {
            event: None,
            ..Self::to(source, "")
        }
    }

    /// One event, whichever agent it happened to.
    pub fn to_any(event: &str) -> Self {
        Self {
            source: None,
            ..Self::to("", event)
        }
    }

    /// The subscription's name, unique in the agent (default: made of source and event).
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Where a new subscription begins (default with the next event); one that exists goes on where it was.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Handlers that may run at once in one instance (default 16). With 1 an instance takes the events
    /// in their order, apart from those that come again after a failure.
    pub fn concurrency(mut self, concurrency: u32) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// How often an event that fails comes again before it is put among the dead letters (default 10).
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = max_retries;
        self
    }

    /// Widens what may be handled at once.
    pub(crate) fn at_least(mut self, concurrency: u32) -> Self {
        self.concurrency = self.concurrency.max(concurrency);
        self
    }

    pub(crate) fn checked(&self) -> Result<EventSubscriptionConfig, InvalidName> {
        let name = |text: &Option<String>| text.as_deref().map(Name::new).transpose();
        let (source, event) = (name(&self.source)?, name(&self.event)?);
        let subscription = match &self.name {
            Some(name) => Name::new(name)?,
            None => default_name(source.as_ref(), event.as_ref())?,
        };
        let mut config = EventSubscriptionConfig::new(subscription, source, event);
        config.start = self.start;
        config.concurrency = self.concurrency;
        config.max_retries = self.max_retries;
        Ok(config)
    }
}

fn default_name(source: Option<&Name>, event: Option<&Name>) -> Result<Name, InvalidName> {
    let text = |name: Option<&Name>| name.map_or("all", Name::as_str).to_owned();
    let name = format!("{}-{}", text(source), text(event));
    // Two long names together may be too long for one.
    Name::new(&name.chars().take(64).collect::<String>())
}
