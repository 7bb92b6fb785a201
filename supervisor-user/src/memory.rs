//! How the allocator gives back what was used for a moment.

/// Lets all threads share one heap, since what one allocates another frees here, and lets it give back what is freed:
/// without these, the largest block ever freed (the kernel's BTF) would set the size from which on that is done.
pub(crate) fn one_heap() {
    const GIVE_BACK: i32 = 128 * 1024;
    let settings =
        [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, GIVE_BACK), (libc::M_TRIM_THRESHOLD, GIVE_BACK)];
    for (setting, value) in settings {
        // SAFETY: it changes a setting of the allocator, before any other thread is there.
        let _older_libc = unsafe { libc::mallopt(setting, value) };
    }
}

/// Returns to the kernel what is free: also what lies below something that is in use.
pub(crate) fn give_back() {
    // SAFETY: no arguments that matter; what is in use stays where it is.
    unsafe { libc::malloc_trim(0) };
}
