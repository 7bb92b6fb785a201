//! Any other architecture: nothing can be injected, because no instructions are ever found.

use std::convert::Infallible;

use super::super::seccomp::SeccompCall;

pub(in crate::reap) const MACHINE: u16 = u16::MAX;
pub(in crate::reap) const AUDIT_ARCH: u32 = 0;
pub(in crate::reap) const EXTENDED_STATE: usize = 2;
pub(in crate::reap) const XSTATE_LIMIT: usize = 0;

/// The registers of a stopped thread, as ptrace gives them.
#[derive(Clone, Copy, Debug)]
pub(in crate::reap) struct Registers(pub(in crate::reap) libc::user_regs_struct);

impl Registers {
    pub(in crate::reap) fn is_64_bit(&self) -> bool {
        false
    }

    pub(in crate::reap) fn stack_pointer(&self) -> u64 {
        0
    }

    pub(in crate::reap) fn thread_pointer(&self) -> u64 {
        0
    }

    pub(in crate::reap) fn instruction(&self) -> u64 {
        0
    }

    pub(in crate::reap) fn result(&self) -> i64 {
        0
    }

    pub(in crate::reap) fn to_resume(self) -> Self {
        self
    }

    pub(in crate::reap) fn in_chain(self, gadgets: &Gadgets, _frame: &Frame, _vpid: u32) -> Self {
        match gadgets.0 {}
    }
}

/// There are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::reap) struct Gadgets(Infallible);

impl Gadgets {
    pub(in crate::reap) fn calls(&self, _vpid: u32) -> [SeccompCall; 2] {
        match self.0 {}
    }

    pub(in crate::reap) fn expected(&self) -> [(u64, &'static [u8]); 2] {
        match self.0 {}
    }
}

/// Finds nothing.
#[derive(Debug)]
pub(in crate::reap) struct GadgetSearch;

impl GadgetSearch {
    pub(in crate::reap) fn new() -> Result<Self, regex::Error> {
        Ok(Self)
    }

    pub(in crate::reap) fn look(&mut self, _at: u64, _code: &[u8]) {}

    pub(in crate::reap) fn is_done(&self) -> bool {
        true
    }

    pub(in crate::reap) fn found(&self) -> Option<Gadgets> {
        None
    }
}

/// There is none.
#[derive(Debug)]
pub(in crate::reap) struct Frame {
    pub(in crate::reap) at: u64,
    pub(in crate::reap) bytes: Vec<u8>,
}

impl Frame {
    pub(in crate::reap) fn new(
        _registers: &Registers,
        _mask: u64,
        _regset: &[u8],
        gadgets: &Gadgets,
    ) -> Option<Self> {
        match gadgets.0 {}
    }
}
