//! The x86-64 part of an injection: the registers, the signal frame and the instructions.
//!
//! An injected call runs through this chain. All of it is the target's own code:
//!
//! ```text
//! syscall; ret            wait4(vpid, NULL, WNOHANG | __WALL, NULL)
//! mov $15, %rax; syscall  rt_sigreturn: the kernel restores the interrupted context from the frame
//! ```
//!
//! If the target has no `mov $15, %rax; syscall` (libc's `__restore_rt`), `pop %rax; ret` and then the first
//! instruction again do the same.

use std::arch::x86_64::{__cpuid, __cpuid_count};

use regex::bytes::Regex;

use super::super::seccomp::SeccompCall;

/// Bytes below the stack pointer that belong to the running function (System V ABI).
const RED_ZONE: u64 = 128;
/// Size of `struct ucontext`. `rt_sigreturn` addresses `struct rt_sigframe` from the byte behind its return address,
/// and `struct ucontext` begins there.
const UCONTEXT_LEN: usize = 304;
/// XSAVE areas begin at multiples of this.
const XSAVE_ALIGN: u64 = 64;
/// Offset of the software-reserved bytes in an FXSAVE area.
const SW_RESERVED: usize = 464;
/// Size of the FXSAVE area and the XSAVE header behind it.
const XSAVE_HEADER_END: usize = 512 + 64;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// The tile data of AMX: the only component that the kernel allocates on demand.
const XFEATURE_XTILE_DATA: u32 = 18;
/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`
const UC_FLAGS: u64 = 7;
/// Flags that `do_sigaltstack()` refuses. So `restore_altstack()` leaves the alternate stack as it is. The frame cannot
/// hold the alternate stack, because ptrace cannot read it.
const SS_FLAGS_REFUSED: u32 = 0x7fff_ffff;
/// The code segment of a 64-bit program.
const USER_CS: u64 = 0x33;
const NR_WAIT4: i64 = 61;
/// Size of the `syscall` instruction.
const SYSCALL_LEN: u64 = 2;

/// The number of this architecture in an ELF header.
pub(crate) const MACHINE: u16 = 62;
/// `AUDIT_ARCH_X86_64`, which a seccomp filter sees.
pub(crate) const AUDIT_ARCH: u32 = 0xc000_003e;
/// `NT_X86_XSTATE`: the register set with the extended state.
pub(crate) const EXTENDED_STATE: usize = 0x202;
/// The extended state is never larger than this: AMX has 11,008 bytes.
pub(crate) const XSTATE_LIMIT: usize = 32 * 1024;

/// The registers of a stopped thread, as ptrace gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers(pub(crate) libc::user_regs_struct);

/// The state of a call that the stop has interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interrupted {
    /// The thread was in user mode, or the call has a result already.
    No,
    /// The kernel restarts it when the thread goes on.
    Restarts,
    /// The kernel restarts it with the time that is left. Only the kernel knows this time.
    RestartsWithTimeLeft,
    /// It has no time limit. The kernel returns `EINTR` and would not restart it.
    Fails,
}

impl Registers {
    /// Whether the thread runs 64-bit code.
    pub(crate) fn is_64_bit(&self) -> bool {
        self.0.cs == USER_CS
    }

    /// The stack pointer.
    pub(crate) fn stack_pointer(&self) -> u64 {
        self.0.rsp
    }

    /// The address where the thread's own data begins. libc places this data at the top of the thread's stack, and its
    /// first word is this address (System V ABI, "Thread-Local Storage").
    pub(crate) fn thread_pointer(&self) -> u64 {
        self.0.fs_base
    }

    /// The address of the next instruction.
    pub(crate) fn instruction(&self) -> u64 {
        self.0.rip
    }

    /// The result of a call at its exit.
    pub(crate) fn result(&self) -> i64 {
        self.0.rax as i64
    }

    fn interrupted(&self) -> Interrupted {
        const RESTARTS: [i64; 3] = [-512, -513, -514];
        const RESTART_BLOCK: i64 = -516;
        const EINTR: i64 = -4;
        if (self.0.orig_rax as i64) < 0 {
            return Interrupted::No;
        }
        match self.0.rax as i64 {
            RESTART_BLOCK => Interrupted::RestartsWithTimeLeft,
            result if RESTARTS.contains(&result) => Interrupted::Restarts,
            EINTR if self.is_endless_wait() => Interrupted::Fails,
            _ => Interrupted::No,
        }
    }

    /// Whether the kernel ends the call with `EINTR` after any stop, and the call has no time limit and has done
    /// nothing yet. Other calls are left alone: a restart makes a wait with a time limit longer.
    fn is_endless_wait(&self) -> bool {
        const IORING_ENTER_EXT_ARG: u64 = 8;
        /// The timeout -1, as the call's `int`.
        const NO_LIMIT: u32 = u32::MAX;
        let regs = &self.0;
        match regs.orig_rax as i64 {
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => regs.r10 as u32 == NO_LIMIT,
            libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => regs.r10 == 0,
            libc::SYS_rt_sigtimedwait => regs.rdx == 0,
            // This call fails only if it has submitted nothing.
            libc::SYS_io_uring_enter => regs.r10 & IORING_ENTER_EXT_ARG == 0,
            libc::SYS_semop => true,
            _ => false,
        }
    }

    /// The registers for a thread whose interrupted call the kernel finishes, as it would have done without the
    /// injection.
    pub(crate) fn to_resume(self) -> Self {
        /// The kernel restarts the call, unless a signal handler runs: then the call fails with `EINTR`.
        const ERESTARTNOHAND: i64 = -514;
        let mut resumed = self;
        if self.interrupted() == Interrupted::Fails {
            resumed.0.rax = ERESTARTNOHAND as u64;
        }
        resumed
    }

    /// The context from which the thread goes on without the kernel's help: it makes an interrupted call once more. If
    /// a part of the call's time limit has passed, the limit starts again from the beginning, because `rt_sigreturn`
    /// discards what the kernel has stored about the call.
    fn to_run_again(self) -> Self {
        let mut context = self;
        if self.interrupted() != Interrupted::No {
            // Only the kernel knows which call a `restart_syscall` continues. If the call is `restart_syscall`, it ends
            // with `EINTR`.
            context.0.rax = self.0.orig_rax;
            context.0.rip -= SYSCALL_LEN;
        }
        context.0.orig_rax = u64::MAX;
        context
    }

    /// The registers of the same thread at the beginning of the chain. It waits for one child.
    pub(crate) fn in_chain(self, gadgets: &Gadgets, frame: &Frame, vpid: u32) -> Self {
        let mut regs = self.0;
        regs.rip = gadgets.call;
        regs.rsp = frame.stack_pointer;
        regs.rax = NR_WAIT4 as u64;
        regs.orig_rax = u64::MAX;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10] = wait_arguments(vpid);
        Self(regs)
    }
}

/// `wait4(vpid, NULL, WNOHANG | __WALL, NULL)`
fn wait_arguments(vpid: u32) -> [u64; 4] {
    [u64::from(vpid), 0, (libc::WNOHANG | libc::__WALL) as u64, 0]
}

/// Addresses of instructions in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadgets {
    /// `syscall; ret`
    call: u64,
    /// The instructions that lead from there to `rt_sigreturn`.
    back: Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    /// `mov $15, %rax; syscall`
    Restorer { at: u64, len: usize },
    /// `pop %rax; ret`
    PopResult(u64),
}

const CALL: &[u8] = b"\x0f\x05\xc3";
const POP_RESULT: &[u8] = b"\x58\xc3";
const RESTORERS: [&[u8]; 2] = [b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05", b"\xb8\x0f\x00\x00\x00\x0f\x05"];

/// Searches for the instructions in one piece of code after the other.
#[derive(Debug)]
pub(crate) struct GadgetSearch {
    pattern: Regex,
    call: Option<u64>,
    restorer: Option<Back>,
    pop: Option<Back>,
}

impl GadgetSearch {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        let pattern = Regex::new(
            r"(?-u)(?s-u:\x0f\x05\xc3|\x58\xc3|\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05|\xb8\x0f\x00\x00\x00\x0f\x05)",
        )?;
        Ok(Self { pattern, call: None, restorer: None, pop: None })
    }

    /// Searches the code at this address.
    pub(crate) fn look(&mut self, at: u64, code: &[u8]) {
        for found in self.pattern.find_iter(code) {
            let place = at + found.start() as u64;
            match found.as_bytes() {
                CALL => _ = self.call.get_or_insert(place),
                POP_RESULT => _ = self.pop.get_or_insert(Back::PopResult(place)),
                restorer => {
                    _ = self.restorer.get_or_insert(Back::Restorer { at: place, len: restorer.len() });
                }
            }
        }
    }

    /// Whether a further search can find nothing better.
    pub(crate) fn is_done(&self) -> bool {
        self.call.is_some() && self.restorer.is_some()
    }

    /// The instructions that were found, if they are enough.
    pub(crate) fn found(&self) -> Option<Gadgets> {
        Some(Gadgets { call: self.call?, back: self.restorer.or(self.pop)? })
    }
}

impl Gadgets {
    /// The calls of the chain, as a seccomp filter sees them.
    pub(crate) fn calls(&self, vpid: u32) -> [SeccompCall; 2] {
        let after_call = self.call + SYSCALL_LEN;
        let after_return = match self.back {
            Back::Restorer { at, len } => at + len as u64,
            Back::PopResult(_) => after_call,
        };
        let [pid, status, options, usage] = wait_arguments(vpid);
        [
            SeccompCall {
                arch: AUDIT_ARCH,
                number: NR_WAIT4 as u32,
                instruction: after_call,
                args: [pid, status, options, usage, 0, 0],
            },
            SeccompCall {
                arch: AUDIT_ARCH,
                number: libc::SYS_rt_sigreturn as u32,
                instruction: after_return,
                args: [pid, status, options, usage, 0, 0],
            },
        ]
    }

    /// The addresses, and the bytes that must be there.
    pub(crate) fn expected(&self) -> [(u64, &'static [u8]); 2] {
        let back = match self.back {
            Back::Restorer { at, len } => {
                (at, if len == RESTORERS[0].len() { RESTORERS[0] } else { RESTORERS[1] })
            }
            Back::PopResult(at) => (at, POP_RESULT),
        };
        [(self.call, CALL), back]
    }
}

/// The extended state, in the layout that the kernel uses in a signal frame.
#[derive(Debug)]
struct Xstate {
    image: Vec<u8>,
}

impl Xstate {
    /// From the bytes that `PTRACE_GETREGSET` returns. They have the same format, except for the software-reserved
    /// bytes.
    fn new(regset: &[u8]) -> Option<Self> {
        if regset.len() < XSAVE_HEADER_END {
            return None;
        }
        // The kernel leaves the mask of enabled features in the first of the software-reserved bytes.
        let enabled = u64_at(regset, SW_RESERVED);
        let in_use = u64_at(regset, 512);
        // A thread that has never used the tile data has no memory for it. The kernel refuses a size that is larger
        // than the thread's memory for the state.
        let on_demand = 1 << XFEATURE_XTILE_DATA;
        let features = if in_use & on_demand == 0 { enabled & !on_demand } else { enabled };
        let size = xsave_size(features).max(XSAVE_HEADER_END);
        let mut image = regset.get(..size)?.to_vec();
        let mut reserved = Vec::with_capacity(48);
        reserved.extend(FP_XSTATE_MAGIC1.to_le_bytes());
        reserved.extend((size as u32 + 4).to_le_bytes());
        reserved.extend(features.to_le_bytes());
        reserved.extend((size as u32).to_le_bytes());
        reserved.resize(48, 0);
        image[SW_RESERVED..SW_RESERVED + reserved.len()].copy_from_slice(&reserved);
        image.extend(FP_XSTATE_MAGIC2.to_le_bytes());
        Some(Self { image })
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}

/// Size of a standard-format XSAVE area with these features.
fn xsave_size(features: u64) -> usize {
    const LEAF: u32 = 0xd;
    if __cpuid(0).eax < LEAF {
        return XSAVE_HEADER_END;
    }
    let ends = (2..63).filter(|bit| features >> bit & 1 == 1).map(|bit| {
        let component = __cpuid_count(LEAF, bit);
        (component.ebx + component.eax) as usize
    });
    ends.max().unwrap_or(0).max(XSAVE_HEADER_END)
}

/// A signal frame as the kernel would write it, and the return addresses below it.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The lowest address that is written.
    pub(crate) at: u64,
    /// The bytes that are written there.
    pub(crate) bytes: Vec<u8>,
    /// The stack pointer at the beginning of the chain.
    stack_pointer: u64,
}

impl Frame {
    /// The frame for a thread with these registers. `None` if its extended state has an unknown format.
    pub(crate) fn new(registers: &Registers, mask: u64, regset: &[u8], gadgets: &Gadgets) -> Option<Self> {
        let xstate = Xstate::new(regset)?;
        let below = registers.stack_pointer().checked_sub(RED_ZONE)?;
        let xsave_at = below.checked_sub(xstate.image.len() as u64)? & !(XSAVE_ALIGN - 1);
        let ucontext_at = xsave_at.checked_sub(UCONTEXT_LEN as u64)? & !15;
        let returns: Vec<u64> = match gadgets.back {
            Back::Restorer { at, .. } => vec![at],
            Back::PopResult(at) => vec![at, libc::SYS_rt_sigreturn as u64, gadgets.call],
        };
        let at = ucontext_at - 8 * returns.len() as u64;
        let mut bytes: Vec<u8> = returns.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(ucontext(&registers.to_run_again(), mask, xsave_at));
        bytes.resize((xsave_at - at) as usize, 0);
        bytes.extend(xstate.image);
        Some(Self { at, bytes, stack_pointer: at })
    }

    /// An empty frame, for a test of its allowed addresses.
    #[cfg(test)]
    pub(crate) fn below(stack_pointer: u64) -> Self {
        Self { at: stack_pointer - RED_ZONE, bytes: Vec::new(), stack_pointer }
    }
}

/// `struct ucontext` with `struct sigcontext_64`.
fn ucontext(context: &Registers, mask: u64, xsave_at: u64) -> Vec<u8> {
    let regs = &context.0;
    let mut words = vec![UC_FLAGS, 0, 0, u64::from(SS_FLAGS_REFUSED), 0];
    words.extend([regs.r8, regs.r9, regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15]);
    words.extend([regs.rdi, regs.rsi, regs.rbp, regs.rbx, regs.rdx, regs.rax, regs.rcx, regs.rsp, regs.rip]);
    words.push(regs.eflags);
    // cs, gs, fs, ss; the kernel ignores gs and fs.
    words.push(regs.cs & 0xffff | (regs.ss & 0xffff) << 48);
    // err, trapno, oldmask, cr2
    words.extend([0; 4]);
    words.push(xsave_at);
    words.extend([0; 8]);
    words.push(mask);
    debug_assert_eq!(words.len() * 8, UCONTEXT_LEN);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(orig_rax: i64, rax: i64) -> Registers {
        // SAFETY: a register set is plain numbers.
        let mut regs: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        (regs.orig_rax, regs.rax, regs.rip) = (orig_rax as u64, rax as u64, 0x1000);
        (regs.rsp, regs.cs, regs.ss) = (0x7fff_0000_1234, USER_CS, 0x2b);
        Registers(regs)
    }

    const GADGETS: Gadgets = Gadgets { call: 0x1111, back: Back::Restorer { at: 0x2222, len: 9 } };

    #[test]
    fn a_restartable_call_is_made_again_and_the_kernel_resumes_it() {
        for error in [-512, -513, -514, -516] {
            let stopped = registers(35, error);
            let again = stopped.to_run_again();
            assert_eq!((again.0.rax, again.0.rip, again.0.orig_rax), (35, 0x1000 - 2, u64::MAX));
            let resumed = stopped.to_resume();
            assert_eq!((resumed.0.rax as i64, resumed.0.rip), (error, 0x1000));
        }
    }

    #[test]
    fn a_thread_in_user_mode_goes_on_at_its_instruction_for_any_register_values() {
        let again = registers(-1, -512).to_run_again();
        assert_eq!((again.0.rax as i64, again.0.rip), (-512, 0x1000));
    }

    #[test]
    fn only_a_wait_without_a_time_limit_is_restarted_after_eintr() {
        let endless = |timeout: i64| {
            let mut stopped = registers(libc::SYS_epoll_wait, -4);
            stopped.0.r10 = timeout as u64;
            stopped
        };
        assert_eq!(endless(-1).to_resume().0.rax as i64, -514);
        assert_eq!(endless(i64::from(u32::MAX)).to_resume().0.rax as i64, -514, "an int of -1");
        assert_eq!(endless(1000).to_resume().0.rax as i64, -4);
        assert_eq!(registers(libc::SYS_read, -4).to_resume().0.rax as i64, -4);
    }

    #[test]
    fn gadgets_are_found_where_they_stand_and_the_restorer_is_preferred() -> Result<(), regex::Error> {
        let mut search = GadgetSearch::new()?;
        search.look(0x100, b"\x90\x58\xc3\x0f\x05\xc3");
        assert_eq!(search.found(), Some(Gadgets { call: 0x103, back: Back::PopResult(0x101) }));
        assert!(!search.is_done());
        search.look(0x200, b"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05\xc3");
        assert_eq!(search.found(), Some(Gadgets { call: 0x103, back: Back::Restorer { at: 0x200, len: 9 } }));
        assert!(search.is_done());
        Ok(())
    }

    #[test]
    fn the_frame_stands_below_the_red_zone_and_is_aligned() {
        let stopped = registers(0, -512);
        let mut regset = vec![0; XSAVE_HEADER_END];
        regset[SW_RESERVED] = 3;
        let frame = Frame::new(&stopped, 0x55, &regset, &GADGETS).expect("a frame");
        assert!(frame.at + frame.bytes.len() as u64 <= stopped.0.rsp - RED_ZONE);
        assert_eq!(frame.bytes[..8], 0x2222_u64.to_le_bytes());
        let xsave_at = u64_at(&frame.bytes, 8 + 40 + 184);
        assert_eq!(xsave_at % XSAVE_ALIGN, 0);
        let image = &frame.bytes[(xsave_at - frame.at) as usize..];
        assert_eq!(image[SW_RESERVED..SW_RESERVED + 4], FP_XSTATE_MAGIC1.to_le_bytes());
        assert_eq!(image[image.len() - 4..], FP_XSTATE_MAGIC2.to_le_bytes());
        assert_eq!(u64_at(&frame.bytes, 8 + UCONTEXT_LEN - 8), 0x55);
    }
}
