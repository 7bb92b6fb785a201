//! Checks that the command lines in README.md and docs/*.md can be parsed. The live tests also execute them
//! (`tests/tests/live/docs.rs`).

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use supervisor_user::commands::Cli;

#[path = "../../tests/tests/live/docs/commands.rs"]
mod commands;

use commands::Shown;

/// The placeholders of the documents, each with a value.
const PLACEHOLDERS: [(&str, &str); 8] = [
    ("PID", "1"),
    ("INO", "1"),
    ("ID", "web"),
    ("FILE", "supervisor.toml"),
    ("SHELL", "bash"),
    ("COMMAND", "trace"),
    ("[COMMAND]", "trace"),
    ("$(pidof -s conmon)", "1"),
];

/// Parses the command line from the word `supervisor` on. Returns whether that word is there.
fn parses(shown: &Shown) -> Result<bool> {
    let words = shown.words();
    // For these programs, `supervisor` is the name of a unit or of a package.
    let is_name = words.first().is_some_and(|first| ["systemctl", "dpkg", "apt"].contains(&first.as_str()));
    let is_program = |word: &String| word == "supervisor" || word == "./supervisor";
    let Some(at) = words.iter().position(is_program).filter(|_| !is_name) else {
        return Ok(false);
    };
    let words = words[at..].iter().map(|word| {
        PLACEHOLDERS.iter().find(|(name, _)| name == word).map_or(word.as_str(), |(_, value)| value)
    });
    match Cli::try_parse_from(words) {
        // clap also returns an error for `help`, but that is no failure.
        Err(error) if error.use_stderr() => {
            Err(error).with_context(|| format!("{}: {}", shown.place, shown.text))
        }
        _ => Ok(true),
    }
}

#[test]
fn every_command_in_a_code_block_can_be_parsed() -> Result<()> {
    let mut count = 0;
    for shown in commands::in_blocks()? {
        count += u32::from(parses(&shown)?);
    }
    ensure!(count > 20, "only {count} are found");
    Ok(())
}

/// Sentences contain commands too, such as `supervisor explain PID`.
#[test]
fn every_command_in_a_sentence_can_be_parsed() -> Result<()> {
    let mut count = 0;
    for (name, text) in commands::pages()? {
        let mut is_fenced = false;
        for (number, line) in (1..).zip(text.lines()) {
            is_fenced ^= line.starts_with("```");
            let spans = line.split('`').skip(1).step_by(2);
            for span in spans.filter(|it| !is_fenced && it.starts_with("supervisor ") && !it.ends_with('…'))
            {
                let place = format!("{name}:{number}");
                count += u32::from(parses(&Shown { place, text: span.to_owned() })?);
            }
        }
    }
    ensure!(count > 20, "only {count} are found");
    Ok(())
}
