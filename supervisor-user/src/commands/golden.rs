//! Golden files of the output for people, from real recordings: `golden/NAME.txt` holds the output of each command for
//! `tests/recordings/NAME.zst`. `UPDATE_GOLDEN=1` writes the files again; review the changes.

use std::{env, fmt::Write as _, fs, path::Path};

use clap::Parser as _;
use supervisor_conclude::{conclusions::Conclusions, diagnosis::in_full};
use supervisor_model::{
    filter::Filter,
    finding::{BlockedNamespace, Finding},
    recording::RecordingReader,
};
use supervisor_render::{groups, story, text};

use super::{
    Cli, Command, check,
    listing::Listing,
    ps::{Found, Shape, Terminal, Times, screen::screen},
};

/// One recording each of: a blocked PID namespace that a container has joined, the same in a pod of CRI-O, a container,
/// an exec session, many processes, and a namespace with several blockers.
const RECORDINGS: [&str; 6] = [
    "f1-incident",
    "f8-crio-incident",
    "f2-podman-entrypoint",
    "f3-crun-exec",
    "f17-coalesced",
    "f8-zombie-tracer-task",
];
/// Options that choose columns, most of them not among the usual ones.
const CHOSEN: &str = " --columns pid,age,reaper,runtime,verdict --sort pid";

/// The options of `ps` for the form of its list.
#[derive(clap::Parser)]
struct List {
    #[command(flatten)]
    listing: Listing,
}

/// The output of all commands for a recording: `watch` for all of it, the others for the state before the first reap.
fn said(name: &str) -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recordings");
    let mut reader =
        RecordingReader::open(&tests.join(name).with_extension("zst")).expect("it is in the tree");
    let header = reader.header().clone();
    let mut conclusions = Conclusions::new(header.host, header.grace_ns, Filter::default());
    let (mut looks, mut watch, mut now_ns) = (None, String::new(), 0);
    for observation in reader.by_ref().map(Result::unwrap) {
        if observation.seen.is_end() && looks.is_none() {
            looks = Some(look(&conclusions, now_ns));
        }
        now_ns = observation.at_ns;
        for event in conclusions.take(&observation) {
            watch += &text::event(&event, supervisor_render::style::Style::PLAIN);
        }
    }
    let looks = looks.unwrap_or_else(|| look(&conclusions, now_ns));
    assert!(!looks.contains('\x1b') && !watch.contains('\x1b'), "hostile names reach no terminal");
    // The time of day depends on the time zone of the user who runs this.
    let watch = watch.lines().map(|line| match line.split_at_checked(8) {
        Some((time, rest)) if time.contains(':') => format!("HH:MM:SS{rest}\n"),
        _ => format!("{line}\n"),
    });
    format!("$ supervisor watch\n{}{looks}", watch.collect::<String>())
}

/// The output of the commands that scan once.
fn look(conclusions: &Conclusions, now_ns: u64) -> String {
    let mut findings: Vec<&Finding> = conclusions.open().collect();
    groups::sort(&mut findings);
    let mut namespaces: Vec<&BlockedNamespace> = conclusions.namespaces().collect();
    namespaces.sort_by_key(|namespace| namespace.init.process.pid);
    let exits: Vec<&Finding> = conclusions.exits().collect();

    let mut out = String::new();
    for (options, columns, note) in [("", None, ""), ("", Some(80), "  # on 80 columns"), (CHOSEN, None, "")]
    {
        let _infallible = writeln!(out, "\n$ supervisor ps{options}{note}");
        let list = List::parse_from(["ps"].into_iter().chain(options.split_whitespace()));
        let found = Found { findings: &findings, namespaces: &namespaces, exits: &exits };
        let times = Times { now_ns, watched_since_ns: Some(0) };
        let terminal =
            Terminal { columns, lines: columns.map(|_| 24), colour: supervisor_render::style::Colour::Never };
        out += &screen(&found, Shape::Fitting, &list.listing, times, terminal);
    }

    let Command::Check(args) = Cli::parse_from(["supervisor", "check"]).command.expect("a command") else {
        panic!("another command");
    };
    let critical = check::Critical { blocked: &namespaces, stuck: &exits };
    for (missing, note) in [(None, ""), (Some("capabilities are missing"), "  # without capabilities")] {
        let (state, line) = check::judge(&args, &findings, &critical, missing, now_ns);
        let _infallible = write!(out, "\n$ supervisor check{note}\n{}", check::plugin_line(state, &line));
    }
    if let Some(finding) = findings.first() {
        let story = story::process(&in_full(finding), supervisor_render::style::Style::PLAIN);
        let _infallible = write!(out, "\n$ supervisor explain {}\n{story}", finding.process.pid);
    }
    for namespace in namespaces {
        let ino = namespace.init.pid_ns.as_ref().map_or(0, |ns| ns.ino);
        let story = story::namespace(namespace, supervisor_render::style::Style::PLAIN);
        let _infallible = write!(out, "\n$ supervisor explain --pidns {ino}\n{story}");
    }
    out
}

#[test]
fn command_output_matches_the_golden_files() {
    for name in RECORDINGS {
        let path = format!("{}/src/commands/golden/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let now = said(name);
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &now).expect("golden file can be written");
        }
        let before = fs::read_to_string(&path).expect("golden file exists");
        assert_eq!(now, before, "{path}");
    }
}
