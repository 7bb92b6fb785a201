//! The packaged containerd, with its shim and runc: an instance of its own, which ends with the test.

use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::SystemTime,
};

use anyhow::{Context, Result, ensure};
use caps::CapSet;
use serde_json::{Value, json};
use supervisor_lab::{Lab, program, until};

use crate::{Guard, WAIT_LIMIT};

/// The namespace of containerd in which Kubernetes' containers are.
const NAMESPACE: &str = "k8s.io";
/// Where control groups are, those of version 1 in a directory for each hierarchy.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The instance. Its containers end when this is dropped.
#[derive(Debug)]
pub struct Containerd<'a> {
    lab: &'a Lab,
    guard: Guard,
    socket: PathBuf,
    /// Their ids and control groups.
    containers: Vec<(String, String)>,
    execs: Cell<u32>,
}

/// What to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spec<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its control group; its pods' and parents' are removed too if nobody else uses them.
    pub cgroup: &'a str,
    /// Its command. Commands of the host are in `/usr/bin`; those of the lab's root file system, in `/bin`, come first.
    pub args: &'a [&'a str],
    /// The most processes that it may have.
    pub pids: Option<u32>,
    /// A process whose PID namespace it joins.
    pub joins: Option<u32>,
    /// It sees the host's control groups, and can change them.
    pub has_cgroups: bool,
    /// A file that it sees under another path: the file's own path, and the other one.
    pub file: Option<(&'a str, &'a str)>,
}

/// An id as containerd gives it to containers of Kubernetes.
pub fn container_id() -> Result<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(format!("{:016x}", now.as_nanos() as u64).repeat(4))
}

/// The control group of a new pod.
pub fn pod_cgroup() -> Result<String> {
    let id = container_id()?;
    let uid = format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[1..4], &id[5..8], &id[4..16]);
    Ok(format!("/kubepods/burstable/pod{uid}"))
}

impl<'a> Containerd<'a> {
    /// Starts it. `fixture` is the path of the fixture program.
    pub fn start(fixture: &str, lab: &'a Lab) -> Result<Self> {
        Self::start_in(std::process::id(), fixture, lab)
    }

    /// Starts it in the mount namespace of a process.
    pub fn start_in(process: u32, fixture: &str, lab: &'a Lab) -> Result<Self> {
        let place = lab.path().join("containerd");
        fs::create_dir(&place)?;
        let (config, socket) = (place.join("config.toml"), place.join("socket"));
        let text = format!(
            "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = \"{1}\"\n",
            place.display(),
            socket.display()
        );
        fs::write(&config, text)?;
        let containerd = program("containerd").context("containerd is not installed")?;
        let config = config.to_str().context("the lab's path is no UTF-8")?;
        let containerd = containerd.to_str().context("containerd's path is no UTF-8")?;
        // The log is in the lab: it tells of each container that is started.
        let script = r#"exec nsenter --target "$2" --mount "$0" --config "$1" 2>"$1.log""#;
        let args = ["-c", script, containerd, config, &process.to_string()];
        let guard = Guard::start(fixture, Path::new("/bin/sh"), &args)?;
        let this = Self { lab, guard, socket, containers: Vec::new(), execs: Cell::new(0) };
        until("containerd to answer", WAIT_LIMIT, || {
            let status = this.ctr(["version"]).stderr(Stdio::null()).status()?;
            Ok(status.success().then_some(()))
        })?;
        Ok(this)
    }

    /// Runs a container; returns the host's pid of its first process.
    pub fn run(&mut self, spec: Spec<'_>) -> Result<u32> {
        let config = self.lab.path().join("bundles").join(format!("{}.json", spec.id));
        fs::write(&config, serde_json::to_vec(&self.config(spec)?)?)?;
        let pid_file = config.with_extension("pid");
        let mut run = self.ctr(["run", "--detach", "--null-io"]);
        run.arg("--runc-root").arg(self.lab.state("runc")).arg("--fifo-dir").arg(self.lab.path());
        run.arg("--pid-file").arg(&pid_file).arg("--config").arg(&config).arg(spec.id);
        self.containers.push((spec.id.to_owned(), spec.cgroup.to_owned()));
        let output = run.output()?;
        ensure!(output.status.success(), "ctr run failed: {}", String::from_utf8_lossy(&output.stderr));
        Ok(fs::read_to_string(pid_file)?.trim().parse()?)
    }

