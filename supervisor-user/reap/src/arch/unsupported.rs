//! The module for all other architectures. Nothing can be injected there, because the search never finds instructions.

use std::convert::Infallible;

use super::super::seccomp::SeccompCall;

pub(crate) const MACHINE: u16 = u16::MAX;
pub(crate) const AUDIT_ARCH: u32 = 0;
pub(crate) const EXTENDED_STATE: usize = 2;
pub(crate) const XSTATE_LIMIT: usize = 0;

/// The registers of a stopped thread, as ptrace gives them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers(pub(crate) libc::user_regs_struct);

impl Registers {
    pub(crate) fn is_64_bit(&self) -> bool {
        false
    }

    pub(crate) fn stack_pointer(&self) -> u64 {
        0
    }

    pub(crate) fn thread_pointer(&self) -> u64 {
        0
    }

    pub(crate) fn instruction(&self) -> u64 {
        0
    }

    pub(crate) fn result(&self) -> i64 {
        0
    }

    pub(crate) fn to_resume(self) -> Self {
        self
    }

    pub(crate) fn in_chain(self, gadgets: &Gadgets, _frame: &Frame, _vpid: u32) -> Self {
        match gadgets.0 {}
    }
}

/// The addresses of instructions: there are none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gadgets(Infallible);

impl Gadgets {
    pub(crate) fn calls(&self, _vpid: u32) -> [SeccompCall; 2] {
        match self.0 {}
    }

    pub(crate) fn expected(&self) -> [(u64, &'static [u8]); 2] {
        match self.0 {}
    }
}

/// A search that finds nothing.
#[derive(Debug)]
pub(crate) struct GadgetSearch;

impl GadgetSearch {
    pub(crate) fn new() -> Result<Self, regex::Error> {
        Ok(Self)
    }

    pub(crate) fn look(&mut self, _at: u64, _code: &[u8]) {}

    pub(crate) fn is_done(&self) -> bool {
        true
    }

    pub(crate) fn found(&self) -> Option<Gadgets> {
        None
    }
}

/// A signal frame: there is none here.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
}

impl Frame {
    pub(crate) fn new(_registers: &Registers, _mask: u64, _regset: &[u8], gadgets: &Gadgets) -> Option<Self> {
        match gadgets.0 {}
    }
}
