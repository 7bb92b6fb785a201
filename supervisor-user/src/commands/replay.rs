//! `supervisor replay`: reads a recording, and prints the findings that `watch` printed.

use std::{borrow::Cow, path::PathBuf};

use anyhow::Result;
use clap::Args;
use supervisor_deliver::say::say;
use supervisor_model::{
    filter::Filter,
    recording::{Header, RecordingReader},
    words::{clean, duration},
};
use supervisor_render::{Context, Format};

use super::{
    record::left_out,
    watch::{DetailArgs, to_stdout},
};
use crate::{
    config::{Config, FloodConfig},
    engine::{self, Pipeline, Stream},
    exit::CommandExit,
};

/// Arguments of `supervisor replay`.
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// The recording; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How findings are written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    detail: DetailArgs,
    /// Let a recording without an end be none the worse: warn only, exit code 0 and not 3
    #[arg(long)]
    partial: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Replays a recording. Everything before a damaged part is shown before the damage is reported.
///
/// # Errors
///
/// If the recording cannot be read to its end, or standard output cannot be written.
pub fn run(args: &ReplayArgs) -> Result<CommandExit> {
    engine::block_on(replay(args))
}

async fn replay(args: &ReplayArgs) -> Result<CommandExit> {
    let mut reader = RecordingReader::open(&args.file)?;
    let header = reader.header().clone();
    say(&about(&header));
    let context =
        Context { host: header.host, agent_id: header.agent_id, hooks: header.hooks.map(Cow::Owned) };
    let (stop, _) = engine::signals(false)?;
    let config = Config {
        flood: FloodConfig { per_reaper: 0, ..FloodConfig::default() },
        sinks: to_stdout(args.output),
        ..Config::default()
    };
    let stream = Stream::open(&config, context.clone(), stop.clone())?.in_detail(args.detail.detail());
    let mut pipeline = Pipeline::new(context.host, header.grace_ns, args.filter.clone(), stream);
    let mut wrong = None;
    for observation in reader.by_ref() {
        match observation {
            Ok(observation) => {
                let is_read = pipeline.take(vec![observation]).await?;
                // Lets the task that handles signals run.
                tokio::task::yield_now().await;
                if !is_read || *stop.borrow() {
                    return Ok(CommandExit::Ok);
                }
            }
            Err(error) => wrong = Some(error),
        }
    }
    let summary = pipeline.summary();
    pipeline.close().await?;
    say(&format!("replayed {} observations: {summary}", reader.observations()));
    if let Some(end) = reader.end() {
        if end.left_out > 0 {
            say(&left_out(end.left_out));
        }
        say(&format!("counted: {}", end.counted));
    }
    match wrong {
        Some(error) if args.partial && error.is_cut() => {
            say(&format!("supervisor: warning: {:#}", anyhow::Error::from(error)));
            Ok(CommandExit::Ok)
        }
        Some(error) => Err(error.into()),
        None => Ok(CommandExit::Ok),
    }
}

/// Where and when the recording was made.
fn about(header: &Header) -> String {
    let Header { host, version, .. } = header;
    let mut about = format!(
        "recorded {:.0} on {} (Linux {}) by supervisor {}, of processes unreaped for {}",
        header.recorded,
        clean(&host.hostname),
        clean(&host.kernel),
        clean(version),
        duration(header.grace_ns)
    );
    if version != env!("CARGO_PKG_VERSION") {
        about.push_str("; this is another version, which may conclude other things");
    }
    if header.only_matching {
        about.push_str("; only what its filters let through was recorded");
    }
    about
}
