//! Reads the address space of a target: the instructions that an injected call needs, and the mappings that show the
//! bounds of a thread's stack. `open()` reads both before a thread is stopped. While the thread is stopped,
//! `is_unchanged()` reads the instructions again, `fits()` the word at the thread pointer, and `inject` the thread's
//! rseq.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
};

use procfs::{
    FromBufRead as _, ProcError,
    process::{MMPermissions, MMapPath, MemoryMap, MemoryMaps},
};

use super::arch::{Frame, GadgetSearch, Gadgets, MACHINE, Registers};

/// Code is read in pieces of this size.
const PIECE: usize = 1 << 20;
/// Two pieces overlap by this many bytes, so that no instruction is cut.
const OVERLAP: usize = 16;
/// After this much code, no further piece is read. The last piece may exceed it.
const CODE_LIMIT: u64 = 256 << 20;
/// The number of bytes of a thread's stack that must stay free below the frame, for signal handlers.
const LEFT_FOR_HANDLERS: u64 = 16 * 1024;

/// How far above its stack pointer a thread's stack is searched for the frame of a signal handler.
const MAX_SEARCHED_BYTES: u64 = 64 * 1024;
/// All flags of a `struct ucontext`: `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const UC_FLAGS: u64 = 7;
/// No alternate stack is larger.
const MAX_STACK_BYTES: u64 = 1 << 30;

/// Why a call cannot be injected into any thread of a process.
#[derive(Debug, thiserror::Error)]
pub enum SpaceError {
    /// The program is for another architecture, or a 32-bit one.
    #[error("it runs a program of another architecture, or a 32-bit one")]
    OtherArchitecture,
    /// The instructions are missing.
    #[error(
        "its code has no `syscall; ret` instruction with a way to rt_sigreturn, so a call could not be made safely"
    )]
    NoInstructions,
    /// `/proc` could not be read.
    #[error("cannot read {what} of process {pid}: {source}")]
    Read {
        /// Which file.
        what: &'static str,
        /// Of which process.
        pid: u32,
        /// Why.
        source: io::Error,
    },
}

/// The address space of a process.
#[derive(Debug)]
pub(super) struct AddressSpace {
    memory: File,
    mappings: Vec<MemoryMap>,
    gadgets: Gadgets,
}

