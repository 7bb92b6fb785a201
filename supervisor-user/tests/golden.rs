//! Golden tests of the recordings in `tests/recordings`: a replay of `NAME.zst` gives the events of `NAME.json`, one a
//! line. `UPDATE_GOLDEN=1` writes the JSON files again; review the changes.

use std::{collections::BTreeMap, env, fs, io::Write as _, path::Path};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use supervisor_model::{event::Event, recording::RecordingReader};
use supervisor_render::{Context, ecs, ocsf};
use supervisor_user::schema::SchemaSubject;

mod recorded;
use recorded::{recordings, replay};

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/recordings");

/// A format.
type Line = fn(&Event, &Context, u64) -> serde_json::Result<String>;

/// The events of a recording, each as a line. The version is replaced, because it changes with every release.
fn events(recording: &Path) -> Result<String> {
    let mut lines = String::new();
    replay(
        recording,
        |_| (),
        |event, context, sequence| {
            let mut event: Value = serde_json::from_str(&ecs::line(event, context, sequence)?)?;
            event["agent"]["version"] = "*".into();
            lines.push_str(&event.to_string());
            lines.push('\n');
            Ok(())
        },
    )?;
    Ok(lines)
}

#[test]
fn recordings_give_the_golden_events() -> Result<()> {
    let mut wrong = Vec::new();
    for recording in recordings(RECORDINGS)? {
        let now = events(&recording).with_context(|| format!("{} is not read", recording.display()))?;
        let golden = recording.with_extension("json");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &now)?;
        }
        let before = fs::read_to_string(&golden).unwrap_or_default();
        if now != before {
            let differs = now.lines().zip(before.lines()).find(|(now, before)| now != before);
            let what = match differs {
                Some((now, before)) => format!("\n now    {now}\n before {before}"),
                None => format!("{} events now, {} before", now.lines().count(), before.lines().count()),
            };
            wrong.push(format!("{} says something else: {what}", recording.display()));
        }
    }
    ensure!(wrong.is_empty(), "{}\nUPDATE_GOLDEN=1 takes it over, if it is right", wrong.join("\n"));
    Ok(())
}

/// The events of all recordings fit the schema of each format.
#[test]
fn recordings_fit_the_schemas() -> Result<()> {
    let mut count = 0;
    for (subject, line) in [(SchemaSubject::Ecs, ecs::line as Line), (SchemaSubject::Ocsf, ocsf::line)] {
        let validator = jsonschema::options().should_validate_formats(true).build(&subject.schema())?;
        for recording in recordings(RECORDINGS)? {
            replay(
                &recording,
                |_| (),
                |event, context, sequence| {
                    count += 1;
                    let line = line(event, context, sequence)?;
                    let value = serde_json::from_str(&line)?;
                    let wrong =
                        validator.iter_errors(&value).map(|it| format!("{}: {it}", it.instance_path()));
                    let wrong = wrong.collect::<Vec<_>>().join("\n");
                    ensure!(
                        wrong.is_empty(),
                        "{} as {}: {wrong}\n{line}",
                        recording.display(),
                        subject.name()
                    );
                    Ok(())
                },
            )?;
        }
    }
    ensure!(count > 0, "nothing happens in any recording");
    Ok(())
}

#[test]
fn recordings_name_no_host() -> Result<()> {
    for recording in recordings(RECORDINGS)? {
        let reader = RecordingReader::open(&recording)?;
        let host = &reader.header().host;
        ensure!(*host == host.anonymous(), "{} was made without --anonymous", recording.display());
    }
    Ok(())
}

/// The last reported family of each finding of a recording. For recordings of F8, only the findings of blocked
/// namespaces count, because the processes that hold the namespaces have other families.
fn families(events: &str, of_namespaces: bool) -> Result<BTreeMap<String, Option<String>>> {
    let mut families = BTreeMap::new();
    for line in events.lines() {
        let event: Value = serde_json::from_str(line)?;
        let text = |name: &str| event.pointer(name).and_then(Value::as_str).map(str::to_owned);
        let action = text("/event/action").context("an event without an action")?;
        if action.starts_with("namespace-") == of_namespaces {
            let finding = text("/supervisor/finding/id").with_context(|| format!("no finding: {line}"))?;
            families.insert(finding, text("/supervisor/family/id"));
        }
    }
    Ok(families)
}

