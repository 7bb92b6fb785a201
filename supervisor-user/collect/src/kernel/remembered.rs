//! What is remembered of processes: by this watch, and by one that is older and has seen more.

use supervisor_ebpf::{End, Exec, Kill, Process, ProcessId, Wait};

use super::{KernelError, Records};

/// The hooks of two watches see the same call one after the other, with less than this between them.
const SAME_NS: u64 = 10_000_000;

/// What two watches remember, as if one had watched since the older one began. The older one can end at any time: its maps
/// stay, nothing is added to them, and from then on this one has all.
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
    /// What this watch remembers, and the older one, which was watching when the hooks of this one were attached.
    pub(super) fn new(own: &'a Records, older: Option<&'a Records>) -> Self {
        Self { own, older }
    }

    /// Since when every process is remembered, with all that it does.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn seeded_ns(self) -> Result<Option<u64>, KernelError> {
        self.older.unwrap_or(self.own).seeded_ns()
    }

    /// What is remembered of a process, its creator and its waits.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn process(self, id: &ProcessId) -> Result<Option<Process>, KernelError> {
        let own = self.own.process(id)?;
        let Some(older) = self.older else { return Ok(own) };
        Ok(match (own, older.process(id)?) {
            (Some(own), Some(known)) => {
                let has_executed = executed_ns(self.own, id)? > executed_ns(older, id)?;
                Some(both(own, known, has_executed))
            }
            (own, known) => own.or(known),
        })
    }

    /// The process that is remembered at the slot of a pid: the one that has it now, or had it last.
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
    /// The error of the lookup; that it is not there is none.
    pub fn exec(self, id: &ProcessId) -> Result<Option<Exec>, KernelError> {
        let own = self.own.exec(id)?;
        let known = self.older.map_or(Ok(None), |older| older.exec(id))?;
        // Without a time it is what the process ran when its watch began.
        let is_newer = |known: &Exec| own.is_none_or(|own| known.at_ns >= own.at_ns);
        Ok(known.filter(is_newer).or(own))
    }

    /// The first SIGKILL that a process got.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn kill(self, id: &ProcessId) -> Result<Option<Kill>, KernelError> {
        self.either(id, Records::kill)
    }

    /// How a process ended that was reaped and whose record a child needs.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn end(self, id: &ProcessId) -> Result<Option<End>, KernelError> {
        self.either(id, Records::end)
    }

    /// What the older one has seen first, and then this one.
    fn either<T>(
        self,
        id: &ProcessId,
        read: impl Fn(&Records, &ProcessId) -> Result<Option<T>, KernelError>,
    ) -> Result<Option<T>, KernelError> {
        let known = self.older.map_or(Ok(None), |older| read(older, id))?;
        if known.is_some() { Ok(known) } else { read(self.own, id) }
    }
}

/// When a process has called exec last, as far as this watch has seen; `0` if it has not.
fn executed_ns(records: &Records, id: &ProcessId) -> Result<u64, KernelError> {
    Ok(records.exec(id)?.map_or(0, |exec| exec.at_ns))
}

/// One record of two. `has_executed`: the process called exec after the older watch had ended.
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
    // Of one and the same wait the older watch knows more of what was before.
    let last = if own.at_ns > known.at_ns + SAME_NS { own } else { known };
    let any = if own.any_ns > known.any_ns + SAME_NS { own } else { known };
    Wait {
        // Those after the end of the older watch are not added to its own: how many both have counted is not known.
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
    fn while_the_older_one_watches_it_has_all() {
        let (own, known) = (waited(0, SAME_NS, 1, WAITED_PID), waited(7, 5, 3, WAITED_PID | WAITED_ANY));
        assert_eq!(both(own, known, false), known);
    }

    #[test]
    fn after_its_end_what_it_has_seen_still_counts() {
        let (own, known) = (waited(0, LATER, 1, WAITED_PID), waited(7, 4, 3, WAITED_ANY));
        assert_eq!(both(own, known, false), waited(7, LATER, 3, WAITED_PID | WAITED_ANY));
    }

    #[test]
    fn another_program_has_waited_only_as_was_seen_since_its_exec() {
        let (own, known) = (waited(7, LATER, 1, WAITED_PID), waited(7, 4, 3, WAITED_ANY));
        assert_eq!(both(own, known, true).wait.kinds, WAITED_PID);
    }
}
