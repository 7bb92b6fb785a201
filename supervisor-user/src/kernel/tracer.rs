//! Loading, attaching and reading the eBPF programs.

use std::{
    fs::File,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, FEntry, Iter, ProgramError, fentry::FEntryLinkId},
};
use serde::{Deserialize, Serialize};
use supervisor_ebpf::{
    BLOCK, BLOCKS, CGROUP_NAME_LEN, CgroupPath, Control, Counters, DISPLACED_ENTRIES, ENDS_ENTRIES, EPOCHS,
    EVENTS_BYTES, EXECS_ENTRIES, End, Exec, KILLS_ENTRIES, Kill, OBJECT, PROCESSES_ENTRIES, Placed, Process,
    ProcessId, Reaped, SCAN_ALL, SCAN_EXITED, SCAN_RECONCILE, SCAN_SEED, TASK_EXITING, TASK_HAS_CGROUP,
    TASK_ZOMBIE, TaskRecord, Unreaped,
};

use crate::{clock, memory, shared::Shared};

use super::{
    KernelError, Offsets, Records, SimulatedLoss, TraceOptions, arch, missed, records::typed, rights, trace,
};

/// The tracepoints of the floor, which are both hook and program names.
const TRACEPOINTS: [&str; 6] = [
    "sched_process_free",
    "sched_process_exit",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_wait",
    "signal_generate",
];
const ITERATOR: &str = "task";
/// The extra hook: not every kernel lets it be attached.
const RELEASE: &str = "release_task";

/// How many instructions of each program the verifier may process, by the names of [`hooks`]: about twice as many as on
/// 6.18 or, of `release_task`, on 6.12. A kernel refuses a program of which it would have to process a million.
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

/// How the programs are loaded.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The reap of a process that was unreaped for at least this long is told through the ring.
    pub report_after_ns: u64,
    /// Send the programs' own log lines to the `log` crate.
    pub log: bool,
    /// Attach the hooks; without them only the task iterator can be used.
    pub attach: bool,
    /// What is lost on purpose.
    pub simulated_loss: SimulatedLoss,
    /// For [`Trace`] only: what it is to tell. The maps of a watch are as small as can be then.
    pub trace: Option<TraceOptions>,
}

/// A map with its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapSize {
    /// Its name.
    pub name: &'static str,
    /// How many elements it holds at most.
    pub entries: usize,
    /// What it takes at most, in bytes, by the kernel's own layout.
    pub bytes: usize,
}

/// The bound of each map that holds data of processes.
#[must_use]
pub fn map_sizes() -> [MapSize; 7] {
    /// `struct htab_elem` without key and value, and the bucket that belongs to it (`kernel/bpf/hashtab.c`).
    const ELEMENT: usize = 48 + 16;
    const fn hash(name: &'static str, entries: u32, key: usize, value: usize) -> MapSize {
        MapSize { name, entries: entries as usize, bytes: entries as usize * (ELEMENT + key + value) }
    }
    const fn array(name: &'static str, entries: u32, value: usize) -> MapSize {
        MapSize { name, entries: entries as usize, bytes: entries as usize * value }
    }
    [
        array("UNREAPED", BLOCK * BLOCKS, size_of::<Unreaped>()),
        array("PROCESSES", PROCESSES_ENTRIES, size_of::<Placed>()),
        hash("DISPLACED", DISPLACED_ENTRIES, size_of::<ProcessId>(), size_of::<Process>()),
        hash("EXECS", EXECS_ENTRIES, size_of::<ProcessId>(), size_of::<Exec>()),
        hash("KILLS", KILLS_ENTRIES, size_of::<ProcessId>(), size_of::<Kill>()),
        hash("ENDS", ENDS_ENTRIES, size_of::<ProcessId>(), size_of::<End>()),
        MapSize {
            name: "EVENTS",
            entries: EVENTS_BYTES as usize / (size_of::<Reaped>() + 8),
            bytes: EVENTS_BYTES as usize,
        },
    ]
}

