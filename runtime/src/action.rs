//! An action and its types, named once for both sides.

use std::marker::PhantomData;

/// An action of an agent, with the types of its parameters and its result.
///
/// ```
/// use mcp_runtime::{Action, Client, SendError};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Greeting { name: String }
///
/// // The agent serves it, everyone else calls it: neither can get a name or a type wrong.
/// const GREET: Action<Greeting, String> = Action::new("greeter", "greet");
///
/// async fn caller(client: Client) -> Result<String, SendError> {
///     client.call(GREET, &Greeting { name: "Ada".into() }).await
/// }
/// ```
#[derive(Debug)]
pub struct Action<P, R> {
    agent: &'static str,
    action: &'static str,
    types: PhantomData<fn(P) -> R>,
}

impl<P, R> Action<P, R> {
    /// Names an action. The names are checked when an agent serves or a caller calls it.
    #[must_use]
    pub const fn new(agent: &'static str, action: &'static str) -> Self {
        Self {
            agent,
            action,
            types: PhantomData,
        }
    }

    /// The agent that serves it.
    #[must_use]
    pub const fn agent(&self) -> &'static str {
        self.agent
    }

    /// The action's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.action
    }
}

impl<P, R> Clone for Action<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for Action<P, R> {}
