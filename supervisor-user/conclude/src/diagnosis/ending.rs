//! The rule for a process that was told to exit and cannot, because one of its threads sleeps where no signal wakes it:
//! F9 and F12.

use supervisor_model::{
    diagnosis::{Confidence, Prognosis},
    evidence::EndingFacts,
    facts::RemoteMount,
    family::Family,
    finding::{Finding, LastThread},
    words::{clean, duration},
};

use super::{
    Verdict, advice,
    case::{Case, name},
    facts::Fact,
    namespace::thaw,
};

/// An exit that takes less than this is ordinary.
const ORDINARY_NS: u64 = 1_000_000_000;

/// The obstacle that keeps a thread from its exit.
enum Hold<'a> {
    Frozen(&'a str),
    Tracer(String),
    Fuse(Option<&'a RemoteMount>),
    Network(Option<&'a RemoteMount>),
    Sleep,
    Runs,
}

/// F9 and F12: finds the thread that does not exit, and what that thread waits for.
pub(super) fn cannot_exit(case: &Case<'_>) -> Option<Verdict> {
    let finding = case.finding;
    let ending = finding.ending.as_ref()?;
    let thread = finding.last_thread()?;
    // A PID 1 that waits for its namespace: `exiting::still_exiting` gives F12. The namespace gets its own diagnosis,
    // F8.
    let may_wait = match thread.wchan {
        Some(wchan) => matches!(wchan, "zap_pid_ns_processes" | "do_wait"),
        None => thread.state == 'S',
    };
    if finding.is_exiting && is_own_pid_1(finding) && may_wait {
        return None;
    }
    let hold = hold(finding, ending, &thread);
    let who = match thread.named {
        Some((comm, tid)) => format!("its thread {} (tid {tid}", clean(comm)),
        None => "it (".to_owned(),
    };
    let comma = if thread.named.is_some() { ", " } else { "" };
    let place = thread.wchan.map(|it| format!(" in {}", clean(it))).unwrap_or_default();
    let sentence = format!(
        "{}, and it has not exited: {who}{comma}state {}{place}) {}{}",
        told_to_exit(finding, ending),
        thread.state,
        reason(&hold),
        consequence(finding)
    );
    let is_ordinary =
        ending.since_ns.is_some_and(|since_ns| finding.looked_ns.saturating_sub(since_ns) < ORDINARY_NS);
    let confidence = match &hold {
        _ if is_ordinary => Confidence::Low,
        Hold::Frozen(_) | Hold::Tracer(_) | Hold::Fuse(Some(_)) | Hold::Network(Some(_)) => Confidence::High,
        Hold::Fuse(None) | Hold::Network(None) => Confidence::Medium,
        Hold::Sleep if thread.wchan.is_some() => Confidence::Medium,
        Hold::Sleep | Hold::Runs => Confidence::Low,
    };
    Some(Verdict {
        family: Some(if finding.state == 'Z' { Family::F9 } else { Family::F12 }),
        cause: None,
        prognosis: Prognosis::Unknown,
        sentence,
        confidence,
        cites: vec![Fact::Kill, Fact::Exit, Fact::State, Fact::Threads, Fact::EndingFrozen, Fact::Mounts],
        advice: remedies(&hold, finding, &thread)
            .into_iter()
            .map(|text| advice::remedy(&[], text))
            .chain(wont_help(&hold, finding).into_iter().map(|text| advice::wont_help(&[], text)))
            .collect(),
    })
}

fn is_own_pid_1(finding: &Finding) -> bool {
    finding.process.vpid == Some(1) && finding.pid_ns.as_ref().is_some_and(|ns| ns.level > Some(0))
}

fn hold<'a>(finding: &Finding, ending: &'a EndingFacts, thread: &LastThread<'_>) -> Hold<'a> {
    let mounts = || ending.mounts.iter();
    let wchan = thread.wchan.unwrap_or_default();
    // `request_wait_answer()` waits for a server, `folio_wait_bit_common()` for a page of any file.
    let is_page = wchan.starts_with("folio_wait") || wchan.starts_with("wait_on_page");
    let unanswered = mounts().find(|mount| mount.waiting > Some(0));
    if wchan == "request_wait_answer" || wchan.starts_with("fuse_") || (is_page && unanswered.is_some()) {
        let mut fuse = mounts().filter(|mount| mount.is_fuse());
        let only = fuse.next().filter(|_| fuse.next().is_none());
        return Hold::Fuse(unanswered.or(only));
    }
    if ["nfs", "rpc_", "cifs", "ceph", "p9_"].iter().any(|prefix| wchan.starts_with(prefix)) {
        let mut network = mounts().filter(|mount| !mount.is_fuse());
        return Hold::Network(network.next().filter(|_| network.next().is_none()));
    }
    match (thread.state, &ending.frozen, &finding.tracer) {
        (_, Some(file), _) => Hold::Frozen(file),
        ('t', None, Some(tracer)) => {
            let name = tracer.name.as_deref().map(clean).unwrap_or_default();
            Hold::Tracer(format!("{name} (pid {})", tracer.pid).trim_start().to_owned())
        }
        ('R', ..) => Hold::Runs,
        _ => Hold::Sleep,
    }
}

/// Describes how and when the process was told to exit.
fn told_to_exit(finding: &Finding, ending: &EndingFacts) -> String {
    let ago = ending
        .since_ns
        .map(|since_ns| format!(" {} ago", duration(finding.looked_ns.saturating_sub(since_ns))))
        .unwrap_or_default();
    match &ending.killed_by {
        Some((pid, comm)) => format!("{} (pid {pid}) sent it SIGKILL{ago}", clean(comm)),
        None if finding.is_exiting && finding.state != 'Z' => format!("it began to exit{ago}"),
        None => format!("it was told to exit{ago}"),
    }
}

fn reason(hold: &Hold<'_>) -> String {
    match hold {
        Hold::Frozen(file) => format!("is frozen with its control group: {} says so", clean(file)),
        Hold::Tracer(tracer) => format!("is stopped by its tracer, {tracer}"),
        Hold::Fuse(mount) => {
            format!("waits for {}, whose server does not answer", file_system(*mount, "FUSE"))
        }
        Hold::Network(mount) => {
            format!("waits for {}, whose server does not answer", file_system(*mount, "network"))
        }
        Hold::Sleep => "sleeps where no signal wakes it".to_owned(),
        Hold::Runs => "runs, as it does while it gives back much memory".to_owned(),
    }
}

fn file_system(mount: Option<&RemoteMount>, kind: &str) -> String {
    mount.map_or_else(
        || format!("a {kind} file system"),
        |mount| {
            format!(
                "the {} file system {} on {}",
                clean(&mount.fs_type),
                clean(&mount.source),
                clean(&mount.mount_point)
            )
        },
    )
}

fn consequence(finding: &Finding) -> String {
    let Some(ns) = finding.pid_ns.as_ref().filter(|_| is_own_pid_1(finding)) else { return String::new() };
    let what = if finding.container.is_some() { " and its container" } else { "" };
    format!("; it is PID 1 of PID namespace {}, which{what} cannot end before", ns.ino)
}

fn remedies(hold: &Hold<'_>, finding: &Finding, thread: &LastThread<'_>) -> Vec<String> {
    let stack = format!(
        "find what it waits for: `cat /proc/{}/task/{}/stack`; if that is storage, mend the storage",
        finding.process.pid, thread.tid
    );
    match hold {
        Hold::Frozen(file) => {
            vec![format!("thaw the control group, or the frozen one above it: `{}`", thaw(file))]
        }
        Hold::Tracer(tracer) => match &finding.tracer {
            Some(it) if matches!(it.state, Some('T' | 't')) => {
                vec![format!("{tracer} is stopped itself: continue it, `kill -CONT {}`, or end it", it.pid)]
            }
            _ => vec![format!("let {tracer} continue it or detach, or end {tracer}")],
        },
        Hold::Fuse(mount) => {
            let number = mount.and_then(|mount| mount.connection);
            let number = number.map_or_else(|| "N".to_owned(), |number| number.to_string());
            vec![
                format!(
                    "mend the server of {}: the thread ends with its answer",
                    file_system(*mount, "FUSE")
                ),
                format!(
                    "or give the file system up: `echo 1 > /sys/fs/fuse/connections/{number}/abort`; each program that \
                     uses it gets errors until it is mounted again, and data that was not written is lost"
                ),
            ]
        }
        Hold::Network(mount) => vec![
            format!(
                "bring back the server of {}: the thread ends with its answer",
                file_system(*mount, "network")
            ),
            stack,
        ],
        Hold::Sleep => vec![stack],
        Hold::Runs => vec!["wait: giving back much memory takes time".to_owned()],
    }
}

fn wont_help(hold: &Hold<'_>, finding: &Finding) -> Vec<String> {
    let mut lines = vec!["SIGKILL once more: it was told to exit already".to_owned()];
    if finding.container.is_some() {
        lines.push(
            "deleting the Pod or container by force: it removes the record and leaves the process".to_owned(),
        );
        lines.push("restarting the shim, monitor or engine: the process stays as it is".to_owned());
    } else if let Some(reaper) = &finding.reaper
        && !matches!(hold, Hold::Runs)
    {
        lines.push(format!(
            "restarting or ending {}: there is nothing to reap before it has exited",
            name(&reaper.process)
        ));
    }
    lines
}
