//! Reads a configuration from a file, with keys of the command line on top. Errors name file, line, key and cause.

use std::{ops::Range, path::Path};

use serde::Deserialize as _;
use supervisor_deliver::plain_file;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use super::{Config, check};

/// A larger file is refused: it cannot be a configuration.
const MAX_FILE: u64 = 1 << 20;

/// An error of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{file}:{line}: {key}{cause}")]
    Wrong {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The key with a colon, or nothing if there is none.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A key that was set on the command line is wrong.
    #[error("--set {key}: {cause}")]
    Set {
        /// The assignment, or the key that is wrong after it.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
}

impl Config {
    /// Reads a configuration; without a file, the defaults. Each of `sets` is `KEY=VALUE` with a dotted key and a TOML
    /// value. A value that is no TOML is taken as text.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or anything in it or set on top of it is wrong.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let (text, name) = match file {
            Some(file) => (read(file)?, file.display().to_string()),
            None => (String::new(), "defaults".to_owned()),
        };
        let config = Self::parse(&text, &name)?;
        if sets.is_empty() {
            return Ok(config);
        }
        let mut table: Table = text.parse().unwrap_or_default();
        for set in sets {
            merge(&mut table, assignment(set)?);
        }
        let wrong = |key: String, cause: String| ConfigError::Set { key, cause };
        let config = Self::deserialize(table)
            .map_err(|error| wrong(sets.join(" --set "), error.message().trim().replace('\n', ", ")))?;
        check::problem(&config).map_or(Ok(config), |problem| Err(wrong(problem.key.join("."), problem.cause)))
    }

    /// Parses the text of a file. Errors contain `name` as the name of the file.
    ///
    /// # Errors
    ///
    /// If anything in it is wrong.
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let wrong = |at: usize, key: String, cause: String| ConfigError::Wrong {
            file: name.to_owned(),
            line: text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1,
            key: if key.is_empty() { key } else { format!("{key}: ") },
            cause,
        };
        let config: Self = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            let key = DeTable::parse(text).map(|table| key_at(&table, &span)).unwrap_or_default();
            wrong(span.start, key.join("."), error.message().trim().replace('\n', ", "))
        })?;
        check::problem(&config).map_or(Ok(config), |problem| {
            let at = DeTable::parse(text).map(|table| place_of(&table, &problem.key)).unwrap_or_default();
            Err(wrong(at, problem.key.join("."), problem.cause))
        })
    }
}

fn read(file: &Path) -> Result<String, ConfigError> {
    plain_file::read(file, MAX_FILE)
        .map_err(|source| ConfigError::Read { file: file.display().to_string(), source })
}

/// One `KEY=VALUE` as a table.
fn assignment(set: &str) -> Result<Table, ConfigError> {
    let wrong = |cause: &str| ConfigError::Set { key: set.to_owned(), cause: cause.to_owned() };
    let (key, value) = set.split_once('=').ok_or_else(|| wrong("expected KEY=VALUE"))?;
    let text = format!("{key} = {}", Value::String(value.to_owned()));
    set.parse().or_else(|_| text.parse()).map_err(|_| wrong("the part before = is no key"))
}

/// Merges `over` into `table`. Values of `over` replace existing ones.
fn merge(table: &mut Table, over: Table) {
    for (key, value) in over {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(table)), Value::Table(over)) => merge(table, over),
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// The key whose span, or whose value's span, contains the position of an error.
fn key_at(table: &Spanned<DeTable<'_>>, at: &Range<usize>) -> Vec<String> {
    fn walk(table: &DeTable<'_>, at: &Range<usize>, path: &mut Vec<String>) {
        for (key, value) in table {
            let is_inside = |span: Range<usize>| span.start <= at.start && at.end <= span.end;
            if is_inside(key.span()) {
                path.push(key.get_ref().to_string());
                return;
            }
            let before = path.len();
            path.push(key.get_ref().to_string());
            if let DeValue::Table(inner) = value.get_ref() {
                walk(inner, at, path);
            }
            // The span of a table covers its header, or the text in its braces.
            if path.len() > before + 1 || is_inside(value.span()) {
                return;
            }
            path.truncate(before);
        }
    }
    let mut path = Vec::new();
    walk(table.get_ref(), at, &mut path);
    path
}

/// The position of a key. If the key is missing, the position of the innermost existing table around it.
fn place_of(table: &Spanned<DeTable<'_>>, path: &[String]) -> usize {
    let mut at = 0;
    let mut table = table.get_ref();
    for wanted in path {
        let Some((key, value)) = table.iter().find(|(key, _)| key.get_ref() == wanted.as_str()) else {
            break;
        };
        at = key.span().start;
        let DeValue::Table(inner) = value.get_ref() else { break };
        table = inner;
    }
    at
}
