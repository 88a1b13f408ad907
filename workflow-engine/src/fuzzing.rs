//! What the engine reads of what anybody may send, as functions of bytes: for the fuzzer and for a short run among the
//! tests. Compiled for tests and with the feature `fuzzing` only.

use mcp_runtime::Format;

use crate::{
    checkpoint::WorkflowCheckpoint, record::WorkflowRecord, shape::WorkflowShape, task::Task,
};

/// Reads bytes.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 2] = [("tasks", tasks), ("workflows", workflows)];

/// Tasks: the first byte chooses the format, the subject ends with a zero byte.
///
/// # Panics
/// When a task that was read is written and not read again: that is a finding.
pub fn tasks(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let format = match first % 2 {
        0 => Format::Msgpack,
        _ => Format::Json,
    };
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (Some(subject), Some(body)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(subject) = std::str::from_utf8(subject) else {
        return;
    };
    if let Ok(task) = Task::decode(format, body, subject)
        && let Ok(body) = task.encode()
    {
        let read = Task::decode(Format::Msgpack, &body, subject);
        assert!(read.is_ok(), "written and not read: {:?}", read.err());
    }
}

/// Records, checkpoints and definitions.
///
/// # Panics
/// When a record that was read is written and not read again: that is a finding.
pub fn workflows(data: &[u8]) {
    if let Ok(record) = WorkflowRecord::decode(data)
        && let Ok(body) = record.encode()
    {
        let read = WorkflowRecord::decode(&body);
        assert!(read.is_ok(), "written and not read: {:?}", read.err());
    }
    let _ = WorkflowCheckpoint::decode(data);
    let _ = serde_json::from_slice::<WorkflowShape>(data);
}

#[cfg(test)]
mod tests {
    use mcp_runtime::{Name, Token};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::task::Verb;

    #[test]
    fn no_target_panics_on_spoilt_bodies() {
        let mut random = StdRng::seed_from_u64(1);
        let definition = Name::new("probe_pipeline").unwrap();
        let id = Token::new("w1").unwrap();
        let task = Task::new(Verb::Start, definition, id, 1);
        let body = task.encode().unwrap();
        let whole = [b"\x00mcp.wf.probe_pipeline.0.start.w1\0", &body[..]].concat();
        tasks(&whole);
        for _ in 0..8_000 {
            let mut data = match random.random::<bool>() {
                true => whole.clone(),
                false => body.to_vec(),
            };
            for _ in 0..random.random_range(1..6) {
                let at = random.random_range(0..data.len());
                match random.random::<bool>() {
                    true => data[at] = random.random(),
                    false => data.insert(at, random.random()),
                }
            }
            for (name, target) in TARGETS {
                let read = std::panic::catch_unwind(|| target(&data));
                assert!(read.is_ok(), "{name} panics on {data:02x?}");
            }
        }
    }
}
