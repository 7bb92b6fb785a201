//! What the host says of processes, as it was read: plain data. What is absent could not be read.

mod calls;
mod descriptors;
mod host;
mod limits;
mod mounts;
mod oci;
mod process;

pub use self::{
    calls::{Call, ThreadCall},
    descriptors::{MAX_WRITERS, OpenFile, PipeFacts, PipeWriters, Writer},
    host::HostIdentity,
    limits::{CpuFacts, PidBudget},
    mounts::{RemoteMount, is_fuse},
    oci::{CRI_SANDBOX_ID, CRIO_CONTAINER_ID, MANAGER, MAX_PLACES, OciFacts, OciPlaces, is_plain},
    process::{ArgsNote, MAX_THREADS, NotRead, ProcessFacts, SigChld, ThreadFacts},
};