/// Which processes a scan returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Scan {
    /// Those that have exited.
    Exited = SCAN_EXITED,
    /// The same; what is remembered of any process is marked, so that what was not freed is forgotten in time.
    Reconcile = SCAN_RECONCILE,
    /// All, and each is remembered, as one whose creator is not known.
    Seed = SCAN_SEED,
    /// All.
    All = SCAN_ALL,
}

/// A process that has exited and is not freed, as the task iterator saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The fixed part.
    pub record: TaskRecord,
    /// The innermost components of its cgroup path, outermost first.
    pub cgroup: Option<Shared<Vec<String>>>,
}

/// The loaded programs. They are detached when it is dropped, or when the process ends in whatever way:
/// nothing is pinned.
pub struct Tracer {
    pub(super) ebpf: Ebpf,
    records: Records,
    epochs: PerCpuArray<MapData, [u64; EPOCHS]>,
    events: RingBuf<MapData>,
    has_release: bool,
    control: Control,
}

impl Tracer {
    /// Resolves offsets, loads the object and attaches the hooks.
    ///
    /// # Errors
    ///
    /// Missing rights, missing BTF or a type in it, or what the kernel refused.
    pub fn start(options: &Options) -> Result<Self, KernelError> {
        Self::start_and(options, |_, _| Ok(())).map(|(tracer, ())| tracer)
    }

