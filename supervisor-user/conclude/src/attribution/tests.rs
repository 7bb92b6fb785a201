//! Tests which container, pod, runtime and namespace the evidence gives to a finding, and which claims are believed.

use supervisor_model::{
    diagnosis::Confidence,
    evidence::sample::{POD, creator, exec, host, incident},
    facts::OciFacts,
    finding::{Authority, Orchestrator, Role, Stage, WaitTarget},
};

use super::*;

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
fn an_own_pid_namespace_is_distinguished_from_a_joined_one() {
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
fn an_exec_session_is_distinguished_from_the_container() {
    let mut evidence = incident();
    let line = "/usr/bin/runc --root /r exec --user 0 web sh";
    for creator in &mut evidence.creators[..2] {
        creator.exec = Some(exec(line, true));
    }
    let describe = |finding: &Finding| {
        let runtime = finding.runtime.as_ref().expect("a runtime");
        (runtime.stage, runtime.describe(finding.process.vpid))
    };
    evidence.exec = Some(exec(line, false));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(describe(&finding), (Stage::Init, "the first process of an exec session"));
    evidence.exec = Some(exec("/bin/sh", true));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(describe(&finding), (Stage::Container, "a process of an exec session"));
    assert_eq!(finding.origin, Origin::Exec);
    assert_eq!(finding.runtime.and_then(|runtime| runtime.verb).as_deref(), Some("exec"));
    assert_eq!(finding.container.map(|container| container.id).as_deref(), Some("web"));
}

#[test]
fn the_container_of_an_exec_session_determines_its_pid_namespace_mode() {
    let mut evidence = incident();
    for creator in &mut evidence.creators[..2] {
        creator.exec = Some(exec(&format!("/usr/bin/runc exec {ID} sh"), true));
    }
    evidence.exec = Some(exec("/bin/sh", true));
    let mode = |evidence: &Evidence| attribute(evidence, &host(), 0).pid_ns.and_then(|ns| ns.mode);
    assert_eq!(mode(&evidence), None, "nothing was seen of the container");
    let group = |id: &str| Some(format!("/docker/{id}"));
    evidence.facts.cgroup = group(ID);
    let mut init =
        ProcessFacts { cgroup: group(ID), ..(**evidence.ns_init.as_ref().expect("PID 1")).clone() };
    evidence.ns_init = Some(init.clone().into());
    assert_eq!(mode(&evidence), Some(PidNsMode::Own), "its PID 1 is in the same container");
    init.cgroup = group(OUTER);
    evidence.ns_init = Some(init.into());
    assert_eq!(mode(&evidence), Some(PidNsMode::Joined), "its PID 1 is in another");
    let files = |first, path: Option<&str>| OciFacts {
        init_pid: first,
        has_pid_ns: true,
        pid_ns_path: path.map(str::to_owned),
        ..oci(Some(ID), &[])
    };
    for (files, expected) in [
        (files(Some(5), None), PidNsMode::Own),
        (files(Some(6), None), PidNsMode::Joined),
        (files(None, None), PidNsMode::Own),
        (files(None, Some("/proc/5/ns/pid")), PidNsMode::Joined),
        (OciFacts { id: Some(OUTER.into()), ..files(Some(5), None) }, PidNsMode::Joined),
    ] {
        evidence.oci = Some(files);
        assert_eq!(mode(&evidence), Some(expected), "{:?}", evidence.oci);
    }
}

#[test]
fn pid_1_of_a_container_is_described_as_such() {
    let mut evidence = incident();
    evidence.facts.ns_pids = vec![22, 1];
    evidence.exec = Some(exec("/app", true));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(
        finding.runtime.map(|runtime| runtime.describe(finding.process.vpid)),
        Some("the container's PID 1")
    );
}

#[test]
fn a_name_alone_makes_no_runtime_and_no_monitor() {
    let mut evidence = incident();
    for creator in &mut *evidence.creators {
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
fn unknown_facts_are_absent_from_the_finding() {
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
fn conmon_names_the_container_and_the_scope_names_podman() {
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

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OUTER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
const UID: &str = "57e67067-89e4-4001-bdd4-8632d39ea02b";

fn oci(id: Option<&str>, annotations: &[(&str, &str)]) -> OciFacts {
    OciFacts {
        id: id.map(str::to_owned),
        annotations: annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..OciFacts::default()
    }
}

#[test]
fn bundle_annotations_name_a_container_whose_id_is_cut_off() {
    let mut evidence = incident();
    // The id, the last argument, was cut off.
    for creator in &mut evidence.creators[..2] {
        creator.exec = Some(exec("/usr/bin/crun --root /r create --bundle /b", true));
    }
    assert_eq!(supervisor_claims::oci::places(&evidence)[0].bundles, ["/b"]);
    assert_eq!(attribute(&evidence, &host(), 0).container, None);
    evidence.oci = Some(oci(
        None,
        &[
            ("io.container.manager", "cri-o"),
            ("io.kubernetes.cri-o.ContainerID", ID),
            ("io.kubernetes.container.name", "app"),
            ("io.kubernetes.pod.name", "web-0"),
            ("io.kubernetes.pod.namespace", "prod"),
            ("io.kubernetes.pod.uid", UID),
        ],
    ));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(
        finding.container,
        Some(Container { id: ID.into(), name: Some("app".into()), runtime: Some("cri-o".into()) })
    );
    assert_eq!(
        finding.orchestrator,
        Some(Orchestrator {
            kind: "kubernetes",
            namespace: Some("prod".into()),
            pod_name: Some("web-0".into()),
            pod_uid: Some(UID.into()),
        })
    );
}

#[test]
fn the_id_in_the_cgroup_wins_over_the_id_in_the_arguments() {
    // A runtime inside a pod's container, without cgroups: the container that it makes is in the outer container's
    // group. Only the runtime itself says that it made one.
    let mut evidence = incident();
    evidence.facts.cgroup =
        Some(format!("/kubepods.slice/kubepods-pod{}.slice/crio-{OUTER}.scope", UID.replace('-', "_")));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(
        finding.container,
        Some(Container { id: OUTER.into(), name: None, runtime: Some("cri-o".into()) })
    );
    assert_eq!(
        finding.orchestrator,
        Some(Orchestrator { kind: "kubernetes", pod_uid: Some(UID.into()), ..Orchestrator::default() })
    );
    assert_eq!(finding.identity_confidence, Some(Confidence::Low));
    let said: Vec<_> = finding
        .claims
        .iter()
        .map(|claim| (claim.source.as_str(), claim.by, claim.container_id.as_deref(), claim.is_accepted))
        .collect();
    assert_eq!(
        said,
        [
            ("cgroup", Authority::Kernel, Some(OUTER), true),
            ("arguments", Authority::Root, Some("web"), false),
        ]
    );
}

#[test]
fn a_shim_names_the_pod_sandbox_and_the_containerd_namespace() {
    let mut evidence = incident();
    (evidence.exec, evidence.reaper) = (Some(exec("/app", true)), None);
    let shim = format!("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id {OUTER} -address /a");
    evidence.creators = vec![creator(10, "containerd-shim", exec(&shim, true), false)].into();
    evidence.facts.cgroup = Some(format!("/kubepods/burstable/pod{UID}/{ID} (deleted)"));
    evidence.oci = Some(oci(
        Some(ID),
        &[("io.kubernetes.cri.sandbox-id", OUTER), ("io.kubernetes.cri.sandbox-namespace", "prod")],
    ));
    let finding = attribute(&evidence, &host(), 0);
    let container = finding.container.expect("a container");
    assert_eq!((container.id.as_str(), container.runtime.as_deref()), (ID, Some("containerd")));
    assert_eq!(finding.monitor.and_then(|monitor| monitor.namespace).as_deref(), Some("k8s.io"));
    let orchestrator = finding.orchestrator.expect("an orchestrator");
    assert_eq!(
        (orchestrator.namespace.as_deref(), orchestrator.pod_uid.as_deref()),
        (Some("prod"), Some(UID))
    );
    // Without another source, the shim's id is better than none.
    (evidence.facts.cgroup, evidence.oci) = (None, None);
    assert_eq!(attribute(&evidence, &host(), 0).container.map(|found| found.id).as_deref(), Some(OUTER));
}

#[test]
fn a_runtime_that_is_the_zombie_itself_is_attributed() {
    let mut evidence = incident();
    evidence.facts.comm = "crun".into();
    evidence.facts.ns_pids = vec![20];
    evidence.exec = Some(exec("/usr/bin/crun --root /r exec web true", true));
    evidence.creators.drain(..2);
    let finding = attribute(&evidence, &host(), 0);
    let runtime = finding.runtime.expect("a runtime");
    assert_eq!(
        (runtime.name.as_str(), runtime.verb.as_deref(), runtime.stage),
        ("crun", Some("exec"), Stage::Runtime)
    );
    assert_eq!(finding.container.map(|found| found.id).as_deref(), Some("web"));

    // A stage of runc also has an exec of its own. It has no verb, so it is no call.
    let mut evidence = incident();
    evidence.exec = Some(ExecFacts {
        filename: "/proc/self/exe".into(),
        previous: Some("/usr/sbin/runc".into()),
        ..exec("runc init", true)
    });
    let runtime = attribute(&evidence, &host(), 0).runtime.expect("a runtime");
    assert_eq!((runtime.name.as_str(), runtime.verb.as_deref()), ("crun", Some("create")));
    assert_ne!(runtime.stage, Stage::Runtime);
}

#[test]
fn the_cgroup_manager_argument_of_conmonrs_is_no_container_id() {
    let mut evidence = incident();
    evidence.exec = None;
    evidence.creators = vec![creator(
        10,
        "conmonrs",
        exec("/usr/bin/conmonrs -c systemd --runtime /usr/bin/crun", true),
        false,
    )]
    .into();
    assert_eq!(attribute(&evidence, &host(), 0).container, None);
}

#[test]
fn runtime_stages_take_the_verb_of_the_call_above_them() {
    let mut evidence = incident();
    evidence.exec = Some(exec("/bin/sleep 0.1", true));
    let stage = || exec("/usr/sbin/runc init", true);
    let image = ExecFacts { filename: "/proc/self/exe".into(), ..exec("runc init", true) };
    evidence.creators = vec![
        creator(24, "sh", exec("/bin/sh -c x", true), true),
        creator(23, "runc:[1:CHILD]", stage(), true),
        creator(22, "runc:[0:PARENT]", image, true),
        creator(21, "runc", exec("/usr/sbin/runc --root /r exec web sh -c x", true), true),
    ]
    .into();
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.runtime.and_then(|runtime| runtime.verb).as_deref(), Some("exec"));
    assert_eq!(finding.origin, Origin::Exec);
    assert!(finding.creators[1..].iter().all(|creator| creator.role == Role::Runtime));
}

#[test]
fn a_finding_keeps_only_the_first_arguments() {
    let mut evidence = incident();
    let many: Vec<String> = (0..512).map(|_| "x".to_owned()).collect();
    let exec = |line: &str| ExecFacts { args: many.clone(), ..exec(line, true) };
    evidence.exec = Some(exec("/bin/x"));
    evidence.creators =
        (0..16).map(|pid| creator(1000 + pid, "x", exec("/bin/x"), true)).collect::<Vec<_>>().into();
    let finding = attribute(&evidence, &host(), 1);
    assert_eq!((finding.process.args.len(), finding.process.args_cut), (32, true));
    let kept: usize = finding.creators.iter().map(|creator| creator.process.args.len()).sum();
    assert_eq!(kept, 3 * 32 + 13 * 16);
}

/// The incident with a container id that an engine gave. That user made each exec, in a PID namespace of that level.
fn called_by(uid: u32, level: u32) -> Evidence {
    let mut evidence = incident();
    let say = |exec: &mut ExecFacts| {
        (exec.uid, exec.level) = (Some(uid), Some(level));
        exec.args.pop();
        exec.args.push(ID.into());
    };
    evidence.facts.uid = Some(uid);
    evidence.exec.iter_mut().for_each(say);
    for creator in &mut evidence.creators[..2] {
        creator.exec.iter_mut().for_each(say);
    }
    evidence
}

/// Files of a pod's container that belong to that owner.
fn pod_files(owner: u32) -> OciFacts {
    OciFacts {
        source: "/state/status".into(),
        owner: Some(owner),
        ..oci(
            Some(ID),
            &[
                ("io.container.manager", "cri-o"),
                ("io.kubernetes.container.name", "victim"),
                ("io.kubernetes.pod.name", "victim-0"),
                ("io.kubernetes.pod.namespace", "kube-system"),
                ("io.kubernetes.pod.uid", UID),
            ],
        )
    }
}

#[test]
fn root_on_the_host_is_believed() {
    let mut evidence = called_by(0, 0);
    evidence.oci = Some(pod_files(0));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.container.and_then(|found| found.name).as_deref(), Some("victim"));
    assert_eq!(finding.orchestrator.and_then(|pod| pod.pod_name).as_deref(), Some("victim-0"));
    assert_eq!((finding.identity_confidence, finding.claims), (None, Vec::new()));
    assert!(finding.creators.iter().all(|creator| !creator.is_unverified));
}

#[test]
fn a_user_s_own_crun_names_no_pod() {
    let mut evidence = called_by(1000, 0);
    evidence.oci = Some(pod_files(1000));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.orchestrator, None);
    assert_eq!(
        finding.container,
        Some(Container { id: ID.into(), name: None, runtime: Some("crun".into()) })
    );
    assert_eq!(finding.identity_confidence, Some(Confidence::Medium));
    assert!(finding.creators[0].is_unverified && finding.runtime.is_some_and(|it| it.is_unverified));
    // The claim is reported as refused.
    let file = finding.claims.last().expect("a claim");
    assert_eq!((file.by, file.is_accepted), (Authority::User(1000), false));
    assert_eq!(file.pod.as_ref().and_then(|pod| pod.namespace.as_deref()), Some("kube-system"));
}

#[test]
fn a_user_cannot_claim_a_container_of_root() {
    for evidence in [called_by(1000, 0), called_by(0, 1), called_by(65_534, 2)] {
        let mut evidence = evidence;
        evidence.oci = Some(pod_files(0));
        let finding = attribute(&evidence, &host(), 0);
        assert_eq!((finding.container, finding.orchestrator), (None, None));
        assert_eq!(finding.identity_confidence, Some(Confidence::Low));
        assert!(finding.claims.iter().all(|claim| !claim.is_accepted), "{:?}", finding.claims);
    }
}

#[test]
fn a_user_is_not_believed_while_root_s_files_cannot_be_read() {
    let mut evidence = called_by(1000, 0);
    evidence.oci_not_read = true;
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!((finding.container, finding.identity_confidence), (None, Some(Confidence::Low)));
    let mut evidence = called_by(0, 0);
    evidence.oci_not_read = true;
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.container.map(|found| found.id).as_deref(), Some(ID), "root's word needs no file");
}

#[test]
fn a_claim_of_an_unknown_user_is_never_believed() {
    let mut evidence = called_by(supervisor_ebpf::UNKNOWN_USER, 0);
    for uid in [0, 1000, 100_033, supervisor_ebpf::UNKNOWN_USER] {
        evidence.facts.uid = Some(uid);
        let finding = attribute(&evidence, &host(), 0);
        assert_eq!((finding.container, finding.identity_confidence), (None, Some(Confidence::Low)), "{uid}");
    }
}

#[test]
fn a_claim_of_a_user_is_refused_for_processes_of_other_users() {
    let mut evidence = called_by(1000, 0);
    evidence.facts.uid = Some(0);
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!((finding.container, finding.identity_confidence), (None, Some(Confidence::Low)));
    // A subordinate uid belongs to one of the user's containers.
    evidence.facts.uid = Some(100_033);
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.container.map(|found| found.id).as_deref(), Some(ID));
    assert_eq!(finding.identity_confidence, Some(Confidence::Medium));
}

