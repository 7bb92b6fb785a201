//! Recognises health checks: exec sessions in a container that execute the same command at a fixed period.

use std::collections::HashMap;

use supervisor_model::finding::{Finding, Role};

/// The number of sessions of one kind that make a period.
const ENOUGH: usize = 3;
/// The number of sessions of one kind that are remembered.
const REMEMBERED: usize = 8;
/// The number of kinds that are remembered. A host has few probes that leak.
const KINDS: usize = 1024;

/// The start times of the sessions that left a process behind, by kind.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    kinds: HashMap<Kind, Runs>,
}

#[derive(Debug, Default)]
struct Runs {
    starts: Vec<u64>,
    /// The period stays known when a run is late.
    period_ns: Option<u64>,
}

/// The properties that all runs of a probe share: the container, and the names from the process up to the runtime.
type Kind = (String, Vec<String>);

impl Sessions {
    /// Records the session that a finding comes from. Returns the period, if there is one by now.
    pub(super) fn period_of(&mut self, finding: &Finding) -> Option<u64> {
        let (kind, start_ns) = session(finding)?;
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            let oldest = self.kinds.iter().min_by_key(|(_, runs)| runs.starts.last());
            if let Some(oldest) = oldest.map(|(kind, _)| kind.clone()) {
                self.kinds.remove(&oldest);
            }
        }
        let runs = self.kinds.entry(kind).or_default();
        if let Err(place) = runs.starts.binary_search(&start_ns) {
            runs.starts.insert(place, start_ns);
            if runs.starts.len() > REMEMBERED {
                runs.starts.remove(0);
            }
        }
        runs.period_ns = period(&runs.starts).or(runs.period_ns);
        runs.period_ns
    }
}

fn session(finding: &Finding) -> Option<(Kind, u64)> {
    let runtime = finding.creators.iter().position(|creator| creator.role == Role::Runtime)?;
    // A runtime's own stages have its verb too. The topmost of them is the command that was started.
    let same = finding.creators[runtime..].iter().take_while(|creator| creator.role == Role::Runtime).count();
    let command = &finding.creators[runtime + same - 1];
    let names = [&finding.process.name]
        .into_iter()
        .chain(finding.creators[..runtime].iter().map(|creator| &creator.process.name));
    let container = finding.container.as_ref()?.id.clone();
    Some(((container, names.cloned().collect()), command.process.start_ns?))
}

/// The mean gap, if the gaps are equal within a quarter.
fn period(starts: &[u64]) -> Option<u64> {
    if starts.len() < ENOUGH {
        return None;
    }
    let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (least, most) = (gaps.iter().min()?, gaps.iter().max()?);
    (*least > 0 && most - least <= least / 4).then(|| gaps.iter().sum::<u64>() / gaps.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_starts_have_a_period() {
        const S: u64 = 1_000_000_000;
        assert_eq!(period(&[0, 2 * S]), None, "two of anything have a gap");
        assert_eq!(period(&[0, 2 * S, 4 * S]), Some(2 * S));
        assert_eq!(period(&[0, 2 * S, 4 * S + S / 5]), Some(2 * S + S / 10));
        assert_eq!(period(&[0, 2 * S, 5 * S]), None);
        assert_eq!(period(&[0, 0, 0]), None, "at once is no period");
    }
}
