//! Places where a test can kill the process: `MCP_FAILPOINT=engine.written:3` aborts it there the third time.
//!
//! Compiled into debug builds only, and where the feature `failpoints` asks for it.

#[cfg(any(debug_assertions, feature = "failpoints"))]
/// Aborts the process here when it was asked to.
pub fn failpoint(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    static ARMED: LazyLock<Option<(String, u64)>> = LazyLock::new(|| {
        let armed = std::env::var("MCP_FAILPOINT").ok()?;
        let (name, hits) = armed.split_once(':').unwrap_or((&armed, "1"));
        Some((name.to_owned(), hits.parse().ok()?))
    });
    static HITS: AtomicU64 = AtomicU64::new(0);

    if let Some((armed, hits)) = &*ARMED
        && armed == name
        && HITS.fetch_add(1, Ordering::Relaxed) + 1 == *hits
    {
        // As a kill -9 would: nothing is cleaned up.
        std::process::abort();
    }
}

#[cfg(not(any(debug_assertions, feature = "failpoints")))]
/// Does nothing in this build.
pub fn failpoint(_name: &str) {}