#[test]
fn a_claim_of_a_user_does_not_rename_a_container_of_the_cgroup() {
    let mut evidence = called_by(1000, 0);
    let uid = UID.replace('-', "_");
    evidence.facts.cgroup = Some(format!("/kubepods.slice/kubepods-pod{uid}.slice/crio-{OUTER}.scope"));
    evidence.creators.push(creator(
        9,
        "conmon",
        ExecFacts { uid: Some(1000), level: Some(0), ..exec(&format!("conmon -c {OUTER} -n lie"), true) },
        false,
    ));
    let finding = attribute(&evidence, &host(), 0);
    let container = finding.container.expect("a container");
    assert_eq!((container.id.as_str(), container.name), (OUTER, None));
    assert_eq!(finding.identity_confidence, Some(Confidence::Low));
}

#[test]
fn a_cgroup_below_a_user_service_is_believed_only_for_that_user() {
    let mut evidence = incident();
    (evidence.exec, evidence.facts.uid) = (None, Some(1000));
    evidence.creators.clear();
    let path = format!("/user.slice/user-1000.slice/user@1000.service/kubepods/pod{UID}/crio-{ID}");
    evidence.facts.cgroup = Some(path);
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!((finding.container.map(|it| it.id).as_deref(), finding.orchestrator), (Some(ID), None));
    assert_eq!(finding.identity_confidence, Some(Confidence::Medium));
    evidence.facts.uid = Some(1001);
    assert_eq!(attribute(&evidence, &host(), 0).container, None);
}

