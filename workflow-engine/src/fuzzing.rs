//! What the engine reads of what anybody may send, as functions of bytes: for the fuzzer and for a short run among the
//! tests. Compiled for tests and with the feature `fuzzing` only.

use mcp_runtime::Format;

use crate::{
    checkpoint::WorkflowCheckpoint, record::WorkflowRecord, schedule, shape::WorkflowShape,
    task::Task,
};

/// Reads bytes.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: [(&str, Target); 3] = [
    ("tasks", tasks),
    ("workflows", workflows),
    ("schedules", schedules),
];

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

/// Records of schedules: the first byte chooses how much later somebody looks.
///
/// # Panics
/// When a schedule would fire for ever: that is a finding.
pub fn schedules(data: &[u8]) {
    if let Some((later, body)) = data.split_first() {
        schedule::read_plan(body, u64::from(*later) * 1_000);
    }
}

#[cfg(test)]
mod tests {
    use mcp_runtime::{Name, Token};
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::task::Verb;

    /// Where the fuzzer begins, too.
    #[test]
    fn no_target_panics_on_its_seeds() {
        for (name, target) in TARGETS {
            let seeds = format!("{}/../fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            let seeds: Vec<_> = std::fs::read_dir(seeds).unwrap().collect();
            assert!(!seeds.is_empty(), "{name}");
            for seed in seeds {
                target(&std::fs::read(seed.unwrap().path()).unwrap());
            }
        }
    }

    #[test]
    fn no_schedule_fires_for_ever() {
        let mut random = StdRng::seed_from_u64(1);
        let whole = serde_json::json!({
            "name": "s", "times": {"every": {"every_ms": 10_000, "from_ms": 60_000}}, "next": 60_000,
            "what": {"send": {"agent": "a", "action": "b", "parameters": {}}}, "catch_up": "all",
        });
        let cron = whole.to_string().replace(
            r#"{"every":{"every_ms":10000,"from_ms":60000}}"#,
            r#"{"cron":{"cron":"*/5 * * * *","zone":"UTC"}}"#,
        );
        let bodies = [whole.to_string(), cron];
        for body in &bodies {
            schedule::read_plan(body.as_bytes(), 1);
        }
        for _ in 0..2_000 {
            let body = bodies[random.random_range(0..bodies.len())].as_bytes();
            let mut data = [&[random.random()], body].concat();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..data.len());
                data[at] = *b"0123456789*/,-{}\""
                    .get(random.random_range(0..17))
                    .unwrap();
            }
            let read = std::panic::catch_unwind(|| schedules(&data));
            assert!(read.is_ok(), "{}", String::from_utf8_lossy(&data));
        }
    }

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
