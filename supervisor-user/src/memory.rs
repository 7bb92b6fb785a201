//! Memory that was used for a moment.

/// Returns to the kernel what is free: the allocator keeps it otherwise, as if it were needed again.
pub(crate) fn give_back() {
    // SAFETY: no arguments that matter; what is in use stays where it is.
    unsafe { libc::malloc_trim(0) };
}
