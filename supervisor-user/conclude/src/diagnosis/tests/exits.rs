//! Tests the rules for processes that are no zombies: F9, F12 and processes that cannot exit.

use super::*;

#[test]
fn a_process_that_has_not_exited_has_no_family() {
    let alive =
        |state| own(|it, _| (it.state, it.is_exiting, it.exit_ns, it.exit) = (state, false, None, None));
    for state in ['R', 'S', 'D', 'T', 't', 'I'] {
        says(&alive(state), None, High..=High, &["has not exited"]);
    }
    // A stopped parent does not matter to a process that lives.
    let mut both_stopped = alive('T');
    both_stopped.reaper.as_mut().expect("there is one").state = Some('T');
    says(&both_stopped, None, High..=High, &["has not exited", "!app"]);
}

#[test]
fn f9_other_threads_are_alive() {
    let f9 = |states: &[char]| {
        own(|it, _| it.threads = states.iter().zip(100..).map(|(state, tid)| thread(tid, *state)).collect())
    };
    says(&f9(&['Z', 'S']), Family::F9, High..=High, &["tid 101", "nothing has leaked", "!more", "!runs"]);
    says(&f9(&['Z', 'S', 'D', 'R']), Family::F9, High..=High, &["tid 102", "state D", "2 more"]);
    says(&f9(&['Z', 'Z', 'X']), Family::F4, High..=High, &[]);
    // Adoption by PID 1 changes nothing, and neither does a tracer of a living thread.
    let mut f2 = by_pid1(|it, _| it.threads = vec![thread(100, 'Z'), thread(101, 'S')]);
    says(&f2, Family::F9, High..=High, &["!PID 1"]);
    f2.tracer = Some(Tracer { pid: 9, name: None, tid: 101, state: None });
    says(&f2, Family::F9, High..=High, &[]);
}

/// A process that was killed 12 s ago, with one thread that does not end.
fn stuck(state: char, place: (char, &str), change: impl FnOnce(&mut EndingFacts)) -> Finding {
    let mut ending = EndingFacts {
        since_ns: Some(LOOKED - 12 * S),
        killed_by: Some((9, "runc".into())),
        frozen: None,
        mounts: Vec::new(),
    };
    change(&mut ending);
    own(|it, _| {
        (it.state, it.is_exiting, it.exit_ns) = (state, state == 'Z', None);
        let last = ThreadFacts { wchan: Some(place.1.to_owned()), ..thread(102, place.0) };
        it.threads = vec![thread(100, state), last];
        it.ending = Some(ending);
    })
}

fn mount(fs_type: &str, source: &str, waiting: Option<u64>) -> RemoteMount {
    RemoteMount {
        fs_type: fs_type.into(),
        source: source.into(),
        mount_point: format!("/mnt/{source}"),
        connection: waiting.map(|_| 47),
        waiting,
    }
}

#[test]
fn a_killed_process_that_cannot_exit_names_the_obstacle() {
    let fuse = ('D', "request_wait_answer");
    let both = stuck('Z', fuse, |it| {
        it.mounts = vec![mount("fuse", "dead", Some(1)), mount("fuse.sshfs", "idle", Some(0))];
    });
    let words = [
        "runc (pid 9) sent it SIGKILL 12.0 s ago",
        "tid 102",
        "request_wait_answer",
        "fuse file system dead",
    ];
    says(&both, Family::F9, High..=High, &words);
    assert!(diagnose(&both).remedies.iter().any(|it| it.contains("/sys/fs/fuse/connections/47/abort")));
    // If two file systems may be the cause, none is blamed.
    let either = stuck('Z', fuse, |it| {
        it.mounts = vec![mount("fuse", "one", None), mount("fuse", "other", None)];
    });
    says(&either, Family::F9, Medium..=Medium, &["a FUSE file system", "!one", "!other"]);
    let nfs = stuck('S', ('D', "rpc_wait_bit_killable"), |it| it.mounts = vec![mount("nfs4", "filer", None)]);
    says(&nfs, Family::F12, High..=High, &["nfs4 file system filer"]);
    let frozen = stuck('D', ('D', "__refrigerator"), |it| it.frozen = Some("/g/freezer.state".into()));
    says(&frozen, Family::F12, High..=High, &["frozen with its control group", "/g/freezer.state"]);
    assert_eq!(
        diagnose(&frozen).remedies,
        ["thaw the control group, or the frozen one above it: `echo THAWED > /g/freezer.state`"]
    );
    let disk = stuck('Z', ('D', "io_schedule"), |it| it.killed_by = None);
    says(&disk, Family::F9, Medium..=Medium, &["it was told to exit 12.0 s ago", "io_schedule"]);
    // strace was suspended.
    let traced = |state| {
        let mut traced = stuck('t', ('t', "ptrace_stop"), |_| ());
        traced.tracer = Some(Tracer { pid: 9, name: Some("strace".into()), tid: 100, state: Some(state) });
        diagnose(&traced)
    };
    advises(&traced('T'), &["strace (pid 9) is stopped itself", "kill -CONT 9"]);
    advises(&traced('S'), &["let strace (pid 9) continue it", "!kill -CONT"]);
    let runs = stuck('Z', ('R', "0"), |_| ());
    says(&runs, Family::F9, Low..=Low, &["gives back much memory"]);
}

#[test]
fn pid_1_that_waits_for_its_namespace_is_not_called_stuck() {
    for (wchan, words) in [("zap_pid_ns_processes", "is released"), ("request_wait_answer", "and it has not")]
    {
        let mut init = stuck('S', ('S', wchan), |_| ());
        (init.is_exiting, init.wchan, init.threads) = (true, Some(wchan.to_owned()), Vec::new());
        (init.process.vpid, init.pid_ns.as_mut().expect("there is one").level) = (Some(1), Some(1));
        says(&init, Family::F12, Low..=High, &["PID 1 of PID namespace 7", words]);
    }
}

#[test]
fn f12_still_exiting() {
    let f12 = |state, wchan: Option<&str>, age_ns| {
        own(|it, _| {
            (it.state, it.wchan) = (state, wchan.map(str::to_owned));
            it.exit_ns = Some(LOOKED - age_ns);
        })
    };
    says(
        &f12('D', Some("fuse_flush"), 5 * S),
        Family::F12,
        High..=High,
        &["fuse_flush", "no zombie", "!app"],
    );
    says(&f12('D', Some("exit_mm"), S / 2), Family::F12, Medium..=Medium, &["exit_mm"]);
    says(&f12('S', None, 5 * S), Family::F12, Low..=Medium, &["not known"]);
    says(&f12('R', None, 5 * S), Family::F12, Low..=Medium, &["it runs", "!sleeps"]);
    // PID 1 of a PID namespace must also wait for the namespace, wherever it sleeps now.
    for (wchan, confidence) in
        [(Some("zap_pid_ns_processes"), High), (Some("fuse_flush"), High), (None, Medium)]
    {
        let mut init = f12('S', wchan, 5 * S);
        (init.process.vpid, init.pid_ns.as_mut().expect("there is one").level) = (Some(1), Some(1));
        let words = ["PID 1 of PID namespace 7", wchan.unwrap_or("is released"), "!waits in"];
        says(&init, Family::F12, confidence..=confidence, &words);
    }
    // The verdicts for zombies do not apply to it.
    let mut other = by_pid1(|it, app| (it.state, app.state) = ('D', Some('T')));
    says(&other, Family::F12, Low..=Medium, &[]);
    other.tracer = Some(Tracer { pid: 9, name: None, tid: 100, state: None });
    says(&other, Family::F12, Low..=Medium, &[]);
}
