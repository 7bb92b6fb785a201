//! Maps a request to free a zombie to Process Remediation Activity.

use supervisor_model::{
    event::Event,
    reaping::{ReapOutcome, ReapRequest},
};

use super::{
    Head, base,
    document::{Document, ProcessRemediation, Profile, Unmapped},
    subject,
};
use crate::{Context, ecs::supervisor};

pub(super) fn remediation(
    event: &Event,
    context: &Context,
    sequence: u64,
    request: &ReapRequest,
) -> Document {
    let (status_id, status) = match &request.entry.outcome {
        None | Some(ReapOutcome::Unknown) => (0, "Unknown"),
        Some(outcome) if outcome.is_freed() => (1, "Success"),
        Some(_) => (2, "Failure"),
    };
    let head = Head::of(event, context, sequence);
    let profiles = &[Profile::Container, Profile::Host, Profile::LinuxUsers];
    Document::Remediation(Box::new(ProcessRemediation {
        category_uid: 7,
        category_name: "Remediation",
        class_uid: 7003,
        class_name: "Process Remediation Activity",
        activity_id: 3,
        activity_name: "Restore",
        type_uid: 700_303,
        command_uid: head.uid.clone(),
        base: base(head, context, "Process Remediation Activity: Restore", profiles),
        status_id,
        status,
        status_detail: request.reason(),
        process: subject(&request.entry.finding, event.wall),
        unmapped: Unmapped { supervisor: supervisor(event, context) },
    }))
}
