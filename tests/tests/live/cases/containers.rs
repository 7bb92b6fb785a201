//! Bug reports about containers of the real containerd and runc, whose PID 1 is a server that waits only for its own
//! commands.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use supervisor_lab::{Lab, program, until};
use supervisor_tests::{
    Containerd, Spec, WAIT_LIMIT, Watch, container_id, pod_cgroup, run_json, supervisor_bin,
};

use super::{FIXTURE, Truth, finding_under, script};

/// The fixture, copied under the name of a program of the container.
fn add_server(lab: &Lab, name: &str) -> Result<String> {
    supervisor_lab::copy_program(FIXTURE, lab.rootfs().join("bin").join(name))?;
    Ok(format!("/bin/{name}"))
}

/// kubernetes/node-problem-detector#726: the detector kills the shell of a late plugin, and inherits the shell's child.
#[test]
fn a_detector_kills_a_late_plugin() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    script(&lab.rootfs().join("plugin.sh"), "#!/bin/sh\nsleep 1.5 &\nwait\n")?;
    let detector = add_server(&lab, "node-problem-detector")?;
    let mut watch = Watch::recorded("case-late-plugin")?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let id = container_id()?;
    let init = containerd.run(Spec {
        id: &id,
        cgroup: &format!("{}/{id}", pod_cgroup()?),
        args: &[&detector, "runs", "2000", "1000", "/plugin.sh"],
        ..Spec::default()
    })?;
    watch.keep(&[init]);
    let zombie = finding_under(&mut watch, init, |_| true)?.pid("process.pid")?;
    let truth = Truth {
        family: "F2",
        position: "adopted-by-init",
        cause: "waits-by-pid",
        prognosis: "leaked",
        names: &["was killed by SIGKILL by node-problem-de", "after 1."],
        remedies: &["init", "process group", "more time"],
        // It waits by pid: a loop over any child would take the exit statuses of its own commands.
        no_remedy: &["while (waitpid(-1"],
        ..Truth::default()
    };
    let told = truth.is_told_of(&mut watch, zombie, init)?;
    let creators = told.list("supervisor.creators")?;
    let shell = creators.first().context("no creator")?;
    ensure!(shell.number("exit.signal")? == 9, "how the shell ended: {}", shell.0);
    ensure!(told.text("container.id")? == id, "the container is {id}: {}", told.0);
    // The container is found by the beginning of its id too.
    for args in [["explain", "--container", &id], ["ps", "--container", &id[..12]]] {
        let (events, _) = run_json(&[&args[..], &["-o", "json"]].concat())?;
        ensure!(events.iter().any(|event| event.is_about(zombie)), "{args:?} does not report {zombie}");
    }
    // A shell asks this way at each TAB.
    let mut shell = Command::new(supervisor_bin()?);
    shell.env("SUPERVISOR_COMPLETE", "fish").args(["--", "supervisor", "ps", "--container", &id[..4]]);
    let offered = String::from_utf8(shell.output()?.stdout)?;
    ensure!(offered.lines().any(|line| line == &id[..12]), "{} is not offered: {offered}", &id[..12]);
    drop(containerd);
    truth.holds_to_the_end(watch, zombie, &[init])
}

