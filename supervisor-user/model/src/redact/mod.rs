//! Removes secrets from observed facts, before anything else sees these facts. docs/redaction.md lists the known
//! secrets.
//!
//! `Redacted` is between the host and `Inspection` (both in `supervisor_collect`). So conclusions, events and recordings are
//! made from facts that are redacted already.

mod args;
mod keys;
mod text;

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text that replaces a secret.
pub const MARK: &str = "[redacted]";
/// The maximum number of patterns in a configuration.
const MAX_PATTERNS: usize = 64;
/// A compiled pattern takes at most this much memory.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// How much of a process's arguments is observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ArgsMode {
    /// All, with the secrets that are in them
    Full,
    /// All but the secrets that are known by their keys or their form
    #[default]
    Redacted,
    /// The first only, which is the program
    Program,
    /// None
    None,
}

/// What is taken out of arguments and names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedactConfig {
    /// How much of arguments is observed, sent and recorded: `full`, `redacted`, `program` or `none`.
    pub args: ArgsMode,
    /// Regular expressions of further secrets. Of a match, the group `secret` is replaced, or all of it without such a
    /// group.
    pub patterns: Vec<String>,
}

/// The same on a command line.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RedactArgs {
    /// How much of processes' arguments is shown and recorded: full, redacted (known secrets are left out), program, none
    #[arg(
        long = "args",
        value_name = "HOW",
        default_value = "redacted",
        hide_possible_values = true,
        help_heading = "Secrets"
    )]
    mode: ArgsMode,
    /// Leave out what this regular expression matches, or its group `secret`, too
    #[arg(long = "redact", value_name = "REGEX", value_parser = pattern, help_heading = "Secrets")]
    patterns: Vec<String>,
}

/// Parses a pattern of the command line.
fn pattern(text: &str) -> Result<String, String> {
    compiled(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

impl RedactArgs {
    /// The same settings as a configuration.
    #[must_use]
    pub fn config(&self) -> RedactConfig {
        RedactConfig { args: self.mode, patterns: self.patterns.clone() }
    }

    /// The redactor of these arguments.
    ///
    /// # Errors
    ///
    /// If a pattern cannot be used.
    pub fn redactor(&self) -> Result<Redactor, BadPattern> {
        Redactor::new(&self.config())
    }
}

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// There are too many.
    #[error("there are more than {MAX_PATTERNS} patterns")]
    TooMany,
    /// It is no regular expression, or too large.
    #[error("`{pattern}` cannot be used: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The reason.
        why: String,
    },
}

fn compiled(pattern: &str) -> Result<Regex, BadPattern> {
    RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build().map_err(|error| {
        let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
        BadPattern::Pattern { pattern: pattern.to_owned(), why }
    })
}

/// Takes secrets out of text.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    mode: ArgsMode,
    patterns: Vec<Regex>,
}

impl Redactor {
    /// The part of the arguments that is observed.
    #[must_use]
    pub fn mode(&self) -> ArgsMode {
        self.mode
    }

    /// The redactor for a configuration.
    ///
    /// # Errors
    ///
    /// If a pattern cannot be used.
    pub fn new(config: &RedactConfig) -> Result<Self, BadPattern> {
        if config.patterns.len() > MAX_PATTERNS {
            return Err(BadPattern::TooMany);
        }
        Ok(Self {
            mode: config.args,
            patterns: config.patterns.iter().map(|it| compiled(it)).collect::<Result<_, _>>()?,
        })
    }

    /// A name, path or other text without its secrets.
    #[must_use]
    pub fn text(&self, text: String) -> String {
        match self.redacted(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => redacted,
        }
    }

    /// A path without secrets. Each of its names is redacted on its own, because a secret in one name must not hide the
    /// names behind it.
    #[must_use]
    pub fn path(&self, path: &str) -> String {
        path.split('/').map(|name| self.redacted(name)).collect::<Vec<_>>().join("/")
    }

    fn redacted<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.mode == ArgsMode::Full {
            return Cow::Borrowed(text);
        }
        self.patterns.iter().fold(text::redacted(text), |text, pattern| {
            text::then(text, |text| {
                pattern.replace_all(text, |found: &regex::Captures<'_>| {
                    let whole = found.get(0).map_or(0..0, |it| it.range());
                    let secret = found.name("secret").map_or(whole.clone(), |it| it.range());
                    format!("{}{MARK}{}", &text[whole.start..secret.start], &text[secret.end..whole.end])
                })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(args: ArgsMode, patterns: &[&str]) -> Result<Redactor, BadPattern> {
        let patterns = patterns.iter().map(|it| (*it).to_owned()).collect();
        Redactor::new(&RedactConfig { args, patterns })
    }

    #[test]
    fn patterns_of_a_configuration_are_applied_too() {
        let redactor = redactor(ArgsMode::Redacted, &["acme-[0-9]+", "pin:(?<secret>[0-9]+)"]).unwrap();
        let text = redactor.text("a acme-123 pin:4711 token=x".to_owned());
        assert_eq!(text, "a [redacted] pin:[redacted] token=[redacted]");
    }

    #[test]
    fn a_pattern_that_is_wrong_or_too_large_is_refused() {
        assert!(redactor(ArgsMode::Redacted, &["("]).is_err());
        assert!(redactor(ArgsMode::Redacted, &["(a{1000}){1000}"]).is_err());
        assert_eq!(redactor(ArgsMode::Redacted, &["a"; 65]).unwrap_err(), BadPattern::TooMany);
    }

    #[test]
    fn a_secret_in_one_path_name_hides_no_other_name() {
        let path = Redactor::default().path("/a/API_TOKEN=x y/libpod-0123.scope");
        assert_eq!(path, "/a/API_TOKEN=[redacted] y/libpod-0123.scope");
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_redacted_and_an_option_loses_its_value(text in ".*", key in "[a-z]{0,5}-token") {
            // `--no-token` is a switch.
            proptest::prop_assume!(key != "no-token");
            let redactor = Redactor::default();
            let _any = redactor.text(text.clone());
            let args = [text.clone(), format!("--{key}=opensesame {text}"), format!("--{key}"), "opensesame".to_owned()];
            proptest::prop_assert!(!redactor.list(&args[1..]).concat().contains("opensesame"));
            let _any = redactor.list(&args);
        }
    }

    #[test]
    fn the_mode_full_changes_nothing() {
        let redactor = redactor(ArgsMode::Full, &["a"]).unwrap();
        assert_eq!(redactor.text("a token=x".to_owned()), "a token=x");
    }
}