#[test]
fn a_pod_in_the_files_is_refused_if_the_cgroup_names_another_pod() {
    let mut evidence = called_by(0, 0);
    let other = UID.replace("57e67067-", "00000000_");
    evidence.facts.cgroup = Some(format!("/kubepods.slice/kubepods-pod{other}.slice/crio-{ID}.scope"));
    evidence.oci = Some(pod_files(0));
    let finding = attribute(&evidence, &host(), 0);
    let pod = finding.orchestrator.expect("a pod");
    assert_eq!((pod.pod_name, pod.pod_uid.as_deref()), (None, Some(&*other.replace('_', "-"))));
    assert_eq!(finding.container.and_then(|found| found.name), None);
    assert_eq!(finding.identity_confidence, Some(Confidence::Low));
}

#[test]
fn a_program_that_others_can_change_is_not_verified() {
    let mut evidence = called_by(0, 0);
    for creator in &mut evidence.creators[..2] {
        creator.exec.as_mut().expect("an exec").roots_file = Some(false);
    }
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.container.map(|found| found.id).as_deref(), Some(ID));
    assert_eq!(finding.identity_confidence, Some(Confidence::Medium));
    assert_eq!(
        finding.creators.iter().map(|creator| creator.is_unverified).collect::<Vec<_>>(),
        [true, true, false]
    );
}

