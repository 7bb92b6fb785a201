//! Prints messages for the person at the terminal, or for the log.

use std::{
    io::{self, Write as _},
    os::fd::AsFd,
};

use supervisor_model::words::{width, wrap};

/// Prints a line for people on standard error. It is no error if nobody reads it.
pub fn say(text: &str) {
    let text = match columns_of(io::stderr()) {
        Some(columns) => wrapped(text, columns),
        None => format!("{text}\n"),
    };
    let _unread = io::stderr().write_all(text.as_bytes());
}

/// Wraps the lines of a text that are too long.
fn wrapped(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for line in text.split('\n') {
        if width(line) > columns {
            wrap(&mut out, line, "", "", columns);
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The width of the terminal at the other end, if there is one.
pub fn columns_of(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_lines_are_wrapped() {
        assert_eq!(wrapped("  one  two\nthree four five", 10), "  one  two\nthree four\nfive\n");
        assert_eq!(wrapped("", 10), "\n");
    }
}
