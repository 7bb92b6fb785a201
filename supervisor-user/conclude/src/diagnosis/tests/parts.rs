//! Tests the rules for zombies that are a part of a container's machinery: F6, F7.

use super::*;

#[test]
fn f6_the_zombie_is_a_runtime_command_or_helper() {
    let stage = |name, stage| adopted(|it, _| it.runtime = Some(runtime(name, stage)));
    let diagnosis =
        says(&stage("runc", Stage::Intermediate), Family::F6, High..=High, &["helper stage of runc", "app"]);
    advises(&diagnosis, &["runc#1443", "!adopted and reaped"]);
    advises(&says(&stage("youki", Stage::Intermediate), Family::F6, High..=High, &["youki"]), &["!runc"]);
    // F1: the zombie is a container's init, or another process of the container.
    says(&stage("runc", Stage::Init), Family::F1, High..=High, &["!helper"]);
    says(&stage("runc", Stage::Container), Family::F1, High..=High, &["!helper"]);
    let called = own(|it, _| (it.role, it.runtime) = (Role::Runtime, Some(runtime("crun", Stage::Runtime))));
    says(&called, Family::F6, High..=High, &["crun's own command"]);
    // The zombie is the command itself, which no runtime created: the name comes from its file.
    let command = own(|it, _| {
        it.role = Role::Runtime;
        it.process.executable = Some("/usr/bin/runc".into());
    });
    advises(
        &says(&command, Family::F6, High..=High, &["runc's own command"]),
        &["make app wait", "!runc#1443"],
    );
    let unknown = adopted(|it, app| {
        ancestry_unknown(it, app);
        it.role = Role::Runtime;
    });
    says(&unknown, Family::F6, Low..=Low, &[]);
    says(
        &own(|it, app| {
            it.role = Role::Runtime;
            app.never_waited_since_ns = Some(LOOKED);
        }),
        Family::F6,
        Low..=Low,
        &[],
    );
}

#[test]
fn f7_the_zombie_is_a_monitor() {
    let zombie = |change: fn(&mut Reaper)| {
        move |it: &mut Finding, app: &mut Reaper| {
            (it.role, it.process.name) = (Role::Monitor, "conmon".into());
            change(app);
        }
    };
    let diagnosis = says(
        &own(zombie(|_| ())),
        Family::F7,
        High..=High,
        &["itself a container monitor", "which started it"],
    );
    // A monitor that is kept for some minutes is alive. An init helps only if the reaper is a container's PID 1.
    advises(&diagnosis, &["!five minutes", "!--init"]);
    assert!(diagnosis.wont_help.iter().any(|it| it.contains("an init in the container")), "{diagnosis:#?}");
    let inside = says(&by_pid1(zombie(|_| ())), Family::F7, High..=High, &["which adopted it"]);
    advises(&inside, &["--init"]);
    assert!(!inside.wont_help.iter().any(|it| it.contains("an init")), "{inside:#?}");
    says(&adopted(zombie(|app| app.role = Role::Monitor)), Family::F7, High..=High, &[]);
    says(&own(zombie(|app| app.waited(EXIT - S, WaitTarget::Any, &[]))), Family::F7, Medium..=Medium, &[]);
    says(&own(zombie(Reaper::waits_unknown)), Family::F7, Medium..=Medium, &[]);
    let unknown = adopted(|it, app| {
        ancestry_unknown(it, app);
        it.role = Role::Monitor;
    });
    says(&unknown, Family::F7, Low..=Low, &["its parent"]);
    // F1: the reaper is the monitor, and the zombie is not.
    says(&adopted(|_, app| app.role = Role::Monitor), Family::F1, High..=High, &["!itself"]);
    // Only the zombie's name suggests a monitor.
    says(&own(|it, _| it.process.name = "conmon".into()), Family::F4, High..=High, &["!monitor"]);
}
