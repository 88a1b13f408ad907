//! What the tests with real servers and real processes share.
//!
//! [`mcpctl`] is the built binary, [`run`] runs it to its end, [`spawn_probe`] starts a worker process that can be
//! terminated or killed, [`eventually`] waits for a condition. Servers come from the SDK's `TestBroker`, or, as
//! secured ones and as clusters, from [`Cluster`].

mod binary;
mod cluster;
mod failpoints;
pub mod faults;
mod otlp;
mod overload;
mod process;
pub mod proxy;
mod pty;
mod wait;

pub use binary::{mcpctl, nats_server, video_studio, workspace};
pub use cluster::Cluster;
pub use failpoints::failpoints_in;
pub use otlp::{OtlpSink, SeenLine, SeenMetric, SeenSpan};
pub use overload::{LaneReport, Overload, Report, Running};
pub use process::{Finished, Process, run, run_in, run_with, spawn, spawn_probe, spawn_probe_with};
pub use pty::Terminal;
pub use wait::{PATIENCE, eventually, instances, present};
