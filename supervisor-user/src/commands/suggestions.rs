//! Suggestions for what was mistyped. clap suggests whatever is a little like it; only what a slip of the fingers explains is
//! left.

use clap::error::{ContextKind, ContextValue, Error};

/// The same error without suggestions that nobody meant.
#[must_use]
pub fn plausible(mut error: Error) -> Error {
    for (typed, suggested) in [
        (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        (ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand),
        (ContextKind::InvalidValue, ContextKind::SuggestedValue),
    ] {
        let Some(ContextValue::String(typed)) = error.get(typed).cloned() else { continue };
        match error.remove(suggested) {
            Some(ContextValue::String(text)) if is_near(&typed, &text) => {
                error.insert(suggested, ContextValue::String(text));
            }
            Some(ContextValue::Strings(mut texts)) => {
                texts.retain(|text| is_near(&typed, text));
                if !texts.is_empty() {
                    error.insert(suggested, ContextValue::Strings(texts));
                }
            }
            _ => {}
        }
    }
    // To pass an option that is mistyped as a value is what nobody wants.
    if error.get(ContextKind::InvalidArg).is_some() {
        error.remove(ContextKind::Suggested);
    }
    error
}

/// Whether one slip in three letters, or a missing end, makes one of the other.
fn is_near(typed: &str, suggested: &str) -> bool {
    let name = |text: &str| {
        let text = text.trim_start_matches('-');
        text.split(['=', ' ']).next().unwrap_or_default().to_owned()
    };
    let (typed, suggested) = (name(typed), name(suggested));
    let is_begun = typed.len() >= 3 && suggested.starts_with(&typed);
    let slips = (typed.chars().count() / 3).max(1);
    is_begun || strsim::damerau_levenshtein(&typed, &suggested) <= slips
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::commands::Cli;

    fn told(words: &[&str]) -> String {
        let words = ["supervisor"].iter().chain(words);
        plausible(Cli::try_parse_from(words).expect_err("it is wrong")).to_string()
    }

    #[test]
    fn a_slip_is_suggested_and_another_word_is_not() {
        for (words, meant) in [
            (&["wach"][..], "'watch'"),
            (&["ps", "--colums", "pid"], "'--columns'"),
            (&["ps", "--summ"], "'--summary'"),
            (&["explain", "--famly", "F1"], "'--family'"),
            (&["watch", "-o", "jsn"], "'json'"),
        ] {
            let text = told(words);
            assert!(text.contains(meant), "{words:?}: {text}");
        }
        for words in [&["ps", "--limit"][..], &["ps", "--namespace", "x"], &["watch", "--follow"], &["kill"]]
        {
            let text = told(words);
            assert!(!text.contains("tip:"), "{words:?}: {text}");
        }
    }

    #[test]
    fn an_error_of_a_value_names_the_option_and_an_example() {
        for (words, parts) in [
            (&["ps", "--pid", "foo"][..], ["--pid", "such as 1234"]),
            (&["ps", "--reaper", "foo"], ["--reaper", "such as 1234"]),
            (&["ps", "--pidns", "foo"], ["--pidns", "readlink /proc/PID/ns/pid"]),
            (&["watch", "--grace", "soon"], ["--grace", "such as 500ms"]),
            (&["check", "--warning", "many"], ["--warning", "such as 10"]),
            (&["explain", "99999999999"], ["PID|NAME", "supervisor explain 1234"]),
            (&["explain", "--family", "F99"], ["--family", "F24"]),
        ] {
            let text = told(words);
            assert!(parts.iter().all(|part| text.contains(part)), "{words:?}: {text}");
        }
    }
}
