//! Attaches the programs of `supervisor trace`, and reads their records.

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
    KernelError, Programs, Scan,
    loader::{LoadOptions, Setup, map, tracepoint, try_release},
    missed,
    scan::components,
};

/// Programs with their hooks. The hooks for the end of a process are attached first: a trace that sees the start of a
/// process then also sees its end.
const TRACEPOINTS: [(&str, &str); 5] = [
    ("trace_free", "sched_process_free"),
    ("trace_exit", "sched_process_exit"),
    ("trace_wait", "sched_process_wait"),
    ("trace_exec", "sched_process_exec"),
    ("trace_fork", "sched_process_fork"),
];

/// Maps that only a watch needs, with the smallest possible bounds.
const UNUSED: [(&str, u32); 7] = [
    ("UNREAPED", 1),
    ("PROCESSES", 1),
    ("DISPLACED", 1),
    ("EXECS", 1),
    ("KILLS", 1),
    ("ENDS", 1),
    ("EVENTS", 4096),
];

/// A record of the kernel side.
pub enum TraceRecord<'a> {
    /// An event other than an exec.
    Event(Traced),
    /// An exec.
    Exec(&'a TracedExec),
    /// The path of a control group, before the events in it: its inode number, and the innermost names of the path, the
    /// outermost of them first.
    Cgroup(u64, Vec<String>),
}

impl<'a> TraceRecord<'a> {
    /// Reads a record of the ring. The ring aligns its records to 8 bytes. `None` if the bytes are no record.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let start = bytes.as_ptr();
        if !start.addr().is_multiple_of(align_of::<u64>()) {
            return None;
        }
        #[expect(clippy::cast_ptr_alignment, reason = "the alignment was checked")]
        // SAFETY: the bytes have the size and the alignment of the type, and any bytes of its size are a valid record.
        unsafe {
            match bytes.len() {
                n if n == size_of::<Traced>() => Some(Self::Event(start.cast::<Traced>().read())),
                n if n == size_of::<TracedExec>() => Some(Self::Exec(&*start.cast::<TracedExec>())),
                n if n == size_of::<TracedCgroup>() => {
                    let cgroup = &*start.cast::<TracedCgroup>();
                    Some(Self::Cgroup(cgroup.id, components(&cgroup.path)))
                }
                _ => None,
            }
        }
    }
}

/// The events that a trace reports, and the size of its ring.
#[derive(Clone, Debug)]
pub struct TraceOptions {
    /// The events that it reports.
    pub filter: TraceFilter,
    /// Size of the ring in bytes: a power of two, and a multiple of the page size.
    pub ring_bytes: u32,
}

impl TraceOptions {
    /// The options with a ring of [`TRACE_BYTES`].
    #[must_use]
    pub fn new(filter: TraceFilter) -> Self {
        Self { filter, ring_bytes: TRACE_BYTES }
    }
}

/// A trace that runs until it is dropped.
pub struct Trace {
    ring: RingBuf<MapData>,
    lost: Array<MapData, u64>,
    cgroups: HashMap<MapData, u64, u8>,
    has_release: bool,
    /// Keeps the programs loaded.
    tracer: Programs,
}

impl Trace {
    /// Attaches the programs. With `roots`, the trace reports only these processes and their descendants, including the
    /// descendants that exist already.
    ///
    /// # Errors
    ///
    /// Those of [`Programs::start`].
    pub fn start(mut options: TraceOptions, roots: &[u32]) -> Result<Self, KernelError> {
        options.filter.follow = u32::from(!roots.is_empty());
        let (mut tracer, has_release) =
            Programs::start_and(&LoadOptions::default(), &setup(&options), attach)?;
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
    pub fn tracer(&self) -> &Programs {
        &self.tracer
    }

    /// Whether the trace reports the reaper and the exact time of a reap.
    #[must_use]
    pub fn has_release(&self) -> bool {
        self.has_release
    }

    /// Calls `each` with every record that was not yet read.
    ///
    /// # Errors
    ///
    /// Those of `each`.
    pub fn drain<E>(
        &mut self,
        mut each: impl FnMut(&mut Cgroups<'_>, TraceRecord<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut cgroups = Cgroups(&mut self.cgroups);
        while let Some(item) = self.ring.next() {
            if let Some(record) = TraceRecord::read(&item) {
                each(&mut cgroups, record)?;
            }
        }
        Ok(())
    }

    /// How many records were lost so far: the ring had no room for them, or the kernel skipped the program. If
    /// `trace_release` misses a reap, `trace_free` reports it.
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

/// The control groups that the kernel side knows.
pub struct Cgroups<'a>(&'a mut HashMap<MapData, u64, u8>);

impl Cgroups<'_> {
    /// Stops the events of a control group. Records that are in the ring already still arrive.
    pub fn refuse(&mut self, id: u64) {
        // If this fails, the kernel still reports the group, and the reader drops its events.
        let _ = self.0.insert(id, CGROUP_UNWANTED, 0);
    }
}

/// Attaches the programs. Returns whether the optional one that sees the reap itself is attached.
fn attach(ebpf: &mut Ebpf, btf: &Btf) -> Result<bool, KernelError> {
    let has_release = try_release(ebpf, "trace_release", btf, |_, _| Ok(())).is_ok();
    for (program, hook) in TRACEPOINTS {
        tracepoint(ebpf, program, hook, btf)?
            .attach()
            .map_err(|refusal| KernelError::Program { program, refusal: Box::new(refusal) })?;
    }
    Ok(has_release)
}

/// The filter and the bounds of the maps. The maps that only a watch needs are as small as possible.
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

/// Follows the roots and all their descendants. A process that is not followed yet may fork during a scan; the next
/// scan finds the child. The loop ends with a scan that finds no other process.
fn follow(
    tracer: &mut Programs,
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
