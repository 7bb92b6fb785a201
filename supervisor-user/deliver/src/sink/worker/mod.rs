//! One sink with its buffer and its thread. The collector puts messages in. The thread delivers them, and tries again.
//!
//! A sink cannot hold up the collector or another sink, unless its policy is `block`.

#[cfg(test)]
mod tests;
mod thread;

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use supervisor_model::words::clean;
use tokio::{
    sync::{Notify, watch},
    time::timeout_at,
};

use self::thread::Thread;
use super::{
    Destination,
    message::Message,
    queue::Memory,
    spool::{self, Gauge},
};
use crate::{
    config::{Policy, SinkConfig},
    say::say,
};

/// How often a failure is reported at most.
const SAY: Duration = Duration::from_mins(1);

/// One sink, as the collector sees it.
#[derive(Debug)]
pub struct SinkWorker {
    name: String,
    policy: Policy,
    spool: Option<spool::Writer>,
    shared: Arc<Shared>,
    stop: Stop,
}

/// Becomes true when the agent has to end. Then nothing waits for room any more.
pub type Stop = watch::Receiver<bool>;

/// The state that the collector and the thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// To the thread: there is something to do.
    work: Notify,
    /// To the collector: there is room again, or there never will be.
    room: Notify,
    /// To the task that waits for the end.
    end: Notify,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    stats: Stats,
    /// Drops that are not reported yet.
    unreported: DropCount,
    /// When a failure was last reported, and whether its end is still to be reported.
    said: Option<(Instant, bool)>,
    /// Since when no more messages come.
    stopping: Option<Instant>,
    comparison: Comparison,
    /// Whether the destination reports, between deliveries, that it is down.
    is_down: bool,
    /// The ids of open findings that the sink did not have.
    missing: Vec<String>,
    /// Nobody waits for the sink any more.
    abandoned: bool,
    ended: bool,
    /// When it last made progress.
    progress: Instant,
}

/// A comparison of the findings that a sink keeps with those that are open.
#[derive(Debug, Default)]
enum Comparison {
    #[default]
    None,
    /// A comparison is wanted.
    Wanted,
    /// The ids of all open findings.
    With(Arc<HashSet<String>>),
}

impl Comparison {
    /// The ids to compare with, if they are there. `Wanted` stays, because the collector handles it.
    fn take_open(&mut self) -> Option<Arc<HashSet<String>>> {
        if let Self::With(open) = self {
            let open = Arc::clone(open);
            *self = Self::None;
            return Some(open);
        }
        None
    }
}

#[derive(Debug)]
enum Queue {
    Memory(Memory),
    Spool(Gauge),
}

/// The counters of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that were dropped.
    pub dropped: u64,
    /// Deliveries that failed.
    pub failures: u64,
    /// Whether the last delivery did not fail, and no other sign says that the next one will.
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

/// How many events a sink has dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCount {
    /// All of them.
    pub all: u64,
    /// Those that it dropped because it failed: its destination was down, it could not be opened, or its spool could
    /// not be written or read. It dropped the others because they came faster than it delivers.
    pub failed: u64,
}

