//! The places in the sources at which a process can be made to die.

use std::{collections::BTreeSet, fs, path::Path};

use crate::workspace;

/// The names of the failpoints in a folder of the workspace.
///
/// # Panics
/// When the sources cannot be read.
#[must_use]
pub fn failpoints_in(folder: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    collect(&workspace().join(folder), &mut known);
    known
}

fn collect(folder: &Path, known: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, known);
            continue;
        }
        let text = fs::read_to_string(&path).expect("a text");
        let named = text.split("failpoint(\"").skip(1);
        known.extend(named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
    }
}
