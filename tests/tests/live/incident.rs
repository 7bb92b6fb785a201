//! Tests of the incident: which runtime leaves a zombie, in which PID namespace, under a monitor that does not reap the
//! processes that it adopts.

use anyhow::{Context, Result, bail, ensure};
use supervisor_lab::{
    Created, ExitState, Lab, Monitor, PidNs, Pod, Runtime, Stat, create, until, zombies_of,
};
use supervisor_tests::{Event, WAIT_LIMIT, Watch, finding_of, of_process, supervisor_bin};

/// Pods end after the monitor, which must reap their zombies. Fields are dropped in this order.
struct Scene {
    monitor: Monitor,
    pod: Pod,
    lab: Lab,
}

impl Scene {
    fn set() -> Result<Self> {
        let lab = Lab::new(&supervisor_bin()?)?;
        let pod = Pod::start(&lab)?;
        Ok(Self { monitor: Monitor::start(&lab)?, pod, lab })
    }

    /// Creates a container whose command does not exist. It must leave a zombie.
    fn leave_a_zombie(&mut self, runtime: Runtime, pid_ns: fn(&Pod) -> PidNs<'_>) -> Result<(Created, Stat)> {
        let created = create(&self.lab, &mut self.monitor, runtime, pid_ns(&self.pod))?;
        assert_eq!(created.exit, ExitState::Code(1), "{}", created.log);
        let zombie = until("a zombie under the monitor", WAIT_LIMIT, || {
            Ok(zombies_of(self.monitor.pid())?.into_iter().next())
        })?;
        Ok((created, zombie))
    }

    /// Creates a container whose command does not exist. It must leave nothing.
    fn leave_nothing(&mut self, runtime: Runtime, pid_ns: fn(&Pod) -> PidNs<'_>) -> Result<()> {
        let created = create(&self.lab, &mut self.monitor, runtime, pid_ns(&self.pod))?;
        assert_eq!(created.exit, ExitState::Code(1), "{}", created.log);
        assert_eq!(zombies_of(self.monitor.pid())?, [], "{} leaves zombies here", runtime.name());
        Ok(())
    }

    fn find_and_reap(&mut self, watch: &mut Watch, zombie: &Stat) -> Result<Event> {
        let found = watch.wait_for("the finding", |event| event.says("zombie-detected", zombie.pid))?;
        assert_eq!(self.monitor.reap()?, [zombie.pid]);
        watch.wait_for("the finding's end", |event| event.says("zombie-reaped", zombie.pid))?;
        Ok(found)
    }
}

fn joined(pod: &Pod) -> PidNs<'_> {
    PidNs::Joined(pod)
}

#[test]
fn crun_that_joins_a_pid_namespace_leaves_a_zombie() -> Result<()> {
    let mut scene = Scene::set()?;
    let mut watch = Watch::start(&[])?;
    let (created, zombie) = scene.leave_a_zombie(Runtime::Crun, joined)?;
    let found = scene.find_and_reap(&mut watch, &zombie)?;
    attributed_to_crun(&found, &created, &scene.monitor)?;
    assert_eq!(found.text("supervisor.pid_ns.mode")?, "joined");
    assert_eq!(found.number("supervisor.pid_ns.ino")?, scene.pod.ns_ino());
    assert_eq!(found.pid("supervisor.pid_ns.init.pid")?, scene.pod.pid());
    assert_eq!(found.text("supervisor.pid_ns.init.name")?, "pause");

    let outcome = watch.stop()?;
    finding_of(&outcome.events, zombie.pid)?;
    only_these(&outcome.events, scene.monitor.pid(), &[zombie.pid])
}

#[test]
fn crun_with_a_user_namespace_leaves_a_zombie() -> Result<()> {
    let mut scene = Scene::set()?;
    let mut watch = Watch::recorded("f1-crun-userns")?;
    let (created, zombie) = scene.leave_a_zombie(Runtime::Crun, |_| PidNs::UserNs)?;
    watch.keep(&[zombie.pid]);
    let found = scene.find_and_reap(&mut watch, &zombie)?;
    attributed_to_crun(&found, &created, &scene.monitor)?;
    assert_eq!(found.text("supervisor.pid_ns.mode")?, "own");

    let outcome = watch.stop()?;
    finding_of(&outcome.events, zombie.pid)?;
    only_these(&outcome.events, scene.monitor.pid(), &[zombie.pid])
}

#[test]
fn crun_elsewhere_and_runc_leave_nothing() -> Result<()> {
    let mut scene = Scene::set()?;
    let mut watch = Watch::recorded("none-crun-runc")?;
    watch.keep(&[scene.monitor.pid()]);
    scene.leave_nothing(Runtime::Crun, |_| PidNs::Own)?;
    scene.leave_nothing(Runtime::Crun, |_| PidNs::Host)?;
    scene.leave_nothing(Runtime::Runc, |_| PidNs::Own)?;
    scene.leave_nothing(Runtime::Runc, |_| PidNs::Host)?;
    scene.leave_nothing(Runtime::Runc, joined)?;
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome = watch.stop()?;
    only_these(&outcome.events, scene.monitor.pid(), &[])
}

