//! How a client finds its server, what it calls itself, how long it waits.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::history::DEFAULT_HISTORY;
use crate::identity::Identity;
use crate::message::{InvalidName, Name, Namespace};
use crate::nearest::nearest;
use crate::persistence::{DurabilityTable, OutboxConfig};
use crate::resilience::{BreakerConfig, InvalidConfig, LimiterConfig};
use crate::targets::BreakerScope;
use crate::topology::TopologyConfig;

/// The server that is used when nothing else is said.
pub const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// A quarter of what a server takes by default: larger messages hold up the small ones behind them.
const DEFAULT_MAX_INLINE_BODY: usize = 256 * 1024;

const DEFAULT_MAX_BODY: usize = 64 * 1024 * 1024;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name in the configuration is not valid.
    #[error("{setting}: {source}")]
    Name {
        /// The builder's method or the environment variable.
        setting: &'static str,
        /// Why.
        source: InvalidName,
    },
    /// A value in the configuration is not valid.
    #[error("{setting}: `{value}` is not {expected}")]
    Value {
        /// The environment variable.
        setting: String,
        /// What it was set to.
        value: String,
        /// What it may be set to.
        expected: &'static str,
    },
    /// A policy cannot work like this.
    #[error(transparent)]
    Policy(#[from] InvalidConfig),
    /// A variable of the environment that looks like ours and is not.
    #[error("{variable} is not a setting of MCP; did you mean {nearest}?")]
    UnknownVariable {
        /// The variable as it is set.
        variable: String,
        /// The nearest one that exists.
        nearest: &'static str,
    },
}

/// How a [`Client`](crate::Client) connects; the defaults work on a laptop.
///
/// ```
/// use std::time::Duration;
/// use mcp_runtime::Config;
/// let config = Config::new("nats://127.0.0.1:4222").name("director_agent").timeout(Duration::from_secs(30));
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) url: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) topology: TopologyConfig,
    pub(crate) setup: Setup,
    pub(crate) durability: DurabilityTable,
    pub(crate) breaker: BreakerConfig,
    pub(crate) breaker_scope: BreakerScope,
    pub(crate) limiter: LimiterConfig,
    pub(crate) outbox: Option<OutboxConfig>,
    pub(crate) max_inline_body: usize,
    pub(crate) max_body: usize,
    pub(crate) packs: bool,
    pub(crate) history: usize,
}

/// Whether a client creates the streams and buckets that it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Setup {
    /// Creates what is missing and checks what exists.
    #[default]
    Ensure,
    /// Trusts that an administrator has run `mcpctl setup`: for identities without the right to create.
    Assume,
}

/// Every variable that [`Config::from_env`] or an agent reads.
const VARIABLES: [&str; 31] = [
    "MCP_NATS_URL",
    "MCP_NATS_SERVER",
    "MCP_NATS_CREDS",
    "MCP_NATS_NKEY",
    "MCP_NATS_CA",
    "MCP_NATS_CERT",
    "MCP_NATS_KEY",
    "MCP_AUTH",
    "MCP_AUTH_DIR",
    "MCP_SYSTEM_AUTH",
    "MCP_JAEGER_URL",
    "MCP_IDENTITY",
    "MCP_NAMESPACE",
    "MCP_REPLICAS",
    "MCP_WORKFLOW_SHARDS",
    "MCP_SETUP",
    "MCP_TIMEOUT",
    "MCP_MAX_INLINE_BODY",
    "MCP_MAX_BODY",
    "MCP_OUTBOX",
    "MCP_BREAKER_SCOPE",
    "MCP_PACKS",
    "MCP_HISTORY",
    "MCP_AGENT_CAPACITY",
    "MCP_AGENT_CAPACITY_BYTES",
    "MCP_AGENT_VERSION",
    "MCP_HEARTBEAT_INTERVAL",
    "MCP_DRAIN_GRACE",
    "MCP_HTTP_ADDR",
    "MCP_LOG",
    "MCP_LOG_FORMAT",
];

impl Default for Config {
    fn default() -> Self {
        Self::new(DEFAULT_URL)
    }
}

