//! FLAC: sound without loss, in a format browsers and players understand inside an MP4.

use flacenc::{
    bitsink::ByteSink,
    component::{BitRepr, StreamInfo},
    config, encode_with_fixed_block_size,
    error::Verify,
    source::MemSource,
};

use crate::{audio::RATE, failure::MediaError};

/// Encoded sound without its container.
pub(super) struct Audio {
    pub(super) info: StreamInfo,
    pub(super) packets: Vec<Packet>,
}

/// One FLAC frame.
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    /// Samples of each channel in it.
    pub(super) duration: u32,
}

/// Encodes 16-bit stereo samples.
pub(super) fn encode(samples: &[i16]) -> Result<Audio, MediaError> {
    let samples: Vec<i32> = samples.iter().map(|sample| i32::from(*sample)).collect();
    let config = config::Encoder::default()
        .into_verified()
        .map_err(|(_, error)| failed(&error))?;
    let source = MemSource::from_samples(&samples, 2, 16, RATE as usize);
    let stream =
        encode_with_fixed_block_size(&config, source, config.block_size).map_err(|e| failed(&e))?;
    let packets = (0..stream.frame_count())
        .filter_map(|number| stream.frame(number))
        .map(|frame| {
            let mut sink = ByteSink::new();
            frame.write(&mut sink).map_err(|e| failed(&e))?;
            Ok(Packet {
                bytes: sink.as_slice().to_vec(),
                duration: frame.block_size() as u32,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Audio {
        info: stream.stream_info().clone(),
        packets,
    })
}

fn failed(error: &dyn std::fmt::Debug) -> MediaError {
    MediaError::encoder("FLAC")(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_add_up_to_the_sound() {
        let samples: Vec<i16> = (0..20_000)
            .map(|n| ((n as f32 * 0.05).sin() * 9000.0) as i16)
            .collect();
        let audio = encode(&samples).unwrap();
        assert_eq!(
            audio.packets.iter().map(|p| p.duration).sum::<u32>(),
            10_000
        );
        let size: usize = audio.packets.iter().map(|p| p.bytes.len()).sum();
        assert!(size < samples.len() * 2, "{size} bytes: nothing gained");
    }
}