/// The content of CRI-O's configuration for a pod's sandbox.
fn sandbox() -> OciFacts {
    OciFacts {
        source: "/s/userdata/config.json".into(),
        owner: Some(0),
        ..oci(
            None,
            &[
                ("io.container.manager", "cri-o"),
                ("io.kubernetes.container.name", "POD"),
                ("io.kubernetes.cri-o.ContainerID", OUTER),
                ("io.kubernetes.cri-o.ContainerType", "sandbox"),
                ("io.kubernetes.pod.name", "web-pod"),
                ("io.kubernetes.pod.namespace", "shop"),
                ("io.kubernetes.pod.uid", UID),
            ],
        )
    }
}

fn pod_of(finding: &Finding) -> Option<(Option<&str>, Option<&str>, Option<&str>)> {
    let pod = finding.orchestrator.as_ref()?;
    Some((pod.namespace.as_deref(), pod.pod_name.as_deref(), pod.pod_uid.as_deref()))
}

#[test]
fn the_sandbox_names_the_pod_of_a_container_whose_bundle_is_gone() {
    let mut evidence = called_by(0, 0);
    evidence.sandbox = Some(sandbox());
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(pod_of(&finding), Some((Some("shop"), Some("web-pod"), Some(UID))));
    let container = finding.container.expect("a container");
    assert_eq!((container.id.as_str(), container.name), (ID, None), "POD is the sandbox's own container");
    assert_eq!(finding.identity_confidence, None);

    // The sandbox's own container has the sandbox's name.
    let mut pause = evidence.clone();
    pause.facts.cgroup = Some(format!("/crio-{OUTER}.scope"));
    let name = attribute(&pause, &host(), 0).container.and_then(|container| container.name);
    assert_eq!(name.as_deref(), Some("POD"));

    // The container's own files are believed before the sandbox's, and the kernel's control group before both.
    evidence.oci = Some(pod_files(0));
    assert_eq!(
        attribute(&evidence, &host(), 0).orchestrator.and_then(|pod| pod.pod_name).as_deref(),
        Some("victim-0")
    );
    evidence.oci = None;
    let other = UID.replace("57e67067-", "00000000_");
    evidence.facts.cgroup = Some(format!("/kubepods.slice/kubepods-pod{other}.slice/crio-{ID}.scope"));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(pod_of(&finding), Some((None, None, Some(&*other.replace('_', "-")))));
    assert_eq!(finding.identity_confidence, Some(Confidence::Low));
    assert!(finding.claims.iter().any(|claim| claim.source.as_str() == "file" && !claim.is_accepted));
}

