//! What the host has ([`Facts`]), and which steps are missing ([`plan`]).

use std::{
    env,
    fmt::{self, Display, Formatter},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{
    process, setup,
    toolchain::{self, LINKED, LINKER_VERSION, OVERRIDE, TOOLS, Toolchain, Tools},
};

/// Debian's rustc, complete with the source of `core`, and the LLVM it has: a guess for lists that are made
/// before it is there to be asked.
const DISTRIBUTION: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DISTRIBUTION_LLVM: u32 = 22;

/// The LLVM versions that this bpf-linker can be built with.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// Programs that the demo and the tests watch or send to, with their packages.
pub(crate) const PROGRAMS: [(&str, &str); 22] = [
    ("crun", "crun"),
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("podman", "podman"),
    ("tini", "tini"),
    ("busybox", "busybox-static"),
    ("nats-server", "nats-server"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
    ("rsyslogd", "rsyslog"),
    ("jq", "jq"),
    ("zstdcat", "zstd"),
    ("systemd-analyze", "systemd"),
    ("containerd", "containerd"),
    ("lxc-start", "lxc"),
    ("redis-check-rdb", "redis-tools"),
    ("git", "git"),
    ("perl", "perl-base"),
    ("python3", "python3-minimal"),
    ("bats", "bats"),
    ("pytest-3", "python3-pytest"),
    ("go", "golang-go"),
];

/// Programs that only one task needs.
pub(crate) struct Extra {
    why: &'static str,
    /// As in [`PROGRAMS`].
    programs: &'static [(&'static str, &'static str)],
}

/// What boots other kernels.
pub(crate) const EMULATOR: &str = "qemu-system-x86_64";
/// The same, with its package.
pub(crate) const KERNELS: Extra =
    Extra { why: "boots other kernels", programs: &[(EMULATOR, "qemu-system-x86")] };
/// What makes packages for other distributions.
pub(crate) const PACKAGERS: Extra = Extra { why: "makes the RPM package", programs: &[("rpmbuild", "rpm")] };
/// What the bench measures beside supervisor.
pub(crate) const PEERS: Extra = Extra {
    why: "what supervisor is measured beside",
    programs: &[
        ("bpftrace", "bpftrace"),
        ("exitsnoop", "libbpf-tools"),
        ("forkstat", "forkstat"),
        ("perf", "linux-perf"),
        ("ps", "procps"),
    ],
};

/// What there is.
#[derive(Default)]
pub(crate) struct Facts {
    /// The value of [`OVERRIDE`].
    pub(crate) wanted: Option<String>,
    pub(crate) candidates: Vec<Toolchain>,
    pub(crate) tools: Option<Tools>,
    /// LLVM of a complete compiler in `/usr`.
    pub(crate) distribution: Option<u32>,
    /// LLVM versions that bpf-linker can be linked with.
    pub(crate) llvms: Vec<u32>,
    pub(crate) has_cxx: bool,
    /// Packages of [`PROGRAMS`] that are missing.
    pub(crate) programs: Vec<&'static str>,
    /// Packages of an [`Extra`] that are missing, and what it is for.
    pub(crate) extra: (&'static str, Vec<&'static str>),
    /// Where bpf-linker goes.
    pub(crate) target: PathBuf,
}

/// What this run of setup has been through already.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tried {
    /// To add rust-src.
    pub(crate) src: bool,
    /// To renew apt's index.
    pub(crate) update: bool,
    /// To install something, in vain; maybe because of an old index.
    pub(crate) install: bool,
}

/// One thing to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) why: &'static str,
    pub(crate) env: Vec<(&'static str, String)>,
    pub(crate) args: Vec<String>,
    pub(crate) kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes only the user's files.
    Own,
    /// The same, and there is another way if it fails.
    Try,
    /// Renews apt's index.
    Update,
    /// Installs these packages.
    Install(Vec<String>),
}

impl Step {
    fn new(why: &'static str, kind: Kind, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { why, env: Vec::new(), args, kind }
    }

    fn apt(why: &'static str, kind: Kind, args: &[&str]) -> Self {
        let mut step = Self::new(why, kind, &["apt-get", "-o", "DPkg::Lock::Timeout=120"]);
        step.args.extend(args.iter().map(|&arg| arg.to_owned()));
        step.env.push(("DEBIAN_FRONTEND", "noninteractive".to_owned()));
        step
    }

    pub(crate) fn update() -> Self {
        Self::apt("apt's index lacks a package or is old", Kind::Update, &["update"])
    }

    fn install(why: &'static str, options: &[&str], packages: Vec<String>) -> Self {
        let mut step = Self::apt(why, Kind::Update, &["install", "-y", "--no-install-recommends"]);
        step.args.extend(options.iter().map(|&option| option.to_owned()));
        step.args.extend(packages.iter().cloned());
        step.kind = Kind::Install(packages);
        step
    }

    /// Whether it changes the host.
    pub(crate) fn needs_root(&self) -> bool {
        matches!(self.kind, Kind::Update | Kind::Install(_))
    }

    pub(crate) fn command(&self) -> Command {
        let (program, args) = self.args.split_first().map_or(("true", &[][..]), |(p, a)| (p.as_str(), a));
        let mut command = match program {
            "cargo" => process::cargo(),
            "rustup" => toolchain::rustup(),
            _ => Command::new(program),
        };
        process::without_cargo_run(&mut command);
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// As one would type it.
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.needs_root() && !setup::is_root() {
            f.write_str("sudo env ")?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={value} ")?;
        }
        f.write_str(&self.args.join(" "))
    }
}

impl Facts {
    pub(crate) fn gather(extra: Option<&Extra>) -> Result<Self> {
        let target = process::target_dir()?;
        let candidates = toolchain::candidates();
        let tools = toolchain::find(&candidates, [target.as_path()]);
        let usr = ["bin/rustc", "bin/cargo", "lib/rustlib/src/rust/library/Cargo.lock"];
        let distribution = if usr.iter().all(|file| Path::new("/usr").join(file).exists()) {
            toolchain::output(Command::new("/usr/bin/rustc").arg("-vV"))
                .and_then(|text| toolchain::parse_rustc(&text))
                .map(|(_, llvm)| llvm)
        } else {
            None
        };
        let llvms = LINKER_LLVMS
            .filter(|llvm| {
                let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
                let files = ["bin/llvm-config", "lib/libLLVM.so", "lib/libPolly.a"];
                files.iter().all(|file| prefix.join(file).exists())
            })
            .collect();
        Ok(Self {
            wanted: env::var(OVERRIDE).ok().filter(|name| !name.is_empty()),
            candidates,
            tools,
            distribution,
            llvms,
            has_cxx: program("c++").is_some(),
            programs: missing(&PROGRAMS),
            extra: extra.map(|extra| (extra.why, missing(extra.programs))).unwrap_or_default(),
            target,
        })
    }
}

/// The steps that are missing, in order. `in_index` tells whether apt knows a package.
pub(crate) fn plan(facts: &Facts, tried: Tried, in_index: &dyn Fn(&str) -> bool) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    if facts.tools.is_none() {
        let linkable = |llvm: u32| {
            LINKER_LLVMS.contains(&llvm)
                && (facts.llvms.contains(&llvm) || llvm_packages(llvm).iter().all(|name| in_index(name)))
        };
        let chosen = facts.candidates.iter().find(|it| it.has_src && linkable(it.llvm));
        let llvm = match (chosen, &facts.wanted) {
            (Some(toolchain), _) => toolchain.llvm,
            (None, Some(name)) => match facts.candidates.first() {
                None => bail!("{OVERRIDE}={name}: rustup has no such toolchain"),
                Some(it) if !it.has_src => {
                    bail!(
                        "{OVERRIDE}={name} lacks rust-src: rustup component add rust-src --toolchain {name}"
                    )
                }
                Some(it) => {
                    bail!("{OVERRIDE}={name} has LLVM {}, for which no bpf-linker can be built", it.llvm)
                }
            },
            (None, None) => {
                steps.extend(compiler(facts, tried, &linkable));
                facts.distribution.unwrap_or(DISTRIBUTION_LLVM)
            }
        };
        steps.extend(linker(facts, llvm));
    }
    if !facts.programs.is_empty() {
        let packages = facts.programs.iter().map(|&name| name.to_owned()).collect();
        steps.push(Step::install("programs that demo and tests watch or send events to", &[], packages));
    }
    let (why, packages) = &facts.extra;
    if !packages.is_empty() {
        steps.push(Step::install(why, &[], packages.iter().map(|&name| name.to_owned()).collect()));
    }
    let unknown = |step: &Step| match &step.kind {
        Kind::Install(packages) => packages.iter().any(|name| !in_index(name)),
        _ => false,
    };
    if !tried.update && (tried.install || steps.iter().any(unknown)) {
        steps.insert(0, Step::update());
    }
    Ok(steps)
}