    /// Executes a command in a container, and waits for it.
    pub fn exec(&self, id: &str, args: &[&str]) -> Result<ExitStatus> {
        self.execs.set(self.execs.get() + 1);
        let mut exec = self.ctr(["tasks", "exec", "--exec-id", &format!("exec-{}", self.execs.get())]);
        exec.arg("--fifo-dir").arg(self.lab.path()).arg(id).args(args);
        Ok(exec.status()?)
    }

    /// Kills the first process of a container.
    pub fn kill(&self, id: &str) -> Result<()> {
        let status = self.ctr(["tasks", "kill", "--signal", "SIGKILL", id]).status()?;
        ensure!(status.success(), "ctr tasks kill ended with {status}");
        Ok(())
    }

    /// A command line of its client.
    fn ctr(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(&self.socket).args(["--namespace", NAMESPACE]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn config(&self, spec: Spec<'_>) -> Result<Value> {
        let mut mounts = vec![
            json!({"destination": "/proc", "type": "proc", "source": "proc"}),
            json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}),
        ];
        let root = self.lab.rootfs();
        let mut bind = |folder: &str, access: &str| -> Result<()> {
            fs::create_dir_all(root.join(folder.trim_start_matches('/')))?;
            let options = ["rbind", access];
            mounts.push(json!({"destination": folder, "source": folder, "type": "none", "options": options}));
            Ok(())
        };
        for folder in ["/usr", "/lib", "/lib64"] {
            if Path::new(folder).is_dir() {
                bind(folder, "ro")?;
            }
        }
        if spec.has_cgroups {
            bind(CGROUPS, "rw")?;
        }
        if let Some((source, path)) = spec.file {
            fs::write(root.join(path.trim_start_matches('/')), "")?;
            let options = ["rbind", "rw"];
            mounts.push(json!({"destination": path, "source": source, "type": "none", "options": options}));
        }
        let mut pid_ns = json!({"type": "pid"});
        if let Some(pid) = spec.joins {
            pid_ns["path"] = format!("/proc/{pid}/ns/pid").into();
        }
        // As a privileged container: an inner runtime can pass on only what its own container may use.
        let mut resources = json!({"devices": [{"allow": true, "access": "rwm"}]});
        if let Some(limit) = spec.pids {
            resources["pids"] = json!({"limit": limit});
        }
        // All that the tests have, which need not be all that there are.
        let own = caps::read(None, CapSet::Permitted)?;
        let own: Vec<String> = own.into_iter().map(|it| it.to_string()).collect();
        Ok(json!({
            "ociVersion": "1.0.2",
            "root": {"path": root, "readonly": false},
            "mounts": mounts,
            "process": {
                "user": {"uid": 0, "gid": 0},
                "cwd": "/",
                "env": ["PATH=/bin:/usr/bin:/usr/sbin", "HOME=/root"],
                "args": spec.args,
                "capabilities": {"bounding": own, "effective": own, "permitted": own},
            },
            "linux": {
                "namespaces": [
                    {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}, pid_ns,
                ],
                "cgroupsPath": spec.cgroup,
                "resources": resources,
            },
        }))
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        // What cannot be removed now ends with the guard.
        for (id, _) in self.containers.iter().rev() {
            let _ = self.ctr(["tasks", "delete", "--force", id]).stderr(Stdio::null()).status();
        }
        let _ = self.guard.end();
        for (_, group) in &self.containers {
            remove_groups(group);
        }
    }
}

/// Removes a control group and those above it, in every hierarchy, as far as they are empty.
pub fn remove_groups(group: &str) {
    let hierarchies = fs::read_dir(CGROUPS).into_iter().flatten().filter_map(|it| Some(it.ok()?.path()));
    for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
        let groups = Path::new(group.trim_start_matches('/')).ancestors();
        for group in groups.filter(|it| !it.as_os_str().is_empty()) {
            let _ = fs::remove_dir(hierarchy.join(group));
        }
    }
}
