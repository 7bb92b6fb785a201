//! Suggestions for mistyped words. clap suggests every word that is a little similar; this code keeps only the words
//! that a typing slip explains.

use clap::error::{ContextKind, ContextValue, Error};

/// The same error without suggestions that the user did not mean.
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
    // clap also suggests to pass the mistyped option as a value. Nobody wants that.
    if error.get(ContextKind::InvalidArg).is_some() {
        error.remove(ContextKind::Suggested);
    }
    error
}

/// Whether the two words differ only by one slip in three letters, or by a missing end.
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

    fn printed(words: &[&str]) -> String {
        let words = ["supervisor"].iter().chain(words);
        plausible(Cli::try_parse_from(words).expect_err("it is wrong")).to_string()
    }

    #[test]
    fn a_typing_slip_gets_a_suggestion_and_another_word_gets_none() {
        for (words, meant) in [
            (&["wach"][..], "'watch'"),
            (&["ps", "--colums", "pid"], "'--columns'"),
            (&["ps", "--summ"], "'--summary'"),
            (&["explain", "--famly", "F1"], "'--family'"),
            (&["watch", "-o", "jsn"], "'json'"),
        ] {
            let text = printed(words);
            assert!(text.contains(meant), "{words:?}: {text}");
        }
        for words in [&["ps", "--limit"][..], &["ps", "--namespace", "x"], &["watch", "--follow"], &["kill"]]
        {
            let text = printed(words);
            assert!(!text.contains("tip:"), "{words:?}: {text}");
        }
    }

    #[test]
    fn an_error_about_a_value_names_the_option_and_an_example() {
        for (words, parts) in [
            (&["ps", "--pid", "foo"][..], ["--pid", "such as 1234"]),
            (&["ps", "--reaper", "foo"], ["--reaper", "such as 1234"]),
            (&["ps", "--pidns", "foo"], ["--pidns", "readlink /proc/PID/ns/pid"]),
            (&["watch", "--grace", "soon"], ["--grace", "such as 500ms"]),
            (&["check", "--warning", "many"], ["--warning", "such as 10"]),
            (&["explain", "99999999999"], ["PID|NAME", "supervisor explain 1234"]),
            (&["explain", "--family", "F99"], ["--family", "F24"]),
        ] {
            let text = printed(words);
            assert!(parts.iter().all(|part| text.contains(part)), "{words:?}: {text}");
        }
    }
}
