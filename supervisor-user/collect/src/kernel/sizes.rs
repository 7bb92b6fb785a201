//! Lists the maps that hold data of processes, with their bounds and sizes.

use supervisor_ebpf::{
    BLOCK, BLOCKS, DISPLACED_ENTRIES, ENDS_ENTRIES, EVENTS_BYTES, EXECS_ENTRIES, End, Exec, KILLS_ENTRIES,
    Kill, PROCESSES_ENTRIES, Placed, Process, ProcessId, Reaped, Unreaped,
};

/// A map with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Its name.
    pub name: &'static str,
    /// How many elements it holds at most.
    pub entries: usize,
    /// The memory that it takes at most, in bytes, by the kernel's own layout.
    pub bytes: usize,
}

/// The bound of each map that holds data of processes.
#[must_use]
pub fn map_sizes() -> [MapSize; 7] {
    /// `struct htab_elem` without key and value, and the bucket that belongs to it (`kernel/bpf/hashtab.c`).
    const ELEMENT: usize = 48 + 16;
    const fn hash(name: &'static str, entries: u32, key: usize, value: usize) -> MapSize {
        MapSize { name, entries: entries as usize, bytes: entries as usize * (ELEMENT + key + value) }
    }
    const fn array(name: &'static str, entries: u32, value: usize) -> MapSize {
        MapSize { name, entries: entries as usize, bytes: entries as usize * value }
    }
    [
        array("UNREAPED", BLOCK * BLOCKS, size_of::<Unreaped>()),
        array("PROCESSES", PROCESSES_ENTRIES, size_of::<Placed>()),
        hash("DISPLACED", DISPLACED_ENTRIES, size_of::<ProcessId>(), size_of::<Process>()),
        hash("EXECS", EXECS_ENTRIES, size_of::<ProcessId>(), size_of::<Exec>()),
        hash("KILLS", KILLS_ENTRIES, size_of::<ProcessId>(), size_of::<Kill>()),
        hash("ENDS", ENDS_ENTRIES, size_of::<ProcessId>(), size_of::<End>()),
        MapSize {
            name: "EVENTS",
            entries: EVENTS_BYTES as usize / (size_of::<Reaped>() + 8),
            bytes: EVENTS_BYTES as usize,
        },
    ]
}
