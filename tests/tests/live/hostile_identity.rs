//! Tests of a user who is not root and claims the container of another user: with its own `crun`, with a state
//! directory that it has written, and with links to files that only root may read. See the sections "Files of
//! containers" and "Identity" of docs/threat-model.md.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, mkfifoat};
use supervisor_tests::{Besieged, Den, Event, Fixture, ON_TIME, Watch, run_json};
use tempfile::TempDir;

/// The attacker: `nobody`.
const NOBODY: u32 = 65_534;

/// The files of the attacker, who owns all of them.
struct Attacker(TempDir);

impl Attacker {
    fn new() -> Result<Self> {
        let it = Self(tempfile::Builder::new().prefix("supervisor-lab-").tempdir()?);
        fs::set_permissions(it.0.path(), Permissions::from_mode(0o755))?;
        supervisor_lab::copy_program("/bin/false", it.at("crun"))?;
        supervisor_lab::copy_program(env!("CARGO_BIN_EXE_fixture"), it.at("fixture"))?;
        for file in [it.0.path(), &it.at("crun"), &it.at("fixture")] {
            chown(file, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(it)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn path(&self, name: &str) -> Result<String> {
        Ok(self.at(name).to_str().context("a plain path")?.to_owned())
    }

    /// Makes a directory and its parents.
    fn make_dir(&self, name: &str) -> Result<()> {
        fs::create_dir_all(self.at(name))?;
        for dir in Path::new(name).ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            chown(self.0.path().join(dir), Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }

    fn write(&self, name: &str, content: &str) -> Result<()> {
        fs::write(self.at(name), content)?;
        Ok(chown(self.at(name), Some(NOBODY), Some(NOBODY))?)
    }

    /// Leaves a zombie of a process that was started as `crun --root ROOT create --bundle BUNDLE ID`.
    fn leave_a_zombie(&self, root: &str, id: &str) -> Result<(Fixture, u32)> {
        self.leave_a_zombie_of(&[], root, &self.path("bundle")?, id)
    }

    /// The same with another bundle, and started by a command that executes its arguments.
    fn leave_a_zombie_of(&self, by: &[&str], root: &str, bundle: &str, id: &str) -> Result<(Fixture, u32)> {
        let nobody = NOBODY.to_string();
        let (fixture, crun) = (self.path("fixture")?, self.path("crun")?);
        let user = ["--reuid", &nobody, "--regid", &nobody, "--clear-groups"];
        let spawns = [&fixture, "spawns", &crun, "--root", root, "create", "--bundle", bundle, id];
        let fixture = Fixture::start("setpriv", &[&user, by, &spawns].concat())?;
        let pid = fixture.fact("zombie")?.pid("pid")?;
        Ok((fixture, pid))
    }
}

/// A container configuration that claims a pod in `kube-system`, as CRI-O would write it.
const SPEC: &str = r#"{"ociVersion":"1.0.2","annotations":{"io.container.manager":"cri-o",
    "io.kubernetes.container.name":"victim","io.kubernetes.pod.name":"victim-0",
    "io.kubernetes.pod.namespace":"kube-system","io.kubernetes.pod.uid":"57e67067-89e4-4001-bdd4-8632d39ea02b"}}"#;

fn status(bundle: &str) -> String {
    format!(r#"{{"pid":1,"bundle":"{bundle}"}}"#)
}

/// An id in the format of engines, which no container of this host has.
fn engine_id() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(format!("{:032x}{:032x}", std::process::id(), now.as_nanos()))
}

/// A watch and an agent of root's, and bystanders that the agent has to report all the while.
struct Observers {
    watch: Watch,
    agent: Besieged,
    den: Den,
}

impl Observers {
    fn start() -> Result<Self> {
        let den = Den::new(env!("CARGO_BIN_EXE_fixture"))?;
        Ok(Self { watch: Watch::start(&[])?, agent: Besieged::start()?, den })
    }

    /// The events of `watch`, `run` and `ps` about a zombie that exists.
    fn seen(&mut self, pid: u32) -> Result<[Event; 3]> {
        let reported = self.agent.reports(pid, ON_TIME)?;
        let watched = self.watch.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
        let (events, _) = run_json(&["ps", "-o", "json"])?;
        let listed = events.into_iter().find(|event| event.is_about(pid)).context("ps does not list it")?;
        self.den.bystander(ON_TIME, |pid, within| self.agent.reports(pid, within))?;
        self.agent.is_healthy()?;
        Ok([reported, watched, listed])
    }

    fn end(self) -> Result<()> {
        self.watch.stop()?;
        self.agent.ends_on_time()
    }
}

/// Fails if a field has a name of the pod, or the name that the pod gives to the container.
fn names_no_pod(event: &Event) {
    assert_eq!(event.get("orchestrator"), None, "{event:?}");
    assert_eq!(event.get("container.name"), None, "{event:?}");
    assert!(!event.text("message").is_ok_and(|text| text.contains("victim")), "{event:?}");
}

#[test]
fn a_user_s_own_crun_names_no_pod_of_others() -> Result<()> {
    let attacker = Attacker::new()?;
    let id = engine_id()?;
    attacker.make_dir("bundle")?;
    attacker.make_dir(&format!("state/{id}"))?;
    attacker.write("bundle/config.json", SPEC)?;
    attacker.write(&format!("state/{id}/status"), &status(&attacker.path("bundle")?))?;
    let mut observers = Observers::start()?;
    let (fixture, pid) = attacker.leave_a_zombie(&attacker.path("state")?, &id)?;
    for event in observers.seen(pid)? {
        names_no_pod(&event);
        assert_eq!(event.text("process.user.id")?, NOBODY.to_string());
        assert_eq!(event.text("supervisor.identity_confidence")?, "medium");
        assert!(event.flag("supervisor.runtime.unverified")?);
        // The claim is reported as refused.
        let claims = event.list("supervisor.claims")?;
        let file = claims.iter().find(|claim| claim.text("source").is_ok_and(|it| it == "file"));
        let file = file.context("the file is no claim")?;
        assert_eq!((file.text("pod_namespace")?, file.flag("accepted")?), ("kube-system", false));
        assert_eq!((file.text("by")?, file.number("uid")?), ("user", NOBODY.into()));
    }
    fixture.end()?;
    observers.end()
}

/// A container of root, in the directory of root's crun.
struct Victim(PathBuf);

impl Victim {
    fn new(id: &str) -> Result<Self> {
        let it = Self(Path::new("/run/crun").join(id));
        fs::create_dir_all(&it.0)?;
        fs::write(it.0.join("status"), status(it.0.to_str().context("a plain path")?))?;
        fs::write(it.0.join("config.json"), SPEC)?;
        Ok(it)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _it_may_be_gone = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_user_does_not_become_a_container_of_root_s() -> Result<()> {
    let attacker = Attacker::new()?;
    let id = engine_id()?;
    let _victim = Victim::new(&id)?;
    attacker.make_dir("bundle")?;
    attacker.write("bundle/config.json", SPEC)?;
    let mut observers = Observers::start()?;
    // The lie uses root's own files, and then files of the attacker.
    for root in ["/run/crun", &attacker.path("state")?] {
        let (fixture, pid) = attacker.leave_a_zombie(root, &id)?;
        for event in observers.seen(pid)? {
            names_no_pod(&event);
            assert_eq!(event.get("container"), None, "{event:?}");
            assert_eq!(event.text("supervisor.identity_confidence")?, "low");
            assert!(
                event
                    .list("supervisor.claims")?
                    .iter()
                    .all(|claim| claim.flag("accepted").is_ok_and(|it| !it))
            );
        }
        fixture.end()?;
    }
    observers.end()
}

#[test]
fn links_to_files_that_only_root_may_read_and_pipes_are_not_read() -> Result<()> {
    let attacker = Attacker::new()?;
    let root = tempfile::Builder::new().prefix("supervisor-lab-").tempdir()?;
    let secret = root.path().join("secret");
    // If the file were read as a state, the event would have values from the bundle that it names.
    attacker.make_dir("bundle")?;
    attacker.make_dir("victim")?;
    attacker.write("victim/config.json", SPEC)?;
    fs::write(&secret, status(&attacker.path("victim")?))?;
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;

    for id in ["linked", "piped", "kernel", "log"] {
        attacker.make_dir(&format!("state/{id}"))?;
    }
    symlink(&secret, attacker.at("state/linked/status"))?;
    symlink(&secret, attacker.at("state/linked/config.json"))?;
    mkfifoat(CWD, attacker.at("state/piped/status"), Mode::RUSR | Mode::WUSR)?;
    mkfifoat(CWD, attacker.at("bundle/config.json"), Mode::RUSR | Mode::WUSR)?;
    symlink("/proc/version", attacker.at("state/kernel/status"))?;
    symlink("/dev/zero", attacker.at("state/kernel/state.json"))?;
    // A reader of this file takes the kernel's messages away from others.
    symlink("/proc/kmsg", attacker.at("state/log/status"))?;
    let mut observers = Observers::start()?;
    for id in ["linked", "piped", "kernel", "log"] {
        let (fixture, pid) = attacker.leave_a_zombie(&attacker.path("state")?, id)?;
        for event in observers.seen(pid)? {
            names_no_pod(&event);
            let claims = event.list("supervisor.claims")?;
            let by_file = |claim: &Event| claim.text("source").is_ok_and(|it| it == "file");
            assert!(!claims.iter().any(by_file), "a file of {id} was read: {claims:?}");
        }
        fixture.end()?;
    }
    observers.end()
}

/// Fails if an event has a claim by a file.
fn read_no_file(event: &Event) -> Result<()> {
    names_no_pod(event);
    let claims = event.list("supervisor.claims")?;
    let by_file = |claim: &Event| claim.text("source").is_ok_and(|it| it == "file");
    assert!(!claims.iter().any(by_file), "a file was read: {claims:?}");
    Ok(())
}

#[test]
fn paths_through_proc_and_files_of_another_mount_namespace_are_not_read() -> Result<()> {
    let attacker = Attacker::new()?;
    let id = engine_id()?;
    attacker.make_dir("bundle")?;
    attacker.write("bundle/config.json", SPEC)?;
    attacker.make_dir(&format!("state/{id}"))?;
    attacker.write(&format!("state/{id}/status"), &status(&attacker.path("bundle")?))?;
    let mut observers = Observers::start()?;
    let (state, bundle) = (attacker.path("state")?, attacker.path("bundle")?);
    // The files exist, so a reader that followed these links would find them.
    let this = std::process::id();
    for through in
        ["/proc/self/root".to_owned(), format!("/proc/{this}/root"), format!("/proc/{this}/task/{this}/root")]
    {
        assert!(Path::new(&format!("{through}{bundle}/config.json")).exists());
        let (root, bundle) = (format!("{through}{state}"), format!("{through}{bundle}"));
        let (fixture, pid) = attacker.leave_a_zombie_of(&[], &root, &bundle, &id)?;
        observers.seen(pid)?.iter().try_for_each(read_no_file)?;
        fixture.end()?;
    }
    // In a mount namespace of its own, a user puts files where root's crun keeps its own.
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/crun/{id} /run/bundle && cp {bundle}/config.json /run/bundle && \
         echo '{}' > /run/crun/{id}/status && exec \"$@\"",
        status("/run/bundle")
    );
    let by = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let (fixture, pid) = attacker.leave_a_zombie_of(&by, "/run/crun", "/run/bundle", &id)?;
    observers.seen(pid)?.iter().try_for_each(read_no_file)?;
    fixture.end()?;
    observers.end()
}