/// Snapchat/KeyDB#681: at each probe, busybox's `timeout` leaves its timer to PID 1, which is a database.
#[test]
fn a_probe_uses_the_timeout_of_busybox() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "timeout", "["])?;
    let probe = "#!/bin/sh\n\
                 response=$(timeout -s 3 \"$1\" redis-cli -h 127.0.0.1 -p 6379 ping)\n\
                 [ \"$response\" = PONG ] || exit 1\n";
    script(&lab.rootfs().join("health/ping.sh"), probe)?;
    // The server and this tool are the same file. The file chooses by its name.
    let server = program("redis-check-rdb").context("redis-tools is not installed")?;
    supervisor_lab::copy_program(server, lab.rootfs().join("bin/redis-server"))?;
    let mut watch = Watch::recorded("case-busybox-timeout")?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let id = container_id()?;
    let init = containerd.run(Spec {
        id: &id,
        cgroup: &format!("{}/{id}", pod_cgroup()?),
        args: &["/bin/redis-server", "--dir", "/tmp", "--save", ""],
        ..Spec::default()
    })?;
    watch.keep(&[init]);
    until("the database to answer a probe", WAIT_LIMIT, || {
        Ok(containerd.exec(&id, &["/health/ping.sh", "2"])?.success().then_some(()))
    })?;
    let zombie = finding_under(&mut watch, init, |_| true)?.pid("process.pid")?;
    let truth = Truth {
        family: "F3",
        position: "adopted-by-init",
        cause: "never-waits",
        prognosis: "leaked",
        names: &["redis-server"],
        remedies: &["init"],
        // `timeout` is the cause, so it is no remedy.
        no_remedy: &["timeout 3", "use `timeout", "with timeout"],
        ..Truth::default()
    };
    let told = truth.is_told_of(&mut watch, zombie, init)?;
    // busybox executes an applet from its own file. The program that its creator executed after the fork is another
    // one.
    let is_busybox =
        |file: &str| ["/busybox", "/timeout", "/proc/self/exe"].iter().any(|it| file.ends_with(it));
    ensure!(is_busybox(told.text("process.executable")?), "another program: {}", told.0);
    if let Ok(forked_as) = told.text("supervisor.forked_as") {
        ensure!(is_busybox(forked_as), "forked as {forked_as}: {}", told.0);
    }
    drop(containerd);
    truth.holds_to_the_end(watch, zombie, &[init])
}

/// The limit of processes in the CI server's container.
const PIDS: u32 = 40;

/// PikoCI/pikoci#681: git puts its housekeeping in the background, and the zombies use up the container's pids.
#[test]
fn a_ci_server_runs_git_until_no_pid_is_left() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh"])?;
    add_repositories(&lab.rootfs())?;
    let server = add_server(&lab, "pikoci")?;
    let mut watch = Watch::recorded("case-git-background")?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let id = container_id()?;
    let fetch = ["git", "-C", "/repo", "fetch", "-q", "/origin", "main"];
    let init = containerd.run(Spec {
        id: &id,
        cgroup: &format!("/docker/{id}"),
        args: &[&[&*server, "runs", "10", "60000"], &fetch[..]].concat(),
        pids: Some(PIDS),
        ..Spec::default()
    })?;
    watch.keep(&[init]);
    let zombie =
        finding_under(&mut watch, init, |event| event.text("process.name").is_ok_and(|name| name == "git"))?;
    let zombie = zombie.pid("process.pid")?;
    let truth = Truth {
        family: "F2",
        position: "adopted-by-init",
        cause: "waits-by-pid",
        prognosis: "leaked",
        names: &["git"],
        remedies: &["init"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, init)?;
    // The budget is that of the container, no pid is left in it, and the event reports failed forks.
    let budget = until("forks to fail", WAIT_LIMIT, || {
        let (events, _) = run_json(&["explain", &zombie.to_string(), "-o", "json"])?;
        let event = events.into_iter().next().context("explain says nothing")?;
        Ok(event.number("supervisor.budget.fork_failures").is_ok_and(|it| it > 0).then_some(event))
    })?;
    ensure!(budget.number("supervisor.budget.pids_max")? == u64::from(PIDS), "another limit: {}", budget.0);
    ensure!(budget.text("supervisor.budget.source")?.contains(&id), "another place: {}", budget.0);
    drop(containerd);
    truth.holds_to_the_end(watch, zombie, &[init])
}

/// Two repositories. Each fetch into the second one starts `git gc`: git inspects the directory of loose objects whose
/// names begin with 17, and two objects stay there.
fn add_repositories(root: &Path) -> Result<()> {
    let script = "set -e; export HOME=\"$PWD\" GIT_CONFIG_NOSYSTEM=1\n\
                  git init -q -b main origin\n\
                  git -C origin -c user.email=a@b -c user.name=a commit -q --allow-empty -m 1\n\
                  git clone -q origin repo; cd repo\n\
                  for it in auto=1 pruneExpire=never cruftPacks=false autoPackLimit=0 logExpiry=now; do\n\
                  git config gc.${it%=*} ${it#*=}; done\n\
                  for it in 263 410; do echo $it | git hash-object -w --stdin; done\n";
    let output = Command::new("sh").args(["-c", script]).current_dir(root).output()?;
    ensure!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let home = root.join("root");
    fs::create_dir_all(&home)?;
    Ok(fs::write(home.join(".gitconfig"), "[safe]\n\tdirectory = *\n")?)
}
