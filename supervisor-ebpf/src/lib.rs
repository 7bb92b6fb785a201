//! What both sides of `supervisor` agree on: the wire types of its maps and streams, and the list of kernel
//! structure offsets that user space resolves and the programs read.
//!
//! Every type here is `#[repr(C)]`, made of fixed-width integers, with explicit padding and a size assertion.
//! All times are nanoseconds of `CLOCK_BOOTTIME`; a time of `0` means "not known".

#![no_std]

mod offsets;
mod traced;
mod wire;

pub use offsets::{HELPERS, Helper, MISSING};
#[cfg(feature = "user")]
pub use offsets::{Need, OFFSETS, Offset, OffsetKind};
pub use traced::*;
pub use wire::*;

/// The eBPF programs. `build.rs` makes sure that they were built from these sources.
#[cfg(feature = "user")]
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/object/supervisor.bpf.o"));
