//! Groups findings that have the same reaper and cause, so that people can read many of them.

use std::collections::HashMap;

use supervisor_model::{
    diagnosis::{Cause, Prognosis},
    family::Family,
    finding::Finding,
};

use super::columns::{Column, named, unknown, why};

/// How urgent a finding is; the smallest value is the most urgent. A finding that blocks a PID namespace comes before a
/// leaked one. A leaked finding comes before one that its reaper is only late for.
#[must_use]
pub fn urgency(finding: &Finding) -> (bool, u8) {
    let prognosis = match finding.diagnosis.prognosis {
        Prognosis::Leaked => 0,
        Prognosis::Unknown => 1,
        Prognosis::Late => 2,
    };
    (finding.blocks.is_empty(), prognosis)
}

/// Sorts findings: the most urgent first, then by reaper.
pub fn sort(findings: &mut [&Finding]) {
    findings.sort_by_key(|finding| {
        let reaper = finding.reaper.as_ref().map(|reaper| reaper.process.pid);
        (urgency(finding), reaper, finding.process.pid)
    });
}

/// Findings with an equal key have the same reaper and cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// Host pid of the reaper.
    pub reaper: Option<u32>,
    /// The class of cause.
    pub family: Option<Family>,
    /// What the reaper does instead of reaping.
    pub cause: Option<Cause>,
}

impl GroupKey {
    /// The key of a finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Self {
        let diagnosis = &finding.diagnosis;
        Self {
            reaper: finding.reaper.as_ref().map(|reaper| reaper.process.pid),
            family: diagnosis.family,
            cause: diagnosis.cause,
        }
    }
}

/// Findings of one reaper and cause; at least one.
#[derive(Debug)]
pub struct Group<'a> {
    findings: Vec<&'a Finding>,
}

impl<'a> Group<'a> {
    /// Groups findings; the most urgent group first, then the largest.
    #[must_use]
    pub fn all(findings: &[&'a Finding]) -> Vec<Self> {
        let mut sorted = findings.to_vec();
        sort(&mut sorted);
        let mut places: HashMap<GroupKey, usize> = HashMap::new();
        let mut groups: Vec<Self> = Vec::new();
        for finding in sorted {
            let place = *places.entry(GroupKey::of(finding)).or_insert_with(|| {
                groups.push(Self { findings: Vec::new() });
                groups.len() - 1
            });
            groups[place].findings.push(finding);
        }
        groups.sort_by_key(|group| (urgency(group.first()), std::cmp::Reverse(group.count())));
        groups
    }

    /// Its findings, the most urgent first.
    #[must_use]
    pub fn findings(&self) -> &[&'a Finding] {
        &self.findings
    }

    /// The most urgent one.
    #[must_use]
    pub fn first(&self) -> &'a Finding {
        self.findings[0]
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.findings.len()
    }

    /// Family, prognosis and cause in words. If the prognoses differ, it is that of the most urgent finding, and the
    /// others are counted.
    #[must_use]
    pub fn why(&self) -> String {
        let why = why(&self.first().diagnosis).unwrap_or_else(unknown);
        let first = self.first().diagnosis.prognosis;
        let others: Vec<String> =
            [(Prognosis::Leaked, "leaked"), (Prognosis::Late, "late"), (Prognosis::Unknown, "not known yet")]
                .into_iter()
                .filter(|(prognosis, _)| *prognosis != first)
                .map(|(prognosis, word)| (self.count_of(prognosis), word))
                .filter(|(count, _)| *count > 0)
                .map(|(count, word)| format!("{count} {word}"))
                .collect();
        if others.is_empty() { why } else { format!("{why} ({})", others.join(", ")) }
    }

    fn count_of(&self, prognosis: Prognosis) -> usize {
        self.findings.iter().filter(|it| it.diagnosis.prognosis == prognosis).count()
    }

    /// The reaper with its pid.
    #[must_use]
    pub fn reaper(&self) -> String {
        let reaper = self.first().reaper.as_ref();
        reaper.map_or_else(unknown, |reaper| named(&reaper.process.name, reaper.process.pid))
    }

    /// The age of the oldest.
    #[must_use]
    pub fn oldest(&self, now_ns: u64) -> String {
        let since_ns = |it: &&&Finding| it.exit_ns.or(it.exited_before_ns).unwrap_or(u64::MAX);
        self.findings.iter().min_by_key(since_ns).map_or_else(unknown, |it| Column::Age.cell(it, now_ns))
    }

