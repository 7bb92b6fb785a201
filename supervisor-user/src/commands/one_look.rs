//! One look at what is so now: what `ps`, `check`, `explain` and `reap` have in common.

use std::time::Duration;

use anyhow::Result;
use supervisor_collect::{
    glance::Glance,
    host::{Host as _, Proc, ReadsLost},
};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_deliver::say::say;
use supervisor_model::filter::Filter;

/// Says so if other processes were not read.
pub(super) fn say_reads_lost(host: &Proc) {
    let ReadsLost { late, skipped, .. } = host.reads_lost();
    if late + skipped > 0 {
        say(&format!(
            "supervisor: {late} reads of other processes took too long, and {skipped} were left out for that reason: \
             arguments and containers may be missing"
        ));
    }
}

/// What is unreaped now, and what was told to exit and cannot, concluded.
pub(super) fn conclude(
    glance: &mut Glance<'_>,
    host: &Proc,
    grace: Duration,
    exit_grace: Duration,
    filter: &Filter,
) -> Result<Conclusions> {
    let mut conclusions = Conclusions::new(host.identity().clone(), grace.as_nanos() as u64, filter.clone());
    conclusions.set_watched_since(glance.watched_since_ns()?);
    glance.unreaped(grace, |observation| conclusions.note(observation))?;
    glance.stuck(exit_grace, |observation| conclusions.note(observation))?;
    conclusions.recount();
    Ok(conclusions)
}
