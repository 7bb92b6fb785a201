//! Tests that the target goes on unharmed if `supervisor` dies at any step. `REAP_TIMES=50` repeats each step 50 times.

use std::os::unix::process::ExitStatusExt as _;

use anyhow::{Context as _, Result, ensure};
use supervisor_lab::{until, zombies_of};
use supervisor_reap::inject::Step;
use supervisor_tests::{Fixture, WAIT_LIMIT, fixture};

use super::{TIMES, continues, matrix::CALLS, reaps, times, zombies};

/// Without `REAP_TIMES` only these calls are tested: one for each way in which a call continues.
const FEW: [&str; 4] = ["read", "epoll", "sigsuspend", "busy"];

/// Lets the tracer die at this step, each time with another zombie, and asks the target whether its call did its work.
fn survives(fixture: Fixture, dies_at: usize, count: u64) -> Result<()> {
    let reaper = fixture.pid();
    fixture.fact("ready")?;
    for zombie in zombies(reaper, count)? {
        let output = reaps(reaper, &[zombie], dies_at)?;
        let is_killed = output.status.signal() == Some(libc::SIGKILL);
        ensure!(is_killed, "the tracer did not die: {}", String::from_utf8_lossy(&output.stderr));
    }
    if Step::ALL[dies_at - 1] >= Step::Committed {
        until("the target to complete what it was made to begin", WAIT_LIMIT, || {
            Ok(zombies_of(reaper)?.is_empty().then_some(()))
        })?;
    }
    continues(fixture)
}

#[test]
fn the_death_of_supervisor_at_any_step_harms_no_reaper() -> Result<()> {
    let count = times(2)?;
    let is_long = std::env::var_os(TIMES).is_some();
    for call in if is_long { &CALLS[..] } else { &FEW } {
        for dies_at in 1..=Step::ALL.len() {
            let fixture = fixture!("interrupted", *call, &count.to_string(), "tracers-die")?;
            let step = Step::ALL[dies_at - 1];
            survives(fixture, dies_at, count).with_context(|| format!("in {call}, at {step:?}"))?;
        }
    }
    Ok(())
}
