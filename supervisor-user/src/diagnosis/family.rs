//! The families of un-reaped processes: their names, and a page of advice for each, carried in the program.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::pages;
use crate::words::wrap;

/// Columns of a page on a terminal.
const TERMINAL_COLUMNS: usize = 80;

/// Columns of the book's source.
const BOOK_COLUMNS: usize = 110;

/// A class of cause: why a process that exited is still there.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
pub enum Family {
    /// A monitor is a subreaper and does not reap what it adopts.
    F1,
    /// PID 1 of a container does not reap what it adopts.
    F2,
    /// An exec session or health check left a child to PID 1.
    F3,
    /// A parent never waits for its own child.
    F4,
    /// An init is there, but neither PID 1 nor a subreaper.
    F5,
    /// A runtime left its own helper process.
    F6,
    /// The zombie is itself a monitor.
    F7,
    /// A PID namespace cannot end.
    F8,
    /// The leader exited, other threads live.
    F9,
    /// A tracer holds it.
    F10,
    /// The reaper cannot run.
    F11,
    /// It exits, but is no zombie yet.
    F12,
    /// The parent ignores SIGCHLD: never a zombie.
    F13,
    /// Its exit signal is not SIGCHLD.
    F14,
    /// It was waited for with `WNOWAIT` only.
    F15,
    /// `pause` cannot reap, because the PID namespace is not shared.
    F16,
    /// One wait per SIGCHLD: a child is lost.
    F17,
    /// The reaper waits only now and then.
    F18,
    /// It reads a child's output to its end before it waits.
    F19,
    /// It waits for another child first.
    F20,
    /// `SIGCHLD` is blocked, so that the reaper is never told.
    F21,
    /// The handler that reaped was replaced.
    F22,
    /// The reaper executed another program after it had forked.
    F23,
    /// The reaper runs, or waits for a processor.
    F24,
}

/// What there is to know about a family. Text is Markdown with code spans only.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// What the person on the host sees.
    pub looks_like: &'static str,
    /// What the kernel does and what the reaper fails to do.
    pub why: &'static str,
    /// What supervisor must have seen to say so, and what weakens it.
    pub evidence: &'static str,
    /// What to do, best first.
    pub remedies: &'static [&'static str],
    /// What people try in vain.
    pub wont_help: &'static [&'static str],
    /// Public threads (`owner/repo#N`), manual pages, kernel files.
    pub sources: &'static [&'static str],
}

/// No family has this id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("there is no family {given:?}; there are {}", valid_ids())]
pub struct UnknownFamily {
    given: String,
}

impl Family {
    /// All of them, in order.
    pub const ALL: [Self; 24] = [
        Self::F1,
        Self::F2,
        Self::F3,
        Self::F4,
        Self::F5,
        Self::F6,
        Self::F7,
        Self::F8,
        Self::F9,
        Self::F10,
        Self::F11,
        Self::F12,
        Self::F13,
        Self::F14,
        Self::F15,
        Self::F16,
        Self::F17,
        Self::F18,
        Self::F19,
        Self::F20,
        Self::F21,
        Self::F22,
        Self::F23,
        Self::F24,
    ];

