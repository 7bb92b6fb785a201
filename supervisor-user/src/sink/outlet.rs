//! One sink with its buffer and its thread: the tracer puts messages in, the thread delivers them, and tries again.
//!
//! Nothing that a sink does can hold up the tracer or another sink, unless its policy is `block`.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Notify, watch},
    time::sleep_until,
};

use super::{
    Delivered, Place, SinkError,
    message::Message,
    queue::Memory,
    spool::{self, Gauge},
};
use crate::{
    config::{Policy, SinkConfig},
    console::say,
    words::clean,
};

/// How many messages a sink is given at once.
const BATCH: usize = 256;
/// After a failure it is tried again after this long, and then twice as long each time.
const RETRY: Duration = Duration::from_millis(100);
/// But at least this often.
const RETRY_MAX: Duration = Duration::from_secs(15);

/// That it fails is said at most so often.
const SAY: Duration = Duration::from_mins(1);

/// One sink, as the tracer sees it.
#[derive(Debug)]
pub struct Outlet {
    name: String,
    policy: Policy,
    spool: Option<spool::Writer>,
    shared: Arc<Shared>,
    stop: Stop,
}

/// Becomes true when the agent is to end: then nothing waits for room any more.
pub type Stop = watch::Receiver<bool>;

/// What the tracer and the thread have in common.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// To the thread: there is something to do.
    work: Notify,
    /// To the tracer: there is room again, or there never will be.
    room: Notify,
    /// To whoever waits for the end.
    ended: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    stats: Stats,
    /// Not told yet.
    untold: u64,
    /// When it was last said that it fails, and whether that it does not any more is still to be said.
    said: Option<(Instant, bool)>,
    stopping: bool,
    /// The ids of all findings that are open, to be compared with those that the sink keeps.
    open: Option<Arc<HashSet<String>>>,
    /// Nobody waits for it any more.
    abandoned: bool,
    ended: bool,
    /// When it last made progress.
    progress: Instant,
}

#[derive(Debug)]
enum Queue {
    Memory(Memory),
    Spool(Gauge),
}

/// How a sink is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// Deliveries that failed.
    pub failures: u64,
    /// Whether the last delivery did not fail.
    pub is_up: bool,
    /// Nobody will ever read from it again.
    pub is_closed: bool,
    /// Messages that wait.
    pub waiting: u64,
    /// Their size, in memory or on disk.
    pub waiting_bytes: u64,
    /// Readers that were too slow and were cut off.
    pub cut_off: u64,
}

impl Outlet {
    /// Starts a sink's thread. `state_dir` is where its spool is, if it has one.
    ///
    /// # Errors
    ///
    /// If its spool cannot be opened, or no thread can be started.
    pub fn start(
        name: &str,
        config: &SinkConfig,
        mut place: Place,
        state_dir: &Path,
        stop: Stop,
    ) -> io::Result<Self> {
        let (spool, source, queue) = if config.policy == Policy::Spool {
            let (writer, reader) = spool::open(&state_dir.join("spool").join(name), config.spool.0)?;
            let gauge = writer.gauge();
            (Some(writer), Some(reader), Queue::Spool(gauge))
        } else {
            (None, None, Queue::Memory(Memory::new(config.buffer.0)))
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue,
                stats: Stats { is_up: true, ..Stats::default() },
                untold: 0,
                said: None,
                stopping: false,
                open: None,
                abandoned: false,
                ended: false,
                progress: Instant::now(),
            }),
            work: Notify::new(),
            room: Notify::new(),
            ended: Condvar::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Thread { name: name.to_owned(), shared: Arc::clone(&shared), spool: source };
        thread::Builder::new().name(format!("sink {name}")).spawn(move || {
            let shared = Arc::clone(&thread.shared);
            runtime.block_on(thread.run(&mut place));
            // Whoever waits may open the same place anew, or end the process.
            drop(place);
            shared.state().ended = true;
            shared.ended.notify_all();
            shared.room.notify_one();
        })?;
        Ok(Self { name: name.to_owned(), policy: config.policy, spool, shared, stop })
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a message in. With the policy `block` it waits for room; else what has no room is dropped, and counted.
    pub async fn push(&mut self, message: &Message) {
        while !self.try_push(message) {
            if self.policy != Policy::Block || self.shared.state().ended || *self.stop.borrow() {
                let mut state = self.shared.state();
                state.stats.dropped += 1;
                state.untold += 1;
                return;
            }
            tokio::select! {
                () = self.shared.room.notified() => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Puts a message in if there is room; without one, nothing is counted.
    pub fn try_push(&mut self, message: &Message) -> bool {
        let pushed = match &mut self.spool {
            Some(spool) => spool.push(message).unwrap_or_else(|error| {
                self.shared.state().fail(&self.name, &format!("its spool does not take events: {error}"));
                false
            }),
            None => match &mut *self.shared.state() {
                State { queue: Queue::Memory(memory), ended: false, .. } => memory.push(message),
                _ => false,
            },
        };
        if pushed {
            self.shared.work.notify_one();
        }
        pushed
    }

    /// How many were dropped that nobody was told of.
    #[must_use]
    pub fn untold(&self) -> u64 {
        self.shared.state().untold
    }

    /// Says that so many of them were told.
    pub fn told(&self, count: u64) {
        self.shared.state().untold -= count;
    }

    /// Lets the sink forget findings that are not open any more, before it delivers anything that is put in later.
    pub fn retain(&self, open: Arc<HashSet<String>>) {
        self.shared.state().open = Some(open);
        self.shared.work.notify_one();
    }

    /// How it is doing.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let (waiting, waiting_bytes) = match &state.queue {
            Queue::Memory(memory) => (memory.len(), memory.bytes()),
            Queue::Spool(gauge) => (gauge.messages(), gauge.bytes()),
        };
        Stats { waiting, waiting_bytes, ..state.stats.clone() }
    }

    /// Tells the thread that nothing more comes.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.stopping = true;
        state.progress = Instant::now();
        drop(state);
        self.shared.work.notify_one();
    }

