//! Finds the subjects of `explain` by a name, a container or a pod.

use anyhow::{Result, bail};
use supervisor_collect::{
    host::{Host as _, Proc},
    one_shot::OneShotScan,
};
use supervisor_conclude::{attribution::attribute, conclusions::Conclusions};
use supervisor_model::{
    filter::Filter,
    finding::{BlockedNamespace, Finding},
    names::Names,
    words::{clean, command_line},
};
use supervisor_render::groups::Group;

use super::{
    super::one_look::conclude, EXIT_GRACE, GRACE, Part, STORIES, blocked, cannot_exit, explain_process,
    zombie,
};

/// Everything unreaped or blocked, or that cannot exit, with this name. If there is nothing, the living processes with this name.
pub(super) fn by_name(host: &Proc, scan: &mut OneShotScan<'_>, name: &str) -> Result<Vec<Part>> {
    let filter = Filter { comm: Some(name.to_owned()), ..Filter::default() };
    let conclusions = conclude(scan, host, GRACE, EXIT_GRACE, &filter)?;
    let found = parts(&conclusions, &|_| true, &option("--comm", name));
    if !found.is_empty() {
        return Ok(found);
    }
    let mut living = Vec::new();
    for pid in host.pids()? {
        if host.process(pid)?.is_some_and(|facts| facts.comm == name) {
            living.push(pid);
        }
    }
    if living.is_empty() {
        bail!(
            "no process is called `{name}`; `supervisor explain PID` takes a pid, such as supervisor explain 1234, and \
             `supervisor ps` lists what is unreaped"
        );
    }
    let mut all = Vec::new();
    for pid in living.iter().copied().take(STORIES) {
        all.extend(explain_process(host, scan, pid)?);
    }
    all.extend(and_more(living.len(), &format!("processes called {name}"), &option("pgrep -x", name)));
    Ok(all)
}

/// Everything unreaped or blocked, or that cannot exit, in a container or a pod.
pub(super) fn in_place(
    host: &Proc,
    scan: &mut OneShotScan<'_>,
    container: Option<&str>,
    pod: Option<&str>,
) -> Result<Vec<Part>> {
    let (what, wanted) = container.map_or(("pod", pod.unwrap_or_default()), |it| ("container", it));
    let is_in = |finding: &Finding| {
        Names::of(finding).is_some_and(|names| match container {
            Some(container) => names.are_meant_by(container),
            None => names.are_of_pod(wanted),
        })
    };
    let conclusions = conclude(scan, host, GRACE, EXIT_GRACE, &Filter::default())?;
    let found = parts(&conclusions, &is_in, &option(&format!("--{what}"), wanted));
    if found.is_empty() {
        let identity = host.identity();
        if !scan.any(|evidence| is_in(&attribute(evidence, identity, 0)))? {
            bail!(
                "no process is seen in a {what} `{}`; `supervisor ps` shows what is unreaped",
                clean(wanted)
            );
        }
        return Ok(vec![Part::Note(format!(
            "nothing in {what} {} is unreaped or blocked, and nothing hangs in its exit",
            clean(wanted)
        ))]);
    }
    Ok(found)
}

/// Blocked namespaces first, then processes that cannot exit, then one zombie for each reaper and cause, with the number
/// of similar zombies.
fn parts(conclusions: &Conclusions, wants: &dyn Fn(&Finding) -> bool, options: &str) -> Vec<Part> {
    let mut namespaces: Vec<&BlockedNamespace> =
        conclusions.namespaces().filter(|it| wants(&it.init)).collect();
    namespaces.sort_by_key(|it| it.init.process.pid);
    let findings: Vec<&Finding> = conclusions.open().filter(|it| wants(it)).collect();
    let groups = Group::all(&findings);
    let mut parts: Vec<Part> = namespaces.iter().take(STORIES).map(|it| blocked(it)).collect();
    parts.extend(and_more(namespaces.len(), "blocked PID namespaces", &format!("supervisor ps {options}")));
    let mut exiting: Vec<&Finding> = conclusions.exits().filter(|it| wants(it)).collect();
    exiting.sort_by_key(|it| it.process.pid);
    parts.extend(exiting.iter().take(STORIES).map(|it| cannot_exit(it)));
    parts.extend(and_more(exiting.len(), "processes that cannot exit", &format!("supervisor ps {options}")));
    for group in groups.iter().take(STORIES) {
        parts.push(zombie(group.first()));
        if group.count() > 1 {
            let (more, why) = (group.count() - 1, group.why());
            let reaper = group.first().reaper.as_ref().map(|it| format!(" --reaper {}", it.process.pid));
            parts.push(Part::Note(format!(
                "{more} more like this one ({why}): supervisor ps {options}{}",
                reaper.unwrap_or_default()
            )));
        }
    }
    parts.extend(and_more(groups.len(), "kinds of zombies", &format!("supervisor ps --summary {options}")));
    parts
}

/// An option with its value, to be pasted into a shell.
fn option(option: &str, value: &str) -> String {
    format!("{option} {}", command_line(&[value.to_owned()], false, usize::MAX))
}

/// A note that some stories are left out.
fn and_more(count: usize, what: &str, command: &str) -> Option<Part> {
    let more = count.checked_sub(STORIES).filter(|more| *more > 0)?;
    Some(Part::Note(format!("{more} more {}: {}", clean(what), clean(command.trim_end()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_an_option_can_be_pasted() {
        assert_eq!(option("--comm", "crun"), "--comm crun");
        assert_eq!(option("--comm", "Web Content"), "--comm 'Web Content'");
        assert_eq!(option("pgrep -x", "it's"), "pgrep -x $'it\\'s'");
    }
}
