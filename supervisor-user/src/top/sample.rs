//! Builds a realistic host for tests: some reapers with many zombies, a blocked Pod, a process that cannot exit.

use supervisor_conclude::conclusions::Conclusions;
use supervisor_ebpf::{CALL_WAIT4, ProcessId, WAIT_PID, WAITED_PID, Wait};
use supervisor_model::{
    clock::Wall,
    evidence::{
        EndingFacts, Evidence, Member, NamespaceEvidence, ReaperFacts,
        sample::{HOST, POD, creator, exec, facts, host, incident},
    },
    facts::{ProcessFacts, RemoteMount, SigChld},
    filter::Filter,
    observation::{Observation, Seen},
    shared::Shared,
};

use super::Top;

const S: u64 = 1_000_000_000;
/// The time when the screen is drawn; the next constant is the time of the refresh before.
pub(super) const NOW: u64 = 4000 * S;
const BEFORE: u64 = NOW - 50 * S;
/// The numbers of monitors and of worker processes. The zombies are spread over them.
const MONITORS: u32 = 7;
const WORKERS: u32 = 40;

/// A host with this many zombies, and a screen that has watched it for a while.
pub(super) fn host_with(zombies: u32) -> (Top, Conclusions) {
    let mut conclusions = Conclusions::new(host(), S, Filter::default());
    let mut top = Top::new("node-1  Linux 6.18.0".to_owned());
    let all: Vec<Evidence> = (0..zombies).map(zombie).collect();
    top.refresh(&conclusions, BEFORE - S);
    let old = |evidence: &&Evidence| evidence.exit_ns.is_some_and(|exit_ns| exit_ns < BEFORE);
    // Only some zombies produce events: each event takes a whole diagnosis.
    for (index, evidence) in all.iter().filter(old).enumerate() {
        see(&mut top, &mut conclusions, &unreaped(evidence), index < 20);
    }
    see(&mut top, &mut conclusions, &held(), true);
    top.refresh(&conclusions, BEFORE);
    for (index, evidence) in all.iter().filter(|it| !old(it)).enumerate() {
        see(&mut top, &mut conclusions, &unreaped(evidence), index < 20);
        if zombies <= 300 && index % 25 == 0 {
            top.refresh(&conclusions, evidence.exit_ns.unwrap_or(NOW));
        }
    }
    if zombies > 1 {
        see(&mut top, &mut conclusions, &stuck(), true);
        let id = all[zombies as usize - 1].id.expect("it is known");
        let reaped = Seen::Reaped { id, free_ns: Some(NOW), release: None };
        see(&mut top, &mut conclusions, &at(NOW, reaped), true);
        let again = all.last().expect("there is one");
        see(&mut top, &mut conclusions, &unreaped(again), false);
    }
    top.refresh(&conclusions, NOW);
    (top, conclusions)
}

fn at(at_ns: u64, seen: Seen) -> Observation {
    Observation { at_ns, wall: Wall::at_offset(0), seen }
}

fn see(top: &mut Top, conclusions: &mut Conclusions, observation: &Observation, with_events: bool) {
    if with_events {
        conclusions.take(observation).iter().for_each(|event| top.event(event));
    } else {
        conclusions.note(observation);
    }
}

pub(super) fn unreaped(evidence: &Evidence) -> Observation {
    let id = evidence.id.expect("it is known");
    at(evidence.at_ns, Seen::Unreaped { id, existing: false, evidence: Box::new(evidence.clone()) })
}

/// The zombie with a number: a smaller number is an older zombie. Zombie 0 is the incident, which blocks the Pod.
pub(super) fn zombie(number: u32) -> Evidence {
    let mut evidence = incident();
    let pid = 5000 + number;
    // Most zombies are older than the screen, and a few come each second.
    let exit_ns = NOW - 3000 * S / (u64::from(number) + 1) - 3 * S;
    evidence.id = Some(ProcessId::new(pid, u64::from(pid)));
    (evidence.exit_ns, evidence.at_ns) = (Some(exit_ns), exit_ns.max(NOW - 2 * S));
    match number % 10 {
        0..=4 => left_to_monitor(&mut evidence, pid, number / 10 % MONITORS),
        5..=7 => left_by_worker(&mut evidence, pid, number / 10 % WORKERS),
        _ => left_by_busy_shell(&mut evidence, pid),
    }
    evidence
}

