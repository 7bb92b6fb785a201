//! The programs of `supervisor trace`, and what they tell.

use std::collections::HashSet;

use aya::{
    Btf, Ebpf,
    maps::{Array, HashMap, MapData, RingBuf},
};
use supervisor_ebpf::{
    CGROUP_UNWANTED, CGROUPS_TOLD_ENTRIES, ENDED_ENTRIES, FOLLOWED_ENTRIES, ProcessId, TRACE_BYTES,
    TraceFilter, Traced, TracedCgroup, TracedExec,
};

use super::{
    KernelError, Scan, Tracer,
    loader::{Options, Setup, map, tracepoint, try_release},
    missed,
    scan::components,
};

/// Programs with their hooks; what ends a process comes first, so that no end is missed of what is seen to begin.
const TRACEPOINTS: [(&str, &str); 5] = [
    ("trace_free", "sched_process_free"),
    ("trace_exit", "sched_process_exit"),
    ("trace_wait", "sched_process_wait"),
    ("trace_exec", "sched_process_exec"),
    ("trace_fork", "sched_process_fork"),
];

/// Maps that only a watch needs, with the smallest bounds that they can have.
const UNUSED: [(&str, u32); 7] = [
    ("UNREAPED", 1),
    ("PROCESSES", 1),
    ("DISPLACED", 1),
    ("EXECS", 1),
    ("KILLS", 1),
    ("ENDS", 1),
    ("EVENTS", 4096),
];

/// Something that the kernel side tells.
pub enum Record<'a> {
    /// What happened.
    Event(Traced),
    /// The same of an exec.
    Exec(&'a TracedExec),
    /// The path of a control group of which there will be events: its inode number, and the innermost names, outermost
    /// first.
    Cgroup(u64, Vec<String>),
}

/// What a trace is to tell, and how much may wait to be read.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// What it is to tell.
    pub filter: TraceFilter,
    /// Size of the ring: a power of two, and whole pages.
    pub ring_bytes: u32,
}

impl TraceOptions {
    /// With the usual ring.
    #[must_use]
    pub fn new(filter: TraceFilter) -> Self {
        Self { filter, ring_bytes: TRACE_BYTES }
    }
}

/// A trace that goes on until it is dropped.
pub struct Trace {
    ring: RingBuf<MapData>,
    lost: Array<MapData, u64>,
    cgroups: HashMap<MapData, u64, u8>,
    has_release: bool,
    /// Holds the programs.
    tracer: Tracer,
}

impl Trace {
    /// Attaches the programs. If `roots` are given, only they and their descendants are told of, also those that are there
    /// already.
    ///
    /// # Errors
    ///
    /// Those of [`Tracer::start`].
    pub fn start(mut options: TraceOptions, roots: &[u32]) -> Result<Self, KernelError> {
        options.filter.follow = u32::from(!roots.is_empty());
        let (mut tracer, has_release) = Tracer::start_and(&Options::default(), &setup(&options), attach)?;
        let ebpf = &mut tracer.ebpf;
        let (ring, lost, cgroups) =
            (map(ebpf, "TRACE")?, map(ebpf, "TRACE_LOST")?, map(ebpf, "CGROUPS_TOLD")?);
        if !roots.is_empty() {
            let mut followed = map(ebpf, "FOLLOWED")?;
            follow(&mut tracer, &mut followed, roots)?;
        }
        Ok(Self { ring, lost, cgroups, has_release, tracer })
    }