    /// The cell of a column for the whole group: the first known value, and how many other values there are.
    #[must_use]
    pub fn cell(&self, column: Column, now_ns: u64) -> String {
        let mut cells: Vec<String> = self
            .findings
            .iter()
            .map(|it| column.cell(it, now_ns))
            .filter(|cell| *cell != unknown())
            .collect();
        let Some(first) = cells.first().cloned() else { return unknown() };
        cells.sort();
        cells.dedup();
        if cells.len() > 1 { format!("{first} +{}", cells.len() - 1) } else { first }
    }

    /// How many exited within this time and may stay, as far as their exits were seen. Those for which the reaper is only
    /// late are not counted: they come and go.
    #[must_use]
    pub fn grown_by(&self, age_ns: u64, now_ns: u64) -> usize {
        let is_young = |at_ns: u64| now_ns.saturating_sub(at_ns) <= age_ns;
        let stays = |it: &&&Finding| it.diagnosis.prognosis != Prognosis::Late;
        self.findings.iter().filter(stays).filter(|it| it.exit_ns.is_some_and(is_young)).count()
    }

    /// The first finding that `reap` frees without force.
    #[must_use]
    pub fn reapable(&self) -> Option<&'a Finding> {
        self.findings.iter().copied().find(|it| it.diagnosis.is_reapable)
    }
}

#[cfg(test)]
mod tests {
    use supervisor_conclude::{attribution::attribute, diagnosis::diagnose};
    use supervisor_model::{
        evidence::sample::{host, incident},
        finding::Block,
    };

    use super::*;

    fn zombie(pid: u32, prognosis: Prognosis) -> Finding {
        let mut finding = attribute(&incident(), &host(), 1_000_000_000);
        finding.process.pid = pid;
        finding.diagnosis = diagnose(&finding);
        finding.diagnosis.prognosis = prognosis;
        finding.diagnosis.is_reapable = prognosis == Prognosis::Leaked;
        finding
    }

    #[test]
    fn blocking_findings_come_first_then_leaked_then_late() {
        let mut all = [
            zombie(1, Prognosis::Late),
            zombie(2, Prognosis::Late),
            zombie(3, Prognosis::Unknown),
            zombie(4, Prognosis::Leaked),
            zombie(5, Prognosis::Late),
        ];
        all[4].blocks = vec![Block { ino: 7, init_pid: 9, init_name: "pause".to_owned(), since_ns: 0 }];
        let mut sorted: Vec<&Finding> = all.iter().collect();
        sort(&mut sorted);
        assert_eq!(sorted.iter().map(|it| it.process.pid).collect::<Vec<_>>(), [5, 4, 3, 1, 2]);
        let groups = Group::all(&sorted);
        let counts: Vec<_> = groups.iter().map(|it| (it.first().process.pid, it.count())).collect();
        assert_eq!(counts, [(5, 5)]);
        assert_eq!(groups[0].cell(Column::Blocks, 0), "pause[9]");
        assert_eq!(groups[0].why(), "F1 late: waits for others only (1 leaked, 1 not known yet)");
        assert_eq!(groups[0].reapable().map(|it| it.process.pid), Some(4));
        let leaked = Group::all(&sorted[1..2]);
        assert_eq!(leaked[0].why(), "F1 leaked: waits for others only");
        let late = Group::all(&sorted[3..]);
        assert!(late[0].reapable().is_none(), "its reaper will come to it");
    }

    #[test]
    fn an_exit_that_was_not_seen_is_not_young_and_gives_a_lower_bound_of_the_age() {
        let ages = [Some(100), Some(40), None].map(|exit_s| {
            let mut finding = zombie(1, Prognosis::Leaked);
            finding.exit_ns = exit_s.map(|it: u64| it * 1_000_000_000);
            finding
        });
        let groups = Group::all(&ages.iter().collect::<Vec<_>>());
        let now_ns = 160_000_000_000;
        assert_eq!(groups[0].oldest(now_ns), "2 min");
        assert_eq!(groups[0].grown_by(60_000_000_000, now_ns), 1);
        let late = Finding { diagnosis: zombie(1, Prognosis::Late).diagnosis, ..ages[1].clone() };
        assert_eq!(Group::all(&[&late])[0].grown_by(60_000_000_000, now_ns), 0);
        let mut before = ages;
        before[2].exited_before_ns = Some(30_000_000_000);
        let groups = Group::all(&before.iter().collect::<Vec<_>>());
        assert_eq!(groups[0].oldest(now_ns), ">2 min");
    }
}
