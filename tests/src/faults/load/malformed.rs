//! Bodies that are no command, each from one number.

use mcp_agent_sdk::{
    Name, Raw,
    runtime::{Command, Format},
};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

/// The longest body: near the server's limit for one message.
const LONGEST: usize = 900 * 1024;

/// A body that no decoder takes for a command: noise, a broken command, depth, promises of length.
pub(in crate::faults) fn body(dice: u64) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(dice);
    match dice % 7 {
        0 => noise(&mut random, 200),
        // A valid command that ends early.
        1 => {
            let command = command();
            let end = random.random_range(0..command.len());
            command[..end].to_vec()
        }
        // Maps in maps, deeper than any stack.
        2 => vec![0x81; random.random_range(1_000..20_000)],
        // Arrays that promise 4 thousand million entries.
        3 => [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(random.random_range(1..50)),
        4 => br#"{"v":1,"kind":"command","id":7}"#.to_vec(),
        // Huge, and nothing.
        5 => {
            let length = random.random_range(1_000..LONGEST);
            noise(&mut random, length)
        }
        _ => Vec::new(),
    }
}

fn noise(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    // A fixnum: whatever follows, it is no map.
    bytes[0] = 0x07;
    bytes
}

fn command() -> Vec<u8> {
    let name = |text| Name::new(text).expect("a constant");
    let parameters = Raw::encode(&7).expect("a number can be encoded");
    let command = Command::new(name("test"), name("probe"), name("effect"), parameters);
    let encoded = Format::Msgpack.encode(&command);
    encoded.expect("a command can be encoded").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_of_them_is_a_command() {
        for dice in 0..200 {
            let body = body(dice);
            let decoded = Format::Msgpack.decode::<Command>(&body);
            assert!(decoded.is_err(), "{dice}: {body:x?}");
        }
    }
}
