//! The agent: an observer, a pipeline, and what a service needs besides: signals, another configuration, an end in order.

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
    recording::{Counted, Writer},
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
use vitals::{Vitals, told};

/// How often leftovers are looked for.
const TICK: Duration = Duration::from_millis(250);
/// How often sinks compare the open findings that they keep with those that are.
const COMPARE: Duration = Duration::from_mins(10);
/// How soon again, if one asks for it.
const COMPARE_SOON: Duration = Duration::from_secs(10);

/// What an agent is to do.
pub struct Options {
    /// What is watched for, and where events go.
    pub config: Config,
    /// Whether findings that are open at the end are remembered for the next run.
    pub remembers: bool,
    /// Whether the eBPF programs' own lines are logged.
    pub bpf_log: bool,
    /// What the kernel side loses on purpose.
    pub simulated_loss: SimulatedLoss,
    /// When it ends by itself.
    pub duration: Option<Duration>,
    /// Reads the configuration anew, when SIGHUP asks for it.
    pub reload: Option<Box<dyn Fn() -> Result<Config>>>,
    /// Makes the file that it is recorded into. What every event says can be changed there.
    pub record: Option<Record>,
    /// How much text on standard output says of each finding.
    pub detail: Detail,
    /// Whether bounds at the start and counters at the end are printed.
    pub is_verbose: bool,
}

/// Makes the file that is recorded into.
pub type Record = Box<dyn FnOnce(&mut Context) -> Result<Writer>>;

/// What came of it.
pub struct Ended {
    /// What was counted.
    pub counted: Counted,
    /// The recording, without its end.
    pub recording: Option<Writer>,
}

/// Watches until a signal ends it, the time is up, or nobody reads any more.
///
/// # Errors
///
/// If the kernel side cannot be started or read, a sink cannot be opened, or a recording cannot be written.
pub fn run(options: Options) -> Result<Ended> {
    block_on(watch(options))
}

/// Runs the event loop on this thread.
///
/// # Errors
///
/// Those of what it runs, and if there are too many descriptors.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start the event loop")?;
    let result = runtime.block_on(work);
    // A name that is still being looked up must not hold the end.
    runtime.shutdown_background();
    result
}

async fn watch(options: Options) -> Result<Ended> {
    let Options { config, remembers, bpf_log, simulated_loss, duration: length, reload, record, .. } =
        options;
    let (detail, is_verbose) = (options.detail, options.is_verbose);
    // Before anything is attached, so that an early signal ends it cleanly too.
    let (stop, hangups) = signals(reload.is_some())?;
    let started_ns = clock::now_ns();
    let grace_ns = config.grace.0.as_nanos() as u64;
    let host = Proc::new().context("cannot read /proc")?;
    let identity = named(host.identity(), &config);
    // Before anything of it is used; and another agent may be the first to be told, not the one that runs.
    let lock = remembers.then(|| open_findings::lock(&config.state_dir)).transpose().with_context(|| {
        format!("cannot use the state directory {}", clean(&config.state_dir.display().to_string()))
    })?;
    let redactor = Redactor::new(&config.redact)?;
    let grace = Grace { zombie_ns: grace_ns, exit_ns: config.exit_grace.0.as_nanos() as u64 };
    let mut observer = Observer::start(host, redactor, grace, bpf_log, simulated_loss)?;
    let hooks = observer.tracer().hooks();
    let mut context = context(&identity, Some(hooks));
    let recorder = record.map(|record| record(&mut context)).transpose()?;
    let _log = bpf_log.then(|| spawn_log(&mut observer)).transpose()?;
    let measured = Vitals::measure(&config.metrics)?;
    // Before the first other thread is started, which are those of sinks and metrics.
    let passed_on = REAP_NEEDS.map(|need| need.capability);
    let passed_on = if config.reap.enabled { &passed_on[..] } else { &[] };
    privileges::drop_all_but_passed_on(Some(observer.tracer()), passed_on)?;
    observer.host().replace_reader()?;
    let stream = Stream::open(&config, context.clone(), stop.clone())?.in_detail(detail);
    let vitals = Vitals::start(&config.metrics, measured, hooks)?;
    let mut pipeline = Pipeline::new(context.host.clone(), grace_ns, config.filter.clone(), stream);
    pipeline = pipeline.recorded_by(recorder).measured_by(vitals.as_ref().map(Vitals::metrics));
    if let Some(lock) = lock {
        left::take_over(&mut pipeline, &mut observer, &config, lock, &context.host).await?;
        pipeline.conclusions().restore_outcomes(history::read(&config.state_dir, &context.host.boot_id));
    }
    // It is no fault if the kernel does not tell which they are.
    let _they_stay = memory::give_back_file();
    say(&begun(&config, is_verbose.then(|| pipeline.stream().bound())));

    tokio::spawn(service::watchdog(|error| told(Err(error))));
    told(service::ready(&format!("watching for processes unreaped for {}", duration(grace_ns))));

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
        reaping,
        vitals,
        stop,
        hangups,
        events,
        end,
        is_verbose,
    };
    let ran = agent.run().await;
    told(service::stopping());
    let ended = match ran {
        Ok(()) => agent.end(started_ns).await,
        Err(error) => Err(error),
    };
    // Also after an error: what waits is to be delivered.
    let recording = agent.pipeline.close().await?;
    Ok(Ended { counted: ended?, recording })
}

