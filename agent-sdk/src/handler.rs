//! From plain async functions to what the runtime calls.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use mcp_runtime::{
    ActionInfo, CommandHandler, EventDelivery, EventHandler, Invocation, McpError, Raw, code,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::Context,
    event::Event,
    schema::{self, Schemas},
};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxHandler<S> = Box<dyn Fn(Context<S>, Raw) -> BoxFuture<Result<Raw, McpError>> + Send + Sync>;
pub(crate) type BoxEventHandler<S> =
    Arc<dyn Fn(Context<S>, EventDelivery) -> BoxFuture<Result<(), McpError>> + Send + Sync>;

/// A plain async function that handles a command: `async fn(Context, P) -> Result<R, McpError>`.
///
/// Implemented for every such function and closure; nobody needs to implement it by hand.
pub trait HandlerFunction<S, P, R>: Send + Sync + 'static {
    /// Calls the function.
    fn call(
        &self,
        context: Context<S>,
        parameters: P,
    ) -> impl Future<Output = Result<R, McpError>> + Send;
}

impl<S, P, R, F, Fut> HandlerFunction<S, P, R> for F
where
    F: Fn(Context<S>, P) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, McpError>> + Send,
{
    fn call(
        &self,
        context: Context<S>,
        parameters: P,
    ) -> impl Future<Output = Result<R, McpError>> + Send {
        self(context, parameters)
    }
}

/// A plain async function that handles an event: `async fn(Context, Event<D>) -> Result<(), McpError>`.
///
/// Implemented for every such function and closure; nobody needs to implement it by hand.
pub trait EventFunction<S, D>: Send + Sync + 'static {
    /// Calls the function.
    fn call(
        &self,
        context: Context<S>,
        event: Event<D>,
    ) -> impl Future<Output = Result<(), McpError>> + Send;
}

impl<S, D, F, Fut> EventFunction<S, D> for F
where
    F: Fn(Context<S>, Event<D>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), McpError>> + Send,
{
    fn call(
        &self,
        context: Context<S>,
        event: Event<D>,
    ) -> impl Future<Output = Result<(), McpError>> + Send {
        self(context, event)
    }
}

pub(crate) fn boxed<S, P, R, F>(function: F) -> BoxHandler<S>
where
    S: Send + Sync + 'static,
    P: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    F: HandlerFunction<S, P, R>,
{
    let function = Arc::new(function);
    Box::new(move |context, parameters| {
        let function = Arc::clone(&function);
        Box::pin(async move {
            let parameters = parameters.decode::<P>().map_err(|error| {
                let invalid = McpError::permanent(code::INVALID_PARAMETERS)
                    .message(format!("the parameters cannot be read: {error}"));
                match error.field() {
                    Some(field) => invalid.detail("field", field),
                    None => invalid.detail("field", ""),
                }
            })?;
            let result = function.call(context, parameters).await?;
            Ok(Raw::encode(&result)?)
        })
    })
}

pub(crate) fn boxed_event<S, D, F>(function: F) -> BoxEventHandler<S>
where
    S: Send + Sync + 'static,
    D: DeserializeOwned + Send + 'static,
    F: EventFunction<S, D>,
{
    let function = Arc::new(function);
    Arc::new(move |context, delivery| {
        let function = Arc::clone(&function);
        Box::pin(async move {
            let event = Event::read(&delivery)?;
            function.call(context, event).await
        })
    })
}

/// The actions of an agent by name, in the order in which they were added.
pub(crate) struct Actions<S> {
    pub(crate) state: Arc<S>,
    pub(crate) names: Vec<String>,
    pub(crate) handlers: HashMap<String, BoxHandler<S>>,
    pub(crate) limits: HashMap<String, u32>,
    pub(crate) schemas: HashMap<String, Schemas>,
}

impl<S: Send + Sync + 'static> CommandHandler for Actions<S> {
    fn actions(&self) -> Vec<String> {
        self.names.clone()
    }

    fn described(&self) -> Vec<ActionInfo> {
        schema::described(&self.names, &self.schemas)
    }

    fn knows(&self, action: &str) -> bool {
        self.handlers.contains_key(action)
    }

    fn limit(&self, action: &str) -> Option<u32> {
        self.limits.get(action).copied()
    }

    fn call(&self, invocation: Invocation) -> BoxFuture<Result<Raw, McpError>> {
        let Some(handler) = self.handlers.get(invocation.command.action.as_str()) else {
            return Box::pin(std::future::ready(Err(McpError::permanent(
                code::UNKNOWN_ACTION,
            ))));
        };
        let parameters = invocation.command.parameters.clone();
        handler(
            Context::of_command(invocation, Arc::clone(&self.state)),
            parameters,
        )
    }
}

/// One event subscription of an agent.
pub(crate) struct Subscriber<S> {
    pub(crate) state: Arc<S>,
    pub(crate) client: mcp_runtime::Client,
    pub(crate) instance: mcp_runtime::Token,
    pub(crate) handler: BoxEventHandler<S>,
}

impl<S: Send + Sync + 'static> EventHandler for Subscriber<S> {
    fn call(&self, delivery: EventDelivery) -> BoxFuture<Result<(), McpError>> {
        let context = Context::of_event(
            &delivery,
            self.client.clone(),
            self.instance.clone(),
            Arc::clone(&self.state),
        );
        (self.handler)(context, delivery)
    }
}
