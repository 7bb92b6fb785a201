use supervisor_model::{
    evidence::sample::{creator, exec, incident},
    facts::ProcessFacts,
};

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// The paths of root's files.
fn only_places(evidence: &Evidence) -> OciPlaces {
    let mut all = places(evidence);
    assert!(all.len() < 2 && all.iter().all(|places| places.owner == 0), "{all:?}");
    all.pop().unwrap_or_default()
}

/// Evidence in which the only creator's exec has that line.
fn called(line: &str) -> Evidence {
    let mut evidence = incident();
    evidence.exec = None;
    evidence.creators = vec![creator(20, "x", exec(line, true), true)].into();
    evidence
}

fn facts(annotations: &[(&str, &str)]) -> OciFacts {
    OciFacts {
        annotations: annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        ..OciFacts::default()
    }
}

#[test]
fn a_runtime_with_a_root_uses_only_that_root() {
    let places = only_places(&called("/usr/bin/crun --root /r/ create --bundle /b web"));
    assert_eq!(places.state_files, ["/r/web/status", "/r/web/state.json"]);
    assert_eq!(places.bundles, ["/b"]);
}

#[test]
fn a_runtime_without_a_root_uses_the_default_roots() {
    let mut evidence = called("runc run -b b web");
    let places = only_places(&evidence);
    assert_eq!(
        places.state_files,
        [
            "/run/crun/web/status",
            "/run/crun/web/state.json",
            "/run/runc/web/status",
            "/run/runc/web/state.json",
        ]
    );
    assert!(places.bundles.is_empty(), "a relative path is relative to what is not known");
    speaks(&mut evidence, 1000, 0);
    evidence.facts.uid = Some(1000);
    assert_eq!(
        super::places(&evidence),
        [OciPlaces {
            owner: 1000,
            state_files: vec![
                "/run/user/1000/crun/web/status".into(),
                "/run/user/1000/crun/web/state.json".into(),
                "/run/user/1000/runc/web/status".into(),
                "/run/user/1000/runc/web/state.json".into(),
            ],
            ..OciPlaces::default()
        }]
    );
}

/// Sets that user, and a PID namespace of that level, for the only creator's exec.
fn speaks(evidence: &mut Evidence, uid: u32, level: u32) {
    let exec = evidence.creators[0].exec.as_mut().expect("an exec");
    (exec.uid, exec.level) = (Some(uid), Some(level));
}

#[test]
fn a_user_names_only_its_own_files() {
    let line = |id: &str| format!("crun --root /home/u/state create --bundle /home/u/b {id}");
    let mut evidence = called(&line("web"));
    evidence.facts.uid = Some(1000);
    speaks(&mut evidence, 1000, 0);
    let all = places(&evidence);
    let [own] = &all[..] else { panic!("{all:?}") };
    assert_eq!((own.owner, own.bundles.as_slice()), (1000, &["/home/u/b".to_owned()][..]));
    assert_eq!(own.state_files, ["/home/u/state/web/status", "/home/u/state/web/state.json"]);

    // An engine's id may be that of root's container, so root's files are read first.
    evidence = called(&line(ID));
    evidence.facts.uid = Some(1000);
    speaks(&mut evidence, 1000, 0);
    let all = places(&evidence);
    let [roots, own] = &all[..] else { panic!("{all:?}") };
    assert_eq!((roots.owner, own.owner), (0, 1000));
    assert!(roots.state_files.contains(&format!("/run/crun/{ID}/status")));
    assert!(!format!("{roots:?}").contains("/home"), "{roots:?}");

    // A claim of user 1000 is not about a process of root.
    evidence.facts.uid = Some(0);
    assert!(places(&evidence).is_empty());
}

#[test]
fn a_process_in_a_container_names_no_files() {
    let mut evidence = called(&format!("crun --root /tenant create --bundle /tenant {ID}"));
    speaks(&mut evidence, 0, 1);
    assert!(!format!("{:?}", only_places(&evidence)).contains("/tenant"));
    evidence = called("crun --root /tenant create --bundle /tenant web");
    speaks(&mut evidence, 0, 1);
    assert!(places(&evidence).is_empty());
}

