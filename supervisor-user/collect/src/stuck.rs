//! Processes that were told to exit and have not: which there are, and what an inspection of one finds.

use supervisor_ebpf::{ProcessId, TASK_ENDING, TASK_EXITING, TaskRecord};
use supervisor_model::evidence::{Evidence, Task};

use crate::{
    exiting::Inspected,
    gather::{EvidenceError, Inspection},
    kernel::{KernelError, Remembered},
};

/// All processes in a scan that were told to exit and have not, each with the time of its SIGKILL, if that was seen.
pub(crate) fn all_exiting(
    records: Remembered<'_>,
    exited: &[Task],
    living: &[TaskRecord],
) -> Result<Vec<(ProcessId, Option<u64>)>, KernelError> {
    let exited = exited.iter().map(|task| &task.record);
    exited
        .chain(living)
        .filter(|record| record.flags & (TASK_ENDING | TASK_EXITING) != 0)
        .map(|record| {
            let kill = records.kill(&record.id)?;
            Ok((record.id, kill.map(|kill| kill.at_ns)))
        })
        .collect()
}

/// Inspects a process that was told to exit and has not.
pub(crate) fn inspect(
    look: &Inspection<'_>,
    id: ProcessId,
    since_ns: Option<u64>,
) -> Result<(Inspected, Option<Box<Evidence>>), EvidenceError> {
    let Some(facts) = look.process_of(&id)?.filter(|facts| !facts.is_unreaped()) else {
        return Ok((Inspected::Running, None));
    };
    if look.is_held_init(&id, &facts)? {
        return Ok((Inspected::HoldsNamespace, None));
    }
    let mut evidence = Box::new(look.gather(facts, Some(id), None)?);
    let Some(ending) = &mut evidence.ending else { return Ok((Inspected::Running, None)) };
    ending.since_ns = since_ns.or(ending.since_ns);
    Ok((Inspected::of(&evidence), Some(evidence)))
}
