//! `supervisor record`: a watch that can be replayed.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{
    say,
    watch::{WatchArgs, run_and_record},
};
use crate::{
    clock,
    exit::Exit,
    identity,
    observation::Observation,
    recording::{Counted, Header, MAX_LINE, Writer},
    report::Context,
    words::command_line,
};

/// Arguments of `supervisor record`.
#[derive(Args, Clone, Debug)]
pub struct RecordArgs {
    /// The file to write, such as zombies.zst
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// Record only what the filters let through (without this they apply to what is shown only); counts of
    /// unreaped processes then miss the others
    #[arg(long)]
    only_matching: bool,
    /// Replace the host's name, its machine id and boot id, and its kernel's local version by fixed values
    #[arg(long)]
    anonymous: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Watches and records until it is stopped.
///
/// # Errors
///
/// If the kernel side cannot be started or read, or standard output or the file cannot be written.
pub fn run(args: &RecordArgs) -> Result<Exit> {
    run_and_record(&args.watch, Some(args))
}

/// Writes the recording of a watch.
pub(super) struct Recorder {
    writer: Writer,
    file: PathBuf,
    only_matching: bool,
}

impl Recorder {
    /// Makes the file. What every event says is what the recording says, so it is made anonymous too.
    pub(super) fn start(args: &RecordArgs, context: &mut Context, grace_ns: u64) -> Result<Self> {
        if args.anonymous {
            context.host = context.host.anonymous();
            context.agent_id = identity::agent_id(&context.host.boot_id, std::process::id(), clock::now_ns());
        }
        let hooks = context.hooks.as_deref().map(str::to_owned);
        let mut header = Header::new(context.host.clone(), grace_ns, hooks, context.agent_id.clone());
        header.only_matching = args.only_matching;
        let writer = Writer::create(&args.file, args.force, &header)?;
        Ok(Self { writer, file: args.file.clone(), only_matching: args.only_matching })
    }

    /// Records an observation; `is_wanted` says whether the filters let through what it is about.
    pub(super) fn take(&mut self, observation: &Observation, is_wanted: bool) -> Result<()> {
        if is_wanted || !self.only_matching {
            self.writer.write(observation)?;
        }
        Ok(())
    }

    /// To be called every tick.
    pub(super) fn tick(&mut self) -> Result<()> {
        Ok(self.writer.tick()?)
    }

    /// Completes the file, and says what is in it.
    pub(super) fn finish(self, counted: Counted) -> Result<()> {
        let Self { writer, file, .. } = self;
        let written = writer.finish(counted)?;
        let file = command_line(&[file.display().to_string()], 4096);
        say(&format!(
            "recorded {} observations in {} bytes: {file}\n\
             It holds names, arguments and control groups of processes, and who may read those may read this file. \
             Look at it before you share it: zstdcat {file} | jq",
            written.observations, written.bytes
        ));
        if written.left_out > 0 {
            say(&left_out(written.left_out));
        }
        Ok(())
    }
}

/// What is said of observations that were too long.
pub(super) fn left_out(count: u64) -> String {
    format!("{count} observations were left out of the recording: longer than {} MiB", MAX_LINE >> 20)
}