/// A recording's name begins with the family of all its findings, or with `none`.
#[test]
fn recordings_have_the_family_of_their_name() -> Result<()> {
    let mut wrong = Vec::new();
    for recording in recordings(RECORDINGS)? {
        let name = recording.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let family = name.split('-').next().unwrap_or_default().to_uppercase();
        // For the cases, truth.json says more than the family.
        if family == "CASE" {
            continue;
        }
        let events = events(&recording)?;
        if family == "NONE" {
            if !events.is_empty() {
                wrong.push(format!("{name}: something is found: {events}"));
            }
            continue;
        }
        let found = families(&events, family == "F8")?;
        if found.is_empty() || found.values().any(|it| it.as_ref() != Some(&family)) {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Checks the processes and the pod, as far as they were recorded, with CRI-O's own names and its daemonised monitor.
#[test]
fn the_incident_under_cri_o_names_runtime_monitor_and_pod() -> Result<()> {
    let all = recordings(RECORDINGS)?;
    for (name, [crun, conmonrs], uid, [namespace, pod]) in [
        (
            "f8-crio-incident.zst",
            ["crun", "conmonrs"],
            Some("7d1f0c9e-5b7a-4c3e-9a61-0f2e8d4c6b00"),
            ["shop", "web-pod"],
        ),
        ("f8-crio-incident-names.zst", ["crio-crun", "crio-conmonrs"], None, ["default", "nginx-sandbox"]),
    ] {
        let recording = all.iter().find(|it| it.ends_with(name)).context("it is in the tree")?;
        let events = events(recording)?;
        let events: Vec<Value> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let of = |process: &str, action: &str| {
            let is_it = |it: &&Value| it["process"]["name"] == process && it["event"]["action"] == action;
            events.iter().find(is_it).with_context(|| format!("{name}: no {action} of {process}"))
        };
        for action in ["zombie-detected", "zombie-reaped"] {
            let event = of(crun, action)?;
            let it = &event["supervisor"];
            assert_eq!((&it["runtime"]["name"], &it["runtime"]["verb"]), (&"crun".into(), &"create".into()));
            assert_eq!(it["runtime"]["stage"], "init");
            assert_eq!(
                (&it["monitor"]["name"], &it["monitor"]["pid"]),
                (&conmonrs.into(), &it["reaper"]["pid"])
            );
            assert_eq!(event["container"]["runtime"], "cri-o");
            assert_eq!(event["orchestrator"]["resource"]["id"].as_str(), uid);
            assert_eq!(it["pid_ns"]["mode"], "joined");
            assert_eq!(it["pid_ns"]["containers"].as_array().map(Vec::len), Some(1), "{name}: {action}");
        }
        let blocked = of("pause", "namespace-blocked")?;
        assert_eq!(blocked["orchestrator"]["namespace"], namespace);
        assert_eq!(blocked["orchestrator"]["resource"]["name"], pod);
        let message = blocked["message"].as_str().unwrap_or_default();
        ensure!(
            message.ends_with(&format!("; it is that of container POD of pod {namespace}/{pod}")),
            "{message}"
        );
        let mut titles = Vec::new();
        replay(
            recording,
            |_| (),
            |event, context, sequence| {
                let event: Value = serde_json::from_str(&ocsf::line(event, context, sequence)?)?;
                titles.extend(event["finding_info"]["title"].as_str().map(str::to_owned));
                Ok(())
            },
        )?;
        let place = format!(": container POD of pod {namespace}/{pod}");
        ensure!(titles.iter().any(|title| title.ends_with(&place)), "{titles:?}");
        // After it is killed, the finding names the monitor itself, not the stage that it daemonised from.
        let monitor = of(conmonrs, "zombie-detected")?;
        assert_eq!(monitor["supervisor"]["monitor"]["pid"], monitor["process"]["pid"]);
        assert_eq!(monitor["supervisor"]["family"]["id"], "F7");
    }
    Ok(())
}

/// The allowed beginnings of absolute paths.
const PLACES: [&str; 19] = [
    "/app.sh",
    "/bin/",
    "/dev/",
    "/etc/containerd.toml",
    "/etc/crio/",
    "/health/ping.sh",
    "/job.sh",
    "/origin",
    "/pause",
    "/plugin.sh",
    "/proc/",
    "/repo",
    "/run/",
    "/sbin/",
    "/sys/",
    "/tmp/runc-process",
    "/tmp/supervisor-lab-",
    "/usr/",
    "/var/lib/containers/",
];

/// The allowed programs, by the names of processes and of their files. Add a name only if it does not reveal where the
/// recording was made.
const PROGRAMS: [&str; 58] = [
    "app.sh",
    "bash",
    "bio_aof_fsync",
    "bio_close_file",
    "bio_lazy_free",
    "busybox",
    "conmon",
    "conmonrs",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "crio",
    "crio-conmonrs",
    "crio-crun",
    "crun",
    "dash",
    "demo-monitor",
    "exe",
    "fixture",
    "fixture-parent",
    "fixture-tracer",
    "git",
    "init",
    "jemalloc_bg_thd",
    "k0s",
    "live-test",
    "lxc-attach",
    "lxc-start",
    "memfd:lxc-attac",
    "node-problem-de",
    "node-problem-detector",
    "pause",
    "perl",
    "pikoci",
    "ping.sh",
    "plugin.sh",
    "pod-holder",
    "podman",
    "python3",
    "python3.11",
    "redis-cli",
    "redis-server",
    "runc",
    "runc:[0:PARENT]",
    "runc:[1:CHILD]",
    "sh",
    "sleep",
    "start-service.s",
    "start-service.sh",
    "supervisor",
    "systemd",
    "tail",
    "timeout",
    "tini",
    "tokio-runtime-w",
    "unshare",
    "wm-after",
    "wm-before",
];

/// The absolute paths in a text. A slash begins a path, unless it stands after a character that can be part of a path.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_inside = |before: char| before.is_alphanumeric() || "/.-_$".contains(before);
    text.match_indices('/').filter_map(move |(at, _)| {
        let begins = !text[..at].ends_with(is_inside);
        let end = text[at..].find(|it: char| it.is_whitespace() || "\"';:,)".contains(it));
        begins.then(|| end.map_or(&text[at..], |end| &text[at..at + end]))
    })
}

/// Collects the values that reveal where a recording was made. `field` is the name of the field with this value.
fn find_texts(field: &str, value: &Value, places: &mut Vec<String>) {
    match value {
        Value::String(text) => {
            let is_elsewhere =
                |path: &str| !matches!(path, "/" | "/tmp") && !PLACES.iter().any(|it| path.starts_with(it));
            let file = text.rsplit('/').next().unwrap_or_default();
            let is_program = matches!(field, "comm" | "filename" | "exe" | "previous");
            let is_wrong = match field {
                // The kernel marks control groups that were removed.
                "cgroup" | "ns_groups" => !text.trim_end_matches(" (deleted)").split('/').all(is_group),
                _ if paths(text).any(is_elsewhere) => true,
                // An open file is named by its descriptor number.
                _ => is_program && !PROGRAMS.contains(&file) && !text.starts_with("/dev/fd/"),
            };
            if is_wrong {
                places.push(format!("{field}: {text}"));
            }
        }
        Value::Array(list) => list.iter().for_each(|it| find_texts(field, it, places)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| find_texts(name, value, places)),
        _ => {}
    }
}

/// Whether a control group may have this name: a known name, or the name of a container or a fixture.
fn is_group(name: &str) -> bool {
    const KNOWN: [&str; 11] = [
        "",
        ".lxc",
        "besteffort",
        "burstable",
        "crio",
        "crio.service",
        "docker",
        "init.scope",
        "kubepods",
        "live-test.service",
        "system.slice",
    ];
    let known = KNOWN.contains(&name);
    let made = [
        "supervisor-lab-",
        "supervisor-fixture-",
        "lxc.payload.supervisor-lab-",
        "libpod-",
        "crio-",
        "pod7d1f0c9e-",
    ];
    let is_id = name.len() == 64 && name.bytes().all(|it| it.is_ascii_hexdigit());
    let is_pod = name.strip_prefix("pod").is_some_and(|uid| uid.len() == 36 && uid.matches('-').count() == 4);
    known || is_id || is_pod || made.iter().any(|it| name.starts_with(it))
}

#[test]
fn recordings_do_not_reveal_where_they_were_made() -> Result<()> {
    let mut wrong = Vec::new();
    for recording in recordings(RECORDINGS)? {
        for observation in RecordingReader::open(&recording)? {
            find_texts("", &serde_json::to_value(observation?)?, &mut wrong);
        }
    }
    wrong.sort();
    wrong.dedup();
    ensure!(wrong.is_empty(), "{}\ntells where it was made: see README.md there", wrong.join("\n"));
    Ok(())
}

#[test]
fn a_revealed_place_is_found() {
    let tells = |field: &str, text: &str| {
        let mut places = Vec::new();
        find_texts(field, &text.into(), &mut places);
        !places.is_empty()
    };
    for text in ["/home/me", "--root=/srv/x", "a:/opt/b", "echo >/root/y", "cd '/builds/supervisor'"] {
        assert!(tells("args", text), "{text}");
    }
    for text in ["/", "/usr/bin/crun", "--root=/tmp/supervisor-lab-1/a", "2>/dev/null", "\"$LAB/s\"", "a/b"] {
        assert!(!tells("args", text), "{text}");
    }
    assert!(tells("comm", "my-agent") && tells("exe", "/usr/bin/my-agent") && !tells("exe", "/usr/bin/crun"));
    assert!(tells("cgroup", "my-agent") && tells("cgroup", "/jobs/0123abcd") && !tells("cgroup", "/"));
}

/// An observation that is written and read again is the same: no evidence is left out.
#[test]
fn observations_survive_a_write_and_a_read() -> Result<()> {
    for recording in recordings(RECORDINGS)? {
        for observation in RecordingReader::open(&recording)? {
            let observation = observation?;
            let mut text = Vec::new();
            serde_json::to_writer(&mut text, &observation)?;
            text.flush()?;
            ensure!(
                serde_json::from_slice::<supervisor_model::observation::Observation>(&text)? == observation
            );
        }
    }
    Ok(())
}
