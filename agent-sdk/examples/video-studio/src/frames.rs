//! Scene files: the pictures of one scene on disk, lossless, between the agent that draws them and
//! the agent that cuts the film.
//!
//! ```text
//! "MCPSCENE" | width u16 | height u16 | frames u32 | per frame: length u32, LZ4 block
//! ```
//!
//! A frame is YUV 4:2:0, what the encoder wants. Neither side ever holds more than a frame or two.

use std::{
    fs::{self, File},
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use crate::failure::MediaError;

/// Pictures are this wide and high: 9:16, the format of a phone.
pub(crate) const WIDTH: usize = 540;
/// See [`WIDTH`].
pub(crate) const HEIGHT: usize = 960;

const MAGIC: &[u8; 8] = b"MCPSCENE";

/// One picture: a plane of brightness, then two of colour at half the size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    bytes: Vec<u8>,
}

impl Frame {
    const LUMA: usize = WIDTH * HEIGHT;
    const SIZE: usize = Self::LUMA * 3 / 2;

    pub(crate) fn black() -> Self {
        let mut bytes = vec![16; Self::SIZE];
        bytes[Self::LUMA..].fill(128);
        Self { bytes }
    }

    /// Brightness, blue difference, red difference.
    pub(crate) fn planes(&self) -> (&[u8], &[u8], &[u8]) {
        let (y, rest) = self.bytes.split_at(Self::LUMA);
        let (u, v) = rest.split_at(Self::LUMA / 4);
        (y, u, v)
    }

    pub(crate) fn planes_mut(&mut self) -> (&mut [u8], &mut [u8], &mut [u8]) {
        let (y, rest) = self.bytes.split_at_mut(Self::LUMA);
        let (u, v) = rest.split_at_mut(Self::LUMA / 4);
        (y, u, v)
    }

    /// Moves every sample towards `other`: 0 keeps this frame, 1 becomes the other.
    pub(crate) fn blend(&mut self, other: &Self, share: f32) {
        if share <= 0.0 {
            return;
        }
        let share = (share.clamp(0.0, 1.0) * 256.0) as i32;
        for (mine, theirs) in self.bytes.iter_mut().zip(&other.bytes) {
            let (from, to) = (i32::from(*mine), i32::from(*theirs));
            *mine = (from + (((to - from) * share) >> 8)) as u8;
        }
    }
}

/// Writes a scene file. It appears under its name only when complete, so a replica that dies in the
/// middle leaves nothing that looks finished, and two replicas on the same scene do no harm.
pub(crate) struct SceneWriter {
    path: PathBuf,
    draft: PathBuf,
    out: BufWriter<File>,
}

impl SceneWriter {
    pub(crate) fn create(path: &Path, frames: u32) -> Result<Self, MediaError> {
        let draft = path.with_extension(format!("draft-{}", std::process::id()));
        let file = File::create(&draft).map_err(MediaError::at(&draft))?;
        let mut writer = Self {
            path: path.to_owned(),
            draft,
            out: BufWriter::new(file),
        };
        writer.put(MAGIC)?;
        writer.put(&(WIDTH as u16).to_le_bytes())?;
        writer.put(&(HEIGHT as u16).to_le_bytes())?;
        writer.put(&frames.to_le_bytes())?;
        Ok(writer)
    }

    pub(crate) fn push(&mut self, frame: &Frame) -> Result<(), MediaError> {
        let packed = lz4_flex::block::compress(&frame.bytes);
        self.put(&(packed.len() as u32).to_le_bytes())?;
        self.put(&packed)
    }

    pub(crate) fn finish(mut self) -> Result<(), MediaError> {
        self.out.flush().map_err(MediaError::at(&self.draft))?;
        fs::rename(&self.draft, &self.path).map_err(MediaError::at(&self.path))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), MediaError> {
        self.out
            .write_all(bytes)
            .map_err(MediaError::at(&self.draft))
    }
}

