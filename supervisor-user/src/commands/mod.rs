//! The subcommands that a person starts: one file for each.

pub mod check;
pub mod completions;
pub mod config;
pub mod demo;
pub mod doctor;
mod examples;
pub mod explain;
mod fleet;
#[cfg(test)]
mod golden;
pub mod install;
pub mod leaks;
pub mod listing;
pub mod man;
mod one_look;
pub mod ps;
pub mod reap;
pub mod record;
pub mod replay;
pub mod run;
pub mod schema;
#[cfg(test)]
mod screens;
pub mod suggestions;
pub mod top;
pub mod trace;
mod unmatched;
pub mod watch;

use std::{ffi::OsString, process::ExitCode};

use clap::{Arg, ArgAction, CommandFactory as _, Parser, Subcommand};
use supervisor_collect::{host, memory};
use supervisor_deliver::say::say;
use supervisor_model::words::clean;
use supervisor_reap::worker;

use crate::{
    console::{self, Colouring},
    exit::CommandExit,
    leaks::FAILED,
    top::draw::KEYS,
};

/// Finds processes that have exited and were not reaped, and says who must reap them.
#[derive(Debug, Parser)]
#[command(name = "supervisor", version, max_term_width = 100)]
#[command(disable_help_flag = true, arg = help_flag())]
#[command(after_help = AFTER_HELP, after_long_help = exit_codes())]
pub struct Cli {
    /// Whether text is coloured: auto (on a terminal, and not with `NO_COLOR` or `TERM=dumb`), always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    color: Colouring,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str =
    "`supervisor help` tells the exit codes, `supervisor help COMMAND` more, with examples.";

/// `--help` prints the short help, which fits on a screen where possible. `help COMMAND` prints everything.
fn help_flag() -> Arg {
    Arg::new("help")
        .short('h')
        .long("help")
        .global(true)
        .action(ArgAction::HelpShort)
        .help("Print this summary; `supervisor help COMMAND` tells more, with examples")
}

fn exit_codes() -> String {
    let codes =
        CommandExit::ALL.map(|it| format!("  {}  {}\n", it as u8, it.meaning().replace("; ", "\n     ")));
    format!(
        "Exit codes:\n{}\n`check` has the codes of monitoring plugins, and `trace` with a command that command's. `leaks` has \
         its command's, and codes of its own: `supervisor help leaks`.",
        codes.concat()
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Report processes that are not reaped, live (what `supervisor` alone does)
    #[command(after_long_help = examples::WATCH)]
    Watch(watch::WatchCommand),
    /// Watch findings, reapers and PID namespaces on a screen
    #[command(after_long_help = format!("{}\n\nKeys:\n{KEYS}", examples::TOP))]
    Top(top::TopArgs),
    /// Show every fork, exec, exit, wait and reap as it happens
    #[command(after_long_help = examples::TRACE)]
    Trace(trace::TraceArgs),
    /// Run a command, and report the processes that it leaves behind: a leak checker for tests
    #[command(after_long_help = format!("{}\n\n{}", examples::LEAKS, leaks::EXIT_CODES))]
    Leaks(leaks::LeaksArgs),
    /// Watch as a service: events go to the sinks of a configuration
    #[command(after_long_help = examples::RUN)]
    Run(run::RunArgs),
    /// Print the default configuration with all keys, or check a file
    #[command(after_long_help = examples::CONFIG)]
    Config(config::ConfigArgs),
    /// List what is unreaped now
    #[command(after_long_help = examples::PS)]
    Ps(ps::PsArgs),
    /// Tell all that is known of one process, of a PID namespace, or of a family of causes
    #[command(after_long_help = examples::EXPLAIN)]
    Explain(explain::ExplainArgs),
    /// Free zombies without ending their reaper
    #[command(after_long_help = format!("{}\n\n{}", examples::REAP, reap::EXIT_CODES))]
    Reap(reap::ReapArgs),
    /// Tell monitoring systems how many processes are unreaped
    #[command(after_long_help = format!("{}\n\n{}", examples::CHECK, check::EXIT_CODES))]
    Check(check::CheckArgs),
    /// Watch, and write all that was observed to a file: a bug report
    #[command(after_long_help = examples::RECORD)]
    Record(record::RecordArgs),
    /// Show what a recording tells, as `watch` did; needs no capabilities
    #[command(after_long_help = examples::REPLAY)]
    Replay(replay::ReplayArgs),
    /// Check whether it can run here, and say what to do if not
    #[command(after_long_help = examples::DOCTOR)]
    Doctor(doctor::DoctorArgs),
    /// Print the JSON Schema of events, or of the configuration
    #[command(after_long_help = examples::SCHEMA)]
    Schema(schema::SchemaArgs),
    /// Make a service of it, with the fewest capabilities
    #[command(after_long_help = examples::INSTALL)]
    Install(install::InstallArgs),
    /// Print completions for a shell
    #[command(after_long_help = examples::COMPLETIONS)]
    Completions(completions::CompletionsArgs),
    /// Print manual pages
    #[command(after_long_help = examples::MAN)]
    Man(man::ManArgs),
    /// Make the incident, or a family of causes, happen in throw-away namespaces, and show what is said of it
    #[command(after_long_help = examples::DEMO)]
    Demo(demo::DemoArgs),
    /// A process of the demo's scenario
    #[command(name = supervisor_lab::ACTOR, hide = true)]
    Actor {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Reads other processes for a collector
    #[command(name = host::READER, hide = true)]
    Reader,
    /// Frees zombies for an agent
    #[command(name = worker::WORKER, hide = true)]
    ReapWorker,
    /// Frees zombies for `top`
    #[command(name = top::REAPS, hide = true)]
    Reaps,
}

/// The command in arguments that clap refuses: the first argument that is the name of a command. Global options and
/// their values can stand before it.
fn named_command(mut args: impl Iterator<Item = OsString>) -> Option<String> {
    let mut cli = Cli::command();
    // Before `build`, `help` is not a command.
    cli.build();
    args.find_map(|arg| cli.find_subcommand(arg)).map(|command| command.get_name().to_owned())
}

/// The exit code for arguments that clap refuses, if it differs from clap's own.
fn usage_code(args: impl Iterator<Item = OsString>) -> Option<u8> {
    match named_command(args)?.as_str() {
        // To a monitoring system, 2 would mean that the host is in a critical state.
        "check" => Some(check::report(check::CheckState::Unknown, "wrong usage") as u8),
        // 2 would be a code of the command that `leaks` was to run.
        "leaks" => Some(FAILED),
        _ => None,
    }
}

/// Runs the command line. Errors go to standard error, in one sentence with the cause.
#[must_use]
pub fn main() -> ExitCode {
    memory::one_heap();
    completions::answer();
    let cli = match Cli::try_parse().map_err(suggestions::plausible) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => match usage_code(std::env::args_os().skip(1)) {
            Some(code) => {
                say(error.to_string().trim_end());
                return ExitCode::from(code);
            }
            None => error.exit(),
        },
        Err(error) => error.exit(),
    };
    console::set_colouring(cli.color);
    let result = match cli.command.unwrap_or_else(|| Command::Watch(watch::WatchCommand::default())) {
        Command::Watch(args) => watch::run(&args).map(ExitCode::from),
        Command::Top(args) => top::run(&args).map(ExitCode::from),
        Command::Trace(args) => trace::run(&args).map(ExitCode::from),
        Command::Leaks(args) => Ok(leaks::run(&args)),
        Command::Run(args) => run::run(&args).map(ExitCode::from),
        Command::Config(args) => config::run(&args).map(ExitCode::from),
        Command::Ps(args) => ps::run(&args).map(ExitCode::from),
        Command::Explain(args) => explain::run(&args).map(ExitCode::from),
        Command::Reap(args) => reap::run(&args).map(ExitCode::from),
        Command::Check(args) => Ok(ExitCode::from(check::run(&args) as u8)),
        Command::Record(args) => record::run(&args).map(ExitCode::from),
        Command::Replay(args) => replay::run(&args).map(ExitCode::from),
        Command::Doctor(args) => doctor::run(&args).map(ExitCode::from),
        Command::Schema(args) => schema::run(&args).map(ExitCode::from),
        Command::Install(args) => install::run(&args).map(ExitCode::from),
        Command::Completions(args) => completions::run(&args).map(ExitCode::from),
        Command::Man(args) => man::run(&args).map(ExitCode::from),
        Command::Demo(args) => demo::run(&args),
        Command::Actor { args } => Ok(supervisor_lab::actor(&args)),
        Command::ReapWorker => worker::serve().map(|()| ExitCode::SUCCESS),
        Command::Reader => host::serve().map(|()| ExitCode::SUCCESS),
        Command::Reaps => top::serve().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        say(&format!("supervisor: {}", clean(&format!("{error:#}"))));
        CommandExit::of(&error).into()
    })
}
