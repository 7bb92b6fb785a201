//! Tells the agents of this host what the command does, so that their event streams have it too.

use supervisor_collect::kernel::{Inboxes, MESSAGE_AT_MOST};
use supervisor_deliver::say::say;
use supervisor_model::{
    notice::{Notice, ReapResult},
    reaping::{ReapAttempt, RequestedBy},
};

/// The agents of this host.
pub(super) struct Agents(Inboxes);

impl Agents {
    /// Finds the agents. Call it before capabilities are given up.
    pub(super) fn find() -> Self {
        Self(Inboxes::find())
    }

    /// Says which zombies will be freed. When this returns, every agent that answers knows it.
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
        let zombies = attempts.filter_map(|attempt| Some((attempt.zombie()?, attempt.decision.clone())));
        self.send(|| Notice::asked(requested_by, is_forced, zombies, MESSAGE_AT_MOST))
    }

    /// Says what came of it.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub(super) fn done<'a>(
        &mut self,
        attempts: impl Iterator<Item = &'a ReapAttempt>,
    ) -> serde_json::Result<()> {
        let results = attempts.filter_map(|attempt| {
            Some(ReapResult {
                zombie: attempt.zombie()?,
                outcome: attempt.outcome.clone()?,
                is_nudged: attempt.is_nudged,
                stopped_for: attempt.stopped_for,
            })
        });
        self.send(|| Notice::done(results, MESSAGE_AT_MOST))
    }

    fn send(
        &mut self,
        messages: impl FnOnce() -> serde_json::Result<Vec<Vec<u8>>>,
    ) -> serde_json::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let silent = self.0.send(&messages()?);
        if silent > 0 {
            say(&format!(
                "supervisor: {silent} of the agents of this host did not answer, so their event streams do not have what is \
                 done here"
            ));
        }
        Ok(())
    }
}
