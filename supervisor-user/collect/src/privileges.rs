//! The rights that a watch needs, each with its reason, and how it gives up all others. Every command that attaches or loads
//! programs does so as soon as they are: what it reads afterwards is other users' data.
//!
//! Found by taking one after the other away from a watch on Linux 6.18: what each reason says is what stops working. The
//! kernel asks for `CAP_BPF` and `CAP_PERFMON` where maps are made and programs loaded (`map_create()` and
//! `bpf_prog_load()`, `kernel/bpf/syscall.c`; before 6.4 in `__sys_bpf()`, for these two commands): whoever has the
//! descriptors may go on. Before 5.19, `__sys_bpf()` asks for `CAP_BPF` for every command while
//! `kernel.unprivileged_bpf_disabled` is set, so there it is kept: [`kept_for_maps`] finds out by trying.

use std::fs;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};

use crate::kernel::Tracer;

/// Until when a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until the hooks are attached.
    Attached,
    /// As long as it runs.
    End,
}

/// One right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Which.
    pub capability: Capability,
    /// How long.
    pub until: Until,
    /// What it is for.
    pub why: &'static str,
    /// Whether nothing can be watched without it.
    pub is_required: bool,
}

impl Need {
    /// Whether this thread has it now.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn is_there(&self) -> Result<bool, CapsError> {
        caps::has_cap(None, CapSet::Effective, self.capability)
    }
}

/// All rights that an agent needs; root has them, and so can have any other user.
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

/// What freeing zombies needs besides, if the configuration of an agent enables `[reap]`. Nothing of it is required.
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

/// Why rights could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// Rights belong to a thread, and another thread would keep them.
    #[error(
        "rights can be given up only while there is one thread, and there are {0}: this is a bug in supervisor"
    )]
    Threads(usize),
    /// `/proc/self/task` could not be read.
    #[error("cannot count the threads in /proc/self/task: {0}")]
    Proc(#[from] std::io::Error),
    /// The kernel refused.
    #[error("cannot give up the rights that are not needed: {0}")]
    Caps(#[from] CapsError),
    /// The kernel refused to set the flag.
    #[error("cannot give up the right to gain rights (no_new_privs): {0}")]
    NoNewPrivs(rustix::io::Errno),
}

/// Gives up every capability that a running watch does not need, in all of its sets, and the right to gain any by an
/// exec; those that the caller names are kept too. Call it once the hooks are attached, and before any other thread is started: Linux keeps rights by thread, and
/// a new thread inherits them.
///
/// After it no eBPF program can be loaded, and [`Tracer::start`] fails.
///
/// # Errors
///
/// If there are other threads, or the kernel refuses.
pub fn drop_all_but_needed(tracer: Option<&Tracer>, also_kept: &[Capability]) -> Result<(), PrivilegesError> {
    let mut kept = needed(tracer)?;
    kept.extend(also_kept);
    reduce_to(&kept, &kept)
}

/// The same, but what the caller names stays permitted and is not effective: this process does not use it, and can start a
/// child that does.
///
/// # Errors
///
/// Those of [`drop_all_but_needed`].
pub fn drop_all_but_passed_on(
    tracer: Option<&Tracer>,
    passed_on: &[Capability],
) -> Result<(), PrivilegesError> {
    let effective = needed(tracer)?;
    let permitted = effective.iter().chain(passed_on).copied().collect();
    reduce_to(&effective, &permitted)
}

/// What a running watch needs.
fn needed(tracer: Option<&Tracer>) -> Result<CapsHashSet, CapsError> {
    let kept = NEEDS.iter().filter(|need| need.until == Until::End).map(|need| need.capability);
    let for_maps = tracer.map(kept_for_maps).transpose()?.flatten();
    Ok(kept.chain(for_maps).collect())
}

fn reduce_to(effective: &CapsHashSet, permitted: &CapsHashSet) -> Result<(), PrivilegesError> {
    let threads = fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(PrivilegesError::Threads(threads));
    }
    // Without this right the bounding set stays; it limits what an exec gives, and the flag below forbids that already.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(permitted) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // What is effective must be permitted: so that goes first.
    for (set, needed) in [(CapSet::Effective, effective), (CapSet::Permitted, permitted)] {
        let kept = caps::read(None, set)?.intersection(needed).copied().collect();
        caps::set(None, set, &kept)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(PrivilegesError::NoNewPrivs)
}

/// The capability of this thread that reading an open map asks for, if this kernel asks for one.
///
/// # Errors
///
/// If the kernel does not say which capabilities there are, or does not let this thread set one aside.
pub fn kept_for_maps(tracer: &Tracer) -> Result<Option<Capability>, CapsError> {
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
    fn what_is_deployed_asks_for_these_and_no_others() {
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
    fn what_is_deployed_for_reap_adds_these_and_what_a_worker_calls() {
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
