//! The kernel side as user space sees it: the only place that knows aya, BTF and the maps.

mod arch;
mod btf;
mod error;
mod missed;
mod records;
mod rights;
mod simulated_loss;
mod trace;
mod tracer;
mod usage;

pub use btf::{Offsets, resolve};
pub use error::{KernelError, NEEDED_KERNEL};
pub use records::Records;
pub use rights::{Rights, rights};
pub use simulated_loss::SimulatedLoss;
pub use trace::{Record, Trace, TraceOptions};
pub use tracer::{Hook, HookState, MapSize, Options, Scan, Task, Tracer, VERIFIED_AT_MOST, hooks, map_sizes};
pub use usage::{MapFill, ProgramRuns, RunStats};
