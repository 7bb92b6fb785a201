//! What `trace` of the kernel side tells, and what it is asked for.

use crate::{COMM_LEN, CgroupPath, Exec, ProcessId};

/// Bytes of the ring `TRACE` while there is a trace.
pub const TRACE_BYTES: u32 = 8 << 20;
/// Bound of `FOLLOWED` while there is a trace.
pub const FOLLOWED_ENTRIES: u32 = 65_536;
/// Bound of `ENDED` while there is a trace: processes that have exited and were not freed.
pub const ENDED_ENTRIES: u32 = 65_536;
/// Bound of `CGROUPS_TOLD` while there is a trace.
pub const CGROUPS_TOLD_ENTRIES: u32 = 4096;
/// Value of `CGROUPS_TOLD`: its path was told.
pub const CGROUP_TOLD: u8 = 1;
/// The same; and user space has said that it wants nothing of it.
pub const CGROUP_UNWANTED: u8 = 2;

/// A process is forked.
pub const TRACE_FORK: u32 = 0;
/// A process has executed a file; a [`TracedExec`].
pub const TRACE_EXEC: u32 = 1;
/// The last thread of a process exits.
pub const TRACE_EXIT: u32 = 2;
/// A process waits for children.
pub const TRACE_WAIT: u32 = 3;
/// A process was reaped.
pub const TRACE_REAP: u32 = 4;

/// Record of the ring `TRACE`: something that happened to a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// When.
    pub at_ns: u64,
    /// How many records had been lost by then, since the trace began.
    pub lost: u64,
    /// To which process.
    pub id: ProcessId,
    /// Who forked it, who must reap it, or who has reaped it; not known of a reap that is seen at the free.
    pub other: ProcessId,
    /// Of an exit the status as `wait(2)` gives it, of a wait what [`Wait::pack`] makes.
    pub value: u64,
    /// Inode number of its control group; a [`TracedCgroup`] has told the path, or will before the next record of it.
    pub cgroup: u64,
    /// One of `TRACE_*`.
    pub kind: u32,
    /// Inode of its innermost PID namespace; `0` once it is released.
    pub pid_ns: u32,
    /// Its pid in there.
    pub vpid: u32,
    /// Level of that namespace; the initial one is 0.
    pub level: u32,
    /// Its name.
    pub comm: [u8; COMM_LEN],
    /// The other's name.
    pub other_comm: [u8; COMM_LEN],
}

/// Record of the ring `TRACE`: an exec.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TracedExec {
    /// Who.
    pub event: Traced,
    /// What; without the file before.
    pub exec: Exec,
}

/// Record of the ring `TRACE`: the path of a control group that the next record is of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TracedCgroup {
    /// Its inode number.
    pub id: u64,
    /// Its path.
    pub path: CgroupPath,
}

/// What of all that happens is traced. What is zero is not asked for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter {
    /// Name of the process, with its NUL, where `comm_mask` has ones.
    pub comm: CommWords,
    /// Ones in the bytes that are compared: the name and its NUL.
    pub comm_mask: CommWords,
    /// Inode of its innermost PID namespace.
    pub pid_ns: u32,
    /// `1` if it must be in `FOLLOWED`, where descendants come by themselves.
    pub follow: u32,
    /// A bit for each `TRACE_*` that is told.
    pub kinds: u32,
    /// Always zero.
    pub pad: u32,
}

/// A task's name as words of memory.
pub type CommWords = [u64; COMM_LEN / 8];

impl TraceFilter {
    /// Lets only processes with this name through, which is cut as the kernel cuts it. Without a name: all.
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

    /// Whether it lets a process of this name through.
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

// SAFETY: it is `repr(C)`, holds only integers and arrays of them, and has no implicit padding: the size assertion above
// is the sum of the fields.
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
