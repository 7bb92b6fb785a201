//! Functions for small pieces of text. They format durations, name signals, and make text of unknown origin harmless.

use std::fmt::Write as _;

use unicode_truncate::UnicodeTruncateStr as _;
use unicode_width::UnicodeWidthStr as _;

mod quoted;

pub use quoted::command_line;

/// Makes text that a process chose harmless for a terminal and a line. It escapes control characters, line separators,
/// characters that change the writing direction, and invisible characters.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            let _infallible = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character can change the state of a terminal or the form of a line.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{AD}'
                | '\u{61C}'
                | '\u{180E}'
                | '\u{200B}'..='\u{200F}'
                | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{FEFF}'
                | '\u{FFF9}'..='\u{FFFB}'
                | '\u{E0000}'..='\u{E007F}'
        )
}

/// JSON with the same value, in one line and harmless for a terminal. Of the hostile characters in a text, JSON itself
/// escapes only the first 32 characters of Unicode.
#[must_use]
pub fn harmless_json(json: String) -> String {
    if !json.contains(is_hostile) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        match c {
            // These are between two tokens of the JSON, because JSON escapes them within a text.
            '\t' | '\n' | '\r' => out.push(' '),
            // The other hostile characters are within a text.
            c if is_hostile(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _infallible = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// The number of terminal columns that a text takes: two for a Chinese character or an emoji, none for a combining
/// accent.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, with spaces behind it, so that it takes at least this number of columns.
#[must_use]
pub fn padded(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The same text for a terminal that has only ASCII. Each other character that `supervisor` itself writes is replaced
/// by an ASCII character of the same width. Text from other sources, such as a process's name, stays as it is.
#[must_use]
pub fn in_ascii(text: &str) -> String {
    text.chars().map(ascii).collect()
}

/// The ASCII character that replaces a character on a terminal that has only ASCII.
#[must_use]
pub fn ascii(c: char) -> char {
    match c {
        '│' | '├' => '|',
        '└' => '`',
        '─' | '▾' => '-',
        '┌' | '┐' | '┘' | '▸' => '+',
        '◄' => '<',
        '▲' => '^',
        '▼' => 'v',
        '…' => '~',
        '▁' => '_',
        '▂' => '.',
        '▃' => ':',
        '▄' => '=',
        '▅' => 'o',
        '▆' => '*',
        '▇' => '%',
        '█' => '#',
        c => c,
    }
}

/// The maximum number of bytes for each column of a cut text, on average. Without it a cut text has no limit: combining
/// characters take no column, and a text can consist only of them.
const COLUMN_BYTES: usize = 8;

/// The beginning of a text that takes at most `max` columns, with `…` where the rest was cut off.
#[must_use]
pub fn cut(text: &str, max: usize) -> String {
    let max_bytes = max.saturating_mul(COLUMN_BYTES);
    if text.len() <= max_bytes && width(text) <= max {
        return text.to_owned();
    }
    let bounded = &text[..text.floor_char_boundary(max_bytes)];
    let (kept, _) = bounded.unicode_truncate(max.saturating_sub(1));
    format!("{kept}…")
}

/// The same for a text that names a process as `NAME[PID]`: the name is cut, and the text from the pid on stays if it
/// fits.
#[must_use]
pub fn cut_name(text: &str, max: usize) -> String {
    let (name, rest) = text.split_at(text.rfind('[').unwrap_or(text.len()));
    match max.checked_sub(width(rest)) {
        Some(room) if room > 1 => cut(name, room) + rest,
        _ => cut(text, max),
    }
}

/// A duration in the form that a person uses.
#[must_use]
pub fn duration(ns: u64) -> String {
    let whole = ns / 1_000_000_000;
    match whole {
        0 => format!("{} ms", ns / 1_000_000),
        1..=59 => format!("{whole}.{} s", ns / 100_000_000 % 10),
        60..=3599 => format!("{} min {} s", whole / 60, whole % 60),
        3600..=86_399 => format!("{} h {} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3600 % 24),
    }
}

/// A duration in a list of mostly short durations. From one second on it is the same as [`duration`].
#[must_use]
pub fn short_duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{}.{} us", ns / 1_000, ns / 100 % 10),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => duration(ns),
    }
}

/// The age of something in a list: shorter, with whole minutes.
#[must_use]
pub fn age(ns: u64) -> String {
    let whole = ns / 1_000_000_000;
    match whole {
        60..=3599 => format!("{} min", whole / 60),
        _ => duration(ns),
    }
}

/// Name of a signal on Linux.
#[must_use]
pub fn signal_name(number: u8) -> Option<&'static str> {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES.get(usize::from(number)).copied().filter(|name| !name.is_empty())
}

/// Appends text in lines of at most `columns`. A code span stays in one piece, so that it can be copied.
pub fn wrap(out: &mut String, text: &str, first: &str, rest: &str, columns: usize) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in unbroken(text) {
        if !empty && width(&line) + 1 + width(word) > columns {
            out.push_str(&line);
            out.push('\n');
            rest.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}

/// Splits at spaces outside of code spans.
fn unbroken(text: &str) -> impl Iterator<Item = &str> {
    let mut code = false;
    text.split(move |c: char| {
        code ^= c == '`';
        c == ' ' && !code
    })
    .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ascii_form_has_the_same_width() {
        assert_eq!(in_ascii("│  └─ a…  ◄ é"), "|  `- a~  < é");
    }

    #[test]
    fn code_spans_are_not_broken() {
        let mut out = String::new();
        wrap(&mut out, "one two `three four five` six", "- ", "  ", 12);
        assert_eq!(out, "- one two\n  `three four five`\n  six\n");
    }

    #[test]
    fn hostile_text_is_escaped() {
        assert_eq!(clean("a\nb\x1b[31m\u{202e}c\u{0}"), "a\\u{a}b\\u{1b}[31m\\u{202e}c\\u{0}");
        assert_eq!(clean("naïve 名"), "naïve 名");
    }

    #[test]
    fn harmless_json_has_the_same_value_without_hostile_characters() {
        let text = "a\u{7f}b\u{9b}31m\u{202e}c\n\"d";
        let json = harmless_json(serde_json::to_string(text).unwrap());
        assert_eq!(json, r#""a\u007fb\u009b31m\u202ec\n\"d""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        assert_eq!(harmless_json("\"naïve\"".to_owned()), "\"naïve\"");
    }

    #[test]
    fn json_with_line_breaks_becomes_one_harmless_line() {
        let written = "{\t\"a\\tb\":\r\n[1.50,\t\"\u{7f}\"]}\n";
        let json = harmless_json(written.to_owned());
        assert_eq!(json, r#"{ "a\tb":  [1.50, "\u007f"]} "#);
        let [before, after] =
            [written, &json].map(|it| serde_json::from_str::<serde_json::Value>(it).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them() {
        for (text, columns) in
            [("abc", 3), ("名前", 4), ("🦀", 2), ("e\u{301}", 1), ("\u{1100}\u{1161}", 2), ("…", 1)]
        {
            assert_eq!(width(text), columns, "{text}");
            assert_eq!(width(&padded(text, 6)), 6, "{text}");
        }
        assert_eq!(padded("名前", 3), "名前");
        assert_eq!(cut("名前名前", 8), "名前名前");
        assert_eq!(cut("名前名前", 7), "名前名…");
        assert_eq!(cut("名前名前", 6), "名前…", "half a character is none");
        assert_eq!(cut("e\u{301}e\u{301}e", 3), "e\u{301}e\u{301}e");
        assert_eq!(cut("e\u{301}e\u{301}e", 2), "e\u{301}…");
        for (max, expected) in [(9, "crun[123]"), (8, "cr…[123]"), (7, "c…[123]"), (6, "crun[…")] {
            assert_eq!(cut_name("crun[123]", max), expected);
        }
        assert_eq!(cut_name("a[b][1] on c", 11), "a[…[1] on c");
        assert_eq!(cut_name("without", 4), "wit…");
    }

    #[test]
    fn a_text_of_combining_characters_is_cut_and_marked() {
        let marks = "\u{301}".repeat(1000);
        let text = cut(&marks, 10);
        assert!(text.len() <= 10 * COLUMN_BYTES + '…'.len_utf8() && text.ends_with('…'), "{}", text.len());
        let line = command_line(&["a".to_owned(), marks, "--last".to_owned()], false, 10);
        assert!(line.ends_with('…') && !line.contains("--last"), "{line}");
    }

    #[test]
    fn wide_text_is_wrapped_by_its_columns() {
        let mut out = String::new();
        wrap(&mut out, "名前 名前 名前", "", "", 9);
        assert_eq!(out, "名前 名前\n名前\n");
    }

    #[test]
    fn durations_have_suitable_units() {
        for (ns, text) in [
            (0, "0 ms"),
            (999_000_000, "999 ms"),
            (1_040_000_000, "1.0 s"),
            (61_000_000_000, "1 min 1 s"),
            (7_260_000_000_000, "2 h 1 min"),
            (90_000_000_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(ns), text);
        }
    }

    #[test]
    fn invisible_characters_are_escaped() {
        for c in ['\u{ad}', '\u{180e}', '\u{fff9}', '\u{fffb}', '\u{e0000}', '\u{e007f}'] {
            let text = format!("a{c}b");
            assert_eq!(clean(&text), format!("a\\u{{{:x}}}b", u32::from(c)));
            let json = harmless_json(serde_json::to_string(&text).unwrap());
            assert!(json.is_ascii(), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
