//! The runtime of the exporters, on a thread of its own.
//!
//! On the author's runtime exports would wait for handlers that block it. And a name that is being looked up holds a runtime's
//! end until the resolver gives up, half a minute where the resolver is a black hole; nobody waits for this one.

use std::{future::pending, io, sync::mpsc, thread};

use tokio::runtime::{Builder, Handle};

/// Starts it; it ends with the process.
///
/// # Errors
/// When the system has no thread for it.
pub(super) fn start() -> io::Result<Handle> {
    let (told, started) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("telemetry".to_owned());
    thread.spawn(
        move || match Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let _ = told.send(Ok(runtime.handle().clone()));
                runtime.block_on(pending::<()>());
            }
            Err(error) => drop(told.send(Err(error))),
        },
    )?;
    let ended = |_| Err(io::Error::other("the thread has ended"));
    started.recv().unwrap_or_else(ended)
}
