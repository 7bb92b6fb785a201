//! Boots other kernels in qemu, a few at once, with `supervisor` and the live tests in memory.

mod boot;
mod image;
mod initramfs;
mod table;
mod userland;
mod verdicts;

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use self::{initramfs::Step, verdicts::Verdicts};
use crate::{
    arch::Arch,
    kernels::{self, Flavour, Kernel, LINES, Line, Wanted},
    plan::DEMO,
    process, setup,
};

/// Files of live tests that run only on request, each with the reason.
const LEFT_OUT: [(&str, &str); 31] = [
    ("cases", "the programs of the cases are not in the machine"),
    ("commands", SAME),
    ("conmon", "conmon is not in the machine"),
    ("cost", "nats-server is not in the machine"),
    ("demo", "emulated, it takes longer than a person would wait; `supervisor demo` itself is run"),
    ("docs", "nats-server is not in the machine"),
    ("exit_codes", SAME),
    ("fleet", "nats-server is not in the machine"),
    ("hostile_reads", "its 800 threads and 400 zombies need more memory than the machine has"),
    ("hostile_masses", "its thousands of zombies need more memory than the machine has"),
    ("install", "systemd is not in the machine"),
    ("leaks", "podman, youki and the test runners are not in the machine"),
    ("nats", "nats-server is not in the machine"),
    ("nats_agent", "nats-server is not in the machine"),
    ("podman", "podman is not in the machine"),
    ("prometheus", "prometheus is not in the machine"),
    ("reap", "python3, go and java are not in the machine"),
    ("run", SAME),
    ("run_local", SAME),
    ("scale", "emulated, no command answers within the second it is given"),
    ("service", SAME),
    ("sink_file", SAME),
    ("sink_journald", "systemd is not in the machine"),
    ("sink_syslog", "rsyslog is not in the machine"),
    ("sink_unix", SAME),
    ("soak", "emulated, healthy processes come too slowly"),
    ("soak_causes", "emulated, its programs take longer than their causes allow"),
    ("storm", "emulated, 200,000 processes take longer than it waits"),
    ("top", SAME),
    ("unmatched", SAME),
    ("youki", "youki is not in the machine"),
];
/// Files of live tests that `cargo xtask test` runs on other kernels too. Kernels differ in the hooks, the verifier,
/// the layout of types, and the time at which a reap is seen.
const CORE: [&str; 9] =
    ["clock_step", "container", "detach", "doctor", "dwell", "existing", "fields", "release", "trace"];
/// Files of live tests that `--all` runs on each kernel.
const OF_ALL: [&str; 5] = ["families", "incident", "namespace", "release", "trace"];
/// The kernels that `--all` boots.
const ALL: [(Arch, Line, Flavour); 11] = [
    (Arch::X86_64, Line::V6_1, Flavour::Standard),
    (Arch::X86_64, Line::V6_1, Flavour::Cloud),
    (Arch::X86_64, Line::V6_1, Flavour::Realtime),
    (Arch::X86_64, Line::V6_12, Flavour::Standard),
    (Arch::X86_64, Line::V6_12, Flavour::Realtime),
    (Arch::X86_64, Line::Newest, Flavour::Standard),
    (Arch::X86_64, Line::Sid, Flavour::Standard),
    (Arch::Aarch64, Line::V6_1, Flavour::Standard),
    (Arch::Aarch64, Line::V6_12, Flavour::Standard),
    (Arch::Aarch64, Line::V6_12, Flavour::Pages16k),
    (Arch::Aarch64, Line::Newest, Flavour::Standard),
];
/// The reason why a file need not run on every kernel.
const SAME: &str = "what it tests is the same on every kernel";
/// The number of machines that run at once. Each has a thread that is always busy, and 1 GiB of memory.
const AT_ONCE: usize = 3;
/// The number of seconds that a step may take.
const TIMEOUT: u64 = 600;

/// What to boot, and what for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `6.1` or `6.12`, for Debian's newest of that line, `newest`, for the newest of its backports, `sid`, for its unstable
    /// one, each with `-cloud`, `-rt` or `-16k` for that flavour; or the path of a bzImage. If not given: 6.1, 6.12, newest
    #[arg(long = "kernel", value_name = "LINE|FILE")]
    kernels: Vec<Wanted>,
    /// Boot kernels of this architecture, with programs that are built for it
    #[arg(long, value_name = "ARCH", default_value = "x86_64")]
    arch: Arch,
    /// Boot every kernel of Debian that supervisor is tried on, of both architectures, and write docs/kernels.md
    #[arg(long, conflicts_with_all = ["kernels", "arch", "tests", "no_tests"])]
    all: bool,
    /// Run `supervisor doctor` and `supervisor demo` only
    #[arg(long)]
    no_tests: bool,
    /// Only these files of live tests, such as `incident`
    #[arg(long = "test", value_name = "NAME", conflicts_with = "no_tests")]
    tests: Vec<String>,
    /// How many seconds each step may take: doctor with the boot, demo, each file of live tests
    #[arg(long, value_name = "SECONDS", default_value_t = TIMEOUT)]
    timeout: u64,
}

