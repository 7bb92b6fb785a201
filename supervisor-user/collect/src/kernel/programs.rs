//! Loads and attaches the programs of a watch, and reads their maps, their ring and the task iterator.

use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    maps::{MapData, MapError, PerCpuArray, RingBuf},
    programs::{Iter, ProgramError},
};
use supervisor_ebpf::{Control, Counters, EPOCHS, Exec, ProcessId, Reaped, TaskRecord};
use supervisor_model::{clock, evidence::Task};

use super::{
    KernelError, Offsets, Records, capabilities,
    loader::{
        ITERATOR, LoadOptions, RELEASE, Setup, TRACEPOINTS, iterator, load, map, tracepoint, try_release,
    },
    missed,
    remembered::Remembered,
    scan::{self, Scan},
};
use crate::memory;

/// The loaded programs. The kernel detaches them when this is dropped, or when the process ends in any way: nothing is
/// pinned.
pub struct Programs {
    pub(super) ebpf: Ebpf,
    records: Records,
    older: Option<Records>,
    epochs: PerCpuArray<MapData, [u64; EPOCHS]>,
    events: RingBuf<MapData>,
    has_release: bool,
    control: Control,
}

impl Programs {
    /// Resolves offsets, loads the object and attaches the hooks.
    ///
    /// # Errors
    ///
    /// If capabilities, BTF or a type in it are missing, or if the kernel refuses something.
    pub fn start(options: &LoadOptions) -> Result<Self, KernelError> {
        Self::start_and(options, &Setup::default(), |_, _| Ok(())).map(|(tracer, ())| tracer)
    }

    /// The same, and calls `also` with the object before it returns, while the kernel's types are still in memory.
    pub(super) fn start_and<T>(
        options: &LoadOptions,
        setup: &Setup,
        also: impl FnOnce(&mut Ebpf, &Btf) -> Result<T, KernelError>,
    ) -> Result<(Self, T), KernelError> {
        capabilities()?.require_tracing()?;
        let offsets = options.simulated_loss.fields(Offsets::of_running_kernel()?);
        let btf = Btf::from_sys_fs().map_err(|error| KernelError::BadBtf(error.to_string()))?;
        let mut ebpf = load(&offsets, &btf, options, setup)?;
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
        // The kernel's types were parsed twice, and took 60 MiB for a moment.
        memory::give_back();
        let tracer = Self {
            records: Records::of(&mut ebpf)?,
            older: None,
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

    /// Also uses the records of another watch that runs now, if there is one. Call it before the [`Scan::Seed`]: after
    /// that scan, this one counts as a watch too.
    pub fn find_older(&mut self) -> Option<&Records> {
        self.older = Records::of_running_agent();
        self.older.as_ref()
    }

    /// The records of this watch and of the older one.
    #[must_use]
    pub fn remembered(&self) -> Remembered<'_> {
        Remembered::new(&self.records, self.older.as_ref())
    }

    /// The records of this watch.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The losses because the kernel skipped runs of the hooks. The counters do not include them.
    ///
    /// # Errors
    ///
    /// If the number of skipped runs cannot be read. A kernel that does not report it gives 0.
    pub fn missed(&self) -> Result<Counters, KernelError> {
        missed::of_watch(&self.ebpf)
    }

    /// How many unreaped processes are in each cell of the epoch table. An exit that a hook is just counting may be
    /// missing.
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

    /// Walks all processes in the kernel, and returns those that have exited. It inserts the zombies among them into
    /// the table of unreaped processes if they are not in it. Only [`Scan::Seed`] also inserts those that are still
    /// exiting ([`TASK_EXITING`](supervisor_ebpf::TASK_EXITING)): later the exit hook does that. It calls `each` with
    /// the other processes: with all of them for [`Scan::Seed`] and [`Scan::All`], and for the other scans only with
    /// those that were told to exit and have not ([`TASK_ENDING`](supervisor_ebpf::TASK_ENDING)).
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
        let exited = scan::read(self.iterate()?, &mut each)?;
        match scan {
            Scan::Seed => self.control.seeded_ns = clock::now_ns(),
            Scan::Reconcile => self.control.passed_ns = begun_ns,
            Scan::Exited | Scan::All => return Ok(exited),
        }
        self.control(Scan::Exited)?;
        Ok(exited)
    }

    /// Whether the task iterator shows the host's PID 1. A kernel whose iterator skipped PID 1 also ran no program in
    /// the threads of PID 1.
    ///
    /// # Errors
    ///
    /// If the iterator cannot be read.
    pub fn shows_init(&mut self) -> Result<bool, KernelError> {
        let mut shown = false;
        self.scan(Scan::All, |record| shown |= record.level == 0 && record.id.tgid == 1)?;
        Ok(shown)
    }

    /// Sets which processes the next pass of the iterator returns.
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

    /// Stores the exec of a process that is older than the hooks, unless a hook has stored one since.
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
        // SAFETY: the programs write whole `Reaped` values, and any bytes of that size are a valid `Reaped`.
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
