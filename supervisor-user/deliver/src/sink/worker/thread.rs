//! A sink's thread. It delivers messages that the collector puts in, and tries again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use supervisor_model::words::clean;
use tokio::time::{sleep, sleep_until};

use super::{Comparison, Queue, Shared};
use crate::{
    say::say,
    sink::{Delivered, Destination, SinkError, message::Message, spool},
};

/// How many messages a sink gets at once.
const BATCH: usize = 256;
/// The pause after a failure. Each further pause is twice as long.
const RETRY: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_MAX: Duration = Duration::from_secs(15);
/// How often a destination without anything to deliver is asked for its state.
const LOOK: Duration = Duration::from_secs(5);
/// How long the thread still delivers from a spool at the end. The rest is there for the next run.
const SPOOL_END: Duration = Duration::from_secs(3);

/// The thread's side of a sink.
pub(super) struct Thread {
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) spool: Option<spool::Reader>,
}

impl Thread {
    /// Delivers until nothing more comes.
    pub(super) async fn run(mut self, place: &mut Destination) {
        let mut pause = RETRY;
        loop {
            let batch = self.first();
            if self.is_abandoned() {
                break;
            }
            self.compare(place).await;
            if batch.is_empty() {
                if self.shared.state().stopping.is_some() {
                    break;
                }
                self.idle(place).await;
                self.look_at(place);
                continue;
            }
            let Delivered { count, error } = place.deliver(&batch).await;
            self.advance(count);
            self.sync_if_due();
            self.look_at(place);
            match error {
                None => pause = RETRY,
                Some(SinkError::Closed(_)) => {
                    self.shared.state().stats.is_closed = true;
                    break;
                }
                Some(error) => {
                    self.shared.state().fail();
                    self.shared.warn(&self.name, &error.to_string());
                    if self.spool.is_some() && self.shared.state().stopping.is_some() {
                        break;
                    }
                    if count > 0 {
                        pause = RETRY;
                    }
                    self.wait(place, pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
        self.sync();
        place.finish().await;
    }

    /// Whether nobody waits for the sink any more. Nobody needs to wait for messages in a spool.
    fn is_abandoned(&self) -> bool {
        let state = self.shared.state();
        let is_late = state.stopping.is_some_and(|since| since.elapsed() >= SPOOL_END);
        state.abandoned || (is_late && self.spool.is_some())
    }

    /// Compares the findings of the destination with those that are open, if that was requested.
    async fn compare(&self, place: &mut Destination) {
        let open = self.shared.state().comparison.take_open();
        if let Some(open) = open {
            match place.retain(&open).await {
                Ok(missing) => self.shared.state().missing = missing,
                Err(error) => {
                    // When it can be tried again, other findings are open.
                    self.shared.state().comparison = Comparison::Wanted;
                    self.shared.warn(&self.name, &error.to_string());
                }
            }
        }
    }

    /// Copies the state that the destination reports.
    fn look_at(&self, place: &mut Destination) {
        let mut state = self.shared.state();
        state.stats.cut_off = place.cut_off();
        state.is_down = place.is_down();
        if place.take_list_lost() && matches!(state.comparison, Comparison::None) {
            state.comparison = Comparison::Wanted;
        }
    }

    /// Waits before the next attempt. When the agent ends, it waits only for a moment.
    async fn wait(&mut self, place: &mut Destination, pause: Duration) {
        let until = Instant::now() + pause;
        loop {
            self.sync_if_due();
            if self.is_abandoned() {
                return;
            }
            let is_stopping = self.shared.state().stopping.is_some();
            let until = if is_stopping { until.min(Instant::now() + RETRY) } else { until };
            let sync = self.spool.as_ref().and_then(spool::Reader::next_sync);
            tokio::select! {
                () = sleep_until(until.into()) => return,
                () = place.serve() => {}
                () = self.shared.work.notified() => {}
                () = sleep_until(sync.unwrap_or(until).into()), if sync.is_some() => {}
            }
        }
    }

    /// Waits for work.
    async fn idle(&mut self, place: &mut Destination) {
        self.sync_if_due();
        let sync = self.spool.as_ref().and_then(spool::Reader::next_sync);
        tokio::select! {
            () = self.shared.work.notified() => {}
            () = place.serve() => {}
            () = sleep_until(sync.unwrap_or_else(Instant::now).into()), if sync.is_some() => {}
            () = sleep(LOOK) => {}
        }
    }

    fn sync_if_due(&mut self) {
        let due = self.spool.as_ref().and_then(spool::Reader::next_sync);
        if due.is_some_and(|at| at <= Instant::now()) {
            self.sync();
        }
    }

    fn sync(&mut self) {
        if let Some(spool) = &mut self.spool
            && let Err(error) = spool.sync()
        {
            self.shared.warn(&self.name, &format!("its spool cannot be synced: {error}"));
        }
    }

    /// The messages that are to be delivered next.
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
            self.shared.state().drop_events(damaged, true);
        }
        first.unwrap_or_else(|error| {
            self.shared.warn(&self.name, &format!("its spool cannot be read: {error}"));
            Vec::new()
        })
    }

    /// Records that the first messages are delivered.
    fn advance(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        if let Some(spool) = &mut self.spool {
            spool.advance(count);
        }
        let mut state = self.shared.state();
        if let Queue::Memory(memory) = &mut state.queue {
            memory.advance(count);
        }
        state.stats.delivered += count as u64;
        state.progress = Instant::now();
        state.stats.is_up = true;
        let is_right_again = state.said.as_mut().is_some_and(|(_, is_wrong)| std::mem::take(is_wrong));
        drop(state);
        if is_right_again {
            say(&format!("supervisor: sink {}: events are delivered again", clean(&self.name)));
        }
        self.shared.room.notify_one();
    }
}
