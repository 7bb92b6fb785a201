//! Runs the agent: an observer and a pipeline. It also handles signals, takes over a changed configuration, and ends in
//! order.

mod announced;
mod begun;
mod encoder;
mod ended;
mod flood;
#[doc(hidden)]
pub mod fuzz;
mod history;
mod last_resort;
mod left;
mod open_findings;
mod pipeline;
mod reaping;
mod stream;
mod vitals;

use std::{
    borrow::Cow,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use announced::Announced;
use anyhow::{Context as _, Result};
use begun::begun;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use supervisor_collect::{
    host::{Host as _, Proc},
    kernel::SimulatedLoss,
    memory,
    observer::{Grace, Observer},
    privileges::{self, REAP_NEEDS},
};
use supervisor_deliver::say::say;
use supervisor_model::{
    clock,
    facts::HostIdentity,
    identity,
    recording::{Counted, RecordingWriter},
    redact::Redactor,
    words::{clean, duration},
};
use supervisor_render::{Context, fold::Detail};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

use crate::{config::Config, service};
pub use pipeline::Pipeline;
use reaping::Reaping;
pub use stream::Stream;
use vitals::{Vitals, notified};

/// How often the observer looks for candidates.
const TICK: Duration = Duration::from_millis(250);
/// How often each sink compares its list of open findings with the findings that are open.
const COMPARE: Duration = Duration::from_mins(10);
/// How soon the next comparison may come, if a sink asks for it.
const COMPARE_SOON: Duration = Duration::from_secs(10);

/// The options of an agent.
pub struct WatchOptions {
    /// What the agent watches for, and where its events go.
    pub config: Config,
    /// Whether the next run gets the findings that are open at the end.
    pub remembers: bool,
    /// Whether the agent logs the lines of the eBPF programs.
    pub bpf_log: bool,
    /// What the kernel side loses on purpose.
    pub simulated_loss: SimulatedLoss,
    /// After which time the agent ends by itself.
    pub duration: Option<Duration>,
    /// Reads the configuration again when SIGHUP asks for it.
    pub reload: Option<Box<dyn Fn() -> Result<Config>>>,
    /// Makes the file for the recording. It can change the context, which is in every event.
    pub record: Option<Record>,
    /// How detailed the text on standard output is for each finding.
    pub detail: Detail,
    /// Whether the agent prints bounds at the start and counters at the end.
    pub is_verbose: bool,
}

/// Makes the file for the recording.
pub type Record = Box<dyn FnOnce(&mut Context) -> Result<RecordingWriter>>;

/// The result of a run.
pub struct Ended {
    /// The counters at the end.
    pub counted: Counted,
    /// The recording, without its end.
    pub recording: Option<RecordingWriter>,
}

/// Watches until a signal ends it, the time is up, or nobody reads any more.
///
/// # Errors
///
/// If the kernel side cannot be started or read, a sink cannot be opened, or a recording cannot be written.
pub fn run(options: WatchOptions) -> Result<Ended> {
    block_on(watch(options))
}

/// Runs the event loop on this thread.
///
/// # Errors
///
/// The errors of `work`, and if there are too many descriptors.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    let result = runtime.block_on(work);
    // A name lookup that is still running must not delay the end.
    runtime.shutdown_background();
    result
}

