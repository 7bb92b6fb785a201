//! What is remembered of processes: by this watch, and by one that is older and has seen more.

use std::cell::Cell;

use supervisor_ebpf::{End, Exec, Kill, Process, ProcessId};

use super::{KernelError, Records};

/// What two watches remember, as if one had watched since the older one began.
#[derive(Clone, Copy)]
pub struct Remembered<'a> {
    own: &'a Records,
    older: Option<&'a Older>,
}

/// The maps of another `supervisor`. It can end at any time: the maps stay, and nothing is added to them.
pub(super) struct Older {
    records: Records,
    /// What each had counted when this watch began.
    exits: u64,
    own_exits: u64,
    has_ended: Cell<bool>,
}

impl Older {
    /// One that is beside this watch, whose hooks are attached.
    pub(super) fn beside(own: &Records, records: Records) -> Result<Self, KernelError> {
        // Its own last: that it has seen less from here on is then never a matter of order.
        let exits = exits_of(&records)?;
        let own_exits = exits_of(own)?;
        Ok(Self { records, exits, own_exits, has_ended: Cell::new(false) })
    }

    /// Whether it has seen every exit that this watch has seen.
    fn is_watching(&self, own: &Records) -> Result<bool, KernelError> {
        if !self.has_ended.get() {
            let own_exits = exits_of(own)? - self.own_exits;
            self.has_ended.set(exits_of(&self.records)? - self.exits < own_exits);
        }
        Ok(!self.has_ended.get())
    }
}

fn exits_of(records: &Records) -> Result<u64, KernelError> {
    let counters = records.counters()?;
    Ok(counters.exits + counters.lost_exits)
}

impl<'a> From<&'a Records> for Remembered<'a> {
    fn from(own: &'a Records) -> Self {
        Self { own, older: None }
    }
}

impl<'a> Remembered<'a> {
    /// What this watch remembers, and the older one if there is one.
    pub(super) fn new(own: &'a Records, older: Option<&'a Older>) -> Self {
        Self { own, older }
    }

    /// Since when every process is remembered, with all that it does.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn seeded_ns(self) -> Result<Option<u64>, KernelError> {
        match self.older {
            Some(older) if older.is_watching(self.own)? => older.records.seeded_ns(),
            _ => self.own.seeded_ns(),
        }
    }

    /// What is remembered of a process, its creator and its waits.
    ///
    /// # Errors
    ///
    /// The error of the lookup; that it is not there is none.
    pub fn process(self, id: &ProcessId) -> Result<Option<Process>, KernelError> {
        let own = self.own.process(id)?;
        let Some(older) = self.older else { return Ok(own) };
        let (known, is_watching) = (older.records.process(id)?, older.is_watching(self.own)?);
        Ok(match (own, known) {
            (Some(own), Some(known)) => Some(both(own, known, is_watching)),
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
        let Some(older) = self.older else { return Ok(own) };
        let known = older.records.exec(id)?;
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
        let known = self.older.map_or(Ok(None), |older| read(&older.records, id))?;
        if known.is_some() { Ok(known) } else { read(self.own, id) }
    }
}

/// One record of two. What the older watch has counted goes on as long as it watches; how the process was forked does not
/// change.
fn both(own: Process, known: Process, is_watching: bool) -> Process {
    let has_all = known.wait.at_ns >= own.wait.at_ns
        && known.reaped_ns >= own.reaped_ns
        && known.released >= own.released;
    if is_watching && has_all {
        return known;
    }
    if own.creator.is_known() {
        return own;
    }
    Process { creator: known.creator, parent: known.parent, ..own }
}

#[cfg(test)]
mod tests {
    use supervisor_ebpf::Wait;

    use super::*;

    fn waited(creator: u32, at_ns: u64, count: u64) -> Process {
        Process {
            creator: ProcessId { tgid: creator, ..ProcessId::default() },
            wait: Wait { at_ns, count, ..Wait::default() },
            ..Process::default()
        }
    }

    #[test]
    fn the_older_one_counts_while_it_watches() {
        assert_eq!(both(waited(0, 5, 1), waited(7, 5, 3), true), waited(7, 5, 3));
    }

    #[test]
    fn after_its_end_only_how_a_process_was_forked_is_taken_from_it() {
        assert_eq!(both(waited(0, 5, 1), waited(7, 4, 3), false), waited(7, 5, 1));
        assert_eq!(both(waited(8, 5, 1), waited(7, 4, 3), false), waited(8, 5, 1));
    }

    #[test]
    fn a_wait_that_it_has_not_seen_shows_its_end() {
        assert_eq!(both(waited(0, 5, 1), waited(7, 4, 3), true), waited(7, 5, 1));
    }
}
