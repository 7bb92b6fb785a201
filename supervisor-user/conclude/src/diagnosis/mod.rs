//! Explains why the process of an attributed finding is unreaped. Pure rules are tried in order. Each rule names the
//! family, gives the verdict in one sentence, and cites the facts that it rests on.

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
mod held;
mod namespace;
mod own;
mod runtime;
#[cfg(test)]
mod tests;
mod waits;

use advice::{Kind, Line};
use case::Case;
use facts::Fact;
use supervisor_model::{
    decision::Decision,
    diagnosis::{Confidence, Diagnosis, Observed},
};

use crate::decision::decide_by;

pub use self::namespace::{blockers, diagnose_namespace};
use supervisor_model::{
    diagnosis::{Cause, Position, Prognosis},
    family::Family,
    finding::Finding,
};

/// The result of a rule.
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

/// A zombie of this age is advised to be freed by force although its prognosis is not known.
const OLD_NS: u64 = 60_000_000_000;

/// A rule returns `None` if it does not apply.
type Rule = fn(&Case<'_>) -> Option<Verdict>;

/// Rules for a process that is no zombie: no reaper is to blame for it.
const NO_ZOMBIE: [Rule; 4] =
    [ending::cannot_exit, exiting::not_exited, exiting::threads_alive, exiting::still_exiting];

/// The mechanisms that keep the reaper from reaping, if more evidence than its waits shows them. The first rule that
/// applies gives the verdict. `in_another_call` is last: it only names the call that the reaper's thread sleeps in.
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

/// The number of [`MECHANISMS`] that are tried before [`PARTS`]. Each of them gives the whole verdict, also for a part
/// of a container's machinery. For such a part, a later mechanism gives cause and prognosis, and can lower the
/// confidence.
const BEFORE_PARTS: usize = 4;

/// Rules for a zombie that is itself a part of a container's machinery.
const PARTS: [Rule; 2] = [runtime::monitor_zombie, runtime::helper];

/// Rules by the reaper's position, if only its waits show why it does not reap.
const POSITIONS: [Rule; 4] =
    [adopted::init_not_pid1, adopted::by_pid1, adopted::by_subreaper, own::never_waits];

/// Keeps the verdict and drops the evidence and the advice. They take most of the memory of a finding, and [`in_full`]
/// computes them again.
fn abridge(diagnosis: &mut Diagnosis) {
    diagnosis.evidence = Vec::new();
    diagnosis.remedies = Vec::new();
    diagnosis.wont_help = Vec::new();
}

/// Returns a finding with its full diagnosis, which may be abridged in the given one.
#[must_use]
pub fn in_full(finding: &Finding) -> Finding {
    Finding { diagnosis: diagnose(finding), ..finding.clone() }
}

/// Diagnoses why the process of a finding is unreaped.
#[must_use]
pub fn diagnose(finding: &Finding) -> Diagnosis {
    let case = Case::new(finding);
    conclude(&case, judge(&case), facts::of(&case))
}

/// Does the same as [`diagnose`], abridged. Nobody reads the rest for the many findings that are only counted or
/// listed.
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
    let mechanism = if case.has_left_it_out() { None } else { first(after) };
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
    // A thread that runs may still make the wait call that was not seen yet.
    let is_open = cause == Some(Cause::Unseen) || (cause.is_some() && case.is_runnable());
    let most = if is_open { Confidence::Medium } else { Confidence::High };
    let decision = decide_by(case.finding, position, prognosis);
    let is_reapable = decision == Decision::Reap;
    let (reap_it, force_it) = match &decision {
        Decision::Reap => (advice::reap_it(case), None),
        Decision::NeedsForce(risks) if prognosis == Prognosis::Leaked || may_be_forgotten(case, cause) => {
            (None, advice::force(&case.finding.process.pid.to_string(), risks))
        }
        Decision::NeedsForce(_) | Decision::Refused(_) => (None, None),
    };
    let remedies = advice::texts(&advice, Kind::Remedy, case, prognosis);
    Diagnosis {
        family,
        position,
        cause,
        prognosis,
        is_reapable,
        verdict: sentence,
        confidence: confidence.min(most),
        evidence,
        remedies: reap_it.into_iter().chain(remedies).chain(force_it).collect(),
        wont_help: advice::texts(&advice, Kind::WontHelp, case, prognosis),
    }
}

/// Whether a zombie of unknown prognosis is so old that its reaper has probably forgotten it. That is not so if the reaper
/// is seen to do something that it can come back from, or if its waits cannot be seen.
fn may_be_forgotten(case: &Case<'_>, instead: Option<Cause>) -> bool {
    let finding = case.finding;
    let age_ns =
        finding.exit_ns.or(finding.exited_before_ns).map(|at_ns| finding.looked_ns.saturating_sub(at_ns));
    matches!(instead, None | Some(Cause::NeverWaits)) && age_ns.is_some_and(|it| it >= OLD_NS)
}

/// The verdict if no rule applies. It says so, and names the missing evidence.
fn unknown(case: &Case<'_>) -> Verdict {
    let (sentence, remedies) = match case.reaper {
        None => (
            "who must reap it was not seen, so why it stays is not known".to_owned(),
            vec!["look again: `supervisor explain PID`".to_owned()],
        ),
        Some(reaper) if case.is_own().is_none() => (
            format!(
                "{} must reap it (whether it created or adopted it was not seen) and {}",
                case::name(&reaper.process),
                case.instead()
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
        // A reaper that was watched for long enough and has not asked for it will not, whoever created it.
        prognosis: waits::prognosis(case),
        sentence,
        confidence: Confidence::Low,
        cites: vec![Fact::State, Fact::Reaper, Fact::Ancestry, Fact::Waits],
        advice,
    }
}