impl AddressSpace {
    /// Reads what an injection needs from a process.
    pub(super) fn open(pid: u32) -> Result<Self, SpaceError> {
        let failed = |what| move |source| SpaceError::Read { what, pid, source };
        if !is_of_our_architecture(pid).map_err(failed("exe"))? {
            return Err(SpaceError::OtherArchitecture);
        }
        let memory = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))
            .map_err(failed("mem"))?;
        let maps = fs::read(format!("/proc/{pid}/maps")).map_err(failed("maps"))?;
        let mappings = parse_maps(&maps).map_err(into_io).map_err(failed("maps"))?;
        let gadgets = search(&memory, &mappings).ok_or(SpaceError::NoInstructions)?;
        Ok(Self { memory, mappings, gadgets })
    }

    /// The addresses of the instructions.
    pub(super) fn gadgets(&self) -> &Gadgets {
        &self.gadgets
    }

    /// Whether the instructions are still at their addresses.
    pub(super) fn is_unchanged(&self) -> io::Result<bool> {
        for (at, expected) in self.gadgets.expected() {
            let mut found = vec![0; expected.len()];
            self.memory.read_exact_at(&mut found, at)?;
            if found != expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a frame fits on the stack of a stopped thread. It fits if the bounds of the stack are known. They are
    /// known for the main thread's stack, and for a stack with the thread's own data at its top and nothing below. A
    /// program can also place a stack itself, as Go does for goroutines. Below such a stack there may be other data.
    ///
    /// The thread pointer alone does not show that libc made the stack: Go has its threads' data and the stacks of all
    /// goroutines in one mapping. The data that libc places at the top of a stack begins with its own address.
    ///
    /// The main thread's data is on no stack, and the kernel may have merged its mapping with memory that the program
    /// has mapped below, such as an alternate signal stack. Only in a process that a thread has forked, the main thread
    /// is on a stack of libc. Such a stack has a guard page.
    pub(super) fn fits(&self, registers: &Registers, frame: &Frame, is_main: bool) -> bool {
        let pointer = registers.stack_pointer();
        let Some(index) = self.mappings.iter().position(|it| contains(it, pointer)) else { return false };
        let stack = &self.mappings[index];
        // The thread is stopped meanwhile, so its memory is read only if all else fits.
        let is_own = || !self.has_alternate_stack_at(pointer, stack.address.1);
        if is_main && stack.pathname == MMapPath::Stack {
            // The kernel lets this stack grow, or refuses the write.
            return is_own();
        }
        let below = index.checked_sub(1).and_then(|below| self.mappings.get(below));
        let is_guarded = match below.filter(|below| below.address.1 == stack.address.0) {
            Some(below) => (below.perms & (MMPermissions::READ | MMPermissions::WRITE)).is_empty(),
            None => !is_main,
        };
        let thread_pointer = registers.thread_pointer();
        stack.perms.contains(MMPermissions::READ | MMPermissions::WRITE | MMPermissions::PRIVATE)
            && stack.inode == 0
            && stack.pathname != MMapPath::Heap
            && is_guarded
            && contains(stack, thread_pointer)
            && pointer < thread_pointer
            && self.read_u64(thread_pointer).is_ok_and(|word| word == thread_pointer)
            && frame.at >= stack.address.0 + LEFT_FOR_HANDLERS
            && is_own()
    }

    /// Whether the thread runs a signal handler on an alternate stack, which may be a part of its own stack. ptrace does not
    /// show that stack. But the frame of the handler has a `struct ucontext`, in which the kernel has stored the bounds
    /// of that stack (`__save_altstack()`, `kernel/signal.c`).
    fn has_alternate_stack_at(&self, pointer: u64, end: u64) -> bool {
        let from = pointer.next_multiple_of(8);
        let mut words = vec![0; end.saturating_sub(from).min(MAX_SEARCHED_BYTES) as usize];
        if self.memory.read_exact_at(&mut words, from).is_err() {
            // A stack that cannot be read is not used.
            return true;
        }
        let words: Vec<u64> = words.as_chunks().0.iter().map(|it| u64::from_ne_bytes(*it)).collect();
        words.windows(5).any(|context| {
            let &[flags, link, start, _, len] = context else { return false };
            let is_around =
                start <= pointer && len <= MAX_STACK_BYTES && (pointer + 1..=end).contains(&(start + len));
            flags <= UC_FLAGS && link == 0 && is_around
        })
    }

    /// Writes a frame into the memory of the target.
    pub(super) fn write(&self, frame: &Frame) -> io::Result<()> {
        self.memory.write_all_at(&frame.bytes, frame.at)
    }

    /// Reads 8 bytes of the memory of the target as a number.
    pub(super) fn read_u64(&self, at: u64) -> io::Result<u64> {
        let mut raw = [0; 8];
        self.memory.read_exact_at(&mut raw, at)?;
        Ok(u64::from_ne_bytes(raw))
    }
}

/// Parses `/proc/PID/maps`. The path of a mapped file is not always UTF-8, and procfs reads only UTF-8.
pub(super) fn parse_maps(maps: &[u8]) -> Result<Vec<MemoryMap>, ProcError> {
    Ok(MemoryMaps::from_buf_read(String::from_utf8_lossy(maps).as_bytes())?.0)
}

fn contains(mapping: &MemoryMap, address: u64) -> bool {
    (mapping.address.0..mapping.address.1).contains(&address)
}

fn into_io(error: ProcError) -> io::Error {
    match error {
        ProcError::Io(error, _) => error,
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        other => io::Error::other(other),
    }
}

/// Whether the ELF header of the program names 64 bits and the architecture of this program.
fn is_of_our_architecture(pid: u32) -> io::Result<bool> {
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    let mut header = [0; 20];
    File::open(format!("/proc/{pid}/exe"))?.read_exact_at(&mut header, 0)?;
    Ok(header[..6] == [0x7f, b'E', b'L', b'F', CLASS_64, LITTLE_ENDIAN]
        && header[18..] == MACHINE.to_le_bytes())
}

/// Searches only the code that comes from files, and the vDSO, for the instructions, because other code may change.
fn search(memory: &File, mappings: &[MemoryMap]) -> Option<Gadgets> {
    let mut search = GadgetSearch::new().ok()?;
    let mut left = CODE_LIMIT;
    let mut piece = vec![0; PIECE];
    for mapping in mappings {
        let is_code = mapping.perms.contains(MMPermissions::READ | MMPermissions::EXECUTE)
            && !mapping.perms.contains(MMPermissions::WRITE)
            && (mapping.inode != 0 || mapping.pathname == MMapPath::Vdso);
        if !is_code {
            continue;
        }
        let (mut at, end) = mapping.address;
        while at < end && left > 0 {
            let len = (end - at).min(PIECE as u64) as usize;
            // A page behind the end of its file cannot be read.
            let Ok(read) = memory.read_at(&mut piece[..len], at) else { break };
            search.look(at, &piece[..read]);
            if search.is_done() {
                return search.found();
            }
            if read <= OVERLAP {
                break;
            }
            left = left.saturating_sub(read as u64);
            at += if read == len && at + (len as u64) < end { read - OVERLAP } else { read } as u64;
        }
    }
    search.found()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go has the stacks of goroutines below the data of a thread, in one private mapping with nothing accessible below.
    /// The lowest page of the mapping here is a guard page as libc has it. A page that were unmapped instead could be
    /// taken by another test at any time.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_stack_is_known_only_if_libc_placed_the_thread_data_at_its_top() {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

        const LEN: usize = 1 << 20;
        let everything = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: this is a new mapping, which only this test uses.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), LEN, everything, MapFlags::PRIVATE) };
        let start = start.expect("memory") as usize;
        // SAFETY: nothing uses this page of the mapping.
        unsafe { mprotect(start as *mut _, 4096, MprotectFlags::empty()) }.expect("a guard page");
        let thread_pointer = start + LEN - 4096;
        // SAFETY: a register set is plain numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        (registers.rsp, registers.fs_base) = ((start + LEN / 2) as u64, thread_pointer as u64);
        let registers = Registers(registers);
        let frame = Frame::below(registers.stack_pointer());
        let mut space = AddressSpace::open(std::process::id()).expect("readable");
        assert!(!space.fits(&registers, &frame, false), "the data of a thread that libc did not make");
        // SAFETY: the address is in the mapping, and aligned.
        unsafe { (thread_pointer as *mut u64).write(thread_pointer as u64) };
        assert!(space.fits(&registers, &frame, false), "as libc makes it");
        assert!(
            space.fits(&registers, &frame, true),
            "the main thread of a process that a thread has forked"
        );
        // What the kernel writes above a handler: flags, no link, and start, flags and length of the alternate stack.
        let pointer = registers.stack_pointer();
        let at = (pointer + 512) as *mut [u64; 5];
        for (start, len, is_known) in [
            (pointer - 4096, 8192, false),
            (pointer - 4096, 4096, true),
            (0, 0, true),
            (0, pointer + 64, true),
        ] {
            // SAFETY: the address is in the mapping, and aligned.
            unsafe { at.write([7, 0, start, 0, len]) };
            assert_eq!(space.fits(&registers, &frame, false), is_known, "{start:x} {len:x}");
        }
        let index = space.mappings.iter().position(|it| contains(it, start as u64)).expect("the guard page");
        space.mappings.remove(index);
        assert!(space.fits(&registers, &frame, false), "a thread whose stack has a gap below it");
        assert!(!space.fits(&registers, &frame, true), "the main thread, whose own data is on no stack");
        // SAFETY: nothing uses the mapping any more.
        unsafe { munmap(start as *mut _, LEN) }.expect("the mapping");
    }

    #[test]
    fn this_process_has_the_instructions_and_they_stay() {
        let space = AddressSpace::open(std::process::id()).expect("readable");
        assert!(space.is_unchanged().expect("readable"));
    }
}
