//! `supervisor watch`: reports findings as they open and close.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use supervisor_collect::kernel::SimulatedLoss;
use supervisor_deliver::{
    config::{Policy, SinkConfig},
    fleet::FleetArgs,
};
use supervisor_model::{
    filter::Filter,
    redact::RedactArgs,
    values::{Bytes, Time},
};
use supervisor_render::{Format, fold::Detail};

use super::fleet;
use crate::{
    config::{Config, FloodConfig},
    engine::{self, WatchOptions},
    exit::CommandExit,
};

/// Report processes that are not reaped, live.
#[derive(Args, Clone, Debug, Default)]
pub struct WatchCommand {
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What is watched for on this host.
#[derive(Args, Clone, Debug)]
pub struct WatchArgs {
    /// How long a process must be unreaped to be reported, such as 500ms, 1s or 2m
    #[arg(long, default_value = "1s", value_name = "TIME")]
    grace: Time,
    /// How long a process must be told to exit and not have exited to be reported, such as 5s
    #[arg(long, default_value = "5s", value_name = "TIME")]
    exit_grace: Time,
    /// End after this long
    #[arg(long, value_name = "TIME")]
    duration: Option<Time>,
    /// How findings are written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    detail: DetailArgs,
    /// Print bounds of memory at the start, and counters of the kernel side at the end
    #[arg(short, long)]
    verbose: bool,
    /// Log what the eBPF programs themselves say (also: `RUST_LOG`)
    #[arg(long)]
    bpf_log: bool,
    /// For tests: lose on purpose what the kernel side may lose, such as exits=50,ring=4096
    #[arg(long, hide = true, value_name = "WHAT=N,…")]
    simulate_loss: Option<SimulatedLoss>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    redact: RedactArgs,
}

/// How much text says of each finding.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct DetailArgs {
    /// Print each finding, also one that repeats another of the same reaper and cause; without it, text counts these
    #[arg(long)]
    all: bool,
    /// Print the whole story of each finding as text, not three lines of it
    #[arg(long)]
    long: bool,
}

impl DetailArgs {
    /// The chosen amount of detail.
    pub(super) fn detail(self) -> Detail {
        match self {
            Self { long: true, .. } => Detail::Long,
            Self { all: true, .. } => Detail::Each,
            Self { .. } => Detail::Brief,
        }
    }
}

impl Default for WatchArgs {
    fn default() -> Self {
        Self {
            grace: Time::from_secs(1),
            exit_grace: Time::from_secs(5),
            duration: None,
            output: Format::Text,
            detail: DetailArgs::default(),
            verbose: false,
            bpf_log: false,
            simulate_loss: None,
            filter: Filter::default(),
            redact: RedactArgs::default(),
        }
    }
}

impl WatchArgs {
    /// The options of the agent for these arguments: one sink that blocks, and no flood limit.
    pub(super) fn options(&self) -> WatchOptions {
        if self.bpf_log {
            let level = env_logger::Env::default().default_filter_or("supervisor_ebpf=debug");
            env_logger::Builder::from_env(level).init();
        }
        WatchOptions {
            config: Config {
                grace: self.grace,
                exit_grace: self.exit_grace,
                filter: self.filter.clone(),
                redact: self.redact.config(),
                flood: FloodConfig { per_reaper: 0, ..FloodConfig::default() },
                sinks: to_stdout(self.output),
                ..Config::default()
            },
            remembers: false,
            bpf_log: self.bpf_log,
            simulated_loss: self.simulate_loss.clone().unwrap_or_default(),
            duration: self.duration.map(|time| time.0),
            reload: None,
            record: None,
            detail: self.detail.detail(),
            is_verbose: self.verbose,
        }
    }
}

/// Standard output as the only sink. The sink blocks.
pub(super) fn to_stdout(format: Format) -> BTreeMap<String, SinkConfig> {
    // A sink that blocks needs no large buffer.
    let buffer = Bytes(256 << 10);
    let sink = SinkConfig { format, policy: Policy::Block, buffer, ..SinkConfig::to_stdout() };
    BTreeMap::from([("stdout".to_owned(), sink)])
}

/// Watches until it is stopped.
///
/// # Errors
///
/// If the kernel side cannot be started or read, with `--from` the broker, or standard output cannot be written.
pub fn run(args: &WatchCommand) -> Result<CommandExit> {
    let WatchCommand { watch, fleet } = args;
    if fleet.is_given() {
        return fleet::watch(fleet, &watch.filter, watch.output, watch.duration.map(|time| time.0));
    }
    engine::run(watch.options())?;
    Ok(CommandExit::Ok)
}
