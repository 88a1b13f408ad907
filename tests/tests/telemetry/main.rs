//! What can be seen from outside: one trace over several agents, figures, probes; and that a collector which is away
//! costs nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod collectors;
mod dashboards;
mod figures;
mod journey;
mod kin;
mod peer;
mod probes;
mod sampled;
mod secrets;
mod traces;

type TestResult = Result<(), Box<dyn std::error::Error>>;
