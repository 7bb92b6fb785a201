//! Tests with least capabilities: a watch that is not root, and has only the capabilities of the table, sees the same
//! as root.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use caps::Capability;
use rustix::process::Signal;
use supervisor_collect::privileges::{NEEDS, REAP_NEEDS, Until};
use supervisor_lab::{Owned, until};
use supervisor_tests::{Agent, Fixture, Screen, WAIT_LIMIT, Watch, child_of, fixture, supervisor_bin};
use tempfile::TempDir;

/// The user of the watch: `nobody`.
const WATCHER: u32 = 65_534;
/// A user that is neither root nor that.
const OTHER: u32 = 12_345;

/// A folder that all users may enter, wherever the build is, and the programs in it.
struct Programs {
    dir: TempDir,
}

impl Programs {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        for (name, source) in [
            ("supervisor", supervisor_bin()?.as_path()),
            ("fixture", Path::new(env!("CARGO_BIN_EXE_fixture"))),
        ] {
            supervisor_lab::copy_program(source, dir.path().join(name))?;
        }
        symlink("/bin/false", dir.path().join("runc"))?;
        Ok(Self { dir })
    }

    fn path(&self, name: &str) -> Result<String> {
        Ok(self.dir.path().join(name).to_str().context("a plain path")?.to_owned())
    }

    /// `supervisor` as a user that is not root, with these capabilities and no way to get more.
    fn supervisor(&self, capabilities: &[&str]) -> Result<Command> {
        let list: String = ["-all".to_owned()]
            .into_iter()
            .chain(capabilities.iter().map(|name| format!(",+{name}")))
            .collect();
        let mut command = Command::new("setpriv");
        command.args(as_user(WATCHER)).arg("--no-new-privs");
        for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
            command.args([set, &list]);
        }
        command.arg(self.path("supervisor")?);
        Ok(command)
    }
}

fn as_user(id: u32) -> [String; 5] {
    let id = id.to_string();
    ["--reuid".to_owned(), id.clone(), "--regid".to_owned(), id, "--clear-groups".to_owned()]
}

/// The names in the table, in the form that `setpriv` takes.
fn needed() -> Vec<String> {
    NEEDS.iter().map(|need| need.capability.to_string().trim_start_matches("CAP_").to_lowercase()).collect()
}

#[test]
fn the_required_capabilities_show_processes_and_containers_of_other_users() -> Result<()> {
    const ID: &str = "a-container";
    let programs = Programs::new()?;
    let bundle = programs.dir.path().join("bundle");
    fs::create_dir(&bundle)?;
    let spec = r#"{"ociVersion":"1.0.2","annotations":{"io.kubernetes.cri-o.ContainerID":"a-container",
        "io.kubernetes.container.name":"web","io.kubernetes.pod.namespace":"shop"}}"#;
    fs::write(bundle.join("config.json"), spec)?;
    for file in [&bundle.join("config.json"), &bundle] {
        chown(file, Some(OTHER), Some(OTHER))?;
        fs::set_permissions(file, Permissions::from_mode(0o700))?;
    }

    // It is older than the watch, so only /proc has its executable.
    let (runc, bundle) = (programs.path("runc")?, programs.path("bundle")?);
    let mut args = as_user(OTHER).to_vec();
    args.extend([programs.path("fixture")?, "never-wait".to_owned(), "1".to_owned()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let old = Fixture::start("setpriv", &args)?;
    let old_zombie = old.fact("zombie")?.pid("pid")?;

    let names = needed();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut watch = Watch::start_by(programs.supervisor(&names)?, &[])?;
    let status = fs::read_to_string(format!("/proc/{}/status", watch.pid()))?;
    let id = WATCHER.to_string();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).context("no user")?;
    assert!(uids.split_whitespace().all(|uid| uid == id), "it is not that user: {uids}");

    let found = watch.wait_for("the old zombie", |event| event.says("zombie-existing", old_zombie))?;
    assert_eq!(found.number("process.exit_code")?, 7, "0 would mean that it may not be read");
    assert_eq!(found.text("process.user.id")?, OTHER.to_string());
    assert_eq!(found.text("process.parent.executable")?, programs.path("fixture")?);
    assert_eq!(found.pid("supervisor.reaper.pid")?, old.pid());
    assert!(!found.text("supervisor.reaper.wchan")?.is_empty());
    found.number("supervisor.pid_ns.ino")?;

    let mut args = as_user(OTHER).to_vec();
    args.extend([programs.path("fixture")?, "spawns".to_owned(), runc.clone()]);
    args.extend(["create", "--bundle", &bundle, ID].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let new = Fixture::start("setpriv", &args)?;
    let new_zombie = new.fact("zombie")?.pid("pid")?;
    let found = watch.wait_for("the new zombie", |event| event.says("zombie-detected", new_zombie))?;
    assert_eq!(found.text("process.executable")?, runc);
    assert_eq!(found.text("container.id")?, ID);
    // Its bundle is in a directory of another user. The bundle is read, but that user may name no pod.
    let claims = found.list("supervisor.claims")?;
    let file = claims.iter().find(|claim| claim.text("source").is_ok_and(|source| source == "file"));
    assert_eq!(file.context("the bundle is not read")?.text("pod_namespace")?, "shop");
    assert_eq!(found.get("orchestrator"), None);

    old.end()?;
    new.end()?;
    for pid in [old_zombie, new_zombie] {
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    }
    watch.stop()?;
    Ok(())
}

#[test]
fn a_missing_capability_is_named() -> Result<()> {
    let programs = Programs::new()?;
    let all = needed();
    for need in NEEDS.iter().filter(|need| need.is_required) {
        let name = need.capability.to_string();
        let short = name.trim_start_matches("CAP_").to_lowercase();
        let rest: Vec<&str> = all.iter().map(String::as_str).filter(|other| *other != short).collect();
        let mut command = programs.supervisor(&rest)?;
        let output = command.args(["watch", "--duration", "1s"]).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(4), "without {name}: {} {said}", output.status);
        assert!(said.contains(&name), "without {name}: {said}");
    }
    Ok(())
}

