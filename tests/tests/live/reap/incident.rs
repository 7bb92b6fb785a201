//! Tests the incident: the pod is blocked, and is released although the monitor does not end.

use anyhow::{Result, ensure};
use supervisor_lab::{ExitState, Lab, Monitor, PidNs, Pod, Runtime, create, until, zombies_of};
use supervisor_tests::{WAIT_LIMIT, Watch, supervisor_bin};

use super::{reap, reap_json};

#[test]
fn the_pod_ends_and_its_monitor_works_on() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let mut monitor = Monitor::start(&lab)?;
    let mut watch = Watch::start(&[])?;
    let created = create(&lab, &mut monitor, Runtime::Crun, PidNs::Joined(&pod))?;
    ensure!(created.exit == ExitState::Code(1), "{}", created.log);
    let zombie = until("a zombie", WAIT_LIMIT, || Ok(zombies_of(monitor.pid())?.into_iter().next()))?.pid;
    pod.kill()?;
    watch.wait_for("the blocked namespace", |event| event.says("namespace-blocked", pod.pid()))?;
    let found = watch.wait_for("the finding", |event| event.is_about(zombie))?;
    let remedies = found.get("supervisor.remedies").map(ToString::to_string).unwrap_or_default();
    ensure!(remedies.contains(&format!("`supervisor reap {zombie}`")), "{remedies}");

    let namespace = pod.ns_ino().to_string();
    let (said, code) = reap(&["--dry-run", "--pidns", &namespace])?;
    ensure!(
        code == Some(0) && said.contains("can be freed ") && said.contains(&format!("[{zombie}]")),
        "{code:?}: {said}"
    );
    ensure!(!pod.is_gone(), "a dry run does nothing");
    let (said, code) = reap(&["--pidns", &namespace])?;
    ensure!(code == Some(2) && said.contains("give --yes"), "{code:?}: {said}");

    let (events, code) = reap_json(&["--pidns", &namespace, "--yes"])?;
    let [event] = &events[..] else { anyhow::bail!("one zombie was to be freed: {events:#?}") };
    ensure!(code == Some(0), "{}", event.0);
    assert_eq!(event.action(), "reap-requested");
    assert_eq!(event.text("event.outcome")?, "success");
    assert_eq!(event.pid("process.pid")?, zombie);
    assert_eq!(event.pid("supervisor.reap.reaper.pid")?, monitor.pid());
    assert_eq!(event.text("supervisor.reap.requested_by.kind")?, "command");
    assert_eq!(event.pid("supervisor.reap.requested_by.pid")?, std::process::id());
    let released = event.list("supervisor.reap.released")?;
    ensure!(released.len() == 1 && released[0].number("ino")? == pod.ns_ino(), "{}", event.0);
    until("the pod to end", WAIT_LIMIT, || Ok(pod.is_gone().then_some(())))?;
    watch.wait_for("the release", |event| event.says("namespace-released", pod.pid()))?;

    // The monitor lives, and does its work: it runs the next container, and waits for it.
    let next = create(&lab, &mut monitor, Runtime::Runc, PidNs::Own)?;
    ensure!(next.exit == ExitState::Code(1), "{}", next.log);
    ensure!(monitor.reap()?.is_empty(), "nothing is left to reap");
    watch.stop().map(drop)
}
