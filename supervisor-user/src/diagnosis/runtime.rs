//! The zombie is itself a part of the machinery: F6, F7.

use super::{
    Confidence, Family, Verdict,
    case::{Case, Habit, SIGKILL, name},
    facts::Fact,
};
use crate::{
    finding::{Role, Stage},
    words::clean,
};

/// F7: a monitor has exited, and its engine, or who adopted it, has not waited for it.
pub(super) fn monitor_zombie(case: &Case<'_>) -> Option<Verdict> {
    if !case.has_role(Role::Monitor) {
        return None;
    }
    let reaper = case.reaper?;
    let how = match case.is_own() {
        Some(true) => "which started it",
        Some(false) => "which adopted it",
        None => "its parent",
    };
    Some(Verdict {
        family: Some(Family::F7),
        sentence: format!(
            "it is itself a container monitor ({}), and {}, {how}, {}",
            clean(&case.finding.process.name),
            name(&reaper.process),
            case.instead()
        ),
        confidence: confidence(case),
        cites: vec![Fact::Exec, Fact::Reaper, Fact::Waits],
        remedies: vec![
            format!("if it stays for more than five minutes, restart {}", clean(&reaper.process.name)),
            "an engine may keep a monitor of an exec session for up to five minutes on purpose: wait first"
                .to_owned(),
        ],
        wont_help: vec![SIGKILL.to_owned(), "an init in the container: this one is outside of it".to_owned()],
    })
}

/// F6: a runtime's own command, or a stage of it that only prepares. A container's init is neither.
pub(super) fn helper(case: &Case<'_>) -> Option<Verdict> {
    let runtime = case.finding.runtime.as_ref()?;
    let what = match (runtime.stage, case.has_role(Role::Runtime)) {
        (Stage::Intermediate, _) => format!("it is a helper stage of {}", clean(&runtime.name)),
        (_, true) => format!("it is {}'s own command", clean(&runtime.name)),
        _ => return None,
    };
    let reaper = case.reaper?;
    let remedy = match runtime.name.as_str() {
        "runc" => "upgrade runc: stages left behind were fixed (runc#1443, runc#2023)".to_owned(),
        _ => "upgrade the runtime or engine that left it".to_owned(),
    };
    Some(Verdict {
        family: Some(Family::F6),
        sentence: format!("{what}, left to {}, which {}", name(&reaper.process), case.instead()),
        confidence: confidence(case),
        cites: vec![Fact::Exec, Fact::Creators, Fact::Reaper, Fact::Waits],
        remedies: vec![remedy, format!("stop-gap: restart {}", clean(&reaper.process.name))],
        wont_help: vec![SIGKILL.to_owned(), "an init in the container: this one is outside of it".to_owned()],
    })
}

fn confidence(case: &Case<'_>) -> Confidence {
    match (case.is_own(), case.habit()) {
        (Some(_), Habit::Never | Habit::ByName) => Confidence::High,
        (Some(_), _) => Confidence::Medium,
        (None, _) => Confidence::Low,
    }
}