/// The capabilities that a process keeps once its programs are loaded, as the bits of `/proc/PID/status`.
fn kept() -> Result<u64> {
    let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    let release = kernel("osrelease")?;
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().context("no version")?, numbers.next().context("no version")?);
    // `bpf(2)` checks the capability for each command there.
    let for_maps = version < (5, 19) && kernel("unprivileged_bpf_disabled")?.trim() != "0";
    let kept = NEEDS.iter().filter(|need| need.until == Until::End).map(|need| need.capability);
    let kept = kept.chain(for_maps.then_some(Capability::CAP_BPF));
    Ok(kept.fold(0, |mask, capability| mask | capability.bitmask()))
}

/// Whether a thread has these capabilities, no others, and no way to get others.
fn has_only(kept: u64, status: &str) -> Result<()> {
    has_and_passes_on(kept, 0, status)
}

/// Whether a thread has these capabilities, may start a process that also has the passed-on ones, and has no way to get
/// others.
fn has_and_passes_on(kept: u64, passed_on: u64, status: &str) -> Result<()> {
    let permitted = kept | passed_on;
    has_sets([0, permitted, kept, permitted, 0], status)
}

/// Whether a thread has these sets: inheritable, permitted, effective, bounding and ambient.
fn has_sets(sets: [u64; 5], status: &str) -> Result<()> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name} in {status}"))
    };
    for (set, wanted) in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"].into_iter().zip(sets) {
        let found = u64::from_str_radix(field(set)?, 16)?;
        ensure!(found == wanted, "{set} of {}: {found:x} instead of {wanted:x}", field("Name:")?);
    }
    ensure!(field("NoNewPrivs:")? == "1", "it can gain capabilities");
    Ok(())
}

