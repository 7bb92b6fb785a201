//! Golden tests: one finding, as every output writes it.

use super::{Context, ecs, text};
use crate::{
    clock::Wall,
    finding::{
        Container, Creator, Event, EventKind, Exit, Finding, LastWait, Loss, Monitor, NsInit, Orchestrator,
        PidNs, PidNsMode, Process, Reaper, Role, Runtime, Stage, WaitTarget,
    },
    host::HostIdentity,
};

fn context() -> Context {
    Context {
        host: HostIdentity {
            id: Some("3d1219c7".into()),
            hostname: "node".into(),
            boot_id: "785ce24f-4dd3-4914-9d4b-7e03e1c4cc53".into(),
            kernel: "6.18.0".into(),
            ticks_per_second: 100,
        },
        agent_id: "2ea4fc91".into(),
        hooks: Some("tp_btf+iter"),
        wall: Wall::at_offset(1_700_000_000_000_000_000),
    }
}

fn process(pid: u32, name: &str, args: &[&str]) -> Process {
    Process {
        pid,
        vpid: Some(pid),
        entity_id: Some(format!("entity-{pid}")),
        name: name.into(),
        executable: args.first().map(|file| (*file).to_owned()),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        start_ns: Some(10_000_000_001),
        uid: Some(0),
    }
}

fn finding() -> Box<Finding> {
    let crun: &[&str] = &["/usr/bin/crun", "create", "web"];
    let creator = |pid, name: &str, args: &[&str], role, gone| Creator {
        process: process(pid, name, args),
        verb: (role == Role::Runtime).then(|| "create".into()),
        role,
        gone,
    };
    Box::new(Finding {
        id: "finding-1".into(),
        process: Process { vpid: Some(2), ..process(22, "crun\x1b[31m\n", crun) },
        exit: Some(Exit::Signal { number: 9, core_dumped: false }),
        exit_ns: Some(20_000_000_000),
        grace_ns: 1_000_000_000,
        reaper: Some(Reaper {
            process: process(10, "monitor", &["/usr/bin/monitor"]),
            adopted: Some(true),
            created: Some(false),
            is_subreaper: Some(true),
            is_pidns_init: Some(false),
            state: Some('S'),
            wchan: Some("do_sys_poll".into()),
            sigchld: Some("default"),
            last_wait: Some(LastWait {
                at_ns: 20_100_000_000,
                call: Some("wait4"),
                target: Some(WaitTarget::Pid(20)),
                flags: vec!["WNOHANG", "WEXITED"],
            }),
            never_waited_since_ns: None,
        }),
        creators: vec![
            creator(21, "crun", crun, Role::Runtime, true),
            creator(10, "monitor", &["/usr/bin/monitor"], Role::Other, false),
        ],
        runtime: Some(Runtime {
            name: "crun".into(),
            executable: Some("/usr/bin/crun".into()),
            verb: Some("create".into()),
            stage: Stage::Init,
        }),
        monitor: Some(Monitor {
            name: "monitor".into(),
            pid: 10,
            executable: Some("/usr/bin/monitor".into()),
            namespace: None,
        }),
        container: Some(Container { id: "web".into(), name: None, runtime: Some("crun".into()) }),
        orchestrator: Some(Orchestrator {
            kind: "kubernetes",
            namespace: Some("prod".into()),
            pod_name: Some("web-0".into()),
            pod_uid: Some("57e67067-89e4-4001-bdd4-8632d39ea02b".into()),
        }),
        pid_ns: Some(PidNs {
            ino: 4_026_532_177,
            level: Some(1),
            mode: Some(PidNsMode::Joined),
            init: Some(NsInit { pid: 5, name: "pause".into(), state: 'S' }),
        }),
        cgroup: Some("/".into()),
    })
}

fn events() -> [Event; 4] {
    let at = |kind| Event { at_ns: 21_200_000_000, kind };
    [
        at(EventKind::Detected(finding())),
        at(EventKind::Existing(Box::new(Finding { exit_ns: None, exit: None, reaper: None, ..*finding() }))),
        at(EventKind::Reaped { finding: finding(), dwell_ns: Some(1_200_000_000) }),
        at(EventKind::Lost(Loss { since_ns: 21_000_000_000, exits: 3, found: 3, ..Loss::default() })),
    ]
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it anew, to be read before it is committed.
fn golden(name: &str, actual: &str) {
    let path = format!("{}/src/report/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("golden file exists");
    assert_eq!(actual, expected, "{path}");
}

#[test]
fn ecs_lines() {
    let lines: Vec<String> = events()
        .iter()
        .enumerate()
        .map(|(i, event)| ecs::line(event, &context(), i as u64 + 1).expect("the model is JSON"))
        .collect();
    assert!(lines.iter().all(|line| !line.contains('\n')));
    let pretty: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).expect("valid JSON")).collect();
    golden("events.json", &format!("{}\n", serde_json::to_string_pretty(&pretty).expect("JSON")));
}

#[test]
fn text_blocks() {
    let text: String =
        events().iter().map(|event| text::event(event, &context(), text::Colour::Never)).collect();
    assert!(!text.contains('\x1b'), "hostile names reach no terminal");
    // The time of day is in the zone of whoever runs this.
    let lines = text.lines().map(|line| match line.split_at_checked(8) {
        Some((time, rest)) if time.contains(':') => format!("HH:MM:SS{rest}\n"),
        _ => format!("{line}\n"),
    });
    golden("events.txt", &lines.collect::<String>());
}
