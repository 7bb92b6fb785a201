//! `supervisor completions`: prints a completion script for a shell, from the same definition as the help. The script
//! asks `supervisor` itself at each TAB, so it can offer pids, containers and families.

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::{
    Shell,
    env::{CompleteEnv, Shells},
};

use super::Cli;
use crate::{console::print, exit::CommandExit, offered};

/// The environment variable by which a script asks. The name is our own: a variable of another program must not turn us
/// into a completer.
const VARIABLE: &str = "SUPERVISOR_COMPLETE";

/// Arguments of `supervisor completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<CommandExit> {
    let name = args.shell.to_string();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).with_context(|| format!("there are no completions for {name}"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "supervisor", "supervisor", "supervisor", &mut script)?;
    print(&String::from_utf8(script)?)?;
    Ok(CommandExit::Ok)
}

/// If a completion script asks, answers it and ends this process.
pub(super) fn answer() {
    CompleteEnv::with_factory(|| offered::complete(Cli::command())).var(VARIABLE).complete();
}
