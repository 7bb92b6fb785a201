//! Following the descendants of a command: in the kernel (`traced.rs`), or without the capabilities for that in `/proc`
//! (`polled.rs`).

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

use crate::leaks::{Kind, Method, settling::Present};

/// A descendant that was left behind, as it was inspected last.
pub(super) struct Left {
    pub(super) id: ProcessId,
    /// Itself and its creators, down to the command.
    pub(super) line: Vec<ProcessId>,
    pub(super) kind: Kind,
    pub(super) event: Event,
}

/// What follows a command.
pub(super) trait Follower {
    /// The command runs, as this process.
    fn follow(&mut self, pid: u32) -> Result<()>;

    /// Gives up the capabilities that were needed only for the start.
    fn give_up_capabilities(&self, kept: &[Capability]) -> Result<()>;

    /// Looks for zombies. Call it four times a second.
    fn tick(&mut self) -> Result<()>;

    /// The descendants that are there now, without the command itself.
    fn present(&mut self) -> Result<Vec<Present>>;

    /// A process and its creators, down to the command; empty if it does not descend from the command.
    fn line_of(&mut self, pid: u32) -> Result<Vec<ProcessId>>;

    /// Inspects descendants, and the PID namespaces that they hold.
    fn inspect(&mut self, present: &[Present], ids: &[ProcessId]) -> Result<Vec<Left>>;

    /// Takes in what happened until now, and returns the zombies that were reaped late.
    fn finish(&mut self) -> Result<Vec<Left>>;

    /// What could not be observed, in sentences.
    fn unseen(&mut self) -> Result<Vec<String>>;

    /// Whether a child of this process is no descendant of the command.
    fn is_own(&self, pid: u32) -> bool;

    /// How exact start times are, which are rounded down.
    fn precision_ns(&self) -> u64;

    /// How it observes.
    fn method(&self) -> Method;

    /// What every event says.
    fn context(&self) -> &Context;
}

/// An event of now.
pub(super) fn event(kind: EventKind) -> Event {
    Event { at_ns: clock::now_ns(), wall: Wall::now(), kind }
}

/// What is said of a descendant by its evidence.
pub(super) fn said_of(conclusions: &mut Conclusions, evidence: &Evidence) -> (Kind, EventKind) {
    let finding = Box::new(conclusions.explain(evidence));
    if evidence.facts.is_unreaped() {
        (Kind::Unreaped, EventKind::Detected(finding))
    } else {
        (Kind::Running, EventKind::Explained(finding))
    }
}
