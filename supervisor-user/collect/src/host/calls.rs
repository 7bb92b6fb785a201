//! Reads the system calls that the threads of a process are in, from `/proc/PID/task/TID/syscall`.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use supervisor_ebpf::{CALL_WAITID, Wait};
use supervisor_model::facts::{Call, MAX_THREADS, OpenFile, ThreadCall};

use super::{compat, descriptors::open_file};

const READ: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_splice,
];

const POLL: &[i64] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
];

const SIGNAL: &[i64] = &[
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pause,
];

const SLEEP: &[i64] = &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep];
const FUTEX: &[i64] = &[libc::SYS_futex, libc::SYS_futex_waitv];

/// The calls of the threads of a process. A thread that is gone, or that may not be read, is left out.
pub(super) fn read(pid: u32) -> Vec<ThreadCall> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let tids = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    tids.take(MAX_THREADS)
        .filter_map(|tid: u32| {
            let task = format!("/proc/{pid}/task/{tid}");
            let line = fs::read_to_string(format!("{task}/syscall")).ok()?;
            // Threads can have descriptors of their own.
            let call = decode(&line, |fd| open_file(&format!("{task}/fd/{fd}")))?;
            let timeout_ns = timeout(&line).and_then(|timeout| timeout.read(|at| timespec(pid, at)));
            Some(ThreadCall { tid, call, timeout_ns })
        })
        .collect()
}

/// The location of a call's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timeout {
    /// In an argument of the call.
    Milliseconds(i32),
    /// In a `timespec` at this address in the memory of the caller.
    Timespec(u64),
}

impl Timeout {
    /// The timeout in nanoseconds.
    fn read(self, timespec: impl FnOnce(u64) -> Option<u64>) -> Option<u64> {
        match self {
            Self::Milliseconds(count) => Some(u64::try_from(count).ok()? * 1_000_000),
            Self::Timespec(address) => timespec(address),
        }
    }
}

