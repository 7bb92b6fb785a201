//! Golden tests: one finding, as every output writes it.

use super::{Context, ecs, ocsf, story, text};
use crate::{
    attribution::attribute,
    clock::Wall,
    diagnosis::{blockers, diagnose, diagnose_namespace},
    evidence::{
        Member, NamespaceEvidence,
        sample::{HOST, POD, creator, exec, facts, host, incident},
    },
    finding::{
        Block, BlockedNamespace, Container, Dropped, Event, EventKind, Finding, Loss, ReapedBy, Suppressed,
    },
    host::ProcessFacts,
    schema::Subject,
};

use serde_json::Value;
use supervisor_ebpf::ProcessId;

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
        init,
        members: vec![Member {
            id: zombie.id.expect("it is known"),
            facts: zombie.facts,
            threads: Vec::new(),
            reaper: Some((10, "monitor".into())),
            tracer: None,
        }],
    };
    let mut init = attribute(&evidence.init, &host(), 1_000_000_000);
    init.is_exiting = true;
    let blockers = blockers(&evidence);
    BlockedNamespace {
        id: "namespace-1".into(),
        since_ns: 3_100_000_000,
        diagnosis: diagnose_namespace(&init, &blockers),
        blockers,
        init,
    }
}

/// What `explain` says of the monitor, which is well.
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
        EventKind::Dropped(Dropped { sink: "siem".into(), count: 12, since_ns: 3_000_000_000 }),
        EventKind::Suppressed(Suppressed {
            reaper_pid: 10,
            reaper_name: "monitor".into(),
            count: 1200,
            since_ns: 3_000_000_000,
        }),
    ]
    .into_iter()
    .map(|kind| Event { at_ns: 3_200_000_000, wall, kind })
    .collect()
}

/// Compares with a golden file; `UPDATE_GOLDEN=1` writes it anew, to be read before it is committed.
fn golden(name: &str, actual: &str) {
    let path = format!("{}/src/report/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("golden file exists");
    assert_eq!(actual, expected, "{path}");
}

/// A format.
type Line = fn(&Event, &Context, u64) -> serde_json::Result<String>;

/// The lines that a format makes of the events, one event after the other.
fn pretty(line: Line) -> String {
    let lines = (1..).zip(events()).map(|(sequence, event)| {
        let line = line(&event, &context(), sequence).expect("the model is JSON");
        assert!(!line.contains('\n'));
        serde_json::from_str::<Value>(&line).expect("valid JSON")
    });
    format!("{:#}\n", lines.collect::<Value>())
}

#[test]
fn ecs_lines() {
    golden("events.json", &pretty(ecs::line));
}

#[test]
fn ocsf_lines() {
    golden("events.ocsf.json", &pretty(ocsf::line));
}

/// A finding of which every text that a process or a person can choose is hostile.
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
fn events_fit_the_schemas_whatever_the_names() {
    let hostile = EventKind::Detected(Box::new(hostile()));
    let hostile = Event { kind: hostile, ..events().remove(0) };
    for (subject, line) in [(Subject::Ecs, ecs::line as Line), (Subject::Ocsf, ocsf::line)] {
        let validator = jsonschema::options().should_validate_formats(true).build(&subject.schema());
        let validator = validator.expect("a schema");
        for event in events().iter().chain([&hostile]) {
            let line = line(event, &context(), 1).expect("the model is JSON");
            assert!(!line.contains(|it: char| it.is_ascii_control()), "{line}");
            let value = serde_json::from_str::<Value>(&line).expect("valid JSON");
            let wrong: Vec<String> =
                validator.iter_errors(&value).map(|it| format!("{}: {it}", it.instance_path())).collect();
            assert!(wrong.is_empty(), "{}: {wrong:#?}\n{line}", subject.name());
        }
    }
}

#[test]
fn the_words_of_a_line_are_those_of_its_head() {
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
fn text_blocks() {
    let text: String = events().iter().map(|event| text::event(event, text::Colour::Never)).collect();
    assert!(!text.contains('\x1b'), "hostile names reach no terminal");
    // The time of day is in the zone of whoever runs this.
    let lines = text.lines().map(|line| match line.split_at_checked(8) {
        Some((time, rest)) if time.contains(':') => format!("HH:MM:SS{rest}\n"),
        _ => format!("{line}\n"),
    });
    golden("events.txt", &lines.collect::<String>());
}

#[test]
fn stories() {
    let never = text::Colour::Never;
    let text = [story::process(&finding(), never), story::namespace(&namespace(), never)].join("\n");
    assert!(!text.contains('\x1b'), "hostile names reach no terminal");
    golden("stories.txt", &text);
}
