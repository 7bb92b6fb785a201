//! Golden tests of the output formats: each format writes the same events.

use std::time::Duration;

use serde_json::Value;
use supervisor_collect::decoder::Decoder;
use supervisor_conclude::{
    attribution::attribute,
    diagnosis::{blockers, diagnose, diagnose_namespace},
};
use supervisor_ebpf::{
    CALL_WAIT4, Exec, ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT, Traced,
    WAIT_ANY, Wait,
};
use supervisor_model::{
    clock::Wall,
    decision::{Decision, Risk},
    event::{Dropped, Event, EventKind, Loss, ReapedBy, Suppressed},
    evidence::{
        EndingFacts, ExecFacts, Member, NamespaceEvidence,
        sample::{HOST, POD, creator, exec, facts, host, incident},
    },
    facts::{ArgsNote, PidBudget, ProcessFacts, RemoteMount},
    finding::{Block, BlockedNamespace, Budget, Container, Finding},
    reaping::{ReapAttempt, ReapOutcome, ReapRequest, RequestedBy, Requester},
};
use supervisor_render::{Context, ecs, ocsf, sentence, story, text};
use supervisor_user::schema::SchemaSubject;

fn context() -> Context {
    Context { host: host(), agent_id: "2ea4fc91".into(), hooks: Some("tp_btf+iter".into()) }
}

/// The incident, with a hostile name.
fn finding() -> Finding {
    let mut evidence = incident();
    evidence.facts.comm = "crun\x1b[31m\n".into();
    let mut finding = attribute(&evidence, &host(), 1_000_000_000);
    finding.diagnosis = diagnose(&finding);
    finding
}

/// The same process, killed while it waits for a FUSE server.
fn stuck() -> Finding {
    let mut stuck = Finding { state: 'D', is_exiting: false, exit: None, exit_ns: None, ..finding() };
    stuck.wchan = Some("request_wait_answer".into());
    let mount = RemoteMount {
        fs_type: "fuse.sshfs".into(),
        source: "files:".into(),
        mount_point: "/mnt".into(),
        connection: Some(47),
        waiting: Some(1),
    };
    stuck.ending = Some(EndingFacts {
        since_ns: Some(1_000_000_000),
        killed_by: Some((10, "runc".into())),
        frozen: None,
        mounts: vec![mount],
    });
    stuck.diagnosis = diagnose(&stuck);
    stuck
}

/// The pod's namespace, when `pause` was killed.
fn namespace() -> BlockedNamespace {
    let mut init = incident();
    init.facts = ProcessFacts {
        state: 'S',
        wchan: Some("zap_pid_ns_processes".into()),
        live_threads: 1,
        exit_status: Some(0),
        ..facts(5, "pause", &[5, 1], POD)
    };
    init.exec = Some(exec("/pause", true));
    init.creators = vec![creator(4, "runc", exec("/usr/bin/runc create pod", true), true)].into();
    let zombie = incident();
    let evidence = NamespaceEvidence {
        members_left_out: 0,
        init,
        members: vec![Member {
            id: zombie.id.expect("it is known"),
            facts: zombie.facts,
            threads: Vec::new(),
            reaper: Some((10, "monitor".into())),
            tracer: None,
            frozen: None,
            calls: Vec::new(),
        }],
    };
    let mut init = attribute(&evidence.init, &host(), 1_000_000_000);
    init.is_exiting = true;
    let mut blockers = blockers(&evidence);
    blockers[0].decision = Some(Decision::Reap);
    BlockedNamespace {
        id: "namespace-1".into(),
        since_ns: 3_100_000_000,
        diagnosis: diagnose_namespace(&init, &blockers, 0),
        blockers,
        processes: 2,
        init,
    }
}

/// The finding of `explain` for the monitor, which has no problem.
fn running() -> Finding {
    let mut evidence = incident();
    evidence.facts = facts(10, "monitor", &[10], HOST);
    evidence.facts.state = 'S';
    evidence.facts.live_threads = 1;
    evidence.exit_ns = None;
    let mut finding = attribute(&evidence, &host(), 0);
    finding.is_exiting = false;
    finding.diagnosis = diagnose(&finding);
    finding
}