/// The files of live tests to run.
enum Selection {
    Every,
    These(Vec<String>),
}

impl Selection {
    fn these(names: &[&str]) -> Self {
        Self::These(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::These(names) if names.is_empty())
    }

    fn wants(&self, test: &str) -> bool {
        match self {
            Self::Every => !LEFT_OUT.iter().any(|(name, _)| *name == test),
            Self::These(names) => names.iter().any(|name| name == test),
        }
    }

    /// A selected file that does not exist.
    fn unknown(&self, files: &BTreeSet<String>) -> Option<&str> {
        match self {
            Self::Every => None,
            Self::These(names) => names.iter().find(|&name| !files.contains(name)).map(String::as_str),
        }
    }
}

/// A machine that is not booted yet.
struct Machine<'a> {
    kernel: Kernel,
    arch: Arch,
    image: &'a PathBuf,
    steps: &'a [Step],
}

/// The result of a booted kernel.
struct Booted {
    arch: Arch,
    kernel: String,
    verdicts: Verdicts,
}

/// Boots the kernels of every test run, with the core of the live tests.
pub(crate) fn core() -> Result<()> {
    let kernels = LINES.map(|wanted| (Arch::X86_64, wanted));
    let results = boot(&kernels, &Selection::these(&CORE), Duration::from_secs(TIMEOUT))?;
    summarize(&results)
}

/// Boots every requested kernel and prints the results.
pub(crate) fn run(args: &Args) -> Result<()> {
    let limit = Duration::from_secs(args.timeout);
    if args.all {
        let kernels = ALL.map(|(arch, line, flavour)| (arch, Wanted::Debian(line, flavour)));
        let results = boot(&kernels, &Selection::these(&OF_ALL), limit)?;
        table::write(&results)?;
        return summarize(&results);
    }
    let selection = match (args.no_tests, args.tests.is_empty()) {
        (true, _) => Selection::these(&[]),
        (false, true) => Selection::Every,
        (false, false) => Selection::These(args.tests.clone()),
    };
    let wanted = if args.kernels.is_empty() { &LINES[..] } else { &args.kernels };
    let kernels: Vec<(Arch, Wanted)> = wanted.iter().map(|it| (args.arch, it.clone())).collect();
    let results = boot(&kernels, &selection, limit)?;
    if matches!(selection, Selection::Every) {
        for (name, why) in LEFT_OUT {
            println!("LEFT OUT: the live tests in {name}.rs: {why}");
        }
    }
    summarize(&results)
}

/// Boots these kernels, a few at once. Returns the results in the same order.
fn boot(wanted: &[(Arch, Wanted)], selection: &Selection, limit: Duration) -> Result<Vec<Booted>> {
    anyhow::ensure!(cfg!(target_arch = "x86_64"), "machines are booted on x86-64 only, and this host is not");
    setup::ensure(&[&DEMO])?;
    let dir = kernels::dir()?;
    let mut images: Vec<(Arch, PathBuf, Vec<Step>)> = Vec::new();
    for &(arch, _) in wanted {
        if images.iter().all(|(other, ..)| *other != arch) {
            setup::ensure(&[arch.kernels()])?;
            let (image, steps) = image::build(arch, selection, &dir)?;
            images.push((arch, image, steps));
        }
    }
    let mut machines = VecDeque::new();
    for (arch, wanted) in wanted {
        let kernel = wanted.get(*arch, &dir)?;
        let (_, image, steps) = images.iter().find(|(it, ..)| it == arch).context("each has an image")?;
        machines.push_back((machines.len(), Machine { kernel, arch: *arch, image, steps }));
    }
    let workers = machines.len().min(AT_ONCE);
    let machines = Mutex::new(machines);
    let mut results = thread::scope(|scope| -> Result<Vec<_>> {
        let work = || -> Result<Vec<(usize, Booted)>> {
            let mut done = Vec::new();
            loop {
                let next = machines.lock().ok().and_then(|mut machines| machines.pop_front());
                let Some((index, Machine { kernel, arch, image, steps })) = next else { return Ok(done) };
                let verdicts = boot::boot(arch, &kernel, image, steps, limit)?;
                done.push((index, Booted { arch, kernel: kernel.name, verdicts }));
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let end = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread of a machine has panicked")))
        };
        Ok(workers.into_iter().map(end).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
    })?;
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Prints one line for each result. Returns an error if a result is not good.
fn summarize(results: &[Booted]) -> Result<()> {
    for Booted { arch, kernel, verdicts } in results {
        println!("{kernel} ({}): {}", arch.name(), verdicts.summary());
    }
    if results.iter().all(|it| it.verdicts.is_good()) { Ok(()) } else { Err(process::Exit(1).into()) }
}
