//! `supervisor run`: runs the agent as a service, for months.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use supervisor_collect::kernel::SimulatedLoss;
use supervisor_model::{filter::Filter, redact::ArgsMode, values::Time};
use supervisor_render::fold::Detail;

use crate::{
    config::Config,
    engine::{self, WatchOptions},
    exit::CommandExit,
};

/// Watch as a service: events go to the sinks of a configuration.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// The configuration; without it, ECS JSON to standard output (`supervisor config --print-default`)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key of the configuration, such as `--set sinks.out.format=ocsf`; it goes before what the file says
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// How long a process must be unreaped to be reported, such as 500ms, 1s or 2m
    #[arg(long, value_name = "TIME")]
    grace: Option<Time>,
    /// How long a process must be told to exit and not have exited to be reported, such as 5s
    #[arg(long, value_name = "TIME")]
    exit_grace: Option<Time>,
    /// What the hosts belong to that report to one place
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Where spools and the list of open findings are kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Serve /metrics, /healthz and /readyz there
    #[arg(long, value_name = "ADDR")]
    metrics: Option<std::net::SocketAddr>,
    /// End after this long
    #[arg(long, value_name = "TIME")]
    duration: Option<Time>,
    /// How much of processes' arguments is sent: full, redacted (known secrets are left out), program, none
    #[arg(long = "args", value_name = "HOW", hide_possible_values = true)]
    args_mode: Option<ArgsMode>,
    #[command(flatten)]
    filter: Filter,
}

impl RunArgs {
    /// The configuration, with the values of the command line on top.
    fn load(&self) -> Result<Config> {
        let text =
            |key: &str, value: Option<String>| value.map(|it| format!("{key}={}", toml::Value::String(it)));
        let sets: Vec<String> = [
            text("grace", self.grace.map(|it| it.to_string())),
            text("exit_grace", self.exit_grace.map(|it| it.to_string())),
            text("cluster", self.cluster.clone()),
            text("state_dir", self.state_dir.as_ref().map(|it| it.display().to_string())),
            text("metrics.listen", self.metrics.map(|it| it.to_string())),
        ]
        .into_iter()
        .flatten()
        .chain(self.sets.iter().cloned())
        .collect();
        let mut config = Config::load(self.config.as_deref(), &sets)?;
        config.redact.args = self.args_mode.unwrap_or(config.redact.args);
        Ok(Config { filter: self.filter.clone().or(config.filter), ..config })
    }
}

/// Watches until it is stopped.
///
/// # Errors
///
/// If the configuration is wrong, a sink cannot be opened, or the kernel side cannot be started or read.
pub fn run(args: &RunArgs) -> Result<CommandExit> {
    let config = args.load()?;
    let again = args.clone();
    engine::run(WatchOptions {
        config,
        remembers: true,
        bpf_log: false,
        simulated_loss: SimulatedLoss::default(),
        duration: args.duration.map(|time| time.0),
        reload: Some(Box::new(move || again.load())),
        record: None,
        detail: Detail::Long,
        is_verbose: true,
    })?;
    Ok(CommandExit::Ok)
}
