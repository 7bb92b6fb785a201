//! Tests the rules for orphans: F1, F2, F3, F5.

use super::*;

#[test]
fn f1_a_monitor_does_not_reap_its_orphan() {
    let mut incident = attribute(&incident(), &host(), S);
    let reaper = incident.reaper.as_mut().expect("there is one");
    reaper.same_since_ns = incident.looked_ns;
    let words = [
        "crun forked twice to join",
        "crun (pid 21)",
        "monitor (pid 10), a monitor and subreaper, adopted it",
    ];
    let diagnosis = says(&incident, Family::F1, High..=High, &words);
    advises(&diagnosis, &["conmon-rs 0.6.6", "lose their log", "!adopted and reaped"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("Pod")), "{diagnosis:#?}");

    // The stages of runc stay its children: runc could have waited.
    let mut runc = incident.clone();
    runc.runtime = Some(runtime("runc", Stage::Init));
    let diagnosis = says(&runc, Family::F1, High..=High, &["!forked twice", "!could not", "adopted it"]);
    advises(&diagnosis, &["!instead of crun"]);
    // A stage that still lives did not leave an orphan.
    let mut stage = incident.clone();
    stage.creators[0].gone = false;
    says(&stage, Family::F1, High..=High, &["!exited"]);
    // A process of a container outlived its parent.
    let mut process = incident;
    process.runtime = Some(runtime("crun", Stage::Container));
    says(&process, Family::F1, High..=High, &["!forked twice", "crun (pid 21), which forked it, is gone"]);
}

#[test]
fn f1_subreapers_that_are_no_monitors() {
    let diagnosis = says(
        &adopted(|_, _| ()),
        Family::F1,
        High..=High,
        &["app (pid 50), a subreaper, adopted it", "!monitor"],
    );
    advises(&diagnosis, &["!conmon", "make app wait for any child"]);
    assert!(
        !diagnosis.wont_help.iter().any(|it| it.contains("Pod") || it.contains("outside")),
        "{diagnosis:#?}"
    );
    // It is not known whether the reaper is a subreaper, or it is none any more.
    for is_subreaper in [None, Some(false)] {
        let finding = adopted(|_, app| app.is_subreaper = is_subreaper);
        says(&finding, Family::F1, Medium..=Medium, &["!a subreaper", "adopted it"]);
    }
    let shim = adopted(|it, app| {
        app.role = Role::Monitor;
        app.process.name = "containerd-shim".into();
        it.runtime = Some(runtime("runc", Stage::Container));
    });
    advises(
        &says(&shim, Family::F1, High..=High, &["a monitor"]),
        &["upgrade containerd", "!crun", "!conmon"],
    );
    // It was not seen whether the reaper adopted the zombie. For a monitor that is likely. For another reaper, the
    // zombie may be its own child.
    let seen = |role| {
        adopted(|it, app| {
            ancestry_unknown(it, app);
            app.role = role;
        })
    };
    says(&seen(Role::Monitor), Family::F1, Medium..=Medium, &["was not seen", "!adopted it and"]);
    says(&seen(Role::Other), None, Low..=Low, &["not seen"]);
    let unknown = adopted(|it, app| {
        ancestry_unknown(it, app);
        it.monitor = Some(monitor(50, "conmonrs"));
        app.waits_unknown();
    });
    says(&unknown, Family::F1, Low..=Low, &["a monitor"]);
}

#[test]
fn f1_confidence_depends_on_the_observed_waits() {
    let by = |change: fn(&mut Reaper)| adopted(|_, app| change(app));
    says(
        &by(|app| app.waited_for(60, EXIT - S)),
        Family::F1,
        High..=High,
        &["waits only for what it started (last for parent (pid 60))"],
    );
    // It was not seen whether the reaper started the process that it waited for.
    says(
        &by(|app| app.waited_for(61, EXIT - S)),
        Family::F1,
        High..=High,
        &["only for children that it names", "!started"],
    );
    // The last wait by pid was before the exit, and the exit was not seen.
    let existing = |at_ns| {
        adopted(|it, app| {
            it.exit_ns = None;
            app.waited_for(60, at_ns);
        })
    };
    says(&existing(LOOKED - 2 * S), Family::F1, Medium..=Medium, &[]);
    says(&existing(LOOKED - 20 * S), Family::F1, High..=High, &[]);
    says(&by(|app| app.never_waited_since_ns = Some(LOOKED - 100 * MS)), Family::F1, Low..=Low, &["100 ms"]);
    says(
        &by(|app| app.waited(EXIT - S, WaitTarget::Any, &[])),
        Family::F1,
        Medium..=Medium,
        &["since it exited"],
    );
    says(
        &by(|app| app.waited(EXIT + S, WaitTarget::Any, &[])),
        Family::F1,
        Low..=Low,
        &["since it exited and did not"],
    );
    says(&by(Reaper::waits_unknown), Family::F1, Medium..=Medium, &["does not reap it", "!wait"]);
    says(
        &by(|app| {
            app.waits_unknown();
            app.ever_reaped = true;
        }),
        Family::F1,
        Low..=Low,
        &[],
    );
    says(&by(|app| app.waited(EXIT, WaitTarget::Pgid(0), &[])), Family::F1, Low..=Medium, &["!names"]);
}

