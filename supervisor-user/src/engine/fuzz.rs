//! The function that fuzz targets call for the files in the state directory. Nothing else calls it.

use std::path::Path;

use super::{history, open_findings::Left};

/// Reads what an earlier run has left in a directory.
///
/// # Panics
///
/// If the list of open findings names a line that cannot be read.
pub fn state(dir: &Path) {
    let _no_panic = history::read(dir, "");
    if let Ok(Some(left)) = Left::read(dir) {
        for line in left.open.values() {
            left.observation(line).expect("the file has not changed").expect("it was read before");
        }
    }
}
