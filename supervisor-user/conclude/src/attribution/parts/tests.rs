//! Tests how the runtimes and monitors of each engine are recognised.

use supervisor_model::{
    evidence::sample::{HOST, POD, creator, exec, facts, host, incident},
    facts::ProcessFacts,
    finding::{Finding, Origin, PidNsMode},
};

use super::*;
use crate::attribution::attribute;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn said(evidence: &Evidence) -> Finding {
    attribute(evidence, &host(), 0)
}

/// Name, verb and stage of the runtime.
fn runtime_of(finding: &Finding) -> Option<(&str, Option<&str>, Stage)> {
    let runtime = finding.runtime.as_ref()?;
    Some((&runtime.name, runtime.verb.as_deref(), runtime.stage))
}

fn monitor_of(finding: &Finding) -> Option<(&str, u32)> {
    finding.monitor.as_ref().map(|monitor| (&*monitor.name, monitor.pid))
}

#[test]
fn programs_with_the_crio_prefix_are_recognised() {
    let crun = format!("/usr/libexec/crio/crio-crun --root=/run/crun create --bundle /b {ID}");
    let conmonrs = "/usr/libexec/crio/crio-conmonrs --runtime /usr/libexec/crio/crio-crun --runtime-dir /d";
    let mut evidence = incident();
    evidence.exec = Some(exec(&crun, false));
    evidence.creators = vec![
        creator(21, "crio-crun", exec(&crun, false), true),
        creator(20, "crio-crun", exec(&crun, true), true),
        // The monitor daemonised.
        creator(10, "crio-conmonrs", exec(conmonrs, false), false),
        creator(9, "crio-conmonrs", exec(conmonrs, true), true),
        creator(8, "crio", exec("/usr/bin/crio", true), false),
    ]
    .into();
    let reaper = evidence.reaper.as_mut().expect("a reaper");
    reaper.facts.exe = Some("/usr/libexec/crio/crio-conmonrs".into());
    let finding = said(&evidence);
    assert_eq!(runtime_of(&finding), Some(("crun", Some("create"), Stage::Init)));
    assert_eq!(monitor_of(&finding), Some(("crio-conmonrs", 10)));
    assert_eq!(finding.reaper.as_ref().map(|reaper| reaper.role), Some(Role::Monitor));
    let roles: Vec<Role> = finding.creators.iter().map(|creator| creator.role).collect();
    assert_eq!(roles, [Role::Runtime, Role::Runtime, Role::Monitor, Role::Monitor, Role::Engine]);
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some(ID));
}

#[test]
fn a_zombie_monitor_is_not_confused_with_its_dead_first_stage() {
    let conmonrs = "/usr/bin/conmonrs --runtime /usr/bin/crun --runtime-dir /d";
    let mut evidence = incident();
    (evidence.facts, evidence.reaper) = (facts(10, "conmonrs", &[10], HOST), None);
    evidence.exec = Some(exec(conmonrs, false));
    evidence.creators = vec![
        creator(9, "conmonrs", exec(conmonrs, true), true),
        creator(8, "crio", exec("/usr/bin/crio", true), false),
    ]
    .into();
    let finding = said(&evidence);
    assert_eq!((finding.role, monitor_of(&finding)), (Role::Monitor, Some(("conmonrs", 10))));
    assert_eq!(finding.runtime, None, "it is no process of the runtime that it calls");

    // For a monitor inside a container, the monitor is that of the container.
    let inside = |pid, comm, line, gone| {
        let mut creator = creator(pid, comm, exec(line, true), gone);
        (creator.pid_ns, creator.level, creator.vpid) = (POD, 1, pid - 20);
        creator
    };
    let shim = |id: &str| format!("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id {id}");
    evidence.facts = facts(24, "containerd-shim", &[24, 4], POD);
    evidence.exec = Some(exec(&shim("inner"), true));
    evidence.creators = vec![
        inside(23, "containerd-shim", &shim("inner"), true),
        inside(22, "containerd", "/usr/bin/containerd", false),
        inside(21, "k0s", "/bin/k0s", false),
        creator(13, "runc", exec(&format!("/usr/bin/runc create --bundle /b {ID}"), true), true),
        creator(12, "containerd-shim", exec(&shim(ID), true), false),
        creator(11, "containerd-shim", exec(&shim(ID), true), true),
    ]
    .into();
    assert_eq!(monitor_of(&said(&evidence)), Some(("containerd-shim", 12)));
}

