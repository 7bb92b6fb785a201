//! Tells the agents of this host what the command does, so that their event streams have it too.

use supervisor_collect::kernel::{Inboxes, MESSAGE_AT_MOST};
use supervisor_deliver::say::say;
use supervisor_model::{
    clock,
    notice::{Notice, ReapResult},
    reaping::{ReapAttempt, RequestedBy},
};

/// The agents of this host.
pub(super) struct Agents {
    /// `None` if there are none.
    inboxes: Option<Inboxes>,
    /// The number of the request that is carried out.
    request: u64,
    /// Whether it was reported that an agent does not answer.
    is_reported: bool,
}

impl Agents {
    /// Finds the agents.
    pub(super) fn find() -> Self {
        let inboxes = Inboxes::find().map(|it| Some(it).filter(|it| !it.is_empty()));
        let inboxes = inboxes.unwrap_or_else(|error| {
            say(&format!("supervisor: the agents of this host cannot be notified of this reap: {error}"));
            None
        });
        Self { inboxes, request: 0, is_reported: false }
    }

    /// Says which zombies will be freed next. When this returns, every agent that answers knows it.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub(super) fn asked<'a>(
        &mut self,
        requested_by: &RequestedBy,
        is_forced: bool,
        attempts: impl Iterator<Item = &'a ReapAttempt>,
    ) -> serde_json::Result<()> {
        self.request = clock::now_ns();
        let Some(inboxes) = &mut self.inboxes else { return Ok(()) };
        let zombies = attempts.filter_map(|attempt| Some((attempt.zombie()?, attempt.decision.clone())));
        for message in Notice::asked(self.request, requested_by, is_forced, zombies, MESSAGE_AT_MOST)? {
            inboxes.send(&message);
        }
        self.settle();
        Ok(())
    }

    /// Says what came of some of them. Does not wait until the agents know it.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub(super) fn done<'a>(
        &mut self,
        attempts: impl Iterator<Item = &'a ReapAttempt>,
    ) -> serde_json::Result<()> {
        let Some(inboxes) = &mut self.inboxes else { return Ok(()) };
        let results = attempts.filter_map(|attempt| {
            Some(ReapResult {
                zombie: attempt.zombie()?,
                outcome: attempt.outcome.clone()?,
                is_nudged: attempt.is_nudged,
                stopped_for: attempt.stopped_for,
            })
        });
        for message in Notice::done(self.request, results, MESSAGE_AT_MOST)? {
            inboxes.send(&message);
        }
        Ok(())
    }

    /// Waits until every agent that answers knows everything.
    pub(super) fn settle(&mut self) {
        let silent = self.inboxes.as_mut().map_or(0, Inboxes::settle);
        if silent > 0 && !self.is_reported {
            self.is_reported = true;
            say(&format!(
                "supervisor: {silent} of the agents of this host did not answer, so their event streams lack what is done here"
            ));
        }
    }
}
