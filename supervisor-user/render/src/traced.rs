//! What formats share of a trace.

use supervisor_model::{
    event::Action,
    identity::common_process_id,
    trace::{Event, What},
};

use super::Context;
use crate::trace::text::sentence;

/// What a stream of a trace is called in a store of streams.
pub(super) const DATASET: &str = "supervisor.trace";
/// How bad it is that something happens.
pub(super) const SEVERITY: u8 = 1;
/// The same of a loss.
pub(super) const LOSS_SEVERITY: u8 = 3;

/// The word for what has happened.
pub(super) fn action(what: &What) -> Action {
    match what {
        What::Forked(_) => Action::ProcessForked,
        What::Executed { .. } => Action::ProcessStarted,
        What::Exited(..) => Action::ProcessExited,
        What::Waits(_) => Action::ProcessWaited,
        What::Reaped { .. } => Action::ProcessReaped,
    }
}

/// Of a reap: how long after the exit it was, if that was seen.
pub(super) fn duration_ns(what: &What) -> Option<u64> {
    match what {
        What::Reaped { after_ns, .. } => *after_ns,
        _ => None,
    }
}

/// What has happened, in a sentence that stands alone.
pub(super) fn message(event: &Event) -> String {
    format!("{}[{}] {}", event.process.shown(), event.process.id.tgid, sentence(&event.what))
}

/// The same of a loss.
pub(super) fn loss_message(count: u64) -> String {
    format!("{count} records of the trace were lost, because they came faster than they were read.")
}

/// The OCSF Common Process ID of the process, if it is known where it lives.
pub(super) fn entity_id(event: &Event, context: &Context) -> Option<String> {
    let ticks = event.process.id.start_ns / (1_000_000_000 / context.host.ticks_per_second);
    let ns = event.pid_ns?;
    Some(common_process_id(&context.host.boot_id, ns.ino, ticks, ns.vpid)?.to_string())
}
