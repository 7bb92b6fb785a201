//! The programs that tasks need, and the [`Step`]s that install those that are missing.

use std::{
    env,
    fmt::{self, Display, Formatter},
    path::PathBuf,
    process::Command,
};

use crate::process;

/// Programs that a task needs.
pub(crate) struct Programs {
    why: &'static str,
    /// Each with its package.
    programs: &'static [(&'static str, &'static str)],
}

/// The programs that the demo starts.
pub(crate) const DEMO: Programs = Programs {
    why: "programs that the demo watches",
    programs: &[("crun", "crun"), ("runc", "runc"), ("tini", "tini"), ("busybox", "busybox-static")],
};
/// The programs that the tests start besides those of the demo.
pub(crate) const TESTS: Programs = Programs {
    why: "programs that the tests watch or send events to",
    programs: &[
        ("conmon", "conmon"),
        ("podman", "podman"),
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
        ("rmiregistry", "default-jre-headless"),
        ("musl-gcc", "musl-tools"),
    ],
};
/// The program that boots other kernels.
pub(crate) const KERNELS: Programs =
    Programs { why: "boots other kernels", programs: &[("qemu-system-x86_64", "qemu-system-x86")] };
/// The programs that boot kernels of arm64, and list the tests that are built for it.
pub(crate) const KERNELS_AARCH64: Programs = Programs {
    why: "boots kernels of arm64",
    programs: &[("qemu-system-aarch64", "qemu-system-arm"), ("qemu-aarch64-static", "qemu-user-static")],
};
/// The programs that link for arm64 on another architecture.
pub(crate) const CROSS_AARCH64: Programs = Programs {
    why: "links programs for arm64",
    programs: &[
        ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        ("aarch64-linux-gnu-gcc", "libc6-dev-arm64-cross"),
    ],
};
/// The programs that make RPM packages and the OCI image.
pub(crate) const PACKAGERS: Programs =
    Programs { why: "makes packages", programs: &[("rpmbuild", "rpm"), ("podman", "podman")] };
/// The programs that the bench measures beside supervisor.
pub(crate) const PEERS: Programs = Programs {
    why: "what supervisor is measured beside",
    programs: &[
        ("bpftrace", "bpftrace"),
        ("exitsnoop", "libbpf-tools"),
        ("forkstat", "forkstat"),
        ("perf", "linux-perf"),
        ("ps", "procps"),
    ],
};

impl Programs {
    /// The names of the programs.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.programs.iter().map(|(name, _)| *name)
    }

    /// The step that installs the missing programs.
    pub(crate) fn missing(&self) -> Option<Step> {
        let missing = self.programs.iter().filter(|(name, _)| !usable(name));
        let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
        (!packages.is_empty()).then_some(Step::Install { why: self.why, packages })
    }
}

/// The steps that this run of setup has tried already.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tried {
    /// apt's index was renewed.
    pub(crate) update: bool,
    /// An installation has failed, perhaps because of an old index.
    pub(crate) install: bool,
}

/// One step of setup. It changes the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Renews apt's index.
    Update,
    /// Installs packages.
    Install { why: &'static str, packages: Vec<&'static str> },
}

impl Step {
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::Update => "apt's index lacks a package or is old",
            Self::Install { why, .. } => why,
        }
    }

    fn args(&self) -> Vec<&'static str> {
        let mut args = vec!["-o", "DPkg::Lock::Timeout=120"];
        match self {
            Self::Update => args.push("update"),
            Self::Install { packages, .. } => {
                args.extend(["install", "-y", "--no-install-recommends"]);
                args.extend(packages);
            }
        }
        args
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        process::without_cargo_run(&mut command);
        command.args(self.args()).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }
}

/// Writes the command as a user would type it.
impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sudo = if process::is_root() { "" } else { "sudo env " };
        write!(f, "{sudo}DEBIAN_FRONTEND=noninteractive apt-get {}", self.args().join(" "))
    }
}

/// The steps in their order. The renewal of apt's index comes first if an installation needs it. `in_index` says
/// whether apt knows a package.
pub(crate) fn plan(mut installs: Vec<Step>, tried: Tried, in_index: &dyn Fn(&str) -> bool) -> Vec<Step> {
    let unknown = |step: &Step| match step {
        Step::Install { packages, .. } => packages.iter().any(|name| !in_index(name)),
        Step::Update => false,
    };
    if !tried.update && (tried.install || installs.iter().any(unknown)) {
        installs.insert(0, Step::Update);
    }
    installs
}

/// Whether the output of `apt-cache policy` has a candidate for installation.
pub(crate) fn has_candidate(policy: &str) -> bool {
    policy.lines().any(|line| line.trim().strip_prefix("Candidate: ").is_some_and(|it| it != "(none)"))
}

/// An executable on `PATH`, or in the `sbin` directories.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether a program exists and is usable. busybox must be static, because it runs in a root file system without
/// libraries.
fn usable(name: &str) -> bool {
    program(name).is_some_and(|file| {
        let libraries = || process::output(Command::new("ldd").arg(&file));
        name != "busybox" || libraries().is_none_or(|text| text.contains("statically linked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATED: Tried = Tried { update: true, install: false };

    fn install() -> Vec<Step> {
        vec![Step::Install { why: "", packages: vec!["crun", "busybox-static"] }]
    }

    #[test]
    fn packages_are_installed_without_recommended_ones() {
        assert_eq!(
            install()[0].args().join(" "),
            "-o DPkg::Lock::Timeout=120 install -y --no-install-recommends crun busybox-static"
        );
    }

    #[test]
    fn no_step_is_planned_if_nothing_is_missing() {
        assert_eq!(plan(Vec::new(), Tried::default(), &|_| false), []);
    }

    #[test]
    fn an_index_that_lacks_a_package_is_renewed_once() {
        assert_eq!(plan(install(), Tried::default(), &|_| true), install());
        assert_eq!(plan(install(), Tried::default(), &|name| name == "crun")[0], Step::Update);
        assert_eq!(plan(install(), UPDATED, &|_| false), install());
    }

    #[test]
    fn an_index_is_renewed_once_after_an_installation_has_failed() {
        let failed = Tried { install: true, ..Tried::default() };
        assert_eq!(plan(install(), failed, &|_| true)[0], Step::Update);
        assert_eq!(plan(install(), Tried { update: true, ..failed }, &|_| true), install());
    }

    #[test]
    fn only_missing_programs_are_installed() {
        let programs = [("sh", "dash"), ("no-such-program", "nothing")];
        let programs = Programs { why: "", programs: Box::leak(Box::new(programs)) };
        assert_eq!(programs.missing(), Some(Step::Install { why: "", packages: vec!["nothing"] }));
        assert_eq!(Programs { why: "", programs: &[("sh", "dash")] }.missing(), None);
    }

    #[test]
    fn apt_policy_says_whether_a_package_exists() {
        assert!(has_candidate("crun:\n  Installed: (none)\n  Candidate: 1.8.1-1\n"));
        assert!(!has_candidate("gone:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }
}
