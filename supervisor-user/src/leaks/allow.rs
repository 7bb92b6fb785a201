//! Reads the allow list: the leaks that are known and accepted.
//!
//! Each line is one entry: a field, its value, and after `#` the reason why this leak is accepted. Empty lines and
//! lines that begin with `#` are skipped. An entry without a reason is an error, and so is an unknown field.
//!
//! ```text
//! name gpg-agent                  # git starts it to sign, and it stays for the next commit
//! executable /usr/bin/conmon      # it lives as long as its container
//! args sccache --start-server     # the compile cache
//! ```
//!
//! `name` is the whole name as in `/proc/PID/comm`, `executable` is the whole path, and `args` is the first arguments,
//! split at spaces.

use schemars::JsonSchema;
use serde::Serialize;
use supervisor_model::finding::Process;

use super::Leak;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Allowed {
    /// Its line number in the file; the first line is 1.
    pub line: usize,
    /// Field and value, as they are written in the file.
    pub entry: String,
    /// Why the leak is accepted.
    pub reason: String,
    #[serde(skip)]
    pattern: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Executable(String),
    Args(Vec<String>),
}

impl Pattern {
    fn matches(&self, process: &Process) -> bool {
        match self {
            Self::Name(name) => process.name == *name,
            Self::Executable(path) => process.executable.as_ref() == Some(path),
            Self::Args(first) => process.args.starts_with(first),
        }
    }
}

/// A line that is no valid entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadEntry {
    /// Its line number; the first line is 1.
    pub line: usize,
    problem: &'static str,
}

/// All entries of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList(Vec<Allowed>);

impl AllowList {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// If a line is no valid entry.
    pub fn parse(text: &str) -> Result<Self, BadEntry> {
        let mut entries = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            entries.push(entry(line, text).map_err(|problem| BadEntry { line, problem })?);
        }
        Ok(Self(entries))
    }

    /// Marks each known leak with the first entry that matches it. Returns the entries that mark no leak.
    pub fn apply(&self, leaks: &mut [Leak]) -> Vec<Allowed> {
        let mut unmatched = self.0.clone();
        for leak in leaks {
            let Some(finding) = leak.finding() else { continue };
            let Some(entry) = self.0.iter().find(|entry| entry.pattern.matches(&finding.process)) else {
                continue;
            };
            unmatched.retain(|other| other.line != entry.line);
            leak.allowed = Some(entry.clone());
        }
        unmatched
    }
}

fn entry(line: usize, text: &str) -> Result<Allowed, &'static str> {
    let (entry, reason) = text.split_once('#').map_or((text, ""), |(entry, reason)| (entry, reason));
    let (entry, reason) = (entry.trim(), reason.trim());
    let (field, value) = entry.split_once(char::is_whitespace).map_or((entry, ""), |(f, v)| (f, v.trim()));
    if value.is_empty() {
        return Err("there is no value: write a field, its value, and after `#` the reason");
    }
    if reason.is_empty() {
        return Err("there is no reason: write after `#` why this leak is accepted");
    }
    let pattern = match field {
        "name" => Pattern::Name(value.to_owned()),
        "executable" => Pattern::Executable(value.to_owned()),
        "args" => Pattern::Args(value.split_whitespace().map(str::to_owned).collect()),
        _ => return Err("there is no such field: write `name`, `executable` or `args`"),
    };
    Ok(Allowed { line, entry: entry.to_owned(), reason: reason.to_owned(), pattern })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::{LeakKind, sample};

    const LIST: &str = "# known\n\nname gpg-agent # signs\nexecutable /usr/bin/conmon  # of its container\n\
                        args sccache --start-server #cache\n";

    #[test]
    fn an_entry_matches_by_name_executable_or_first_arguments() {
        let list = AllowList::parse(LIST).unwrap();
        let mut leaks = [
            sample::leak(LeakKind::Running, 1, "gpg-agent", &["gpg-agent", "--daemon"]),
            sample::leak(LeakKind::Running, 2, "gpg-agent2", &["gpg-agent2"]),
            sample::leak(LeakKind::Unreaped, 3, "conmon", &["/usr/bin/conmon", "-c", "1"]),
            sample::leak(LeakKind::Running, 4, "sccache", &["sccache", "--stop-server"]),
        ];
        let unmatched = list.apply(&mut leaks);
        let allowed: Vec<Option<usize>> =
            leaks.iter().map(|leak| leak.allowed.as_ref().map(|entry| entry.line)).collect();
        assert_eq!(allowed, [Some(3), None, Some(4), None]);
        assert_eq!(unmatched.len(), 1);
        assert_eq!((unmatched[0].line, unmatched[0].reason.as_str()), (5, "cache"));
    }

    #[test]
    fn a_line_that_is_no_entry_is_named_with_its_problem() {
        for (text, line, problem) in [
            ("name gpg-agent", 1, "no reason"),
            ("name gpg-agent #  ", 1, "no reason"),
            ("name a # b\nname # nobody", 2, "no value"),
            ("\ncomm gpg-agent # signs", 2, "no such field"),
        ] {
            let error = AllowList::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
