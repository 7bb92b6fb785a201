//! Tests containerd's shim, played: a subreaper that does not wait for the processes that it adopts from a container of
//! the real runc.

use std::{fs, os::unix::fs::symlink, path::Path, time::SystemTime};

use anyhow::{Context, Result};
use supervisor_lab::{Lab, PidNs, Runtime, bundle};
use supervisor_tests::{Fixture, Watch, supervisor_bin};

/// The script ends once its child is no longer a copy of the shell.
const LEAVES_A_SLEEP: &str =
    r#"sleep 600 & until read -r name <"/proc/$!/comm" && [ "$name" = sleep ]; do :; done; exit 0"#;

#[test]
fn f1_a_shim_that_does_not_wait_for_an_orphan_of_its_container() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["sh", "sleep"])?;
    // containerd names the containers of Kubernetes like this.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let id = format!("{:016x}", now.as_nanos() as u64).repeat(4);
    // Without its own PID namespace, the orphans of the container pass to the shim. runc kills them first.
    let bundle = bundle(&lab, &id, PidNs::Host, &["sh", "-c", LEAVES_A_SLEEP])?;
    let shim = lab.path().join("bin/containerd-shim-runc-v2");
    symlink(env!("CARGO_BIN_EXE_fixture"), &shim)?;
    let text = |path: &Path| Ok::<_, anyhow::Error>(path.to_str().context("no UTF-8")?.to_owned());
    let (shim, bundle) = (text(&shim)?, text(&bundle)?);
    let (runc, state) =
        (text(&Runtime::Runc.find().context("runc is not installed")?)?, text(&lab.state("runc"))?);
    fs::create_dir_all(&state)?;

    let mut watch = Watch::recorded("f1-shim")?;
    let args = ["-namespace", "k8s.io", "-id", &id, "-address", "/run/containerd/containerd.sock"];
    let run = [runc.as_str(), "--root", &state, "run", "--bundle", &bundle, &id];
    let mut fixture = Fixture::start(&shim, &[&args[..], &run].concat())?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    watch.keep(&[pid]);
    let found = watch.wait_for("the orphan", |event| event.says("zombie-detected", pid))?;
    assert_eq!(found.text("process.name")?, "sleep");
    assert_eq!(found.pid("supervisor.reaper.pid")?, fixture.pid());
    assert!(found.flag("supervisor.reaper.is_subreaper")?);
    assert!(found.flag("supervisor.reaper.adopted")?);
    assert!(found.text("supervisor.monitor.name")?.starts_with("containerd-shim"), "{}", found.0);
    assert_eq!(found.pid("supervisor.monitor.pid")?, fixture.pid());
    assert_eq!(found.text("supervisor.monitor.namespace")?, "k8s.io");
    assert_eq!(found.text("container.id")?, id);
    assert_eq!(found.text("container.runtime")?, "runc");
    assert_eq!(found.text("supervisor.runtime.name")?, "runc");
    assert_eq!(found.text("supervisor.family.id")?, "F1");

    fixture.send("release")?;
    fixture.fact("released")?;
    watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
    fixture.end()?;
    watch.stop()?;
    Ok(())
}
