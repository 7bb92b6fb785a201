//! Tests the rules for a reaper's own children: F4, F17, F18.

use super::*;

#[test]
fn f4_a_parent_that_never_waits() {
    let never = own(|_, _| ());
    let diagnosis =
        says(&never, Family::F4, High..=High, &["app (pid 50) created it", "no wait call in the 1 min 35 s"]);
    advises(&diagnosis, &["if that reaps", "!then adopted and reaped"]);
    // The zombie was forked with CLONE_PARENT, or its fork was not seen: the verdict must not say that the parent
    // created it.
    says(&own(|_, app| app.created = Some(false)), Family::F4, High..=High, &["is its parent", "!created"]);
    let inferred = own(ancestry_unknown);
    let diagnosis = says(&inferred, Family::F4, Medium..=Medium, &["is its parent", "!created"]);
    let cited = diagnosis.evidence.iter().any(|it| it.cited && it.text.contains("not a subreaper"));
    assert!(cited, "that it cannot adopt is what it rests on: {diagnosis:#?}");
    // Own child of a container's PID 1: another init as PID 1 would not help, and ending PID 1 ends the container.
    let diagnosis = says(
        &own(|_, app| (app.is_pidns_init, app.process.vpid) = (Some(true), Some(1))),
        Family::F4,
        High..=High,
        &["!adopted"],
    );
    advises(&diagnosis, &["restart the container", "!--init", "!kill"]);
    let host = says(
        &own(|it, app| {
            (app.is_pidns_init, app.process.pid, app.process.vpid) = (Some(true), 1, Some(1));
            it.looked_ns = EXIT + 60 * S;
        }),
        Family::F4,
        High..=High,
        &[],
    );
    advises(&host, &["!kill", "cannot be ended"]);
    // A subreaper may have adopted it.
    says(
        &own(|it, app| {
            ancestry_unknown(it, app);
            app.is_subreaper = Some(true);
        }),
        None,
        Low..=Low,
        &["not seen"],
    );
    says(
        &own(|it, app| {
            ancestry_unknown(it, app);
            app.is_subreaper = None;
        }),
        None,
        Low..=Low,
        &["not seen"],
    );
}

#[test]
fn f4_confidence_depends_on_how_long_the_reaper_was_watched() {
    let since = |since_ns, exit_ns| {
        own(|it, app| {
            app.never_waited_since_ns = Some(since_ns);
            it.exit_ns = exit_ns;
        })
    };
    says(&since(EXIT, Some(EXIT)), Family::F4, High..=High, &["5.0 s that it was watched"]);
    // The reaper's exec came after its last wait and after the exit: its earlier waits do not count.
    says(&since(LOOKED - 100 * MS, Some(EXIT)), Family::F4, Low..=Low, &["in the 100 ms"]);
    says(&since(LOOKED - 3 * S, Some(EXIT)), Family::F4, Medium..=Medium, &["in the 3.0 s"]);
    // A zombie from before the watch.
    says(&since(LOOKED - 500 * MS, None), Family::F4, Low..=Low, &[]);
    says(&since(LOOKED - 30 * S, None), Family::F4, High..=High, &["30.0 s"]);
    // The reaper makes no wait call, but its children are reaped: through waits that are not seen.
    says(&own(|_, app| app.reaped = Some((5, LOOKED - S))), Family::F4, Low..=Low, &[]);
    says(&own(|_, app| app.reaped = Some((5, ATTACHED + S))), Family::F4, High..=High, &[]);
}