#[test]
fn a_control_group_leads_only_to_the_files_of_root() {
    let mut evidence = called(&format!("crun --root /home/u/state create --bundle /home/u/b {ID}"));
    evidence.facts.cgroup = Some(format!("/kubepods/burstable/pod1/crio-{ID}"));
    speaks(&mut evidence, 1000, 0);
    assert!(!format!("{:?}", only_places(&evidence)).contains("/home"));
}

#[test]
fn conmon_names_bundle_and_root() {
    let places = only_places(&called(&format!(
        "/usr/bin/conmon -c {ID} -u {ID} -r /usr/bin/crun -b /s/{ID}/userdata -n web --runtime-arg --root=/r"
    )));
    assert_eq!(places.state_files[0], format!("/r/{ID}/status"));
    assert_eq!(places.bundles[0], format!("/s/{ID}/userdata"));
    assert!(
        places.bundles.contains(&format!("/var/lib/containers/storage/overlay-containers/{ID}/userdata"))
    );
}

#[test]
fn a_shim_also_serves_the_other_containers_of_its_pod() {
    let mut evidence = called(&format!("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id {OTHER}"));
    evidence.facts.cgroup = Some(format!("/kubepods/burstable/pod1/{ID}"));
    let places = only_places(&evidence);
    assert_eq!(places.state_files[1], format!("/run/containerd/runc/k8s.io/{ID}/state.json"));
    assert_eq!(places.bundles[0], format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}"));
    assert!(!format!("{places:?}").contains(OTHER));
}

#[test]
fn a_reaping_conmonrs_gives_the_root() {
    let mut evidence = incident();
    (evidence.exec, evidence.creators) = (None, Vec::new().into());
    evidence.facts.cgroup = Some(format!("/kubepods.slice/crio-{ID}.scope"));
    let reaper = evidence.reaper.as_mut().expect("a reaper");
    reaper.facts = ProcessFacts {
        exe: Some("/usr/bin/conmonrs".into()),
        args: ["conmonrs", "--runtime", "/usr/bin/crun", "--runtime-root", "/run/cr"].map(Into::into).into(),
        ..reaper.facts.clone()
    };
    assert_eq!(only_places(&evidence).state_files[0], format!("/run/cr/{ID}/status"));
}

#[test]
fn only_paths_of_the_claimed_container_are_used() {
    let mut evidence = called("/usr/bin/crun --root /inner create --bundle /in web");
    let outer = format!("/usr/bin/conmon -c {OTHER} -r crun -b /out --runtime-arg --root=/outer");
    evidence.creators.push(creator(10, "conmon", exec(&outer, true), false));
    let places = only_places(&evidence);
    assert_eq!(places.state_files, ["/inner/web/status", "/inner/web/state.json"]);
    assert_eq!(places.bundles, ["/in"]);
    // The control group decides which container it is.
    evidence.facts.cgroup = Some(format!("/machine.slice/libpod-{OTHER}.scope"));
    let places = only_places(&evidence);
    assert_eq!(
        (places.state_files[0].as_str(), places.bundles[0].as_str()),
        (&*format!("/outer/{OTHER}/status"), "/out")
    );
    assert!(!format!("{places:?}").contains("/in"), "{places:?}");
}

#[test]
fn hostile_arguments_give_no_paths() {
    for line in [
        "crun --root /r create --bundle /b ../../etc",
        "crun --root /r create --bundle /b ..",
        "crun --root /r create --bundle /b a/b",
        "crun --root ../r create --bundle ../b web",
        "crun --root /r/../x create --bundle /b/../x web",
        "containerd-shim-runc-v2 -namespace ../../x -id ..",
    ] {
        let places = only_places(&called(line));
        assert_eq!(places, OciPlaces::default(), "{line}");
    }
    let long = format!("crun --root /r create {}", "a".repeat(MAX_NAME + 1));
    assert!(places(&called(&long)).is_empty());
    let mut many = called("crun --root /0 create web");
    many.creators = (0..100)
        .map(|i| creator(i, "x", exec(&format!("crun --root /{i} create --bundle /{i} web"), true), true))
        .collect::<Vec<_>>()
        .into();
    let places = only_places(&many);
    assert_eq!((places.state_files.len(), places.bundles.len()), (MAX_PLACES, MAX_PLACES));
}

