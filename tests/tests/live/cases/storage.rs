//! A bug report about a container's process that was killed and cannot exit, because a storage does not answer.

use std::fs;

use anyhow::{Context, Result, ensure};
use supervisor_lab::Lab;
use supervisor_tests::{
    Containerd, Event, Spec, Watch, container_id, fixture, pod_cgroup, run_json, supervisor_bin,
};

use super::{FIXTURE, check, has_all, has_none, text_of};

/// Checks one command's event about the process.
fn is_true(event: &Event, id: &str) -> Result<()> {
    ensure!(event.text("supervisor.family.id")? == "F9", "it is another family: {}", event.0);
    ensure!(event.text("container.id")? == id, "the container is {id}: {}", event.0);
    has_all("the verdict", event.text("supervisor.verdict")?, &["file-reader", "dead-server", "/storage"])?;
    let remedies = text_of(event, "remedies");
    has_all("the remedies", &remedies, &["/sys/fs/fuse/connections/", "abort"])?;
    // Neither the shim nor an init is part of the problem.
    has_none("the remedies", &remedies, &["shim", "init"])
}

/// Kills the process, and fails unless all commands say why it does not exit.
fn cannot_exit(
    containerd: &mut Containerd,
    watch: &mut Watch,
    process: u32,
    id: &str,
    uid: &str,
) -> Result<()> {
    containerd.kill(id)?;
    let found =
        watch.wait_for("the process that cannot exit", |event| event.says("exit-blocked", process))?;
    is_true(&found, id).context("watch")?;
    ensure!(found.text("orchestrator.resource.id")? == uid, "the pod is {uid}: {}", found.0);
    ensure!(!found.text("supervisor.killed_by.name")?.is_empty(), "nobody has killed it: {}", found.0);
    let pid = process.to_string();
    for args in [
        &["ps", "-o", "json", "--pid", &pid],
        &["ps", "-o", "json", "--pod", uid],
        &["explain", &pid, "-o", "json"][..],
        &["explain", "--pod", uid, "-o", "json"],
    ] {
        let (events, _) = run_json(args)?;
        let event = events.iter().find(|event| event.is_about(process));
        let event = event.with_context(|| format!("{args:?} does not report {process}"))?;
        is_true(event, id).with_context(|| args[0].to_owned())?;
    }
    let line = check(&["--pid", &pid])?;
    for words in ["SUPERVISOR CRITICAL - ", &format!("exporter (pid {pid}) cannot exit: "), " stuck=1;"] {
        ensure!(line.contains(words), "{words:?} is not in what check says: {line}");
    }
    Ok(())
}

/// containerd/containerd#11133: the only process of a container was killed, and one of its threads sleeps in a storage.
/// The pod stays, and the shim does not learn that the process has ended.
#[test]
fn a_pod_is_not_deleted_because_its_storage_does_not_answer() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    supervisor_lab::copy_program(FIXTURE, lab.rootfs().join("bin/exporter"))?;
    let storage = lab.path().join("storage");
    fs::write(&storage, "")?;
    let storage = storage.to_str().context("no UTF-8")?;
    let mut server = fixture!("storage-hangs", storage)?;
    server.fact("mounted")?;
    let mut watch = Watch::start(&[])?;
    let mut containerd = Containerd::start_in(server.pid(), FIXTURE, &lab)?;
    let (pod, id) = (pod_cgroup()?, container_id()?);
    let process = containerd.run(Spec {
        id: &id,
        cgroup: &format!("{pod}/{id}"),
        args: &["/bin/exporter", "reads-in-a-thread", "/storage"],
        file: Some((storage, "/storage")),
        ..Spec::default()
    })?;
    server.fact("asked")?;
    let uid = pod.rsplit("pod").next().context("no pod")?;
    let outcome = cannot_exit(&mut containerd, &mut watch, process, &id, uid);
    // Before anything else: while the storage does not answer, not even the container can be removed.
    server.send("answer")?;
    server.fact("released")?;
    outcome?;
    watch.wait_for("its end", |event| event.says("exit-finished", process))?;
    drop(containerd);
    watch.stop()?;
    server.end()
}
