//! podman with conmon and crun: PID 1 of the container is a program that never reaps.

use std::{
    process::{ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use supervisor_tests::{Watch, supervisor_bin};
use supervisor_user::scenario::{Lab, Lines, private_cgroup2};

/// How long podman may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(1);

/// Runs a container, prints its id and its PID 1, and removes it once its input ends. The podman commands share
/// a mount namespace.
const SCRIPT: &str = r#"
podman() { command podman --root "$LAB/s" --runroot "$LAB/r" --tmpdir "$LAB/t" --events-backend=none \
  --cgroup-manager=cgroupfs --runtime=crun "$@"; }
trap 'podman rm -f -t 0 "$NAME" >/dev/null' EXIT
podman run -d --name "$NAME" --network=none --cgroups=disabled --ulimit nofile=1000:1000 \
  --ulimit nproc=9000:9000 --rootfs "$LAB/rootfs" sh -c 'sleep 0.2 & exec sleep 120' || exit 1
podman inspect --format '{{.State.Pid}}' "$NAME" || exit 1
read -r _
"#;

/// The shell; it is not bound to this test, because it has a container to remove when its input ends.
struct Shell {
    child: std::process::Child,
    stdin: Option<ChildStdin>,
}

impl Drop for Shell {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // It can fail only if the shell was waited for already.
        let _ = self.child.wait();
    }
}

#[test]
fn pid_1_that_never_reaps_is_named_with_its_container() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    let name = lab.container_id("podman");
    let mut watch = Watch::start(&[])?;

    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT]).env("LAB", lab.path()).env("NAME", &name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = private_cgroup2(&mut command).spawn()?;
    let stdout = child.stdout.take();
    let shell = Shell { stdin: child.stdin.take(), child };
    let lines = Lines::of(stdout.context("the shell has no pipe")?);
    let id = lines.next("podman to run a container", LIMIT)?.context("podman run failed")?;
    let init: u32 = lines.next("podman to inspect it", LIMIT)?.context("podman inspect failed")?.parse()?;

    let found = watch.wait_for("the container's zombie", |event| {
        event.action() == "zombie-detected" && event.is_under(init)
    })?;
    let pid = found.pid("process.pid")?;
    assert_eq!(found.text("process.name")?, "sleep");
    assert_eq!(found.number("process.exit_code")?, 0);
    assert_eq!(found.pid("supervisor.reaper.pid")?, init);
    assert_eq!(found.text("supervisor.reaper.name")?, "sleep");
    assert!(found.flag("supervisor.reaper.is_pidns_init")?);
    assert_eq!(found.text("container.name")?, name);
    assert_eq!(found.text("supervisor.pid_ns.mode")?, "own");
    assert_eq!(found.text("supervisor.runtime.name")?, "crun");
    assert_eq!(found.text("supervisor.monitor.name")?, "conmon");
    assert_eq!(found.text("container.id")?, id);

    // The end of the container is the end of its namespace, which reaps.
    drop(shell);
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    watch.stop()?;
    Ok(())
}
