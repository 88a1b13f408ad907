#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mcp_workflow_engine::fuzzing::schedules(data));