    /// The hooks that are attached, in the words of `supervisor.hooks`.
    #[must_use]
    pub fn hooks(&self) -> &'static str {
        if self.has_release { "tp_btf+fentry" } else { "tp_btf" }
    }

    /// The loaded programs.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Whether it tells who reaps, and when exactly.
    #[must_use]
    pub fn has_release(&self) -> bool {
        self.has_release
    }

    /// Hands over everything that was told and not yet read.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub fn drain<E>(
        &mut self,
        mut each: impl FnMut(&mut Cgroups<'_>, Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cgroups = Cgroups(&mut self.cgroups);
        while let Some(item) = self.ring.next() {
            let start = item.as_ptr();
            #[expect(clippy::cast_ptr_alignment, reason = "the ring's records are aligned to 8 bytes")]
            // SAFETY: the programs write whole records of these three sizes; each is any bytes of its size.
            let record = unsafe {
                match item.len() {
                    n if n == size_of::<Traced>() => Record::Event(start.cast::<Traced>().read()),
                    n if n == size_of::<TracedExec>() => Record::Exec(&*start.cast::<TracedExec>()),
                    n if n == size_of::<TracedCgroup>() => {
                        let told = &*start.cast::<TracedCgroup>();
                        Record::Cgroup(told.id, components(&told.path))
                    }
                    _ => continue,
                }
            };
            each(&mut cgroups, record)?;
        }
        Ok(())
    }

    /// How many records were lost so far: the ring had no room for them, or the kernel left out the program. A reap that
    /// `trace_release` misses is told by `trace_free`.
    ///
    /// # Errors
    ///
    /// The error of the lookup.
    pub fn lost(&self) -> Result<u64, KernelError> {
        let mut lost =
            self.lost.get(&0, 0).map_err(|source| KernelError::Map { map: "TRACE_LOST", source })?;
        for (program, _) in TRACEPOINTS {
            lost += missed::of(&self.tracer.ebpf, program)?;
        }
        Ok(lost)
    }
}

/// What the kernel side knows of control groups.
pub struct Cgroups<'a>(&'a mut HashMap<MapData, u64, u8>);

impl Cgroups<'_> {
    /// Nothing more is to be told of a control group. What is on its way already still comes.
    pub fn refuse(&mut self, id: u64) {
        // If that fails, it is told of, and left out by who reads it.
        let _ = self.0.insert(id, CGROUP_UNWANTED, 0);
    }
}

/// Attaches the programs; returns whether the one that sees the reap itself is among them.
fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<bool, KernelError> {
    let has_release = try_release(ebpf, "trace_release", btf, |_, _| Ok(())).is_ok();
    for (program, hook) in TRACEPOINTS {
        tracepoint(ebpf, program, hook, btf)?
            .attach()
            .map_err(|refusal| KernelError::Program { program, refusal: Box::new(refusal) })?;
    }
    Ok(has_release)
}

/// What is told, and how large the maps are: those that only a watch needs are as small as can be.
fn setup(options: &TraceOptions) -> Setup {
    let mut bounds = UNUSED.to_vec();
    bounds.extend([
        ("TRACE", options.ring_bytes),
        ("CGROUPS_TOLD", CGROUPS_TOLD_ENTRIES),
        ("FOLLOWED", FOLLOWED_ENTRIES),
        ("ENDED", ENDED_ENTRIES),
    ]);
    Setup { bounds, filter: options.filter }
}

/// Follows these and all their descendants. What is forked meanwhile by one that is not followed yet is found by
/// the next look.
fn follow(
    tracer: &mut Tracer,
    followed: &mut HashMap<MapData, ProcessId, u8>,
    roots: &[u32],
) -> Result<(), KernelError> {
    let mut known: HashSet<ProcessId> = HashSet::new();
    loop {
        let mut all = Vec::new();
        let exited = tracer.scan(Scan::All, |record| all.push((record.id, record.parent)))?;
        all.extend(exited.iter().map(|task| (task.record.id, task.record.parent)));
        let before = known.len();
        known.extend(all.iter().map(|(id, _)| *id).filter(|id| roots.contains(&id.tgid)));
        loop {
            let size = known.len();
            let children: Vec<ProcessId> =
                all.iter().filter(|(_, parent)| known.contains(parent)).map(|(id, _)| *id).collect();
            known.extend(children);
            if known.len() == size {
                break;
            }
        }
        if known.len() == before {
            return Ok(());
        }
        for id in &known {
            followed.insert(id, 1, 0).map_err(|source| KernelError::Map { map: "FOLLOWED", source })?;
        }
    }
}