/// The agent has freed the zombie.
fn reap_by_service() -> ReapRequest {
    let requested_by = RequestedBy {
        kind: Requester::Service,
        uid: 0,
        login_uid: None,
        sudo_uid: None,
        pid: 99,
        name: Some("supervisor".into()),
    };
    let entry = ReapAttempt {
        outcome: Some(ReapOutcome::Freed),
        is_nudged: true,
        stopped_for: Some(Duration::from_nanos(92_140)),
        ..ReapAttempt::new(finding(), Decision::Reap)
    };
    ReapRequest { entry, requested_by, is_forced: false, released: Vec::new() }
}

/// A person has tried to free the zombie by force. The request also names a namespace that has ended since.
fn reap_by_command() -> ReapRequest {
    let requested_by = RequestedBy {
        kind: Requester::Command,
        login_uid: Some(1000),
        pid: 98,
        name: Some("bash\x1b[31m\u{202e}".into()),
        ..reap_by_service().requested_by
    };
    let entry = ReapAttempt {
        outcome: Some(ReapOutcome::Failed("it is no child of its reaper any more".into())),
        ..ReapAttempt::new(finding(), Decision::NeedsForce(vec![Risk::WaitedFor, Risk::Late]))
    };
    let block = Block { ino: POD, init_pid: 5, init_name: "pause".into(), since_ns: 3_000_000_000 };
    ReapRequest { entry, requested_by, is_forced: true, released: vec![block] }
}

fn events() -> Vec<Event> {
    let wall = Wall::at_offset(1_700_000_000_000_000_000);
    let finding = || Box::new(finding());
    let unknown = Finding { exit_ns: None, exit: None, reaper: None, ..*finding() };
    let unknown = Finding { diagnosis: diagnose(&unknown), ..unknown };
    let block = Block { ino: POD, init_pid: 5, init_name: "pause".into(), since_ns: 3_000_000_000 };
    let blocking = Finding { blocks: vec![block], ..*finding() };
    let blocked = || Box::new(namespace());
    let by = ReapedBy { id: ProcessId::new(10, 1), name: Some("conmonrs\u{202e}\n".into()) };
    [
        EventKind::Detected(finding()),
        EventKind::Existing(Box::new(unknown)),
        EventKind::Updated(Box::new(blocking)),
        EventKind::Blocked { namespace: blocked(), again: false },
        EventKind::Reaped { finding: finding(), dwell_ns: Some(1_200_000_000), by: Some(by) },
        EventKind::Released { namespace: blocked(), blocked_ns: Some(1_200_000_000) },
        EventKind::Lost(Loss { since_ns: 3_000_000_000, exits: 3, found: 3, ..Loss::default() }),
        EventKind::Blocked { namespace: blocked(), again: true },
        EventKind::Explained(Box::new(running())),
        EventKind::Dropped(Dropped { sink: "siem".into(), count: 12, failed: 7, since_ns: 3_000_000_000 }),
        EventKind::Suppressed(Suppressed {
            reaper_pid: 10,
            reaper_name: "monitor".into(),
            count: 1200,
            since_ns: 3_000_000_000,
        }),
        EventKind::ExitBlocked { finding: Box::new(stuck()), again: false },
        EventKind::ExitFinished { finding: Box::new(stuck()), blocked_ns: Some(6_000_000_000) },
        EventKind::ReapRequested(Box::new(reap_by_service())),
        EventKind::ReapRequested(Box::new(reap_by_command())),
    ]
    .into_iter()
    .map(|kind| Event { at_ns: 3_200_000_000, wall, kind })
    .collect()
}

/// Compares with a golden file. `UPDATE_GOLDEN=1` writes the file again; review it before you commit it.
fn golden(name: &str, actual: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("golden file exists");
    assert_eq!(actual, expected, "{path}");
}

/// A format.
type Line = fn(&Event, &Context, u64) -> serde_json::Result<String>;

/// The lines of all events in a format.
fn pretty(line: Line) -> String {
    let lines = (1..).zip(events());
    pretty_lines(lines.map(|(sequence, event)| line(&event, &context(), sequence)))
}

