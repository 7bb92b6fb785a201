//! From an attributed finding to why it is unreaped: pure rules, tried in order. Each names the family, says it in
//! one sentence, and cites the facts that it rests on.

mod adopted;
mod axes;
mod blocked;
mod case;
mod ending;
mod exiting;
mod facts;
mod family;
mod held;
mod namespace;
mod own;
mod pages;
mod runtime;
#[cfg(test)]
mod tests;

use case::Case;
use facts::Fact;
use schemars::JsonSchema;
use serde::Serialize;

pub(crate) use facts::{call, exit};

pub use self::{
    axes::{Cause, Position, Prognosis},
    ending::last_place,
    family::{Family, Page, UnknownFamily, book, page_text},
    namespace::{blockers, diagnose_namespace},
};
use crate::finding::Finding;

/// Why a process is unreaped, as far as the evidence says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// The class of cause; none if the evidence supports none.
    pub family: Option<Family>,
    /// Who must reap it, and how that process got it.
    pub position: Option<Position>,
    /// What that process does instead of reaping it.
    pub cause: Option<Cause>,
    /// Whether it will go away by itself.
    pub prognosis: Prognosis,
    /// One sentence, without the full stop.
    pub verdict: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// What was observed; what the verdict rests on comes first.
    pub evidence: Vec<Observed>,
    /// What to do, best first.
    pub remedies: Vec<String>,
    /// What will not help.
    pub wont_help: Vec<String>,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Something that matters was not seen, or contradicts.
    #[default]
    Low,
    /// It fits, and something else could fit too.
    Medium,
    /// Everything that it rests on was seen.
    High,
}

impl Confidence {
    /// The word of the event contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One observed fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Its number in this diagnosis, from 1.
    pub id: u32,
    /// Where it was seen: a hook, a file, the task iterator.
    pub source: String,
    /// What was seen. Names in it are as the process chose them.
    pub text: String,
    /// Whether the verdict rests on it.
    pub cited: bool,
}

/// What a rule says.
#[derive(Debug)]
struct Verdict {
    family: Option<Family>,
    sentence: String,
    confidence: Confidence,
    cites: Vec<Fact>,
    remedies: Vec<String>,
    wont_help: Vec<String>,
}

/// A rule says nothing of what it does not apply to.
type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// In this order: first what is no zombie, then what no reaper could collect, then a reaper that cannot run, then
/// what it does. `docs/families.md` shows the same order.
const RULES: [Rule; 16] = [
    ending::cannot_exit,
    exiting::not_exited,
    exiting::threads_alive,
    exiting::still_exiting,
    held::by_tracer,
    held::by_exit_signal,
    blocked::reaper_cannot_run,
    held::peeked_only,
    runtime::monitor_zombie,
    runtime::helper,
    own::lost_sigchld,
    own::late_reaper,
    adopted::init_not_pid1,
    adopted::by_pid1,
    adopted::by_subreaper,
    own::never_waits,
];

impl Diagnosis {
    /// Keeps the verdict and gives up what was said beside it: that takes most of the room of a finding, and
    /// [`in_full`] says it again.
    fn abridge(&mut self) {
        self.evidence = Vec::new();
        self.remedies = Vec::new();
        self.wont_help = Vec::new();
    }
}

/// A finding whose diagnosis is abridged, with all of it.
#[must_use]
pub fn in_full(finding: &Finding) -> Finding {
    Finding { diagnosis: diagnose(finding), ..finding.clone() }
}

/// Says why a finding's process is unreaped.
#[must_use]
pub fn diagnose(finding: &Finding) -> Diagnosis {
    let case = Case::new(finding);
    conclude(judge(&case), facts::of(&case))
}

/// The same, abridged: of many that are only counted or listed, nobody reads the rest.
#[must_use]
pub fn diagnose_in_short(finding: &Finding) -> Diagnosis {
    let mut diagnosis = conclude(judge(&Case::new(finding)), Vec::new());
    diagnosis.abridge();
    diagnosis
}

fn judge(case: &Case<'_>) -> Verdict {
    RULES.iter().find_map(|rule| rule(case)).unwrap_or_else(|| unknown(case))
}

fn conclude(verdict: Verdict, facts: Vec<(Fact, String, String)>) -> Diagnosis {
    let Verdict { family, sentence, confidence, cites, remedies, wont_help } = verdict;
    let mut evidence: Vec<Observed> = facts
        .into_iter()
        .map(|(fact, source, text)| Observed { id: 0, source, text, cited: cites.contains(&fact) })
        .collect();
    evidence.sort_by_key(|observed| !observed.cited);
    for (id, observed) in (1..).zip(&mut evidence) {
        observed.id = id;
    }
    Diagnosis { family, verdict: sentence, confidence, evidence, remedies, wont_help, ..Diagnosis::default() }
}

/// No rule applies: that is said, with what is missing.
fn unknown(case: &Case<'_>) -> Verdict {
    let (sentence, remedies) = match case.reaper {
        None => (
            "who must reap it was not seen, so why it stays is not known".to_owned(),
            vec!["look again: `supervisor explain PID`".to_owned()],
        ),
        Some(reaper) if case.is_own().is_none() => (
            format!(
                "{} must reap it and does not; whether it created or adopted it was not seen, so why is not known",
                case::name(&reaper.process)
            ),
            vec![
                "keep `supervisor watch` running: it sees the creators and waits of what comes after it"
                    .to_owned(),
            ],
        ),
        Some(reaper) => (
            format!(
                "{} must reap it and does not; what was seen of its waits does not say why",
                case::name(&reaper.process)
            ),
            vec!["run `supervisor watch` beforehand, so that the reaper's waits are seen".to_owned()],
        ),
    };
    Verdict {
        family: None,
        sentence,
        confidence: Confidence::Low,
        cites: vec![Fact::State, Fact::Reaper, Fact::Descent, Fact::Waits],
        remedies,
        wont_help: vec![case::SIGKILL.to_owned()],
    }
}
