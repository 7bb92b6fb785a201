//! From an attributed finding to why it is unreaped: pure rules, tried in order. Each names the family, says it in
//! one sentence, and cites the facts that it rests on.

mod adopted;
mod advice;
mod blocked;
mod busy;
mod calls;
mod case;
mod changed;
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
mod waits;

use advice::{Kind, Line};
use case::Case;
use facts::Fact;
use supervisor_model::{
    diagnosis::{Confidence, Diagnosis, Observed},
    reaping::Decision,
};

use crate::decision::decide;

pub use self::{
    family::{book, page_text},
    namespace::{blockers, diagnose_namespace},
    pages::Page,
};
use supervisor_model::finding::Finding;
pub use supervisor_model::{
    diagnosis::{Cause, Position, Prognosis},
    family::{Family, UnknownFamily},
};

/// What a rule says.
#[derive(Debug)]
struct Verdict {
    family: Option<Family>,
    cause: Option<Cause>,
    prognosis: Prognosis,
    sentence: String,
    confidence: Confidence,
    cites: Vec<Fact>,
    advice: Vec<Line>,
}

/// A rule says nothing of what it does not apply to.
type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// What is no zombie has no reaper to blame.
const NO_ZOMBIE: [Rule; 4] =
    [ending::cannot_exit, exiting::not_exited, exiting::threads_alive, exiting::still_exiting];

/// What the reaper does instead of reaping, where more than its waits says so. In this order: what no wait of the reaper
/// collects, then a reaper that cannot run, then one that is on its way, then one that never will be.
const MECHANISMS: [Rule; 15] = [
    held::by_tracer,
    held::by_exit_signal,
    blocked::reaper_cannot_run,
    held::peeked_only,
    changed::image_replaced,
    busy::starved,
    calls::waiting_for_another,
    calls::reading,
    changed::sigchld_blocked,
    changed::handler_replaced,
    own::lost_sigchld,
    own::one_per_signal,
    own::late_before,
    own::late_reaper,
    blocked::in_another_call,
];

/// So many of them come before the zombie's own part in a container: they say that its reaper is not to blame.
const BEFORE_PARTS: usize = 4;

/// The zombie is itself a part of the machinery.
const PARTS: [Rule; 2] = [runtime::monitor_zombie, runtime::helper];

/// Who must reap it, where only the reaper's waits say why it does not.
const POSITIONS: [Rule; 4] =
    [adopted::init_not_pid1, adopted::by_pid1, adopted::by_subreaper, own::never_waits];

/// Keeps the verdict and gives up what was said beside it: that takes most of the room of a finding, and [`in_full`] says it
/// again.
fn abridge(diagnosis: &mut Diagnosis) {
    diagnosis.evidence = Vec::new();
    diagnosis.remedies = Vec::new();
    diagnosis.wont_help = Vec::new();
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
    conclude(&case, judge(&case), facts::of(&case))
}

/// The same, abridged: of many that are only counted or listed, nobody reads the rest.
#[must_use]
pub fn diagnose_in_short(finding: &Finding) -> Diagnosis {
    let case = Case::new(finding);
    let mut diagnosis = conclude(&case, judge(&case), Vec::new());
    abridge(&mut diagnosis);
    diagnosis
}

fn judge(case: &Case<'_>) -> Verdict {
    let first = |rules: &[Rule]| rules.iter().find_map(|rule| rule(case));
    if let Some(verdict) = first(&NO_ZOMBIE) {
        return verdict;
    }
    let (before, after) = MECHANISMS.split_at(BEFORE_PARTS);
    if let Some(verdict) = first(before) {
        return verdict;
    }
    let mechanism = first(after);
    if let Some(part) = first(&PARTS) {
        return match mechanism {
            Some(Verdict { cause, prognosis, confidence, .. }) => {
                Verdict { cause, prognosis, confidence: part.confidence.min(confidence), ..part }
            }
            None => part,
        };
    }
    mechanism.or_else(|| first(&POSITIONS)).unwrap_or_else(|| unknown(case))
}

fn conclude(case: &Case<'_>, verdict: Verdict, facts: Vec<(Fact, String, String)>) -> Diagnosis {
    let Verdict { family, cause, prognosis, sentence, confidence, cites, advice } = verdict;
    let mut evidence: Vec<Observed> = facts
        .into_iter()
        .map(|(fact, source, text)| Observed { id: 0, source, text, cited: cites.contains(&fact) })
        .collect();
    evidence.sort_by_key(|observed| !observed.cited);
    for (id, observed) in (1..).zip(&mut evidence) {
        observed.id = id;
    }
    let position = match cause {
        Some(Cause::Traced) => Some(Position::HeldByTracer),
        _ if cause.is_none() && family.is_none_or(|family| !family.is_of_zombies()) => None,
        _ => case.position(),
    };
    // What a thread that runs has not done yet, it may do now.
    let is_open = cause == Some(Cause::Unseen) || (cause.is_some() && case.is_runnable());
    let most = if is_open { Confidence::Medium } else { Confidence::High };
    let is_reapable = decide(case.finding, position, prognosis) == Decision::Reap;
    let reap_it = if is_reapable { advice::reap_it(case) } else { None };
    Diagnosis {
        family,
        position,
        cause,
        prognosis,
        is_reapable,
        verdict: sentence,
        confidence: confidence.min(most),
        evidence,
        remedies: reap_it.into_iter().chain(advice::texts(&advice, Kind::Remedy, case, prognosis)).collect(),
        wont_help: advice::texts(&advice, Kind::WontHelp, case, prognosis),
    }
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
    let mut advice: Vec<Line> = remedies.into_iter().map(|text| advice::remedy(&[], text)).collect();
    advice.push(advice::sigkill());
    Verdict {
        family: None,
        cause: waits::cause(case),
        prognosis: Prognosis::Unknown,
        sentence,
        confidence: Confidence::Low,
        cites: vec![Fact::State, Fact::Reaper, Fact::Descent, Fact::Waits],
        advice,
    }
}
