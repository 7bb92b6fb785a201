//! Other kernels: each is booted in qemu, with `supervisor` and the live tests in memory, all at once.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    arch::Arch,
    binary,
    initramfs::{self, Step, quoted},
    kernels::{self, Kernel, LINES, Wanted},
    plan::DEMO,
    process, setup,
    userland::Userland,
    verdicts::{Heard, Verdicts, clean},
};

/// Files of live tests that are not run unless asked for, and why.
const LEFT_OUT: [(&str, &str); 30] = [
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
/// Files of live tests that `cargo xtask test` runs on other kernels too: what kernels do differently is the hooks, the
/// verifier, the layout of types, and when a reap is seen.
const CORE: [&str; 9] =
    ["clock_step", "container", "detach", "doctor", "dwell", "existing", "fields", "release", "trace"];
/// Why a file need not be run on every kernel.
const SAME: &str = "what it tests is the same on every kernel";
/// Where the tests find the program, and which hooks these kernels let it attach.
const ENVIRONMENT: &str = "SUPERVISOR_BIN=/bin/supervisor SUPERVISOR_HOOKS=tp_btf+iter+fentry";
/// Emulated: a KVM inside a virtual machine was seen to take a kernel, and to hang. The CPUs take turns on one thread: on
/// a thread each, qemu was seen to run what a kernel was just replacing in its own text. Machines run beside each
/// other, so no time is lost by that.
const MACHINE: &str = "-accel tcg,thread=single -m 1024 -smp 2 -nic none -nographic -no-reboot";
/// How many seconds a step may take.
const TIMEOUT: u64 = 600;
/// How long a broken kernel may go on, to say what is broken.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// What to boot, and what for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// `6.1` or `6.12`, for Debian's newest of that line, `newest`, for the newest of its backports, or the path of a bzImage;
    /// all three lines if not given
    #[arg(long = "kernel", value_name = "6.1|6.12|newest|FILE")]
    kernels: Vec<Wanted>,
    /// Boot kernels of this architecture, with programs that are built for it
    #[arg(long, value_name = "ARCH", default_value = "x86_64")]
    arch: Arch,
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

impl Args {
    /// What every test run does.
    pub(crate) fn core() -> Self {
        let tests = CORE.iter().map(|&name| name.to_owned()).collect();
        Self { kernels: Vec::new(), arch: Arch::X86_64, no_tests: false, tests, timeout: TIMEOUT }
    }

    /// Whether this file of live tests is to be run.
    fn wants(&self, test: &str) -> bool {
        if self.tests.is_empty() {
            !self.no_tests && !LEFT_OUT.iter().any(|(name, _)| *name == test)
        } else {
            self.tests.iter().any(|name| name == test)
        }
    }
}

/// Boots every kernel and tells how it went.
pub(crate) fn run(args: &Args) -> Result<()> {
    anyhow::ensure!(cfg!(target_arch = "x86_64"), "machines are booted on x86-64 only, and this host is not");
    setup::ensure(&[&DEMO, args.arch.kernels()])?;
    let dir = kernels::dir()?;
    let wanted = if args.kernels.is_empty() { &LINES[..] } else { &args.kernels };
    let kernels = wanted.iter().map(|it| it.get(args.arch, &dir)).collect::<Result<Vec<Kernel>>>()?;

    let (image, steps) = build_image(args, &dir)?;
    let limit = Duration::from_secs(args.timeout);
    let results = thread::scope(|scope| {
        let (image, steps) = (&image, &steps);
        let start = |kernel| scope.spawn(move || boot(args.arch, kernel, image, steps, limit));
        let machines: Vec<_> = kernels.iter().map(start).collect();
        let end = |(kernel, machine): (&Kernel, thread::ScopedJoinHandle<'_, Result<Verdicts>>)| {
            let verdicts =
                machine.join().map_err(|_| anyhow::anyhow!("the thread of {} has panicked", kernel.name))?;
            Ok((kernel.name.clone(), verdicts?))
        };
        kernels.iter().zip(machines).map(end).collect::<Result<Vec<(String, Verdicts)>>>()
    })?;
    if !args.no_tests && args.tests.is_empty() {
        for (name, why) in LEFT_OUT {
            println!("LEFT OUT: the live tests in {name}.rs: {why}");
        }
    }
    for (name, verdicts) in &results {
        println!("{name}: {}", verdicts.summary());
    }
    if results.iter().all(|(_, verdicts)| verdicts.is_good()) { Ok(()) } else { Err(process::Exit(1).into()) }
}

/// Builds what goes into the machine, and returns the archive's path and what will be run.
fn build_image(args: &Args, dir: &Path) -> Result<(PathBuf, Vec<Step>)> {
    let arch = args.arch;
    let supervisor = binary::build_for(arch)?;
    let step = |name: &str, command: &str| Step { name: name.to_owned(), command: command.to_owned() };
    let mut steps = vec![step("doctor", "supervisor doctor"), step("demo", "supervisor demo")];
    let tests = if args.no_tests { Vec::new() } else { build_tests(arch)? };
    let mut files = vec![(supervisor.as_path(), "bin/supervisor".to_owned())];
    let mut preparation = String::new();
    for Built { name, executable, is_test } in &tests {
        let place = format!("tests/{name}");
        if *is_test {
            let names = names_of_files(arch, executable)?;
            if let Some(name) = args.tests.iter().find(|&name| !names.contains(name)) {
                anyhow::bail!("no live tests in {name}.rs");
            }
            for name in names.iter().filter(|name| args.wants(name)) {
                let command = format!("{ENVIRONMENT} /{place} {name}:: --test-threads=1 --include-ignored");
                steps.push(Step { name: format!("tests/{name}"), command });
            }
        } else {
            copy(&mut preparation, &place, Path::new(executable))?;
        }
        files.push((Path::new(executable), place));
    }
    let data = if tests.is_empty() { Vec::new() } else { data()? };
    for (number, file) in data.iter().enumerate() {
        let place = format!("data/{number}");
        copy(&mut preparation, &place, file)?;
        files.push((file, place));
    }
    let files: Vec<(&Path, &str)> = files.iter().map(|(file, place)| (*file, place.as_str())).collect();
    let bytes = initramfs::build(&Userland::of(arch, dir)?, &files, &preparation, &steps)?;
    let image = dir.join(format!("initramfs-{}.img", arch.debian()));
    fs::write(&image, &bytes).with_context(|| format!("cannot write {}", image.display()))?;
    eprintln!("vm: {} MB in {}", bytes.len() / 1_000_000, image.display());
    Ok((image, steps))
}

/// Puts a file where the tests know it, which is where it is on this host: in the archive that may be below a directory
/// that is mounted over.
fn copy(preparation: &mut String, place: &str, file: &Path) -> Result<()> {
    let dir = file.parent().unwrap_or(file).to_string_lossy();
    Ok(writeln!(preparation, "mkdir -p {}; cp /{place} {}", quoted(&dir), quoted(&file.to_string_lossy()))?)
}

/// The files that live tests read, where they are in the tree.
fn data() -> Result<Vec<PathBuf>> {
    let tree = process::workspace();
    let recordings = fs::read_dir(tree.join("tests/recordings"))?;
    let mut files = recordings.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    files.push(tree.join("deploy/seccomp.json"));
    Ok(files)
}

/// The files that a program of live tests is made of, by the names of its tests.
fn names_of_files(arch: Arch, executable: &str) -> Result<BTreeSet<String>> {
    let mut list = arch.run(executable);
    let list = process::output(list.args(["--list", "--format", "terse"]));
    let list = list.with_context(|| format!("{executable} does not list its tests"))?;
    Ok(list.lines().filter_map(|line| Some(line.split_once("::")?.0.to_owned())).collect())
}

/// A program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    name: String,
    executable: String,
    is_test: bool,
}