#[expect(
    clippy::too_many_lines,
    reason = "the steps of a start in their order: each must come after the one before"
)]
async fn watch(options: WatchOptions) -> Result<Ended> {
    let WatchOptions { config, remembers, bpf_log, simulated_loss, duration: length, reload, record, .. } =
        options;
    let (detail, is_verbose) = (options.detail, options.is_verbose);
    // This comes before any hook is attached, so that an early signal also ends the agent cleanly.
    let (stop, hangups) = signals(reload.is_some())?;
    let started_ns = clock::now_ns();
    let grace_ns = config.grace.0.as_nanos() as u64;
    let host = Proc::new().context("cannot read /proc")?;
    let identity = named(host.identity(), &config);
    // The lock comes before any use of the state directory. Of two agents, the second one gets the error, not the one
    // that runs.
    let lock = remembers.then(|| open_findings::lock(&config.state_dir)).transpose().with_context(|| {
        format!("cannot use the state directory {}", clean(&config.state_dir.display().to_string()))
    })?;
    let redactor = Redactor::new(&config.redact)?;
    let grace = Grace { zombie_ns: grace_ns, exit_ns: config.exit_grace.0.as_nanos() as u64 };
    let mut observer = Observer::start(host, redactor, grace, bpf_log, simulated_loss)?;
    let hooks = observer.programs_mut().hooks();
    let mut context = context(&identity, Some(hooks));
    let recorder = record.map(|record| record(&mut context)).transpose()?;
    let _log = bpf_log.then(|| spawn_log(&mut observer)).transpose()?;
    let measured = Vitals::measure(&config.metrics)?;
    let announced = Announced::open()?;
    // This comes before any other thread starts: those are the threads of sinks and of metrics.
    let passed_on = REAP_NEEDS.map(|need| need.capability);
    let passed_on = if config.reap.enabled { &passed_on[..] } else { &[] };
    privileges::drop_all_but_passed_on(Some(observer.programs_mut()), passed_on)?;
    observer.host().replace_reader()?;
    let stream = Stream::open(&config, context.clone(), stop.clone())?.in_detail(detail);
    let vitals = Vitals::start(&config.metrics, measured, hooks)?;
    let mut pipeline = Pipeline::new(context.host.clone(), grace_ns, config.filter.clone(), stream);
    pipeline = pipeline.recorded_by(recorder).measured_by(vitals.as_ref().map(Vitals::metrics));
    if let Some(lock) = lock {
        left::take_over(&mut pipeline, &mut observer, &config, lock, &context.host).await?;
        pipeline.conclusions().restore_outcomes(history::read(&config.state_dir, &context.host.boot_id));
    }
    // If the kernel does not report these pages, they stay in memory. That is no error.
    let _they_stay = memory::give_back_file();
    say(&begun(&config, is_verbose.then(|| pipeline.stream().bound())));

    tokio::spawn(service::watchdog(|error| notified(Err(error))));
    notified(service::ready(&format!("watching for processes unreaped for {}", duration(grace_ns))));

    let events = poll(observer.event_fd()?)?;
    let end = length.and_then(|length| Instant::now().checked_add(length));
    let history = remembers.then(|| context.host.boot_id.clone());
    let reaping = config.reap.enabled.then(|| Reaping::new(config.reap.clone()));
    let mut agent = Agent {
        config,
        history,
        reload,
        observer,
        pipeline,
        announced,
        reaping,
        vitals,
        stop,
        hangups,
        events,
        end,
        is_verbose,
    };
    let ran = agent.run().await;
    notified(service::stopping());
    let ended = match ran {
        Ok(()) => agent.end(started_ns).await,
        Err(error) => Err(error),
    };
    // This also runs after an error, so that waiting events are delivered.
    let recording = agent.pipeline.close().await?;
    Ok(Ended { counted: ended?, recording })
}

/// An agent that runs.
struct Agent {
    config: Config,
    /// The id of this boot, if the agent keeps for the next run what reapers did.
    history: Option<String>,
    reload: Option<Box<dyn Fn() -> Result<Config>>>,
    observer: Observer<Proc>,
    pipeline: Pipeline,
    /// What `supervisor reap` does on this host.
    announced: Announced,
    /// Frees zombies. If it is off at the start, the agent gives up the capabilities for it.
    reaping: Option<Reaping>,
    vitals: Option<Vitals>,
    stop: watch::Receiver<bool>,
    hangups: mpsc::Receiver<()>,
    events: AsyncFd<OwnedFd>,
    end: Option<Instant>,
    is_verbose: bool,
}

