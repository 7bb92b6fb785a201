//! Tests of the command line, and of everything that is made from its definition: help, manual pages, completions and
//! `docs/commands.md`. `UPDATE_GOLDEN=1` writes that file again.

use std::{
    env, fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::{CommandFactory as _, Parser as _};
use supervisor_user::{commands::Cli, exit::CommandExit};

/// The complete definition, with the width of a page.
fn definition() -> clap::Command {
    let mut whole = Cli::command().term_width(100);
    whole.build();
    whole
}

/// The commands that are not hidden.
fn commands(whole: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    whole.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help")
}

fn help(command: &clap::Command) -> String {
    let text = command.clone().render_long_help().to_string();
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n"))
}

const HEAD: &str = "# Commands

What `supervisor help` and `supervisor help COMMAND` say, and the manual pages too. This page is made of the definition of the
command line by `UPDATE_GOLDEN=1 cargo test -p supervisor-user --test commands`.
";

#[test]
fn the_page_of_commands_matches_the_help() -> Result<()> {
    let whole = definition();
    let sections = commands(&whole).map(|it| format!("\n## supervisor {}\n\n{}", it.get_name(), help(it)));
    let page = format!("{HEAD}\n{}{}", help(&whole), sections.collect::<String>());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &page)?;
    }
    let before = fs::read_to_string(&file).unwrap_or_default();
    ensure!(page == before, "docs/commands.md says something else: UPDATE_GOLDEN=1 writes it");
    Ok(())
}

fn printed(args: &[&str]) -> Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_supervisor")).args(args).output()?;
    ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn help_is_short_as_a_flag_and_long_as_a_command() -> Result<()> {
    let whole = definition();
    for command in commands(&whole) {
        let name = command.get_name();
        let (short, long) = (printed(&[name, "--help"])?, printed(&["help", name])?);
        ensure!(printed(&[name, "-h"])? == short, "{name}: -h is not --help");
        ensure!(short.len() < long.len() && !short.contains("Examples:"), "{name}: {short}");
        ensure!(long.contains("Examples:\n  supervisor "), "{name}: {long}");
    }
    Ok(())
}

/// For a shell, `#` begins a comment.
#[test]
fn every_example_can_be_parsed() -> Result<()> {
    let placeholders = [("PID", "1"), ("INO", "1")];
    let mut count = 0;
    for command in commands(&definition()) {
        let text = command.get_after_long_help().context("no examples")?.to_string();
        for example in text.lines().filter_map(|line| line.strip_prefix("  ")) {
            let start = example.find("supervisor").with_context(|| format!("what is {example}?"))?;
            let end = example.find(['#', '>']).unwrap_or(example.len());
            let words = example[start..end].split('|').next().unwrap_or_default().split_whitespace();
            let words = words.map(|word| {
                placeholders.iter().find(|(name, _)| *name == word).map_or(word, |(_, value)| value)
            });
            Cli::try_parse_from(words).with_context(|| example.to_owned())?;
            count += 1;
        }
    }
    ensure!(count > 30, "only {count} are found");
    Ok(())
}

#[test]
fn manual_pages_and_completions_know_every_option() -> Result<()> {
    for command in commands(&definition()) {
        let name = command.get_name();
        let page = printed(&["man", name])?;
        let offered = offered(&[name, "--"])?;
        let options = command.get_arguments().filter(|it| !it.is_hide_set()).filter_map(clap::Arg::get_long);
        for option in options {
            let escaped = format!("\\-\\-{}", option.replace('-', "\\-"));
            ensure!(page.contains(&escaped), "{name}(1) lacks {option}");
            ensure!(offered.contains(&format!("--{option}")), "{name}: {option} is not in {offered:?}");
        }
    }
    Ok(())
}

/// The completions that a shell gets for the last of these words.
fn offered(words: &[&str]) -> Result<Vec<String>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_supervisor"));
    // fish gets one completion a line, with a tab before its meaning.
    let output =
        command.env("SUPERVISOR_COMPLETE", "fish").args(["--", "supervisor"]).args(words).output()?;
    ensure!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout)?;
    Ok(lines.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect())
}

