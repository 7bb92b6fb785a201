//! Combines the records of this watch with those of an older watch, which has seen more.

use supervisor_ebpf::{End, Exec, Kill, Process, ProcessId, Wait};

use super::{KernelError, Records};

/// The hooks of two watches see the same call one after the other, less than this time apart.
const SAME_NS: u64 = 10_000_000;

/// The records of two watches, combined as if one watch had run since the older one began. The older one can end at any
/// time. Its maps then stay as they are, and only this watch records new events.
#[derive(Clone, Copy)]
pub struct Remembered<'a> {
    own: &'a Records,
    older: Option<&'a Records>,
}

impl<'a> From<&'a Records> for Remembered<'a> {
    fn from(own: &'a Records) -> Self {
        Self { own, older: None }
    }
}

impl<'a> Remembered<'a> {
    /// Combines the records of this watch with those of the older one, which was watching when this one attached its
    /// hooks.
    pub(super) fn new(own: &'a Records, older: Option<&'a Records>) -> Self {
        Self { own, older }
    }

    /// Since when the records hold every process and all its events.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn seeded_ns(self) -> Result<Option<u64>, KernelError> {
        self.older.unwrap_or(self.own).seeded_ns()
    }

    /// The record of a process, with its creator and its waits.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn process(self, id: &ProcessId) -> Result<Option<Process>, KernelError> {
        let own = self.own.process(id)?;
        let Some(older) = self.older else { return Ok(own) };
        Ok(match (own, older.process(id)?) {
            (Some(own), Some(known)) => {
                let known_ns = executed_ns(older, id)?;
                let has_executed = executed_ns(self.own, id)? > known_ns.saturating_add(SAME_NS);
                Some(both(own, known, has_executed))
            }
            (own, known) => own.or(known),
        })
    }

    /// The process that is remembered at the slot of a pid, if it has or had this pid. It is not always the last
    /// process with this pid: a released process that a child needs keeps the slot, and later processes are in
    /// `DISPLACED`. `None` if the slot is free, or if the process in it has another pid.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn id_of(self, pid: u32) -> Result<Option<ProcessId>, KernelError> {
        self.own.id_of(pid)
    }

    /// The last exec of a process.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn exec(self, id: &ProcessId) -> Result<Option<Exec>, KernelError> {
        let own = self.own.exec(id)?;
        let known = self.older.map_or(Ok(None), |older| older.exec(id))?;
        // An exec without a time is the program that the process ran when the watch began. If both saw the same exec,
        // the older watch knows the program before it.
        let is_newer = |known: &Exec| own.is_none_or(|own| known.at_ns.saturating_add(SAME_NS) >= own.at_ns);
        Ok(known.filter(is_newer).or(own))
    }

    /// The first SIGKILL that a process got.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn kill(self, id: &ProcessId) -> Result<Option<Kill>, KernelError> {
        self.either(id, Records::kill)
    }

    /// The end of a process that was reaped and whose record a child still needs.
    ///
    /// # Errors
    ///
    /// The error of the lookup. A missing record is no error.
    pub fn end(self, id: &ProcessId) -> Result<Option<End>, KernelError> {
        self.either(id, Records::end)
    }

    /// The record of the older watch or, if it has none, of this one.
    fn either<T>(
        self,
        id: &ProcessId,
        read: impl Fn(&Records, &ProcessId) -> Result<Option<T>, KernelError>,
    ) -> Result<Option<T>, KernelError> {
        let known = self.older.map_or(Ok(None), |older| read(older, id))?;
        if known.is_some() { Ok(known) } else { read(self.own, id) }
    }
}

/// When a process last called exec, by the records of one watch; `0` if they hold no exec.
fn executed_ns(records: &Records, id: &ProcessId) -> Result<u64, KernelError> {
    Ok(records.exec(id)?.map_or(0, |exec| exec.at_ns))
}

/// Combines two records. `has_executed`: the process called exec after the older watch had ended.
fn both(own: Process, known: Process, has_executed: bool) -> Process {
    let (creator, parent) =
        if own.creator.is_known() { (own.creator, own.parent) } else { (known.creator, known.parent) };
    Process {
        creator,
        parent,
        reaped: own.reaped.max(known.reaped),
        reaped_ns: own.reaped_ns.max(known.reaped_ns),
        execed: if has_executed { own.execed } else { known.execed },
        released: own.released.max(known.released),
        wait: both_waits(own.wait, known.wait, has_executed),
        ..own
    }
}

fn both_waits(own: Wait, known: Wait, has_executed: bool) -> Wait {
    // If both saw the same wait, the older watch knows more about the waits before it.
    let last = if own.at_ns > known.at_ns + SAME_NS { own } else { known };
    let any = if own.any_ns > known.any_ns + SAME_NS { own } else { known };
    Wait {
        // The waits after the end of the older watch are not added to its count: it is not known how many waits both
        // have counted.
        count: own.count.max(known.count),
        any_ns: any.any_ns,
        any_gap_ns: any.any_gap_ns,
        any_handler: any.any_handler,
        kinds: if has_executed { own.kinds } else { own.kinds | known.kinds },
        ..last
    }
}

#[cfg(test)]
mod tests {
    use supervisor_ebpf::{WAITED_ANY, WAITED_PID};

    use super::*;

    const LATER: u64 = 5 + SAME_NS;

    fn waited(creator: u32, at_ns: u64, count: u64, kinds: u32) -> Process {
        Process {
            creator: ProcessId { tgid: creator, ..ProcessId::default() },
            wait: Wait { at_ns, count, kinds, ..Wait::default() },
            ..Process::default()
        }
    }

    #[test]
    fn while_the_older_watch_runs_its_record_is_used() {
        let (own, known) = (waited(0, SAME_NS, 1, WAITED_PID), waited(7, 5, 3, WAITED_PID | WAITED_ANY));
        assert_eq!(both(own, known, false), known);
    }

    #[test]
    fn after_the_older_watch_has_ended_its_record_still_counts() {
        let (own, known) = (waited(0, LATER, 1, WAITED_PID), waited(7, 4, 3, WAITED_ANY));
        assert_eq!(both(own, known, false), waited(7, LATER, 3, WAITED_PID | WAITED_ANY));
    }

    #[test]
    fn after_an_exec_the_waits_of_the_program_before_do_not_count() {
        let (own, known) = (waited(7, LATER, 1, WAITED_PID), waited(7, 4, 3, WAITED_ANY));
        assert_eq!(both(own, known, true).wait.kinds, WAITED_PID);
    }
}
