//! Tests 200,000 healthy processes: none of them reaches user space, and every one is counted.

use std::fs;

use anyhow::Result;
use supervisor_tests::{Watch, created_on_host, fixture, hides_init};

const PROCESSES: u64 = 200_000;

/// The number of processes now.
fn processes_on_host() -> Result<u64> {
    let names = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| name.parse::<u32>().is_ok()).count() as u64)
}

#[test]
fn healthy_processes_cause_no_event_and_are_all_counted() -> Result<()> {
    let before_start = created_on_host()?;
    let alive = processes_on_host()?;
    let mut watch = Watch::start(&[])?;
    let attached = created_on_host()?;
    let fixture = fixture!("storm", &PROCESSES.to_string())?;
    let pid = fixture.pid();
    fixture.fact("done")?;
    fixture.end()?;
    let before_stop = created_on_host()?;
    // A free follows its reap with a delay. The frees of the storm are over when the free of a later process was seen.
    watch.settle(env!("CARGO_BIN_EXE_fixture"))?;
    let outcome = watch.stop()?;
    let after = created_on_host()?;

    let counted = outcome.counted()?;
    println!("{counted:?}; /proc/stat: {before_start} {attached} {before_stop} {after}");
    // The kernel's own count of created processes: while the watch was attached for certain, and while it may have been
    // attached.
    let (least, most) = (before_stop - attached, after - before_start);
    let created = counted.forks + counted.threads;
    assert!(least >= PROCESSES);
    assert!((least..=most).contains(&created), "{created} forks and threads, not {least} to {most}");
    // Every one of them exited, was waited for and was freed, and none was counted twice. So no count can exceed the
    // processes that existed before, plus those that were created.
    let at_most = most + alive;
    // A lost free leaves its slot taken. A few in a thousand of those hide the exit of a later process.
    let at_least = PROCESSES - counted.lost / 100;
    assert!((at_least..=at_most).contains(&counted.exits), "exits: {counted:?}, at most {at_most}");
    assert!(counted.waits >= PROCESSES, "waits: {counted:?}");
    // A kernel can fail to run the free hook (docs/limitations.md): then it is counted as lost, and nothing else is.
    let freed = counted.reaps + counted.lost;
    assert!((at_least..=at_most).contains(&freed), "reaps: {counted:?}, at most {at_most}");
    // A kernel that hides PID 1 runs no hook in the threads of PID 1. The number of frees that run there depends on the
    // activity of PID 1.
    let most_lost = if hides_init() { PROCESSES / 10 } else { PROCESSES / 100 };
    assert!(counted.lost <= most_lost, "lost: {counted:?}");

    let found = outcome.events.iter().find(|event| event.is_about(pid) || event.is_under(pid));
    assert_eq!(found, None);
    // A ring event means that a process was reaped that was unreaped for a second. Other processes of this host may
    // have been, and most of them were reported.
    let reported = outcome.events.iter().filter(|event| event.action() == "zombie-reaped").count() as u64;
    assert!(counted.events < reported + PROCESSES / 1000, "ring events: {counted:?}, {reported} reported");
    Ok(())
}
