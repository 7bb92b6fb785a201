//! Builds the lines of advice: remedies, and attempts that will not help. Each line carries its premises. A line with a
//! premise that is known to be false is left out.

use supervisor_model::{
    decision::Risk,
    diagnosis::Prognosis,
    finding::{PidNsMode, Reaper},
};

use super::case::{Case, name};

/// A fact that a line of advice rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Premise {
    /// The reaper was its parent from the beginning.
    OwnChild,
    /// The reaper has adopted it.
    Adopted,
    /// The reaper is PID 1 of a container.
    ReaperIsContainerInit,
    /// The reaper is not PID 1 of the host.
    ReaperIsNotHostInit,
    /// The reaper lives outside of the zombie's PID namespace.
    ReaperIsOutside,
    /// The zombie's PID namespace belongs to one container only.
    NamespaceIsNotShared,
    /// Several containers share the zombie's PID namespace.
    NamespaceIsShared,
    /// As far as is known, the zombie will not be reaped without help.
    IsNotLate,
}

impl Premise {
    /// Whether it is true; `None` if the evidence does not say.
    fn holds(self, case: &Case<'_>, prognosis: Prognosis) -> Option<bool> {
        let reaper = case.reaper;
        let ns = case.finding.pid_ns.as_ref();
        match self {
            Self::OwnChild => case.is_own(),
            Self::Adopted => case.is_own().map(|is_own| !is_own),
            Self::ReaperIsContainerInit => reaper?.is_pidns_init.map(|it| it && !is_host_init(case)),
            Self::ReaperIsNotHostInit => Some(!is_host_init(case)),
            Self::ReaperIsOutside => {
                // A reaper lives in the zombie's namespace or in one above it (`find_new_reaper()`, `kernel/exit.c`).
                let level = ns?.level?;
                Some(level == 0 || reaper?.level? < level)
            }
            Self::NamespaceIsShared => is_shared(case),
            Self::NamespaceIsNotShared => is_shared(case).map(|it| !it),
            Self::IsNotLate => Some(prognosis != Prognosis::Late),
        }
    }
}

fn is_host_init(case: &Case<'_>) -> bool {
    case.reaper.is_some_and(|reaper| reaper.process.pid == 1)
}

/// Whether several containers share the zombie's PID namespace.
pub(super) fn is_shared(case: &Case<'_>) -> Option<bool> {
    let ns = case.finding.pid_ns.as_ref()?;
    match (ns.mode, ns.containers.len()) {
        (Some(PidNsMode::Joined), _) | (_, 2..) => Some(true),
        (Some(PidNsMode::Own | PidNsMode::Host), _) => Some(false),
        (None, _) => None,
    }
}

/// The purpose of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Remedy,
    WontHelp,
}

/// A line of advice.
#[derive(Clone, Debug)]
pub(super) struct Line {
    kind: Kind,
    premises: &'static [Premise],
    text: String,
}

/// A line with a remedy that helps under these premises.
pub(super) fn remedy(premises: &'static [Premise], text: impl Into<String>) -> Line {
    Line { kind: Kind::Remedy, premises, text: text.into() }
}

/// A line with an attempt that does not help under these premises.
pub(super) fn wont_help(premises: &'static [Premise], text: impl Into<String>) -> Line {
    Line { kind: Kind::WontHelp, premises, text: text.into() }
}

/// The line about an attempt that never helps: SIGKILL.
pub(super) fn sigkill() -> Line {
    wont_help(&[], "SIGKILL to it: it is dead already, and only its reaper can end the zombie")
}

/// The line that an init cannot help.
pub(super) fn no_init() -> Line {
    wont_help(
        &[Premise::OwnChild],
        "an init (tini, --init): it gets orphans, and this one has a living parent",
    )
}

/// The remedy that costs nothing.
pub(super) fn reap_it(case: &Case<'_>) -> Option<String> {
    Some(format!(
        "`supervisor reap {}` frees it at once: it makes {} wait for it, and does not end that",
        case.finding.process.pid,
        name(&case.reaper?.process)
    ))
}

/// The last remedy, if a reap needs force: what it frees, and the risks. `None` if somebody is known to wait, or if the
/// host's PID 1 was not watched long enough.
pub(super) fn force(what: &str, risks: &[Risk]) -> Option<String> {
    let is_early = risks.contains(&Risk::HostInit) && risks.contains(&Risk::PrognosisUnknown);
    let is_advisable = !risks.is_empty() && !is_early && risks.iter().all(|risk| risk.is_advisable());
    is_advisable.then(|| {
        let risks: Vec<&str> = risks.iter().map(|risk| risk.text()).collect();
        format!("last: `supervisor reap --force {what}`, at this risk: {}", risks.join("; "))
    })
}

/// The remedy to end the reaper. The next adopter of its zombies may reap them, or may not.
pub(super) fn stop_gap(case: &Case<'_>, reaper: &Reaper) -> Line {
    let who = name(&reaper.process);
    if is_host_init(case) && case.never_reaps() {
        remedy(&[Premise::IsNotLate], "stop-gap: none but a reboot, since PID 1 of the host cannot be ended")
    } else if is_host_init(case) {
        remedy(
            &[],
            format!("look again in a minute: {who} was not watched long enough to say that it does not reap"),
        )
    } else if reaper.is_pidns_init == Some(true) {
        remedy(
            &[Premise::IsNotLate, Premise::ReaperIsNotHostInit],
            format!(
                "stop-gap: restart the container of {who}, which is its PID 1: its zombies go with the PID namespace"
            ),
        )
    } else {
        remedy(
            &[Premise::IsNotLate, Premise::ReaperIsNotHostInit],
            format!(
                "stop-gap: end or restart {who}: its zombies go to the next subreaper or PID 1, and are gone if that \
                 reaps"
            ),
        )
    }
}

/// The texts of all lines of a kind that no known fact contradicts, each once.
pub(super) fn texts(lines: &[Line], kind: Kind, case: &Case<'_>, prognosis: Prognosis) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line.kind == kind) {
        let is_contradicted = line.premises.iter().any(|it| it.holds(case, prognosis) == Some(false));
        if !is_contradicted && !texts.contains(&line.text) {
            texts.push(line.text.clone());
        }
    }
    texts
}
