use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::PathBuf};

use rustix::fs::{CWD, Mode, mkfifoat};
use tempfile::TempDir;

use super::*;

/// A state file as crun 1.8.1 writes it.
fn crun_status(bundle: &str) -> String {
    format!(
        r#"{{"pid": 10096, "process-start-time": 1284689, "cgroup-path": "", "scope": "", "rootfs": "rootfs",
            "systemd-cgroup": false, "bundle": "{bundle}", "created": "2026-11-24T19:31:51.114591Z",
            "owner": "root", "detached": true, "external_descriptors": "[\"/dev/null\"]"}}"#
    )
}

/// A state file as runc 1.1.5 writes it, without most of its `config`.
fn runc_state(id: &str, bundle: &str) -> String {
    format!(
        r#"{{"id": "{id}", "init_process_pid": 10111, "init_process_start": 1284690, "rootless": false,
            "created": "2026-11-24T19:31:51.6Z", "cgroup_paths": {{"pids": "/sys/fs/cgroup/pids/c2"}},
            "namespace_paths": {{"NEWPID": "/proc/10111/ns/pid"}},
            "config": {{"no_pivot_root": false, "rootfs": "{bundle}/rootfs",
              "namespaces": [{{"type": "NEWPID", "path": "/proc/7/ns/pid"}}, {{"type": "NEWNS", "path": ""}}],
              "labels": ["io.kubernetes.pod.name=web-0", "org.x=y", "bundle={bundle}"]}}}}"#
    )
}

const CONFIG: &str = r#"{"ociVersion": "1.0.2", "process": {"cwd": "/", "args": ["top", "-b"],
    "user": {"uid": 0, "gid": 0}}, "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    "annotations": {"io.container.manager": "cri-o", "io.kubernetes.pod.namespace": "prod", "secret": "x"}}"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        path
    }

    fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().expect("UTF-8")
    }

    fn write(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).expect("written");
        self.text(name)
    }
}

/// The owner of the files that a test writes.
fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn state(path: &str) -> Option<OciFacts> {
    read(&[OciPlaces { owner: me(), state_files: vec![path.into()], ..OciPlaces::default() }])
}

fn bundle(path: &str) -> Option<OciFacts> {
    read(&[OciPlaces { owner: me(), bundles: vec![path.into()], ..OciPlaces::default() }])
}

#[test]
fn the_state_of_crun_and_its_bundle_are_read() {
    let folder = Folder::new();
    folder.write("bundle/config.json", CONFIG);
    let source = folder.write("crun/c1/status", &crun_status(&folder.text("bundle")));
    let facts = state(&source).expect("facts");
    assert_eq!(
        facts,
        OciFacts {
            source: source.clone(),
            owner: Some(me()),
            id: Some("c1".into()),
            name: None,
            bundle: Some(folder.text("bundle")),
            init_pid: Some(10_096),
            annotations: BTreeMap::from([
                ("io.container.manager".into(), "cri-o".into()),
                ("io.kubernetes.pod.namespace".into(), "prod".into()),
            ]),
            args: vec!["top".into(), "-b".into()],
            pid_ns_path: None,
            has_pid_ns: true,
        }
    );
    // Without the bundle, the copy that crun keeps is read.
    fs::remove_dir_all(folder.path("bundle")).expect("removed");
    assert!(state(&source).expect("facts").args.is_empty());
    folder.write("crun/c1/config.json", CONFIG);
    assert_eq!(state(&source).expect("facts").args, ["top", "-b"]);
}

#[test]
fn the_state_of_runc_is_read_without_a_bundle() {
    let folder = Folder::new();
    let facts = state(&folder.write("runc/c2/state.json", &runc_state("c2", "/no/bundle"))).expect("facts");
    assert_eq!((facts.id.as_deref(), facts.init_pid), (Some("c2"), Some(10_111)));
    assert_eq!(facts.bundle.as_deref(), Some("/no/bundle"));
    assert_eq!(facts.annotations, BTreeMap::from([("io.kubernetes.pod.name".into(), "web-0".into())]));
    assert_eq!((facts.has_pid_ns, facts.pid_ns_path.as_deref()), (true, Some("/proc/7/ns/pid")));
    // A state file that lies about its container.
    assert_eq!(state(&folder.write("runc/c3/state.json", &runc_state("c2", "/no"))), None);
    let relative = folder.write("runc/c4/state.json", &runc_state("c4", "b/../../etc"));
    assert_eq!(state(&relative).expect("facts").bundle, None);
}

#[test]
fn a_missing_or_bad_file_leads_to_the_next_path() {
    let folder = Folder::new();
    folder.write("bundle/config.json", CONFIG);
    let places = OciPlaces {
        owner: me(),
        state_files: vec![folder.text("none/status"), folder.write("bad/status", "{")],
        bundles: vec!["relative".into(), folder.text("none"), folder.text("bundle")],
        docker_files: Vec::new(),
    };
    let facts = read(std::slice::from_ref(&places)).expect("facts");
    assert_eq!(facts.source, folder.text("bundle/config.json"));
    assert_eq!((facts.id, facts.init_pid, facts.has_pid_ns), (None, None, true));
    assert_eq!(read(&[OciPlaces::default()]), None);
}