/// The zombie of the incident, found after its creators are no longer known.
fn found_later(monitor: &str) -> Evidence {
    let mut evidence = incident();
    (evidence.exec, evidence.first_parent) = (None, None);
    evidence.creators.clear();
    let args: Vec<String> = monitor.split(' ').map(str::to_owned).collect();
    let reaper = evidence.reaper.as_mut().expect("a reaper");
    reaper.facts = ProcessFacts { exe: Some(args[0].clone()), args, uid: Some(0), ..reaper.facts.clone() };
    evidence
}

#[test]
fn a_monitor_argument_names_the_runtime_if_its_exec_was_not_seen() {
    for (monitor, comm, expected) in [
        ("/usr/bin/conmonrs --runtime /usr/bin/crun", "crun", ("crun", None, Stage::Init)),
        ("/usr/bin/conmonrs --runtime /usr/libexec/crio/crio-crun", "crio-crun", ("crun", None, Stage::Init)),
        ("/usr/bin/conmon -c x -r /opt/oci-1.2", "sh", ("oci-1.2", None, Stage::Container)),
        ("/opt/kata/bin/containerd-shim-kata-v2 -id x", "virtiofsd", ("kata", None, Stage::Container)),
    ] {
        let mut evidence = found_later(monitor);
        evidence.facts.comm = comm.into();
        assert_eq!(runtime_of(&said(&evidence)), Some(expected), "{monitor}");
    }
    let mut evidence = found_later("/usr/bin/containerd-shim-runc-v2 -id x");
    assert_eq!(said(&evidence).runtime, None, "it may call another");
    // podman's clean-up is in no container.
    evidence = found_later("/usr/bin/conmon -c x -r /usr/bin/crun");
    evidence.facts = facts(30, "podman", &[30], HOST);
    assert_eq!(said(&evidence).runtime, None);
}

#[test]
fn a_monitor_argument_identifies_a_runtime_of_any_name() {
    let oci = format!("/opt/oci-1.2 --root /r create --bundle /b {ID}");
    let mut evidence = incident();
    evidence.exec = Some(exec(&oci, false));
    for (creator, own) in evidence.creators[..2].iter_mut().zip([false, true]) {
        creator.exec = Some(exec(&oci, own));
    }
    evidence.creators[2].exec = Some(exec("/usr/bin/conmonrs --runtime /opt/oci-1.2", true));
    let finding = said(&evidence);
    assert_eq!(runtime_of(&finding), Some(("oci-1.2", Some("create"), Stage::Init)));
    assert_eq!(finding.creators[0].role, Role::Runtime);
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some(ID));
    // The runtime is as trustworthy as the exec that calls it.
    for creator in &mut evidence.creators[..2] {
        let exec = creator.exec.as_mut().expect("an exec");
        (exec.uid, exec.level) = (Some(1000), Some(0));
    }
    let finding = said(&evidence);
    assert!(
        finding.creators[0].is_unverified && finding.runtime.is_some_and(|runtime| runtime.is_unverified)
    );
}

/// A process that the application of lxc-start left behind, and its creators.
fn lxc() -> Evidence {
    let start = "/usr/bin/lxc-start -P /var/lib/lxc -n web1 -d";
    let mut evidence = incident();
    evidence.facts = facts(24, "sh", &[24, 7], POD);
    evidence.facts.cgroup = Some("/lxc.payload.web1".into());
    evidence.exec = Some(exec("/bin/sh -c x", false));
    let mut inside = [
        creator(23, "sh", exec("/bin/sh -c x", true), true),
        creator(22, "tail", exec("/bin/tail -f /dev/null", true), false),
    ];
    for (creator, vpid) in inside.iter_mut().zip([6, 1]) {
        (creator.pid_ns, creator.level, creator.vpid) = (POD, 1, vpid);
    }
    let outside = [
        creator(13, "lxc-start", exec(start, false), false),
        creator(12, "lxc-start", exec(start, false), true),
        creator(11, "lxc-start", exec(start, true), true),
        creator(10, "bash", exec("/bin/bash", true), false),
    ];
    evidence.creators = inside.into_iter().chain(outside).collect::<Vec<_>>().into();
    evidence
}