#[test]
fn every_command_that_inspects_processes_gives_up_all_other_capabilities() -> Result<()> {
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status"));
    // It gives them up before the first event, and the zombie that exists causes one.
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    let dir = tempfile::tempdir()?;
    let mut watch = Watch::start(&[])?;
    has_only(kept()?, &status(watch.pid())?)?;
    watch.wait_for("the zombie", |event| event.says("zombie-existing", zombie))?;
    watch.stop()?;
    let mut record = Watch::record(&dir.path().join("zombies.zst"), &[])?;
    has_only(kept()?, &status(record.pid())?)?;
    record.wait_for("the zombie", |event| event.says("zombie-existing", zombie))?;
    record.stop()?;

    for command in ["ps --every 1h", "trace", "trace -- sleep 1000"] {
        let mut process = Command::new(supervisor_bin()?);
        process.args(command.split(' ')).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = Owned::start(&mut process)?;
        // `trace` begins with its header, and writes it after the first tick.
        let mut first = [0; 1];
        process.child().stdout.as_mut().context("no pipe")?.read_exact(&mut first)?;
        let also = if command.starts_with("trace --") { Capability::CAP_KILL.bitmask() } else { 0 };
        has_only(kept()? | also, &status(process.pid())?).with_context(|| command.to_owned())?;
        process.signal(Signal::TERM)?;
        process.end(WAIT_LIMIT)?;
    }
    let mut top = Command::new(supervisor_bin()?);
    top.arg("top");
    let mut screen = Screen::start(top, 100, 30)?;
    screen.shows("supervisor")?;
    has_only(kept()?, &status(screen.pid())?)?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn commands_that_inspect_once_give_up_all_other_capabilities() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?.to_string();
    for args in [&["explain", &zombie][..], &["check"], &["ps"]] {
        // It writes when it has inspected all, and then it waits: the pipe is full, and nobody reads.
        let (_reader, mut writer) = std::io::pipe()?;
        writer.write_all(&vec![b'\n'; rustix::pipe::fcntl_getpipe_size(&writer)?])?;
        let mut process = Command::new(supervisor_bin()?);
        process.args(args).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        let mut process = Owned::start(&mut process)?;
        let status = format!("/proc/{}/status", process.pid());
        let gave_up = until("it to write", WAIT_LIMIT, || {
            let wchan = fs::read_to_string(format!("/proc/{}/wchan", process.pid()))?;
            Ok(wchan.ends_with("pipe_write").then_some(()))
        });
        gave_up
            .and_then(|()| has_only(kept()?, &fs::read_to_string(&status)?))
            .with_context(|| args[0].to_owned())?;
        process.signal(Signal::KILL)?;
        process.end(WAIT_LIMIT)?;
    }
    fixture.end()
}

#[test]
fn an_agent_gives_up_all_other_capabilities_and_goes_on() -> Result<()> {
    let agent = Agent::start("[metrics]\nlisten = \"127.0.0.1:0\"\n[sinks.out.stdout]\n")?;
    let tasks = || fs::read_dir(format!("/proc/{}/task", agent.pid()));
    until("the tracer, a sink and the metrics to run", WAIT_LIMIT, || {
        Ok((tasks()?.count() >= 3).then_some(()))
    })?;
    for task in tasks()? {
        has_only(kept()?, &fs::read_to_string(task?.path().join("status"))?)?;
    }

    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let found = agent.wait_for("a finding without the capabilities that were given up", |event| {
        event.says("zombie-detected", pid)
    })?;
    assert_eq!(found.number("process.exit_code")?, 7);
    assert_eq!(found.pid("supervisor.reaper.pid")?, fixture.pid());
    fixture.end()?;
    agent.stop()?;
    Ok(())
}

#[test]
fn an_agent_that_reaps_passes_on_the_capabilities_that_its_workers_need() -> Result<()> {
    let name = format!("rights{}", std::process::id());
    let agent = Agent::start(&format!(
        "[filter]\ncomm = \"{name}\"\n[reap]\nenabled = true\nevery = \"1s\"\nmin_age = \"2s\"\n[sinks.out.stdout]\n"
    ))?;
    let passed_on = REAP_NEEDS.iter().fold(0, |mask, need| mask | need.capability.bitmask());
    for task in fs::read_dir(format!("/proc/{}/task", agent.pid()))? {
        has_and_passes_on(kept()?, passed_on, &fs::read_to_string(task?.path().join("status"))?)?;
    }
    let reader = child_of(agent.pid(), "a reader", |it| it.comm == "supervisor-read")?.pid;
    let own = NEEDS.iter().filter(|need| need.until == Until::End).map(|need| need.capability);
    let own = own.fold(0, |mask, capability| mask | capability.bitmask());
    // The agent can no longer remove the passed-on capabilities from the bounding set. The reader gains nothing from
    // that.
    has_sets([0, own, own, own | passed_on, 0], &fs::read_to_string(format!("/proc/{reader}/status"))?)?;

    // The SIGCHLD that comes first gives its handler a second: long enough to read the worker's status.
    let mut monitor = fixture!("leaks", &name, "500", "handles")?;
    monitor.fact("ready")?;
    let worker = child_of(agent.pid(), "a worker", |it| it.comm == "supervisor-reap")?.pid;
    has_only(own | passed_on, &fs::read_to_string(format!("/proc/{worker}/status"))?)?;
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    monitor.end()?;
    agent.stop().map(drop)
}