#[test]
fn the_file_of_docker_adds_a_name() {
    let folder = Folder::new();
    let text =
        r#"{"ID":"d1","Name":"/web","Config":{"Env":["TOKEN=x"],"Labels":{"io.kubernetes.pod.name":"lie"}}}"#;
    let docker_files = vec![folder.write("docker/d1/config.v2.json", text)];
    let alone = OciPlaces { owner: me(), docker_files: docker_files.clone(), ..OciPlaces::default() };
    let facts = read(&[alone]).expect("facts");
    assert_eq!(
        facts,
        OciFacts {
            source: docker_files[0].clone(),
            owner: Some(me()),
            id: Some("d1".into()),
            name: Some("web".into()),
            ..OciFacts::default()
        }
    );
    let state_files = vec![folder.write("runc/d1/state.json", &runc_state("d1", "/no/bundle"))];
    let both = OciPlaces { owner: me(), state_files, docker_files, ..OciPlaces::default() };
    let facts = read(&[both]).expect("facts");
    assert_eq!((facts.name.as_deref(), facts.init_pid), (Some("web"), Some(10_111)));
    // A file that lies about its container.
    let docker_files = vec![folder.write("docker/d2/config.v2.json", text)];
    assert_eq!(read(&[OciPlaces { owner: me(), docker_files, ..OciPlaces::default() }]), None);
}

#[test]
fn only_a_plain_file_is_read() {
    let folder = Folder::new();
    for name in ["fifo/status", "fifo/config.json"] {
        mkfifoat(CWD, folder.path(name), Mode::RUSR | Mode::WUSR).expect("a pipe");
    }
    symlink("status", folder.path("loop/status")).expect("a link");
    symlink("/dev/zero", folder.path("device/status")).expect("a link");
    fs::create_dir_all(folder.path("folder/status")).expect("a folder");
    for name in ["fifo", "loop", "device", "folder"] {
        assert_eq!(state(&folder.text(&format!("{name}/status"))), None, "{name}");
    }
    assert_eq!(bundle(&folder.text("fifo")), None);
}

#[test]
fn a_file_of_another_owner_is_ignored() {
    let folder = Folder::new();
    folder.write("bundle/config.json", CONFIG);
    let source = folder.write("crun/c1/status", &crun_status(&folder.text("bundle")));
    let of = |owner: u32| OciPlaces {
        owner,
        state_files: vec![source.clone()],
        bundles: vec![folder.text("bundle")],
        docker_files: Vec::new(),
    };
    assert_eq!(read(&[of(me() + 1)]), None);
    // The next set of paths is tried.
    assert_eq!(read(&[of(me() + 1), of(me())]).and_then(|facts| facts.owner), Some(me()));
    if me() == 0 {
        // If a state file and a bundle have two owners, only the file of the expected owner counts.
        std::os::unix::fs::chown(folder.path("bundle/config.json"), Some(65_534), None).expect("root may");
        assert!(read(&[of(0)]).expect("facts").annotations.is_empty());
    }
}

#[test]
fn bad_content_gives_no_facts() {
    let folder = Folder::new();
    let whole = crun_status("/b");
    let large = format!("{whole}{}", " ".repeat(MAX_FILE as usize));
    for (i, content) in [
        "",
        "[]",
        "null",
        "{}",
        r#"{"pid": "7"}"#,
        r#"{"pid": 7, "bundle": 3}"#,
        "\u{0}",
        &whole[..whole.len() / 2],
        &"[".repeat(100_000),
        &large,
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(state(&folder.write(&format!("{i}/status"), content)), None, "{i}");
        folder.write(&format!("{i}/config.json"), &content.replace(&whole, CONFIG));
    }
    assert_eq!(bundle(&folder.text("9")), None, "too large");
    assert_eq!(bundle(&folder.text("7")), None, "cut");
    assert_eq!(state(&folder.write("neg/status", r#"{"pid": -1}"#)).expect("facts").init_pid, None);
}

#[test]
fn arguments_and_annotations_are_bounded() {
    let folder = Folder::new();
    let long = "ü".repeat(5000);
    let args = format!("\"{long}\",\"b\"");
    folder.write(
        "b/config.json",
        &CONFIG.replace("\"top\", \"-b\"", &args).replace("\"prod\"", &format!("\"x{long}\"")),
    );
    let facts = bundle(&folder.text("b")).expect("facts");
    assert_eq!(facts.args.iter().map(String::len).collect::<Vec<_>>(), [MAX_ARGS_BYTES]);
    assert_eq!(facts.annotations["io.kubernetes.pod.namespace"].len(), MAX_VALUE - 1);
    let many = vec!["\"a\""; 1000].join(",");
    folder.write("c/config.json", &CONFIG.replace("\"top\", \"-b\"", &many));
    assert_eq!(bundle(&folder.text("c")).expect("facts").args.len(), MAX_ARGS);
}
