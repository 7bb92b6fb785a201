//! The rules for a zombie that is itself a part of a container's machinery: F6, F7.

use supervisor_model::{
    diagnosis::Confidence,
    family::Family,
    finding::{Role, Stage},
    words::clean,
};

use super::{
    Verdict,
    advice::{Premise, remedy, sigkill, stop_gap, wont_help},
    case::{Case, Habit, name},
    facts::Fact,
    waits,
};

/// F7: a monitor has exited, and its engine or its adopter has not waited for it.
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
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence: format!(
            "it is itself a container monitor ({}), and {}, {how}, {}",
            clean(&case.finding.process.name),
            name(&reaper.process),
            case.instead()
        ),
        confidence: confidence(case),
        cites: vec![Fact::Exec, Fact::Reaper, Fact::Waits],
        advice: vec![
            remedy(
                &[Premise::ReaperIsContainerInit],
                format!(
                    "start the container of {} with an init as PID 1 (`--init`, tini): it gets what is left there",
                    clean(&reaper.process.name)
                ),
            ),
            remedy(
                &[Premise::ReaperIsNotHostInit],
                format!("make {} wait for it: upgrade it", clean(&reaper.process.name)),
            ),
            stop_gap(case, reaper),
            sigkill(),
            wont_help(
                &[Premise::ReaperIsOutside],
                "an init in the container that it watched: the monitor is outside of it",
            ),
        ],
    })
}

/// F6: the zombie is a runtime's own command, or a stage of it that only prepares. A container's init is neither.
pub(super) fn helper(case: &Case<'_>) -> Option<Verdict> {
    let runtime = case.finding.runtime.as_ref();
    let is_stage = runtime.is_some_and(|runtime| runtime.stage == Stage::Intermediate);
    if !is_stage && !case.has_role(Role::Runtime) {
        return None;
    }
    let process = &case.finding.process;
    // If no other runtime created it, the name is that of the file that it executed.
    let file = process.executable.as_deref().and_then(|file| file.rsplit('/').next());
    let runtime = runtime.map_or(file.unwrap_or(&process.name), |runtime| &runtime.name);
    let what = if is_stage {
        format!("it is a helper stage of {}", clean(runtime))
    } else {
        format!("it is {}'s own command", clean(runtime))
    };
    let reaper = case.reaper?;
    let fix = match (runtime, is_stage) {
        ("runc", true) => remedy(&[], "upgrade runc: stages left behind were fixed (runc#1443, runc#2023)"),
        (_, true) => remedy(&[], "upgrade the runtime or engine that left it"),
        (_, false) => remedy(
            &[Premise::ReaperIsNotHostInit],
            format!(
                "make {} wait for it: upgrade it, or the library with which it starts containers",
                clean(&reaper.process.name)
            ),
        ),
    };
    Some(Verdict {
        family: Some(Family::F6),
        cause: waits::cause(case),
        prognosis: waits::prognosis(case),
        sentence: format!("{what}, left to {}, which {}", name(&reaper.process), case.instead()),
        confidence: confidence(case),
        cites: vec![Fact::Exec, Fact::Creators, Fact::Reaper, Fact::Waits],
        advice: vec![
            fix,
            stop_gap(case, reaper),
            sigkill(),
            wont_help(&[Premise::ReaperIsOutside], "an init in the container: this one is outside of it"),
        ],
    })
}

fn confidence(case: &Case<'_>) -> Confidence {
    match (case.is_own(), case.habit()) {
        (Some(_), Habit::Never { .. } | Habit::ByName) => case.is_habit_sure().unwrap_or_default(),
        (Some(_), _) => Confidence::Medium,
        (None, _) => Confidence::Low,
    }
}