#[test]
fn without_a_claim_there_are_no_paths() {
    assert!(places(&called("/bin/sh -c x")).is_empty());
}

#[test]
fn annotations_of_cri_o_identify_the_container() {
    let facts = facts(&[
        ("io.container.manager", "cri-o"),
        ("io.kubernetes.container.name", "app"),
        ("io.kubernetes.cri-o.ContainerID", ID),
        ("io.kubernetes.cri-o.ContainerName", "k8s_app_web-0_prod_57e67067_0"),
        ("io.kubernetes.pod.name", "web-0"),
        ("io.kubernetes.pod.namespace", "prod"),
        ("io.kubernetes.pod.uid", "57e67067"),
        // CRI-O passes on the annotations of a manifest.
        ("io.kubernetes.cri.sandbox-name", "lie"),
        ("io.kubernetes.cri.sandbox-id", "lie"),
    ]);
    assert_eq!(
        identify(&facts),
        Identity {
            id: Some(ID),
            container: Some("app"),
            pod: Some("web-0"),
            namespace: Some("prod"),
            uid: Some("57e67067"),
            engine: Some("cri-o"),
        }
    );
}

#[test]
fn annotations_of_containerd_identify_the_container() {
    let facts = facts(&[
        ("io.kubernetes.cri.container-name", "hostname"),
        ("io.kubernetes.cri.container-type", "container"),
        ("io.kubernetes.cri.sandbox-id", ID),
        ("io.kubernetes.cri.sandbox-name", "hostname-lb-edge-64df67bd8b-xmzhv"),
        ("io.kubernetes.cri.sandbox-namespace", "default"),
        ("io.kubernetes.cri.sandbox-uid", "005f082b-5fd9-4650-8ef4-473e63bc2d13"),
        ("io.kubernetes.pod.name", "lie"),
    ]);
    assert_eq!(
        identify(&facts),
        Identity {
            id: None,
            container: Some("hostname"),
            pod: Some("hostname-lb-edge-64df67bd8b-xmzhv"),
            namespace: Some("default"),
            uid: Some("005f082b-5fd9-4650-8ef4-473e63bc2d13"),
            engine: Some("containerd"),
        }
    );
}

#[test]
fn a_podman_bundle_names_no_pod_and_a_bare_bundle_no_engine() {
    // A podman pod: the key is a key of CRI-O, but the pod is not a pod of CRI-O.
    let podman = facts(&[("io.container.manager", "libpod"), ("io.kubernetes.cri-o.SandboxID", ID)]);
    let identity = identify(&podman);
    assert_eq!((identity.engine, identity.names_pod()), (Some("podman"), false));
    assert_eq!(identify(&facts(&[])), Identity::default());
    assert_eq!(identify(&facts(&[("io.kubernetes.pod.name", "")])), Identity::default());
    let bare = facts(&[("io.kubernetes.pod.name", "web-0")]);
    assert_eq!(identify(&bare), Identity { pod: Some("web-0"), ..Identity::default() });
}

#[test]
fn a_container_name_of_the_kubelet_is_split_into_its_parts() {
    let name = "k8s_web_web-pod_shop_7d1f0c9e-5b7a-4c3e-9a61-0f2e8d4c6b00_12";
    let identity = kubernetes_name(name).expect("a pod's");
    assert_eq!(
        (identity.container, identity.pod, identity.namespace, identity.uid),
        (Some("web"), Some("web-pod"), Some("shop"), Some("7d1f0c9e-5b7a-4c3e-9a61-0f2e8d4c6b00"))
    );
    for name in [
        "web",
        "k8s_web_web-pod_shop_1",
        "k8s_web__shop_uid_1",
        "k8s_a_b_c_d_x",
        "k8s_a_b_c_d_",
        "x_a_b_c_d_1",
    ] {
        assert_eq!(kubernetes_name(name), None, "{name}");
    }
}

