//! Does one thing better when ffmpeg happens to be installed: AAC sound, which every device plays.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// Replaces the FLAC sound of `file` by AAC; false, and the file as it was, when that is not possible.
pub(super) fn sound_to_aac(file: &Path) -> bool {
    let better = file.with_extension("aac.mp4");
    let done = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-nostdin", "-i"])
        .arg(file)
        .args([
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            "-b:a",
            "192k",
            "-movflags",
            "+faststart",
        ])
        .arg(&better)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let replaced = done && fs::rename(&better, file).is_ok();
    if !replaced {
        let _ = fs::remove_file(&better);
    }
    replaced
}
