//! Decides whether `supervisor` may free a zombie by making its reaper wait for it. The command,
//! `top`, `[reap]` and the remedies ask here. `reap` can still refuse when it opens the reaper.

use supervisor_model::{
    decision::{Decision, Obstacle, Risk},
    diagnosis::{Position, Prognosis},
    facts::SigChld,
    finding::{Finding, Reaper, WaitTarget},
};

/// Decides whether the process of a finding may be reaped.
#[must_use]
pub fn decide(finding: &Finding) -> Decision {
    decide_by(finding, finding.diagnosis.position, finding.diagnosis.prognosis)
}

/// The same for a finding whose diagnosis is not made yet.
pub(crate) fn decide_by(finding: &Finding, position: Option<Position>, prognosis: Prognosis) -> Decision {
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
    // A process with live threads is no zombie yet, whoever traces it.
    if finding.threads.iter().any(|thread| thread.is_live() && thread.tid != finding.process.pid) {
        return Some(Obstacle::LiveThreads);
    }
    if let Some(tracer) = &finding.tracer {
        return Some(Obstacle::Traced(tracer.pid));
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

/// Whether a thread of the reaper waits for this process by its pid now, or may wait for it by a pidfd. A pidfd wait
/// does not count if the reaper is known to have adopted the process. A thread that waits for any child would have
/// reaped it already.
fn is_in_wait_for(finding: &Finding, reaper: &Reaper) -> bool {
    let waits = reaper.waits_in_progress();
    waits.into_iter().any(|wait| match wait.target {
        Some(WaitTarget::Pid(pid)) => finding.pid_of_reaper == Some(pid),
        // It is not known which process the descriptor names.
        Some(WaitTarget::PidFd(_)) => reaper.adopted != Some(true),
        _ => false,
    })
}

fn has_asked_for(finding: &Finding, reaper: &Reaper) -> bool {
    let target = reaper.last_wait.as_ref().and_then(|wait| wait.target);
    matches!(target, Some(WaitTarget::Pid(pid)) if finding.pid_of_reaper == Some(pid))
}

/// Whether a SIGCHLD may make the reaper wait: the reaper has a handler, or takes the signal with `signalfd` or
/// `sigwait`, and no SIGCHLD is pending. During a `sigwait` the signal is not blocked (`do_sigtimedwait()`,
/// `kernel/signal.c`).
#[must_use]
pub fn may_be_nudged(finding: &Finding) -> bool {
    finding.reaper.as_ref().is_some_and(|reaper| {
        let takes = matches!(reaper.sigchld, Some(SigChld::Handled | SigChld::Blocked));
        (takes || reaper.is_in_sigtimedwait()) && !reaper.sigchld_pending
    })
}

#[cfg(test)]
mod tests {
    use supervisor_model::{
        evidence::sample::{host, incident},
        facts::{Call, ThreadCall, ThreadFacts},
        finding::{LastWait, Tracer},
    };

    use super::*;
    use crate::attribution::attribute;

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
        decide_by(finding, ADOPTED, Prognosis::Leaked)
    }

    #[test]
    fn an_adopted_leaked_zombie_is_reaped() {
        assert_eq!(decided(&zombie()), Decision::Reap);
        assert_eq!(decide_by(&zombie(), Some(Position::AdoptedByInit), Prognosis::Leaked), Decision::Reap);
    }

    #[test]
    fn a_reap_with_a_risk_needs_force() {
        let needs = |risks: &[Risk]| Decision::NeedsForce(risks.to_vec());
        let finding = zombie();
        assert_eq!(
            decide_by(&finding, Some(Position::OwnChild), Prognosis::Leaked),
            needs(&[Risk::OwnChild])
        );
        assert_eq!(decide_by(&finding, ADOPTED, Prognosis::Late), needs(&[Risk::Late]));
        assert_eq!(
            decide_by(&finding, None, Prognosis::Unknown),
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
    fn a_reap_with_an_obstacle_is_refused_with_the_reason() {
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
        let (tid, comm) = (finding.process.pid + 1, "thread".to_owned());
        finding.threads = vec![ThreadFacts { tid, comm, state: 'S', wchan: None, tracer: Some(9) }];
        assert!(refusal(&finding).contains("other threads of it still live"), "no tracer changes that");
        finding = zombie();
        finding.reaper = None;
        assert!(refusal(&finding).contains("was not seen"));
        let frozen = with_reaper(|reaper| reaper.frozen = Some("/sys/fs/cgroup/x/cgroup.freeze".to_owned()));
        assert!(refusal(&frozen).contains("thaw it first (/sys/fs/cgroup/x/cgroup.freeze)"));
    }

    #[test]
    fn only_a_reaper_that_takes_sigchld_may_be_nudged() {
        let nudged = |sigchld, pending| {
            may_be_nudged(&with_reaper(|reaper| {
                (reaper.sigchld, reaper.sigchld_pending) = (Some(sigchld), pending);
            }))
        };
        assert!(nudged(SigChld::Handled, false) && nudged(SigChld::Blocked, false));
        assert!(!nudged(SigChld::Handled, true) && !nudged(SigChld::Default, false));
        let waits = with_reaper(|reaper| {
            reaper.sigchld = Some(SigChld::Default);
            reaper.wchan = Some("do_sigtimedwait".into());
        });
        assert!(may_be_nudged(&waits), "a sigwait unblocks the signal");
    }
}
