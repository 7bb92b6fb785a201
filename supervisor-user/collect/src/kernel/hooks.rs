//! Tries which hooks work on this kernel.

use aya::{
    Btf, Ebpf,
    programs::{FEntry, ProgramError},
};

use super::{
    KernelError, Offsets,
    loader::{LoadOptions, RELEASE, Setup, TRACEPOINTS, iterator, load, tracepoint, try_release},
};

/// How many instructions of each program the verifier may process, by the names of [`hooks`]. Each bound is about twice
/// the number on 6.18, or on 6.12 for `release_task`. A kernel refuses a program at one million processed instructions.
pub const VERIFIED_AT_MOST: [(&str, u32); 8] = [
    ("sched_process_free", 11_000),
    ("sched_process_exit", 14_000),
    ("sched_process_fork", 10_000),
    ("sched_process_exec", 1_100),
    ("sched_process_wait", 2_300),
    ("signal_generate", 500),
    ("iter/task", 110_000),
    (RELEASE, 3_300),
];

/// One hook, and whether it works on this kernel.
#[derive(Debug)]
pub struct Hook {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it works.
    pub state: HookState,
}

/// Whether a hook works on this kernel.
#[derive(Debug)]
pub enum HookState {
    /// It was loaded and attached. The number is how many instructions the verifier processed, if the kernel reports
    /// it.
    Works(Option<u32>),
    /// It was refused.
    Refused(KernelError),
    /// It was refused, but it is optional.
    Spared(KernelError),
}

/// Attaches every hook on its own, and detaches it again.
///
/// # Errors
///
/// If the object itself cannot be loaded.
pub fn hooks() -> Result<Vec<Hook>, KernelError> {
    let offsets = Offsets::of_running_kernel()?;
    let btf = Btf::from_sys_fs().map_err(|error| KernelError::BadBtf(error.to_string()))?;
    let options = LoadOptions { report_after_ns: u64::MAX, ..LoadOptions::default() };
    let mut ebpf = load(&offsets, &btf, &options, &Setup::default())?;
    let mut hooks: Vec<Hook> = TRACEPOINTS
        .into_iter()
        .map(|name| Hook {
            name,
            purpose: match name {
                "sched_process_exit" => "a process exits: it is unreaped from here on",
                "sched_process_free" => "a process was reaped",
                "sched_process_fork" => "who created it",
                "sched_process_exec" => "which file and arguments it ran",
                "signal_generate" => "who killed it",
                _ => "the reaper's last wait call",
            },
            state: try_tracepoint(&mut ebpf, name, &btf).map_or_else(HookState::Refused, HookState::Works),
        })
        .collect();
    hooks.push(Hook {
        name: "iter/task",
        purpose: "what exited before the start, subreaper flags, cgroup v1 paths",
        state: iterator(&mut ebpf, &btf).map_or_else(HookState::Refused, HookState::Works),
    });
    hooks.push(Hook {
        name: RELEASE,
        purpose: "extra: when exactly it was reaped, and by whom",
        state: try_release(&mut ebpf, RELEASE, &btf, FEntry::detach)
            .map_or_else(HookState::Spared, HookState::Works),
    });
    Ok(hooks)
}

fn try_tracepoint(ebpf: &mut Ebpf, name: &'static str, btf: &Btf) -> Result<Option<u32>, KernelError> {
    let refused = |refusal: ProgramError| KernelError::Program { program: name, refusal: Box::new(refusal) };
    let program = tracepoint(ebpf, name, name, btf)?;
    let link = program.attach().map_err(refused)?;
    program.detach(link).map_err(refused)?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()))
}
