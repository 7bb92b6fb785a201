//! The kernel side as user space sees it. No other module knows aya, BTF and the maps.

mod arch;
mod btf;
mod capabilities;
mod error;
mod hooks;
mod inbox;
mod loader;
mod missed;
mod programs;
mod records;
mod remembered;
mod scan;
mod simulated_loss;
mod sizes;
mod trace;
mod usage;

pub use btf::{Offsets, resolve};
pub use capabilities::{Capabilities, capabilities};
pub use error::{KernelError, NEEDED_KERNEL};
pub use hooks::{Hook, HookState, VERIFIED_AT_MOST, hooks};
pub use inbox::{INBOX_BYTES, Inbox, Inboxes, MESSAGE_AT_MOST};
pub use loader::LoadOptions;
pub use programs::Programs;
pub use records::Records;
pub use remembered::Remembered;
pub use scan::Scan;
pub use simulated_loss::SimulatedLoss;
pub use sizes::{MapSize, map_sizes};
pub use trace::{Trace, TraceOptions, TraceRecord};
pub use usage::{MapFill, ProgramRuns, RunStats};
