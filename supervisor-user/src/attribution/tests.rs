use supervisor_ebpf::{CALL_WAIT4, ProcessId, WAIT_PID, Wait};

use super::*;
use crate::host::SigChld;

const POD: u32 = 4_026_532_177;
const HOST: u32 = supervisor_ebpf::INITIAL_PID_NS_INO;

fn host() -> HostIdentity {
    HostIdentity {
        id: None,
        hostname: "node".into(),
        boot_id: "10eeaa35-0119-41d7-857a-9fed44d468e7".into(),
        kernel: "6.18.0".into(),
        ticks_per_second: 100,
    }
}

fn facts(pid: u32, comm: &str, ns_pids: &[u32], pid_ns: u32) -> ProcessFacts {
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
        wchan: None,
        sigchld: Some(SigChld::Default),
        exe: None,
        args: Vec::new(),
        cgroup: Some("/".into()),
    }
}

fn exec(line: &str, own: bool) -> ExecFacts {
    let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
    ExecFacts { filename: args[0].clone(), previous: None, args, own }
}

fn creator(pid: u32, comm: &str, exec: ExecFacts, gone: bool) -> CreatorFacts {
    CreatorFacts {
        id: ProcessId::new(pid, 1),
        comm: comm.into(),
        exec: Some(exec),
        pid_ns: HOST,
        level: 0,
        vpid: pid,
        gone,
    }
}

/// The incident: monitor 10 starts `crun create` 20, whose stage 21 forks the init 22 into the pod's namespace.
fn incident() -> Evidence {
    let crun = "/usr/bin/crun --root /run/crun create --bundle /b web";
    Evidence {
        facts: facts(22, "crun", &[22, 2], POD),
        exit_ns: Some(2_000_000_000),
        start_ns: Some(1_000_000_001),
        task: None,
        exec: Some(exec(crun, false)),
        reaper: Some(ReaperFacts {
            facts: ProcessFacts { state: 'S', ..facts(10, "monitor", &[10], HOST) },
            id: Some(ProcessId::new(10, 1)),
            exec: None,
            is_subreaper: Some(true),
            wait: Some(Wait { at_ns: 5, count: 1, request: Wait::pack(CALL_WAIT4, WAIT_PID, 20, 0) }),
        }),
        creators: vec![
            creator(21, "crun", exec(crun, false), true),
            creator(20, "crun", exec(crun, true), true),
            creator(10, "monitor", exec("/usr/bin/monitor", true), false),
        ],
        first_parent: Some(ProcessId::new(21, 1)),
        has_children: false,
        ns_init: Some(ProcessFacts { state: 'S', ..facts(5, "pause", &[5, 1], POD) }),
        waits_known_since_ns: Some(0),
    }
}