#[test]
fn every_shell_gets_a_script_that_asks_this_program() -> Result<()> {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(&["completions", shell])?;
        ensure!(script.contains("SUPERVISOR_COMPLETE") && script.contains("supervisor"), "{shell}: {script}");
    }
    Ok(())
}

#[test]
fn completions_offer_families_zombies_and_reapers() -> Result<()> {
    let families = offered(&["explain", "--family", ""])?;
    ensure!(families.contains(&"F1".to_owned()) && families.contains(&"F24".to_owned()), "{families:?}");
    ensure!(offered(&["demo", "F2"])?.iter().all(|it| it.starts_with("F2")), "demo F2");
    // Our own child, which nobody waits for yet.
    let mut child = Command::new("true").spawn()?;
    let pid = child.id().to_string();
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_offered = loop {
        let all = [&["explain", &pid][..], &["ps", "--pid", &pid], &["reap", &pid]].map(offered);
        let mut all = all.into_iter();
        if all.all(|it| it.is_ok_and(|it| it.contains(&pid))) {
            break true;
        }
        if Instant::now() > deadline {
            break false;
        }
    };
    let own = std::process::id().to_string();
    let reapers = offered(&["ps", "--reaper", &own]);
    child.wait()?;
    ensure!(is_offered, "{pid} is not offered");
    ensure!(reapers?.contains(&own), "{own} is not offered");
    Ok(())
}

#[test]
fn a_mistyped_word_gets_a_suggestion() {
    for (typed, meant) in [
        (&["wach"][..], "'watch'"),
        (&["explian", "1"], "'explain'"),
        (&["ps", "--colums", "pid"], "'--columns'"),
        (&["ps", "--columns", "resaper"], "'reaper'"),
        (&["trace", "--only", "exits"], "'exit'"),
        (&["watch", "-o", "jsn"], "'json'"),
        (&["config", "--print-defaults"], "'--print-default'"),
        (&["completions", "bsh"], "'bash'"),
        (&["explain", "--famly", "F1"], "'--family'"),
    ] {
        let words = ["supervisor"].iter().chain(typed);
        let error = Cli::try_parse_from(words).expect_err("it is mistyped").to_string();
        assert!(error.contains("tip: ") && error.contains(meant), "{typed:?}: {error}");
        assert!(error.contains("try '--help'"), "{typed:?}: {error}");
    }
}

/// The rows of README.md's table are exactly the exit codes.
#[test]
fn every_exit_code_is_documented() -> Result<()> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md"))?;
    let section = readme.split_once("\n## Exit codes\n").context("no section")?.1;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| code"));
    let codes = CommandExit::ALL.map(|exit| format!("| {} | {} |", exit as u8, exit.meaning()));
    ensure!(rows.eq(&codes), "README.md's table should be:\n{}", codes.join("\n"));
    Ok(())
}

/// Exit code and standard output of a command line.
fn outcome(args: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_supervisor")).args(args).output()?;
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

#[test]
fn every_usage_error_of_check_gives_the_state_unknown() -> Result<()> {
    const UNKNOWN: &str = "SUPERVISOR UNKNOWN - wrong usage\n";
    for args in [
        &["check", "--bad"][..],
        &["--color", "never", "check", "--bad"],
        &["--color=never", "check", "--warning", "many"],
        &["--color", "sometimes", "check"],
        &["--color", "check"],
        &["--bad", "check"],
        &["check", "--color", "sometimes"],
        &["check", "extra"],
    ] {
        ensure!(outcome(args)? == (Some(3), UNKNOWN.to_owned()), "{args:?}: {:?}", outcome(args)?);
    }
    for args in [
        &["--color", "never", "ps", "--bad"][..],
        &["config", "--check"],
        &["help", "check", "extra"],
        &["trace", "--bad", "--", "check"],
        &["--bad"],
    ] {
        ensure!(
            outcome(args)? == (Some(CommandExit::Usage as i32), String::new()),
            "{args:?}: {:?}",
            outcome(args)?
        );
    }
    Ok(())
}
