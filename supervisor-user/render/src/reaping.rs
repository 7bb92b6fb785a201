//! Formats what `reap` prints: the zombies that were to be freed, and the outcome of each.

use std::{fmt::Write as _, time::Duration};

use supervisor_model::{
    decision::Decision,
    finding::Block,
    reaping::{ReapAttempt, ReapOutcome},
    words::{clean, short_duration},
};

/// The decision about one zombie or its outcome, in lines for a person.
#[must_use]
pub fn text(entry: &ReapAttempt, is_forced: bool) -> String {
    text_with(entry, &[], is_forced)
}

/// The same text for this zombie and for `others`, which share its name, decision and outcome.
fn text_with(entry: &ReapAttempt, others: &[u32], is_forced: bool) -> String {
    let process = &entry.finding.process;
    let of = entry.finding.reaper.as_ref().map_or_else(String::new, |reaper| {
        format!(" of {}[{}]", clean(&reaper.process.name), reaper.process.pid)
    });
    let name = clean(&process.name);
    let (word, rest) = verdict(entry, is_forced);
    let mut out = if others.is_empty() {
        format!("{word:<12} {name}[{}]{of}{rest}\n", process.pid)
    } else {
        let mut pids: Vec<String> =
            [process.pid].iter().chain(others).take(PIDS).map(u32::to_string).collect();
        let count = others.len() + 1;
        if count > PIDS {
            pids.push(format!("{} more", count - PIDS));
        }
        format!("{word:<12} {count} x {name}{of}{rest}\n             pids {}\n", pids.join(", "))
    };
    if entry.outcome.is_none() {
        for risk in entry.risks() {
            let _infallible = writeln!(out, "             {}", risk.text());
        }
    }
    out
}

/// The word for the decision or outcome, and the text that follows the name.
fn verdict(entry: &ReapAttempt, is_forced: bool) -> (&'static str, String) {
    match (&entry.outcome, &entry.decision) {
        (Some(ReapOutcome::Freed), _) => ("freed", String::new()),
        (Some(ReapOutcome::FreedByNudge), _) => ("freed", ", which a SIGCHLD made wait".to_owned()),
        (Some(ReapOutcome::Gone), _) => ("gone", ": it was reaped meanwhile".to_owned()),
        (Some(ReapOutcome::Failed(reason)), _) => ("not freed", format!(": {reason}")),
        (Some(ReapOutcome::Unknown), _) => ("unknown", ": what came of it was not reported".to_owned()),
        (None, Decision::Reap) => ("can be freed", String::new()),
        (None, Decision::NeedsForce(_)) if is_forced => ("forced", String::new()),
        (None, Decision::NeedsForce(_)) => ("needs force", String::new()),
        (None, Decision::Refused(obstacle)) => ("refused", format!(": {}", obstacle.text())),
    }
}

/// At most this many pids of a group are named.
const PIDS: usize = 8;

/// The lines for several zombies of one reaper. Zombies with the same name, decision and outcome share one entry. Those
/// that can be freed come first.
#[must_use]
pub fn text_of_all(entries: &[&ReapAttempt], is_forced: bool) -> String {
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|entry| !(entry.outcome.is_some() || entry.is_allowed(is_forced)));
    let mut groups: Vec<(&ReapAttempt, Vec<u32>)> = Vec::new();
    for entry in sorted {
        let is_same = |one: &ReapAttempt| {
            one.finding.process.name == entry.finding.process.name
                && one.decision == entry.decision
                && one.outcome == entry.outcome
        };
        match groups.iter_mut().find(|(first, _)| is_same(first)) {
            Some((_, others)) => others.push(entry.finding.process.pid),
            None => groups.push((entry, Vec::new())),
        }
    }
    groups.iter().map(|(first, others)| text_with(first, others, is_forced)).collect()
}

/// How often and for how long one reaper was stopped, in one line.
#[must_use]
pub fn stops_text(reaper: &str, stops: &[Duration]) -> Option<String> {
    let longest = stops.iter().max()?;
    let total: Duration = stops.iter().sum();
    let ns = |it: Duration| short_duration(it.as_nanos() as u64);
    Some(match stops.len() {
        1 => format!("stopped      {reaper} once, for {}\n", ns(total)),
        count => {
            format!(
                "stopped      {reaper} {count} times, for {} at most and {} in all\n",
                ns(*longest),
                ns(total)
            )
        }
    })
}

/// A PID namespace that could end, in one line.
#[must_use]
pub fn released_text(block: &Block) -> String {
    format!("released     PID namespace {} of {}[{}]\n", block.ino, clean(&block.init_name), block.init_pid)
}

#[cfg(test)]
mod tests {
    use supervisor_conclude::attribution::attribute;
    use supervisor_model::{
        decision::Risk,
        evidence::sample::{host, incident},
    };

    use super::*;

    fn entry(pid: u32, decision: Decision) -> ReapAttempt {
        let mut finding = attribute(&incident(), &host(), 1_000_000_000);
        finding.process.pid = pid;
        ReapAttempt::new(finding, decision)
    }

    #[test]
    fn equal_zombies_share_one_entry_and_freeable_ones_come_first() {
        let needs_force = |pid| entry(pid, Decision::NeedsForce(vec![Risk::OwnChild]));
        let entries = [needs_force(7), entry(8, Decision::Reap), entry(9, Decision::Reap)];
        let text = text_of_all(&entries.iter().collect::<Vec<_>>(), false);
        let (name, of) = {
            let finding = &entries[0].finding;
            let reaper = &finding.reaper.as_ref().expect("a reaper").process;
            (finding.process.name.clone(), format!("{}[{}]", reaper.name, reaper.pid))
        };
        let said: Vec<&str> = text.lines().collect();
        assert_eq!(said[0], format!("can be freed 2 x {name} of {of}"));
        assert_eq!(said[1], "             pids 8, 9");
        assert_eq!(said[2], format!("needs force  {name}[7] of {of}"));
        assert_eq!(said.len(), 4, "{text}");
    }

    #[test]
    fn a_group_names_at_most_eight_pids() {
        let entries: Vec<ReapAttempt> = (1..=300).map(|pid| entry(pid, Decision::Reap)).collect();
        let text = text_of_all(&entries.iter().collect::<Vec<_>>(), false);
        assert!(text.ends_with("             pids 1, 2, 3, 4, 5, 6, 7, 8, 292 more\n"), "{text}");
    }

    #[test]
    fn a_short_stop_is_printed_in_microseconds() {
        let text = stops_text("conmonrs[7]", &[Duration::from_nanos(92_140)]);
        assert_eq!(text.as_deref(), Some("stopped      conmonrs[7] once, for 92.1 us\n"));
        let text = stops_text("conmonrs[7]", &[Duration::from_micros(300), Duration::from_micros(1_200)]);
        assert_eq!(
            text.as_deref(),
            Some("stopped      conmonrs[7] 2 times, for 1.2 ms at most and 1.5 ms in all\n")
        );
        assert_eq!(stops_text("conmonrs[7]", &[]), None);
    }
}