    /// The same; `also` gets the object before it is done, while the kernel's types are there.
    pub(super) fn start_and<T>(
        options: &Options,
        also: impl FnOnce(&mut Ebpf, &Btf) -> Result<T, KernelError>,
    ) -> Result<(Self, T), KernelError> {
        rights()?.require_tracing()?;
        let offsets = options.simulated_loss.fields(Offsets::of_running_kernel()?);
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::BadBtf(error.to_string()))?;
        let mut ebpf = load(&offsets, &btf, options)?;
        if options.attach {
            for name in TRACEPOINTS {
                tracepoint(&mut ebpf, name, name, &btf)?
                    .attach()
                    .map_err(|refusal| KernelError::Program { program: name, refusal: Box::new(refusal) })?;
            }
        }
        iterator(&mut ebpf, &btf)?;
        let has_release = options.attach
            && options.simulated_loss.has_release()
            && try_release(&mut ebpf, RELEASE, &btf, |_, _| Ok(())).is_ok();
        let result = also(&mut ebpf, &btf)?;
        drop(btf);
        // The kernel's types, parsed twice, take 60 MiB for a moment.
        memory::give_back();
        let tracer = Self {
            records: Records::of(&mut ebpf)?,
            epochs: map(&mut ebpf, "EPOCH_COUNTS")?,
            events: map(&mut ebpf, "EVENTS")?,
            ebpf,
            has_release,
            control: Control::default(),
        };
        Ok((tracer, result))
    }

    /// The hooks that are attached, in the words of `supervisor.hooks`.
    #[must_use]
    pub fn hooks(&self) -> &'static str {
        if self.has_release { "tp_btf+iter+fentry" } else { "tp_btf+iter" }
    }

    /// Forwards the programs' log lines to the `log` crate; call it once, if the option is set.
    ///
    /// # Errors
    ///
    /// If the log map is not in the object.
    pub fn logger(&mut self) -> Result<aya_log::EbpfLogger<&'static dyn log::Log>, KernelError> {
        aya_log::EbpfLogger::init(&mut self.ebpf).map_err(|_| KernelError::NotInObject("AYA_LOGS"))
    }

    /// What is remembered of processes.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What was lost because the kernel left out runs of the hooks; the counters do not have it.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn missed(&self) -> Result<Counters, KernelError> {
        missed::of_watch(&self.ebpf)
    }

    /// How many unreaped processes are in each cell of the epoch table. Counts of a moment: an exit that is
    /// just being counted may be missing.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn epochs(&self) -> Result<[u64; EPOCHS], KernelError> {
        let cpus =
            self.epochs.get(&0, 0).map_err(|source| KernelError::Map { map: "EPOCH_COUNTS", source })?;
        let mut sums = [0u64; EPOCHS];
        for cpu in cpus.iter() {
            for (sum, cell) in sums.iter_mut().zip(cpu) {
                *sum = sum.wrapping_add(*cell);
            }
        }
        Ok(sums)
    }

    /// Walks all processes in the kernel and returns those that have exited; they are put among the
    /// unreaped if they are not there. The others are handed to `each` with [`Scan::Seed`] and [`Scan::All`]; with the
    /// others only those that were told to exit and have not ([`TASK_ENDING`](supervisor_ebpf::TASK_ENDING)).
    ///
    /// # Errors
    ///
    /// If the iterator cannot be read.
    pub fn scan(&mut self, scan: Scan, mut each: impl FnMut(&TaskRecord)) -> Result<Vec<Task>, KernelError> {
        let begun_ns = clock::now_ns();
        if scan == Scan::Reconcile {
            self.control.pass = self.control.pass.wrapping_add(1);
        }
        self.control(scan)?;
        let mut exited = Vec::new();
        // Many are in the control group of the one before.
        let mut last = None;
        let mut stream = Stream { file: self.iterate()?, buffer: Vec::new(), start: 0 };
        while let Some(record) = stream.next::<TaskRecord>()? {
            if record.flags & (TASK_ZOMBIE | TASK_EXITING) == 0 {
                each(&record);
                continue;
            }
            let cgroup = if record.flags & TASK_HAS_CGROUP == 0 {
                None
            } else {
                stream.next::<CgroupBytes>()?.map(|path| match &last {
                    Some((bytes, names)) if *bytes == path.0 => Shared::clone(names),
                    _ => last.insert((path.0, components(&path.0).into())).1.clone(),
                })
            };
            exited.push(Task { record, cgroup });
        }
        match scan {
            Scan::Seed => self.control.seeded_ns = clock::now_ns(),
            Scan::Reconcile => self.control.passed_ns = begun_ns,
            Scan::Exited | Scan::All => return Ok(exited),
        }
        self.control(Scan::Exited)?;
        Ok(exited)
    }

    /// Whether the task iterator shows the host's PID 1. A kernel that leaves it out was seen to run no program in its
    /// threads either.
    ///
    /// # Errors
    ///
    /// If the iterator cannot be read.
    pub fn shows_init(&mut self) -> Result<bool, KernelError> {
        let mut shown = false;
        self.scan(Scan::All, |record| shown |= record.level == 0 && record.id.tgid == 1)?;
        Ok(shown)
    }

    /// Says what the next pass of the iterator returns.
    fn control(&mut self, scan: Scan) -> Result<(), KernelError> {
        self.control.scan = scan as u32;
        self.records
            .control
            .set(0, self.control, 0)
            .map_err(|source| KernelError::Map { map: "CONTROL", source })
    }

    /// Opens a new pass of the task iterator.
    fn iterate(&mut self) -> Result<File, KernelError> {
        let refused =
            |refusal: ProgramError| KernelError::Program { program: ITERATOR, refusal: Box::new(refusal) };
        let program: &mut Iter = self
            .ebpf
            .program_mut(ITERATOR)
            .ok_or(KernelError::NotInObject(ITERATOR))?
            .try_into()
            .map_err(refused)?;
        let link = program.attach().map_err(refused)?;
        let link = program.take_link(link).map_err(refused)?;
        link.into_file().map_err(|error| KernelError::Io {
            what: "cannot open the task iterator",
            source: io::Error::other(error),
        })
    }

    /// Remembers the exec of a process that is older than the hooks, unless one was seen meanwhile.
    ///
    /// # Errors
    ///
    /// The error of the update.
    pub fn seed_exec(&mut self, id: &ProcessId, exec: &Exec) -> Result<(), KernelError> {
        const NOEXIST: u64 = 1;
        match self.records.execs.insert(id, exec, NOEXIST) {
            Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::EEXIST) => {
                Ok(())
            }
            other => other.map_err(|source| KernelError::Map { map: "EXECS", source }),
        }
    }

    /// The next event of the ring, if there is one.
    pub fn next_event(&mut self) -> Option<Reaped> {
        let item = self.events.next()?;
        // SAFETY: the programs write whole `Reaped` values, which any bytes of its size are.
        (item.len() == size_of::<Reaped>())
            .then(|| unsafe { item.as_ptr().cast::<Reaped>().read_unaligned() })
    }

    /// A descriptor that becomes readable when there are events.
    ///
    /// # Errors
    ///
    /// If there are too many descriptors.
    pub fn event_fd(&self) -> io::Result<OwnedFd> {
        self.events.as_fd().try_clone_to_owned()
    }
}