impl Agent {
    /// Watches until it has to end, or nobody reads any more.
    async fn run(&mut self) -> Result<()> {
        let mut stop = self.stop.clone();
        let ticks = ticks()?;
        // By then, the agent has inspected the processes that existed before.
        let mut compare = Instant::now() + Duration::from_mins(1).max(self.config.grace.0 * 2);
        let mut compared = Instant::now();
        let mut saved = Instant::now();
        loop {
            let woken = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                () = sleep_until(self.end.unwrap_or_else(Instant::now)), if self.end.is_some() => return Ok(()),
                Some(()) = self.hangups.recv() => None,
                ready = self.events.readable() => {
                    ready.context("cannot poll the event ring")?.clear_ready();
                    Some((self.observer.drain(), false))
                }
                ready = ticks.readable() => {
                    let mut ready = ready.context("cannot poll the timer")?;
                    // The number of ticks does not matter.
                    rustix::io::read(ticks.get_ref(), &mut [0; 8]).ok();
                    ready.clear_ready();
                    Some((self.observer.tick()?, true))
                }
            };
            let Some((happened, is_tick)) = woken else {
                self.reload().await;
                continue;
            };
            if !self.pipeline.take(happened).await? {
                return Ok(());
            }
            if !is_tick {
                continue;
            }
            self.announced.tick(&mut self.observer, &mut self.pipeline).await?;
            if let Some(reaping) = &mut self.reaping {
                reaping.tick(&mut self.observer, &mut self.pipeline).await?;
            }
            let is_wanted = compared.elapsed() >= COMPARE_SOON && self.pipeline.wants_to_compare();
            if compare <= Instant::now() || is_wanted {
                compared = Instant::now();
                compare = compared + COMPARE;
                self.pipeline.compare();
            }
            if saved.elapsed() >= history::SAVE_EVERY {
                saved = Instant::now();
                self.save_history();
            }
            self.pipeline.complete().await?;
            if let Some(vitals) = &self.vitals {
                vitals.tick(&mut self.observer, &mut self.pipeline)?;
            }
        }
    }

    /// Takes in what happened since the last tick, which belongs to this watch too, and prints a summary.
    async fn end(&mut self, started_ns: u64) -> Result<Counted> {
        if let Some(reaping) = &mut self.reaping {
            reaping.end(&mut self.pipeline).await?;
        }
        self.announced.end(&mut self.pipeline).await?;
        self.pipeline.take(self.observer.finish()?).await?;
        self.save_history();
        let counted = Counted::new(&self.observer.counters()?, self.observer.lost()?);
        let watched = duration(clock::now_ns().saturating_sub(started_ns));
        say(&format!("watched for {watched}: {}", self.pipeline.summary()));
        if self.is_verbose {
            say(&format!("counted: {counted}"));
        }
        Ok(counted)
    }

    /// Keeps what reapers did with earlier findings. If that fails, the agent goes on.
    fn save_history(&mut self) {
        let Some(boot_id) = &self.history else { return };
        let outcomes = self.pipeline.conclusions().outcomes();
        if let Err(error) = history::write(&self.config.state_dir, boot_id, outcomes) {
            say(&format!("supervisor: cannot keep what reapers did in the state directory: {error}"));
        }
    }

    /// Reads the configuration again and applies it. If the new one is wrong, the agent keeps the old one.
    async fn reload(&mut self) {
        let Some(reload) = &self.reload else { return };
        notified(service::reloading());
        let may_reap = self.reaping.is_some();
        let status = reconfigure(&mut self.config, reload(), &mut self.pipeline, may_reap).await;
        if let Some(reaping) = &mut self.reaping {
            reaping.reconfigure(self.config.reap.clone());
        }
        notified(service::ready(status));
    }
}

/// The context that is in every event of this run.
#[must_use]
pub fn context(host: &HostIdentity, hooks: Option<&'static str>) -> Context {
    Context {
        host: host.clone(),
        agent_id: identity::agent_id(&host.boot_id, std::process::id(), clock::now_ns()),
        hooks: hooks.map(Cow::Borrowed),
    }
}

/// The host, with the id and the name that the configuration gives it.
fn named(host: &HostIdentity, config: &Config) -> HostIdentity {
    HostIdentity {
        id: config.host.id.clone().or_else(|| host.id.clone()),
        hostname: config.host.name.clone().unwrap_or_else(|| host.hostname.clone()),
        ..host.clone()
    }
}

