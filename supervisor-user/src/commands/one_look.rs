//! The one-shot scan of the present state: common functions of `ps`, `check`, `explain` and `reap`.

use std::time::Duration;

use anyhow::Result;
use supervisor_collect::{
    host::{Host as _, Proc, ReadsLost},
    one_shot::OneShotScan,
};
use supervisor_conclude::conclusions::Conclusions;
use supervisor_deliver::say::say;
use supervisor_model::filter::Filter;

/// Prints a message if other processes were not read.
pub(super) fn say_reads_lost(host: &Proc) {
    let ReadsLost { late, skipped, .. } = host.reads_lost();
    if late + skipped > 0 {
        say(&format!(
            "supervisor: {late} reads of other processes took too long, and {skipped} were left out for that reason: \
             arguments and containers may be missing"
        ));
    }
}

/// Scans once, and returns the conclusions about unreaped processes and about processes that were told to exit and
/// cannot.
pub(super) fn conclude(
    scan: &mut OneShotScan<'_>,
    host: &Proc,
    grace: Duration,
    exit_grace: Duration,
    filter: &Filter,
) -> Result<Conclusions> {
    let mut conclusions = Conclusions::new(host.identity().clone(), grace.as_nanos() as u64, filter.clone());
    conclusions.set_watched_since(scan.watched_since_ns()?);
    scan.unreaped(grace, |observation| conclusions.note(observation))?;
    scan.stuck(exit_grace, |observation| conclusions.note(observation))?;
    conclusions.recount();
    Ok(conclusions)
}
