//! The kernel side as user space sees it: the only place that knows aya, BTF and the maps.

mod batch;
mod btf;
mod error;
mod rights;
mod tracer;

pub use btf::{Offsets, resolve};
pub use error::KernelError;
pub use rights::{Rights, rights};
pub use tracer::{ExitedTask, Hook, HookState, MapSize, Options, Tracer, hooks, map_sizes};
