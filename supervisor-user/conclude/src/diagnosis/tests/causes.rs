//! Tests the cause (what the reaper does instead of reaping) and the prognosis (whether it will still reap).

use supervisor_model::{
    evidence::EndFacts,
    facts::{Call, OpenFile, SigChld, ThreadCall},
};

use super::*;

#[test]
fn the_position_says_how_the_reaper_got_the_zombie() {
    let position = |finding: &Finding| diagnose(finding).position;
    assert_eq!(position(&own(|_, _| ())), Some(Position::OwnChild));
    assert_eq!(position(&by_pid1(|_, _| ())), Some(Position::AdoptedByInit));
    assert_eq!(position(&adopted(|_, _| ())), Some(Position::AdoptedBySubreaper));
    let traced = own(|it, _| it.tracer = Some(Tracer { pid: 9, name: None, tid: 100, state: None }));
    assert_eq!(position(&traced), Some(Position::HeldByTracer));
    assert_eq!(position(&by_pid1(ancestry_unknown)), None);
    let alive = own(|it, _| (it.state, it.is_exiting, it.exit_ns) = ('S', false, None));
    assert_eq!((position(&alive), diagnose(&alive).cause), (None, None));
}

#[test]
fn a_parent_that_has_not_waited_yet_may_still_wait() {
    let after = |age_ns| own(|it, _| it.looked_ns = EXIT + age_ns);
    is(&after(5 * S), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    is(&after(59 * S), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    is(&after(60 * S), Cause::NeverWaits, Prognosis::Leaked, Family::F4);
    // A thread of the reaper runs, so it may be about to wait.
    let runs = own(|it, app| (it.looked_ns, app.state) = (EXIT + 60 * S, Some('R')));
    let diagnosis = is(&runs, Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    assert_eq!(diagnosis.confidence, Medium);
    // Nobody asks for an orphan by its pid. The reaper may ask for any child in rounds, and a short watch does not see
    // them.
    is(&by_pid1(|_, _| ()), Cause::NeverWaits, Prognosis::Leaked, Family::F2);
    let young = by_pid1(|_, app| app.never_waited_since_ns = Some(LOOKED - 9 * S));
    is(&young, Cause::NeverWaits, Prognosis::Unknown, Family::F2);
    // The reaper polls another child of its own.
    let polls = own(|it, app| {
        it.looked_ns = EXIT + 90 * S;
        app.waited(it.looked_ns - S / 10, WaitTarget::Pid(7), &["WNOHANG"]);
    });
    is(&polls, Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    is(&adopted(|_, app| app.waited_for(60, EXIT - S)), Cause::WaitsByPid, Prognosis::Leaked, Family::F1);
}

#[test]
fn an_adopter_that_sleeps_is_watched_for_two_of_its_sleeps() {
    let sleeps = |sleep_s: u64, watched_s: u64| {
        by_pid1(|it, app| {
            it.looked_ns = EXIT + 30 * S;
            app.never_waited_since_ns = Some(it.looked_ns - watched_s * S);
            in_call(app, Call::Sleep);
            app.calls[0].timeout_ns = Some(sleep_s * S);
        })
    };
    let prognosis = |sleep_s, watched_s| diagnose(&sleeps(sleep_s, watched_s)).prognosis;
    assert_eq!(prognosis(1, 10), Prognosis::Leaked);
    assert_eq!(prognosis(20, 39), Prognosis::Unknown, "it may wait after its second sleep");
    assert_eq!(prognosis(20, 40), Prognosis::Leaked);
    assert_eq!(prognosis(50, 59), Prognosis::Unknown);
    assert_eq!(prognosis(50, 60), Prognosis::Leaked);
    assert_eq!(prognosis(600, 10), Prognosis::Leaked, "it does not wake up within a minute");
    let by_pid = |sleep_s: u64| {
        adopted(|it, app| {
            it.looked_ns = EXIT + 20 * S;
            app.waited_for(60, EXIT - S);
            in_call(app, Call::Sleep);
            app.calls[0].timeout_ns = Some(sleep_s * S);
        })
    };
    assert_eq!(diagnose(&by_pid(30)).prognosis, Prognosis::Unknown, "it may ask for any child then");
    assert_eq!(diagnose(&by_pid(10)).prognosis, Prognosis::Leaked);
}

#[test]
fn waits_through_io_uring_are_not_seen() {
    let diagnosis = is(
        &own(|it, app| (it.looked_ns, app.has_io_uring) = (EXIT + 60 * S, Some(true))),
        Cause::Unseen,
        Prognosis::Unknown,
        Family::F4,
    );
    assert!(diagnosis.confidence < High, "{diagnosis:#?}");
}

#[test]
fn the_wait_is_for_another_group() {
    let group = by_pid1(|it, app| {
        (it.pgrp, app.pgrp) = (Some(77), Some(50));
        app.waited(EXIT + S, WaitTarget::Pgid(0), &["WNOHANG"]);
    });
    let diagnosis = is(&group, Cause::WaitsForGroup, Prognosis::Leaked, Family::F2);
    assert!(
        diagnosis.verdict.contains("waits only for its own process group (50), and this one is in group 77")
    );
    advises(&diagnosis, &["wait for any child"]);
    // Whatever else it does at the moment, its waits leave this one out.
    for change in [
        |app: &mut Reaper| (app.state, app.sigchld) = (Some('R'), Some(SigChld::Handled)),
        |app: &mut Reaper| in_call(app, Call::Read { fd: 3, file: OpenFile::Pipe(9) }),
    ] {
        let group = by_pid1(|it, app| {
            (it.pgrp, app.pgrp) = (Some(77), Some(50));
            app.waited(EXIT + S, WaitTarget::Pgid(0), &["WNOHANG"]);
            change(app);
        });
        is(&group, Cause::WaitsForGroup, Prognosis::Leaked, Family::F2);
    }
    // In the same group, the wait would have reaped it.
    let same = by_pid1(|it, app| {
        (it.pgrp, app.pgrp) = (Some(50), Some(50));
        app.waited(EXIT + S, WaitTarget::Pgid(0), &["WNOHANG"]);
    });
    is(&same, Cause::Unseen, Prognosis::Unknown, Family::F2);
}

#[test]
fn f21_sigchld_is_blocked() {
    let blocked = |is_pending, caught| {
        own(|_, app| {
            (app.sigchld, app.sigchld_pending) = (Some(SigChld::Blocked), is_pending);
            app.sigchld_caught = Some(caught);
        })
    };
    let mut sits = blocked(true, false);
    in_call(sits.reaper.as_mut().expect("there is one"), Call::Signal);
    sits.reaper.as_mut().expect("there is one").parent_blocks_sigchld = Some((40, "launcher".into()));
    let diagnosis = is(&sits, Cause::SigchldBlocked, Prognosis::Leaked, Family::F21);
    assert_eq!(diagnosis.confidence, High);
    assert!(diagnosis.verdict.contains("launcher (pid 40)"), "{diagnosis:#?}");
    advises(&diagnosis, &["let launcher (pid 40) unblock SIGCHLD"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("kill -CHLD")), "{diagnosis:#?}");
    // A reaper that does other work may unblock the signal in its next `ppoll`.
    let mut works = blocked(true, true);
    is(&works, Cause::SigchldBlocked, Prognosis::Unknown, Family::F21);
    works.looked_ns = EXIT + 60 * S;
    is(&works, Cause::SigchldBlocked, Prognosis::Leaked, Family::F21);
    // dash asks for any child once, and then sleeps. A reaper that asks in rounds does not need the signal.
    let mut dash = blocked(true, true);
    let app = dash.reaper.as_mut().expect("there is one");
    app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]);
    in_call(app, Call::Signal);
    is(&dash, Cause::SigchldBlocked, Prognosis::Leaked, Family::F21);
    dash.reaper.as_mut().expect("there is one").any_wait_gap_ns = Some(10 * S);
    is(&dash, Cause::Periodic, Prognosis::Late, Family::F18);
    // First case: nothing shows that the reaper wants the signal. Second case: the signal was taken.
    is(&blocked(true, false), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    is(&blocked(false, true), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    // `system(3)` blocks SIGCHLD, and waits for its own child.
    let mut system = blocked(true, true);
    let app = system.reaper.as_mut().expect("there is one");
    app.waited_for(99, EXIT - S);
    in_call(app, waits_for(99));
    is(&system, Cause::WaitingForAnother, Prognosis::Late, Family::F20);
    // The reaper runs.
    let mut runs = blocked(true, false);
    runs.reaper.as_mut().expect("there is one").state = Some('R');
    is(&runs, Cause::Busy, Prognosis::Late, Family::F24);
}

#[test]
fn f22_the_sigchld_handler_was_replaced() {
    let replaced = |changed, at_ns| {
        own(|_, app| {
            app.waited(at_ns, WaitTarget::Any, &["WNOHANG"]);
            (app.handler_changed, app.sigchld, app.ever_reaped) = (changed, Some(SigChld::Default), true);
        })
    };
    let diagnosis =
        is(&replaced(Some(true), EXIT - S), Cause::HandlerReplaced, Prognosis::Leaked, Family::F22);
    advises(&diagnosis, &["restore the handler in app"]);
    is(&replaced(Some(false), EXIT - S), None, Prognosis::Unknown, Family::F4);
    is(&replaced(None, EXIT - S), None, Prognosis::Unknown, Family::F4);
    // The reaper asks for its children although its handler was replaced.
    is(&replaced(Some(true), EXIT + S), Cause::Coalesced, Prognosis::Unknown, Family::F17);
}

#[test]
fn f23_the_reaper_executed_another_program() {
    let replaced = |exec_ns| {
        own(|it, app| {
            it.process.start_ns = Some(90 * S);
            app.exec_ns = Some(exec_ns);
            app.process.executable = Some("/usr/bin/new".into());
            app.previous_program = Some("/usr/bin/old".into());
        })
    };
    let diagnosis = is(&replaced(95 * S), Cause::ImageReplaced, Prognosis::Leaked, Family::F23);
    assert!(diagnosis.verdict.contains("/usr/bin/new in place of /usr/bin/old"), "{diagnosis:#?}");
    is(&replaced(80 * S), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    // The reaper did not fork an orphan.
    let orphan = by_pid1(|it, app| (it.process.start_ns, app.exec_ns) = (Some(90 * S), Some(95 * S)));
    is(&orphan, Cause::NeverWaits, Prognosis::Leaked, Family::F2);
}

#[test]
fn f24_the_reaper_is_busy() {
    let busy = |pending, sigchld, state| {
        own(|_, app| {
            (app.sigchld_pending, app.sigchld, app.state) = (pending, Some(sigchld), Some(state));
        })
    };
    let diagnosis = is(&busy(true, SigChld::Handled, 'R'), Cause::Busy, Prognosis::Late, Family::F24);
    assert_eq!(diagnosis.confidence, Medium);
    assert_eq!(
        is(&busy(false, SigChld::Handled, 'R'), Cause::Busy, Prognosis::Late, Family::F24).confidence,
        Low
    );
    is(&busy(false, SigChld::Default, 'R'), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    is(&busy(true, SigChld::Handled, 'S'), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
}

#[test]
fn f17_the_handler_waits_only_for_the_pid_in_the_signal() {
    let server = |takes_siginfo, flags: &[&'static str], reaped| {
        own(|_, app| {
            app.waited(EXIT, WaitTarget::Pid(7), flags);
            (app.takes_siginfo, app.sigchld) = (takes_siginfo, Some(SigChld::Handled));
            app.reaped = Some((reaped, EXIT));
        })
    };
    let diagnosis = is(&server(Some(true), &[], 3), Cause::Coalesced, Prognosis::Leaked, Family::F17);
    assert!(!diagnosis.verdict.contains("ask again"), "{diagnosis:#?}");
    // F17 does not apply: Go peeks by pid before it reaps, the second reaper polls, the third has no such handler, the
    // fourth reaped no child.
    is(&server(Some(true), &["WEXITED", "WNOWAIT"], 3), Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    is(&server(Some(true), &["WNOHANG"], 3), Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    is(&server(Some(false), &[], 3), Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    is(&server(Some(true), &[], 0), Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
}

#[test]
fn a_reaper_that_waits_by_pid_is_not_advised_to_wait_for_any_child() {
    for finding in [
        own(|_, app| app.waited_for(7, EXIT - S)),
        by_pid1(|_, app| app.waited_for(7, EXIT - S)),
        adopted(|_, app| app.waited_for(7, EXIT - S)),
    ] {
        let diagnosis = diagnose(&finding);
        let advice = diagnosis.remedies.join("\n");
        assert!(advice.contains("would take the exit statuses"), "{advice}");
        assert!(!advice.contains("while (waitpid(-1"), "{advice}");
    }
}

#[test]
fn the_advice_in_a_shared_namespace_is_to_replace_pid_1() {
    let shared = by_pid1(|it, _| {
        let ns = it.pid_ns.as_mut().expect("there is one");
        ns.mode = Some(supervisor_model::finding::PidNsMode::Joined);
    });
    let diagnosis = diagnose(&shared);
    advises(&diagnosis, &["!shareProcessNamespace", "replace PID 1", "tini -s"]);
    assert!(!diagnosis.wont_help.iter().any(|it| it.contains("pause")), "{diagnosis:#?}");
    let alone = by_pid1(|it, _| {
        it.pid_ns.as_mut().expect("there is one").mode = Some(supervisor_model::finding::PidNsMode::Own);
    });
    advises(&diagnose(&alone), &["shareProcessNamespace", "!replace PID 1"]);
}

#[test]
fn f23_a_new_program_that_waits_for_its_own_child_does_not_reap_the_old_ones() {
    let replaced = own(|it, app| {
        it.process.start_ns = Some(90 * S);
        app.exec_ns = Some(95 * S);
        app.waited_for(99, EXIT - S);
        in_call(app, waits_for(99));
    });
    is(&replaced, Cause::ImageReplaced, Prognosis::Leaked, Family::F23);
}

#[test]
fn a_reaper_that_reaps_one_child_at_a_time_may_come_back() {
    let loops = |ago_ns| {
        own(|it, app| {
            it.looked_ns = EXIT + 20 * S;
            app.waited(it.looked_ns - ago_ns, WaitTarget::Any, &[]);
            app.any_wait_gap_ns = Some(2 * S);
            app.reaped = Some((3, it.looked_ns - ago_ns + MS));
        })
    };
    let diagnosis = is(&loops(S), Cause::Coalesced, Prognosis::Unknown, Family::F17);
    assert!(diagnosis.confidence < High && !diagnosis.verdict.contains("ask again"), "{diagnosis:#?}");
    is(&loops(6 * S), Cause::Coalesced, Prognosis::Unknown, Family::F17);
    is(&loops(10 * S), Cause::Coalesced, Prognosis::Leaked, Family::F17);
}

#[test]
fn the_end_of_a_shim_ends_its_container() {
    let shim = adopted(|it, app| {
        app.role = Role::Monitor;
        app.process.name = "containerd-shim".into();
        it.runtime = Some(runtime("runc", Stage::Container));
    });
    let diagnosis = diagnose(&shim);
    advises(&diagnosis, &["restart the container", "!kill -KILL"]);
    assert!(!diagnosis.wont_help.iter().any(|it| it.contains("conmon-rs")), "{diagnosis:#?}");
    let conmon = adopted(|_, app| (app.role, app.process.name) = (Role::Monitor, "conmon".into()));
    advises(&diagnose(&conmon), &["!0.6.6", "upgrade conmon"]);
}

#[test]
fn the_verdict_says_how_the_creator_ended() {
    let killed = by_pid1(|it, _| {
        it.creators[0].process.start_ns = Some(EXIT - 4 * S);
        it.creators[0].end =
            Some(EndFacts { status: 9, at_ns: EXIT - 2 * S, killed_by: Some((50, "app".into())) });
    });
    let diagnosis = diagnose(&killed);
    assert!(
        diagnosis
            .verdict
            .contains("parent (pid 60), which forked it, was killed by SIGKILL by app (pid 50) after 2.0 s"),
        "{diagnosis:#?}"
    );
    advises(&diagnosis, &["whole process group"]);
    let exited = by_pid1(|it, _| {
        it.creators[0].end = Some(EndFacts { status: 0, at_ns: EXIT, killed_by: None });
    });
    advises(&diagnose(&exited), &["!whole process group"]);
}

#[test]
fn the_incident_has_three_remedies_and_sigterm_is_none_of_them() {
    let incident = attribute(&incident(), &host(), S);
    let diagnosis = diagnose(&incident);
    let axes = (diagnosis.position, diagnosis.cause, diagnosis.prognosis);
    assert_eq!(axes, (Some(Position::AdoptedBySubreaper), Some(Cause::WaitsByPid), Prognosis::Leaked));
    advises(&diagnosis, &["conmon-rs 0.6.6", "shareProcessNamespace: false", "kill -KILL 10"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("SIGTERM to monitor")), "{diagnosis:#?}");
    // The orphan of an exec session also stays under conmon-rs 0.6.6, and under runc.
    let mut exec = incident;
    exec.runtime.as_mut().expect("there is one").verb = Some("exec".into());
    let diagnosis = diagnose(&exec);
    advises(&diagnosis, &["!0.6.6", "conmon (C)"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("0.6.6")), "{diagnosis:#?}");
}

#[test]
fn a_reaper_that_stopped_waiting_is_advised_to_wait_on_sigchld() {
    let stopped = adopted(|_, app| app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]));
    advises(
        &is(&stopped, None, Prognosis::Unknown, Family::F1),
        &["whenever SIGCHLD comes", "!not only for its own"],
    );
}

#[test]
fn f21_does_not_apply_if_one_of_several_threads_may_take_the_signal() {
    let waits = own(|_, app| {
        (app.sigchld, app.sigchld_pending, app.sigchld_caught) = (Some(SigChld::Blocked), true, Some(false));
        app.threads = vec![thread(50, 'S'), thread(51, 'S')];
        app.calls = [(50, Call::Signal), (51, Call::Futex)]
            .map(|(tid, call)| ThreadCall { tid, call, timeout_ns: None })
            .into();
    });
    is(&waits, Cause::NeverWaits, Prognosis::Unknown, Family::F4);
}

#[test]
fn f17_a_handler_that_ran_only_once_lost_a_child() {
    let lost = |quiet_s: u64, is_pending| {
        own(|it, app| {
            it.looked_ns = EXIT + 5 * MS + quiet_s * S;
            app.waited(EXIT + 5 * MS, WaitTarget::Any, &["WNOHANG"]);
            (app.sigchld, app.sigchld_pending) = (Some(SigChld::Handled), is_pending);
            app.reaped = Some((2, EXIT + 9 * MS));
        })
    };
    assert_eq!(is(&lost(1, false), Cause::Coalesced, Prognosis::Unknown, Family::F17).confidence, Medium);
    assert_eq!(is(&lost(3, false), Cause::Coalesced, Prognosis::Unknown, Family::F17).confidence, High);
    let diagnosis = is(&lost(10, false), Cause::Coalesced, Prognosis::Leaked, Family::F17);
    advises(&diagnosis, &["loop on SIGCHLD", "kill -CHLD 50"]);
    // The SIGCHLD for this zombie is still pending.
    is(&lost(10, true), Cause::Coalesced, Prognosis::Unknown, Family::F17);
    // The reaper reaped earlier zombies when the next SIGCHLD came.
    let mut fetched = lost(10, false);
    fetched.pattern = Some(supervisor_model::finding::Pattern {
        reaped: 1,
        median_ns: 20 * S,
        longest_ns: 20 * S,
        is_broken: false,
    });
    is(&fetched, Cause::Coalesced, Prognosis::Unknown, Family::F17);
}

#[test]
fn a_zombie_older_than_the_watch_does_not_prove_that_a_parent_with_a_handler_never_waits() {
    let existing = |ever_reaped, sigchld| {
        own(|it, app| {
            (it.exit_ns, it.looked_ns) = (None, SEEN + 90 * S);
            (app.ever_reaped, app.sigchld) = (ever_reaped, Some(sigchld));
        })
    };
    let diagnosis = is(&existing(true, SigChld::Handled), None, Prognosis::Unknown, Family::F4);
    assert!(diagnosis.verdict.contains("has reaped others"), "{diagnosis:#?}");
    is(&existing(false, SigChld::Handled), Cause::NeverWaits, Prognosis::Leaked, Family::F4);
    is(&existing(true, SigChld::Default), Cause::NeverWaits, Prognosis::Leaked, Family::F4);
}

#[test]
fn the_advice_to_run_an_init_depends_on_the_container_manager() {
    let managed = |runtime: Option<&str>, is_pod: bool| {
        by_pid1(|it, _| {
            it.container = runtime.map(|runtime| supervisor_model::finding::Container {
                id: "c".into(),
                name: None,
                runtime: Some(runtime.into()),
            });
            it.orchestrator = is_pod.then(Default::default);
        })
    };
    advises(&diagnose(&managed(Some("systemd-nspawn"), false)), &["--as-pid2", "!--init", "!Pod"]);
    advises(&diagnose(&managed(Some("containerd"), true)), &["shareProcessNamespace", "!--init"]);
    advises(&diagnose(&managed(None, false)), &["tini", "!containers share"]);
}

#[test]
fn a_tracer_that_is_stopped_or_stops_the_reaper_is_named() {
    let gdb = |state| Tracer { pid: 9, name: Some("gdb".into()), tid: 100, state: Some(state) };
    let stopped = diagnose(&own(|it, _| it.tracer = Some(gdb('T'))));
    assert!(
        stopped.verdict.contains("gdb (pid 9) traces it") && stopped.verdict.contains("is stopped"),
        "{stopped:#?}"
    );
    advises(&stopped, &["kill -CONT 9"]);
    advises(&diagnose(&own(|it, _| it.tracer = Some(gdb('S')))), &["!kill -CONT"]);
    let held = own(|_, app| (app.state, app.tracer) = (Some('t'), Some(gdb('S'))));
    let held = is(&held, Cause::CannotRun, Prognosis::Unknown, Family::F11);
    assert!(held.verdict.contains("its tracer, gdb (pid 9), has stopped it"), "{held:#?}");
}

#[test]
fn f23_the_old_program_is_that_of_the_forker_if_there_was_no_earlier_exec() {
    let replaced = own(|it, app| {
        it.process.start_ns = Some(90 * S);
        app.exec_ns = Some(95 * S);
        app.process.executable = Some("/usr/bin/sleep".into());
        it.creators[0].process.executable = Some("/usr/bin/bash".into());
    });
    let diagnosis = is(&replaced, Cause::ImageReplaced, Prognosis::Leaked, Family::F23);
    assert!(diagnosis.verdict.contains("/usr/bin/sleep in place of /usr/bin/bash"), "{diagnosis:#?}");
}

#[test]
fn a_wait_whose_options_exclude_the_zombie_is_named() {
    let narrow = |flags: &[&'static str]| {
        own(|_, app| {
            app.waited(EXIT + S, WaitTarget::Any, flags);
            if !flags.contains(&"__WCLONE") {
                (app.any_wait_ns, app.wait_kinds) = (None, 0);
                app.last_wait.as_mut().expect("there is one").call = Some("waitid");
            }
        })
    };
    let diagnosis = is(&narrow(&["__WCLONE"]), Cause::NarrowedWait, Prognosis::Leaked, Family::F4);
    assert_eq!(diagnosis.confidence, High);
    assert!(diagnosis.verdict.contains("waits with __WCLONE"), "{diagnosis:#?}");
    advises(&diagnosis, &["wait without __WCLONE"]);
    let diagnosis = is(&narrow(&["WSTOPPED", "WNOHANG"]), Cause::NarrowedWait, Prognosis::Leaked, Family::F4);
    advises(&diagnosis, &["with WEXITED"]);
}

#[test]
fn the_verdict_says_that_sigchld_was_delivered_but_no_wait_followed() {
    let delivered = adopted(|_, app| {
        app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]);
        app.sigchld = Some(SigChld::Blocked);
    });
    let diagnosis = is(&delivered, None, Prognosis::Unknown, Family::F1);
    assert!(
        diagnosis.verdict.ends_with("since it exited, although SIGCHLD was delivered to it"),
        "{diagnosis:#?}"
    );
}

#[test]
fn f17_an_orphan_adopted_before_the_wait_is_lost() {
    // PID 1 takes each SIGCHLD with `sigwaitinfo`, and waits once.
    let lost = |ended_ns| {
        by_pid1(|it, app| {
            it.looked_ns = EXIT + 20 * S;
            it.creators[0].end = Some(EndFacts { status: 0, at_ns: ended_ns, killed_by: None });
            app.waited(EXIT + 5 * MS, WaitTarget::Any, &["WNOHANG"]);
            (app.sigchld, app.wchan) = (Some(SigChld::Default), Some("do_sigtimedwait".into()));
            app.ever_reaped = true;
        })
    };
    is(&lost(EXIT - S), Cause::Coalesced, Prognosis::Leaked, Family::F17);
    is(&lost(EXIT + S), Cause::Coalesced, Prognosis::Unknown, Family::F17);
}

#[test]
fn a_reaper_that_polls_its_children_may_still_reap_this_one() {
    let polls = |sigchld, at_ns| {
        own(|it, app| {
            it.looked_ns = EXIT + 90 * S;
            app.waited(at_ns, WaitTarget::Pid(7), &["WNOHANG"]);
            app.sigchld = Some(sigchld);
        })
    };
    let diagnosis = is(&polls(SigChld::Handled, EXIT - S), Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    assert!(diagnosis.verdict.contains("no wait call since this one exited"), "{diagnosis:#?}");
    is(&polls(SigChld::Handled, EXIT + S), Cause::WaitsByPid, Prognosis::Leaked, Family::F4);
    is(&polls(SigChld::Default, EXIT - S), Cause::WaitsByPid, Prognosis::Leaked, Family::F4);
}
