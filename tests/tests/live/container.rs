//! Tests with the permissions of deploy/daemonset.yaml and deploy/seccomp.json, in a container of the real crun, and
//! with the permissions that `[reap]` adds.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use supervisor_collect::privileges::{NEEDS, REAP_NEEDS};
use supervisor_lab::{Lab, Lines, Owned, Runtime, private_cgroup2};
use supervisor_tests::{Event, WAIT_LIMIT, fixture, supervisor_bin};

const SECCOMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/seccomp.json");
const SECCOMP_REAP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/seccomp-reap.json");

/// A container that has only this program and its libraries, and sees the host's processes.
fn spec(root: &Path, args: &[&str], reaps: bool) -> Result<Value> {
    let also = if reaps { &REAP_NEEDS[..] } else { &[] };
    let capabilities: Vec<String> =
        NEEDS.iter().chain(also).map(|need| need.capability.to_string()).collect();
    let seccomp = if reaps { SECCOMP_REAP } else { SECCOMP };
    let mut mounts = Vec::new();
    let mut bind = |from: &Path, to: &str| -> Result<()> {
        // A container can write to its own `/proc`.
        let access = if reaps && to == "/proc" { "rw" } else { "ro" };
        let place = root.join(to.trim_start_matches('/'));
        if from.is_dir() {
            fs::create_dir_all(&place)?;
        } else {
            fs::write(&place, "")?;
        }
        mounts.push(json!({"destination": to, "source": from, "type": "none", "options": ["rbind", access]}));
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
            "seccomp": serde_json::from_str::<Value>(&fs::read_to_string(seccomp)?)?,
        },
    }))
}

/// Runs an agent with these options in that container until it emits the wanted event.
fn agent_in_container(options: &[&str], reaps: bool, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let id = lab.container_id("least");
    let bundle = lab.path().join("bundles").join(&id);
    let root = bundle.join("rootfs");
    fs::create_dir_all(&root)?;
    // It ends by itself, even if this test fails.
    let args =
        ["/supervisor", "run", "--duration", "3m", "--set", "state_dir=/state", "--set", "host.name=node-7"];
    let args = [&args[..], options].concat();
    fs::write(bundle.join("config.json"), serde_json::to_vec(&spec(&root, &args, reaps)?)?)?;
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
        let Some(line) = stdout.next("the agent to find what is wanted", WAIT_LIMIT)? else {
            let said = stderr.next("the agent to end", WAIT_LIMIT)?;
            bail!("it ended before it found what is wanted, and said {said:?}");
        };
        let event = Event(serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?);
        if wanted(&event) {
            break event;
        }
    };
    let killed = crun()?.args(["kill", &id, "TERM"]).status()?;
    ensure!(killed.success(), "crun kill ended with {killed}");
    let status = run.end(WAIT_LIMIT)?;
    ensure!(status.success(), "it ended with {status}");
    Ok(found)
}

#[test]
fn a_container_with_least_rights_sees_the_host() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let zombie = fixture.fact("zombie")?.pid("pid")?;
    let found = agent_in_container(&[], false, |event| event.says("zombie-existing", zombie))?;
    assert_eq!(found.text("host.hostname")?, "node-7", "its own name is `pod`");
    assert_eq!(found.number("process.exit_code")?, 7);
    assert_eq!(found.pid("supervisor.reaper.pid")?, fixture.pid());
    assert!(found.text("process.parent.executable")?.ends_with("/fixture"));
    fixture.end()
}

#[test]
fn a_container_with_what_reap_adds_frees_zombies_of_the_host() -> Result<()> {
    let name = format!("contained{}", std::process::id());
    let mut monitor = fixture!("leaks", &name, "500")?;
    monitor.fact("ready")?;
    let filter = format!("filter.reaper={}", monitor.pid());
    let options = ["reap.enabled=true", "reap.every=1s", "reap.min_age=2s", &filter];
    let options: Vec<&str> = options.into_iter().flat_map(|option| ["--set", option]).collect();
    let freed = agent_in_container(&options, true, |event| event.action() == "reap-requested")?;
    assert_eq!(freed.text("supervisor.reap.outcome")?, "freed", "{}", freed.0);
    assert_eq!(freed.pid("supervisor.reap.reaper.pid")?, monitor.pid());
    monitor.send("stop")?;
    monitor.fact("leaked")?;
    monitor.end()
}
