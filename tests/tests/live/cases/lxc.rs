//! lxc/lxc#2302: `lxc-start` runs an application as PID 1, which does not reap.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use supervisor_lab::{Lab, program, stat, until};
use supervisor_tests::{Event, Guard, WAIT_LIMIT, Watch, remove_groups, supervisor_bin};

use super::{FIXTURE, Truth, finding_under, script, silent_about};

/// The truth about both zombies. They differ only in their creator.
const TRUTH: Truth<'_> = Truth {
    family: "",
    position: "adopted-by-init",
    cause: "never-waits",
    prognosis: "leaked",
    names: &["tail"],
    remedies: &["lxc-execute", "lxc.init.cmd"],
    no_remedy: &["--init", "podman", "docker", "shareProcessNamespace"],
    wont_help: &[],
    may_help: &[],
};

/// A running container. It is stopped when this is dropped.
struct Lxc {
    path: PathBuf,
    name: String,
    init: u32,
    _guard: Guard,
}

impl Lxc {
    /// Starts a container whose command runs this line of a shell, and then sleeps for ever without waiting.
    fn start(lab: &Lab, line: &str) -> Result<Self> {
        lab.add_busybox(&["sh", "sleep", "tail"])?;
        script(&lab.rootfs().join("app.sh"), &format!("#!/bin/sh\n{line}\nexec /bin/tail -f /dev/null\n"))?;
        let name = lab.container_id("web1");
        let path = lab.path().join("lxc");
        let place = path.join(&name);
        fs::create_dir_all(&place)?;
        let config = format!(
            "lxc.uts.name = web1\nlxc.rootfs.path = dir:{}\nlxc.net.0.type = none\nlxc.mount.auto = proc:rw\n\
             lxc.autodev = 1\nlxc.apparmor.profile = unconfined\nlxc.init.cmd = /app.sh\n",
            lab.rootfs().display()
        );
        fs::write(place.join("config"), config)?;
        let start = program("lxc-start").context("lxc is not installed")?;
        let place = path.to_str().context("no UTF-8")?;
        let log = path.join("log");
        let args = ["-P", place, "-n", &name, "-d", "-o", log.to_str().context("no UTF-8")?];
        let guard = Guard::start(FIXTURE, &start, &args)?;
        let mut this = Self { path, name, init: 0, _guard: guard };
        this.init = until("the container to start", WAIT_LIMIT, || {
            let output = this.lxc("lxc-info", &["-p", "-H"]).stdout(Stdio::piped()).output()?;
            Ok(String::from_utf8(output.stdout)?.trim().parse().ok())
        })?;
        Ok(this)
    }

    fn lxc(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = Command::new(tool);
        command.arg("-P").arg(&self.path).args(["-n", &self.name]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Compares the output about a zombie of the container, and stops the container.
    fn compare(self, mut watch: Watch, truth: &Truth<'_>) -> Result<Event> {
        let (init, name) = (self.init, self.name.clone());
        let zombie = finding_under(&mut watch, init, |_| true)?.pid("process.pid")?;
        let told = truth.is_told_of(&mut watch, zombie, init)?;
        let container = ["container.name", "container.id"].iter().find_map(|field| told.text(field).ok());
        ensure!(container == Some(&name), "the container is {name}: {}", told.0);
        ensure!(told.text("container.runtime")? == "lxc", "the runtime is lxc: {}", told.0);
        let monitor = stat(init).context("the container has ended")?.parent;
        // An attached session is no child of the monitor, so the event need not name the monitor.
        let named = told.pid("supervisor.monitor.pid").ok();
        let is_attached = truth.family == "F3";
        ensure!(named.map_or(is_attached, |pid| pid == monitor), "the monitor is {monitor}: {}", told.0);
        drop(self);
        watch.wait_for("its end", |event| event.says("zombie-reaped", zombie))?;
        let outcome = watch.stop()?;
        truth.holds_in(&outcome.events, zombie)?;
        silent_about(&outcome.events, &[init, monitor])?;
        Ok(told)
    }
}

impl Drop for Lxc {
    fn drop(&mut self) {
        // If this fails, the guard kills the container.
        let _ = self.lxc("lxc-stop", &["-k"]).status();
        // lxc leaves this group behind.
        remove_groups("lxc.pivot");
    }
}

#[test]
fn an_application_is_pid_1() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let mut watch = Watch::recorded("case-lxc")?;
    let container = Lxc::start(&lab, "/bin/sh -c '(sleep 1; exit 3) & exit 0'")?;
    watch.keep(&[container.init]);
    container.compare(watch, &Truth { family: "F2", ..TRUTH }).map(drop)
}

#[test]
fn an_attached_session_leaves_a_process() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let mut watch = Watch::recorded("case-lxc-attach")?;
    let container = Lxc::start(&lab, ":")?;
    watch.keep(&[container.init]);
    let attach = ["--", "/bin/sh", "-c", "(sleep 1; exit 4) & exit 0"];
    let status = container.lxc("lxc-attach", &attach).status()?;
    ensure!(status.success(), "lxc-attach ended with {status}");
    let told = container.compare(watch, &Truth { family: "F3", ..TRUTH })?;
    ensure!(told.text("supervisor.origin")? == "exec", "it is an exec session: {}", told.0);
    Ok(())
}
