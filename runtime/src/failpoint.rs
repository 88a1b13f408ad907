//! Places where a test can kill the process, or have it dawdle: `MCP_FAILPOINT=engine.written:3` aborts it there the third time.
//!
//! Compiled into debug builds only, and where the feature `failpoints` asks for it.

#[cfg(any(debug_assertions, feature = "failpoints"))]
/// Aborts the process here when it was asked to. With a third part, `name:1:5000`, it stands still for so many milliseconds
/// instead, as on a machine that is too busy.
#[allow(
    clippy::disallowed_methods,
    reason = "to block a thread is what it is asked for"
)]
pub fn failpoint(name: &str) {
    use std::{
        sync::{
            LazyLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    struct Armed {
        name: String,
        hits: u64,
        pause: Option<Duration>,
    }

    fn armed() -> Option<Armed> {
        let armed = std::env::var("MCP_FAILPOINT").ok()?;
        let mut parts = armed.split(':');
        let name = parts.next()?.to_owned();
        let hits = parts.next().unwrap_or("1").parse().ok()?;
        let pause = parts.next().map(str::parse).transpose().ok()?;
        let pause = pause.map(Duration::from_millis);
        Some(Armed { name, hits, pause })
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(armed);
    static HITS: AtomicU64 = AtomicU64::new(0);

    if let Some(armed) = &*ARMED
        && armed.name == name
        && HITS.fetch_add(1, Ordering::Relaxed) + 1 == armed.hits
    {
        match armed.pause {
            // The thread and all: whatever else it would do waits as well.
            Some(pause) => std::thread::sleep(pause),
            // As a kill -9 would: nothing is cleaned up.
            None => std::process::abort(),
        }
    }
}

#[cfg(not(any(debug_assertions, feature = "failpoints")))]
/// Does nothing in this build.
pub fn failpoint(_name: &str) {}
