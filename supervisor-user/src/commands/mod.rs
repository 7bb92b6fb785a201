//! What a person starts: one file per subcommand.

pub mod demo;
pub mod doctor;
pub mod ps;
pub mod watch;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::{exit::Exit, scenario};

/// Finds processes that have exited and were not reaped, and says who must reap them.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 nothing found, or done; 1 found (ps), missing (doctor) or not as \
announced (demo); 2 wrong usage; 3 failed; 4 rights are missing; 5 this kernel lacks something";

#[derive(Debug, Subcommand)]
enum Command {
    /// Report processes that are not reaped, live (what `supervisor` alone does)
    Watch(watch::WatchArgs),
    /// List what is unreaped now
    Ps(ps::PsArgs),
    /// Check whether it can run here, and say what to do if not
    Doctor,
    /// Make the incident happen in throw-away namespaces, and show the finding
    Demo(demo::DemoArgs),
    /// A process of the demo's scenario
    #[command(name = scenario::ACTOR, hide = true)]
    Actor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<std::ffi::OsString>,
    },
}

/// Runs the command line; errors go to standard error, in one sentence with its cause.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command.unwrap_or_else(|| Command::Watch(watch::WatchArgs::default())) {
        Command::Watch(args) => watch::run(&args).map(ExitCode::from),
        Command::Ps(args) => ps::run(&args).map(ExitCode::from),
        Command::Doctor => doctor::run().map(ExitCode::from),
        Command::Demo(args) => demo::run(&args),
        Command::Actor { args } => Ok(scenario::actor(&args)),
    };
    result.unwrap_or_else(|error| {
        say(&format!("supervisor: {error:#}"));
        Exit::of(&error).into()
    })
}

/// A line for people, on standard error. That nobody reads it is no error.
fn say(line: &str) {
    let _unread = writeln!(io::stderr(), "{line}");
}

/// Writes to standard output. A reader that has gone away has seen enough.
fn print(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}