#[test]
fn the_file_of_docker_names_the_container_and_its_pod() {
    let named = |name: &str| OciFacts { name: Some(name.to_owned()), ..facts(&[]) };
    let plain = named("web");
    let identity = identify(&plain);
    assert_eq!(
        (identity.container, identity.engine, identity.names_pod()),
        (Some("web"), Some("docker"), false)
    );
    let of_pod = named("k8s_web_web-0_prod_57e67067_0");
    let identity = identify(&of_pod);
    assert_eq!(
        (identity.container, identity.pod, identity.engine),
        (Some("web"), Some("web-0"), Some("docker"))
    );
    // The builder of an image chooses its labels, and so annotations.
    let labelled = OciFacts { name: Some("web".into()), ..facts(&[("io.kubernetes.pod.name", "lie")]) };
    assert!(!identify(&labelled).names_pod());
}

#[test]
fn files_of_docker_are_searched_only_for_the_id_of_an_engine() {
    let path = format!("/var/lib/docker/containers/{ID}/config.v2.json");
    let places = only_places(&called(&format!("docker-runc create --bundle /b {ID}")));
    assert_eq!(places.docker_files, [path]);
    assert!(only_places(&called("runc create --bundle /b web")).docker_files.is_empty());
}

#[test]
fn the_name_of_a_machine_gives_no_paths_of_oci_runtimes() {
    for line in ["lxc-start -n web", "systemd-nspawn -M web"] {
        assert!(places(&called(line)).is_empty(), "{line}");
    }
    let mut evidence = called("/bin/sh -c x");
    evidence.facts.cgroup = Some("/lxc.payload.web".into());
    assert!(places(&evidence).is_empty());
}

#[test]
fn only_a_monitor_of_root_names_the_sandbox() {
    let line = |dir: &str| format!("/usr/bin/conmonrs --runtime /usr/bin/crun --runtime-dir {dir}");
    let mut evidence = called(&line("/s/userdata"));
    let places = sandbox_places(&evidence);
    assert_eq!((places.owner, places.bundles.as_slice()), (0, &["/s/userdata".to_owned()][..]));
    // The container's own files name the pod.
    evidence.oci = Some(facts(&[("io.kubernetes.pod.name", "web-0")]));
    assert!(sandbox_places(&evidence).is_empty());
    evidence.oci = None;
    speaks(&mut evidence, 1000, 0);
    assert!(sandbox_places(&evidence).is_empty(), "a user says of no pod");
    speaks(&mut evidence, 0, 1);
    assert!(sandbox_places(&evidence).is_empty(), "root in a container is its tenant");
    assert!(sandbox_places(&called(&line("/s/../userdata"))).is_empty());

    let shim = called(&format!("/usr/bin/containerd-shim-runc-v2 -namespace k8s.io -id {ID}"));
    assert_eq!(
        sandbox_places(&shim).bundles,
        [format!("/run/containerd/io.containerd.runtime.v2.task/k8s.io/{ID}")]
    );
    assert!(sandbox_places(&called("containerd-shim-runc-v2 -namespace ../x -id ..")).is_empty());

    // A monitor that daemonised is known by its file and arguments in `/proc`.
    let mut evidence = called("/bin/sh -c x");
    let reaper = evidence.reaper.as_mut().expect("a reaper");
    reaper.facts = ProcessFacts {
        exe: Some("/usr/bin/crio-conmonrs".into()),
        args: ["crio-conmonrs", "--runtime-dir", "/s/userdata"].map(Into::into).into(),
        uid: Some(0),
        ..reaper.facts.clone()
    };
    assert_eq!(sandbox_places(&evidence).bundles, ["/s/userdata"]);
}
