//! The interface between the kernel side and the user side of `supervisor`: the wire types of its maps and
//! streams, and the list of kernel structure offsets. User space resolves the offsets, and the programs read
//! them.
//!
//! Every type here is `#[repr(C)]` and consists of fixed-width integers, with explicit padding and a size
//! assertion. All times are nanoseconds of `CLOCK_BOOTTIME`. A time of `0` means "not known".

#![no_std]

mod offsets;
mod traced;
mod wire;

pub use offsets::{HELPERS, Helper, MISSING};
#[cfg(feature = "user")]
pub use offsets::{Need, OFFSETS, Offset, OffsetKind};
pub use traced::*;
pub use wire::*;

/// The object file with the eBPF programs. `build.rs` checks that it was built from these sources.
#[cfg(feature = "user")]
pub static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/object/supervisor.bpf.o"));
