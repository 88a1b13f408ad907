//! The operator's binary as a script meets it: exit codes, what is on stdout, and processes that start and stop.

mod backup;
mod bench;
mod cancel;
mod connect;
mod dead;
mod dev;
mod events;
mod explain;
mod fork;
mod history;
mod leftovers;
mod messages;
mod new;
mod operate;
mod repair;
mod retries;
mod schedule;
mod send;
mod submit;
mod top;
mod trace;
mod upgrade;
mod usage;
mod workflow;

/// A port on which nothing listens: it was free a moment ago, and the kernel does not give it out again at once.
async fn dead_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    format!("nats://{}", listener.local_addr().expect("it is bound"))
}
