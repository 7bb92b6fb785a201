//! The rules for a reaper that is in a call and can reap only after that call: F19, F20.

use supervisor_model::{
    diagnosis::{Cause, Confidence, Position, Prognosis},
    facts::{Call, OpenFile, PipeWriter},
    family::Family,
    finding::{LastWait, WaitTarget},
    words::clean,
};

use super::{
    Verdict,
    advice::{no_init, remedy, sigkill, wont_help},
    case::{Case, Habit, name},
    facts::Fact,
};

/// F20: the reaper is inside a wait for another child, and may ask for this one next.
pub(super) fn waiting_for_another(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.position() != Some(Position::OwnChild) || reaper.created == Some(false) {
        return None;
    }
    let Some(Call::Wait(request)) = case.only_call() else { return None };
    let wait = LastWait::of(&supervisor_ebpf::Wait { request: *request, ..Default::default() });
    let whom = match wait.target? {
        WaitTarget::Pid(pid) if case.finding.pid_of_reaper != Some(pid) => format!("pid {pid}"),
        WaitTarget::PidFd(fd) => format!("the child of pidfd {fd}"),
        _ => return None,
    };
    let who = name(&reaper.process);
    Some(Verdict {
        family: Some(Family::F20),
        cause: Some(Cause::WaitingForAnother),
        prognosis: Prognosis::Late,
        sentence: format!(
            "{who} waits for another child of its own first ({whom}, which has not exited): it can ask for this one \
             when that has ended"
        ),
        confidence: Confidence::Medium,
        cites: vec![Fact::Reaper, Fact::Ancestry, Fact::Calls, Fact::Waits],
        advice: vec![
            remedy(&[], format!("nothing, if {whom} is to run on: this one goes when {who} comes to it")),
            remedy(&[], format!("look at what {whom} of {who} does, if it should have ended")),
            sigkill(),
            no_init(),
        ],
    })
}

/// F19: the reaper reads a pipe or socket to its end before it waits.
pub(super) fn reading(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    if case.position() != Some(Position::OwnChild) || matches!(case.habit(), Habit::After { .. }) {
        return None;
    }
    let holder = reaper.pipe.as_ref().and_then(|pipe| pipe.writers.iter().find(|it| is_left_by(it, case)));
    if let Some(holder) = holder {
        return Some(held_open(case, holder));
    }
    if let Some(verdict) = reads_output_of_another_child(case) {
        return Some(verdict);
    }
    // If the zombie left no writer behind, the rule applies only to a parent that was seen to wait later.
    let Some(Call::Read { fd, file: file @ (OpenFile::Pipe(_) | OpenFile::Socket) }) = case.only_call()
    else {
        return None;
    };
    if !matches!(case.habit(), Habit::ByName) || !case.reaps_others() {
        return None;
    }
    let what = if *file == OpenFile::Socket { "a socket" } else { "a pipe" };
    let who = name(&reaper.process);
    Some(Verdict {
        family: Some(Family::F19),
        cause: Some(Cause::Reading),
        prognosis: Prognosis::Late,
        sentence: format!("{who} reads {what} (descriptor {fd}) and has not come to wait for this one"),
        confidence: Confidence::Low,
        cites: vec![Fact::Reaper, Fact::Ancestry, Fact::Calls, Fact::Waits],
        advice: vec![
            remedy(&[], format!("find who writes to descriptor {fd} of {who}, and why it does not end")),
            sigkill(),
            no_init(),
        ],
    })
}

/// F19: the reaper reads the output of another child of its own, and may wait for all children after that.
fn reads_output_of_another_child(case: &Case<'_>) -> Option<Verdict> {
    let reaper = case.reaper?;
    let Some(Call::Read { file: OpenFile::Pipe(_), .. }) = case.only_call() else { return None };
    let is_child =
        |writer: &&PipeWriter| writer.parent == reaper.process.pid && writer.pid != case.finding.process.pid;
    let child = reaper.pipe.as_ref()?.writers.iter().find(is_child)?;
    let who = name(&reaper.process);
    let writer = format!("{} (pid {})", clean(&child.comm), child.pid);
    Some(Verdict {
        family: Some(Family::F19),
        cause: Some(Cause::Reading),
        // A reaper that has not reaped before may never do so.
        prognosis: if case.reaps_others() { Prognosis::Late } else { Prognosis::Unknown },
        sentence: format!(
            "{who} reads the output of another child of its own first, {writer}: it can ask for this one when that has ended"
        ),
        confidence: if case.reaps_others() { Confidence::Medium } else { Confidence::Low },
        cites: vec![Fact::Reaper, Fact::Ancestry, Fact::Calls, Fact::Pipe, Fact::Waits],
        advice: vec![
            remedy(&[], format!("nothing, if {writer} is to run on: this one goes when {who} comes to it")),
            remedy(&[], format!("look at what {writer} does, if it should have ended")),
            sigkill(),
            no_init(),
        ],
    })
}

/// Whether the zombie left behind the process that holds a pipe.
fn is_left_by(writer: &PipeWriter, case: &Case<'_>) -> bool {
    let same_group = case.finding.pgrp == Some(writer.pgrp)
        && case.reaper.is_some_and(|reaper| reaper.pgrp.is_some() && reaper.pgrp != case.finding.pgrp);
    writer.is_descendant == Some(true) || (writer.is_descendant.is_none() && same_group)
}

fn held_open(case: &Case<'_>, holder: &PipeWriter) -> Verdict {
    let who = case.reaper.map(|reaper| name(&reaper.process)).unwrap_or_default();
    let holds = format!("{} (pid {})", clean(&holder.comm), holder.pid);
    let is_in_read =
        case.reaper.is_some_and(|it| it.calls.iter().any(|it| matches!(it.call, Call::Read { .. })));
    let reads = if is_in_read { "reads" } else { "polls" };
    Verdict {
        family: Some(Family::F19),
        cause: Some(Cause::Reading),
        prognosis: Prognosis::Late,
        sentence: format!(
            "{who} {reads} this one's output to its end before it waits, and {holds}, which this one left behind, still \
             holds the pipe open"
        ),
        confidence: if holder.is_descendant == Some(true) && is_in_read {
            Confidence::High
        } else {
            Confidence::Medium
        },
        cites: vec![Fact::Reaper, Fact::Ancestry, Fact::Calls, Fact::Pipe],
        advice: vec![
            remedy(&[], format!("end {holds}, or let it close the pipe: then {who} waits at once")),
            remedy(
                &[],
                "redirect the output of what the command starts in the background (`>/dev/null 2>&1 &`)",
            ),
            sigkill(),
            wont_help(&[], format!("ending or restarting {who}: the next run of the command does the same")),
            no_init(),
        ],
    }
}
