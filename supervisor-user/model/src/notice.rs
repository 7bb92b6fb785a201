//! The notices of `supervisor reap` to the agents of the host. A notice before the reap names the zombies that will be
//! freed, and the requester. A notice after it has the outcomes. With them, each agent emits an audit event, and does not
//! count the injected wait as a habit of the reaper.

use std::{mem, time::Duration};

use serde::{Deserialize, Serialize};
use supervisor_ebpf::ProcessId;

use crate::decision::Decision;
use crate::reaping::{ReapOutcome, RequestedBy};

/// The longest reason in a notice, in characters.
const REASON_AT_MOST: usize = 300;

/// One notice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "notice")]
pub enum Notice {
    /// These zombies will be freed.
    Asked {
        /// The number of the request. No other request of the host has it.
        request: u64,
        /// The requester.
        requested_by: RequestedBy,
        /// Whether `--force` was given.
        is_forced: bool,
        /// Each zombie, with the decision about it.
        zombies: Vec<(ProcessId, Decision)>,
    },
    /// The outcomes of such a request.
    Done {
        /// The number of the request.
        request: u64,
        /// One result for each zombie.
        results: Vec<ReapResult>,
    },
}

/// The outcome of the request to free one zombie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReapResult {
    /// The zombie.
    pub zombie: ProcessId,
    /// The outcome.
    pub outcome: ReapOutcome,
    /// Whether the reaper got a SIGCHLD first.
    pub is_nudged: bool,
    /// How long the reaper was stopped when it was made to wait for this zombie.
    pub stopped_for: Option<Duration>,
}

impl Notice {
    /// The messages that announce the zombies. None is longer than `at_most` bytes.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub fn asked(
        request: u64,
        requested_by: &RequestedBy,
        is_forced: bool,
        zombies: impl IntoIterator<Item = (ProcessId, Decision)>,
        at_most: usize,
    ) -> serde_json::Result<Vec<Vec<u8>>> {
        messages(zombies, at_most, |zombies| Self::Asked {
            request,
            requested_by: requested_by.clone(),
            is_forced,
            zombies,
        })
    }

    /// The messages that report the results. None is longer than `at_most` bytes. Long reasons are cut.
    ///
    /// # Errors
    ///
    /// None that can happen.
    pub fn done(
        request: u64,
        results: impl IntoIterator<Item = ReapResult>,
        at_most: usize,
    ) -> serde_json::Result<Vec<Vec<u8>>> {
        let results = results.into_iter().map(|mut result| {
            if let ReapOutcome::Failed(reason) = &mut result.outcome {
                *reason = reason.chars().take(REASON_AT_MOST).collect();
            }
            result
        });
        messages(results, at_most, |results| Self::Done { request, results })
    }

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is none of this version.
    pub fn read(message: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(message)
    }
}

/// Divides items among as few notices as possible. A notice with one item can be longer than the limit.
fn messages<T: Serialize>(
    items: impl IntoIterator<Item = T>,
    at_most: usize,
    notice: impl Fn(Vec<T>) -> Notice,
) -> serde_json::Result<Vec<Vec<u8>>> {
    let without_items = serde_json::to_vec(&notice(Vec::new()))?.len();
    let (mut messages, mut piece, mut length) = (Vec::new(), Vec::new(), without_items);
    for item in items {
        // An item is followed by a comma.
        let longer = serde_json::to_vec(&item)?.len() + 1;
        if length + longer > at_most && !piece.is_empty() {
            messages.push(serde_json::to_vec(&notice(mem::take(&mut piece)))?);
            length = without_items;
        }
        piece.push(item);
        length += longer;
    }
    if !piece.is_empty() {
        messages.push(serde_json::to_vec(&notice(piece))?);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Risk;
    use crate::reaping::Requester;

    const AT_MOST: usize = 1000;

    fn requested_by() -> RequestedBy {
        let name = Some("a\"b".to_owned());
        RequestedBy { kind: Requester::Command, uid: 0, login_uid: Some(7), sudo_uid: None, pid: 8, name }
    }

    #[test]
    fn many_zombies_are_divided_among_notices_and_none_is_missing() {
        let zombies: Vec<(ProcessId, Decision)> = (1..100)
            .map(|pid| (ProcessId::new(pid, 5), Decision::NeedsForce(vec![Risk::Late, Risk::HostInit])))
            .collect();
        let messages = Notice::asked(3, &requested_by(), true, zombies.clone(), AT_MOST).expect("messages");
        assert!(messages.len() > 5 && messages.iter().all(|message| message.len() <= AT_MOST));
        let read = messages.iter().flat_map(|message| match Notice::read(message).expect("a notice") {
            Notice::Asked { request: 3, requested_by: by, is_forced: true, zombies }
                if by == requested_by() =>
            {
                zombies
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(read.collect::<Vec<_>>(), zombies);
    }

    #[test]
    fn a_result_arrives_and_a_long_reason_is_cut() {
        let result = |reason: String| ReapResult {
            zombie: ProcessId::new(4, 5),
            outcome: ReapOutcome::Failed(reason),
            is_nudged: true,
            stopped_for: Some(Duration::from_micros(300)),
        };
        let messages = Notice::done(3, [result("é".repeat(20_000))], AT_MOST).expect("messages");
        let expected = Notice::Done { request: 3, results: vec![result("é".repeat(REASON_AT_MOST))] };
        assert_eq!(Notice::read(&messages[0]).expect("a notice"), expected);
    }
}
