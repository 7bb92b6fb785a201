//! Finds the program that a process ran at a given time, as far as its execs are kept.

use supervisor_model::evidence::ExecFacts;

/// The execs of a process, as far as they are kept.
#[derive(Clone, Debug)]
pub(super) struct Execs {
    /// Its own last exec.
    pub(super) last: Option<ExecFacts>,
    /// Whether it has made any.
    pub(super) any: bool,
}

impl Execs {
    /// The exec of the program that it ran at that time. `inherited` is the exec of the program that its creator ran at
    /// the fork. `None` if the exec was not kept.
    pub(super) fn at(&self, at_ns: u64, inherited: Option<&ExecFacts>) -> Option<ExecFacts> {
        let inherited = || inherited.cloned().map(ExecFacts::inherited);
        match &self.last {
            None if self.any => None,
            None => inherited(),
            Some(last) if last.at_ns <= at_ns => Some(last.clone()),
            Some(last) => match last.previous_ns {
                None => inherited(),
                Some(previous_ns) if previous_ns <= at_ns => last.before(),
                Some(_) => None,
            },
        }
    }

    /// Whether it has executed a program since that time.
    pub(super) fn since(&self, at_ns: u64) -> bool {
        self.last.as_ref().is_some_and(|last| last.at_ns > at_ns)
    }

    /// One time that stands for all times at which it ran the same program as at that time.
    pub(super) fn representative(&self, at_ns: u64) -> u64 {
        match &self.last {
            Some(last) if last.at_ns > at_ns => match last.previous_ns {
                None => 0,
                Some(previous_ns) if previous_ns <= at_ns => previous_ns,
                Some(previous_ns) => previous_ns - 1,
            },
            _ => u64::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(at_ns: u64, file: &str, previous: Option<(u64, &str)>) -> ExecFacts {
        ExecFacts {
            at_ns,
            filename: file.to_owned(),
            previous: previous.map(|(_, file)| file.to_owned()).filter(|file| !file.is_empty()),
            previous_ns: previous.map(|(at_ns, _)| at_ns),
            args: vec![file.to_owned()],
            own: true,
            uid: Some(0),
            ..ExecFacts::default()
        }
    }

    /// The file of the program at that time, whether the exec was its own, and how many arguments are known.
    fn at(last: Option<ExecFacts>, any: bool, at_ns: u64) -> Option<(String, bool, usize)> {
        let creator = exec(5, "sh", None);
        let execs = Execs { last, any };
        let found = execs.at(at_ns, Some(&creator));
        assert_eq!(found, execs.at(execs.representative(at_ns), Some(&creator)), "{execs:?} {at_ns}");
        found.map(|exec| (exec.filename, exec.own, exec.args.len()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with an option")]
    fn is(file: &str, own: bool, args: usize) -> Option<(String, bool, usize)> {
        Some((file.to_owned(), own, args))
    }

    /// As busybox `timeout` does: it forks its timer, and executes the command after that.
    #[test]
    fn a_program_that_was_executed_after_the_fork_is_not_the_one_that_forked() {
        let command = exec(30, "redis-cli", Some((20, "timeout")));
        assert_eq!(at(Some(command.clone()), true, 25), is("timeout", true, 0));
        assert_eq!(at(Some(command), true, 35), is("redis-cli", true, 1));
    }

    #[test]
    fn before_its_first_exec_a_process_runs_the_program_of_its_creator() {
        assert_eq!(at(None, false, 25), is("sh", false, 1));
        assert_eq!(at(Some(exec(30, "server", None)), true, 25), is("sh", false, 1));
    }

    #[test]
    fn a_program_whose_exec_was_not_kept_is_unknown() {
        // Two execs since the fork.
        assert_eq!(at(Some(exec(30, "server", Some((20, "sh")))), true, 15), None);
        // The previous exec was dropped from the map: its time is that of the last one.
        assert_eq!(at(Some(exec(30, "server", Some((30, "")))), true, 25), None);
        // The last one was dropped.
        assert_eq!(at(None, true, 25), None);
    }

    #[test]
    fn a_program_that_is_older_than_the_watch_is_known() {
        assert_eq!(at(Some(exec(30, "server", Some((0, "sh")))), true, 25), is("sh", true, 0));
        assert_eq!(at(Some(exec(0, "server", None)), true, 25), is("server", true, 1));
    }

    #[test]
    fn the_user_of_the_previous_exec_is_unknown() {
        let execs = Execs { last: Some(exec(30, "server", Some((20, "runc")))), any: true };
        let before = execs.at(25, None).unwrap();
        assert_eq!(before.uid, Some(supervisor_ebpf::UNKNOWN_USER));
        assert!(before.args_note.is_cut);
    }
}
