//! The message for filters that match nothing: whether a filter names a place that does not exist, and how many
//! findings the filters leave out.

use anyhow::Result;
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::attribution::attribute;
use supervisor_model::{filter::Filter, words::clean};

/// A sentence about a container, pod or PID namespace that a filter names and that has no process. `None` if they have
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
    let Filter { pidns, container, pod, .. } = filter.clone();
    let quoted = |what: &str, name: &Option<String>| Some(format!("{what} `{}`", clean(name.as_ref()?)));
    let places = [
        (pidns.map(|ino| format!("PID namespace {ino}")), Filter { pidns, ..Filter::default() }),
        (quoted("container", &container), Filter { container, ..Filter::default() }),
        (quoted("pod", &pod), Filter { pod, ..Filter::default() }),
    ];
    for (place, wanted) in places {
        if let Some(place) = place
            && !is_there(scan, host, &wanted)?
        {
            return Ok(Some(format!("no process is seen in a {place}")));
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
