//! `supervisor man`: prints or writes manual pages, made from the same definition as the help.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use supervisor_model::words::clean;

use super::Cli;
use crate::{console::print, exit::CommandExit};

/// An empty argument, so that the later arguments keep their positions. Without a date, each build makes the same
/// pages.
const NO_DATE: &str = "\"\"";

/// Arguments of `supervisor man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// The command that it is about; none for the page of supervisor itself
    command: Option<String>,
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// Prints one page, or writes all of them.
///
/// # Errors
///
/// If there is no such command, or a page cannot be written.
pub fn run(args: &ManArgs) -> Result<CommandExit> {
    let pages = pages()?;
    if let Some(dir) = &args.dir {
        for (name, page) in pages {
            let file = dir.join(format!("{name}.1"));
            fs::write(&file, page)
                .with_context(|| format!("cannot write {}", clean(&file.display().to_string())))?;
        }
        return Ok(CommandExit::Ok);
    }
    let wanted =
        args.command.as_ref().map_or_else(|| "supervisor".to_owned(), |it| format!("supervisor-{it}"));
    let page = pages.into_iter().find(|(name, _)| *name == wanted);
    let (_, page) =
        page.with_context(|| format!("there is no command {}", clean(&wanted["supervisor-".len()..])))?;
    print(&page)?;
    Ok(CommandExit::Ok)
}

/// Every page with its name: one for `supervisor`, and one for each of its commands.
fn pages() -> Result<Vec<(String, String)>> {
    let mut whole = Cli::command();
    whole.build();
    let commands = whole.get_subcommands().filter(|it| !it.is_hide_set() && it.get_name() != "help");
    let commands: Vec<Command> = commands.cloned().collect();
    let named = commands.into_iter().map(|command| (format!("supervisor-{}", command.get_name()), command));
    [("supervisor".to_owned(), whole)]
        .into_iter()
        .chain(named)
        .map(|(name, command)| {
            let mut page = Vec::new();
            // In its page, a command has the name of the page.
            let command = command.display_name(name.clone()).disable_help_subcommand(true);
            Man::new(command)
                .title(name.to_uppercase())
                .date(NO_DATE)
                .source(concat!("supervisor ", env!("CARGO_PKG_VERSION")))
                .manual("supervisor manual")
                .render(&mut page)?;
            Ok((name, String::from_utf8(page)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["supervisor", "supervisor-watch", "supervisor-trace", "supervisor-man"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("actor")), "{names:?}");
        let (_, trace) = pages.iter().find(|(name, _)| name == "supervisor-trace").unwrap();
        let version = env!("CARGO_PKG_VERSION");
        let title = format!(".TH SUPERVISOR-TRACE 1 \"\" \"supervisor {version}\" \"supervisor manual\"\n");
        for word in [title.as_str(), "\\-\\-pidns", "supervisor trace", "Examples"] {
            assert!(trace.contains(word), "{word}: {trace}");
        }
    }
}
