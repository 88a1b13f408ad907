//! Places where a test can kill the process; the runtime's, because the runtime has some too.

pub(crate) use mcp_runtime::transport::failpoint;