#[test]
fn f4_a_parent_that_waits_for_others() {
    // The reaper may come to this zombie after it has got the others.
    let other = own(|_, app| app.waited_for(7, EXIT - S));
    says(&other, Family::F4, Medium..=Medium, &["waits only for other children"]);
    says(
        &own(|_, app| app.waited(EXIT, WaitTarget::PidFd(3), &[])),
        Family::F4,
        Medium..=Medium,
        &["other children"],
    );
    // The reaper did ask for this one.
    let polled = own(|_, app| {
        app.waited(EXIT - 2 * S, WaitTarget::Pid(100), &["WNOHANG"]);
        app.ever_reaped = true;
    });
    says(&polled, Family::F18, Medium..=Medium, &["asks for this one by its pid", "7.0 s ago, before it"]);
    let once = own(|it, app| {
        it.looked_ns = EXIT + 200 * S;
        app.waited(EXIT - 2 * S, WaitTarget::Pid(100), &["WNOHANG"]);
    });
    says(
        &once,
        Family::F4,
        Medium..=Medium,
        &["asked for it last 3 min 22 s ago, before", "!other children"],
    );
    let asked = own(|_, app| app.waited(EXIT, WaitTarget::Pid(100), &["WNOHANG"]));
    says(&asked, Family::F4, Medium..=Medium, &["asked for it 5.0 s ago and did not get it"]);
    // In the reaper's own PID namespace, 100 is another process.
    let renamed = own(|it, app| {
        it.pid_of_reaper = Some(3);
        app.waited_for(100, EXIT);
    });
    says(&renamed, Family::F4, Medium..=Medium, &["other children"]);
    // The reaper waited for any child, before the exit.
    let before = own(|_, app| app.waited(EXIT - S, WaitTarget::Any, &[]));
    says(&before, Family::F4, Medium..=Medium, &["since it exited", "6.0 s ago"]);
    let existing = own(|it, app| {
        it.exit_ns = None;
        app.waited(SEEN - S, WaitTarget::Any, &[]);
    });
    says(&existing, Family::F4, Medium..=Medium, &["since it was seen first", "!exited"]);
    // Neither a wait for clones, nor a 32-bit call that was not decoded, is a wait for children that the reaper names.
    let clones = own(|_, app| app.waited(EXIT + S, WaitTarget::Any, &["__WCLONE"]));
    let mut undecoded = clones.clone();
    let wait = undecoded.reaper.as_mut().and_then(|app| app.last_wait.as_mut()).expect("there is one");
    (wait.call, wait.target) = (None, None);
    says(&clones, Family::F4, High..=High, &["!names", "!never waits", "waits with __WCLONE"]);
    says(&undecoded, Family::F4, Low..=Low, &["!names", "!never waits", "not seen to wait for it"]);
    let group = own(|it, app| {
        (it.pgrp, app.pgrp) = (Some(77), Some(50));
        app.waited(EXIT + S, WaitTarget::Pgid(0), &[]);
    });
    says(&group, Family::F4, Medium..=Medium, &["its own process group (50)", "group 77", "!names"]);
}

#[test]
fn f4_the_waits_of_the_parent_were_not_seen() {
    let unknown = |ever_reaped| {
        own(|_, app| {
            app.waits_unknown();
            app.ever_reaped = ever_reaped;
        })
    };
    says(&unknown(false), Family::F4, Medium..=Medium, &["as far as its accounts show"]);
    says(&unknown(true), Family::F4, Low..=Low, &["nor seen never to wait"]);
    // Only two facts are known: the parent, and that it cannot adopt.
    let least = own(|it, app| {
        ancestry_unknown(it, app);
        app.waits_unknown();
        app.ever_reaped = true;
    });
    says(&least, Family::F4, Low..=Low, &[]);
}

