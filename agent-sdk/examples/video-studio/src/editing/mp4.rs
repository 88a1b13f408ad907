//! The container: which box holds what. `mp4-atom` knows the bytes of each box; this file knows the
//! layout of a film with one picture track and one sound track.
//!
//! ```text
//! ftyp | moov (all tables, first: playback starts before the download ends) | mdat (the packets)
//! ```

mod track;

use std::{fs, path::Path};

use mp4_atom::{Encode, Ftyp, Moov, Mvhd, Trak};

use super::{flac::Audio, h264::Video};
use crate::failure::MediaError;
use track::{Track, picture, sound};

/// Ticks per second in the film's own clock.
const CLOCK: u32 = 1000;

/// Writes the film.
pub(super) fn write(path: &Path, video: &Video, audio: &Audio) -> Result<(), MediaError> {
    let tracks = [
        picture(video).map_err(MediaError::encoder("MP4"))?,
        sound(audio)?,
    ];
    let head = ftyp();
    // The tables hold positions in the file, which depend on the size of the tables, which does not
    // depend on the positions: so they are made twice.
    let size = tables(&tracks, 0)?.len() + head.len() + 8;
    let mut file = head;
    file.extend(tables(&tracks, size as u32)?);
    let body: usize = tracks
        .iter()
        .flat_map(|track| &track.packets)
        .map(|(bytes, _)| bytes.len())
        .sum();
    file.extend((body as u32 + 8).to_be_bytes());
    file.extend(b"mdat");
    for chunk in chunks(&tracks) {
        for (bytes, _) in &tracks[chunk.track].packets[chunk.first..chunk.end] {
            file.extend(*bytes);
        }
    }
    fs::write(path, file).map_err(MediaError::at(path))
}

/// Packets of one track that lie together.
struct Chunk {
    track: usize,
    first: usize,
    end: usize,
}

/// Half a second of picture, half a second of sound, and so on: a player reads the file in one go.
fn chunks(tracks: &[Track<'_>; 2]) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let (mut next, mut clock) = ([0, 0], [0u64, 0u64]);
    let mut until = 0u64;
    while (0..2).any(|track| next[track] < tracks[track].packets.len()) {
        until += 500;
        for (number, track) in tracks.iter().enumerate() {
            let first = next[number];
            while next[number] < track.packets.len()
                && clock[number] * 1000 < until * u64::from(track.scale)
            {
                clock[number] += u64::from(track.packets[next[number]].1);
                next[number] += 1;
            }
            if next[number] > first {
                chunks.push(Chunk {
                    track: number,
                    first,
                    end: next[number],
                });
            }
        }
    }
    chunks
}

fn ftyp() -> Vec<u8> {
    let brands = [b"isom", b"iso2", b"avc1", b"mp41"].map(|brand| brand.into());
    let ftyp = Ftyp {
        major_brand: b"isom".into(),
        minor_version: 512,
        compatible_brands: brands.to_vec(),
    };
    let mut bytes = Vec::new();
    ftyp.encode(&mut bytes)
        .expect("a file type box always encodes");
    bytes
}

/// The `moov` box for packets that begin at byte `start`.
fn tables(tracks: &[Track<'_>; 2], start: u32) -> Result<Vec<u8>, MediaError> {
    let mut positions = [Vec::new(), Vec::new()];
    let mut sizes = [Vec::new(), Vec::new()];
    let mut at = start;
    for chunk in chunks(tracks) {
        positions[chunk.track].push(at);
        sizes[chunk.track].push((chunk.end - chunk.first) as u32);
        let packets = &tracks[chunk.track].packets[chunk.first..chunk.end];
        at += packets
            .iter()
            .map(|(bytes, _)| bytes.len() as u32)
            .sum::<u32>();
    }
    let trak: Vec<Trak> = tracks
        .iter()
        .zip(positions)
        .zip(sizes)
        .enumerate()
        .map(|(number, ((track, positions), sizes))| {
            track.table(number as u32 + 1, positions, &sizes)
        })
        .collect();
    let longest = trak
        .iter()
        .map(|trak| trak.tkhd.duration)
        .max()
        .unwrap_or_default();
    let moov = Moov {
        mvhd: Mvhd {
            timescale: CLOCK,
            duration: longest,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: 3,
            ..Mvhd::default()
        },
        trak,
        ..Moov::default()
    };
    let mut bytes = Vec::new();
    moov.encode(&mut bytes)
        .map_err(MediaError::encoder("MP4"))?;
    Ok(bytes)
}
