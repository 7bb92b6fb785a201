//! Bug reports about pods of the real containerd and runc: a sandbox that does not reap, Kubernetes in a container, and
//! a frozen control group.

use std::{fs, os::unix::fs::symlink};

use anyhow::{Context, Result, ensure};
use supervisor_lab::{Lab, program, stat, until};
use supervisor_tests::{
    Containerd, Spec, WAIT_LIMIT, Watch, child_of, container_id, fixture, pod_cgroup, run_json,
    supervisor_bin,
};

use super::{FIXTURE, Truth, check, finding_under, has_all, has_none, script, text_of};

/// A worker. Each of its jobs leaves a child that outlives the job.
const WORKER: [&str; 3] = ["/bin/sh", "-c", "while :; do (sleep 1 &); sleep 3; done"];

/// kata-containers/agent#803: the pod shares its PID namespace, and the namespace's PID 1 does not reap.
fn sandbox_that_does_not_reap(recording: &str, init: &[&str], truth: &Truth<'_>) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    supervisor_lab::copy_program(FIXTURE, lab.rootfs().join("bin/pause"))?;
    let mut watch = Watch::recorded(recording)?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let (pod, sandbox, id) = (pod_cgroup()?, container_id()?, container_id()?);
    let pause = containerd.run(Spec {
        id: &sandbox,
        cgroup: &format!("{pod}/{sandbox}"),
        args: &["/bin/pause", "sleeps"],
        ..Spec::default()
    })?;
    watch.keep(&[pause]);
    let worker = containerd.run(Spec {
        id: &id,
        cgroup: &format!("{pod}/{id}"),
        args: &[init, &WORKER].concat(),
        joins: Some(pause),
        ..Spec::default()
    })?;
    let zombie = finding_under(&mut watch, pause, |_| true)?.pid("process.pid")?;
    let told = truth.is_told_of(&mut watch, zombie, pause)?;
    ensure!(told.text("container.id")? == id, "the container is {id}: {}", told.0);
    drop(containerd);
    truth.holds_to_the_end(watch, zombie, &[pause, worker])
}

#[test]
fn a_sandbox_does_not_reap() -> Result<()> {
    let truth = Truth {
        family: "F2",
        position: "adopted-by-init",
        cause: "never-waits",
        prognosis: "leaked",
        names: &["pause"],
        remedies: &["replace", "pause"],
        no_remedy: &["shareProcessNamespace"],
        ..Truth::default()
    };
    sandbox_that_does_not_reap("case-sandbox", &[], &truth)
}

#[test]
fn a_sandbox_does_not_reap_and_tini_is_in_the_image() -> Result<()> {
    let truth = Truth {
        family: "F5",
        position: "adopted-by-init",
        cause: "never-waits",
        prognosis: "leaked",
        names: &["pause", "tini"],
        remedies: &["tini -s"],
        no_remedy: &["shareProcessNamespace"],
        ..Truth::default()
    };
    let tini = program("tini").context("tini is not installed")?;
    let tini = tini.to_str().context("no UTF-8")?;
    sandbox_that_does_not_reap("case-sandbox-tini", &[tini, "--"], &truth)
}

/// The socket at which the inner containerd listens.
const INNER: &str = "/run/containerd/containerd.sock";

