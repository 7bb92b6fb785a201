//! Tests the rules for a reaper that is in a call, and can reap only after that call.

use supervisor_model::facts::{Call, OpenFile, PipeFacts, PipeWriter, SigChld, ThreadCall};

use super::*;

#[test]
fn f19_the_reaper_reads_a_pipe_to_its_end() {
    let reads = |is_descendant, pgrp| {
        own(|it, app| {
            (it.pgrp, app.pgrp) = (Some(100), Some(50));
            in_call(app, Call::Read { fd: 3, file: OpenFile::Pipe(9) });
            let writers =
                vec![PipeWriter { pid: 101, comm: "sleep\n".into(), is_descendant, pgrp, parent: 1 }];
            app.pipe = Some(PipeFacts { ino: 9, writers, is_complete: true });
        })
    };
    let diagnosis = is(&reads(Some(true), 100), Cause::Reading, Prognosis::Late, Family::F19);
    assert_eq!(diagnosis.confidence, High);
    assert!(diagnosis.verdict.contains("sleep\\u{a} (pid 101)"), "{diagnosis:#?}");
    advises(&diagnosis, &["end sleep", "redirect the output", "!restart"]);
    // The pipe may belong to any process.
    assert_eq!(is(&reads(None, 100), Cause::Reading, Prognosis::Late, Family::F19).confidence, Medium);
    is(&reads(Some(false), 100), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    is(&reads(None, 7), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    // Not all processes were inspected for writers.
    let mut unclear = reads(Some(false), 100);
    unclear.reaper.as_mut().expect("there is one").pipe.as_mut().expect("a pipe").is_complete = false;
    assert_eq!(diagnose(&unclear).confidence, Medium);
    // A server that reads and never waits does not reap the zombie. A parent that reads its child's output from a
    // socket does.
    let server = own(|it, app| {
        it.looked_ns = EXIT + 60 * S;
        in_call(app, Call::Read { fd: 5, file: OpenFile::Socket });
    });
    let diagnosis = is(&server, Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    assert!(diagnosis.confidence < High && diagnosis.verdict.contains("read of a socket"), "{diagnosis:#?}");
    // A reaper that was seen to wait by pid, and to reap, may still reap this one.
    let client = own(|_, app| {
        in_call(app, Call::Read { fd: 5, file: OpenFile::Socket });
        app.waited_for(7, EXIT - 5 * S);
        app.reaped = Some((3, EXIT - 5 * S));
    });
    assert_eq!(is(&client, Cause::Reading, Prognosis::Late, Family::F19).confidence, Low);
}

#[test]
fn f20_the_reaper_waits_for_another_child_first() {
    let waits = |pid| {
        own(|_, app| {
            app.waited_for(pid, EXIT - S);
            in_call(app, waits_for(pid));
        })
    };
    let diagnosis = is(&waits(99), Cause::WaitingForAnother, Prognosis::Late, Family::F20);
    assert!(diagnosis.verdict.contains("pid 99"), "{diagnosis:#?}");
    advises(&diagnosis, &["!end or restart", "!restart"]);
    // If another thread waits, or if the reaper has adopted the zombie, the reaper does not come to it.
    let by_thread = own(|_, app| {
        app.waited_for(99, EXIT - S);
        app.threads = vec![thread(50, 'S'), thread(51, 'S')];
        in_call(app, waits_for(99));
    });
    is(&by_thread, Cause::WaitsByPid, Prognosis::Unknown, Family::F4);
    let orphan = adopted(|_, app| {
        app.waited_for(99, EXIT - S);
        in_call(app, waits_for(99));
    });
    is(&orphan, Cause::WaitsByPid, Prognosis::Leaked, Family::F1);
}

#[test]
fn a_wait_that_began_before_the_watch_determines_the_cause() {
    // conmonrs is in a wait for `pause` that began before the watch.
    let sits = |request| {
        adopted(|_, app| {
            app.waits_unknown();
            app.threads = vec![thread(50, 'S'), thread(51, 'S')];
            app.calls = vec![ThreadCall { tid: 51, call: request, timeout_ns: None }];
        })
    };
    is(&sits(waits_for(7)), Cause::WaitsByPid, Prognosis::Leaked, Family::F1);
    let any = Call::Wait(Wait::pack(CALL_WAIT4, supervisor_ebpf::WAIT_ANY, 0, 0));
    is(&sits(any), Cause::Unseen, Prognosis::Unknown, Family::F1);
}

#[test]
fn f11_the_only_thread_of_the_reaper_sleeps_in_another_call() {
    let in_flock = |app: &mut Reaper| in_call(app, Call::Other(libc::SYS_flock.cast_unsigned()));
    let locks = own(|it, app| {
        it.looked_ns = EXIT + 90 * S;
        in_flock(app);
    });
    let diagnosis = is(&locks, Cause::CannotRun, Prognosis::Unknown, Family::F11);
    assert!(diagnosis.verdict.contains("sleeps in system call flock"), "{diagnosis:#?}");
    advises(&diagnosis, &["/proc/locks", "!restart"]);
    // F11 also applies to a reaper that waits by pid, or for any child.
    is(
        &own(|_, app| {
            app.waited_for(7, EXIT - S);
            in_flock(app);
        }),
        Cause::CannotRun,
        Prognosis::Unknown,
        Family::F11,
    );
    let by_any = |finding: &mut Finding, app: &mut Reaper| {
        app.waited(finding.exit_ns.expect("it is known") - S, WaitTarget::Any, &["WNOHANG"]);
        in_flock(app);
    };
    is(&by_pid1(by_any), Cause::CannotRun, Prognosis::Unknown, Family::F11);
    // An orphan would also stay without the lock.
    is(&by_pid1(|_, app| in_flock(app)), Cause::NeverWaits, Prognosis::Leaked, Family::F2);
    // F11 does not apply: another thread may wait, and a server waits for its next client in `accept`.
    let threads = own(|_, app| {
        app.threads = vec![thread(50, 'S'), thread(51, 'S')];
        in_flock(app);
    });
    is(&threads, Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    let accepts = own(|it, app| {
        it.looked_ns = EXIT + 60 * S;
        in_call(app, Call::Other(libc::SYS_accept.cast_unsigned()));
    });
    is(&accepts, Cause::NeverWaits, Prognosis::Leaked, Family::F4);
}

#[test]
fn f11_the_only_thread_of_the_reaper_waits_for_a_lock() {
    let used_to_reap = |call: Call, change: &dyn Fn(&mut Finding, &mut Reaper)| {
        own(|it, app| {
            app.waited(EXIT - 2 * S, WaitTarget::Any, &["WNOHANG"]);
            app.sigchld = Some(SigChld::Handled);
            in_call(app, call);
            change(it, app);
        })
    };
    let diagnosis =
        is(&used_to_reap(Call::Futex, &|_, _| ()), Cause::CannotRun, Prognosis::Unknown, Family::F11);
    assert!(diagnosis.verdict.contains("sleeps in system call futex"), "{diagnosis:#?}");
    advises(&diagnosis, &["gdb -p 50", "!handler", "!/proc/locks"]);
    let in_handler = |app: &mut Reaper| {
        (app.sigchld, app.sigchld_caught, app.sigchld_pending) = (Some(SigChld::Blocked), Some(true), true);
    };
    let locked = used_to_reap(Call::Futex, &|_, app| in_handler(app));
    let diagnosis = is(&locked, Cause::CannotRun, Prognosis::Unknown, Family::F11);
    assert!(diagnosis.verdict.contains("in the handler of that signal"), "{diagnosis:#?}");
    advises(&diagnosis, &["let the handler of", "end or restart"]);
    let long = used_to_reap(Call::Futex, &|it, app| {
        in_handler(app);
        it.looked_ns = EXIT + 60 * S;
    });
    is(&long, Cause::CannotRun, Prognosis::Leaked, Family::F11);
    // It is the same if its earlier waits were not seen.
    let unseen = own(|_, app| {
        in_handler(app);
        in_call(app, Call::Futex);
    });
    is(&unseen, Cause::CannotRun, Prognosis::Unknown, Family::F11);
    // An application that has never waited may sleep in a futex for its whole life.
    is(&own(|_, app| in_call(app, Call::Futex)), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    // A mask that was inherited is no handler.
    let inherited = own(|_, app| {
        in_handler(app);
        app.parent_blocks_sigchld = Some((40, "launcher".into()));
        in_call(app, Call::Futex);
    });
    is(&inherited, Cause::SigchldBlocked, Prognosis::Unknown, Family::F21);
}

#[test]
fn f19_the_reaper_reads_from_another_child_first() {
    let reads = |parent, reaped| {
        own(|_, app| {
            in_call(app, Call::Read { fd: 3, file: OpenFile::Pipe(9) });
            let writers = vec![PipeWriter {
                pid: 99,
                comm: "tar".into(),
                is_descendant: Some(false),
                pgrp: 50,
                parent,
            }];
            app.pipe = Some(PipeFacts { ino: 9, writers, is_complete: true });
            app.has_io_uring = Some(false);
            app.reaped = Some((reaped, EXIT - S));
        })
    };
    let diagnosis = is(&reads(50, 1), Cause::Reading, Prognosis::Late, Family::F19);
    assert!(diagnosis.verdict.contains("tar (pid 99)"), "{diagnosis:#?}");
    advises(&diagnosis, &["!restart", "!end or"]);
    is(&reads(50, 0), Cause::Reading, Prognosis::Unknown, Family::F19);
    is(&reads(1, 1), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
}

#[test]
fn a_shell_that_reads_a_terminal_may_reap_after_the_read() {
    let shell = by_pid1(|_, app| {
        app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]);
        in_call(app, Call::Read { fd: 0, file: OpenFile::Other });
    });
    let diagnosis = is(&shell, Cause::Reading, Prognosis::Unknown, Family::F2);
    assert!(diagnosis.verdict.contains("a read of a file or terminal (descriptor 0)"), "{diagnosis:#?}");
    advises(&diagnosis, &["whenever SIGCHLD comes", "!while (waitpid"]);
}

/// So does `youki run` if the container ends before it blocks its signals.
#[test]
fn f4_a_reaper_that_sleeps_for_a_signal_that_has_gone_can_be_woken() {
    let sleeps = |is_pending| {
        own(|_, app| {
            (app.sigchld, app.wchan) = (Some(SigChld::Default), Some("do_sigtimedwait".into()));
            app.sigchld_pending = is_pending;
            in_call(app, Call::Signal);
        })
    };
    let diagnosis = is(&sleeps(false), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    advises(&diagnosis, &["kill -CHLD 50"]);
    advises(&is(&sleeps(true), Cause::NeverWaits, Prognosis::Unknown, Family::F4), &["!kill -CHLD"]);
    let works = own(|_, app| in_call(app, Call::Sleep));
    advises(&is(&works, Cause::NeverWaits, Prognosis::Unknown, Family::F4), &["!kill -CHLD"]);
}

#[test]
fn f24_the_event_loop_runs_while_helper_threads_sleep() {
    let busy = |state, flags: &[&'static str]| {
        own(|_, app| {
            app.waited(EXIT - S, WaitTarget::Pid(100), flags);
            (app.sigchld, app.state) = (Some(SigChld::Handled), Some(state));
            app.threads = vec![thread(50, state), thread(51, 'S')];
            app.reaped = Some((1, EXIT - S));
        })
    };
    let diagnosis = is(&busy('R', &["WNOHANG"]), Cause::Busy, Prognosis::Late, Family::F24);
    assert_eq!(diagnosis.confidence, Medium);
    is(&busy('S', &["WNOHANG"]), Cause::Periodic, Prognosis::Late, Family::F18);
    // Go and Java block in a wait for each child. A busy thread does not keep the other threads from that wait.
    assert_ne!(diagnose(&busy('R', &[])).cause, Some(Cause::Busy));
    // The reaper does not have the orphan in its table of children.
    let orphan = by_pid1(|_, app| {
        app.waited_for(7, EXIT - S);
        (app.sigchld, app.state) = (Some(SigChld::Handled), Some('R'));
    });
    assert_eq!(diagnose(&orphan).cause, Some(Cause::WaitsByPid));
}

#[test]
fn a_pipe_with_a_writer_of_unknown_ancestry_may_belong_to_the_zombie() {
    let reads = |is_descendant| {
        own(|it, app| {
            (it.looked_ns, it.pgrp, app.pgrp) = (EXIT + 90 * S, Some(100), Some(50));
            in_call(app, Call::Read { fd: 3, file: OpenFile::Pipe(9) });
            let writers =
                vec![PipeWriter { pid: 101, comm: "sleep".into(), is_descendant, pgrp: 101, parent: 1 }];
            app.pipe = Some(PipeFacts { ino: 9, writers, is_complete: true });
        })
    };
    let diagnosis = is(&reads(None), Cause::NeverWaits, Prognosis::Unknown, Family::F4);
    assert!(diagnosis.verdict.contains("which sleep (pid 101) holds open"), "{diagnosis:#?}");
    is(&reads(Some(false)), Cause::NeverWaits, Prognosis::Leaked, Family::F4);
}