/// The timeout of the call in this line of `/proc/PID/task/TID/syscall`. `None` if the call has no timeout, or if this
/// function does not know where it is. It knows that only for the calls below, made by 64-bit programs: not for
/// `select`, which has a `timeval`, `epoll_pwait2`, `futex`, `rt_sigtimedwait`, `recvmmsg` and `io_uring_enter`. The
/// absolute time of a `clock_nanosleep` is no timeout.
fn timeout(line: &str) -> Option<Timeout> {
    let (number, [first, second, third, fourth, fifth, _]) = syscall(line)?;
    let SystemCall::Native(number) = number else { return None };
    let timespec = |address: u64| (address != 0).then_some(Timeout::Timespec(address));
    match number {
        libc::SYS_nanosleep => timespec(first),
        libc::SYS_clock_nanosleep => {
            let is_absolute = second & u64::from(libc::TIMER_ABSTIME.cast_unsigned()) != 0;
            timespec(third).filter(|_| !is_absolute)
        }
        libc::SYS_ppoll => timespec(third),
        libc::SYS_pselect6 => timespec(fifth),
        libc::SYS_epoll_pwait => Some(Timeout::Milliseconds(fourth as i32)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => Some(Timeout::Milliseconds(fourth as i32)),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => Some(Timeout::Milliseconds(third as i32)),
        _ => None,
    }
}

/// The `timespec` at an address of a process, in nanoseconds. The process can write anything there.
fn timespec(pid: u32, address: u64) -> Option<u64> {
    let mut bytes = [0; 16];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    let [seconds, nanoseconds] =
        [&bytes[..8], &bytes[8..]].map(|half| half.try_into().map(u64::from_ne_bytes));
    Some(seconds.ok()?.saturating_mul(1_000_000_000).saturating_add(nanoseconds.ok()?))
}

/// The number of a call on this architecture.
enum SystemCall {
    Native(i64),
    /// The call of a 32-bit program, with the number of the 64-bit call that does the same, if that is known.
    Compat(Option<i64>),
}

/// Reads the number of the call and its arguments from a line of `proc_pid_syscall()` (`fs/proc/base.c`). The stack
/// pointer and the program counter follow the arguments. `None` if the thread is in no call.
fn syscall(line: &str) -> Option<(SystemCall, [u64; 6])> {
    let mut words = line.split_ascii_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    let mut hex = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    for argument in &mut arguments {
        *argument = hex()?;
    }
    // A 32-bit program has its stack in the first 4 GiB. A 64-bit program does not, even if it is linked to fixed
    // addresses.
    let is_compat = hex()? >> 32 == 0;
    let number =
        if is_compat { SystemCall::Compat(compat::native(number)) } else { SystemCall::Native(number) };
    Some((number, arguments))
}

/// Decodes a line of `proc_pid_syscall()`: `running`, or the number of the call and more values, or -1 outside of a
/// call.
pub(super) fn decode(line: &str, open: impl FnOnce(u32) -> OpenFile) -> Option<Call> {
    match line.split_ascii_whitespace().next()? {
        "running" => return Some(Call::Running),
        "-1" => return Some(Call::Outside),
        _ => {}
    }
    let (number, [first, second, third, fourth, ..]) = syscall(line)?;
    let number = match number {
        SystemCall::Native(number) | SystemCall::Compat(Some(number)) => number,
        SystemCall::Compat(None) => return Some(Call::Compat),
    };
    Some(match number {
        libc::SYS_wait4 => Call::Wait(Wait::pack_wait4(first as i32, third as u32)),
        libc::SYS_waitid => Call::Wait(Wait::pack(CALL_WAITID, first as u8, second as u32, fourth as u32)),
        libc::SYS_io_uring_enter => Call::Uring,
        number if READ.contains(&number) => {
            let fd = first as u32;
            Call::Read { fd, file: open(fd) }
        }
        number if POLL.contains(&number) => Call::Poll,
        number if SIGNAL.contains(&number) => Call::Signal,
        number if SLEEP.contains(&number) => Call::Sleep,
        number if FUTEX.contains(&number) => Call::Futex,
        number => Call::Other(number.cast_unsigned()),
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read as _},
        thread,
        time::{Duration, Instant},
    };

    use proptest::prelude::*;
    use supervisor_ebpf::{CALL_WAIT4, WAIT_ANY, WAIT_PGID, WAIT_PID};

    use super::*;

    /// A line of a 64-bit program.
    fn line(number: i64, args: [u64; 4]) -> String {
        let [a, b, c, d] = args;
        format!("{number} {a:#x} {b:#x} {c:#x} {d:#x} 0x0 0x0 0x7ffc12345678 0x7f0011112222\n")
    }

    fn call(number: i64, args: [u64; 4]) -> Option<Call> {
        decode(&line(number, args), |_| OpenFile::Pipe(42))
    }

    #[test]
    fn each_call_is_decoded() {
        let wait =
            |idtype, target, options| Some(Call::Wait(Wait::pack(CALL_WAIT4, idtype, target, options)));
        // The kernel shows a `pid_t` of -1 as the register contains it.
        assert_eq!(call(libc::SYS_wait4, [u64::MAX, 0, 0, 0]), wait(WAIT_ANY, 0, 0));
        assert_eq!(call(libc::SYS_wait4, [0xFFFF_FFFF, 0, 1, 0]), wait(WAIT_ANY, 0, 1));
        assert_eq!(call(libc::SYS_wait4, [77, 0, 0, 0]), wait(WAIT_PID, 77, 0));
        assert_eq!(call(libc::SYS_wait4, [0, 0, 0, 0]), wait(WAIT_PGID, 0, 0));
        assert_eq!(call(libc::SYS_wait4, [(-5_i64).cast_unsigned(), 0, 0, 0]), wait(WAIT_PGID, 5, 0));
        let options = u64::from(libc::WEXITED.cast_unsigned());
        assert_eq!(
            call(libc::SYS_waitid, [u64::from(libc::P_PID), 9, 0, options]),
            Some(Call::Wait(Wait::pack(CALL_WAITID, WAIT_PID, 9, libc::WEXITED.cast_unsigned())))
        );
        let read = Some(Call::Read { fd: 3, file: OpenFile::Pipe(42) });
        assert_eq!(call(libc::SYS_read, [3, 0, 0, 0]), read);
        assert_eq!(call(libc::SYS_recvmsg, [3, 0, 0, 0]), read);
        assert_eq!(call(libc::SYS_ppoll, [0; 4]), Some(Call::Poll));
        assert_eq!(call(libc::SYS_rt_sigsuspend, [0; 4]), Some(Call::Signal));
        assert_eq!(call(libc::SYS_clock_nanosleep, [0; 4]), Some(Call::Sleep));
        assert_eq!(call(libc::SYS_futex, [0; 4]), Some(Call::Futex));
        assert_eq!(call(libc::SYS_io_uring_enter, [0; 4]), Some(Call::Uring));
        let open = call(libc::SYS_openat, [0; 4]).expect("a call");
        assert_eq!((open.name().as_deref(), open), (Some("openat"), Call::Other(libc::SYS_openat as u64)));
        assert_eq!(Call::Other(9999).name().as_deref(), Some("9999"));
        for (number, is_for_resource) in [
            (libc::SYS_flock, true),
            (libc::SYS_write, true),
            (libc::SYS_accept4, false),
            (libc::SYS_futex, false),
        ] {
            let call = call(number, [0; 4]).expect("a call");
            assert_eq!(call.is_for_resource(), is_for_resource, "{call:?}");
        }
    }

    #[test]
    fn the_timeout_of_a_call_is_found() {
        let of = |number, args| timeout(&line(number, args));
        assert_eq!(of(libc::SYS_nanosleep, [64, 0, 0, 0]), Some(Timeout::Timespec(64)));
        assert_eq!(of(libc::SYS_clock_nanosleep, [0, 0, 64, 0]), Some(Timeout::Timespec(64)));
        assert_eq!(of(libc::SYS_clock_nanosleep, [0, 1, 64, 0]), None, "an absolute time is no duration");
        assert_eq!(of(libc::SYS_ppoll, [1, 2, 64, 0]), Some(Timeout::Timespec(64)));
        assert_eq!(of(libc::SYS_ppoll, [1, 2, 0, 0]), None, "it has none");
        assert_eq!(of(libc::SYS_epoll_pwait, [1, 2, 3, 100]), Some(Timeout::Milliseconds(100)));
        assert_eq!(of(libc::SYS_pause, [0; 4]), None);
        assert_eq!(timeout("running\n"), None);
        assert_eq!(Timeout::Milliseconds(-1).read(|_| None), None, "it waits for ever");
        assert_eq!(Timeout::Milliseconds(100).read(|_| None), Some(100_000_000));
    }

    #[test]
    fn a_timespec_is_read_from_the_memory_of_a_process() {
        let time = [7_u64, 9];
        let address = std::ptr::from_ref(&time) as u64;
        assert_eq!(timespec(std::process::id(), address), Some(7_000_000_009));
        assert_eq!(timespec(std::process::id(), 16), None, "there is no memory");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_32_bit_program_has_its_own_call_numbers() {
        let line = |number: i64, first: &str| {
            format!("{number} {first} 0x0 0x1 0x0 0x0 0x0 0xffd01234 0xf7f01234\n")
        };
        let any = Wait::pack_wait4(-1, 1);
        assert_eq!(decode(&line(7, "0xffffffff"), |_| OpenFile::Other), Some(Call::Wait(any)), "waitpid");
        assert_eq!(decode(&line(114, "0xffffffff"), |_| OpenFile::Other), Some(Call::Wait(any)), "wait4");
        let read = Call::Read { fd: 5, file: OpenFile::Pipe(42) };
        assert_eq!(decode(&line(3, "0x5"), |_| OpenFile::Pipe(42)), Some(read));
        // 7 is poll in a 64-bit program, with a timeout of 1 ms.
        assert_eq!(timeout(&line(7, "0xffffffff")), None);
    }

    #[test]
    fn a_line_without_a_known_call_is_not_decoded() {
        let none = |line: &str| decode(line, |_| panic!("nothing is read"));
        assert_eq!(none("running\n"), Some(Call::Running));
        assert_eq!(none("-1 0x7ffc12345678 0x7f0011112222\n"), Some(Call::Outside));
        // The stack of the program is in the first 4 GiB, and a 32-bit program has no call 1000.
        assert_eq!(none("1000 0x0 0x0 0x0 0x0 0x0 0x0 0xffd01234 0xf7f01234\n"), Some(Call::Compat));
        assert_eq!(none(""), None);
        assert_eq!(none("61 0x1 0x2"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_line_is_read_without_a_panic(line in "(-?[0-9]{1,20}|running)?( (0x)?[0-9a-f]{1,17}){0,10}") {
            let _any = decode(&line, |_| OpenFile::Other);
            let _any = timeout(&line);
        }
    }

    #[test]
    fn a_thread_that_reads_a_pipe_is_found_in_that_call() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            sender.send(rustix::thread::gettid().as_raw_pid()).expect("somebody listens");
            reader.read(&mut [0])
        });
        let tid = receiver.recv().expect("a thread").cast_unsigned();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let calls = read(std::process::id());
            let call = calls.into_iter().find(|thread| thread.tid == tid).map(|thread| thread.call);
            if let Some(Call::Read { file: OpenFile::Pipe(_), .. }) = call {
                break;
            }
            assert!(Instant::now() < deadline, "it is seen in {call:?}");
            thread::sleep(Duration::from_millis(1));
        }
        drop(writer);
        assert_eq!(thread.join().expect("no panic").expect("the end of the pipe"), 0);
    }
}
