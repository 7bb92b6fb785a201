//! Tests of podman with conmon and crun: PID 1 of the container is a program that never reaps.

use std::{
    io::Write,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use supervisor_lab::{Lab, Lines, private_cgroup2};
use supervisor_tests::{Event, WAIT_LIMIT, Watch, of_process, supervisor_bin};

use crate::exec::{checks_until_found, is_period_of};

/// The health check's period. The time that podman takes until it starts the runtime may differ by a quarter of it.
const PERIOD: Duration = Duration::from_secs(4);

/// Runs a container whose command leaves an orphan, prints its id and its PID 1, executes something in it for every
/// line of input, and removes it once its input ends. The podman commands share a mount namespace.
const SCRIPT: &str = r#"
podman() { command podman --root "$LAB/s" --runroot "$LAB/r" --tmpdir "$LAB/t" --events-backend=none \
  --cgroup-manager=cgroupfs --runtime=crun "$@"; }
trap 'podman rm -f -t 0 "$NAME" >/dev/null' EXIT
podman run -d --name "$NAME" --network=none --cgroups=disabled --ulimit nofile=1000:1000 \
  --ulimit nproc=9000:9000 --rootfs "$LAB/rootfs" sh -c '(sleep 1 &); exec sleep 600' || exit 1
podman inspect --format '{{.State.Pid}}' "$NAME" || exit 1
while read -r _; do
  podman exec "$NAME" sh -c 'sleep 0.1 >/dev/null 2>&1 &' </dev/null && echo executed
done
"#;

/// A container. It is removed when this is dropped. The shell is not bound to this test, because the shell must remove
/// the container.
struct Podman {
    stdin: Option<ChildStdin>,
    lines: Lines,
    shell: Child,
    name: String,
    id: String,
    init: u32,
}

impl Podman {
    fn run(lab: &Lab) -> Result<Self> {
        lab.add_busybox(&["sh", "sleep"])?;
        let name = lab.container_id("podman");
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT]).env("LAB", lab.path()).env("NAME", &name);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = private_cgroup2(&mut command).spawn()?;
        let lines = Lines::of(shell.stdout.take().context("the shell has no pipe")?);
        let stdin = shell.stdin.take();
        let mut podman = Self { stdin, lines, shell, name, id: String::new(), init: 0 };
        podman.id = podman.line("podman to run a container")?;
        podman.init = podman.line("podman to inspect it")?.parse()?;
        Ok(podman)
    }

    fn exec(&self) -> Result<()> {
        writeln!(self.stdin.as_ref().context("the shell has no pipe")?)?;
        let said = self.line("podman to execute something")?;
        ensure!(said == "executed", "podman exec said {said}");
        Ok(())
    }

    fn line(&self, what: &str) -> Result<String> {
        self.lines.next(what, WAIT_LIMIT)?.with_context(|| format!("the shell ended before {what}"))
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // This can fail only if the shell was already waited for.
        let _ = self.shell.wait();
    }
}

/// Checks the facts that are the same for all zombies that its PID 1 does not reap.
fn names_the_container(found: &Event, podman: &Podman) -> Result<()> {
    assert_eq!(found.text("process.name")?, "sleep");
    assert_eq!(found.number("process.exit_code")?, 0);
    assert_eq!(found.pid("supervisor.reaper.pid")?, podman.init);
    assert_eq!(found.text("supervisor.reaper.name")?, "sleep");
    assert!(found.flag("supervisor.reaper.is_pidns_init")?);
    assert!(found.flag("supervisor.reaper.adopted")?);
    assert_eq!(found.text("container.name")?, podman.name);
    assert_eq!(found.text("container.id")?, podman.id);
    assert_eq!(found.text("supervisor.runtime.name")?, "crun");
    Ok(())
}

#[test]
fn pid_1_that_never_reaps_is_named_with_its_container() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let mut watch = Watch::recorded("f2-podman-entrypoint")?;
    let podman = Podman::run(&lab)?;
    let init = podman.init;
    watch.keep(&[init]);

    let found = watch.wait_for("the container's zombie", |event| {
        event.action() == "zombie-detected" && event.is_under(init)
    })?;
    let pid = found.pid("process.pid")?;
    names_the_container(&found, &podman)?;
    assert_eq!(found.text("supervisor.pid_ns.mode")?, "own");
    assert_eq!(found.text("supervisor.monitor.name")?, "conmon");
    assert_eq!(found.text("supervisor.family.id")?, "F2");
    assert_eq!(found.text("supervisor.origin")?, "entrypoint");

    // The end of the container ends its namespace, and that reaps the zombie.
    drop(podman);
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    watch.stop()?;
    Ok(())
}

#[test]
fn orphans_of_exec_are_distinguished_from_the_entry_point_and_from_a_health_check() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let mut watch = Watch::recorded("f3-podman-exec")?;
    let podman = Podman::run(&lab)?;
    let init = podman.init;
    watch.keep(&[init]);
    let first = watch.wait_for("the entry point's zombie", |event| {
        event.action() == "zombie-detected" && event.is_under(init)
    })?;
    let first = first.pid("process.pid")?;
    // It is of another family, and has its own recording.
    watch.leave_out(first);

    podman.exec()?;
    let found = watch.wait_for("the zombie of one exec", |event| {
        event.action() == "zombie-detected" && event.is_under(init) && !event.is_about(first)
    })?;
    names_the_container(&found, &podman)?;
    assert_eq!(found.text("supervisor.family.id")?, "F3");
    assert_eq!(found.text("supervisor.origin")?, "exec");
    let (found, pauses) = checks_until_found(&mut watch, init, PERIOD, || podman.exec())?;
    names_the_container(&found, &podman)?;
    assert_eq!(found.text("supervisor.family.id")?, "F3");
    is_period_of(&found, &pauses)?;
    drop(podman);
    // The zombie of the entry point is no health check, whatever comes later.
    let outcome = watch.stop()?;
    for event in of_process(&outcome.events, first) {
        assert!(event.text("supervisor.origin").is_ok_and(|it| it == "entrypoint"), "{}", event.0);
    }
    Ok(())
}