#[test]
fn f17_a_child_is_lost() {
    let lost = |at_ns, reaped: Option<(u64, u64)>| {
        own(|_, app| {
            app.waited(at_ns, WaitTarget::Any, &["WNOHANG"]);
            app.reaped = reaped;
            app.ever_reaped = true;
        })
    };
    let diagnosis = says(
        &lost(EXIT + S, Some((3, EXIT + 2 * S))),
        Family::F17,
        High..=High,
        &["had exited, and got another, and did not ask again"],
    );
    advises(&diagnosis, &["WNOHANG"]);
    // The zombie may still have been exiting.
    says(
        &lost(EXIT + MS, Some((3, EXIT + S))),
        Family::F17,
        Medium..=Medium,
        &["or was about to", "got another"],
    );
    // The reaper's reaps were before that wait, or none was seen.
    for reaped in [Some((3, EXIT)), Some((0, 0)), None] {
        says(&lost(EXIT + S, reaped), Family::F17, Medium..=Medium, &["did not get it", "!got another"]);
    }
    // The reaper has waited since the exit, and never got any child: the cause is not known.
    let nothing = own(|_, app| app.waited(EXIT + S, WaitTarget::Any, &["WNOHANG"]));
    says(&nothing, None, Low..=Low, &["does not say why", "!never"]);
    // F4: the wait was before the exit.
    says(&lost(EXIT - MS, Some((3, EXIT))), Family::F4, Low..=Medium, &["!got another"]);
    // A zombie from before the watch was certainly a zombie at its first inspection.
    let existing = |at_ns| Finding { exit_ns: None, ..lost(at_ns, Some((3, SEEN + 2 * S))) };
    says(&existing(SEEN + S), Family::F17, High..=High, &[]);
    says(&existing(SEEN - S), Family::F4, Low..=Medium, &[]);
}

#[test]
fn f17_an_adopted_zombie_is_lost() {
    // The zombie may have been adopted after that wait.
    let lost = |reaped_since| {
        adopted(|_, app| {
            app.waited(SEEN + S, WaitTarget::Any, &["WNOHANG"]);
            app.reaped = Some((3, SEEN + 2 * S));
            app.reaped_since = reaped_since;
        })
    };
    says(&lost(None), Family::F17, Medium..=Medium, &[]);
    says(&lost(Some(0)), Family::F17, Medium..=Medium, &[]);
    says(&lost(Some(1)), Family::F17, High..=High, &["got another"]);
}

#[test]
fn f18_the_reaper_waits_in_rounds() {
    let rounds = |ago_ns, gap_ns: Option<u64>, exit_ns| {
        own(|it, app| {
            app.waited(LOOKED - ago_ns, WaitTarget::Any, &["WNOHANG"]);
            app.any_wait_gap_ns = gap_ns;
            it.exit_ns = exit_ns;
        })
    };
    let exit = Some(EXIT);
    says(&rounds(6 * S, Some(10 * S), exit), Family::F18, Medium..=Medium, &["10.0 s apart", "!will"]);
    // The next round is late.
    says(&rounds(12 * S, Some(10 * S), exit), Family::F18, Low..=Low, &[]);
    // The next round is overdue: F4.
    says(&rounds(22 * S, Some(10 * S), exit), Family::F4, Medium..=Medium, &["22.0 s ago", "!round"]);
    // These are waits after a burst of exits: the gap is short, and no round is due.
    says(&rounds(6 * S, Some(150 * MS), exit), Family::F4, Medium..=Medium, &["!leaked"]);
    says(&rounds(6 * S, Some(3 * S), exit), Family::F18, Low..=Low, &[]);
    // One wait is no round.
    says(&rounds(6 * S, None, exit), Family::F4, Medium..=Medium, &["!round"]);
    // The zombie is older than the watch, and rounds may have missed it. In the second case, a later round did.
    says(&rounds(6 * S, Some(10 * S), None), Family::F18, Low..=Low, &[]);
    let passed = Finding { exit_ns: None, ..rounds(3 * S, Some(10 * S), None) };
    says(&passed, None, Low..=Low, &["!leaked"]);
    // The next round also reaps an adopted zombie.
    let by_pid1 = by_pid1(|_, app| {
        app.waited(EXIT - S, WaitTarget::Any, &["WNOHANG"]);
        app.any_wait_gap_ns = Some(30 * S);
    });
    says(&by_pid1, Family::F18, Medium..=Medium, &["!adopted"]);
    // The calculation does not overflow.
    says(&rounds(6 * S, Some(590 * S), exit), Family::F18, Medium..=Medium, &[]);
    // These waits are no rounds, and the calculation does not overflow.
    says(&rounds(6 * S, Some(u64::MAX), exit), Family::F4, Medium..=Medium, &["!round"]);
}
