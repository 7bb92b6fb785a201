//! `supervisor watch`: findings as they open and close.

use std::{
    borrow::Cow,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    fleet,
    output::Output,
    record::{RecordArgs, Recorder},
};
use crate::{
    clock,
    exit::Exit,
    filter::Filter,
    fleet::FleetArgs,
    host::{Host, Proc},
    identity,
    kernel::map_sizes,
    observer::Observer,
    recording::Counted,
    report::Context,
    sink::Format,
    words::duration,
};

/// How often leftovers are looked for.
const TICK: Duration = Duration::from_millis(250);
/// The hooks of the floor; the extras are named behind it when there are any.
const HOOKS: &str = "tp_btf+iter";

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
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME")]
    grace: Duration,
    /// End after this long
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    duration: Option<Duration>,
    /// How findings are written to standard output
    #[arg(short, long, default_value = "text", value_name = "FORMAT")]
    output: Format,
    /// Log what the eBPF programs themselves say (also: `RUST_LOG`)
    #[arg(long)]
    bpf_log: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Default for WatchArgs {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(1),
            duration: None,
            output: Format::Text,
            bpf_log: false,
            filter: Filter::default(),
        }
    }
}

/// A time such as `1s`; a bare number is not one.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a time with its unit, such as 500ms, 1s or 2m".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time cannot be negative".to_owned())
}

/// Watches until it is stopped.
///
/// # Errors
///
/// If the kernel side cannot be started or read, with `--from` the broker, or standard output cannot be written.
pub fn run(args: &WatchCommand) -> Result<Exit> {
    let WatchCommand { watch, fleet } = args;
    if fleet.is_given() {
        return fleet::watch(fleet, &watch.filter, watch.output, watch.duration);
    }
    run_and_record(watch, None)
}

/// The same, and perhaps records it.
pub(super) fn run_and_record(args: &WatchArgs, record: Option<&RecordArgs>) -> Result<Exit> {
    if args.bpf_log {
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("supervisor_ebpf=debug"))
            .init();
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(watch(args, record))
}

async fn watch(args: &WatchArgs, record: Option<&RecordArgs>) -> Result<Exit> {
    // Before anything is attached, so that an early signal ends it cleanly too.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let started_ns = clock::now_ns();
    let grace_ns = args.grace.as_nanos() as u64;
    let host = Proc::new().context("cannot read /proc")?;
    let mut observer = Observer::start(host, grace_ns, args.bpf_log)?;
    let _log = args.bpf_log.then(|| spawn_log(&mut observer)).transpose()?;
    let mut context = context(observer.host(), Some(HOOKS));
    let recorder = record.map(|record| Recorder::start(record, &mut context, grace_ns)).transpose()?;
    let mut output = Output::new(context, grace_ns, args.filter.clone(), args.output).recorded_by(recorder);
    let kernel_mib = map_sizes().iter().map(|map| map.bytes).sum::<usize>().div_ceil(1024 * 1024);
    super::say(&format!(
        "watching for processes unreaped for {}; kernel maps are bounded to {kernel_mib} MiB; Ctrl-C ends it",
        duration(grace_ns)
    ));

    let events = poll(observer.event_fd()?)?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = args.duration.map(|duration| Instant::now() + duration);
    loop {
        let happened = tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => break,
            ready = events.readable() => {
                ready.context("cannot poll the event ring")?.clear_ready();
                observer.drain()
            }
            _ = ticks.tick() => observer.tick()?,
        };
        if !output.write(&happened)? {
            break;
        }
    }
    // What happened since the last tick belongs to this watch too.
    output.write(&observer.finish()?)?;
    let counted = Counted::new(&observer.counters()?, observer.lost()?);
    let watched = duration(clock::now_ns().saturating_sub(started_ns));
    super::say(&format!("watched for {watched}: {}", output.summary()));
    super::say(&format!("counted: {counted}"));
    output.finish(counted)?;
    Ok(Exit::Ok)
}

/// Forwards the programs' log in the background.
fn spawn_log(observer: &mut Observer<Proc>) -> Result<tokio::task::JoinHandle<()>> {
    let mut logger = observer.tracer().logger()?;
    let events = poll(logger.as_fd().try_clone_to_owned()?)?;
    Ok(tokio::spawn(async move {
        while let Ok(mut ready) = events.readable().await {
            ready.clear_ready();
            logger.flush();
        }
    }))
}

/// Lets the event loop wake up when a descriptor becomes readable.
fn poll(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    // SAFETY: it owns the descriptor, so that this is open as long as it is registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.context("cannot poll a ring buffer")
}

/// What every event of this run says.
pub(super) fn context(host: &dyn Host, hooks: Option<&'static str>) -> Context {
    Context {
        host: host.identity().clone(),
        agent_id: identity::agent_id(&host.identity().boot_id, std::process::id(), clock::now_ns()),
        hooks: hooks.map(Cow::Borrowed),
    }
}
