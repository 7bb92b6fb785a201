//! Lists the capabilities that a watch needs, each with its reason, and gives up all others. Every command that
//! attaches or loads programs gives them up as soon as the programs are attached or loaded: afterwards it reads data of
//! other users.
//!
//! The list comes from a test on Linux 6.18, which took one capability after the other away from a watch: each reason
//! says what stops working. The kernel checks `CAP_BPF` and `CAP_PERFMON` where it makes maps and loads programs
//! (`map_create()` and `bpf_prog_load()`, `kernel/bpf/syscall.c`; before 6.4 in `__sys_bpf()`, for these two commands),
//! so a process that has the descriptors may continue without them. Before 5.19, `__sys_bpf()` checks `CAP_BPF` for
//! every command while `kernel.unprivileged_bpf_disabled` is set, so there the watch keeps it: [`kept_for_maps`] finds
//! out by a test.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

use crate::kernel::Programs;

/// Until when a capability is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until the hooks are attached.
    Attached,
    /// As long as the watch runs.
    End,
}

/// A capability that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which capability.
    pub capability: Capability,
    /// How long it is needed.
    pub until: Until,
    /// What it is for.
    pub why: &'static str,
    /// Whether a watch is impossible without it.
    pub is_required: bool,
}

impl Need {
    /// Whether this thread has it now.
    ///
    /// # Errors
    ///
    /// If the kernel does not report it.
    pub fn is_there(&self) -> Result<bool, CapsError> {
        caps::has_cap(None, CapSet::Effective, self.capability)
    }
}

/// All capabilities that an agent needs. Root has them, and any other user can have them.
pub const NEEDS: [Need; 4] = [
    Need {
        capability: Capability::CAP_BPF,
        until: Until::Attached,
        why: "makes the eBPF maps and loads the programs; where the kernel lets nobody read a map without it, it is kept",
        is_required: true,
    },
    Need {
        capability: Capability::CAP_PERFMON,
        until: Until::Attached,
        why: "loads and attaches programs that trace the kernel",
        is_required: true,
    },
    Need {
        capability: Capability::CAP_SYS_PTRACE,
        until: Until::End,
        why: "reads exit statuses, executables, namespaces, sleeping places, system calls and descriptors of other users' \
              processes in /proc",
        is_required: true,
    },
    Need {
        capability: Capability::CAP_DAC_READ_SEARCH,
        until: Until::End,
        why: "reads the state and bundles of containers in directories of other users; without it, some containers \
              have no name",
        is_required: false,
    },
];

/// The further capabilities that an agent needs to free zombies, if its configuration enables `[reap]`. None of them is
/// required.
pub const REAP_NEEDS: [Need; 2] = [
    Need {
        capability: Capability::CAP_KILL,
        until: Until::End,
        why: "only with [reap]: sends SIGCHLD to reapers of other users; without it, they are stopped at once",
        is_required: false,
    },
    Need {
        capability: Capability::CAP_SYS_NICE,
        until: Until::End,
        why: "only with [reap]: keeps the stop of a reaper short on a busy host",
        is_required: false,
    },
];

