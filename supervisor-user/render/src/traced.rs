//! The parts of a trace event that the ECS and OCSF formats share.

use supervisor_model::{
    event::Action,
    identity::common_process_id,
    trace::{TraceEvent, What},
};

use super::Context;
use crate::trace::text::sentence;

/// The name of a trace's data set in a log store.
pub(super) const DATASET: &str = "supervisor.trace";
/// The severity of an event of a trace.
pub(super) const SEVERITY: u8 = 1;
/// The severity of a loss.
pub(super) const LOSS_SEVERITY: u8 = 3;

/// The action word of an event.
pub(super) fn action(what: &What) -> Action {
    match what {
        What::Forked(_) => Action::ProcessForked,
        What::Executed { .. } => Action::ProcessStarted,
        What::Exited(..) => Action::ProcessExited,
        What::Waits(_) => Action::ProcessWaited,
        What::Reaped { .. } => Action::ProcessReaped,
    }
}

/// Of a reap: the time since the exit, if the exit was seen.
pub(super) fn duration_ns(what: &What) -> Option<u64> {
    match what {
        What::Reaped { after_ns, .. } => *after_ns,
        _ => None,
    }
}

/// The event in one sentence that stands alone.
pub(super) fn message(event: &TraceEvent) -> String {
    format!("{}[{}] {}", event.process.shown(), event.process.id.tgid, sentence(&event.what))
}

/// A loss in one sentence that stands alone.
pub(super) fn loss_message(count: u64) -> String {
    format!("{count} records of the trace were lost, because they came faster than they were read.")
}

/// The OCSF Common Process ID of the process, if its PID namespace is known.
pub(super) fn entity_id(event: &TraceEvent, context: &Context) -> Option<String> {
    let ticks = event.process.id.start_ns / (1_000_000_000 / context.host.ticks_per_second);
    let ns = event.pid_ns?;
    Some(common_process_id(&context.host.boot_id, ns.ino, ticks, ns.vpid)?.to_string())
}
