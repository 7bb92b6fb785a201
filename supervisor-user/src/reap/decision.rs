//! Whether a zombie may be freed by making its reaper wait for it. The one place for that knowledge: the command and the
//! remedies of a finding both ask here.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    diagnosis::{Position, Prognosis},
    finding::{Finding, Reaper, WaitTarget},
    host::SigChld,
    words::clean,
};

/// What is to be done with a zombie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nobody will wait for it: it is freed.
    Reap,
    /// Somebody may wait for it, or a mistake costs much: it is freed only with `--force`.
    NeedsForce(Vec<Risk>),
    /// It cannot be freed in this way.
    Refused(Obstacle),
}

/// What a forced reap may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// The reaper created it.
    OwnChild,
    /// A thread of the reaper waits for it.
    WaitedFor,
    /// The reaper has asked for it by its pid.
    AskedFor,
    /// The reaper is late.
    Late,
    /// It may be reaped by itself.
    PrognosisUnknown,
    /// Nobody saw who created it.
    PositionUnknown,
    /// The reaper is the host's PID 1.
    HostInit,
}

impl Risk {
    /// Why it is not freed without force, and what follows if it is.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::OwnChild => {
                "its reaper created it: if that waits for it later, the wait fails with ECHILD and the exit status is lost"
            }
            Self::WaitedFor => {
                "a thread of its reaper is in a wait for it: that wait would fail with ECHILD and lose the exit status"
            }
            Self::AskedFor => {
                "its reaper has asked for it by its pid: the next wait for it would fail with ECHILD and lose the exit status"
            }
            Self::Late => "its reaper is only late and will reap it: the exit status would be lost",
            Self::PrognosisUnknown => {
                "whether its reaper will still wait for it was not seen: the exit status would be lost; `supervisor watch` \
                 sees it within 10 s"
            }
            Self::PositionUnknown => {
                "whether its reaper created or adopted it was not seen: if it did create it, it may wait for it, and the \
                 exit status would be lost"
            }
            Self::HostInit => "its reaper is PID 1 of the host: if that fails, the machine halts",
        }
    }
}

/// Why a zombie cannot be freed in this way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It has not exited.
    NotAZombie(char),
    /// Other threads of it live.
    LiveThreads,
    /// A tracer holds it.
    Traced(u32),
    /// Who must reap it is not known.
    NoReaper,
    /// The reaper's control group is frozen.
    ReaperFrozen(String),
    /// The reaper cannot be made to wait, for this reason.
    ReaperCannotWait(String),
}

impl Obstacle {
    /// What it is, and what to do.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::NotAZombie(state) => format!("it is not a zombie: its state is {state}"),
            Self::LiveThreads => {
                "other threads of it still live, so that no wait can take it: end those".to_owned()
            }
            Self::Traced(tracer) => {
                format!(
                    "process {tracer} traces it and must collect it first: end that process, or let it detach"
                )
            }
            Self::NoReaper => "which process must reap it was not seen".to_owned(),
            Self::ReaperFrozen(file) => {
                format!("the control group of its reaper is frozen: thaw it first ({})", clean(file))
            }
            Self::ReaperCannotWait(reason) => format!("its reaper cannot be made to wait: {}", clean(reason)),
        }
    }
}

/// Decides about a finding, by these parts of its diagnosis.
#[must_use]
pub fn decide(finding: &Finding, position: Option<Position>, prognosis: Prognosis) -> Decision {
    if let Some(obstacle) = obstacle(finding) {
        return Decision::Refused(obstacle);
    }
    let Some(reaper) = &finding.reaper else { return Decision::Refused(Obstacle::NoReaper) };
    let risks = risks(finding, reaper, position, prognosis);
    if risks.is_empty() { Decision::Reap } else { Decision::NeedsForce(risks) }
}

fn obstacle(finding: &Finding) -> Option<Obstacle> {
    if finding.state != 'Z' {
        return Some(Obstacle::NotAZombie(finding.state));
    }
    if let Some(tracer) = &finding.tracer {
        return Some(Obstacle::Traced(tracer.pid));
    }
    if finding.threads.iter().any(|thread| thread.is_live() && thread.tid != finding.process.pid) {
        return Some(Obstacle::LiveThreads);
    }
    let reaper = finding.reaper.as_ref()?;
    reaper.frozen.clone().map(Obstacle::ReaperFrozen)
}

fn risks(finding: &Finding, reaper: &Reaper, position: Option<Position>, prognosis: Prognosis) -> Vec<Risk> {
    let mut risks = Vec::new();
    if is_in_wait_for(finding, reaper) {
        risks.push(Risk::WaitedFor);
    } else if has_asked_for(finding, reaper) {
        risks.push(Risk::AskedFor);
    }
    match position {
        Some(Position::AdoptedByInit | Position::AdoptedBySubreaper) => {}
        Some(Position::OwnChild) => risks.push(Risk::OwnChild),
        Some(Position::HeldByTracer) | None => risks.push(Risk::PositionUnknown),
    }
    match prognosis {
        Prognosis::Leaked => {}
        Prognosis::Late => risks.push(Risk::Late),
        Prognosis::Unknown => risks.push(Risk::PrognosisUnknown),
    }
    if reaper.process.pid == 1 {
        risks.push(Risk::HostInit);
    }
    risks
}

