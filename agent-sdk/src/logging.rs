//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

/// Writes log lines to standard error, unless the program has set up something of its own.
///
/// `MCP_LOG` filters as `RUST_LOG` does (default `info`), `MCP_LOG_FORMAT=json` makes each line a JSON object.
/// Colours on a terminal only.
pub fn init_logging() {
    let filter = std::env::var("MCP_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = EnvFilter::new(filter.as_deref().unwrap_or("info,async_nats=warn"));
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // An error only says that the program has a subscriber already: that is its right.
    let _ = match std::env::var("MCP_LOG_FORMAT").as_deref() {
        Ok("json") => lines.json().try_init(),
        _ => lines.try_init(),
    };
}
