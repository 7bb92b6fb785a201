//! Keeps the agent's memory small: configures the allocator once, and gives unused pages back to the kernel.

use procfs::{
    ProcResult,
    process::{MMPermissions, MMapPath, Process},
};
use rustix::mm::{Advice, madvise};

/// Makes all threads share one heap, because here one thread often frees the memory that another allocated. Also makes
/// the heap give freed memory back to the kernel. Without these settings, the largest block ever freed (the kernel's
/// BTF) would set the size from which on that happens.
pub fn one_heap() {
    const GIVE_BACK: i32 = 128 * 1024;
    let settings =
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, GIVE_BACK), (libc::M_TRIM_THRESHOLD, GIVE_BACK)];
    for (setting, value) in settings {
        // SAFETY: the call changes a setting of the allocator, before any other thread exists.
        let _older_libc = unsafe { libc::mallopt(setting, value) };
    }
}

/// Gives free memory back to the kernel, including free memory that lies below memory in use.
pub fn give_back() {
    // SAFETY: no argument matters, and memory in use stays where it is.
    unsafe { libc::malloc_trim(0) };
}

/// The same for the pages of the program's own file. Most of them were used only at the start. A page that is used
/// again comes from the page cache.
///
/// # Errors
///
/// If the kernel does not report which pages these are. They then stay in memory.
pub fn give_back_file() -> ProcResult<()> {
    let me = Process::myself()?;
    let file = MMapPath::Path(me.exe()?);
    for map in me.smaps()?.into_iter().filter(|map| map.pathname == file) {
        // A page that was written to, for example by relocation, differs from the file.
        let is_none = |kind| map.extension.map.get(kind) == Some(&0);
        let is_as_in_file = is_none("Anonymous") && is_none("Swap");
        if is_as_in_file && !map.perms.contains(MMPermissions::WRITE) {
            let (start, end) = map.address;
            // SAFETY: the mapping of a file is read-only, and was never written to, so its pages come back unchanged.
            unsafe { madvise(start as *mut _, (end - start) as usize, Advice::LinuxDontNeed) }
                .map_err(std::io::Error::from)?;
        }
    }
    Ok(())
}
