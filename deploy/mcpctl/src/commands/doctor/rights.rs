//! Who this is to the server, and whether that suffices for what the other checks ask.

use std::time::Duration;

use mcp_agent_sdk::Client;
use serde_json::Value;
use tokio::time::timeout;

use super::finding::Finding;

/// Answered by every server since 2.10; an identity that may not ask is never answered.
const USER_INFO: &str = "$SYS.REQ.USER.INFO";

const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the own rights.
pub(super) struct Rights {
    pub(super) finding: Finding,
    /// Whether the other checks can be made.
    pub(super) suffice: bool,
}

/// Asks the server who it takes this connection for.
pub(super) async fn check(client: &Client) -> Rights {
    let info = client.nats().server_info();
    if !info.auth_required {
        return Rights {
            finding: open(client.server()),
            suffice: true,
        };
    }
    judge(&user_info(client.nats()).await)
}

/// What a server says about a connection's user; null when it says nothing.
pub(super) async fn user_info(nats: &async_nats::Client) -> Value {
    let asked = timeout(PATIENCE, nats.request(USER_INFO, "".into())).await;
    let answer: Value = match asked {
        Ok(Ok(answer)) => serde_json::from_slice(&answer.payload).unwrap_or(Value::Null),
        _ => Value::Null,
    };
    answer["data"].clone()
}

fn open(server: &str) -> Finding {
    let local = ["127.0.0.1", "localhost", "[::1]"];
    let text = "whoever reaches the server may do everything";
    match local.iter().any(|host| server.contains(host)) {
        true => Finding::ok("rights", format!("{text}; it is on this machine")),
        false => {
            Finding::warn("rights", text).remedy("give each agent its own with `mcpctl auth init`")
        }
    }
}

fn judge(user: &Value) -> Rights {
    let Some(account) = user["account"].as_str() else {
        return Rights {
            finding: Finding::warn("rights", "the server does not say who this is"),
            suffice: true,
        };
    };
    let allowed = &user["permissions"]["publish"]["allow"];
    match allowed.as_array() {
        None => Rights {
            finding: Finding::ok(
                "rights",
                format!("all rights in the account `{account}`, and none in others"),
            ),
            suffice: true,
        },
        Some(subjects) => Rights {
            finding: Finding::fail(
                "rights",
                format!(
                    "this identity may publish to {} subjects of the account `{account}`, which is not enough for the other checks",
                    subjects.len()
                ),
            )
            .remedy("ask as the administrator: MCP_AUTH=…/admin"),
            suffice: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn a_restricted_identity_does_not_suffice() {
        let check = |user: Value, level: Level, suffice: bool| {
            let rights = judge(&user);
            assert_eq!(
                (rights.finding.level, rights.suffice),
                (level, suffice),
                "{user}"
            );
        };
        check(json!({ "account": "ns_mcp" }), Level::Ok, true);
        let permissions = json!({ "publish": { "allow": ["a"] } });
        check(
            json!({ "account": "ns_mcp", "permissions": permissions }),
            Level::Fail,
            false,
        );
        check(Value::Null, Level::Warn, true);
    }
}
