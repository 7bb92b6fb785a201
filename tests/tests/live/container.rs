//! The rights of deploy/daemonset.yaml with deploy/seccomp.json, in a container of the real crun.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use supervisor_tests::{Event, WAIT_LIMIT, fixture, supervisor_bin};
use supervisor_user::{
    privileges::NEEDS,
    scenario::{Lab, Lines, Owned, Runtime, private_cgroup2},
};

const SECCOMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/seccomp.json");

/// A container that has nothing but this program and what it is linked with, and sees the host's processes.
fn spec(root: &Path, args: &[&str]) -> Result<Value> {
    let capabilities: Vec<String> = NEEDS.iter().map(|need| need.capability.to_string()).collect();
    let mut mounts = Vec::new();
    let mut bind = |from: &Path, to: &str| -> Result<()> {
        let place = root.join(to.trim_start_matches('/'));
        if from.is_dir() {
            fs::create_dir_all(&place)?;
        } else {
            fs::write(&place, "")?;
        }
        mounts.push(json!({"destination": to, "source": from, "type": "none", "options": ["rbind", "ro"]}));
        Ok(())
    };
    bind(&supervisor_bin()?.canonicalize()?, "/supervisor")?;
    for folder in ["/proc", "/sys", "/usr", "/lib", "/lib64"] {
        if Path::new(folder).is_dir() {
            bind(Path::new(folder), folder)?;
        }
    }
    for place in ["/dev", "/state"] {
        mounts.push(json!({"destination": place, "source": "tmpfs", "type": "tmpfs"}));
        fs::create_dir(root.join(place.trim_start_matches('/')))?;
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": true},
        "hostname": "pod",
        "mounts": mounts,
        "process": {
            "user": {"uid": 0, "gid": 0},
            "cwd": "/",
            "args": args,
            "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            "seccomp": serde_json::from_str::<Value>(&fs::read_to_string(SECCOMP)?)?,
        },
    }))
}

#[test]
fn a_container_with_least_rights_sees_the_host() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;

    let lab = Lab::new(&supervisor_bin()?)?;
    let id = lab.container_id("least");
    let bundle = lab.path().join("bundles").join(&id);
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root)?;
    // It ends by itself, whatever becomes of this test.
    let args =
        ["/supervisor", "run", "--duration", "3m", "--set", "state_dir=/state", "--set", "host.name=node-7"];
    fs::write(bundle.join("config.json"), serde_json::to_vec(&spec(&root, &args)?)?)?;
    let crun = || -> Result<Command> {
        let mut command = Command::new(Runtime::Crun.find().context("crun is not installed")?);
        command.arg("--root").arg(lab.state("crun")).arg("--cgroup-manager=disabled").stdin(Stdio::null());
        private_cgroup2(&mut command);
        Ok(command)
    };
    let mut command = crun()?;
    command.arg("run").arg("--bundle").arg(&bundle).arg(&id).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut run = Owned::start(&mut command)?;
    let (stdout, stderr) = run.child().stdout.take().zip(run.child().stderr.take()).context("no pipes")?;
    let (stdout, stderr) = (Lines::of(stdout), Lines::of(stderr));
    let found = loop {
        let Some(line) = stdout.next("the agent to find the zombie", WAIT_LIMIT)? else {
            let said = stderr.next("the agent to end", WAIT_LIMIT)?;
            bail!("it ended before it found the zombie, and said {said:?}");
        };
        let event = Event(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?);
        if event.says("zombie-existing", zombie) {
            break event;
        }
    };
    let killed = crun()?.args(["kill", &id, "TERM"]).status()?;
    ensure!(killed.success(), "crun kill ended with {killed}");
    let status = run.end(WAIT_LIMIT)?;
    ensure!(status.success(), "it ended with {status}");
    assert_eq!(found.text("host.hostname")?, "node-7", "its own name is `pod`");
    assert_eq!(found.number("process.exit_code")?, 7);
    assert_eq!(found.pid("supervisor.reaper.pid")?, fixture.pid());
    assert!(found.text("process.parent.executable")?.ends_with("/fixture"));
    fixture.end()
}
