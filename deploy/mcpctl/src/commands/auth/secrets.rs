//! Files that only their owner may read, and the keys in them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nkeys::KeyPair;

use crate::failure::Failure;

/// The seed of an identity, in its folder.
pub(super) const SEED: &str = "user.nk";

/// Makes a folder that only its owner may enter.
pub(super) fn make_folder(path: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| Failure::io(path.display().to_string(), &error))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let written = || -> io::Result<()> {
        if fs::read(path).is_ok_and(|found| found == contents) {
            return fs::set_permissions(path, fs::Permissions::from_mode(0o600));
        }
        // Beside it, so that a reader never sees half of it.
        let beside = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|error| Failure::io(path.display().to_string(), &error))
}

/// Makes a key for an identity, keeps its seed in a file, and returns the public key.
pub(super) fn make_key(path: &Path) -> Result<String, Failure> {
    let pair = KeyPair::new_user();
    let seed = pair
        .seed()
        .map_err(|_| Failure::usage("a new key has no seed"))?;
    write(path, format!("{seed}\n").as_bytes())?;
    Ok(pair.public_key())
}
