//! The eBPF programs of `supervisor`: one file per hook.
//!
//! `exit` puts a process among the `unreaped`, `free` takes it out; what stays is what was not reaped. `release` notes who reaps. `fork`,
//! `exec` and `wait` keep in `processes` what the kernel will have forgotten by then, and `kill` who killed whom. `task` walks all processes when user
//! space asks. Nothing is sent to user space for a process that is reaped in time.
//!
//! `trace` has programs of its own, which are attached for `supervisor trace` only, and instead of the others.

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

/// A Rust panic cannot happen in a program that the verifier accepts: it would be an endless loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// `bpf_task_pt_regs` and others are for GPL programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