/// Applies a new configuration, or keeps the old one if the new one is wrong. Returns a sentence that says which one
/// holds.
async fn reconfigure(
    config: &mut Config,
    new: Result<Config>,
    pipeline: &mut Pipeline,
    may_reap: bool,
) -> &'static str {
    let result = match new {
        Ok(new) => pipeline.stream().reconfigure(&new).await.map(|()| new),
        Err(error) => Err(error),
    };
    match result {
        Ok(new) => {
            let fixed = [
                ("grace", new.grace != config.grace),
                ("exit_grace", new.exit_grace != config.exit_grace),
                ("host", new.host != config.host),
                ("cluster", new.cluster != config.cluster),
                ("state_dir", new.state_dir != config.state_dir),
                ("redact", new.redact != config.redact),
                ("metrics", new.metrics != config.metrics),
                ("reap", new.reap.enabled && !may_reap),
            ];
            let fixed: Vec<&str> =
                fixed.into_iter().filter_map(|(key, differs)| differs.then_some(key)).collect();
            pipeline.conclusions().set_filter(new.filter.clone());
            say("supervisor: goes on with the new configuration");
            if !fixed.is_empty() {
                say(&format!("supervisor: from the next start on: {}", fixed.join(", ")));
            }
            // Keys that only a restart can change keep their old values here. So the next reload, too, compares its
            // values with those that hold now.
            *config = Config {
                grace: config.grace,
                exit_grace: config.exit_grace,
                host: config.host.clone(),
                cluster: config.cluster.clone(),
                state_dir: config.state_dir.clone(),
                redact: config.redact.clone(),
                metrics: config.metrics.clone(),
                reap: if may_reap { new.reap } else { config.reap.clone() },
                ..new
            };
            "watching with the new configuration"
        }
        Err(error) => {
            say(&format!(
                "supervisor: the new configuration is refused, and the old one goes on: {}",
                clean(&format!("{error:#}"))
            ));
            "watching with the old configuration: the new one is refused"
        }
    }
}

/// Returns two receivers. The first one reports the end. The second one reports a SIGHUP, which asks the agent to read
/// its configuration again. Without `reloads`, SIGHUP ends the command.
///
/// # Errors
///
/// If the signals cannot be handled.
pub fn signals(reloads: bool) -> Result<(watch::Receiver<bool>, mpsc::Receiver<()>)> {
    if !reloads {
        last_resort::prepare()?;
    }
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let (stop, stopped) = watch::channel(false);
    let (hup, hangups) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                // A reload that already waits will read the newest configuration.
                _ = hangup.recv() => {
                    if !reloads {
                        break;
                    }
                    let _one_waits = hup.try_send(());
                }
            }
        }
        stop.send_replace(true);
        // The sender stays alive, so that receivers can still ask it later.
        stop.closed().await;
    });
    Ok((stopped, hangups))
}

/// Forwards the log of the eBPF programs in the background.
fn spawn_log(observer: &mut Observer<Proc>) -> Result<tokio::task::JoinHandle<()>> {
    let mut logger = observer.programs_mut().logger()?;
    let events = poll(logger.as_fd().try_clone_to_owned()?)?;
    Ok(tokio::spawn(async move {
        while let Ok(mut ready) = events.readable().await {
            ready.clear_ready();
            logger.flush();
        }
    }))
}

/// Makes a timer that becomes readable at each tick. The event loop's own timers wake a thread twice for each tick.
fn ticks() -> Result<AsyncFd<OwnedFd>> {
    let tick = Timespec { tv_sec: 0, tv_nsec: TICK.as_nanos() as i64 };
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("cannot make a timer")?;
    let every = Itimerspec { it_interval: tick, it_value: tick };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every).context("cannot set a timer")?;
    poll(timer)
}

/// Lets the event loop wait until there is something to read.
pub(crate) fn poll(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>> {
    // SAFETY: `AsyncFd` owns the descriptor, so the descriptor stays open as long as it is registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.context("cannot poll")
}
