//! The function that a fuzz target calls for the marks of tests. Nothing else calls it.

use quick_xml::{Reader, events::Event};
use supervisor_ebpf::ProcessId;

use super::marks::{Answer, Mark, Request};
use crate::leaks::{CommandEnd, Method, Report, junit, tests::Tests};

/// Takes a line as a mark, and as the answer to one. A test that it begins gets into the report.
///
/// # Panics
///
/// If a mark changes when it is written and read again, or if the name of a test breaks the report.
pub fn mark(line: &str) {
    let _no_panic = serde_json::from_str::<Answer>(line).is_ok();
    let Ok(request) = serde_json::from_str::<Request>(line) else { return };
    let written = serde_json::to_string(&request).expect("it can be written");
    assert!(!written.contains('\n'), "a mark is one line");
    let again: Request = serde_json::from_str(&written).expect("it can be read again");
    assert_eq!((again.mark, again.runner, &again.test), (request.mark, request.runner, &request.test));
    let (mut tests, process) = (Tests::new(10_000_000), ProcessId::new(7, 7));
    tests.begin(process, &request.test, 1);
    if request.mark == Mark::End {
        assert!(tests.end(process, &request.test, 2), "the test has begun");
    }
    assert_one_case(tests.names());
}

/// Fails unless the report has one case, for this test.
fn assert_one_case(tests: Vec<String>) {
    let report = Report {
        command: vec!["bats".to_owned()],
        ended: CommandEnd::Code(0),
        ran_ns: 1,
        method: Method::Ebpf,
        unseen: Vec::new(),
        leaks: Vec::new(),
        tests,
        unmatched: Vec::new(),
    };
    let xml = junit::report(&report).expect("it is written to memory");
    let mut reader = Reader::from_reader(xml.as_slice());
    let (mut cases, mut buffer) = (0, Vec::new());
    loop {
        match reader.read_event_into(&mut buffer).expect("it is XML") {
            Event::Start(it) | Event::Empty(it) => {
                assert!(it.attributes().all(|it| it.is_ok()), "an attribute is broken");
                cases += usize::from(format!("{:?}", it.name()).contains("testcase"));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(cases, 1, "the name of the test begins another element");
}