#[test]
fn lxc_has_a_container_a_runtime_and_a_monitor() {
    let finding = said(&lxc());
    assert_eq!(runtime_of(&finding), Some(("lxc", Some("start"), Stage::Container)));
    assert_eq!(monitor_of(&finding), Some(("lxc-start", 13)));
    let roles: Vec<Role> = finding.creators.iter().map(|creator| creator.role).collect();
    assert_eq!(roles[1..5], [Role::Init, Role::Monitor, Role::Runtime, Role::Runtime]);
    let container = finding.container.expect("a container");
    assert_eq!((container.id.as_str(), container.runtime.as_deref()), ("web1", Some("lxc")));
    assert_eq!((finding.origin, finding.identity_confidence), (Origin::Entrypoint, None));
    assert_eq!(finding.pid_ns.and_then(|ns| ns.mode), Some(PidNsMode::Own));

    // This container is older than the watch: its monitor has overwritten its arguments.
    let mut evidence = lxc();
    let title = ExecFacts {
        filename: "/usr/bin/lxc-start".into(),
        args: vec!["[lxc monitor] /var/lib/lxc web1".into()],
        own: true,
        ..ExecFacts::default()
    };
    evidence.creators.truncate(2);
    evidence.creators.push(creator(13, "lxc-start", title, false));
    evidence.facts.cgroup = None;
    let finding = said(&evidence);
    assert_eq!(runtime_of(&finding), Some(("lxc", Some("start"), Stage::Container)));
    assert_eq!(monitor_of(&finding), Some(("lxc-start", 13)));
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some("web1"));
    // No exec of the runtime was seen: the control group names the container and the runtime.
    let mut evidence = lxc();
    evidence.creators.truncate(2);
    assert_eq!(runtime_of(&said(&evidence)), Some(("lxc", None, Stage::Container)));
}

#[test]
fn the_lxc_monitor_is_recognised_as_a_reaper() {
    let mut evidence = found_later("/usr/bin/lxc-start [lxc monitor]");
    evidence.facts.comm = "lxc-start".into();
    let finding = said(&evidence);
    assert_eq!(monitor_of(&finding), Some(("monitor", 10)));
    assert_eq!(finding.reaper.map(|reaper| reaper.role), Some(Role::Monitor));
    let title = ExecFacts { args: vec!["[lxc monitor] /p web1".into()], ..exec("/usr/bin/lxc-start", true) };
    evidence.reaper.as_mut().expect("a reaper").exec = Some(title);
    assert_eq!(said(&evidence).reaper.map(|reaper| reaper.role), Some(Role::Monitor));
}

#[test]
fn lxc_attach_is_an_exec_session() {
    let attach = "/usr/bin/lxc-attach -P /var/lib/lxc -n web1 -- /bin/sh -c x";
    let mut evidence = lxc();
    evidence.ns_init = Some(
        ProcessFacts { cgroup: Some("/lxc.payload.web1".into()), ..facts(22, "tail", &[22, 1], POD) }.into(),
    );
    evidence.creators = vec![
        evidence.creators[0].clone(),
        creator(32, "lxc-attach", exec(attach, false), false),
        creator(31, "lxc-attach", exec(attach, true), false),
    ]
    .into();
    let finding = said(&evidence);
    assert_eq!(runtime_of(&finding), Some(("lxc", Some("attach"), Stage::Container)));
    assert_eq!((finding.origin, finding.monitor), (Origin::Exec, None));
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some("web1"));
    assert_eq!(finding.pid_ns.and_then(|ns| ns.mode), Some(PidNsMode::Own));
}

#[test]
fn the_living_systemd_nspawn_process_is_the_monitor() {
    let nspawn = "/usr/bin/systemd-nspawn -D /c/my-box";
    let mut evidence = lxc();
    evidence.facts.cgroup = Some("/machine.slice/machine-my\\x2dbox.scope/payload".into());
    evidence.creators.truncate(2);
    evidence.creators.push(creator(13, "systemd-nspawn", exec(nspawn, false), true));
    evidence.creators.push(creator(12, "systemd-nspawn", exec(nspawn, true), false));
    let finding = said(&evidence);
    assert_eq!(runtime_of(&finding), Some(("systemd-nspawn", Some("run"), Stage::Container)));
    assert_eq!(monitor_of(&finding), Some(("systemd-nspawn", 12)), "the living one");
    let container = finding.container.expect("a container");
    assert_eq!((container.id.as_str(), container.runtime.as_deref()), ("my-box", Some("systemd-nspawn")));
    assert_eq!(finding.identity_confidence, None);
}
