//! A short run of every target, the same each time: valid bodies, spoilt a little, and noise.

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

use super::*;
use crate::persistence::Envelope;

/// So many of each target: some seconds in the dev profile.
const RUNS: u64 = 4_000;

fn bodies() -> Vec<Vec<u8>> {
    let name = |text| Name::new(text).unwrap();
    let mut command = Command::new(
        name("test"),
        name("probe"),
        name("effect"),
        Raw::encode(&7).unwrap(),
    );
    command.idempotency_key = Some("key".to_owned());
    let reply = serde_json::json!({
        "v": 1, "kind": "response", "id": "a", "command_id": "b", "source": "probe", "status": "ok", "result": {"a": [1.5, null]},
    });
    let mut bodies = Vec::new();
    for format in [Format::Msgpack, Format::Json] {
        let first = u8::from(format == Format::Json);
        for body in [
            format.encode(&command).unwrap(),
            format.encode(&reply).unwrap(),
        ] {
            bodies.push([&[first], &body[..]].concat());
        }
    }
    bodies.push(b"mcp.cmd.probe.normal.effect".to_vec());
    bodies.push(b"$JS.ACK.mcp_commands.probe_low.2.17.5.1700000000123000000.9".to_vec());
    bodies.push(b"\x00application/json\n\x0300-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n\x0412\n\x0699".to_vec());
    bodies.push(b"mcp.ctl.probe.cancel\0\x00application/json\0{\"command_id\":\"a\"}".to_vec());
    bodies.push(b"mcp.dead.probe.effect\0\x10BUSY\n\x112\n\x12[{\"code\":\"BUSY\"}]\n\x13mcp.cmd.probe.low.effect\0{}".to_vec());
    let envelope = Envelope::of_command(&Namespace::default(), &command).unwrap();
    let entry = std::collections::BTreeMap::from([("envelope", envelope)]);
    bodies.push(Format::Msgpack.encode(&entry).unwrap().to_vec());
    bodies.push(b"\x01\x91\x92\x80\xc4\x01a".to_vec());
    bodies
}

fn spoil(mut body: Vec<u8>, random: &mut StdRng) -> Vec<u8> {
    for _ in 0..random.random_range(0..6) {
        let at = random.random_range(0..=body.len());
        match random.random_range(0..4) {
            0 => body.truncate(at),
            1 => body.insert(at, random.random()),
            2 if at < body.len() => body[at] ^= 1 << random.random_range(0..8),
            3 if at < body.len() => drop(body.remove(at)),
            _ => {}
        }
    }
    body
}

#[test]
fn no_target_panics_on_spoilt_bodies_or_noise() {
    let mut random = StdRng::seed_from_u64(1);
    let bodies = bodies();
    for (name, target) in TARGETS {
        for run in 0..RUNS {
            let data = match run % 8 {
                0 => {
                    let mut noise = vec![0; random.random_range(0..300)];
                    random.fill_bytes(&mut noise);
                    noise
                }
                _ => spoil(
                    bodies[random.random_range(0..bodies.len())].clone(),
                    &mut random,
                ),
            };
            let read = std::panic::catch_unwind(|| target(&data));
            assert!(read.is_ok(), "{name} panics on {data:02x?}");
        }
    }
}

/// Found by reading for the fuzzer: such a header ended the process that emptied the outbox.
#[test]
fn an_outbox_entry_with_a_header_that_is_none_is_refused() {
    for (name, value) in [("a:b", "c"), ("a", "b\r\nc: d"), ("", "c"), ("ä", "c")] {
        let entry = serde_json::json!({"envelope": {
            "id": "a", "subject": "b", "headers": [[name, value]], "body": [1], "created_at_ms": 1,
        }});
        outbox(&Format::Msgpack.encode(&entry).unwrap());
    }
}

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
fn depth_and_false_lengths_are_refused() {
    for byte in [0x81, 0x91, b'[', b'{'] {
        for (_, target) in TARGETS {
            target(&[&[0][..], &[byte; 100_000]].concat());
            target(&[&[1][..], &[byte; 100_000]].concat());
        }
    }
    for (_, target) in TARGETS {
        target(&[0, 0xdf, 0xff, 0xff, 0xff, 0xff]);
        target(&[0, 0x81, 0xa1, b'v', 0xdd, 0xff, 0xff, 0xff, 0xff]);
        target(&[0, 0x81, 0xa1, b'v', 0xc6, 0xff, 0xff, 0xff, 0xff]);
    }
}
