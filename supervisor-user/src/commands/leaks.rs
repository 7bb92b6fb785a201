//! `supervisor leaks`: runs a command, and reports the processes that it leaves behind.

mod child;
mod each;
mod follow;
#[doc(hidden)]
pub mod fuzz;
mod marks;
mod polled;
mod session;
mod traced;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use supervisor_collect::{host::Proc, one_shot::OneShotScan};
use supervisor_deliver::say::say;
use supervisor_model::{redact::RedactArgs, values::Time, words::clean};
use supervisor_render::{Context, style::Style};

use self::{follow::Follower, polled::Polled, session::Outcome, traced::Traced};
use crate::{
    console::{print, style_of_stderr},
    engine,
    exit::CommandExit,
    leaks::{FAILED, Report, allow::AllowList, github, json, junit, text},
};

/// The text about the exit codes, for the help.
pub(super) const EXIT_CODES: &str = "Exit codes: that of the command, or 128 and the number of the signal that ended it. 23: it \
succeeded, and left something behind that the allow list does not have. 125: supervisor failed, or wrong usage. 126: the command \
could not be started. 127: there is no such command.";

/// The format of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people, to standard error
    #[default]
    Text,
    /// One JSON object, as the last line of standard output
    Json,
}

/// Arguments of `supervisor leaks`.
#[derive(Args, Clone, Debug)]
pub struct LeaksArgs {
    /// How the report is written: text to standard error, or json as the last line of standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    output: Output,
    /// Write the report to this file instead
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Also write a JUnit XML file, in which each leak is a failure
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// A file of known leaks: in each line `name`, `executable` or `args`, its value, and after `#` the reason
    #[arg(long, value_name = "FILE")]
    allow: Option<PathBuf>,
    /// How long processes may take to end after the end of the command, or of a test
    #[arg(long, default_value = "2s", value_name = "TIME")]
    settle: Time,
    /// How long a process may stay a zombie while the command runs
    #[arg(long, default_value = "1s", value_name = "TIME")]
    grace: Time,
    /// Adopt and reap the command's orphans here, not in PID 1, which may not reap in a container
    #[arg(long)]
    subreaper: bool,
    /// The command is the test NAME. Below another `supervisor leaks`, the outer one reports
    #[arg(long, value_name = "NAME")]
    each: Option<String>,
    /// Mark the begin of the test NAME in the process that runs this; needs a `supervisor leaks` above it, or does nothing
    #[arg(long, requires = "each", conflicts_with = "command")]
    begin: bool,
    /// Mark its end, and wait until its processes have ended; the exit code is 23 if they have not
    #[arg(long, requires = "each", conflicts_with_all = ["command", "begin"])]
    end: bool,
    #[command(flatten)]
    redact: RedactArgs,
    /// The command to run
    #[arg(trailing_var_arg = true, required_unless_present_any = ["begin", "end"], value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs the command. Returns the exit code, which is that of the command where possible.
#[must_use]
pub fn run(args: &LeaksArgs) -> ExitCode {
    let result = match (&args.each, marks::outer()) {
        (Some(test), Some(socket)) if args.begin => each::begin(&socket, test),
        (Some(test), Some(socket)) if args.end => each::end(&socket, test),
        // Tests can also run without a `supervisor leaks` above them.
        (_, None) if args.begin || args.end => Ok(CommandExit::Ok as u8),
        (Some(test), Some(socket)) => engine::block_on(each::run(&socket, test, &args.command)),
        _ => engine::block_on(watched(args)),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        say(&format!("supervisor: {}", clean(&format!("{error:#}"))));
        FAILED
    }))
}

/// Runs the command under the hooks. Without the capabilities or the kernel for them, runs it under a subreaper.
async fn watched(args: &LeaksArgs) -> Result<u8> {
    let outputs = Outputs::open(args)?;
    let signals = child::Signals::handle()?;
    let redactor = args.redact.redactor()?;
    let host = Proc::new().context("cannot read /proc")?;
    let why = match Traced::start(host, args.redact.redactor()?, args.grace.0) {
        Ok(mut traced) => {
            let outcome = session::run(args, &mut traced, args.subreaper, signals).await?;
            return outputs.write(outcome, traced.context());
        }
        Err(error) if matches!(CommandExit::of(&error), CommandExit::Capabilities | CommandExit::Kernel) => {
            clean(&format!("{error:#}"))
        }
        Err(error) => return Err(error),
    };
    say(&format!("supervisor: goes on as a subreaper that reads /proc, and sees less: {why}"));
    let host = Proc::new().context("cannot read /proc")?;
    let scan = OneShotScan::of_proc(&host, &redactor, why.clone());
    let mut polled = Polled::new(&host, scan, args.grace.0, why);
    let outcome = session::run(args, &mut polled, true, signals).await?;
    outputs.write(outcome, polled.context())
}

/// The destinations of the report. All files are opened before the command runs, so that an error comes before a long
/// run.
struct Outputs {
    format: Output,
    report: Option<File>,
    junit: Option<File>,
    allow: AllowList,
}

impl Outputs {
    fn open(args: &LeaksArgs) -> Result<Self> {
        let create = |path: &PathBuf| {
            File::create(path).with_context(|| format!("cannot write {}", clean(&path.display().to_string())))
        };
        Ok(Self {
            format: args.output,
            report: args.report.as_ref().map(create).transpose()?,
            junit: args.junit.as_ref().map(create).transpose()?,
            allow: args.allow.as_deref().map(read_allow_list).transpose()?.unwrap_or_default(),
        })
    }

    /// Writes the report of a run. Returns the exit code.
    fn write(self, outcome: Outcome, context: &Context) -> Result<u8> {
        let mut report = match outcome {
            Outcome::Ended(report) => report,
            Outcome::NotStarted(code) => return Ok(code),
        };
        report.unmatched = self.allow.apply(&mut report.leaks);
        if let Some(mut file) = self.junit {
            file.write_all(&junit::report(&report)?).context("cannot write the JUnit file")?;
        }
        write_report(&report, self.format, self.report, context)?;
        Ok(report.exit_code())
    }
}

fn write_report(report: &Report, format: Output, file: Option<File>, context: &Context) -> Result<()> {
    match (format, file) {
        (Output::Json, None) => print(&format!("{}\n", json::report(report, context)?)),
        (Output::Json, Some(mut file)) => {
            writeln!(file, "{}", json::report(report, context)?).context("cannot write the report")
        }
        (Output::Text, file) => {
            let is_github = env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
            let annotations = if is_github { github::annotations(report) } else { String::new() };
            let to_stderr = match file {
                Some(mut file) => {
                    let text = text::report(report, Style::PLAIN);
                    file.write_all(text.as_bytes()).context("cannot write the report")?;
                    annotations
                }
                None => format!("{}{annotations}", text::report(report, style_of_stderr())),
            };
            // It is no error if nobody reads it: the exit code has the most important part.
            let _unread = io::stderr().write_all(to_stderr.as_bytes());
            Ok(())
        }
    }
}

fn read_allow_list(path: &Path) -> Result<AllowList> {
    let name = || clean(&path.display().to_string());
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the allow list {}", name()))?;
    AllowList::parse(&text).with_context(|| format!("the allow list {} is wrong", name()))
}
