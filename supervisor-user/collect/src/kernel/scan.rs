//! Reads a pass of the task iterator. The kind of scan decides which processes the pass returns.

use std::{fs::File, io::Read as _};

use supervisor_ebpf::{
    CGROUP_NAME_LEN, CgroupPath, SCAN_ALL, SCAN_EXITED, SCAN_RECONCILE, SCAN_SEED, TASK_EXITING,
    TASK_HAS_CGROUP, TASK_ZOMBIE, TaskRecord,
};
use supervisor_model::{evidence::Task, shared::Shared};

use super::KernelError;

/// Which processes a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scan {
    /// The processes that have exited, and those that were told to exit and have not
    /// ([`TASK_ENDING`](supervisor_ebpf::TASK_ENDING)).
    Exited = SCAN_EXITED,
    /// The same processes. The pass also marks the records of all processes, so that the hooks can later drop a stale
    /// record whose free was not seen.
    Reconcile = SCAN_RECONCILE,
    /// All processes. The pass also stores a record of each one, without a creator.
    Seed = SCAN_SEED,
    /// All processes.
    All = SCAN_ALL,
}

/// Reads a pass: returns the processes that have exited, and calls `each` with the others.
pub(super) fn read(file: File, mut each: impl FnMut(&TaskRecord)) -> Result<Vec<Task>, KernelError> {
    let mut exited = Vec::new();
    // Many processes are in the same control group as the one before: its names are shared.
    let mut last = None;
    let mut stream = Stream { file, buffer: Vec::new(), start: 0 };
    while let Some(record) = stream.next::<TaskRecord>()? {
        if record.flags & (TASK_ZOMBIE | TASK_EXITING) == 0 {
            each(&record);
            continue;
        }
        let cgroup = if record.flags & TASK_HAS_CGROUP == 0 {
            None
        } else {
            stream.next::<CgroupBytes>()?.map(|path| match &last {
                Some((bytes, names)) if *bytes == path.0 => Shared::clone(names),
                _ => last.insert((path.0, components(&path.0).into())).1.clone(),
            })
        };
        exited.push(Task { record, cgroup });
    }
    Ok(exited)
}

/// A [`CgroupPath`] as plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct CgroupBytes(CgroupPath);

// SAFETY: the type is an array of bytes, so it has no padding, and any bytes are a valid value.
unsafe impl aya::Pod for CgroupBytes {}

/// The names of a path, outermost first.
pub(super) fn components(path: &CgroupPath) -> Vec<String> {
    let name = |name: &[u8; CGROUP_NAME_LEN]| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    path.iter().map(name).filter(|name| !name.is_empty()).rev().collect()
}

/// A reader of fixed-size records from the iterator's file.
struct Stream {
    file: File,
    buffer: Vec<u8>,
    start: usize,
}

impl Stream {
    fn next<T: aya::Pod>(&mut self) -> Result<Option<T>, KernelError> {
        const READ: usize = 64 * 1024;
        while self.buffer.len() - self.start < size_of::<T>() {
            self.buffer.drain(..self.start);
            self.start = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + READ, 0);
            let read = self.file.read(&mut self.buffer[old..]);
            let count = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(old + count);
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(source) => return Err(KernelError::Io { what: "cannot read the task iterator", source }),
            }
        }
        // SAFETY: the buffer holds at least `size_of::<T>()` bytes from `start` on, and any bytes are a valid `T`.
        let record = unsafe { self.buffer.as_ptr().add(self.start).cast::<T>().read_unaligned() };
        self.start += size_of::<T>();
        Ok(Some(record))
    }
}
