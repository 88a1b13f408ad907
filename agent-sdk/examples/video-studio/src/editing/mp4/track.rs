//! One track: its packets, and the tables that a player finds them with.

use mp4_atom::{
    Audio as AudioEntry, Avc1, Avcc, Codec, Dfla, Dinf, Dref, DrefEntry, Flac, FlacMetadataBlock,
    Hdlr, Mdhd, Mdia, Minf, Smhd, Stbl, Stco, Stsc, StscEntry, Stsd, Stss, Stsz, StszSamples, Stts,
    SttsEntry, Tkhd, Trak, Url, Visual, Vmhd,
};

use super::CLOCK;
use crate::{
    audio::RATE,
    editing::{flac::Audio, h264::Video},
    failure::MediaError,
    frames::{HEIGHT, WIDTH},
    script::FPS,
};

/// Packets of a track as the tables describe them.
pub(super) struct Track<'a> {
    pub(super) scale: u32,
    pub(super) packets: Vec<(&'a [u8], u32)>,
    entry: Codec,
    keys: Option<Vec<u32>>,
}

impl Track<'_> {
    fn is_picture(&self) -> bool {
        self.keys.is_some()
    }

    /// The track's box: `positions` and `chunk_sizes` say where its packets lie.
    pub(super) fn table(&self, track_id: u32, positions: Vec<u32>, chunk_sizes: &[u32]) -> Trak {
        let length: u64 = self
            .packets
            .iter()
            .map(|(_, duration)| u64::from(*duration))
            .sum();
        let (width, height) = if self.is_picture() {
            (WIDTH as u16, HEIGHT as u16)
        } else {
            (0, 0)
        };
        let tkhd = Tkhd {
            track_id,
            duration: length * u64::from(CLOCK) / u64::from(self.scale),
            enabled: true,
            in_movie: true,
            volume: u8::from(!self.is_picture()).into(),
            width: width.into(),
            height: height.into(),
            ..Tkhd::default()
        };
        let mdhd = Mdhd {
            timescale: self.scale,
            duration: length,
            language: "und".into(),
            ..Mdhd::default()
        };
        let (handler, name) = if self.is_picture() {
            (b"vide", "picture")
        } else {
            (b"soun", "sound")
        };
        let minf = Minf {
            vmhd: self.is_picture().then(Vmhd::default),
            smhd: (!self.is_picture()).then(Smhd::default),
            dinf: Dinf {
                dref: Dref {
                    entries: vec![DrefEntry::Url(Url::default())],
                },
            },
            stbl: self.samples(positions, chunk_sizes),
            ..Minf::default()
        };
        let hdlr = Hdlr {
            handler: handler.into(),
            name: name.into(),
        };
        Trak {
            tkhd,
            mdia: Mdia { mdhd, hdlr, minf },
            ..Trak::default()
        }
    }

    fn samples(&self, positions: Vec<u32>, chunk_sizes: &[u32]) -> Stbl {
        let mut stts: Vec<SttsEntry> = Vec::new();
        for (_, duration) in &self.packets {
            match stts
                .last_mut()
                .filter(|last| last.sample_delta == *duration)
            {
                Some(last) => last.sample_count += 1,
                None => stts.push(SttsEntry {
                    sample_count: 1,
                    sample_delta: *duration,
                }),
            }
        }
        let stsc = chunk_sizes
            .iter()
            .zip(1..)
            .map(|(size, first_chunk)| StscEntry {
                first_chunk,
                samples_per_chunk: *size,
                sample_description_index: 1,
            });
        let sizes = self
            .packets
            .iter()
            .map(|(bytes, _)| bytes.len() as u32)
            .collect();
        Stbl {
            stsd: Stsd {
                codecs: vec![self.entry.clone()],
            },
            stts: Stts { entries: stts },
            stss: self.keys.clone().map(|entries| Stss { entries }),
            stsc: Stsc {
                entries: stsc.collect(),
            },
            stsz: Stsz {
                samples: StszSamples::Different { sizes },
            },
            stco: Some(Stco { entries: positions }),
            ..Stbl::default()
        }
    }
}

/// The picture's packets.
pub(super) fn picture(video: &Video) -> Result<Track<'_>, mp4_atom::Error> {
    let visual = Visual {
        data_reference_index: 1,
        width: WIDTH as u16,
        height: HEIGHT as u16,
        ..Visual::default()
    };
    let avcc = Avcc::new(&video.sps, &video.pps)?;
    let keys = video
        .samples
        .iter()
        .zip(1..)
        .filter(|(sample, _)| sample.key)
        .map(|(_, number)| number);
    Ok(Track {
        scale: FPS,
        packets: video
            .samples
            .iter()
            .map(|sample| (&sample.bytes[..], 1))
            .collect(),
        entry: Avc1 {
            visual,
            avcc,
            ..Avc1::default()
        }
        .into(),
        keys: Some(keys.collect()),
    })
}

/// The sound's packets.
pub(super) fn sound(audio: &Audio) -> Result<Track<'_>, MediaError> {
    let info = &audio.info;
    let small = |size: usize| (size as u32).try_into().map_err(MediaError::encoder("MP4"));
    let stream = FlacMetadataBlock::StreamInfo {
        minimum_block_size: info.min_block_size() as u16,
        maximum_block_size: info.max_block_size() as u16,
        minimum_frame_size: small(info.min_frame_size())?,
        maximum_frame_size: small(info.max_frame_size())?,
        sample_rate: RATE,
        num_channels_minus_one: 1,
        bits_per_sample_minus_one: 15,
        number_of_interchannel_samples: info.total_samples() as u64,
        md5_checksum: info.md5_digest().to_vec(),
    };
    let entry = AudioEntry {
        data_reference_index: 1,
        channel_count: 2,
        sample_size: 16,
        sample_rate: (RATE as u16).into(),
    };
    Ok(Track {
        scale: RATE,
        packets: audio
            .packets
            .iter()
            .map(|packet| (&packet.bytes[..], packet.duration))
            .collect(),
        entry: Flac {
            audio: entry,
            dfla: Dfla {
                blocks: vec![stream],
            },
        }
        .into(),
        keys: None,
    })
}
