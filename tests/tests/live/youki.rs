//! Tests of youki, beside crun and runc (`incident.rs`, `exec.rs`). It does not wait for the stages of a create that
//! fails. These pass to the monitor, whatever the container's PID namespace is.

use anyhow::{Result, ensure};
use supervisor_lab::{
    ExitState, Lab, Monitor, NO_SUCH_COMMAND, PidNs, Pod, Runtime, create, until, zombies_of,
};
use supervisor_tests::{WAIT_LIMIT, Watch, finding_of, supervisor_bin};

use crate::exec::orphan_of_an_exec;

/// The names of both stages, and their families. The first is a helper of the runtime, the second the container's init.
const STAGES: [(&str, &str); 2] = [("youki:[1:INTER]", "F6"), ("youki:[2:INIT]", "F1")];

fn a_missing_command_leaves_both_stages(pid_ns: fn(&Pod) -> PidNs<'_>) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let mut monitor = Monitor::start(&lab)?;
    let mut watch = Watch::start(&[])?;
    let created = create(&lab, &mut monitor, Runtime::Youki, pid_ns(&pod))?;
    assert_eq!(created.exit, ExitState::Code(1), "{}", created.log);
    ensure!(created.log.contains(NO_SUCH_COMMAND), "it failed for another reason: {}", created.log);
    let mut zombies = until("both stages to be zombies", WAIT_LIMIT, || {
        let zombies = zombies_of(monitor.pid())?;
        Ok((zombies.len() == STAGES.len()).then_some(zombies))
    })?;
    zombies.sort_by(|one, other| one.comm.cmp(&other.comm));
    let pids: Vec<u32> = zombies.iter().map(|it| it.pid).collect();
    for (zombie, (stage, family)) in zombies.iter().zip(STAGES) {
        assert_eq!(zombie.comm, stage);
        let found = watch.wait_for("a stage", |event| event.says("zombie-detected", zombie.pid))?;
        assert_eq!(found.text("supervisor.family.id")?, family);
        assert_eq!(found.text("supervisor.position")?, "adopted-by-subreaper");
        assert_eq!(found.text("supervisor.cause")?, "waits-by-pid");
        assert_eq!(found.text("supervisor.prognosis")?, "leaked");
        assert_eq!(found.pid("supervisor.reaper.pid")?, monitor.pid());
        assert_eq!(found.text("supervisor.runtime.name")?, "youki");
        assert_eq!(found.text("supervisor.runtime.verb")?, "create");
        assert_eq!(found.text("container.id")?, created.id);
        assert_eq!(found.text("container.runtime")?, "youki");
    }
    let mut reaped = monitor.reap()?;
    reaped.retain(|pid| pids.contains(pid));
    ensure!(reaped.len() == pids.len(), "{reaped:?} were reaped of {pids:?}");
    watch.wait_for_all("zombie-reaped", &pids)?;
    let outcome = watch.stop()?;
    pids.iter().try_for_each(|&pid| finding_of(&outcome.events, pid).map(drop))
}

#[test]
fn a_missing_command_in_an_own_namespace() -> Result<()> {
    a_missing_command_leaves_both_stages(|_| PidNs::Own)
}

#[test]
fn a_missing_command_in_the_hosts_namespace() -> Result<()> {
    a_missing_command_leaves_both_stages(|_| PidNs::Host)
}

#[test]
fn a_missing_command_in_a_joined_namespace() -> Result<()> {
    a_missing_command_leaves_both_stages(|pod| PidNs::Joined(pod))
}

#[test]
fn an_orphan_of_an_exec() -> Result<()> {
    orphan_of_an_exec(Runtime::Youki)
}