/// Why capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// Each thread has its own capabilities, so another thread would keep them.
    #[error(
        "capabilities can be given up only while there is one thread, and there are {0}: this is a bug in supervisor"
    )]
    Threads(usize),
    /// `/proc/self/task` could not be read.
    #[error("cannot count the threads in /proc/self/task: {0}")]
    Proc(#[from] std::io::Error),
    /// The kernel refused to change the capabilities.
    #[error("cannot give up the capabilities that are not needed: {0}")]
    Caps(#[from] CapsError),
    /// The kernel refused to set `no_new_privs`.
    #[error("cannot give up the right to gain capabilities (no_new_privs): {0}")]
    NoNewPrivs(rustix::io::Errno),
}

/// Gives up every capability that a running watch does not need, and the possibility to gain any by an exec. It reduces
/// all of the thread's sets; without `CAP_SETPCAP` the bounding set stays as it is. It also keeps the capabilities in
/// `also_kept`. Call it after the hooks are attached and before another thread is started: on Linux each thread has its
/// own capabilities, and a new thread inherits them.
///
/// After this, no eBPF program can be loaded, and [`Programs::start`] fails. That is not so if `CAP_SYS_ADMIN` is kept,
/// because `also_kept` or [`kept_for_maps`] names it.
///
/// # Errors
///
/// If there are other threads, or the kernel refuses.
pub fn drop_all_but_needed(
    tracer: Option<&Programs>,
    also_kept: &[Capability],
) -> Result<(), PrivilegesError> {
    let mut kept = needed(tracer)?;
    kept.extend(also_kept);
    reduce_to(&kept, &kept)
}

/// The same, but the capabilities in `passed_on` stay permitted and are not effective: this process does not use them,
/// and can start a child that does.
///
/// # Errors
///
/// Those of [`drop_all_but_needed`].
pub fn drop_all_but_passed_on(
    tracer: Option<&Programs>,
    passed_on: &[Capability],
) -> Result<(), PrivilegesError> {
    let effective = needed(tracer)?;
    let permitted = effective.iter().chain(passed_on).copied().collect();
    reduce_to(&effective, &permitted)
}

/// The capabilities that a running watch needs.
fn needed(tracer: Option<&Programs>) -> Result<CapsHashSet, CapsError> {
    let kept = NEEDS.iter().filter(|need| need.until == Until::End).map(|need| need.capability);
    let for_maps = tracer.map(kept_for_maps).transpose()?.flatten();
    Ok(kept.chain(for_maps).collect())
}

fn reduce_to(effective: &CapsHashSet, permitted: &CapsHashSet) -> Result<(), PrivilegesError> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(PrivilegesError::Threads(threads));
    }
    // Without this capability the bounding set stays as it is. It limits the capabilities that an exec can give, and
    // the flag below already forbids an exec to give any.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(permitted) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // Every effective capability must be permitted, so the effective set is reduced first.
    for (set, needed) in [(CapSet::Effective, effective), (CapSet::Permitted, permitted)] {
        let kept = caps::read(None, set)?.intersection(needed).copied().collect();
        caps::set(None, set, &kept)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(PrivilegesError::NoNewPrivs)
}

/// The capability of this thread that this kernel requires to read an open map, if it requires one.
///
/// # Errors
///
/// If the kernel does not report the capabilities of this thread, or does not let it disable one for a moment.
pub fn kept_for_maps(tracer: &Programs) -> Result<Option<Capability>, CapsError> {
    // `bpf_capable()`, `include/linux/capability.h`
    const EITHER: [Capability; 2] = [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN];
    let effective = caps::read(None, CapSet::Effective)?;
    let without = effective.iter().copied().filter(|capability| !EITHER.contains(capability)).collect();
    caps::set(None, CapSet::Effective, &without)?;
    let is_readable = tracer.epochs().is_ok();
    caps::set(None, CapSet::Effective, &effective)?;
    let asked_for = EITHER.into_iter().find(|capability| effective.contains(capability));
    Ok(asked_for.filter(|_| !is_readable))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemonset_adds_exactly_the_needed_capabilities_and_the_docs_describe_each() {
        let names = NEEDS.map(|need| need.capability.to_string());
        let short: Vec<&str> = names.iter().map(|name| name.trim_start_matches("CAP_")).collect();
        let added = format!("add: [{}]\n", short.join(", "));
        assert!(include_str!("../../../deploy/daemonset.yaml").contains(&added), "no {added}");
        let book = include_str!("../../../docs/install.md");
        for need in NEEDS {
            let row = format!("| `{}` | ", need.capability);
            let row = book.lines().find(|line| line.starts_with(&row)).expect("a row for each");
            let is_given_up = row.contains("Given up once the hooks are attached");
            assert_eq!(is_given_up, need.until == Until::Attached, "{row}");
        }
    }

    #[test]
    fn the_reap_deployment_adds_its_capabilities_and_the_system_calls_of_a_worker() {
        let names = REAP_NEEDS.map(|need| need.capability.to_string());
        let drop_in = include_str!("../../../deploy/supervisor-reap.conf");
        assert!(drop_in.contains(&format!("\nCapabilityBoundingSet={}\n", names.join(" "))), "{drop_in}");
        let book = include_str!("../../../docs/install.md");
        for name in names {
            assert!(book.contains(&format!("\n| `{name}` | ")), "a row for {name}");
        }
        let calls = |profile: &str| -> std::collections::BTreeSet<String> {
            let profile: serde_json::Value = serde_json::from_str(profile).expect("JSON");
            serde_json::from_value(profile["syscalls"][0]["names"].clone()).expect("a list")
        };
        let usual = calls(include_str!("../../../deploy/seccomp.json"));
        let reap = calls(include_str!("../../../deploy/seccomp-reap.json"));
        let added: Vec<&String> = reap.difference(&usual).collect();
        assert_eq!(added, ["pidfd_open", "pidfd_send_signal", "ptrace", "sched_setscheduler"]);
        assert!(usual.is_subset(&reap));
    }
}
