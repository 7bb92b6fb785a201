//! On whose authority a process says something. Names and arguments are the process's own; its user, its PID namespace and
//! its control group are the kernel's word.

use supervisor_model::{
    evidence::{Evidence, ExecFacts},
    facts::ProcessFacts,
    finding::{Authority, Role},
};

use super::cgroup;

/// The least user id that `useradd` gives away as a subordinate one (`SUB_UID_MIN`, login.defs(5)): processes of a user's
/// own containers have such ids.
const SUB_UID_MIN: u32 = 100_000;

/// Who speaks in the arguments of an exec.
///
/// Root speaks only in the host's PID namespace. Root in a container is its tenant: it chooses its arguments, and its files
/// are owned by root too. A recording of an older version does not say who it was, and is believed.
#[must_use]
pub fn of_exec(exec: &ExecFacts) -> Authority {
    exec.uid.map_or(Authority::Root, |uid| of(uid, exec.level))
}

/// Who speaks in the arguments of a living process.
#[must_use]
pub fn of_process(facts: &ProcessFacts) -> Authority {
    // An id that is not known is no user's, and never root's.
    of(facts.uid.unwrap_or(supervisor_ebpf::UNKNOWN_USER), facts.level())
}

fn of(uid: u32, level: Option<u32>) -> Authority {
    match (uid, level) {
        (_, Some(1..)) => Authority::Container,
        (0, _) => Authority::Root,
        (uid, _) => Authority::User(uid),
    }
}

/// Who has named a control group. Below `user@N.service` user N makes groups of any name.
#[must_use]
pub fn of_cgroup(path: &str) -> Authority {
    cgroup::user(path).map_or(Authority::Kernel, Authority::User)
}

/// Whether what a user says may be about this process: it must be the user's own, or one of the user's containers.
#[must_use]
pub fn speaks_for(by: Authority, evidence: &Evidence) -> bool {
    match by {
        Authority::Kernel | Authority::Root | Authority::Container => true,
        Authority::User(supervisor_ebpf::UNKNOWN_USER) => false,
        Authority::User(user) => evidence.facts.uid.is_some_and(|uid| uid == user || uid >= SUB_UID_MIN),
    }
}

/// Whether an exec has started the program that it is named after: root has, and no other can change the file.
#[must_use]
pub fn is_verified(exec: &ExecFacts) -> bool {
    of_exec(exec) == Authority::Root && exec.roots_file != Some(false)
}

/// Whether an exec that is of that role has only the name of a runtime, monitor or engine.
#[must_use]
pub fn is_unverified_part(exec: &ExecFacts, role: Role) -> bool {
    matches!(role, Role::Runtime | Role::Monitor | Role::Engine) && !is_verified(exec)
}
