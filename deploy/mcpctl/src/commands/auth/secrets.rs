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

/// Its next seed, while a rotation is under way.
pub(super) const NEXT_SEED: &str = "user-next.nk";

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

/// Puts the next seed into the place of the seed, where there is a next one; returns the public key of the seed that is there now.
pub(super) fn take_next_key(place: &Path) -> Result<String, Failure> {
    let (next, seed) = (place.join(NEXT_SEED), place.join(SEED));
    let failed = |error: io::Error| Failure::io(seed.display().to_string(), &error);
    match fs::rename(&next, &seed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let text = fs::read_to_string(&seed).map_err(failed)?;
    let pair = KeyPair::from_seed(text.trim())
        .map_err(|_| Failure::usage(format!("{} holds no seed", seed.display())))?;
    Ok(pair.public_key())
}