#[test]
fn a_sandbox_file_of_an_ordinary_user_is_not_believed() {
    let mut evidence = called_by(0, 0);
    evidence.sandbox = Some(OciFacts { owner: Some(1000), ..sandbox() });
    assert_eq!(attribute(&evidence, &host(), 0).orchestrator, None);
}

#[test]
fn a_container_name_from_the_kubelet_names_the_pod() {
    let conmon = |name: &str| exec(&format!("/usr/bin/conmon -c {ID} -r /usr/bin/crun -n {name}"), false);
    let name = format!("k8s_web_web-pod_shop_{UID}_0");
    let mut evidence = called_by(0, 0);
    evidence.creators[2].exec = Some(conmon(&name));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(pod_of(&finding), Some((Some("shop"), Some("web-pod"), Some(UID))));
    assert_eq!(finding.container.and_then(|container| container.name).as_deref(), Some("web"));
    // People choose the names of podman's containers.
    evidence.facts.cgroup = Some(format!("/machine.slice/libpod-{ID}.scope"));
    let finding = attribute(&evidence, &host(), 0);
    assert_eq!(finding.container.and_then(|container| container.name).as_deref(), Some(&*name));
    assert_eq!(finding.orchestrator, None);
    // The same holds for containers of a user.
    let mut evidence = called_by(1000, 0);
    evidence.creators[2].exec = Some(ExecFacts { uid: Some(1000), level: Some(0), ..conmon(&name) });
    assert_eq!(attribute(&evidence, &host(), 0).orchestrator, None);
}
