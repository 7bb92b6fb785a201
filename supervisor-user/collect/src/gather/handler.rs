//! Compares the `SIGCHLD` handler of a reaper with the handler that it had when it reaped.

use supervisor_ebpf::Process;
use supervisor_model::evidence::ExecFacts;

/// `SIG_IGN`; `SIG_DFL` is 0.
const SIG_IGN: u64 = 1;

/// Whether the `SIGCHLD` handler of a process has changed since the process last waited for any child. `None` if it has
/// not waited so since its last exec, because an exec sets all handlers to the default.
pub(super) fn is_handler_changed(record: &Process, exec: Option<&ExecFacts>, handler: u64) -> Option<bool> {
    let exec_ns = match exec {
        Some(exec) => exec.at_ns,
        None if record.execed == 0 => 0,
        None => return None,
    };
    let wait = &record.wait;
    // A process that waited without a handler did not need one.
    (wait.any_ns > exec_ns).then_some(wait.any_handler > SIG_IGN && wait.any_handler != handler)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLER: u64 = 0x40_1000;
    const SIG_DFL: u64 = 0;

    /// A process that waited for any child at 20, with that handler.
    fn waited_with(any_handler: u64, execed: u8) -> Process {
        let mut process = Process { execed, ..Process::default() };
        (process.wait.any_ns, process.wait.any_handler) = (20, any_handler);
        process
    }

    fn exec(at_ns: u64) -> ExecFacts {
        ExecFacts { at_ns, ..ExecFacts::default() }
    }

    #[test]
    fn a_handler_that_was_there_all_the_time_is_not_changed() {
        for handler in [HANDLER, SIG_DFL] {
            let process = waited_with(handler, 1);
            assert_eq!(is_handler_changed(&process, Some(&exec(10)), handler), Some(false));
        }
    }

    #[test]
    fn another_handler_and_the_default_are_changes() {
        let process = waited_with(HANDLER, 0);
        assert_eq!(is_handler_changed(&process, None, HANDLER + 16), Some(true));
        assert_eq!(is_handler_changed(&process, None, SIG_DFL), Some(true));
    }

    #[test]
    fn an_exec_since_the_wait_is_no_change() {
        let process = waited_with(HANDLER, 1);
        assert_eq!(is_handler_changed(&process, Some(&exec(30)), SIG_DFL), None);
        // It has executed a program at an unknown time.
        assert_eq!(is_handler_changed(&process, None, SIG_DFL), None);
    }

    #[test]
    fn without_a_wait_for_any_child_there_is_nothing_to_compare() {
        assert_eq!(is_handler_changed(&Process::default(), None, HANDLER), None);
    }
}
