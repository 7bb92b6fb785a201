//! The eBPF programs of `supervisor`: one file for each hook.
//!
//! - `exit` inserts a process into the table in `unreaped`, and `free` removes it. The processes that remain in
//!   the table were not reaped.
//! - `release` stores who reaps a process.
//! - `fork`, `exec` and `wait` store facts that the kernel no longer has when a process is unreaped. The
//!   records are in `processes`.
//! - `kill` stores who sent a SIGKILL to a process.
//! - `task` iterates over all processes when user space reads it.
//!
//! The programs emit no event for a process that is reaped within the grace period.
//!
//! `trace` has its own programs. Only `supervisor trace` attaches them, and it attaches them instead of the
//! others.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unstable_features, reason = "BPF has no stable inline assembly, and core no BPF atomics")]

mod cgroup;
mod exec;
mod exit;
mod fork;
mod free;
mod kernel;
mod kill;
mod maps;
mod processes;
mod release;
mod task;
mod trace;
mod unreaped;
mod wait;

/// A program that the verifier accepts cannot panic, because this handler would be an endless loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel allows `bpf_task_pt_regs` and other helpers in GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
