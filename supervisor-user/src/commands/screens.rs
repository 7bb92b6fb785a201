//! Golden files of the output for one, five, 300 and 30,000 zombies on terminals of 60, 80, 120 and 200 columns:
//! `golden/screens/NAME.txt`. `UPDATE_GOLDEN=1` writes the files again; review the changes. The findings are invented,
//! from the sample of the incident. The code of the commands writes them.

use std::{env, fmt::Write as _, fs};

use supervisor_conclude::{
    attribution::attribute,
    diagnosis::{blockers, diagnose, diagnose_namespace},
};
use supervisor_model::{
    clock::Wall,
    decision::Decision,
    diagnosis::{Cause, Prognosis},
    event::{Event, EventKind},
    evidence::{
        Member, NamespaceEvidence,
        sample::{POD, creator, exec, facts, host, incident},
    },
    facts::ProcessFacts,
    family::Family,
    finding::{Block, BlockedNamespace, Container, Finding, Orchestrator, Process},
    words::width,
};
use supervisor_render::{
    fold::{Detail, Fold},
    groups::{self, Group},
    story,
    style::{COLUMNS, Colour, Style},
};

use super::{
    listing::Listing,
    ps::{Found, Shape, Terminal, Times, screen::screen},
};

const S: u64 = 1_000_000_000;
/// The present: one hour after the start of the host.
const NOW: u64 = 3600 * S;
/// The start of the watch: a quarter of an hour ago.
const WATCHED: u64 = NOW - 900 * S;
/// Columns and lines of terminals.
const TERMINALS: [(usize, usize); 4] = [(60, 20), (80, 24), (120, 40), (200, 50)];
const COUNTS: [u32; 4] = [1, 5, 300, 30_000];
/// The number of lines that a longer list or watch keeps at its beginning and at its end.
const LIST: (usize, usize) = (18, 8);
const WATCH: (usize, usize) = (40, 15);