fn pretty_lines(lines: impl Iterator<Item = serde_json::Result<String>>) -> String {
    let values = lines.map(|line| {
        let line = line.expect("the model is JSON");
        assert!(!line.contains(|it: char| it.is_ascii_control()), "{line}");
        serde_json::from_str::<Value>(&line).expect("valid JSON")
    });
    format!("{:#}\n", values.collect::<Value>())
}

/// A trace: a process with a hostile name in a container is forked, executes, waits, exits and is reaped. A second
/// process is killed. A third process is reaped, and its reaper is not known.
fn trace() -> Vec<supervisor_model::trace::TraceEvent> {
    let comm = |name: &[u8]| {
        let mut comm = [0; 16];
        comm[..name.len()].copy_from_slice(name);
        comm
    };
    let mut exec = Exec {
        at_ns: 1,
        previous_ns: 0,
        argv_total: 8,
        argv_len: 8,
        uid: 0,
        level: 0,
        filename: [0; 256],
        previous: [0; 128],
        argv: [0; 1024],
    };
    exec.filename[..9].copy_from_slice(b"/bin/sh\n\x1b");
    exec.argv[..8].copy_from_slice(b"sh\0-c\0:\0");
    let at = |kind, micros: u64, value| Traced {
        kind,
        at_ns: 3_000_000_000 + micros * 1000,
        id: ProcessId::new(20, 2_999_000_000),
        comm: comm(b"sh\x1b\n\xe2\x80\xae"),
        other: ProcessId::new(10, 1_000_000_000),
        other_comm: comm(b"conmonrs"),
        value,
        pid_ns: POD,
        vpid: 2,
        level: 1,
        cgroup: 7,
        ..Traced::default()
    };
    let nobody = |event: Traced| Traced { other: ProcessId::default(), ..event };
    let mut decoder = Decoder::default();
    decoder.cgroup(7, &["machine.slice".to_owned(), format!("libpod-{}.scope", "a1".repeat(32))]);
    let events = [
        (at(TRACE_FORK, 0, 0), None),
        (at(TRACE_EXEC, 100, 0), Some(&exec)),
        (nobody(at(TRACE_WAIT, 200, Wait::pack(CALL_WAIT4, WAIT_ANY, 0, 1))), None),
        (at(TRACE_EXIT, 300, 0x700), None),
        (at(TRACE_REAP, 2_800, 0), None),
        (Traced { id: ProcessId::new(21, 1), cgroup: 0, pid_ns: 0, ..at(TRACE_EXIT, 3_000, 9) }, None),
        (nobody(Traced { id: ProcessId::new(22, 1), ..at(TRACE_REAP, 4_000, 0) }), None),
    ];
    events.iter().map(|(traced, exec)| decoder.event(traced, *exec).expect("an event")).collect()
}

/// The lines of a trace in a format, with a loss at its end.
fn traced_lines(
    traced: fn(&supervisor_model::trace::TraceEvent, &Context, u64, Wall) -> serde_json::Result<String>,
    lost: fn(u64, u64, &Context, u64, Wall) -> serde_json::Result<String>,
) -> Vec<serde_json::Result<String>> {
    let wall = Wall::at_offset(1_700_000_000_000_000_000);
    let events = trace();
    let lines = (1..).zip(&events).map(|(sequence, event)| traced(event, &context(), sequence, wall));
    lines.chain([lost(3, 3_005_000_000, &context(), 8, wall)]).collect()
}

#[test]
fn a_trace_in_ecs_matches_the_golden_file() {
    golden("trace.json", &pretty_lines(traced_lines(ecs::traced, ecs::trace_lost).into_iter()));
}

#[test]
fn a_trace_in_ocsf_matches_the_golden_file() {
    golden("trace.ocsf.json", &pretty_lines(traced_lines(ocsf::traced, ocsf::trace_lost).into_iter()));
}