    /// The id, the same for ever: `F1`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.words().0
    }

    /// A short name for machines.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.words().1
    }

    /// A heading for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        self.words().2
    }

    /// What people may call it: `F4`, `parent-never-waits`, or `4`.
    fn names(self) -> [&'static str; 3] {
        [self.id(), self.name(), &self.id()[1..]]
    }

    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::F1 => ("F1", "monitor-does-not-reap", "A monitor does not reap what it adopts"),
            Self::F2 => ("F2", "pid1-does-not-reap", "PID 1 of the container does not reap"),
            Self::F3 => ("F3", "exec-leftover", "A health check or exec left a child to PID 1"),
            Self::F4 => ("F4", "parent-never-waits", "A parent never waits for its own child"),
            Self::F5 => ("F5", "init-not-pid1", "An init is there but not where orphans go"),
            Self::F6 => ("F6", "runtime-helper", "A runtime left its own helper"),
            Self::F7 => ("F7", "monitor-zombie", "The zombie is a monitor"),
            Self::F8 => ("F8", "namespace-blocked", "A PID namespace cannot end"),
            Self::F9 => ("F9", "threads-alive", "The leader exited and other threads live"),
            Self::F10 => ("F10", "held-by-tracer", "A tracer holds it"),
            Self::F11 => ("F11", "parent-cannot-run", "The reaper cannot run"),
            Self::F12 => ("F12", "still-exiting", "It still exits and is no zombie yet"),
            Self::F13 => ("F13", "sigchld-ignored", "The parent ignores SIGCHLD"),
            Self::F14 => ("F14", "exit-signal", "Its exit signal is not SIGCHLD"),
            Self::F15 => ("F15", "peeked-only", "It was looked at and not reaped"),
            Self::F16 => ("F16", "pause-without-sharing", "pause cannot reap without a shared namespace"),
            Self::F17 => ("F17", "lost-sigchld", "One wait per SIGCHLD loses a child"),
            Self::F18 => ("F18", "late-reaper", "The reaper waits only now and then"),
            Self::F19 => ("F19", "reads-to-end", "The reaper reads to the end before it waits"),
            Self::F20 => ("F20", "waits-for-another", "The reaper waits for another child first"),
            Self::F21 => ("F21", "sigchld-blocked", "SIGCHLD is blocked in the reaper"),
            Self::F22 => ("F22", "handler-replaced", "The reaper's SIGCHLD handler was replaced"),
            Self::F23 => ("F23", "image-replaced", "The reaper executed another program since"),
            Self::F24 => ("F24", "reaper-busy", "The reaper has not had the time"),
        }
    }

    /// Whether its findings are zombies: not a PID namespace, nor a process that has not exited.
    #[must_use]
    pub(super) const fn is_of_zombies(self) -> bool {
        !matches!(self, Self::F8 | Self::F9 | Self::F12)
    }

    /// The anchor of its heading in the book, as GitHub and mdBook make it.
    #[must_use]
    pub fn anchor(self) -> String {
        slug(&self.heading())
    }

    /// What there is to know about it.
    #[must_use]
    pub const fn page(self) -> &'static Page {
        pages::page(self)
    }

    fn heading(self) -> String {
        format!("{} {}", self.id(), self.title())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|family| family.names().iter().any(|name| name.eq_ignore_ascii_case(text)))
            .ok_or_else(|| UnknownFamily { given: text.to_owned() })
    }
}

impl clap::ValueEnum for Family {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        let [id, others @ ..] = self.names();
        Some(clap::builder::PossibleValue::new(id).aliases(others).help(self.title()))
    }
}

fn valid_ids() -> String {
    Family::ALL.map(Family::id).join(", ")
}

/// The page as plain text for a terminal of 80 columns.
#[must_use]
pub fn page_text(family: Family) -> String {
    let page = family.page();
    let mut out = format!("{} {}\n{}\n", family.id(), family.name(), family.title());
    for (title, text) in [("Looks like", page.looks_like), ("Why", page.why), ("Evidence", page.evidence)] {
        let _infallible = write!(out, "\n{}\n", title.to_uppercase());
        wrap(&mut out, text, "  ", "  ", TERMINAL_COLUMNS);
    }
    for (title, items) in
        [("Do", page.remedies), ("Will not help", page.wont_help), ("Sources", page.sources)]
    {
        let _infallible = write!(out, "\n{}\n", title.to_uppercase());
        for item in items {
            wrap(&mut out, item, "  - ", "    ", TERMINAL_COLUMNS);
        }
    }
    out
}

/// The whole of docs/families.md.
#[must_use]
pub fn book() -> String {
    let mut out = String::new();
    for (i, paragraph) in pages::INTRO.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        wrap(&mut out, paragraph, "", "", BOOK_COLUMNS);
    }
    out.push_str("\n| | question | page |\n|---|---|---|\n");
    for (i, (question, families)) in pages::WHICH.iter().enumerate() {
        let links: Vec<String> = families.iter().map(|family| link(*family)).collect();
        let _infallible = writeln!(out, "| {} | {question} | {} |", i + 1, links.join(", "));
    }
    for paragraph in pages::BESIDE {
        out.push('\n');
        wrap(&mut out, paragraph, "", "", BOOK_COLUMNS);
    }
    for family in Family::ALL {
        section(&mut out, family);
    }
    out
}