/// What runs.
struct Agent {
    config: Config,
    /// This boot, if what reapers did is kept for the next run.
    history: Option<String>,
    reload: Option<Box<dyn Fn() -> Result<Config>>>,
    observer: Observer<Proc>,
    pipeline: Pipeline,
    /// What frees zombies. Without it at the start, its capabilities are given up.
    reaping: Option<Reaping>,
    vitals: Option<Vitals>,
    stop: watch::Receiver<bool>,
    hangups: mpsc::Receiver<()>,
    events: AsyncFd<OwnedFd>,
    end: Option<Instant>,
    is_verbose: bool,
}

impl Agent {
    /// Watches until it is told to end, or nobody reads any more.
    async fn run(&mut self) -> Result<()> {
        let mut stop = self.stop.clone();
        let ticks = ticks()?;
        // By then, what was there before was looked at.
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
                    // How many it was is of no interest.
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

    /// Takes in what happened since the last tick, which belongs to this watch too, and says what was seen.
    async fn end(&mut self, started_ns: u64) -> Result<Counted> {
        if let Some(reaping) = &mut self.reaping {
            reaping.end(&mut self.pipeline).await?;
        }
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

    /// Keeps what reapers did with earlier findings. That it cannot be kept is no reason to end.
    fn save_history(&mut self) {
        let Some(boot_id) = &self.history else { return };
        let outcomes = self.pipeline.conclusions().outcomes();
        if let Err(error) = history::write(&self.config.state_dir, boot_id, outcomes) {
            say(&format!("supervisor: cannot keep what reapers did in the state directory: {error}"));
        }
    }

    /// Reads the configuration anew, and goes on with it, or with the old one if the new one is wrong.
    async fn reload(&mut self) {
        let Some(reload) = &self.reload else { return };
        told(service::reloading());
        let may_reap = self.reaping.is_some();
        let status = reconfigure(&mut self.config, reload(), &mut self.pipeline, may_reap).await;
        if let Some(reaping) = &mut self.reaping {
            reaping.reconfigure(self.config.reap.clone());
        }
        told(service::ready(status));
    }
}

/// What every event of this run says.
#[must_use]
pub fn context(host: &HostIdentity, hooks: Option<&'static str>) -> Context {
    Context {
        host: host.clone(),
        agent_id: identity::agent_id(&host.boot_id, std::process::id(), clock::now_ns()),
        hooks: hooks.map(Cow::Borrowed),
    }
}

/// The host as the configuration calls it.
fn named(host: &HostIdentity, config: &Config) -> HostIdentity {
    HostIdentity {
        id: config.host.id.clone().or_else(|| host.id.clone()),
        hostname: config.host.name.clone().unwrap_or_else(|| host.hostname.clone()),
        ..host.clone()
    }
}

/// Goes on with another configuration, or with the old one if the new one is wrong. Returns which, in a sentence.
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
            // What holds from the next start on is compared with what holds now next time too.
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

/// What ends it, and what makes it read its configuration anew: SIGHUP, which ends what has none.
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
                // One that waits already will read the newest.
                _ = hangup.recv() => {
                    if !reloads {
                        break;
                    }
                    let _one_waits = hup.try_send(());
                }
            }
        }
        stop.send_replace(true);
        // The sender stays, so that it can be asked later.
        stop.closed().await;
    });
    Ok((stopped, hangups))
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
/// Becomes readable at each tick. The event loop's own timers wake a thread twice for each.
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
    // SAFETY: it owns the descriptor, so that this is open as long as it is registered.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.context("cannot poll")
}
