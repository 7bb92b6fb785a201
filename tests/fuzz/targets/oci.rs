//! A container's files, which its runtime's user can write.

#![no_main]

use std::{cell::OnceCell, fs, os::unix::fs::MetadataExt as _};

use libfuzzer_sys::fuzz_target;
use supervisor_collect::host::{DirectProc, Host as _};
use supervisor_fuzz::{Teller, changed, host, incident};
use supervisor_model::{
    facts::{OciPlaces, is_plain},
    observation::Observation,
};
use tempfile::TempDir;

struct Place {
    proc: DirectProc,
    owner: u32,
    dir: TempDir,
    incident: Observation,
}

thread_local! {
    static PLACE: OnceCell<Place> = const { OnceCell::new() };
}

fn place() -> Place {
    let dir = tempfile::tempdir().expect("there is a place for files");
    fs::create_dir(dir.path().join("box")).expect("it is empty");
    let owner = dir.path().metadata().expect("it is there").uid();
    Place { proc: DirectProc::new().expect("/proc can be read"), owner, dir, incident: incident() }
}

// A state file, a bundle's configuration, and docker's file, with a NUL between them.
fuzz_target!(|data: &[u8]| {
    PLACE.with(|it| {
        let Place { proc, owner, dir, incident } = it.get_or_init(place);
        let folder = dir.path().join("box");
        let mut parts = data.splitn(3, |byte| *byte == 0);
        for name in ["state.json", "config.json", "config.v2.json"] {
            fs::write(folder.join(name), parts.next().unwrap_or_default()).expect("it can be written");
        }
        let state_files = vec![folder.join("state.json").display().to_string()];
        let bundles = vec![folder.display().to_string()];
        let docker_files = vec![folder.join("config.v2.json").display().to_string()];
        let places = [OciPlaces { owner: *owner, state_files, bundles, docker_files }];
        let Ok(Some(facts)) = proc.oci(&places) else { return };
        assert!(facts.annotations.values().all(|value| value.len() <= 256), "a value is not cut");
        assert!(facts.name.iter().all(|name| name.len() <= 256), "a name is not cut");
        assert!(facts.bundle.iter().chain(&facts.pid_ns_path).all(|path| is_plain(path)), "a path goes up");
        let observation = changed(incident.clone(), |evidence| evidence.oci = Some(facts));
        Teller::new(host(), 1_000_000_000).tell(&observation);
    });
});