#[test]
fn the_incident_is_attributed() {
    let finding = attribute(&incident(), &host(), 1_000_000_000);
    let runtime = finding.runtime.expect("a runtime");
    assert_eq!(
        (runtime.name.as_str(), runtime.verb.as_deref(), runtime.stage),
        ("crun", Some("create"), Stage::Init)
    );
    assert_eq!(finding.monitor.map(|monitor| (monitor.name, monitor.pid)), Some(("monitor".into(), 10)));
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some("web"));
    let ns = finding.pid_ns.expect("a namespace");
    assert_eq!((ns.ino, ns.level, ns.mode), (POD, Some(1), Some(PidNsMode::Joined)));
    assert_eq!(ns.init.map(|init| init.name).as_deref(), Some("pause"));
    assert_eq!(finding.exit, Some(Exit::Code(1)));
    let reaper = finding.reaper.expect("a reaper");
    assert_eq!(
        (reaper.adopted, reaper.is_subreaper, reaper.is_pidns_init),
        (Some(true), Some(true), Some(false))
    );
    let wait = reaper.last_wait.expect("a wait");
    assert_eq!(
        (wait.call, wait.target, wait.flags),
        (Some("wait4"), Some(WaitTarget::Pid(20)), Vec::<&str>::new())
    );
    assert_eq!(finding.creators.iter().map(|creator| creator.gone).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn a_namespace_of_its_own_is_told_from_a_joined_one() {
    let mut own = incident();
    own.facts.ns_pids = vec![22, 1];
    let ns = attribute(&own, &host(), 0).pid_ns.expect("a namespace");
    assert_eq!(ns.mode, Some(PidNsMode::Own));

    // A process that the container's PID 1 forked.
    own.facts.ns_pids = vec![23, 7];
    let mut app = creator(22, "app", exec("/app", true), false);
    (app.pid_ns, app.level, app.vpid) = (POD, 1, 1);
    own.creators.insert(0, app);
    own.exec = Some(exec("/app", false));
    let finding = attribute(&own, &host(), 0);
    assert_eq!(finding.pid_ns.and_then(|ns| ns.mode), Some(PidNsMode::Own));
    assert_eq!(finding.runtime.map(|runtime| runtime.stage), Some(Stage::Container));
    assert_eq!(finding.creators[0].role, Role::Init);
}

#[test]
fn an_exec_session_says_nothing_about_how_its_namespace_came_to_be() {
    let mut evidence = incident();
    let line = "/usr/bin/runc --root /r exec --user 0 web sh";
    for creator in &mut evidence.creators[..2] {
        creator.exec = Some(exec(line, true));
    }
    evidence.exec = Some(exec("/bin/sh", true));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.pid_ns.and_then(|ns| ns.mode), None);
    assert_eq!(finding.runtime.and_then(|runtime| runtime.verb).as_deref(), Some("exec"));
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some("web"));
}

#[test]
fn a_name_alone_makes_no_runtime_and_no_monitor() {
    let mut evidence = incident();
    for creator in &mut evidence.creators {
        creator.comm = "crun".into();
        creator.exec = Some(exec("/tmp/x create web", true));
    }
    evidence.exec = Some(exec("/tmp/x", true));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!((finding.runtime, finding.monitor, finding.container), (None, None, None));
}

#[test]
fn a_runtime_that_executed_itself_from_a_descriptor_is_recognised() {
    let mut evidence = incident();
    let image = ExecFacts {
        filename: "/proc/self/fd/6".into(),
        previous: Some("/usr/bin/crun".into()),
        ..exec("crun create --bundle /b web", true)
    };
    evidence.creators[1].exec = Some(image);
    evidence.creators[0].exec = None;
    let runtime = attribute(&evidence, &host(), 0).runtime.expect("a runtime");
    assert_eq!((runtime.name.as_str(), runtime.executable.as_deref()), ("crun", Some("/usr/bin/crun")));
}

#[test]
fn what_is_not_known_is_absent() {
    let mut evidence = incident();
    evidence.creators.clear();
    evidence.first_parent = None;
    evidence.exec = None;
    evidence.ns_init = None;
    evidence.facts.exit_status = None;
    let reaper = evidence.reaper.as_mut().expect("a reaper");
    (reaper.id, reaper.wait, reaper.is_subreaper) = (None, None, None);
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!((finding.exit, finding.runtime, finding.monitor, finding.container), (None, None, None, None));
    let reaper = finding.reaper.expect("a reaper");
    assert_eq!(
        (reaper.adopted, reaper.is_subreaper, reaper.last_wait, reaper.never_waited_since_ns),
        (None, None, None, None)
    );
    assert_eq!(finding.pid_ns.and_then(|ns| ns.mode), None);
}

#[test]
fn conmon_names_container_and_pod_man_is_known_by_its_scope() {
    let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut evidence = incident();
    evidence.creators[2].exec =
        Some(exec(&format!("/usr/bin/conmon -c {id} -u {id} -r /usr/bin/crun -n web"), false));
    evidence.creators[2].comm = "conmon".into();
    for creator in &mut evidence.creators[..2] {
        creator.exec = Some(exec(&format!("/usr/bin/crun create --bundle /b {id}"), true));
    }
    evidence.facts.cgroup = Some(format!("/machine.slice/libpod-{id}.scope/container (deleted)"));
    let container = attribute(&evidence, &host(), 0).container.expect("a container");
    assert_eq!(
        container,
        Container { id: id.into(), name: Some("web".into()), runtime: Some("podman".into()) }
    );
}