/// A kind of zombie that occurs many times: the name, the reaper, the cause, the container.
struct Sort {
    name: &'static str,
    reaper: (&'static str, u32),
    why: (Family, Cause, Prognosis),
    container: Option<(&'static str, Option<(&'static str, &'static str)>)>,
    /// The number of zombies of this kind among ten.
    share: u32,
}

const SORTS: [Sort; 4] = [
    Sort {
        name: "sh",
        reaper: ("java", 4711),
        why: (Family::F4, Cause::NeverWaits, Prognosis::Leaked),
        container: Some(("api", Some(("shop", "api-7d9c5b6f4-x2x9k")))),
        share: 6,
    },
    Sort {
        name: "curl",
        reaper: ("node", 5120),
        why: (Family::F3, Cause::WaitsByPid, Prognosis::Leaked),
        container: Some(("front", Some(("shop", "front-0")))),
        share: 2,
    },
    Sort {
        name: "git-remote-http",
        reaper: ("gitaly", 6001),
        why: (Family::F20, Cause::WaitingForAnother, Prognosis::Late),
        container: None,
        share: 1,
    },
    Sort {
        name: "backup",
        reaper: ("cron", 702),
        why: (Family::F19, Cause::Reading, Prognosis::Unknown),
        container: None,
        share: 1,
    },
];

/// The zombie of the incident.
fn crun() -> Finding {
    let mut finding = attribute(&incident(), &host(), S);
    let pod = Orchestrator {
        kind: "kubernetes",
        namespace: Some("shop".to_owned()),
        pod_name: Some("web-pod".to_owned()),
        pod_uid: None,
    };
    finding.id = "incident".to_owned();
    finding.orchestrator = Some(pod);
    finding.container = Some(Container { id: "web".to_owned(), name: None, runtime: None });
    (finding.exit_ns, finding.looked_ns) = (Some(NOW - 42 * S), NOW);
    finding.blocks =
        vec![Block { ino: POD, init_pid: 5, init_name: "pause".to_owned(), since_ns: NOW - 30 * S }];
    finding.diagnosis = diagnose(&finding);
    finding.diagnosis.prognosis = Prognosis::Leaked;
    finding
}

/// The pod's namespace, when `pause` was killed.
fn namespace() -> BlockedNamespace {
    let mut init = incident();
    init.facts = ProcessFacts {
        state: 'S',
        wchan: Some("zap_pid_ns_processes".to_owned()),
        live_threads: 1,
        ..facts(5, "pause", &[5, 1], POD)
    };
    init.exec = Some(exec("/pause", true));
    init.creators = vec![creator(4, "crun", exec("/usr/bin/crun create pod", true), true)].into();
    let zombie = incident();
    let member = Member {
        id: zombie.id.expect("it is known"),
        facts: zombie.facts,
        threads: Vec::new(),
        reaper: Some((10, "monitor".to_owned())),
        tracer: None,
        frozen: None,
        calls: Vec::new(),
    };
    let evidence = NamespaceEvidence { members_left_out: 0, init, members: vec![member] };
    let mut init = attribute(&evidence.init, &host(), S);
    let Finding { container, orchestrator, .. } = crun();
    (init.container, init.orchestrator, init.is_exiting) = (container, orchestrator, true);
    (init.exit_ns, init.looked_ns) = (Some(NOW - 30 * S), NOW);
    let mut blockers = blockers(&evidence);
    blockers[0].decision = Some(Decision::Reap);
    let diagnosis = diagnose_namespace(&init, &blockers, 0);
    BlockedNamespace {
        id: "namespace".to_owned(),
        since_ns: NOW - 29 * S,
        diagnosis,
        processes: 2,
        blockers,
        init,
    }
}

/// The zombie with this number, from 1 on.
fn other(number: u32) -> Finding {
    let mut place = number % 10;
    let sort = SORTS.iter().find(|sort| {
        let is_it = place < sort.share;
        place = place.saturating_sub(sort.share);
        is_it
    });
    let sort = sort.expect("ten of ten");
    let mut finding = attribute(&incident(), &host(), S);
    finding.id = number.to_string();
    (finding.process.pid, finding.process.name) = (10_000 + number, sort.name.to_owned());
    if let Some(reaper) = &mut finding.reaper {
        let process =
            Process { pid: sort.reaper.1, name: sort.reaper.0.to_owned(), ..(*reaper.process).clone() };
        reaper.process = process.into();
    }
    finding.container =
        sort.container.map(|(name, _)| Container { id: name.to_owned(), name: None, runtime: None });
    finding.orchestrator = sort.container.and_then(|(_, pod)| pod).map(|(namespace, pod)| Orchestrator {
        kind: "kubernetes",
        namespace: Some(namespace.to_owned()),
        pod_name: Some(pod.to_owned()),
        pod_uid: None,
    });
    finding.looked_ns = NOW;
    // Every seventh zombie exited before the watch began.
    let is_old = number.is_multiple_of(7);
    finding.exit_ns = (!is_old).then(|| NOW - u64::from(number % 880) * S - S);
    finding.exited_before_ns = is_old.then_some(WATCHED);
    let (family, cause, prognosis) = sort.why;
    (finding.diagnosis.family, finding.diagnosis.cause) = (Some(family), Some(cause));
    finding.diagnosis.prognosis = prognosis;
    finding
}

/// `count` zombies. The first is the zombie of the incident, and blocks a PID namespace.
fn zombies(count: u32) -> Vec<Finding> {
    [crun()].into_iter().chain((1..count).map(other)).collect()
}

fn ps(findings: &[Finding], shape: Shape, (columns, lines): (usize, usize)) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    groups::sort(&mut sorted);
    let namespace = namespace();
    let found = Found { findings: &sorted, namespaces: &[&namespace], exits: &[] };
    let times = Times { now_ns: NOW, watched_since_ns: Some(WATCHED) };
    let terminal = Terminal { columns: Some(columns), lines: Some(lines), colour: Colour::Never };
    screen(&found, shape, &Listing::default(), times, terminal)
}

fn style(columns: usize) -> Style {
    Style { columns: columns.min(COLUMNS), ..Style::PLAIN }
}

/// The watch finds all zombies in the order of their pids, a hundred a second. Then all but the first are reaped.
fn watch(findings: &[Finding], columns: usize) -> String {
    let wall = Wall::at_offset(1_700_000_000_000_000_000);
    let mut fold = Fold::new(Detail::Brief, style(columns)).expect("it folds");
    let blocked = EventKind::Blocked { namespace: Box::new(namespace()), again: false };
    let mut out = fold.event(&Event { at_ns: NOW, wall, kind: blocked });
    let mut at_ns = NOW;
    for finding in findings {
        at_ns += S / 100;
        let finding = Box::new(finding.clone());
        let kind = match finding.exit_ns {
            Some(_) => EventKind::Detected(finding),
            None => EventKind::Existing(finding),
        };
        out += &fold.event(&Event { at_ns, wall, kind });
    }
    for finding in findings.iter().skip(1) {
        at_ns += S / 1000;
        let kind = EventKind::Reaped { finding: Box::new(finding.clone()), dwell_ns: Some(S), by: None };
        out += &fold.event(&Event { at_ns, wall, kind });
    }
    out += &fold.rest(at_ns, wall);
    without_times(&out)
}

/// Replaces times of day, because they depend on the time zone of the user who runs this.
fn without_times(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_time = |time: &str| {
            let bytes = time.as_bytes();
            let is_right =
                |(at, byte): (usize, &u8)| if at % 3 == 2 { *byte == b':' } else { byte.is_ascii_digit() };
            bytes.iter().enumerate().all(is_right)
        };
        if rest.get(..8).is_some_and(is_time) {
            out.push_str("HH:MM:SS");
            rest = &rest[8..];
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    out
}

/// The blocked namespace, its zombie, and a reaper of all others.
fn explain(findings: &[Finding], columns: usize) -> String {
    let style = style(columns);
    let mut evidence = incident();
    evidence.facts = ProcessFacts { state: 'S', live_threads: 1, ..facts(4711, "java", &[4711], POD) };
    evidence.exit_ns = None;
    let mut reaper = attribute(&evidence, &host(), 0);
    (reaper.is_exiting, reaper.looked_ns) = (false, NOW);
    reaper.diagnosis = diagnose(&reaper);
    let held: Vec<&Finding> = findings.iter().skip(1).collect();
    let groups = Group::all(&held);
    let worst = groups.first().map(|group| diagnose(group.first())).unwrap_or_default();
    [
        story::namespace(&namespace(), style),
        story::process(&findings[0], style),
        story::reaper(&reaper, story::Held { groups: &groups, worst: &worst }, style),
    ]
    .join("\n")
}

/// A long screen without its middle: the `first` lines and the `last` lines are kept.
fn shortened(text: &str, (first, last): (usize, usize)) -> String {
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= first + last + 1 {
        return text.to_owned();
    }
    let note = format!("[{} lines]", lines.len() - first - last);
    let kept = [&lines[..first], &[&note], &lines[lines.len() - last..]].concat();
    kept.join("\n") + "\n"
}

fn golden(name: &str, of: impl Fn(&[Finding], (usize, usize)) -> String) {
    let mut now = String::new();
    for count in COUNTS {
        let findings = zombies(count);
        for terminal in TERMINALS {
            let text = of(&findings, terminal);
            assert!(!text.contains('\x1b'), "no colour was asked for");
            let _infallible = writeln!(now, "$ {name}  # {count} zombies, {} columns\n{text}", terminal.0);
        }
    }
    let file = name.replace(' ', "").replace("--", "-");
    let path = format!("{}/src/commands/golden/screens/{file}.txt", env!("CARGO_MANIFEST_DIR"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &now).expect("golden file can be written");
    }
    let before = fs::read_to_string(&path).expect("golden file exists");
    assert_eq!(now, before, "{path}");
}

/// Asserts that no line of the text is wider than the terminal, and returns the text.
fn fitting(text: String, columns: usize) -> String {
    for line in text.lines() {
        assert!(width(line) <= columns, "{columns} columns:\n{line}\n{text}");
    }
    text
}

#[test]
fn ps_lists_the_worst_first() {
    golden("ps", |all, terminal| shortened(&fitting(ps(all, Shape::Fitting, terminal), terminal.0), LIST));
    golden("ps --all", |all, terminal| shortened(&fitting(ps(all, Shape::All, terminal), terminal.0), LIST));
}

#[test]
fn a_summary_fits_on_the_screen() {
    golden("ps --summary", |all, terminal| {
        let text = fitting(ps(all, Shape::Summary, terminal), terminal.0);
        assert!(text.lines().count() < terminal.1, "{text}");
        text
    });
}

#[test]
fn a_tree_has_zombies_below_reapers_and_containers() {
    golden("ps --tree", |all, terminal| fitting(ps(all, Shape::Tree { all: false }, terminal), terminal.0));
}

#[test]
fn a_watch_prints_three_lines_and_counts_repeats() {
    golden("watch", |all, terminal| {
        let text = watch(all, terminal.0);
        assert!(text.lines().count() < 250, "{text}");
        shortened(&text, WATCH)
    });
}

#[test]
fn a_story_begins_with_the_verdict() {
    golden("explain", |all, terminal| explain(all, terminal.0));
}