/// k0sproject/k0s#698: Kubernetes in a container whose PID 1 waits for containerd, but not for containerd's shims.
#[test]
fn kubernetes_in_a_container_does_not_reap_its_shims() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let root = lab.rootfs();
    for folder in ["etc", "run", "var/lib", "inner/bin", "inner/proc", "inner/dev", "inner/sys"] {
        fs::create_dir_all(root.join(folder))?;
    }
    supervisor_lab::copy_program(
        program("busybox").context("busybox is not installed")?,
        root.join("inner/bin/busybox"),
    )?;
    symlink("busybox", root.join("inner/bin/true"))?;
    supervisor_lab::copy_program(FIXTURE, root.join("bin/k0s"))?;
    let config = format!(
        "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{INNER}\"\n"
    );
    fs::write(root.join("etc/containerd.toml"), config)?;
    let mut watch = Watch::recorded("case-shim-in-container")?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let id = container_id()?;
    let group = format!("/docker/{id}");
    let k0s = containerd.run(Spec {
        id: &id,
        cgroup: &group,
        args: &["/bin/k0s", "runs", "1000", "3600000", "containerd", "--config", "/etc/containerd.toml"],
        has_cgroups: true,
        ..Spec::default()
    })?;
    watch.keep(&[k0s]);
    let ctr = ["ctr", "--address", INNER, "--namespace", "k8s.io"];
    until("the inner containerd to answer", WAIT_LIMIT, || {
        Ok(containerd.exec(&id, &[&ctr[..], &["version"]].concat())?.success().then_some(()))
    })?;
    let pod = format!("{group}/pod");
    let run = ["run", "--rm", "--rootfs", "--cgroup", &pod, "/inner", "pod", "/bin/true"];
    let status = containerd.exec(&id, &[&ctr[..], &run].concat())?;
    ensure!(status.success(), "the inner ctr run ended with {status}");

    let found = finding_under(&mut watch, k0s, |event| {
        event.text("process.name").is_ok_and(|name| name.starts_with("containerd-shim"))
    })?;
    let zombie = found.pid("process.pid")?;
    let truth = Truth {
        family: "F7",
        position: "adopted-by-init",
        cause: "waits-by-pid",
        prognosis: "leaked",
        names: &["k0s"],
        remedies: &["init"],
        may_help: &["an init in the container"],
        ..Truth::default()
    };
    let told = truth.is_told_of(&mut watch, zombie, k0s)?;
    ensure!(told.text("container.id")? == id, "the container is {id}: {}", told.0);
    if let Ok(monitor) = told.pid("supervisor.monitor.pid") {
        let lives = stat(monitor).is_some_and(|it| it.state != 'Z');
        ensure!(lives && monitor != zombie, "the monitor is {monitor}: {}", told.0);
    }
    drop(containerd);
    truth.holds_to_the_end(watch, zombie, &[k0s])
}

/// opencontainers/runc#2105: a group below the container's is frozen, and the container is killed.
#[test]
fn a_group_below_the_containers_is_frozen() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    script(&lab.rootfs().join("job.sh"), "#!/bin/sh\nsleep 3600 &\nsleep 3601 &\nwait\n")?;
    let tini = program("tini").context("tini is not installed")?;
    let mut watch = Watch::recorded("case-frozen-group")?;
    let mut containerd = Containerd::start(FIXTURE, &lab)?;
    let id = container_id()?;
    let group = format!("{}/{id}", pod_cgroup()?);
    let init = containerd.run(Spec {
        id: &id,
        cgroup: &group,
        args: &[tini.to_str().context("no UTF-8")?, "--", "/job.sh"],
        ..Spec::default()
    })?;
    watch.keep(&[init]);
    let job = child_of(init, "the job", |_| true)?.pid;
    let task = child_of(job, "a process of the job", |it| it.comm == "sleep")?.pid;
    let nested = format!("{group}/nested");
    let mut freezer = fixture!("freezes", &nested, &task.to_string())?;
    freezer.fact("frozen")?;
    containerd.kill(&id)?;
    let blocked = watch.wait_for("the blocked namespace", |event| event.says("namespace-blocked", init))?;
    ensure!(blocked.text("supervisor.family.id")? == "F8", "F8: {}", blocked.0);
    let blockers = blocked.list("supervisor.blockers")?;
    ensure!(blockers.len() == 1 && blockers[0].pid("pid")? == task, "only {task} blocks: {}", blocked.0);
    let ino = blocked.number("supervisor.pid_ns.ino")?.to_string();
    let of_init = |args: &[&str]| {
        let (events, _) = run_json(args)?;
        events
            .into_iter()
            .find(|event| event.is_about(init))
            .with_context(|| format!("{args:?} says nothing"))
    };
    let explained = of_init(&["explain", "--pidns", &ino, "-o", "json"])?;
    let listed = of_init(&["ps", "--pidns", &ino, "-o", "json"])?;
    let line = check(&["--pidns", &ino])?;
    for words in
        ["SUPERVISOR CRITICAL - ", &format!("PID namespace {ino} cannot end"), "frozen", " blocked=1;"]
    {
        ensure!(line.contains(words), "{words:?} is not in what check says: {line}");
    }
    for event in [&blocked, &explained, &listed] {
        let said = format!("{} {}", event.text("supervisor.verdict")?, text_of(event, "evidence"));
        has_all("the verdict and the evidence", &said, &["frozen"])?;
        has_all("the remedies", &text_of(event, "remedies"), &["thaw", &nested])?;
        has_none("the remedies", &text_of(event, "remedies"), &["/stack"])?;
    }
    freezer.send("release")?;
    freezer.fact("released")?;
    watch.wait_for("its end", |event| event.says("namespace-released", init))?;
    freezer.end()?;
    drop(containerd);
    watch.stop()?;
    Ok(())
}
