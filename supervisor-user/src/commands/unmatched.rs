//! The message for filters that match nothing: whether a filter names something that does not exist, and how many
//! findings the filters leave out.

use anyhow::Result;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::attribution::attribute;
use supervisor_model::{filter::Filter, words::clean};

/// A sentence about a container or PID namespace that a filter names and that has no process. `None` if they have
/// processes, or if the filter names none.
///
/// # Errors
///
/// If a map or `/proc` cannot be read.
pub(super) fn unknown_place(
    scan: &mut OneShotScan<'_>,
    host: &Proc,
    filter: &Filter,
) -> Result<Option<String>> {
    if let Some(ino) = filter.pidns {
        let wanted = Filter { pidns: Some(ino), ..Filter::default() };
        if !is_there(scan, host, &wanted)? {
            return Ok(Some(format!("no process is seen in a PID namespace {ino}")));
        }
    }
    if let Some(container) = &filter.container {
        let wanted = Filter { container: Some(container.clone()), ..Filter::default() };
        if !is_there(scan, host, &wanted)? {
            return Ok(Some(format!("no process is seen in a container `{}`", clean(container))));
        }
    }
    Ok(None)
}

/// Whether a filter lets any process through, dead or alive.
fn is_there(scan: &mut OneShotScan<'_>, host: &Proc, wanted: &Filter) -> Result<bool> {
    let identity = host.identity();
    Ok(scan.any(|evidence| wanted.wants(&attribute(evidence, identity, 0)))?)
}

/// Says how many findings the filters leave out.
pub(super) fn without_filter(others: usize) -> String {
    match others {
        0 => "nothing else is unreaped either".to_owned(),
        1 => "one other finding is there without the filters".to_owned(),
        _ => format!("{others} other findings are there without the filters"),
    }
}
