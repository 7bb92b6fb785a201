//! The system calls of 32-bit programs on x86-64: `arch/x86/entry/syscalls/syscall_32.tbl`.

/// Each call: its number in 32-bit programs, and the number of the 64-bit call that does the same with the same
/// arguments.
#[cfg(target_arch = "x86_64")]
const CALLS: &[(i64, i64)] = &[
    (3, libc::SYS_read),
    (4, libc::SYS_write),
    (5, libc::SYS_open),
    (6, libc::SYS_close),
    (7, libc::SYS_wait4), // waitpid: wait4 without its fourth argument.
    (10, libc::SYS_unlink),
    (11, libc::SYS_execve),
    (29, libc::SYS_pause),
    (52, libc::SYS_umount2),
    (54, libc::SYS_ioctl),
    (72, libc::SYS_rt_sigsuspend), // sigsuspend: it waits for the same signals.
    (82, libc::SYS_select),
    (91, libc::SYS_munmap),
    (114, libc::SYS_wait4),
    (118, libc::SYS_fsync),
    (142, libc::SYS_select),
    (145, libc::SYS_readv),
    (162, libc::SYS_nanosleep),
    (168, libc::SYS_poll),
    (177, libc::SYS_rt_sigtimedwait),
    (179, libc::SYS_rt_sigsuspend),
    (190, libc::SYS_vfork),
    (195, libc::SYS_stat),
    (220, libc::SYS_getdents64),
    (240, libc::SYS_futex),
    (252, libc::SYS_exit_group),
    (256, libc::SYS_epoll_wait),
    (267, libc::SYS_clock_nanosleep),
    (284, libc::SYS_waitid),
    (295, libc::SYS_openat),
    (300, libc::SYS_newfstatat),
    (301, libc::SYS_unlinkat),
    (308, libc::SYS_pselect6),
    (309, libc::SYS_ppoll),
    (313, libc::SYS_splice),
    (319, libc::SYS_epoll_pwait),
    (337, libc::SYS_recvmmsg),
    (371, libc::SYS_recvfrom),
    (372, libc::SYS_recvmsg),
    (383, libc::SYS_statx),
    (407, libc::SYS_clock_nanosleep),
    (413, libc::SYS_pselect6),
    (414, libc::SYS_ppoll),
    (417, libc::SYS_recvmmsg),
    (421, libc::SYS_rt_sigtimedwait),
    (422, libc::SYS_futex),
    (426, libc::SYS_io_uring_enter),
    (441, libc::SYS_epoll_pwait2),
    (449, libc::SYS_futex_waitv),
];
/// The calls of 32-bit Arm programs are not listed.
#[cfg(not(target_arch = "x86_64"))]
const CALLS: &[(i64, i64)] = &[];

/// The 64-bit call that does the same. Its arguments are in the same order, but they point to other structures.
pub(super) fn native(number: i64) -> Option<i64> {
    CALLS.iter().find(|(compat, _)| *compat == number).map(|(_, native)| *native)
}