/// The steps to a compiler that can build `core` for BPF, when there is none.
fn compiler(facts: &Facts, tried: Tried, linkable: &dyn Fn(u32) -> bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let nightly = facts.candidates.iter().find(|it| it.name != LINKED && !it.has_src && linkable(it.llvm));
    if let Some(nightly) = nightly
        && !tried.src
    {
        let add = ["timeout", "60", "rustup", "component", "add", "rust-src", "--toolchain", &nightly.name];
        let why = "the source of core for nightly; if that works, no other compiler is installed";
        steps.push(Step::new(why, Kind::Try, &add));
    }
    if facts.distribution.is_none() {
        let why = "a compiler that has the source of core, to build it for BPF";
        // Debian's own rustup package would have to go; better to stop than to remove it.
        steps.push(Step::install(why, &["--no-remove"], DISTRIBUTION.map(str::to_owned).into()));
    }
    if !facts.candidates.iter().any(|it| it.name == LINKED) {
        let link = ["rustup", "toolchain", "link", LINKED, "/usr"];
        steps.push(Step::new("makes that compiler known to rustup", Kind::Own, &link));
    }
    steps
}

/// The steps to a bpf-linker with this LLVM, when there is none.
fn linker(facts: &Facts, llvm: u32) -> Vec<Step> {
    let mut packages = Vec::new();
    if !facts.llvms.contains(&llvm) {
        packages.extend(llvm_packages(llvm));
    }
    if !facts.has_cxx {
        packages.push("g++".to_owned());
    }
    let mut steps = Vec::new();
    if !packages.is_empty() {
        steps.push(Step::install("bpf-linker is linked with the compiler's LLVM", &[], packages));
    }
    let feature = format!("llvm-{llvm}");
    let root = facts.target.join(TOOLS).display().to_string();
    let mut build = Step::new(
        "links the eBPF program; about a minute",
        Kind::Own,
        &["cargo", "install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--force"],
    );
    build.args.extend(["--no-default-features", "--features", &feature, "--root", &root].map(str::to_owned));
    build.env.push(("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}")));
    steps.push(build);
    steps
}