/// Builds the live tests, and the program they watch.
fn build_tests(arch: Arch) -> Result<Vec<Built>> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--no-run", "--locked", "--package", "supervisor-tests", "--tests"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    binary::link_statically_for(&mut cargo, arch)?;
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        return Err(process::Exit(1).into());
    }
    let mut built: Vec<Built> =
        String::from_utf8(output.stdout)?.lines().filter_map(parse_artifact).collect();
    built.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(built)
}

/// Reads a line of cargo's messages: a program, or one of tests.
fn parse_artifact(line: &str) -> Option<Built> {
    let rest = line.strip_prefix(r#"{"reason":"compiler-artifact""#)?;
    let (_, target) = rest.split_once(r#""target":{"kind":[""#)?;
    let is_test = target.starts_with("test\"");
    if !is_test && !target.starts_with("bin\"") {
        return None;
    }
    let value = |key: &str| Some(target.split_once(key)?.1.split_once('"')?.0.to_owned());
    Some(Built { name: value(r#""name":""#)?, executable: value(r#""executable":""#)?, is_test })
}

/// Kills the machine when it is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It has mostly ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a kernel, shows what it says, and returns what came out.
fn boot(arch: Arch, kernel: &Kernel, image: &Path, steps: &[Step], limit: Duration) -> Result<Verdicts> {
    let started = Instant::now();
    let (emulator, console) = arch.machine();
    let mut command = Command::new(emulator[0]);
    command.args(&emulator[1..]).args(MACHINE.split(' '));
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image);
    command
        .arg("-append")
        .arg(format!("console={console} quiet panic=-1"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut machine = Machine(command.spawn().with_context(|| format!("cannot start {}", emulator[0]))?);
    let stdout = machine.0.stdout.take().context("qemu has no pipe")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // It ends with the machine, or with the receiver.
        BufReader::new(stdout).split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line))
    });

    let mut verdicts = Verdicts::new(steps);
    let mut deadline = started + limit;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let line = clean(&String::from_utf8_lossy(&line));
                if !line.is_empty() {
                    println!("{} │ {line}", kernel.name);
                }
                match verdicts.take(&line) {
                    Heard::Nothing => {}
                    Heard::Verdict => deadline = Instant::now() + limit,
                    Heard::Broken => deadline = Instant::now() + LAST_WORDS,
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if verdicts.broken.is_none() {
                    verdicts.broken = Some(format!("a step took more than {} s", limit.as_secs()));
                }
                break;
            }
        }
    }
    verdicts.seconds = started.elapsed().as_secs();
    Ok(verdicts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_has_built_is_found() {
        let line = r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["test"],"crate_types":["bin"],"name":"live"},"executable":"/t/live-1","fresh":true}"#;
        let built = Built { name: "live".to_owned(), executable: "/t/live-1".to_owned(), is_test: true };
        assert_eq!(parse_artifact(line), Some(built));
        assert_eq!(parse_artifact(&line.replace("[\"test\"]", "[\"lib\"]")), None);
        assert_eq!(parse_artifact(&line.replace("\"/t/live-1\"", "null")), None);
    }
}