#[test]
fn f2_pid_1_that_does_not_reap() {
    let words =
        ["app (pid 50), PID 1 of its PID namespace, adopted it", "parent (pid 60), which forked it, is gone"];
    let diagnosis = says(&by_pid1(|_, _| ()), Family::F2, High..=High, &words);
    advises(&diagnosis, &["--init", "restart the container of app"]);
    says(
        &by_pid1(|_, app| app.waited_for(7, EXIT - S)),
        Family::F2,
        High..=High,
        &["only for children that it names"],
    );
    // For a monitor that is PID 1, the rule for PID 1 comes first.
    says(&by_pid1(|_, app| app.role = Role::Monitor), Family::F2, High..=High, &["PID 1"]);
    // An init reaps. If this one does not, the cause may be something else, unless it was seen not to wait.
    says(&by_pid1(|_, app| app.role = Role::Init), Family::F2, Medium..=Medium, &["no wait call"]);
    let by_pid = |_: &mut Finding, app: &mut Reaper| {
        app.role = Role::Init;
        app.waited_for(7, EXIT - S);
    };
    says(&by_pid1(by_pid), Family::F2, Low..=Low, &[]);
    // It was not seen whether the zombie is adopted or an own child. In the second case, an init does not help.
    let unknown =
        says(&by_pid1(ancestry_unknown), Family::F2, Medium..=Medium, &["was not seen", "!adopted it and"]);
    advises(&unknown, &["if it was adopted, run an init"]);
    says(
        &by_pid1(|it, app| {
            ancestry_unknown(it, app);
            app.waits_unknown();
        }),
        Family::F2,
        Low..=Low,
        &[],
    );
    // F4: the zombie is its own child.
    says(&by_pid1(|_, app| app.adopted = Some(false)), Family::F4, High..=High, &["!adopted"]);
    // PID 1 of the host cannot be restarted. It can also be the reaper of a process in another PID namespace.
    for level in [0, 1] {
        let host = by_pid1(|it, app| {
            (app.process.pid, it.creators[1].process.pid) = (1, 1);
            it.pid_ns.as_mut().expect("there is one").level = Some(level);
        });
        advises(
            &says(&host, Family::F2, High..=High, &["PID 1 of the host"]),
            &["!container", "!--init", "!restart"],
        );
    }
}

#[test]
fn f3_an_exec_session_leaves_an_orphan() {
    let of = |origin| by_pid1(|it, _| it.origin = origin);
    // A single session may come from a person.
    says(&of(Origin::Exec), Family::F3, Medium..=Medium, &["exec session left it", "PID 1", "!health"]);
    let probe = Origin::HealthCheck { period_ns: 10 * S };
    says(&of(probe), Family::F3, High..=High, &["every 10.0 s", "health check", "!each time"]);
    says(&of(Origin::Entrypoint), Family::F2, High..=High, &["!exec"]);
    says(&of(Origin::Unknown), Family::F2, High..=High, &["!exec"]);
    // Not F3: the monitor outside adopted it, or it is PID 1's own child.
    says(&adopted(|it, _| it.origin = probe), Family::F1, High..=High, &["!health"]);
    says(&by_pid1(|it, app| (it.origin, app.adopted) = (probe, Some(false))), Family::F4, High..=High, &[]);
}

#[test]
fn f5_an_init_that_cannot_adopt() {
    let with = |tini: Creator| by_pid1(|it, _| it.creators.insert(1, tini));
    let words = ["tini (pid 55)", "neither PID 1 nor a subreaper", "app (pid 50)"];
    advises(&says(&with(init_program(55, "tini")), Family::F5, High..=High, &words), &["tini -s"]);
    // F2 instead: the init has exited, or is PID 1 of another PID namespace, or is not between zombie and reaper, or is
    // an init only by its name.
    says(&with(Creator { gone: true, ..init_program(55, "tini") }), Family::F2, High..=High, &["!tini"]);
    let mut pid1 = init_program(55, "tini");
    pid1.process.vpid = Some(1);
    says(&with(pid1), Family::F2, High..=High, &["!tini"]);
    says(&by_pid1(|it, _| it.creators.push(init_program(40, "tini"))), Family::F2, High..=High, &["!tini"]);
    says(&with(creator(55, "tini", Role::Init, false)), Family::F2, High..=High, &["!tini"]);
    // An exec session from a shell under a tini elsewhere: the container's PID 1 is not among the creators, and the
    // kernel's search for a reaper does not leave its PID namespace.
    let session = by_pid1(|it, _| {
        it.origin = Origin::Exec;
        it.creators.truncate(1);
        it.creators.push(creator(57, "runc", Role::Runtime, true));
        it.creators.push(init_program(55, "tini"));
    });
    says(&session, Family::F3, Medium..=Medium, &["!tini"]);
    // With `--pid=container:`, the other container's PID 1 is not among the creators either, but this case is F5.
    let joined = by_pid1(|it, _| {
        it.creators.truncate(1);
        it.creators.push(init_program(55, "tini"));
        it.creators.push(creator(57, "runc", Role::Runtime, true));
    });
    says(&joined, Family::F5, Medium..=Medium, &["tini"]);
    // F4: the zombie is a child of the reaper itself.
    says(&own(|it, _| it.creators.push(init_program(40, "tini"))), Family::F4, High..=High, &["!tini"]);
    // On the host, a subreaper is above the init.
    says(
        &adopted(|it, _| it.creators.insert(1, init_program(55, "tini"))),
        Family::F5,
        High..=High,
        &["tini"],
    );
}