    /// Waits until everything is delivered, but not longer than `patience` without progress. What waits in a spool
    /// then stays there; how much is lost is returned.
    #[must_use]
    pub fn join(self, patience: Duration) -> u64 {
        let mut state = self.shared.state();
        while !state.ended {
            let left = (state.progress + patience).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let lost = match &state.queue {
            Queue::Memory(memory) => memory.len(),
            Queue::Spool(_) => 0,
        };
        drop(state);
        lost
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.shared.state().abandoned = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts a failure, and says the first of several.
    fn fail(&mut self, name: &str, error: &str) {
        self.stats.failures += 1;
        let was_up = std::mem::replace(&mut self.stats.is_up, false);
        if was_up && self.said.is_none_or(|(at, _)| at.elapsed() >= SAY) {
            self.said = Some((Instant::now(), true));
            say(&format!("supervisor: sink {}: {}; it is tried again", clean(name), clean(error)));
        }
    }
}

/// The thread's side.
struct Thread {
    name: String,
    shared: Arc<Shared>,
    spool: Option<spool::Reader>,
}

impl Thread {
    async fn run(mut self, place: &mut Place) {
        let mut pause = RETRY;
        loop {
            let batch = self.first();
            if self.shared.state().abandoned {
                break;
            }
            let open = self.shared.state().open.take();
            if let Some(open) = open
                && let Err(error) = place.retain(&open).await
            {
                // It is asked again later.
                self.shared.state().fail(&self.name, &error.to_string());
            }
            if batch.is_empty() {
                if self.shared.state().stopping {
                    break;
                }
                self.idle(place).await;
                continue;
            }
            let Delivered { count, error } = place.deliver(&batch).await;
            self.advance(count);
            self.shared.state().stats.cut_off = place.cut_off();
            match error {
                None => pause = RETRY,
                Some(SinkError::Closed(_)) => {
                    self.shared.state().stats.is_closed = true;
                    break;
                }
                Some(error) => {
                    self.shared.state().fail(&self.name, &error.to_string());
                    if count > 0 {
                        pause = RETRY;
                    }
                    self.wait(place, pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
        if let Some(spool) = &mut self.spool {
            let _unsaved = spool.sync();
        }
    }

    /// Waits before it is tried again; when the agent ends, for a moment only.
    async fn wait(&self, place: &mut Place, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            let until = if self.shared.state().stopping { until.min(Instant::now() + RETRY) } else { until };
            tokio::select! {
                () = sleep_until(until.into()) => return,
                () = place.serve() => {}
                () = self.shared.work.notified() => {}
            }
        }
    }

    /// Waits for work.
    async fn idle(&mut self, place: &mut Place) {
        let sync = self.spool.as_ref().and_then(spool::Reader::next_sync);
        tokio::select! {
            () = self.shared.work.notified() => {}
            () = place.serve() => {}
            () = sleep_until(sync.unwrap_or_else(Instant::now).into()), if sync.is_some() => self.sync(),
        }
    }

    fn sync(&mut self) {
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.sync()
        {
            self.shared.state().fail(&self.name, &format!("its spool cannot be synced: {error}"));
        }
    }

    /// What is to be delivered next.
    fn first(&mut self) -> Vec<Message> {
        let Some(spool) = &mut self.spool else {
            return match &self.shared.state().queue {
                Queue::Memory(memory) => memory.first(BATCH),
                Queue::Spool(_) => Vec::new(),
            };
        };
        let first = spool.first(BATCH);
        let damaged = spool.take_damaged();
        if damaged > 0 {
            let mut state = self.shared.state();
            state.stats.dropped += damaged;
            state.untold += damaged;
        }
        first.unwrap_or_else(|error| {
            self.shared.state().fail(&self.name, &format!("its spool cannot be read: {error}"));
            Vec::new()
        })
    }

    /// Says that the first ones are delivered.
    fn advance(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if let Some(spool) = &mut self.spool {
            spool.advance(count);
            if spool.next_sync().is_some_and(|at| at <= Instant::now()) {
                self.sync();
            }
        }
        let mut state = self.shared.state();
        if let Queue::Memory(memory) = &mut state.queue {
            memory.advance(count);
        }
        state.stats.delivered += count as u64;
        state.progress = Instant::now();
        state.stats.is_up = true;
        if let Some((_, is_to_be_said)) = &mut state.said
            && std::mem::take(is_to_be_said)
        {
            say(&format!("supervisor: sink {}: events are delivered again", clean(&self.name)));
        }
        drop(state);
        self.shared.room.notify_one();
    }
}
