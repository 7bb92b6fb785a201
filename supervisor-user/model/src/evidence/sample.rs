//! Evidence for tests: the incident. Each test changes it as it needs.

use supervisor_ebpf::{CALL_WAIT4, ProcessId, WAIT_PID, WAITED_PID, Wait};

use super::{CreatorFacts, Evidence, ExecFacts, ReaperFacts};
use crate::facts::{ArgsNote, HostIdentity, ProcessFacts, SigChld};

/// Inode of the pod's PID namespace.
pub const POD: u32 = 4_026_532_177;
/// Inode of the host's PID namespace.
pub const HOST: u32 = supervisor_ebpf::INITIAL_PID_NS_INO;

/// A host with a neutral name.
#[must_use]
pub fn host() -> HostIdentity {
    HostIdentity {
        id: None,
        hostname: "node".into(),
        boot_id: "10eeaa35-0119-41d7-857a-9fed44d468e7".into(),
        kernel: "6.18.0".into(),
        ticks_per_second: 100,
    }
}

/// A zombie child of process 10.
#[must_use]
pub fn facts(pid: u32, comm: &str, ns_pids: &[u32], pid_ns: u32) -> ProcessFacts {
    ProcessFacts {
        pid,
        ppid: 10,
        comm: comm.into(),
        state: 'Z',
        start_ticks: 100,
        exit_status: Some(0x100),
        ns_pids: ns_pids.into(),
        pid_ns: Some(pid_ns),
        uid: Some(0),
        live_threads: 0,
        threads: 1,
        tracer: None,
        child_faults: 0,
        sigchld_pending: false,
        dumps_core: false,
        ns_pgrps: Vec::new(),
        wchan: None,
        sigchld: Some(SigChld::Default),
        sigchld_caught: None,
        exe: None,
        args: Vec::new(),
        args_note: ArgsNote::default(),
        args_not_read: None,
        cgroup: Some("/".into()),
    }
}

/// An exec of a command line.
pub fn exec(line: &str, own: bool) -> ExecFacts {
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    ExecFacts {
        at_ns: 0,
        filename: args[0].clone(),
        args_note: ArgsNote::of(&args, false),
        args,
        own,
        ..ExecFacts::default()
    }
}

/// A creator in the host's PID namespace.
#[must_use]
pub fn creator(pid: u32, comm: &str, exec: ExecFacts, gone: bool) -> CreatorFacts {
    CreatorFacts {
        id: ProcessId::new(pid, 1),
        comm: comm.into(),
        exec: Some(exec),
        has_executed_since: false,
        pid_ns: HOST,
        level: 0,
        vpid: pid,
        gone,
        end: None,
    }
}

/// The incident: monitor 10 starts `crun create` 20, whose stage 21 forks the init 22 into the pod's namespace.
#[must_use]
pub fn incident() -> Evidence {
    let crun = "/usr/bin/crun --root /run/crun create --bundle /b web";
    Evidence {
        ending: None,
        facts: facts(22, "crun", &[22, 2], POD),
        exit_ns: Some(2_000_000_000),
        at_ns: 3_200_000_000,
        threads: Vec::new(),
        id: Some(ProcessId::new(22, 1_000_000_001)),
        task: None,
        exec: Some(exec(crun, false)),
        reaper: Some(
            ReaperFacts {
                facts: ProcessFacts { state: 'S', ..facts(10, "monitor", &[10], HOST) },
                id: Some(ProcessId::new(10, 1)),
                exec: None,
                is_subreaper: Some(true),
                threads: Vec::new(),
                frozen: None,
                no_cld_wait: Some(false),
                wait: Some(Wait {
                    at_ns: 1_900_000_000,
                    count: 1,
                    request: Wait::pack(CALL_WAIT4, WAIT_PID, 20, 0),
                    any_ns: 0,
                    any_gap_ns: 0,
                    kinds: WAITED_PID,
                    ..Wait::default()
                }),
                reaped: Some((1, 1_950_000_000)),
                held: Some(1),
                calls: Vec::new(),
                parent_blocks_sigchld: None,
                has_io_uring: None,
                cpu: None,
                handler_changed: None,
                takes_siginfo: None,
                tracer: None,
            }
            .into(),
        ),
        tracer: None,
        creators: vec![
            creator(21, "crun", exec(crun, false), true),
            creator(20, "crun", exec(crun, true), true),
            creator(10, "monitor", exec("/usr/bin/monitor", true), false),
        ]
        .into(),
        first_parent: Some(ProcessId::new(21, 1)),
        has_children: false,
        ns_init: Some(ProcessFacts { state: 'S', ..facts(5, "pause", &[5, 1], POD) }.into()),
        ns_groups: Vec::new(),
        waits_known_since_ns: Some(0),
        oci: None,
        sandbox: None,
        oci_not_read: false,
        budget: None,
        reaper_pipe: None,
    }
}