#[test]
fn the_pod_cannot_end_until_the_zombie_is_reaped() -> Result<()> {
    let mut scene = Scene::set()?;
    let (pause, monitor) = (scene.pod.pid(), scene.monitor.pid());
    let mut watch = Watch::recorded("f1-incident")?;
    let (_, zombie) = scene.leave_a_zombie(Runtime::Crun, joined)?;
    watch.keep(&[zombie.pid, pause]);
    scene.pod.kill()?;
    let blocked = watch.wait_for("the pod's namespace", |event| event.says("namespace-blocked", pause))?;
    assert_eq!(blocked.text("process.name")?, "pause");
    assert_eq!(blocked.number("supervisor.pid_ns.ino")?, scene.pod.ns_ino());
    let blockers = blocked.list("supervisor.blockers")?;
    let [zombie_there] = &blockers[..] else { bail!("one zombie blocks it: {blockers:?}") };
    assert_eq!(zombie_there.text("kind")?, "zombie");
    assert_eq!(zombie_there.pid("pid")?, zombie.pid);
    assert_eq!(zombie_there.pid("reaper.pid")?, monitor);
    assert_eq!(zombie_there.text("reaper.name")?, "demo-monitor");
    let found = watch.wait_for("a zombie that blocks", |event| {
        event.is_about(zombie.pid) && event.get("supervisor.blocks").is_some()
    })?;
    let blocks = found.list("supervisor.blocks")?;
    assert_eq!(blocks.first().context("it blocks nothing")?.pid("init.pid")?, pause);

    assert_eq!(scene.monitor.reap()?, [zombie.pid]);
    watch.wait_for("the namespace's end", |event| event.says("namespace-released", pause))?;
    let outcome = watch.stop()?;
    finding_of(&outcome.events, zombie.pid)?;
    Ok(())
}

/// Checks the facts that are the same for both zombies that crun leaves.
fn attributed_to_crun(found: &Event, created: &Created, monitor: &Monitor) -> Result<()> {
    assert_eq!(found.text("supervisor.runtime.name")?, "crun");
    assert_eq!(found.text("supervisor.runtime.verb")?, "create");
    assert_eq!(found.text("container.id")?, created.id);
    match found.get("supervisor.exit.signal") {
        Some(signal) => assert_eq!(signal, 9),
        None => assert_eq!(found.number("process.exit_code")?, 1),
    }

    let monitor = monitor.pid();
    assert_eq!(found.pid("process.parent.pid")?, monitor);
    assert_eq!(found.text("process.parent.name")?, "demo-monitor");
    assert_eq!(found.pid("supervisor.reaper.pid")?, monitor);
    assert!(found.flag("supervisor.reaper.adopted")?);
    assert!(found.flag("supervisor.reaper.is_subreaper")?);
    assert!(!found.flag("supervisor.reaper.is_pidns_init")?);
    assert_eq!(found.text("supervisor.reaper.last_wait.call")?, "wait4");
    assert_eq!(found.text("supervisor.reaper.last_wait.target")?, format!("pid:{}", created.runtime_pid));
    assert_eq!(found.field("supervisor.reaper.last_wait.flags")?.to_string(), "[]");

    assert_eq!(found.text("supervisor.family.id")?, "F1");
    let verdict = found.text("supervisor.verdict")?;
    for word in ["crun", "demo-monitor"] {
        ensure!(verdict.contains(word), "{word} is not in the verdict: {verdict}");
    }

    let creators = found.list("supervisor.creators")?;
    let runtime = creators.iter().position(|it| it.pid("pid").is_ok_and(|pid| pid == created.runtime_pid));
    let runtime = runtime.context("the runtime's process is not among the creators")?;
    for gone in &creators[..=runtime] {
        ensure!(gone.flag("gone")?, "crun's processes are gone: {gone:?}");
    }
    assert!(runtime > 0, "stage 1 is missing among the creators");
    assert_eq!(creators[runtime].text("role")?, "runtime");
    assert_eq!(creators[runtime].text("verb")?, "create");
    let starter =
        creators.get(runtime + 1).context("who started the runtime is missing among the creators")?;
    assert_eq!(starter.pid("pid")?, monitor);
    assert!(!starter.flag("gone")?);
    Ok(())
}

/// Fails if there are findings under the monitor about other processes than these.
fn only_these(events: &[Event], monitor: u32, pids: &[u32]) -> Result<()> {
    let wanted: usize = pids.iter().map(|&pid| of_process(events, pid).len()).sum();
    let under: Vec<&Event> = events.iter().filter(|event| event.is_under(monitor)).collect();
    ensure!(under.len() == wanted, "more than was to be found under the monitor: {under:#?}");
    Ok(())
}