/// A monitor has adopted the zombie and waits for another process.
fn left_to_monitor(evidence: &mut Evidence, pid: u32, monitor: u32) {
    let own = 1302 + 10 * monitor;
    evidence.facts.pid = pid;
    evidence.facts.ns_pids = [pid, pid % 300 + 2].into();
    evidence.facts.ppid = own;
    let id = format!("{:x}{:062x}", 0xc0 + monitor, 0xffee);
    evidence.facts.cgroup = Some(format!("/kubepods.slice/kubepods-besteffort.slice/crio-{id}.scope"));
    let exit_ns = evidence.exit_ns.expect("it is known");
    change_reaper(evidence, |reaper| {
        reaper.facts = ProcessFacts { state: 'S', ..facts(own, "conmonrs", &[own], HOST) };
        reaper.id = Some(ProcessId::new(own, 1));
        reaper.wait = Some(Wait {
            at_ns: exit_ns - S,
            count: 1,
            request: Wait::pack(CALL_WAIT4, WAIT_PID, 20, 0),
            kinds: WAITED_PID,
            ..Wait::default()
        });
        reaper.held = Some(3);
    });
    let mut creators = (*evidence.creators).clone();
    creators[2] = creator(own, "conmonrs", exec("/usr/bin/conmonrs --runtime /usr/bin/crun", true), false);
    evidence.creators = creators.into();
}

/// A worker of a pool has created the zombie and has never waited.
fn left_by_worker(evidence: &mut Evidence, pid: u32, worker: u32) {
    own_child(evidence, pid, "convert", 2200 + worker, "gunicorn", 'S');
}

/// A shell has created the zombie, and is busy.
fn left_by_busy_shell(evidence: &mut Evidence, pid: u32) {
    own_child(evidence, pid, "sleep", 900, "backup-all.sh", 'R');
    change_reaper(evidence, |reaper| reaper.facts.sigchld = Some(SigChld::Handled));
}

fn own_child(evidence: &mut Evidence, pid: u32, comm: &str, reaper_pid: u32, reaper_comm: &str, state: char) {
    evidence.facts = ProcessFacts { ppid: reaper_pid, ..facts(pid, comm, &[pid], HOST) };
    evidence.exec = Some(exec(&format!("/usr/bin/{comm} --all"), true));
    evidence.ns_init = None;
    change_reaper(evidence, |reaper| {
        reaper.facts = ProcessFacts { state, ..facts(reaper_pid, reaper_comm, &[reaper_pid], HOST) };
        reaper.id = Some(ProcessId::new(reaper_pid, 1));
        (reaper.is_subreaper, reaper.wait, reaper.reaped) = (Some(false), None, Some((0, 0)));
    });
    evidence.creators =
        vec![creator(reaper_pid, reaper_comm, exec(&format!("/usr/bin/{reaper_comm}"), true), false)].into();
    evidence.first_parent = Some(ProcessId::new(reaper_pid, 1));
}

fn change_reaper(evidence: &mut Evidence, change: impl FnOnce(&mut ReaperFacts)) {
    let mut reaper = (**evidence.reaper.as_ref().expect("there is one")).clone();
    change(&mut reaper);
    evidence.reaper = Some(Shared::from(reaper));
}

/// The Pod whose PID namespace the first zombie blocks.
pub(super) fn held() -> Observation {
    let zombie = zombie(0);
    let mut init = incident();
    init.facts = ProcessFacts {
        state: 'S',
        wchan: Some("zap_pid_ns_processes".into()),
        cgroup: zombie.facts.cgroup.clone(),
        ..facts(1298, "pause", &[1298, 1], POD)
    };
    let id = ProcessId::new(1298, 1);
    init.exec = Some(exec("/pause", true));
    (init.id, init.at_ns, init.exit_ns) = (Some(id), BEFORE, Some(BEFORE - 120 * S));
    let member = Member {
        id: zombie.id.expect("it is known"),
        facts: zombie.facts,
        threads: Vec::new(),
        reaper: Some((1302, "conmonrs".into())),
        tracer: None,
        frozen: None,
        calls: Vec::new(),
    };
    let evidence = NamespaceEvidence { init, members: vec![member], members_left_out: 0 };
    at(BEFORE, Seen::Held { id, evidence: Box::new(evidence) })
}

/// A process that was killed while it waits for a FUSE server.
fn stuck() -> Observation {
    let mut evidence = incident();
    let id = ProcessId::new(4711, 1);
    evidence.facts = ProcessFacts {
        state: 'D',
        exit_status: None,
        live_threads: 1,
        wchan: Some("request_wait_answer".into()),
        ..facts(4711, "rsync", &[4711], HOST)
    };
    (evidence.id, evidence.exit_ns, evidence.at_ns) = (Some(id), None, NOW - S);
    evidence.ending = Some(EndingFacts {
        since_ns: Some(NOW - 90 * S),
        killed_by: Some((900, "bash".into())),
        frozen: None,
        mounts: vec![RemoteMount {
            fs_type: "fuse.sshfs".into(),
            source: "files:".into(),
            mount_point: "/mnt".into(),
            connection: Some(47),
            waiting: Some(1),
        }],
    });
    at(NOW - S, Seen::Stuck { id, grace_ns: 5 * S, evidence: Box::new(evidence) })
}
