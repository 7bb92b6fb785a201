//! The records that `trace` emits, and its filters.

use crate::{COMM_LEN, CgroupPath, Exec, ProcessId};

/// Bytes of the ring `TRACE` during a trace.
pub const TRACE_BYTES: u32 = 8 << 20;
/// Bound of `FOLLOWED` during a trace.
pub const FOLLOWED_ENTRIES: u32 = 65_536;
/// Bound of `ENDED` during a trace: processes that have exited and were not freed.
pub const ENDED_ENTRIES: u32 = 65_536;
/// Bound of `CGROUPS_TOLD` during a trace.
pub const CGROUPS_TOLD_ENTRIES: u32 = 4096;
/// Value of `CGROUPS_TOLD`: the path of the group was emitted.
pub const CGROUP_TOLD: u8 = 1;
/// Value of `CGROUPS_TOLD`: the path of the group was emitted, and user space wants no records of the group.
pub const CGROUP_UNWANTED: u8 = 2;

/// A process is forked.
pub const TRACE_FORK: u32 = 0;
/// A process has executed a file. The record is a [`TracedExec`].
pub const TRACE_EXEC: u32 = 1;
/// The last thread of a process exits.
pub const TRACE_EXIT: u32 = 2;
/// A process waits for children.
pub const TRACE_WAIT: u32 = 3;
/// A process was reaped.
pub const TRACE_REAP: u32 = 4;

/// Record of the ring `TRACE`: an event of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// When it happened.
    pub at_ns: u64,
    /// How many records were lost before this one, since the trace began.
    pub lost: u64,
    /// The process.
    pub id: ProcessId,
    /// The other process: the creator for a fork, the parent that must reap it for an exit, the reaper for a
    /// reap. The reaper is not known if the reap was seen only at the free.
    pub other: ProcessId,
    /// For an exit, the status in the encoding of `wait(2)`. For a wait, the request as [`Wait::pack`] makes
    /// it.
    pub value: u64,
    /// Inode number of its control group. A [`TracedCgroup`] with the path comes before this record. If the
    /// ring had no space for it, it comes before the next record of the group.
    pub cgroup: u64,
    /// One of `TRACE_*`.
    pub kind: u32,
    /// Inode of its innermost PID namespace; `0` once the process is released.
    pub pid_ns: u32,
    /// Its pid in that namespace.
    pub vpid: u32,
    /// Level of that namespace; the initial one is 0.
    pub level: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
    /// Name of the other process.
    pub other_comm: [u8; COMM_LEN],
}

/// Record of the ring `TRACE`: an exec.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TracedExec {
    /// The event: the process, the time and the names.
    pub event: Traced,
    /// The exec. The fields about the previous exec are empty.
    pub exec: Exec,
}

/// Record of the ring `TRACE`: the path of the control group of the next record.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TracedCgroup {
    /// Inode number of the control group.
    pub id: u64,
    /// Path of the control group.
    pub path: CgroupPath,
}

/// The filters of a trace. A filter that is zero lets all processes pass.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Name of the process with its NUL, in the bytes where `comm_mask` has ones.
    pub comm: CommWords,
    /// Ones in the bytes that are compared: those of the name and its NUL.
    pub comm_mask: CommWords,
    /// Inode of the innermost PID namespace of the process.
    pub pid_ns: u32,
    /// `1` if the process must be in `FOLLOWED`. The fork hook adds descendants to it.
    pub follow: u32,
    /// A bit for each `TRACE_*` that the programs emit. Zero emits nothing.
    pub kinds: u32,
    /// Always zero.
    pub pad: u32,
}

/// The name of a task as words of memory.
pub type CommWords = [u64; COMM_LEN / 8];

impl TraceFilter {
    /// Lets only processes with this name pass. The name is cut as the kernel cuts it. An empty name lets all
    /// processes pass.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn with_comm(mut self, name: &[u8]) -> Self {
        let (mut comm, mut mask) = ([0; COMM_LEN], [0; COMM_LEN]);
        let kept = name.len().min(COMM_LEN - 1);
        if kept > 0 {
            comm[..kept].copy_from_slice(&name[..kept]);
            mask[..=kept].fill(0xff);
        }
        (self.comm, self.comm_mask) = (comm_words(comm), comm_words(mask));
        self
    }

    /// Whether a process with this name passes.
    #[inline]
    #[must_use]
    pub const fn takes(&self, comm: CommWords) -> bool {
        comm[0] & self.comm_mask[0] == self.comm[0] && comm[1] & self.comm_mask[1] == self.comm[1]
    }
}

#[cfg(feature = "user")]
fn comm_words(comm: [u8; COMM_LEN]) -> CommWords {
    let (words, _) = comm.as_chunks::<8>();
    [words[0], words[1]].map(u64::from_ne_bytes)
}

const _: () = {
    assert!(size_of::<Traced>() == 112);
    assert!(size_of::<TracedExec>() == size_of::<Traced>() + size_of::<Exec>());
    assert!(size_of::<TracedCgroup>() == 8 + size_of::<CgroupPath>());
    assert!(size_of::<TraceFilter>() == 48);
};

// SAFETY: it is `repr(C)`, holds only integers and arrays of them, and has no implicit padding: the size
// assertion above is the sum of the fields.
#[cfg(feature = "user")]
unsafe impl aya::Pod for TraceFilter {}

#[cfg(all(test, feature = "user"))]
mod tests {
    use super::*;

    fn words(comm: &[u8; COMM_LEN]) -> CommWords {
        comm_words(*comm)
    }

    #[test]
    fn bytes_behind_the_nul_of_a_name_do_not_count() {
        let filter = TraceFilter::default().with_comm(b"true");
        assert!(filter.takes(words(b"true\0\0\0\0\0\0\0\0\0\0\0\0")));
        assert!(filter.takes(words(b"true\0orker-12\0\0\0")));
        assert!(!filter.takes(words(b"trueish\0\0\0\0\0\0\0\0\0")));
        assert!(!filter.takes(words(b"tru\0\0\0\0\0\0\0\0\0\0\0\0\0")));
    }

    #[test]
    fn a_name_is_compared_as_far_as_the_kernel_keeps_it() {
        for name in [&b"fifteen-letters"[..], b"fifteen-letters-and-more"] {
            let filter = TraceFilter::default().with_comm(name);
            assert!(filter.takes(words(b"fifteen-letters\0")));
            assert!(!filter.takes(words(b"fifteen-letter\0s")));
        }
        assert!(TraceFilter::default().with_comm(b"").takes(words(b"anything\0\0\0\0\0\0\0\0")));
    }
}