impl Config {
    /// A configuration for the server or servers at `url`, separated by commas.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            namespace: Namespace::default().to_string(),
            name: "client".to_owned(),
            identity: Identity::default(),
            timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            topology: TopologyConfig::default(),
            setup: Setup::default(),
            durability: DurabilityTable::default(),
            // How slow is too slow only the caller knows, and says so by its time-outs.
            breaker: BreakerConfig {
                slow_call: None,
                ..BreakerConfig::default()
            },
            breaker_scope: BreakerScope::default(),
            limiter: LimiterConfig::default(),
            outbox: None,
            max_inline_body: DEFAULT_MAX_INLINE_BODY,
            max_body: DEFAULT_MAX_BODY,
            packs: true,
            history: DEFAULT_HISTORY,
        }
    }

    /// Reads `MCP_NATS_URL`, `MCP_NAMESPACE`, `MCP_AUTH` (a folder; `MCP_NATS_CREDS`, `MCP_NATS_NKEY`, `MCP_NATS_CA`,
    /// `MCP_NATS_CERT`, `MCP_NATS_KEY` and `MCP_IDENTITY` go before what is in it), `MCP_REPLICAS`, `MCP_WORKFLOW_SHARDS`,
    /// `MCP_TIMEOUT` (such as `30s`), `MCP_SETUP` (`ensure` or `assume`), `MCP_MAX_INLINE_BODY` and
    /// `MCP_MAX_BODY` (such as `256KiB`), `MCP_OUTBOX` (a folder), `MCP_BREAKER_SCOPE` (`target` or `action`), `MCP_PACKS` (`on` or `off`). To be called from `main` only.
    ///
    /// # Errors
    /// When a variable has a value that cannot be used, or a variable beginning with `MCP_` resembles
    /// one of ours without being one.
    pub fn from_env() -> Result<Self, ConfigError> {
        refuse_misspelt(env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let mut config =
            Self::new(env::var("MCP_NATS_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned()));
        if let Ok(namespace) = env::var("MCP_NAMESPACE") {
            config.namespace = namespace;
        }
        config.identity = identity_from_env()?;
        config.topology.replicas = env_parsed("MCP_REPLICAS", "a number from 1 to 5")?;
        config.topology.workflow_shards =
            env_parsed("MCP_WORKFLOW_SHARDS", "a number from 1 to 64")?;
        if let Some(timeout) = env_duration("MCP_TIMEOUT")? {
            config.timeout = timeout;
        }
        if let Some(bytes) = env_size("MCP_MAX_INLINE_BODY")? {
            config.max_inline_body = bytes;
        }
        if let Some(bytes) = env_size("MCP_MAX_BODY")? {
            config.max_body = bytes;
        }
        if let Some(folder) = env::var_os("MCP_OUTBOX") {
            config = config.outbox(OutboxConfig::new(folder));
        }
        config.breaker_scope = match env::var("MCP_BREAKER_SCOPE").as_deref() {
            Err(_) | Ok("target") => BreakerScope::Target,
            Ok("action") => BreakerScope::TargetAndAction,
            Ok(other) => return Err(invalid("MCP_BREAKER_SCOPE", other, "`target` or `action`")),
        };
        config.packs = match env::var("MCP_PACKS").as_deref() {
            Err(_) | Ok("on") => true,
            Ok("off") => false,
            Ok(other) => return Err(invalid("MCP_PACKS", other, "`on` or `off`")),
        };
        if let Some(most) = env_parsed("MCP_HISTORY", "a number of messages, such as 256")? {
            config.history = most;
        }
        config.setup = match env::var("MCP_SETUP").as_deref() {
            // Identities that `mcpctl auth` has made may create nothing.
            Err(_) if env::var_os("MCP_AUTH").is_some() => Setup::Assume,
            Err(_) | Ok("ensure") => Setup::Ensure,
            Ok("assume") => Setup::Assume,
            Ok(other) => return Err(invalid("MCP_SETUP", other, "`ensure` or `assume`")),
        };
        Ok(config)
    }

    /// The server or servers, separated by commas: replaces what the configuration began with.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// What the client calls itself: the `source` of what it sends (default `client`).
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The namespace (default `mcp`).
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// A NATS credentials file.
    #[must_use]
    pub fn credentials(mut self, path: impl Into<PathBuf>) -> Self {
        self.identity.creds = Some(path.into());
        self
    }

    /// A folder with the files of one identity, as `mcpctl auth` makes it: `user.nk` or `user.creds`, `ca.crt`, `tls.crt` with
    /// `tls.key`, and `identity`. What is missing is not used.
    #[must_use]
    pub fn auth(mut self, folder: impl AsRef<Path>) -> Self {
        self.identity = Identity::of_folder(folder.as_ref());
        self
    }

    /// The name in the client's own inboxes and reply subjects (default: the client's name): a server that restricts
    /// subjects lets an identity listen to its own only.
    #[must_use]
    pub fn identity(mut self, name: impl Into<String>) -> Self {
        self.identity.name = Some(name.into());
        self
    }

    /// How long a command waits for its reply when the call says nothing else (default 30 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sizes, ages and replicas of what is created.
    #[must_use]
    pub fn topology(mut self, topology: TopologyConfig) -> Self {
        self.topology = topology;
        self
    }

    /// Whether streams and buckets are created or trusted to be there.
    #[must_use]
    pub fn setup(mut self, setup: Setup) -> Self {
        self.setup = setup;
        self
    }

    /// Bodies up to this many bytes travel in their message (default 256 KiB), larger ones through the
    /// object store. Where the server takes smaller messages, its limit counts.
    #[must_use]
    pub fn max_inline_body(mut self, bytes: usize) -> Self {
        self.max_inline_body = bytes;
        self
    }

    /// Bodies over this many bytes are refused, sent or received (default 64 MiB).
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Which messages are stored, by kind and priority (default: all commands but realtime ones).
    #[must_use]
    pub fn durability(mut self, durability: DurabilityTable) -> Self {
        self.durability = durability;
        self
    }

    /// When commands to a failing target are refused at once (default: [`BreakerConfig`]'s, without a bound
    /// for slow calls).
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerConfig) -> Self {
        self.breaker = breaker;
        self
    }

    /// Whether an agent has one breaker or each of its actions one (default: one for the agent).
    #[must_use]
    pub fn breaker_scope(mut self, scope: BreakerScope) -> Self {
        self.breaker_scope = scope;
        self
    }

    /// Whether commands of the lanes normal and low travel together while there are many and their handlers are quick
    /// (default: they do).
    #[must_use]
    pub fn packs(mut self, packs: bool) -> Self {
        self.packs = packs;
        self
    }

    /// How many of the last messages are kept in memory for [`Client::history`](crate::Client::history) and `mcpctl history`
    /// (default 256, at most [`MOST_HISTORY`](crate::MOST_HISTORY); 0 keeps none).
    #[must_use]
    pub fn history(mut self, messages: usize) -> Self {
        self.history = messages;
        self
    }

    /// How the rate to a target follows its load (default: [`LimiterConfig`]'s, no limit without a reason).
    #[must_use]
    pub fn limiter(mut self, limiter: LimiterConfig) -> Self {
        self.limiter = limiter;
        self
    }

    /// Lets submitted commands of the lanes critical and high wait in a local folder while the server
    /// cannot be reached (default: off). Another [`DurabilityTable`] chooses other lanes.
    #[must_use]
    pub fn outbox(mut self, outbox: OutboxConfig) -> Self {
        if !self.durability.uses_outbox() {
            self.durability = self.durability.with_outbox();
        }
        self.outbox = Some(outbox);
        self
    }

    /// The server's address, without credentials that may stand in it.
    #[must_use]
    pub fn display_url(&self) -> String {
        let servers = self
            .url
            .split(',')
            .map(|server| match server.trim().split_once("://") {
                Some((scheme, rest)) => format!("{scheme}://{}", after_user(rest)),
                None => after_user(server.trim()).to_owned(),
            });
        servers.collect::<Vec<_>>().join(",")
    }

    /// User and password, or a token alone, as the first server's URL gives them.
    pub(crate) fn user_info(&self) -> Option<(String, Option<String>)> {
        let first = self.url.split(',').next()?.trim();
        let authority = first
            .split_once("://")
            .map_or(first, |(_, authority)| authority);
        let (user_info, _) = authority.rsplit_once('@')?;
        Some(match user_info.split_once(':') {
            Some((user, password)) => (user.to_owned(), Some(password.to_owned())),
            None => (user_info.to_owned(), None),
        })
    }

    /// The name in the client's own inboxes and reply subjects.
    pub(crate) fn checked_identity(&self) -> Result<Name, ConfigError> {
        let name = self.identity.name.as_deref().unwrap_or(&self.name);
        name.parse().map_err(|source| ConfigError::Name {
            setting: "identity",
            source,
        })
    }

    pub(crate) fn checked_names(&self) -> Result<(Namespace, Name), ConfigError> {
        let in_setting = |setting| move |source| ConfigError::Name { setting, source };
        let namespace = self.namespace.parse().map_err(in_setting("namespace"))?;
        let name = self.name.parse().map_err(in_setting("name"))?;
        Ok((namespace, name))
    }
}

/// The files of `MCP_AUTH`, and what single variables say instead.
fn identity_from_env() -> Result<Identity, ConfigError> {
    let path = |variable| env::var_os(variable).map(PathBuf::from);
    let folder = path("MCP_AUTH");
    if let Some(folder) = folder.as_ref().filter(|folder| !folder.is_dir()) {
        let shown = folder.display().to_string();
        return Err(invalid(
            "MCP_AUTH",
            &shown,
            "a folder that `mcpctl auth` has made",
        ));
    }
    let mut identity = folder.map_or_else(Identity::default, |folder| Identity::of_folder(&folder));
    if let Some(creds) = path("MCP_NATS_CREDS") {
        (identity.creds, identity.nkey) = (Some(creds), None);
    }
    if let Some(nkey) = path("MCP_NATS_NKEY") {
        (identity.creds, identity.nkey) = (None, Some(nkey));
    }
    identity.ca = path("MCP_NATS_CA").or(identity.ca);
    identity.certificate = match (path("MCP_NATS_CERT"), path("MCP_NATS_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => identity.certificate,
        (Some(_), None) => return Err(invalid("MCP_NATS_KEY", "", "the key of MCP_NATS_CERT")),
        (None, Some(_)) => {
            return Err(invalid(
                "MCP_NATS_CERT",
                "",
                "the certificate of MCP_NATS_KEY",
            ));
        }
    };
    identity.name = env::var("MCP_IDENTITY").ok().or(identity.name);
    Ok(identity)
}

fn after_user(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// Reads and parses a variable; a missing one is `None`.
///
/// # Errors
/// When it is set to something else than `expected`.
pub fn env_parsed<T: std::str::FromStr>(
    variable: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    match env::var(variable) {
        Ok(value) => value
            .parse()
            .map(Some)
            .map_err(|_| invalid(variable, &value, expected)),
        Err(_) => Ok(None),
    }
}

/// Reads a duration such as `250ms` or `30s`; a missing one is `None`.
///
/// # Errors
/// When it is set to something that is no duration.
pub fn env_duration(variable: &'static str) -> Result<Option<Duration>, ConfigError> {
    match env::var(variable) {
        Ok(value) => humantime::parse_duration(&value)
            .map(Some)
            .map_err(|_| invalid(variable, &value, "a duration such as `250ms` or `30s`")),
        Err(_) => Ok(None),
    }
}

/// Reads a number of bytes such as `262144` or `256KiB`; a missing one is `None`.
///
/// # Errors
/// When it is set to something that is no number of bytes.
pub fn env_size(variable: &'static str) -> Result<Option<usize>, ConfigError> {
    match env::var(variable) {
        Ok(value) => parse_size(&value).map(Some).ok_or_else(|| {
            invalid(
                variable,
                &value,
                "a number of bytes such as `262144`, `256KiB` or `64MiB`",
            )
        }),
        Err(_) => Ok(None),
    }
}

/// Reads `262144` or `256KiB`. Decimal units are refused: half the world means the binary ones by them.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, unit) = text.split_at(
        text.find(|character: char| !character.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let factor: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(factor)
}

fn invalid(setting: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::Value {
        setting: setting.to_owned(),
        value: value.to_owned(),
        expected,
    }
}

/// A typing mistake in a variable's name would otherwise be the default, silently. Only near misses are
/// refused: the prefix is shared with the Model Context Protocol's tools.
fn refuse_misspelt(names: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    for variable in
        names.filter(|name| name.starts_with("MCP_") && !VARIABLES.contains(&name.as_str()))
    {
        if let Some(nearest) = nearest(&variable, VARIABLES, 2) {
            return Err(ConfigError::UnknownVariable { variable, nearest });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_refused_with_the_nearest() {
        let check = |name: &str| refuse_misspelt([name.to_owned()].into_iter());
        let error = check("MCP_NATS_ULR").unwrap_err().to_string();
        assert!(error.contains("MCP_NATS_URL"), "{error}");
        assert!(check("MCP_NATS_URL").is_ok());
        assert!(check("MCP_INSPECTOR_PORT").is_ok());
        assert!(check("PATH").is_ok());
    }

    #[test]
    fn sizes_are_read_with_binary_units_only() {
        let check =
            |text: &str, expected: Option<usize>| assert_eq!(parse_size(text), expected, "{text}");
        check("262144", Some(262_144));
        check("256KiB", Some(262_144));
        check(" 64 MiB ", Some(64 << 20));
        check("1GiB", Some(1 << 30));
        check("12B", Some(12));
        for nonsense in [
            "",
            "KiB",
            "256KB",
            "256kib",
            "-1",
            "1.5MiB",
            "1e6",
            "1MiBs",
            "99999999999GiB",
        ] {
            check(nonsense, None);
        }
    }

    #[test]
    fn credentials_in_the_address_are_not_shown() {
        let config = Config::new("nats://ada:secret@host:4222, other:4223");
        assert_eq!(config.display_url(), "nats://host:4222,other:4223");
        let user = |name: &str, password: Option<&str>| {
            Some((name.to_owned(), password.map(str::to_owned)))
        };
        assert_eq!(config.user_info(), user("ada", Some("secret")));
        assert_eq!(
            config.clone().url("nats://token@host").user_info(),
            user("token", None)
        );
        assert_eq!(config.clone().url("host:4222").user_info(), None);
        assert_eq!(config.url("third:4224").display_url(), "third:4224");
    }
}