fn section(out: &mut String, family: Family) {
    let page = family.page();
    let _infallible = write!(out, "\n## {}\n\n`{}`\n", family.heading(), family.name());
    for (title, text) in [("Looks like", page.looks_like), ("Why", page.why), ("Evidence", page.evidence)] {
        out.push('\n');
        wrap(out, &format!("**{title}.** {text}"), "", "", BOOK_COLUMNS);
    }
    for (title, items) in [("Do", page.remedies), ("Will not help", page.wont_help)] {
        let _infallible = write!(out, "\n**{title}:**\n\n");
        for item in items {
            wrap(out, item, "- ", "  ", BOOK_COLUMNS);
        }
    }
    let sources: Vec<String> = page.sources.iter().map(|source| source_link(source)).collect();
    out.push('\n');
    wrap(out, &format!("Sources: {}.", sources.join(", ")), "", "", BOOK_COLUMNS);
}

fn link(family: Family) -> String {
    format!("[{} {}](#{})", family.id(), family.name(), family.anchor())
}

/// A thread `owner/repo#N` becomes a link; GitHub redirects from issues to pull requests.
fn source_link(source: &str) -> String {
    match source.split_once('#') {
        Some((repository, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
            format!("[{source}](https://github.com/{repository}/issues/{number})")
        }
        _ => source.to_owned(),
    }
}

fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_parse_back() {
        let mut seen = HashSet::new();
        for (i, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.id(), format!("F{}", i + 1));
            assert!(family.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'1'));
            for text in [family.id(), family.name(), family.title()] {
                assert!(seen.insert(text), "{text} is there twice");
            }
            for text in [family.id().to_owned(), family.id().to_lowercase(), family.name().to_owned()] {
                assert_eq!(text.parse(), Ok(family));
            }
            assert_eq!(serde_json::to_string(&family).expect("JSON"), format!("\"{}\"", family.id()));
        }
    }

    #[test]
    fn an_unknown_family_names_the_valid_ones() {
        let error = "F99".parse::<Family>().expect_err("there is no F99").to_string();
        assert!(error.starts_with("there is no family \"F99\"; there are F1, F2, "), "{error}");
        assert!(error.ends_with(", F24"), "{error}");
    }

    #[test]
    fn every_family_has_a_page() {
        for family in Family::ALL {
            let page = family.page();
            for text in [page.looks_like, page.why, page.evidence] {
                assert!(text.len() > 80, "{family}: too short: {text}");
            }
            for list in [page.remedies, page.wont_help, page.sources] {
                assert!(!list.is_empty() && list.iter().all(|item| !item.is_empty()), "{family}");
            }
            for text in [page.looks_like, page.why, page.evidence]
                .iter()
                .chain(page.remedies.iter().chain(page.wont_help).chain(page.sources))
            {
                assert!(text.matches('`').count() % 2 == 0, "{family}: open code span: {text}");
                assert!(!text.contains('\n') && !text.contains("  "), "{family}: {text:?}");
            }
        }
    }

    #[test]
    fn pages_fit_a_terminal() {
        for family in Family::ALL {
            for line in page_text(family).lines() {
                assert!(line.chars().count() <= TERMINAL_COLUMNS, "{family}: {line}");
            }
        }
    }

    #[test]
    fn anchors_exist_in_the_book() {
        let book = book();
        let headings: HashSet<String> =
            book.lines().filter_map(|line| line.strip_prefix("## ")).map(slug).collect();
        for family in Family::ALL {
            assert!(headings.contains(&family.anchor()), "{family}");
        }
        for target in book.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(headings.contains(target), "{target}");
        }
    }

    /// A line that begins like a list, a heading or a quotation would be read as one.
    #[test]
    fn wrapping_makes_no_markup() {
        for line in book().lines().map(str::trim_start) {
            let first = line.split(' ').next().unwrap_or_default();
            let numbered = first.ends_with('.') && first.trim_end_matches('.').parse::<u32>().is_ok();
            assert!(!numbered && !matches!(first, "+" | "*" | ">" | "="), "{line}");
        }
        let dashes = book().lines().filter(|line| line.trim_start().starts_with("- ")).count();
        let items: usize =
            Family::ALL.iter().map(|f| f.page().remedies.len() + f.page().wont_help.len()).sum();
        assert_eq!(dashes, items);
    }

    /// `UPDATE_GOLDEN=1` writes the book anew.
    #[test]
    fn the_book_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/families.md");
        let book = book();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &book).expect("the book can be written");
        }
        let written = std::fs::read_to_string(path).expect("the book exists");
        assert_eq!(written, book, "docs/families.md is generated: UPDATE_GOLDEN=1 writes it");
    }
}
