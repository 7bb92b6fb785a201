//! Loads the eBPF object, and loads and attaches its programs.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapError},
    programs::{BtfTracePoint, FEntry, Iter, ProgramError, fentry::FEntryLinkId},
};
use supervisor_ebpf::{OBJECT, TraceFilter};

use super::{KernelError, Offsets, SimulatedLoss, arch, records::typed};

/// The tracepoints that a watch always needs. Each is the name of a hook and of its program.
pub(super) const TRACEPOINTS: [&str; 6] = [
    "sched_process_free",
    "sched_process_exit",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_wait",
    "signal_generate",
];
pub(super) const ITERATOR: &str = "task";
/// The optional hook: some kernels refuse to attach it.
pub(super) const RELEASE: &str = "release_task";

/// How the programs are loaded.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// The ring reports the reap of a process that was unreaped for at least this long.
    pub report_after_ns: u64,
    /// Send the programs' own log lines to the `log` crate.
    pub log: bool,
    /// Attach the hooks; without them only the task iterator can be used.
    pub attach: bool,
    /// The losses to simulate.
    pub simulated_loss: SimulatedLoss,
}

/// Loads and attaches a program of the optional hook, and then calls `then` with the attached program. Returns how many
/// instructions the verifier processed.
pub(super) fn try_release(
    ebpf: &mut Ebpf,
    name: &'static str,
    btf: &Btf,
    then: impl FnOnce(&mut FEntry, FEntryLinkId) -> Result<(), ProgramError>,
) -> Result<Option<u32>, KernelError> {
    let refused = |refusal: ProgramError| KernelError::Program { program: name, refusal: Box::new(refusal) };
    let program: &mut FEntry =
        ebpf.program_mut(name).ok_or(KernelError::NotInObject(name))?.try_into().map_err(refused)?;
    program.load(RELEASE, btf).map_err(refused)?;
    let link = program.attach().map_err(refused)?;
    then(program, link).map_err(refused)?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()))
}

/// The settings in which a trace differs from a watch.
#[derive(Debug, Default)]
pub(super) struct Setup {
    /// Maps that get another bound than their own.
    pub(super) bounds: Vec<(&'static str, u32)>,
    /// The events that a trace reports.
    pub(super) filter: TraceFilter,
}

/// Loads the object.
pub(super) fn load(
    offsets: &Offsets,
    btf: &Btf,
    options: &LoadOptions,
    setup: &Setup,
) -> Result<Ebpf, KernelError> {
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf));
    for (global, value) in offsets.iter() {
        loader.override_global(global, value, true);
    }
    loader.override_global("GRACE_NS", &options.report_after_ns, true);
    // The standard library keys this hasher with random bytes of the kernel.
    let seed = RandomState::new().build_hasher().finish() as u32;
    loader.override_global("SLOTS_SEED", &seed, true);
    let level = if options.log { &u8::MAX } else { &0 };
    loader.override_global("AYA_LOG_LEVEL", level, false);
    for (map, bound) in &setup.bounds {
        loader.map_max_entries(map, *bound);
    }
    loader.override_global("TRACE_FILTER", &setup.filter, true);
    options.simulated_loss.apply(&mut loader);
    arch::apply(&mut loader);
    loader.load(OBJECT).map_err(KernelError::of_load)
}

/// Loads a program for a hook.
pub(super) fn tracepoint<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
    hook: &str,
    btf: &Btf,
) -> Result<&'a mut BtfTracePoint, KernelError> {
    let refused = |refusal: ProgramError| KernelError::Program { program: name, refusal: Box::new(refusal) };
    let program: &mut BtfTracePoint =
        ebpf.program_mut(name).ok_or(KernelError::NotInObject(name))?.try_into().map_err(refused)?;
    program.load(hook, btf).map_err(refused)?;
    Ok(program)
}

/// Loads the task iterator; returns how many instructions the verifier processed.
pub(super) fn iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<Option<u32>, KernelError> {
    let refused =
        |refusal: ProgramError| KernelError::Program { program: ITERATOR, refusal: Box::new(refusal) };
    let program: &mut Iter =
        ebpf.program_mut(ITERATOR).ok_or(KernelError::NotInObject(ITERATOR))?.try_into().map_err(refused)?;
    program.load(ITERATOR, btf).map_err(refused)?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()))
}

/// Takes a map out of the object.
pub(super) fn map<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, KernelError> {
    typed(name, ebpf.take_map(name).ok_or(KernelError::NotInObject(name))?)
}
