//! How memory is given back that was used for a moment.

use procfs::{
    ProcResult,
    process::{MMPermissions, MMapPath, Process},
};
use rustix::mm::{Advice, madvise};

/// Lets all threads share one heap, since what one allocates another frees here, and lets it give back what is freed:
/// without these, the largest block ever freed (the kernel's BTF) would set the size from which on that is done.
pub fn one_heap() {
    const GIVE_BACK: i32 = 128 * 1024;
    let settings =
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, GIVE_BACK), (libc::M_TRIM_THRESHOLD, GIVE_BACK)];
    for (setting, value) in settings {
        // SAFETY: it changes a setting of the allocator, before any other thread is there.
        let _older_libc = unsafe { libc::mallopt(setting, value) };
    }
}

/// Returns to the kernel what is free: also what lies below something that is in use.
pub fn give_back() {
    // SAFETY: no arguments that matter; what is in use stays where it is.
    unsafe { libc::malloc_trim(0) };
}

/// The same with the pages of the program's own file, most of which only the start has used: what is used again is found in
/// the page cache.
///
/// # Errors
///
/// If the kernel does not tell which they are: they stay then.
pub fn give_back_file() -> ProcResult<()> {
    let me = Process::myself()?;
    let file = MMapPath::Path(me.exe()?);
    for map in me.smaps()?.into_iter().filter(|map| map.pathname == file) {
        // What was written to, as by relocation, is not in the file.
        let is_none = |kind| map.extension.map.get(kind) == Some(&0);
        let is_as_in_file = is_none("Anonymous") && is_none("Swap");
        if is_as_in_file && !map.perms.contains(MMPermissions::WRITE) {
            let (start, end) = map.address;
            // SAFETY: a mapping of a file that cannot be written to, and was not: its pages come back as they are.
            unsafe { madvise(start as *mut _, (end - start) as usize, Advice::LinuxDontNeed) }
                .map_err(std::io::Error::from)?;
        }
    }
    Ok(())
}
