//! Tests the verdicts and the advice for what was not seen, or not for long enough.

use super::*;

#[test]
fn the_verdict_names_the_facts_that_were_not_seen() {
    let nobody = Finding { reaper: None, ..own(|_, _| ()) };
    says(&nobody, None, Low..=Low, &["who must reap it was not seen"]);
    let exit_unknown = Finding { exit: None, exit_ns: None, ..nobody };
    says(&exit_unknown, None, Low..=Low, &[]);
    let unknown = own(|it, app| {
        ancestry_unknown(it, app);
        app.waits_unknown();
        (app.is_subreaper, app.is_pidns_init, app.state) = (None, None, None);
    });
    says(&unknown, None, Low..=Low, &["app (pid 50) must reap it", "was not seen"]);
}

#[test]
fn a_reboot_is_advised_only_where_pid_1_of_the_host_was_watched_for_long() {
    type Change = fn(&mut Reaper);
    let by_host = |watched_ns: u64, change: Change| {
        let finding = adopted(|finding, app| {
            (app.process, app.is_subreaper, app.is_pidns_init) =
                (process(1, "systemd").into(), Some(false), Some(true));
            finding.looked_ns = EXIT + watched_ns;
            change(app);
        });
        diagnose(&finding).remedies.join("\n")
    };
    let reboot = "none but a reboot";
    assert!(by_host(60 * S, |_| ()).contains(reboot));
    let cases: [(u64, Change); 4] = [
        (2 * S, |_| ()),
        (60 * S, |app| app.never_waited_since_ns = Some(EXIT + 55 * S)),
        (60 * S, |app| app.reaped = Some((3, EXIT))),
        (60 * S, Reaper::waits_unknown),
    ];
    for (number, (watched_ns, change)) in cases.into_iter().enumerate() {
        let remedies = by_host(watched_ns, change);
        assert!(!remedies.contains(reboot), "{number}: {remedies}");
        assert!(
            remedies.contains("look again in a minute: systemd (pid 1) was not watched"),
            "{number}: {remedies}"
        );
    }
}

#[test]
fn the_evidence_states_adoptions_and_waits_as_observed() {
    let has =
        |finding: &Finding, text: &str| diagnose(finding).evidence.iter().any(|it| it.text.contains(text));
    // The adoption is known by the start times, or by the fork.
    let by_fork = adopted(|_, app| app.created = None);
    assert!(!has(&by_fork, "younger") && has(&by_fork, "another process was its parent at first"));
    let by_time = adopted(|it, app| {
        (app.created, it.process.start_ns, app.process.start_ns) = (None, Some(1), Some(2));
    });
    assert!(has(&by_time, "younger"));
    let parent = own(|_, app| app.created = None);
    assert!(!has(&parent, "CLONE_PARENT") && has(&parent, "since the fork"));
    assert!(has(&own(|_, app| app.created = Some(false)), "CLONE_PARENT"));
    // The fact about a wait call contains the call, its target and its flags.
    let waited = own(|_, app| app.waited(EXIT, WaitTarget::Pid(7), &["WNOHANG"]));
    assert!(has(&waited, "5.0 s ago: wait4 for pid 7 (WNOHANG), one of 1; none for any child was seen"));
}

#[test]
fn a_reaper_that_never_asks_is_found_out_whoever_created_the_zombie() {
    let at = |looked_ns: u64| {
        diagnose(&adopted(|finding, app| {
            ancestry_unknown(finding, app);
            finding.looked_ns = looked_ns;
        }))
    };
    let young = at(LOOKED);
    assert_eq!(
        (young.position, young.cause, young.prognosis),
        (None, Some(Cause::NeverWaits), Prognosis::Unknown)
    );
    assert!(!young.remedies.iter().any(|it| it.contains("--force")), "{young:#?}");
    let old = at(EXIT + 61 * S);
    assert_eq!((old.position, old.prognosis, old.confidence), (None, Prognosis::Leaked, Low));
    assert!(old.verdict.contains("whether it created or adopted it was not seen"), "{old:#?}");
    assert!(!old.is_reapable, "it may be its own child");
    let last = old.remedies.last().expect("there is one");
    assert!(last.starts_with("last: `supervisor reap --force 100`, at this risk: whether"), "{last}");
}

#[test]
fn force_is_advised_only_if_nobody_is_seen_to_come() {
    let last = |change: fn(&mut Finding, &mut Reaper)| {
        let finding = own(|finding, app| {
            finding.looked_ns = EXIT + 120 * S;
            change(finding, app);
        });
        diagnose(&finding).remedies.last().expect("there is one").clone()
    };
    let never = last(|_, _| ());
    assert!(never.starts_with("last: `supervisor reap --force 100`"), "{never}");
    // It has asked for this one, and may ask again.
    let asked = last(|_, app| app.waited_for(100, EXIT - S));
    assert!(!asked.contains("--force"), "{asked}");
    // Nobody is told to stop the host's PID 1 before it was watched long enough.
    let host = last(|_, app| {
        (app.process, app.is_pidns_init) = (process(1, "systemd").into(), Some(true));
        app.waits_unknown();
    });
    assert!(!host.contains("--force"), "{host}");
}

#[test]
fn a_parent_that_sleeps_has_leaked_nothing_before_it_has_woken() {
    let at = |seconds: u64| {
        let finding = own(|finding, app| {
            finding.looked_ns = EXIT + seconds * S;
            app.calls = vec![ThreadCall { tid: 50, call: Call::Sleep, timeout_ns: Some(90 * S) }];
        });
        diagnose(&finding).prognosis
    };
    assert_eq!((at(61), at(91)), (Prognosis::Unknown, Prognosis::Leaked));
}