/// Whether a thread of the reaper waits for this one by its pid now. One that waits for any child would have it already.
fn is_in_wait_for(finding: &Finding, reaper: &Reaper) -> bool {
    let waits = reaper.waits_in_progress();
    waits.into_iter().any(|wait| match wait.target {
        Some(WaitTarget::Pid(pid)) => finding.pid_of_reaper == Some(pid),
        // Which process the descriptor names is not known.
        Some(WaitTarget::PidFd(_)) => reaper.adopted != Some(true),
        _ => false,
    })
}

fn has_asked_for(finding: &Finding, reaper: &Reaper) -> bool {
    let target = reaper.last_wait.as_ref().and_then(|wait| wait.target);
    matches!(target, Some(WaitTarget::Pid(pid)) if finding.pid_of_reaper == Some(pid))
}

/// Whether a SIGCHLD may make the reaper wait: it has a handler, or takes the signal by `signalfd` or `sigwait`.
#[must_use]
pub fn may_be_nudged(finding: &Finding) -> bool {
    finding.reaper.as_ref().is_some_and(|reaper| {
        matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked)) && !reaper.sigchld_pending
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribution::attribute,
        evidence::sample::{host, incident},
        finding::{LastWait, Tracer},
        host::{Call, ThreadCall},
    };

    /// The incident's zombie: adopted by a monitor that never waits for it.
    fn zombie() -> Finding {
        attribute(&incident(), &host(), 1_000_000_000)
    }

    fn with_reaper(change: impl FnOnce(&mut Reaper)) -> Finding {
        let mut finding = zombie();
        change(finding.reaper.as_mut().expect("a reaper"));
        finding
    }

    const ADOPTED: Option<Position> = Some(Position::AdoptedBySubreaper);

    fn decided(finding: &Finding) -> Decision {
        decide(finding, ADOPTED, Prognosis::Leaked)
    }

    #[test]
    fn an_adopted_and_leaked_one_is_reaped() {
        assert_eq!(decided(&zombie()), Decision::Reap);
        assert_eq!(decide(&zombie(), Some(Position::AdoptedByInit), Prognosis::Leaked), Decision::Reap);
    }

    #[test]
    fn what_somebody_may_wait_for_needs_force() {
        let needs = |risks: &[Risk]| Decision::NeedsForce(risks.to_vec());
        let finding = zombie();
        assert_eq!(decide(&finding, Some(Position::OwnChild), Prognosis::Leaked), needs(&[Risk::OwnChild]));
        assert_eq!(decide(&finding, ADOPTED, Prognosis::Late), needs(&[Risk::Late]));
        assert_eq!(
            decide(&finding, None, Prognosis::Unknown),
            needs(&[Risk::PositionUnknown, Risk::PrognosisUnknown])
        );
        let vpid = finding.pid_of_reaper.expect("its pid as the reaper counts");
        let asked = with_reaper(|reaper| {
            let target = Some(WaitTarget::Pid(vpid));
            reaper.last_wait = Some(LastWait { at_ns: 1, call: Some("wait4"), target, flags: Vec::new() });
        });
        assert_eq!(decided(&asked), needs(&[Risk::AskedFor]));
        let waits = with_reaper(|reaper| {
            let call = Call::Wait(supervisor_ebpf::Wait::pack(
                supervisor_ebpf::CALL_WAIT4,
                supervisor_ebpf::WAIT_PID,
                vpid,
                0,
            ));
            reaper.calls = vec![ThreadCall { tid: reaper.process.pid, call, timeout_ns: None }];
        });
        assert_eq!(decided(&waits), needs(&[Risk::WaitedFor]));
        let host_init = with_reaper(|reaper| {
            let mut process = (*reaper.process).clone();
            process.pid = 1;
            reaper.process = process.into();
        });
        assert_eq!(decided(&host_init), needs(&[Risk::HostInit]));
    }

    #[test]
    fn what_no_wait_can_take_is_refused_with_its_reason() {
        let refusal = |finding: &Finding| match decided(finding) {
            Decision::Refused(obstacle) => obstacle.text(),
            other => panic!("not refused: {other:?}"),
        };
        let mut finding = zombie();
        finding.state = 'S';
        assert!(refusal(&finding).contains("its state is S"));
        finding = zombie();
        finding.tracer = Some(Tracer { pid: 9, name: None, tid: 1, state: None });
        assert!(refusal(&finding).contains("process 9 traces it"));
        finding = zombie();
        finding.reaper = None;
        assert!(refusal(&finding).contains("was not seen"));
        let frozen = with_reaper(|reaper| reaper.frozen = Some("/sys/fs/cgroup/x/cgroup.freeze".to_owned()));
        assert!(refusal(&frozen).contains("thaw it first (/sys/fs/cgroup/x/cgroup.freeze)"));
    }

    #[test]
    fn only_who_takes_sigchld_is_nudged() {
        let nudged = |sigchld, pending| {
            may_be_nudged(&with_reaper(|reaper| {
                (reaper.sigchld, reaper.sigchld_pending) = (Some(sigchld), pending);
            }))
        };
        assert!(nudged(SigChld::Handled, false) && nudged(SigChld::Blocked, false));
        assert!(!nudged(SigChld::Handled, true) && !nudged(SigChld::Default, false));
    }
}
