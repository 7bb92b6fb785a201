//! Writes arguments as one command line, quoted as a shell reads them.

use std::fmt::Write as _;

use super::{COLUMN_BYTES, cut, is_hostile};
use crate::redact::MARK;

/// Arguments in one line, quoted as a shell reads them. A reader sees where each argument begins and ends, whatever its
/// content is. `…` at the end means that there are more arguments, or that the line is cut to `max` columns, because a
/// person does not read more.
#[must_use]
pub fn command_line(args: &[String], mut is_cut: bool, max: usize) -> String {
    let mut line = String::new();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            line.push(' ');
        }
        quote(arg, i == 0 && is_assignment(arg), &mut line);
        // The rest is not shown: `cut()` keeps no more bytes.
        if line.len() > max.saturating_mul(COLUMN_BYTES) {
            is_cut = true;
            break;
        }
    }
    if is_cut {
        line.push_str(if line.is_empty() { "…" } else { " …" });
    }
    cut(&line, max)
}

/// Whether a shell reads this word as an assignment at the beginning of a command.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Appends an argument as a shell reads it, so that it can be pasted.
fn quote(arg: &str, is_forced: bool, out: &mut String) {
    // `…` marks missing text.
    let is_special = |c: char| c.is_whitespace() || "'\"\\$`|&;<>()*?!#…{}[]^~".contains(c) || is_hostile(c);
    // A redacted argument cannot be pasted in any case. Without quotes it is easier to read.
    let rest = arg.replace(MARK, "");
    let is_plain = !arg.is_empty() && !rest.contains(is_special) && !arg.starts_with('=');
    if is_plain && !is_forced {
        out.push_str(arg);
    } else if !arg.contains(|c: char| c == '\'' || is_hostile(c)) {
        let _infallible = write!(out, "'{arg}'");
    } else {
        out.push_str("$'");
        for c in arg.chars() {
            let _infallible = match c {
                '\'' | '\\' => write!(out, "\\{c}"),
                '\n' => write!(out, "\\n"),
                '\t' => write!(out, "\\t"),
                '\r' => write!(out, "\\r"),
                c if is_hostile(c) && u32::from(c) < 0x80 => write!(out, "\\x{:02x}", u32::from(c)),
                c if is_hostile(c) && u32::from(c) <= 0xFFFF => write!(out, "\\u{:04x}", u32::from(c)),
                c if is_hostile(c) => write!(out, "\\U{:08x}", u32::from(c)),
                c => write!(out, "{c}"),
            };
        }
        out.push('\'');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_line_is_cut_and_marked() {
        let args: Vec<String> = ["a", "", "b c", "ddddddddd"].map(String::from).into();
        assert_eq!(command_line(&args, false, 80), "a '' 'b c' ddddddddd");
        assert_eq!(command_line(&args, false, 10), "a '' 'b c…");
        assert_eq!(command_line(&args, true, 80), "a '' 'b c' ddddddddd …");
        assert_eq!(command_line(&[], true, 80), "…");
    }

    #[test]
    fn each_argument_is_quoted_as_a_shell_reads_it() {
        for (arg, quoted) in [
            ("--a=b/c:1", "--a=b/c:1"),
            ("naïve", "naïve"),
            ("[redacted]", "[redacted]"),
            ("", "''"),
            ("a b", "'a b'"),
            ("~/x", "'~/x'"),
            ("{a,b}", "'{a,b}'"),
            ("[a-z]", "'[a-z]'"),
            ("--token=[redacted]", "--token=[redacted]"),
            ("=ls", "'=ls'"),
            ("a\\b", "'a\\b'"),
            ("\"", "'\"'"),
            ("…", "'…'"),
            ("$x", "'$x'"),
            ("it's", "$'it\\'s'"),
            ("a\n\t", "$'a\\n\\t'"),
            ("'\\", "$'\\'\\\\'"),
            ("\u{1b}[31m", "$'\\x1b[31m'"),
            ("a\u{202e}b", "$'a\\u202eb'"),
            ("\u{e0041}", "$'\\U000e0041'"),
            ("a\u{a0}b", "'a\u{a0}b'"),
        ] {
            assert_eq!(command_line(&[arg.to_owned()], false, 80), quoted);
        }
    }

    /// A shell reads back each argument as it was.
    #[test]
    fn a_command_line_can_be_pasted() {
        let args: Vec<String> = [
            "A=b",
            "",
            "it's",
            "a b",
            "a\nb\t",
            "$HOME `x` \\",
            "{a,b}",
            "*",
            "~",
            "\u{1b}[31m",
            "!!",
            "naïve",
            "\u{202e}",
        ]
        .map(String::from)
        .into();
        let line = command_line(&args, false, 1000);
        assert!(!line.contains(is_hostile), "{line:?}");
        let mut shell = std::process::Command::new("bash");
        shell.args(["-c", &format!("printf '%s\\0' {line}")]).env("LC_ALL", "C.UTF-8");
        let output = shell.output().expect("bash is on every machine that builds this");
        let read = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(read.split_terminator('\0').collect::<Vec<_>>(), args, "{line}");
        assert!(line.starts_with("'A=b' "), "{line}");
    }
}
