//! `supervisor completions`: for shells, from the same definition as the help.

use anyhow::Result;
use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::Cli;
use crate::{console::print, exit::Exit};

/// Arguments of `supervisor completions`.
#[derive(Args, Clone, Debug)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Prints it.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(args: &CompletionsArgs) -> Result<Exit> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "supervisor", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(Exit::Ok)
}