fn llvm_packages(llvm: u32) -> [String; 2] {
    [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]
}

/// Reads `apt-cache policy`.
pub(crate) fn has_candidate(policy: &str) -> bool {
    policy.lines().any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|it| it != "(none)"))
}

/// An executable on `PATH`, or in the administrator's part of it.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// The packages of those that are not there.
fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    programs.iter().filter(|(name, _)| !usable(name)).map(|(_, package)| *package).collect()
}

/// Whether a program is there; busybox must run in an empty root file system, where no libraries are.
fn usable(name: &str) -> bool {
    program(name).is_some_and(|file| {
        let libraries = || toolchain::output(Command::new("ldd").arg(&file));
        name != "busybox" || libraries().is_none_or(|text| text.contains("statically linked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(name: &str, llvm: u32, has_src: bool) -> Toolchain {
        Toolchain { name: name.to_owned(), release: "1.96.0".to_owned(), llvm, has_src }
    }

    fn tools() -> Tools {
        Tools { toolchain: toolchain("nightly", 22, true), linker: "/bpf-linker".into() }
    }

    fn commands(facts: &Facts, tried: Tried, in_index: &dyn Fn(&str) -> bool) -> Vec<String> {
        plan(facts, tried, in_index).unwrap().iter().map(|step| step.args.join(" ")).collect()
    }

    fn apt(words: &str) -> String {
        format!("apt-get -o DPkg::Lock::Timeout=120 {words}")
    }

    const LINKER: &str = "cargo install bpf-linker --version 0.13.0 --locked --force --no-default-features \
                          --features llvm-22 --root /t/bpf-tools";

    const UPDATED: Tried = Tried { src: false, update: true, install: false };

    #[test]
    fn nothing_is_done_twice() {
        assert_eq!(
            commands(&Facts { tools: Some(tools()), ..Facts::default() }, Tried::default(), &|_| false),
            [""; 0]
        );
    }

    #[test]
    fn a_bare_host_gets_everything_in_order() {
        let facts =
            Facts { programs: vec!["crun", "busybox-static"], target: "/t".into(), ..Facts::default() };
        let wanted = [
            apt("install -y --no-install-recommends --no-remove rustc-web cargo-web rust-web-src"),
            "rustup toolchain link supervisor-bpf /usr".to_owned(),
            apt("install -y --no-install-recommends llvm-22-dev libpolly-22-dev g++"),
            LINKER.to_owned(),
            apt("install -y --no-install-recommends crun busybox-static"),
        ];
        assert_eq!(commands(&facts, Tried::default(), &|_| true), wanted);
        assert_eq!(commands(&facts, Tried::default(), &|_| false)[0], apt("update"));
        assert_eq!(commands(&facts, UPDATED, &|_| false), wanted);
    }

    #[test]
    fn nightly_without_source_is_tried_once() {
        let mut facts = Facts {
            candidates: vec![toolchain("nightly", 22, false)],
            llvms: vec![22],
            has_cxx: true,
            target: "/t".into(),
            ..Facts::default()
        };
        let first = "timeout 60 rustup component add rust-src --toolchain nightly";
        assert_eq!(commands(&facts, Tried::default(), &|_| true)[0], first);
        let tried = Tried { src: true, ..Tried::default() };
        assert_eq!(commands(&facts, tried, &|_| true).len(), 3);
        facts.candidates[0].has_src = true;
        assert_eq!(commands(&facts, Tried::default(), &|_| true), [LINKER]);
    }

    #[test]
    fn a_nightly_whose_llvm_cannot_be_had_is_passed_over() {
        let facts = Facts {
            candidates: vec![toolchain("nightly", 23, true), toolchain(LINKED, 22, true)],
            distribution: Some(22),
            llvms: vec![22],
            has_cxx: true,
            target: "/t".into(),
            ..Facts::default()
        };
        assert_eq!(commands(&facts, UPDATED, &|name| !name.contains("23")), [LINKER]);
    }

    #[test]
    fn an_override_is_never_replaced() {
        let facts = Facts { wanted: Some("mine".to_owned()), ..Facts::default() };
        let error = plan(&facts, Tried::default(), &|_| true).unwrap_err().to_string();
        assert_eq!(error, "SUPERVISOR_BPF_TOOLCHAIN=mine: rustup has no such toolchain");
    }

    #[test]
    fn an_old_index_is_renewed_once() {
        let facts = Facts { tools: Some(tools()), programs: vec!["crun"], ..Facts::default() };
        let failed = Tried { install: true, ..Tried::default() };
        assert_eq!(commands(&facts, failed, &|_| true)[0], apt("update"));
        assert_eq!(commands(&facts, Tried { update: true, ..failed }, &|_| true).len(), 1);
    }

    #[test]
    fn what_only_one_task_needs_comes_last() {
        let facts = Facts { extra: (KERNELS.why, vec![KERNELS.programs[0].1]), ..Facts::default() };
        let last = commands(&facts, UPDATED, &|_| true).pop().unwrap();
        assert_eq!(last, apt("install -y --no-install-recommends qemu-system-x86"));
    }

    #[test]
    fn apt_policy_tells_whether_a_package_exists() {
        assert!(has_candidate("crun:\n  Installed: (none)\n  Candidate: 1.8.1-1\n"));
        assert!(!has_candidate("gone:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
