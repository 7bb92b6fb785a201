//! Builds reports for tests.

use supervisor_conclude::conclusions::Conclusions;
use supervisor_model::{
    clock::Wall,
    event::{Event, EventKind},
    evidence::{ExecFacts, sample},
    facts::ProcessFacts,
    filter::Filter,
    finding::Finding,
};

use super::{CommandEnd, Leak, LeakKind, Method, Report};

fn finding(pid: u32, comm: &str, args: &[&str], state: char) -> Finding {
    let mut evidence = sample::incident();
    let live_threads = usize::from(state != 'Z');
    evidence.facts = ProcessFacts { state, live_threads, ..sample::facts(pid, comm, &[pid], sample::HOST) };
    let exec = sample::exec(&args.join(" "), true);
    evidence.exec = Some(ExecFacts { filename: args[0].to_owned(), ..exec });
    if state != 'Z' {
        evidence.exit_ns = None;
    }
    Conclusions::new(sample::host(), 1_000_000_000, Filter::default()).explain(&evidence)
}

/// A leak whose monitor has pid 10.
pub(super) fn leak(kind: LeakKind, pid: u32, comm: &str, args: &[&str]) -> Leak {
    let is_running = kind == LeakKind::Running;
    let finding = Box::new(finding(pid, comm, args, if is_running { 'S' } else { 'Z' }));
    let kind_of = match kind {
        LeakKind::Running => EventKind::Explained(finding),
        LeakKind::Late => EventKind::Reaped { finding, dwell_ns: Some(2_500_000_000), by: None },
        LeakKind::Unreaped | LeakKind::Namespace => EventKind::Detected(finding),
    };
    let event =
        Event { at_ns: 3_200_000_000, wall: Wall::at_offset(1_700_000_000_000_000_000), kind: kind_of };
    Leak { kind, tests: Vec::new(), event, allowed: None }
}

/// A report with a leak of each kind except a namespace. One leak belongs to a test, and one is known.
pub(super) fn report() -> Report {
    let mut late = leak(LeakKind::Late, 24, "helper", &["helper"]);
    late.tests = vec!["it is <late>".to_owned()];
    let leaks = vec![
        leak(LeakKind::Unreaped, 22, "crun", &["crun", "create", "web"]),
        leak(LeakKind::Running, 23, "sleep", &["sleep", "300"]),
        late,
        leak(LeakKind::Running, 25, "gpg-agent", &["gpg-agent"]),
    ];
    let list = super::allow::AllowList::parse("name gpg-agent # signs\nname conmon # of its container\n");
    let mut report = Report {
        command: ["bats", "tests/"].map(str::to_owned).into(),
        ended: CommandEnd::Code(0),
        ran_ns: 12_300_000_000,
        method: Method::Ebpf,
        unseen: Vec::new(),
        leaks,
        tests: vec!["it is <late>".to_owned(), "it leaves nothing".to_owned()],
        unmatched: Vec::new(),
    };
    report.unmatched = list.expect("a right list").apply(&mut report.leaks);
    report
}
