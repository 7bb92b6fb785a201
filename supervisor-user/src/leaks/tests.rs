//! Finds the test that a process belongs to: from the marks that test runners send, and from the time of a fork.
//!
//! A mark belongs to the process that runs the test. A child of that process belongs to the test if it was forked
//! between the beginning and the end of the test; so does everything that the child does. This separates tests that run
//! at the same time in different processes, and tests that one process runs one after the other. If tests run at the
//! same time in one process, all of them are named.

use std::collections::{BTreeSet, HashMap};

use supervisor_ebpf::ProcessId;

#[derive(Clone, Debug)]
struct Mark {
    name: String,
    begin_ns: u64,
    end_ns: Option<u64>,
}

/// All marks of a run.
#[derive(Debug)]
pub struct Tests {
    precision_ns: u64,
    of: HashMap<ProcessId, Vec<Mark>>,
    names: BTreeSet<String>,
}

impl Tests {
    /// Creates an empty set of marks. `precision_ns` is the precision of the start times of processes, which are
    /// rounded down.
    #[must_use]
    pub fn new(precision_ns: u64) -> Self {
        Self { precision_ns: precision_ns.max(1), of: HashMap::new(), names: BTreeSet::new() }
    }

    /// Records that a test begins in this process.
    pub fn begin(&mut self, process: ProcessId, name: &str, now_ns: u64) {
        self.names.insert(name.to_owned());
        let begin_ns = now_ns - now_ns % self.precision_ns;
        let mark = Mark { name: name.to_owned(), begin_ns, end_ns: None };
        self.of.entry(process).or_default().push(mark);
    }

    /// Records that the test ends. Returns false if it did not begin.
    pub fn end(&mut self, process: ProcessId, name: &str, now_ns: u64) -> bool {
        let end_ns = now_ns.next_multiple_of(self.precision_ns);
        let marks = self.of.get_mut(&process);
        let open = marks
            .and_then(|marks| marks.iter_mut().rev().find(|mark| mark.end_ns.is_none() && mark.name == name));
        open.map(|mark| mark.end_ns = Some(end_ns)).is_some()
    }

    /// The tests that a process belongs to. `line` is the process itself, then its creators.
    #[must_use]
    pub fn of(&self, line: &[ProcessId]) -> Vec<String> {
        for pair in line.windows(2) {
            let (child, creator) = (pair[0], pair[1]);
            let Some(marks) = self.of.get(&creator) else { continue };
            let is_within = |mark: &&Mark| {
                mark.begin_ns <= child.start_ns && mark.end_ns.is_none_or(|end_ns| child.start_ns < end_ns)
            };
            let names: BTreeSet<&String> = marks.iter().filter(is_within).map(|mark| &mark.name).collect();
            if !names.is_empty() {
                return names.into_iter().cloned().collect();
            }
        }
        Vec::new()
    }

    /// The names of all tests that have begun.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.names.iter().cloned().collect()
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    const RUNNER: ProcessId = ProcessId::new(10, 100);
    const ROOT: ProcessId = ProcessId::new(1, 1);

    fn line(start_ns: u64) -> Vec<ProcessId> {
        vec![ProcessId::new(30, start_ns + 500), ProcessId::new(20, start_ns), RUNNER, ROOT]
    }

    #[test]
    fn a_process_belongs_to_the_test_in_which_its_branch_was_forked() {
        let mut tests = Tests::new(1);
        tests.begin(RUNNER, "one", 200);
        assert!(tests.end(RUNNER, "one", 300));
        tests.begin(RUNNER, "two", 310);
        assert_eq!(tests.of(&line(250)), ["one"], "its grandchild came later");
        assert_eq!(tests.of(&line(305)), Vec::<String>::new(), "between two tests");
        assert_eq!(tests.of(&line(400)), ["two"]);
        assert_eq!(tests.of(&line(150)), Vec::<String>::new(), "before the first");
        assert_eq!(tests.names(), ["one", "two"]);
    }

    #[test]
    fn the_nearest_process_with_a_mark_decides() {
        let mut tests = Tests::new(1);
        tests.begin(ROOT, "suite", 2);
        tests.begin(RUNNER, "one", 200);
        assert_eq!(tests.of(&line(250)), ["one"]);
        assert_eq!(tests.of(&line(150)), ["suite"]);
    }

    #[test]
    fn all_tests_that_run_at_once_in_one_process_are_named() {
        let mut tests = Tests::new(1);
        tests.begin(RUNNER, "two", 200);
        tests.begin(RUNNER, "one", 210);
        assert_eq!(tests.of(&line(250)), ["one", "two"]);
    }

    #[test]
    fn a_start_time_that_is_rounded_down_still_belongs_to_its_test() {
        let mut tests = Tests::new(100);
        tests.begin(RUNNER, "one", 250);
        tests.end(RUNNER, "one", 330);
        assert_eq!(tests.of(&line(200)), ["one"], "it started at 260");
        assert_eq!(tests.of(&line(300)), ["one"]);
        assert_eq!(tests.of(&line(400)), Vec::<String>::new());
    }

    #[test]
    fn the_end_of_a_test_that_did_not_begin_is_an_error() {
        let mut tests = Tests::new(1);
        tests.begin(RUNNER, "one", 200);
        assert!(!tests.end(RUNNER, "two", 300));
        assert!(!tests.end(ROOT, "one", 300));
        assert!(tests.end(RUNNER, "one", 300));
        assert!(!tests.end(RUNNER, "one", 400));
    }
}
