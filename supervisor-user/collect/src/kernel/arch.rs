//! Passes constants of the processor's architecture to the programs: numbers of wait calls, and the memory order.

use aya::EbpfLoader;

static NR_WAIT4: u32 = libc::SYS_wait4 as u32;
static NR_WAITID: u32 = libc::SYS_waitid as u32;
/// `arch/x86/entry/syscalls/syscall_32.tbl`, `arch/arm/tools/syscall.tbl`. The EABI of 32-bit Arm has no `waitpid`: a
/// call with its number reaches no hook.
static NR_COMPAT_WAITPID: u32 = 7;
static NR_COMPAT_WAIT4: u32 = 114;
static NR_COMPAT_WAITID: u32 = if cfg!(target_arch = "x86_64") { 284 } else { 280 };
/// x86-64 keeps the order of stores and the order of loads. Other architectures, such as arm64, may change both.
static WEAK_ORDER: u32 = if cfg!(target_arch = "x86_64") { 0 } else { 1 };

/// Sets the globals of the programs.
pub(super) fn apply(loader: &mut EbpfLoader<'_>) {
    loader.override_global("NR_WAIT4", &NR_WAIT4, true);
    loader.override_global("NR_WAITID", &NR_WAITID, true);
    loader.override_global("NR_COMPAT_WAITPID", &NR_COMPAT_WAITPID, true);
    loader.override_global("NR_COMPAT_WAIT4", &NR_COMPAT_WAIT4, true);
    loader.override_global("NR_COMPAT_WAITID", &NR_COMPAT_WAITID, true);
    loader.override_global("WEAK_ORDER", &WEAK_ORDER, true);
}
