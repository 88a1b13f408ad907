//! WAV files: 44 bytes of header, then 16-bit stereo.

use std::{fs, path::Path};

use super::{RATE, Stereo};
use crate::failure::MediaError;

const HEADER: usize = 44;

/// Writes `sound`; the file appears complete or not at all.
pub(super) fn write(path: &Path, sound: &Stereo) -> Result<(), MediaError> {
    let size = sound.left.len() as u32 * 4;
    let mut bytes = Vec::with_capacity(HEADER + size as usize);
    bytes.extend(header(size));
    for (left, right) in sound.left.iter().zip(&sound.right) {
        for sample in [left, right] {
            let level = (sample.clamp(-1.0, 1.0) * 32767.0) as i16;
            bytes.extend(level.to_le_bytes());
        }
    }
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    fs::write(&draft, bytes).map_err(MediaError::at(&draft))?;
    fs::rename(&draft, path).map_err(MediaError::at(path))
}

/// Reads the samples of a file that [`write`] wrote: left, right, left, right.
pub(crate) fn read(path: &Path) -> Result<Vec<i16>, MediaError> {
    let bytes = fs::read(path).map_err(MediaError::at(path))?;
    let size = bytes.len().saturating_sub(HEADER) as u32;
    if bytes.len() < HEADER || bytes[..HEADER] != header(size) {
        return Err(MediaError::unusable(
            path,
            "it is no WAV file of this studio",
        ));
    }
    Ok(bytes[HEADER..]
        .chunks_exact(2)
        .map(|b| i16::from_le_bytes([b[0], b[1]]))
        .collect())
}

fn header(size: u32) -> [u8; HEADER] {
    let (channels, bits) = (2u16, 16u16);
    let frame = channels * bits / 8;
    let mut head = Vec::with_capacity(HEADER);
    head.extend(b"RIFF");
    head.extend((36 + size).to_le_bytes());
    head.extend(b"WAVEfmt \x10\0\0\0\x01\0");
    head.extend(channels.to_le_bytes());
    head.extend(RATE.to_le_bytes());
    head.extend((RATE * u32::from(frame)).to_le_bytes());
    head.extend(frame.to_le_bytes());
    head.extend(bits.to_le_bytes());
    head.extend(b"data");
    head.extend(size.to_le_bytes());
    head.try_into().expect("the header has 44 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let sound = Stereo {
            left: vec![0.0, 1.0, -1.0],
            right: vec![0.5, 2.0, 0.0],
        };
        write(&path, &sound).unwrap();
        assert_eq!(read(&path).unwrap(), [0, 16383, 32767, 32767, -32767, 0]);
        fs::write(&path, b"RIFF").unwrap();
        assert!(matches!(read(&path), Err(MediaError::Unusable { .. })));
    }
}
