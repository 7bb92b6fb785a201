//! The trait for following the descendants of a command: in the kernel (`traced.rs`), or, without the capabilities for
//! that, in `/proc` (`polled.rs`).

use anyhow::Result;
use caps::Capability;
use supervisor_conclude::conclusions::Conclusions;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock::{self, Wall},
    event::{Event, EventKind},
    evidence::Evidence,
};
use supervisor_render::Context;

use crate::leaks::{LeakKind, Method, settling::Present};

/// A descendant that was left behind, as of its last inspection.
pub(super) struct Left {
    pub(super) id: ProcessId,
    /// The process itself and its creators, as far as the command.
    pub(super) line: Vec<ProcessId>,
    pub(super) kind: LeakKind,
    pub(super) event: Event,
}

/// Follows the descendants of a command.
pub(super) trait Follower {
    /// Begins to follow the command, which runs with this pid.
    fn follow(&mut self, pid: u32) -> Result<()>;

    /// Gives up the capabilities that were needed only for the start.
    fn give_up_capabilities(&self, kept: &[Capability]) -> Result<()>;

    /// Searches for zombies. The session calls it four times a second while the command runs, and then every 50 ms.
    fn tick(&mut self) -> Result<()>;

    /// The descendants that exist now, without the command itself.
    fn present(&mut self) -> Result<Vec<Present>>;

    /// A process and its creators, as far as the command; empty if it does not descend from the command.
    fn line_of(&mut self, pid: u32) -> Result<Vec<ProcessId>>;

    /// Inspects descendants, and the PID namespaces that they hold.
    fn inspect(&mut self, present: &[Present], ids: &[ProcessId]) -> Result<Vec<Left>>;

    /// Processes everything that happened until now, and returns the zombies that were reaped late.
    fn finish(&mut self) -> Result<Vec<Left>>;

    /// Sentences about everything that could not be observed.
    fn unseen(&mut self) -> Result<Vec<String>>;

    /// Whether a child of this process is no descendant of the command.
    fn is_own(&self, pid: u32) -> bool;

    /// The unit to which start times are rounded down.
    fn precision_ns(&self) -> u64;

    /// The method of observation.
    fn method(&self) -> Method;

    /// The context that every event contains.
    fn context(&self) -> &Context;
}

/// An event with the present time.
pub(super) fn event(kind: EventKind) -> Event {
    Event { at_ns: clock::now_ns(), wall: Wall::now(), kind }
}

/// The kind of a leak and its event, from the evidence about a descendant.
pub(super) fn said_of(conclusions: &mut Conclusions, evidence: &Evidence) -> (LeakKind, EventKind) {
    let finding = Box::new(conclusions.explain(evidence));
    if evidence.facts.is_unreaped() {
        (LeakKind::Unreaped, EventKind::Detected(finding))
    } else {
        (LeakKind::Running, EventKind::Explained(finding))
    }
}