impl SinkWorker {
    /// Starts a sink's thread. `state_dir` is where its spool is, if it has one.
    ///
    /// # Errors
    ///
    /// If its spool cannot be opened, or no thread can be started.
    pub fn start(
        name: &str,
        config: &SinkConfig,
        mut place: Destination,
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
                unreported: DropCount::default(),
                said: None,
                stopping: None,
                comparison: Comparison::None,
                is_down: false,
                missing: Vec::new(),
                abandoned: false,
                ended: false,
                progress: Instant::now(),
            }),
            work: Notify::new(),
            room: Notify::new(),
            end: Notify::new(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Thread { name: name.to_owned(), shared: Arc::clone(&shared), spool: source };
        std::thread::Builder::new().name(format!("sink {name}")).spawn(move || {
            let shared = Arc::clone(&thread.shared);
            runtime.block_on(thread.run(&mut place));
            // The waiting task may open the same destination again, or end the process.
            drop(place);
            shared.state().ended = true;
            shared.end.notify_one();
            shared.room.notify_one();
        })?;
        Ok(Self { name: name.to_owned(), policy: config.policy, spool, shared, stop })
    }

    /// Puts a message in. With the policy `block` it waits for room. Otherwise a message without room is dropped, and
    /// counted.
    pub async fn push(&mut self, message: &Message) {
        loop {
            let is_failing = match self.offer(message) {
                Ok(true) => return,
                Ok(false) => false,
                Err(_) => true,
            };
            if !self.waits_for_room(message, is_failing) {
                return;
            }
            tokio::select! {
                () = self.shared.room.notified() => {}
                _ = self.stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Whether the caller has to wait for room for a message. If not, the message is dropped, or put in without room:
    /// the last messages have the time that all messages have at the end.
    fn waits_for_room(&self, message: &Message, is_failing: bool) -> bool {
        let mut state = self.shared.state();
        if self.policy != Policy::Block || state.ended {
            let is_failing = is_failing || state.is_failing();
            state.drop_events(1, is_failing);
            return false;
        }
        if !*self.stop.borrow() {
            return true;
        }
        if let Queue::Memory(memory) = &mut state.queue {
            memory.push_anyway(message);
        }
        drop(state);
        self.shared.work.notify_one();
        false
    }

    /// Puts a message in if there is room. Without room, nothing is counted.
    pub fn try_push(&mut self, message: &Message) -> bool {
        self.offer(message).unwrap_or(false)
    }

    /// Like [`SinkWorker::try_push`]. An error comes from the spool, and was reported.
    fn offer(&mut self, message: &Message) -> io::Result<bool> {
        let pushed = match &mut self.spool {
            Some(spool) => spool.push(message).inspect_err(|error| {
                self.shared.warn(&self.name, &format!("its spool does not take events: {error}"));
            })?,
            None => match &mut *self.shared.state() {
                State { queue: Queue::Memory(memory), ended: false, .. } => memory.push(message),
                _ => false,
            },
        };
        if pushed {
            self.shared.work.notify_one();
        }
        Ok(pushed)
    }

    /// Whether much of its buffer is free again.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match (&self.spool, &*self.shared.state()) {
            (Some(spool), _) => spool.has_room(),
            (None, State { queue: Queue::Memory(memory), ended: false, .. }) => memory.has_room(),
            _ => false,
        }
    }

    /// How many drops were not reported yet.
    #[must_use]
    pub fn unreported(&self) -> DropCount {
        self.shared.state().unreported
    }

    /// Counts events that were meant for it before it was opened.
    pub fn missed(&self, count: u64) {
        self.shared.state().drop_events(count, true);
    }

    /// Records that these drops were reported.
    pub fn reported(&self, count: DropCount) {
        let unreported = &mut self.shared.state().unreported;
        unreported.all -= count.all;
        unreported.failed -= count.failed;
    }

    /// Makes the sink compare the findings that it keeps with those that are open, before it delivers anything that is
    /// put in later.
    pub fn compare(&self, open: Arc<HashSet<String>>) {
        self.shared.state().comparison = Comparison::With(open);
        self.shared.work.notify_one();
    }

    /// Whether the sink has lost its findings, or could not compare them.
    #[must_use]
    pub fn wants_to_compare(&self) -> bool {
        matches!(self.shared.state().comparison, Comparison::Wanted)
    }

    /// The ids of open findings that the sink did not have at the last comparison. They have to be put in again.
    #[must_use]
    pub fn take_missing(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().missing)
    }

    /// The counters of the sink.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let state = self.shared.state();
        let (waiting, waiting_bytes) = match &state.queue {
            Queue::Memory(memory) => (memory.len(), memory.bytes()),
            Queue::Spool(gauge) => (gauge.messages(), gauge.bytes()),
        };
        let is_up = !state.is_failing();
        Stats { is_up, waiting, waiting_bytes, ..state.stats.clone() }
    }

    /// Tells the thread that nothing more comes.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.stopping = Some(Instant::now());
        state.progress = Instant::now();
        drop(state);
        self.shared.work.notify_one();
    }

    /// Waits until everything is delivered, but not longer than `patience` without progress, nor longer than three
    /// times `patience`. Messages that wait in a spool then stay there. Returns how many messages are lost without a
    /// report.
    pub async fn join(self, patience: Duration) -> u64 {
        loop {
            let until = {
                let state = self.shared.state();
                if state.ended {
                    break;
                }
                (state.progress + patience).min(state.stopping.unwrap_or(state.progress) + patience * 3)
            };
            if timeout_at(until.into(), self.shared.end.notified()).await.is_err() {
                break;
            }
        }
        let state = self.shared.state();
        let waiting = match &state.queue {
            Queue::Memory(memory) => memory.len(),
            Queue::Spool(_) => 0,
        };
        waiting + state.unreported.all
    }
}

impl Drop for SinkWorker {
    fn drop(&mut self) {
        self.shared.state().abandoned = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// Reports a problem of a sink. Do not call it while the state is locked: perhaps nobody reads standard error, and
    /// the write waits.
    fn warn(&self, name: &str, error: &str) {
        if self.state().is_to_be_said() {
            say(&format!("supervisor: sink {}: {}; it is tried again", clean(name), clean(error)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether nothing can be delivered now.
    fn is_failing(&self) -> bool {
        !self.stats.is_up || self.is_down || self.ended
    }

    /// Counts events that are dropped: because the sink fails, or because it is slower than they come.
    fn drop_events(&mut self, count: u64, is_failing: bool) {
        self.stats.dropped += count;
        self.unreported.all += count;
        if is_failing {
            self.unreported.failed += count;
        }
    }

    /// Counts a delivery that failed.
    fn fail(&mut self) {
        self.stats.failures += 1;
        self.stats.is_up = false;
    }

    /// Whether a problem is to be reported: once until it is over, and at most once in [`SAY`].
    fn is_to_be_said(&mut self) -> bool {
        let is_said = self.said.is_some_and(|(at, is_wrong)| is_wrong || at.elapsed() < SAY);
        if !is_said {
            self.said = Some((Instant::now(), true));
        }
        !is_said
    }
}