/// One hook and whether it can be used here.
#[derive(Debug)]
pub struct Hook {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether it works.
    pub state: HookState,
}

/// Whether a hook works here.
#[derive(Debug)]
pub enum HookState {
    /// It was loaded and attached; instructions that the verifier processed, where the kernel tells.
    Works(Option<u32>),
    /// It was refused.
    Refused(KernelError),
    /// It was refused, and is no more than an extra.
    Spared(KernelError),
}

/// Tries every hook on its own, and detaches it again.
///
/// # Errors
///
/// If the object itself cannot be loaded.
pub fn hooks() -> Result<Vec<Hook>, KernelError> {
    let offsets = Offsets::of_running_kernel()?;
    let btf = Btf::from_sys_fs().map_err(|error| KernelError::BadBtf(error.to_string()))?;
    let options = Options { report_after_ns: u64::MAX, ..Options::default() };
    let mut ebpf = load(&offsets, &btf, &options)?;
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

/// Loads and attaches a program of the extra hook, and does with the attached one what is wanted.
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

fn try_tracepoint(ebpf: &mut Ebpf, name: &'static str, btf: &Btf) -> Result<Option<u32>, KernelError> {
    let refused = |refusal: ProgramError| KernelError::Program { program: name, refusal: Box::new(refusal) };
    let program = tracepoint(ebpf, name, name, btf)?;
    let link = program.attach().map_err(refused)?;
    program.detach(link).map_err(refused)?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()))
}

fn load(offsets: &Offsets, btf: &Btf, options: &Options) -> Result<Ebpf, KernelError> {
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
    if let Some(options) = &options.trace {
        trace::apply(options, &mut loader);
    }
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

fn iterator(ebpf: &mut Ebpf, btf: &Btf) -> Result<Option<u32>, KernelError> {
    let refused =
        |refusal: ProgramError| KernelError::Program { program: ITERATOR, refusal: Box::new(refusal) };
    let program: &mut Iter =
        ebpf.program_mut(ITERATOR).ok_or(KernelError::NotInObject(ITERATOR))?.try_into().map_err(refused)?;
    program.load(ITERATOR, btf).map_err(refused)?;
    Ok(program.info().ok().and_then(|info| info.verified_instruction_count()))
}

pub(super) fn map<M: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, KernelError> {
    typed(name, ebpf.take_map(name).ok_or(KernelError::NotInObject(name))?)
}

/// A [`CgroupPath`] as plain bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct CgroupBytes(CgroupPath);

// SAFETY: an array of bytes.
unsafe impl aya::Pod for CgroupBytes {}

/// The names of a path, outermost first.
pub(super) fn components(path: &CgroupPath) -> Vec<String> {
    let name = |name: &[u8; CGROUP_NAME_LEN]| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        String::from_utf8_lossy(&name[..end]).into_owned()
    };
    path.iter().map(name).filter(|name| !name.is_empty()).rev().collect()
}

/// Fixed-size records out of the iterator's file.
struct Stream {
    file: File,
    buffer: Vec<u8>,
    start: usize,
}

impl Stream {
    fn next<T: aya::Pod>(&mut self) -> Result<Option<T>, KernelError> {
        const READ: usize = 64 * 1024;
        while self.buffer.len() - self.start < size_of::<T>() {
            self.buffer.drain(..self.start);
            self.start = 0;
            let old = self.buffer.len();
            self.buffer.resize(old + READ, 0);
            let read = self.file.read(&mut self.buffer[old..]);
            let count = *read.as_ref().unwrap_or(&0);
            self.buffer.truncate(old + count);
            match read {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(source) => return Err(KernelError::Io { what: "cannot read the task iterator", source }),
            }
        }
        // SAFETY: that many bytes are there, and any bytes are a valid `T`.
        let record = unsafe { self.buffer.as_ptr().add(self.start).cast::<T>().read_unaligned() };
        self.start += size_of::<T>();
        Ok(Some(record))
    }
}
