//! The processor's part of an injection: registers, the signal frame, and the instructions that an injected call needs.
//!
//! Each architecture is one module. It has the same names as `unsupported.rs`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
mod unsupported;
#[cfg(not(target_arch = "x86_64"))]
pub(super) use unsupported::*;
