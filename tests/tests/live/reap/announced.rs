//! Tests that an agent reports what `supervisor reap` did beside it.

use std::process;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use supervisor_tests::{Agent, Event, Fixture, fixture, signal};

use super::{reap, reap_json, zombies};

/// The name of this test's own processes. The agents inspect only these.
fn name(test: &str) -> String {
    format!("{test}{}", process::id())
}

fn config(name: &str, grace: &str) -> String {
    format!("grace = \"{grace}\"\n[filter]\ncomm = \"{name}\"\n[sinks.out.stdout]\n")
}

fn audited(agent: &Agent) -> Result<Event> {
    agent.wait_for("an audit event", |event| event.action() == "reap-requested")
}

/// A process that has two zombies and makes no more, with these two.
fn leaky(name: &str) -> Result<(Fixture, [u32; 2])> {
    let mut leaky = fixture!("leaks", name, "100")?;
    leaky.fact("ready")?;
    // For a moment, a child of its own can be among them, which it reaps.
    zombies(leaky.pid(), 3)?;
    leaky.send("stop")?;
    leaky.fact("leaked")?;
    let zombies = zombies(leaky.pid(), 2)?;
    Ok((leaky, [zombies[0], zombies[1]]))
}

/// After two such reaps, an agent that takes them for a habit calls the next zombie `late`.
#[test]
fn an_agent_reports_the_reap_of_a_command_and_takes_it_for_no_habit_of_the_reaper() -> Result<()> {
    let name = name("told");
    let agent = Agent::start(&config(&name, "1s"))?;
    let mut monitor = fixture!("leaks", &name, "1000")?;
    monitor.fact("ready")?;
    let mut last = 0;
    for _ in 0..3 {
        // The verdict about a reaper needs its waits of ten seconds.
        let leaked = agent.wait_for("a leaked zombie", |event| {
            let is_leaked = event.text("supervisor.prognosis").is_ok_and(|it| it == "leaked");
            is_leaked && event.pid("process.pid").is_ok_and(|pid| pid > last)
        })?;
        last = leaked.pid("process.pid")?;
        let (events, code) = reap_json(&["--yes", &last.to_string()])?;
        ensure!(code == Some(0), "{code:?}: {events:#?}");
        let told = events.first().context("the command prints no event")?;
        let audited = audited(&agent)?;
        assert_eq!(audited.pid("process.pid")?, last, "{}", audited.0);
        assert_eq!(audited.text("event.outcome")?, "success");
        assert_eq!(audited.text("supervisor.reap.requested_by.kind")?, "command");
        assert_eq!(audited.pid("supervisor.reap.requested_by.pid")?, process::id());
        assert_eq!(audited.text("supervisor.reap.decision")?, "reap");
        assert_eq!(audited.text("supervisor.reap.finding_id")?, leaked.text("supervisor.finding.id")?);
        assert_eq!(audited.pid("supervisor.reap.reaper.pid")?, monitor.pid());
        for same in ["supervisor.reap.outcome", "supervisor.reap.stopped_us", "supervisor.reap.nudged"] {
            assert_eq!(audited.field(same)?, told.field(same)?, "{same}");
        }
    }
    let next = agent.wait_for("another zombie", |event| {
        event.action() == "zombie-detected" && event.pid("process.pid").is_ok_and(|pid| pid > last)
    })?;
    assert_eq!(next.text("supervisor.prognosis")?, "leaked", "{}", next.0);
    ensure!(next.get("supervisor.pattern").is_none(), "{}", next.0);
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    monitor.end()?;
    agent.stop().map(drop)
}

#[test]
fn a_reap_within_the_grace_period_is_reported_and_one_that_no_filter_wants_is_not() -> Result<()> {
    let (name, other) = (name("young"), name("other"));
    let agent = Agent::start(&config(&name, "1h"))?;
    let ((monitor, [zombie, _]), (unwanted, [other, _])) = (leaky(&name)?, leaky(&other)?);
    for zombie in [other, zombie] {
        let (said, code) = reap(&["--yes", "--force", &zombie.to_string()])?;
        ensure!(code == Some(0), "{code:?}: {said}");
    }
    let audited = audited(&agent)?;
    assert_eq!(audited.pid("supervisor.reap.reaper.pid")?, monitor.pid(), "{}", audited.0);
    assert_eq!(audited.text("process.name")?, name);
    ensure!(audited.flag("supervisor.reap.forced")?, "{}", audited.0);
    monitor.end()?;
    unwanted.end()?;
    agent.stop().map(drop)
}

#[test]
fn an_agent_that_does_not_answer_holds_up_no_reap_and_the_command_says_so() -> Result<()> {
    let name = name("silent");
    let agent = Agent::start(&config(&name, "1s"))?;
    let (monitor, [first, second]) = leaky(&name)?;
    signal(agent.pid(), Signal::STOP)?;
    let freed = reap(&["--yes", "--force", &first.to_string()]);
    signal(agent.pid(), Signal::CONT)?;
    let (said, code) = freed?;
    ensure!(
        code == Some(0) && said.contains("of the agents of this host did not answer"),
        "{code:?}: {said}"
    );
    // What it did not take in time was taken back.
    let (said, code) = reap(&["--yes", "--force", &second.to_string()])?;
    ensure!(code == Some(0), "{code:?}: {said}");
    assert_eq!(audited(&agent)?.pid("process.pid")?, second);
    monitor.end()?;
    agent.stop().map(drop)
}
