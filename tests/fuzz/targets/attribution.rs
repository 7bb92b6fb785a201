//! Names, arguments and control groups of processes, which anybody can choose.

#![no_main]

use std::cell::OnceCell;

use libfuzzer_sys::fuzz_target;
use supervisor_claims::oci::{places, sandbox_places};
use supervisor_ebpf::{ARGV_LEN, Exec, FILENAME_LEN, PREVIOUS_FILENAME_LEN};
use supervisor_fuzz::{Teller, changed, host, incident};
use supervisor_model::{
    evidence::ExecFacts,
    facts::{MAX_PLACES, OciPlaces, is_plain},
    observation::{Observation, Seen},
};

thread_local! {
    static INCIDENT: OnceCell<Observation> = const { OnceCell::new() };
}

/// As the kernel side stores it.
fn exec(filename: &[u8], argv: &[u8]) -> ExecFacts {
    let mut exec = Exec {
        at_ns: 1,
        previous_ns: 0,
        argv_total: argv.len() as u32,
        argv_len: argv.len().min(ARGV_LEN) as u32,
        uid: 0,
        level: 0,
        filename: [0; FILENAME_LEN],
        previous: [0; PREVIOUS_FILENAME_LEN],
        argv: [0; ARGV_LEN],
    };
    let len = filename.len().min(FILENAME_LEN);
    exec.filename[..len].copy_from_slice(&filename[..len]);
    let len = argv.len().min(ARGV_LEN);
    exec.argv[..len].copy_from_slice(&argv[..len]);
    ExecFacts::from(&exec)
}

// Lines: the zombie's name, its control group, then of it, of its creators and of its reaper: file and arguments.
fuzz_target!(|data: &[u8]| {
    let incident = INCIDENT.with(|it| it.get_or_init(incident).clone());
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut text = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (comm, cgroup) = (text(), text());
    let observation = changed(incident, |evidence| {
        evidence.facts.comm.clone_from(&comm);
        evidence.facts.cgroup = Some(cgroup.clone());
        if let Some(task) = &mut evidence.task {
            task.cgroup = Some(cgroup.split('/').map(str::to_owned).collect::<Vec<_>>().into());
        }
        let mut exec_of = || Some(exec(lines.next()?, lines.next().unwrap_or_default()));
        evidence.exec = exec_of();
        for creator in &mut *evidence.creators {
            creator.comm.clone_from(&comm);
            creator.exec = exec_of();
        }
        if let Some(reaper) = &mut evidence.reaper {
            reaper.facts.comm.clone_from(&comm);
            reaper.exec = exec_of();
        }
    });
    if let Seen::Unreaped { evidence, .. } = &observation.seen {
        let found = places(evidence).into_iter().chain([sandbox_places(evidence)]);
        for OciPlaces { state_files, bundles, docker_files, .. } in found {
            for paths in [state_files, bundles, docker_files] {
                assert!(paths.len() <= MAX_PLACES, "too many files are looked for");
                assert!(paths.iter().all(|path| is_plain(path)), "a file outside is looked for");
            }
        }
    }
    Teller::new(host(), 1_000_000_000).tell(&observation);
});
