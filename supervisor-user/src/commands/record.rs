//! `supervisor record`: watches, and writes all observations to a file for `supervisor replay`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use supervisor_deliver::say::say;
use supervisor_model::{
    clock, identity,
    recording::{Header, MAX_LINE, RecordingWriter, Written},
    words::command_line,
};

use super::watch::WatchArgs;
use crate::{
    engine::{self, Ended},
    exit::CommandExit,
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
pub fn run(args: &RecordArgs) -> Result<CommandExit> {
    let mut options = args.watch.options();
    let grace_ns = options.config.grace.0.as_nanos() as u64;
    let RecordArgs { file, force, only_matching, anonymous, .. } = args.clone();
    options.record = Some(Box::new(move |context| {
        // Every event contains the same context as the recording, so the context is made anonymous too.
        if anonymous {
            context.host = context.host.anonymous();
            context.agent_id = identity::agent_id(&context.host.boot_id, std::process::id(), clock::now_ns());
        }
        let hooks = context.hooks.as_deref().map(str::to_owned);
        let mut header = Header::new(context.host.clone(), grace_ns, hooks, context.agent_id.clone());
        header.only_matching = only_matching;
        Ok(RecordingWriter::create(&file, force, &header)?)
    }));
    let Ended { counted, recording } = engine::run(options)?;
    if let Some(writer) = recording {
        report_written(&args.file, writer.finish(counted)?);
    }
    Ok(CommandExit::Ok)
}

/// Prints what the recording contains.
fn report_written(file: &Path, written: Written) {
    let file = command_line(&[file.display().to_string()], false, 4096);
    say(&format!(
        "recorded {} observations in {} bytes: {file}\n\
         It holds names, arguments and control groups of processes, and who may read those may read this file. Look \
         at it before you share it: zstdcat {file} | jq",
        written.observations, written.bytes
    ));
    if written.left_out > 0 {
        say(&left_out(written.left_out));
    }
}

/// The message about observations that were too long.
pub(super) fn left_out(count: u64) -> String {
    format!("{count} observations were left out of the recording: longer than {} MiB", MAX_LINE >> 20)
}