impl Drop for SceneWriter {
    fn drop(&mut self) {
        // After `finish` the draft has its final name, and there is nothing to remove.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Reads a scene file frame by frame.
pub(crate) struct SceneReader {
    path: PathBuf,
    input: BufReader<File>,
    packed: Vec<u8>,
    left: u32,
}

impl SceneReader {
    pub(crate) fn open(path: &Path) -> Result<Self, MediaError> {
        let file = File::open(path).map_err(MediaError::at(path))?;
        let input = BufReader::new(file);
        let mut reader = Self {
            path: path.to_owned(),
            input,
            packed: Vec::new(),
            left: 0,
        };
        let head: [u8; 16] = reader.take()?;
        let size = [WIDTH as u16, HEIGHT as u16].map(u16::to_le_bytes).concat();
        if &head[..8] != MAGIC || head[8..12] != size {
            return Err(MediaError::unusable(
                path,
                "it is no scene file of this studio",
            ));
        }
        reader.left = u32::from_le_bytes([head[12], head[13], head[14], head[15]]);
        Ok(reader)
    }

    /// Frames not read yet.
    pub(crate) fn left(&self) -> u32 {
        self.left
    }

    /// Reads the next frame into `frame`; false when there is none.
    pub(crate) fn next(&mut self, frame: &mut Frame) -> Result<bool, MediaError> {
        if self.left == 0 {
            return Ok(false);
        }
        let length = u32::from_le_bytes(self.take()?) as usize;
        if length > lz4_flex::block::get_maximum_output_size(Frame::SIZE) {
            return Err(MediaError::unusable(&self.path, "a frame is too large"));
        }
        self.packed.resize(length, 0);
        self.input
            .read_exact(&mut self.packed)
            .map_err(|e| self.cut_short(&e))?;
        match lz4_flex::block::decompress_into(&self.packed, &mut frame.bytes) {
            Ok(Frame::SIZE) => self.left -= 1,
            _ => return Err(MediaError::unusable(&self.path, "a frame is damaged")),
        }
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MediaError> {
        let mut bytes = [0; N];
        self.input
            .read_exact(&mut bytes)
            .map_err(|e| self.cut_short(&e))?;
        Ok(bytes)
    }

    fn cut_short(&self, error: &std::io::Error) -> MediaError {
        MediaError::unusable(&self.path, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(level: u8) -> Frame {
        let mut frame = Frame::black();
        frame.planes_mut().0.fill(level);
        frame
    }

    #[test]
    fn frames_come_back_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scene");
        let mut writer = SceneWriter::create(&path, 2).unwrap();
        writer.push(&grey(40)).unwrap();
        writer.push(&grey(200)).unwrap();
        assert!(
            !path.exists(),
            "an unfinished scene must not carry its name"
        );
        writer.finish().unwrap();

        let mut reader = SceneReader::open(&path).unwrap();
        let mut frame = Frame::black();
        assert!(reader.next(&mut frame).unwrap());
        assert_eq!(frame, grey(40));
        assert!(reader.next(&mut frame).unwrap());
        assert_eq!(frame, grey(200));
        assert!(!reader.next(&mut frame).unwrap());
    }

    #[test]
    fn a_writer_that_stops_early_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(SceneWriter::create(&folder.path().join("scene"), 2).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn damaged_and_missing_files_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scene");
        assert!(matches!(
            SceneReader::open(&path),
            Err(MediaError::Missing { .. })
        ));
        for bytes in [&b"MCP"[..], b"something else entirely", b""] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(
                SceneReader::open(&path),
                Err(MediaError::Unusable { .. })
            ));
        }
    }

    #[test]
    fn blending_goes_from_one_frame_to_the_other() {
        for (share, level) in [(0.0, 100), (0.5, 150), (1.0, 200)] {
            let mut frame = grey(100);
            frame.blend(&grey(200), share);
            assert_eq!(frame, grey(level), "{share}");
        }
    }
}