#[test]
fn a_trace_fits_the_schemas() {
    for (subject, lines) in [
        (SchemaSubject::Ecs, traced_lines(ecs::traced, ecs::trace_lost)),
        (SchemaSubject::Ocsf, traced_lines(ocsf::traced, ocsf::trace_lost)),
    ] {
        let validator = jsonschema::options().should_validate_formats(true).build(&subject.schema());
        let validator = validator.expect("a schema");
        for line in lines {
            fits(&validator, &line.expect("the model is JSON"));
        }
    }
}

fn fits(validator: &jsonschema::Validator, line: &str) {
    let value = serde_json::from_str::<Value>(line).expect("valid JSON");
    let wrong: Vec<String> =
        validator.iter_errors(&value).map(|it| format!("{}: {it}", it.instance_path())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{line}");
}

#[test]
fn ecs_lines_match_the_golden_file() {
    golden("events.json", &pretty(ecs::line));
}

#[test]
fn ocsf_lines_match_the_golden_file() {
    golden("events.ocsf.json", &pretty(ocsf::line));
}

/// A finding with hostile text in every field that a process or a person can choose.
fn hostile() -> Finding {
    let text = format!("\n\r\0\x1b[31m\"\\\u{202e}\u{fffd}{}", "x".repeat(4096));
    let mut finding = finding();
    let creators = finding.creators.iter_mut().map(|it| &mut it.process);
    for process in creators.chain([&mut finding.process]) {
        process.name.clone_from(&text);
        process.executable = Some(text.clone());
        process.args = vec![text.clone(); 8];
    }
    finding.cgroup = Some(text.clone());
    finding.container = Some(Container { id: text.clone(), name: Some(text.clone()), runtime: Some(text) });
    Finding { diagnosis: diagnose(&finding), ..finding }
}

#[test]
fn events_fit_the_schemas_even_with_hostile_names() {
    let hostile = EventKind::Detected(Box::new(hostile()));
    let hostile = Event { kind: hostile, ..events().remove(0) };
    for (subject, line) in [(SchemaSubject::Ecs, ecs::line as Line), (SchemaSubject::Ocsf, ocsf::line)] {
        let validator = jsonschema::options().should_validate_formats(true).build(&subject.schema());
        let validator = validator.expect("a schema");
        for event in events().iter().chain([&hostile]) {
            let line = line(event, &context(), 1).expect("the model is JSON");
            assert!(!line.contains(|it: char| it.is_ascii_control()), "{line}");
            fits(&validator, &line);
        }
    }
}

#[test]
fn an_ecs_line_has_the_action_and_the_finding_of_its_event() {
    for event in events() {
        let line = ecs::line(&event, &context(), 1).expect("the model is JSON");
        let value: Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(value["event"]["action"], event.kind.action().as_str());
        let finding = value.pointer("/supervisor/finding");
        let head = event.kind.finding();
        assert_eq!(finding.map(|it| &it["id"]), head.map(|(id, _)| Value::from(id)).as_ref());
        assert_eq!(finding.map(|it| &it["state"]), head.map(|(_, it)| it.as_str().into()).as_ref());
    }
}

#[test]
fn text_blocks_match_the_golden_file() {
    let text: String =
        events().iter().map(|event| text::event(event, supervisor_render::style::Style::PLAIN)).collect();
    assert!(!text.contains('\x1b'), "hostile names reach no terminal");
    // The time of day depends on the time zone of the user who runs this.
    let lines = text.lines().map(|line| match line.split_at_checked(8) {
        Some((time, rest)) if time.contains(':') => format!("HH:MM:SS{rest}\n"),
        _ => format!("{line}\n"),
    });
    golden("events.txt", &lines.collect::<String>());
}

#[test]
fn forks_that_a_pid_limit_refused_are_reported() {
    let mut limited = finding();
    let pids = PidBudget { source: "/pids.max".into(), current: 5, max: 40, fork_failures: Some(7) };
    limited.budget = Some(Budget { pids, unreaped: None, rate_per_hour: None, exhausted_in_ns: None });
    let budget =
        |finding: &Finding| supervisor_render::parts::budget(finding.budget.as_ref().expect("it has one"));
    assert_eq!(budget(&limited).as_deref(), Some("5 of 40 in use (/pids.max); fork has failed 7 times"));
    let event = Event { kind: EventKind::State(Box::new(limited.clone())), ..events().remove(0) };
    let line = ecs::line(&event, &context(), 1).expect("the model is JSON");
    let document: Value = serde_json::from_str(&line).expect("valid JSON");
    assert_eq!(document["supervisor"]["budget"]["fork_failures"], 7);
    limited.budget.as_mut().expect("it has one").pids.fork_failures = Some(0);
    assert_eq!(budget(&limited), None);
}

#[test]
fn arguments_that_are_cut_are_marked_in_every_output() {
    let cut = |args: &[&str]| {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        ExecFacts { args_note: ArgsNote::of(&args, true), args, ..exec("/usr/bin/crun", true) }
    };
    let event_of = |args: &[&str]| {
        let mut evidence = incident();
        evidence.exec = Some(cut(args));
        evidence.creators = vec![creator(21, "crun", cut(args), true)].into();
        let mut finding = attribute(&evidence, &host(), 1_000_000_000);
        finding.diagnosis = diagnose(&finding);
        Event { kind: EventKind::Detected(Box::new(finding)), ..events().remove(0) }
    };
    for (args, line) in [(&["crun", "run"][..], "crun run …"), (&[], "…")] {
        let event = event_of(args);
        let parsed = |line: String| serde_json::from_str::<Value>(&line).expect("it is JSON");
        let ecs = parsed(ecs::line(&event, &context(), 1).unwrap());
        for marked in ["/supervisor/args_cut", "/supervisor/creators/0/args_cut"] {
            assert_eq!(ecs.pointer(marked), Some(&Value::Bool(true)), "{marked}");
        }
        let ocsf = parsed(ocsf::line(&event, &context(), 1).unwrap());
        assert_eq!(ocsf.pointer("/evidences/0/process/cmd_line"), Some(&Value::from(line)));
        let EventKind::Detected(finding) = &event.kind else { panic!("another event") };
        let [text, story] = [
            text::event(&event, supervisor_render::style::Style::PLAIN),
            story::process(finding, supervisor_render::style::Style::PLAIN),
        ];
        for shown in [text, story] {
            let marked = |it: &str| it.contains("crun[21] (gone)") && it.ends_with(&format!(" {line}"));
            assert!(shown.lines().any(marked), "{shown}");
        }
    }
}

#[test]
fn a_report_of_dropped_events_says_whether_the_sink_was_slow_or_failed() {
    let says = |failed| {
        let dropped = Dropped { sink: "siem".into(), count: 12, failed, since_ns: 0 };
        let kind = EventKind::Dropped(dropped);
        sentence::sentence(&Event { at_ns: 1_000_000_000, wall: Wall::at_offset(0), kind })
    };
    let within = "12 events for it were dropped within 1.0 s";
    assert_eq!(says(0), format!("sink siem was too slow: {within}"));
    assert_eq!(says(12), format!("sink siem failed: {within}"));
    let both = format!("sink siem was too slow and failed: {within}, 7 of them because it failed");
    assert_eq!(says(7), both);
}

#[test]
fn stories_match_the_golden_file() {
    let plain = supervisor_render::style::Style::PLAIN;
    let text = [story::process(&finding(), plain), story::namespace(&namespace(), plain)].join("\n");
    assert!(!text.contains('\x1b'), "hostile names reach no terminal");
    golden("stories.txt", &text);
}

#[test]
fn narrow_ascii_output_fits_and_is_ascii() {
    let style = supervisor_render::style::Style {
        columns: 80,
        is_ascii: true,
        ..supervisor_render::style::Style::PLAIN
    };
    let blocks: String = events().iter().map(|event| text::event(event, style)).collect();
    let all = [blocks, story::process(&finding(), style), story::namespace(&namespace(), style)].join("\n");
    // A sentence after a word, such as the sentence of a loss, is one line of any length.
    let long: Vec<&str> =
        all.lines().filter(|line| line.starts_with(' ') && line.chars().count() > 80).collect();
    assert!(long.is_empty(), "{long:#?}");
    assert!(all.is_ascii(), "{all}");
    assert!(all.contains("`- "), "{all}");
}
