//! Decides with which authority a process makes a claim. A process chooses its own names and arguments. The kernel
//! reports its user, its PID namespace and its control group.

use supervisor_model::{
    evidence::{Evidence, ExecFacts},
    facts::ProcessFacts,
    finding::{Authority, Role},
};

use super::cgroup;

/// The lowest user id that `useradd` assigns as a subordinate one (`SUB_UID_MIN`, login.defs(5)). The processes of a
/// user's own containers have subordinate ids.
const SUB_UID_MIN: u32 = 100_000;

/// The authority behind the arguments of an exec.
///
/// Root has its authority only in the host's PID namespace. Root in a container is the tenant of the container: it
/// chooses its arguments, and its files are owned by root too. A recording of an older version does not contain the
/// user, and is believed.
#[must_use]
pub fn of_exec(exec: &ExecFacts) -> Authority {
    exec.uid.map_or(Authority::Root, |uid| of(uid, exec.level))
}

/// The authority behind the arguments of a living process.
#[must_use]
pub fn of_process(facts: &ProcessFacts) -> Authority {
    // An unknown id belongs to no user, and never to root.
    of(facts.uid.unwrap_or(supervisor_ebpf::UNKNOWN_USER), facts.level())
}

fn of(uid: u32, level: Option<u32>) -> Authority {
    match (uid, level) {
        (_, Some(1..)) => Authority::Container,
        (0, _) => Authority::Root,
        (uid, _) => Authority::User(uid),
    }
}

/// The authority that has named a control group. Below `user@N.service` user N makes groups of any name.
#[must_use]
pub fn of_cgroup(path: &str) -> Authority {
    cgroup::user(path).map_or(Authority::Kernel, Authority::User)
}

/// Whether a claim of a user may be about this process: it must be a process of that user, or of one of the user's
/// containers.
#[must_use]
pub fn speaks_for(by: Authority, evidence: &Evidence) -> bool {
    match by {
        Authority::Kernel | Authority::Root | Authority::Container => true,
        Authority::User(supervisor_ebpf::UNKNOWN_USER) => false,
        Authority::User(user) => evidence.facts.uid.is_some_and(|uid| uid == user || uid >= SUB_UID_MIN),
    }
}

/// Whether an exec counts as the start of the program whose name it has: root made the exec, and nobody else is known
/// to be able to change the file. An exec whose file was not checked, or was not found, counts too.
#[must_use]
pub fn is_verified(exec: &ExecFacts) -> bool {
    of_exec(exec) == Authority::Root && exec.roots_file != Some(false)
}

/// Whether an exec with that role has only the name of a runtime, monitor or engine.
#[must_use]
pub fn is_unverified_part(exec: &ExecFacts, role: Role) -> bool {
    matches!(role, Role::Runtime | Role::Monitor | Role::Engine) && !is_verified(exec)
}
