//! Facts about processes, as they were read from the host. They are plain data. A fact that could not be read is
//! absent.

mod calls;
mod descriptors;
mod host;
mod limits;
mod mounts;
mod oci;
mod process;

pub use self::{
    calls::{Call, ThreadCall},
    descriptors::{MAX_WRITERS, OpenFile, PipeFacts, PipeWriter, PipeWriters},
    host::HostIdentity,
    limits::{CpuFacts, PidBudget},
    mounts::{RemoteMount, is_fuse},
    oci::{CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces, is_plain},
    process::{ArgsNote, MAX_THREADS, NotRead, ProcessFacts, SigChld, ThreadFacts},
};
