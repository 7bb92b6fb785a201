//! Repairs the end of a file whose writer was killed, or had no room, in the middle of a line.

use std::{
    fmt::Display,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
};

use serde::de::IgnoredAny;

use crate::sink::warn;

/// No event is longer. A longer line is not ours, and is not touched.
const MAX_LINE: u64 = 16 << 20;
/// How many bytes are read at once, backwards from the end.
const BLOCK: u64 = 64 << 10;

/// Makes a file end with a whole line. A last line that is a whole JSON document gets its newline. Any other unfinished
/// line is cut off. Returns the size.
pub(super) fn repair(file: &File, name: impl Display) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let whole = end_of_lines(file, size)?;
    if whole == size {
        return Ok(size);
    }
    let mut line = vec![0; (size - whole) as usize];
    file.read_exact_at(&mut line, whole)?;
    if line.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(&line).is_ok() {
        let mut file = file;
        file.write_all(b"\n")?;
        return Ok(size + 1);
    }
    file.set_len(whole)?;
    warn(&format!("{name} ended in the middle of a line: its last {} bytes were cut off", size - whole));
    Ok(whole)
}

/// The position after the last newline.
fn end_of_lines(file: &File, size: u64) -> io::Result<u64> {
    let mut end = size;
    let mut block = Vec::new();
    while end > 0 {
        if size - end > MAX_LINE {
            let cause = "its last line is longer than any event: it is no file of events, and is left alone";
            return Err(io::Error::new(io::ErrorKind::InvalidData, cause));
        }
        let start = end.saturating_sub(BLOCK);
        block.resize((end - start) as usize, 0);
        file.read_exact_at(&mut block, start)?;
        if let Some(last) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
