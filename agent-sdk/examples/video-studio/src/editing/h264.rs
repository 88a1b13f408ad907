//! H.264: frames in, packets as MP4 wants them out.

use openh264::{
    OpenH264API,
    encoder::{
        BitRate, Complexity, Encoder as OpenH264, EncoderConfig, FrameRate, FrameType,
        IntraFramePeriod, Profile, QpRange, RateControlMode, UsageType, VuiConfig,
    },
    formats::YUVSlices,
    nal_units,
};

use crate::{
    failure::MediaError,
    frames::{Frame, HEIGHT, WIDTH},
    script::FPS,
};

/// An encoded film without its container.
#[derive(Default)]
pub(super) struct Video {
    /// Sequence and picture parameters: what a decoder must know first.
    pub(super) sps: Vec<u8>,
    pub(super) pps: Vec<u8>,
    pub(super) samples: Vec<Sample>,
}

/// One encoded frame.
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    /// Whether a player can start here.
    pub(super) key: bool,
}

pub(super) struct Encoder {
    codec: OpenH264,
    video: Video,
}

impl Encoder {
    pub(super) fn new() -> Result<Self, MediaError> {
        // Skies and glows show their steps when bits run short: plenty of them, and a bound on how
        // coarse a frame may get.
        let config = EncoderConfig::new()
            .max_frame_rate(FrameRate::from_hz(FPS as f32))
            .bitrate(BitRate::from_bps(3_000_000))
            .rate_control_mode(RateControlMode::Bufferbased)
            .qp(QpRange::new(14, 25))
            .usage_type(UsageType::CameraVideoRealTime)
            .complexity(Complexity::Medium)
            .profile(Profile::High)
            .intra_frame_period(IntraFramePeriod::from_num_frames(FPS * 2))
            .skip_frames(false)
            .scene_change_detect(false)
            .background_detection(false)
            .num_threads(1)
            .vui(VuiConfig::bt709());
        let codec = OpenH264::with_api_config(OpenH264API::from_source(), config)
            .map_err(MediaError::encoder("H.264"))?;
        Ok(Self {
            codec,
            video: Video::default(),
        })
    }

    /// Encodes one frame; a `cut` begins a new scene and needs nothing from the one before.
    pub(super) fn push(&mut self, frame: &Frame, cut: bool) -> Result<(), MediaError> {
        if cut {
            self.codec.force_intra_frame();
        }
        let picture = YUVSlices::new(
            frame.planes(),
            (WIDTH, HEIGHT),
            (WIDTH, WIDTH / 2, WIDTH / 2),
        );
        let stream = self
            .codec
            .encode(&picture)
            .map_err(MediaError::encoder("H.264"))?;
        let key = matches!(stream.frame_type(), FrameType::IDR);
        let sample = self.video.take(&stream.to_vec(), key);
        self.video.samples.push(sample);
        Ok(())
    }

    pub(super) fn finish(self) -> Video {
        self.video
    }
}

impl Video {
    /// Turns start codes into lengths, and keeps the parameter sets aside.
    fn take(&mut self, stream: &[u8], key: bool) -> Sample {
        const KIND: u8 = 0x1f;
        const SPS: u8 = 7;
        const PPS: u8 = 8;
        let mut bytes = Vec::with_capacity(stream.len());
        for unit in nal_units(stream) {
            let unit = without_start_code(unit);
            match unit.first().map(|head| head & KIND) {
                Some(SPS) => self.sps = unit.to_vec(),
                Some(PPS) => self.pps = unit.to_vec(),
                _ => {
                    bytes.extend((unit.len() as u32).to_be_bytes());
                    bytes.extend(unit);
                }
            }
        }
        Sample { bytes, key }
    }
}

/// Strips the leading `00 00 (00) 01`, and the zero that belongs to the next unit's start code.
fn without_start_code(unit: &[u8]) -> &[u8] {
    let start = unit
        .iter()
        .position(|byte| *byte == 1)
        .map_or(0, |one| one + 1);
    let end = unit
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(start, |last| last + 1);
    &unit[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_become_packets_with_parameters_aside() {
        let mut encoder = Encoder::new().unwrap();
        for number in 0..5 {
            encoder.push(&Frame::black(), number == 3).unwrap();
        }
        let video = encoder.finish();
        let keys: Vec<_> = video.samples.iter().map(|sample| sample.key).collect();
        assert_eq!(keys, [true, false, false, true, false]);
        assert!(!video.sps.is_empty() && !video.pps.is_empty());
        for sample in &video.samples {
            let length = u32::from_be_bytes(sample.bytes[..4].try_into().unwrap()) as usize;
            assert_eq!(length + 4, sample.bytes.len(), "one slice a frame");
        }
    }

    #[test]
    fn start_codes_are_stripped() {
        for unit in [
            &[0, 0, 0, 1, 9, 8][..],
            &[0, 0, 1, 9, 8],
            &[0, 0, 1, 9, 8, 0],
        ] {
            assert_eq!(without_start_code(unit), [9, 8]);
        }
    }
}
