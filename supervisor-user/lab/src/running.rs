//! A running container, started by a real runtime.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    container::{PidNs, Runtime, bundle},
    lab::{Lab, private_cgroup2},
    owned::Owned,
    wait::{LIMIT, until},
};

/// The container. It is removed when this is dropped. If this process is killed, the input of the container's command
/// ends. When the command ends because of that, its processes end too.
#[derive(Debug)]
pub struct RunningContainer {
    runtime: Runtime,
    state: PathBuf,
    id: String,
    init: u32,
    /// `runtime run`, which runs as long as the container.
    run: Owned,
}

impl RunningContainer {
    /// Runs this command as PID 1 of a new PID namespace.
    pub fn run(lab: &Lab, runtime: Runtime, args: &[&str]) -> Result<Self> {
        let id = lab.container_id(runtime.name());
        let bundle = bundle(lab, &id, PidNs::Own, args)?;
        let (state, pid_file, log) = (lab.state(runtime.name()), bundle.join("pid"), bundle.join("log"));
        let mut command = command(runtime, &state)?;
        command.arg("run").arg("--pid-file").arg(&pid_file).arg("--bundle").arg(&bundle).arg(&id);
        let mut run = Owned::start(command.stdin(Stdio::piped()).stderr(File::create(&log)?))?;
        let has_not_ended = |run: &mut Owned| {
            let Some(status) = run.child().try_wait()? else { return Ok(()) };
            // If the message cannot be read, the status still says that the runtime failed.
            let message = fs::read_to_string(&log).unwrap_or_default();
            bail!("{} run ended with {status}: {}", runtime.name(), message.trim());
        };
        let init = until("the container to start", LIMIT, || {
            has_not_ended(&mut run)?;
            // It is no error if the file does not exist yet, or is still empty.
            Ok(fs::read_to_string(&pid_file).ok().and_then(|text| text.trim().parse().ok()))
        })?;
        let mut container = Self { runtime, state, id, init, run };
        until("the container to run", LIMIT, || {
            has_not_ended(&mut container.run)?;
            let output = container.command(&["state"])?.stdout(Stdio::piped()).output()?;
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.lines().any(|line| line.contains("status") && line.contains("running")).then_some(()))
        })?;
        Ok(container)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The host's pid of its PID 1.
    #[must_use]
    pub fn init(&self) -> u32 {
        self.init
    }

    /// Executes a command in the container.
    pub fn exec(&self, args: &[&str]) -> Result<()> {
        let mut command = self.command(&["exec"])?;
        let status = Owned::start(command.args(args))?.end(LIMIT)?;
        ensure!(status.success(), "{} exec {args:?} ended with {status}", self.runtime.name());
        Ok(())
    }

    /// Removes the container with all its processes.
    pub fn remove(mut self) -> Result<()> {
        let status = self.delete()?;
        // `crun run` also removes the container after its PID 1 has ended. If `crun run` is faster, `crun delete`
        // fails. That is no error, because the container is gone.
        self.run.end(LIMIT).with_context(|| format!("{} delete ended with {status}", self.runtime.name()))?;
        Ok(())
    }

    fn delete(&self) -> Result<ExitStatus> {
        let mut command = self.command(&["delete", "-f"])?;
        Owned::start(&mut command)?.end(LIMIT)
    }

    /// A command line of the runtime: a verb, and the container's id.
    fn command(&self, verb: &[&str]) -> Result<Command> {
        let mut command = command(self.runtime, &self.state)?;
        command.args(verb).arg(&self.id);
        Ok(command)
    }
}

impl Drop for RunningContainer {
    fn drop(&mut self) {
        // In most cases the container was removed already.
        let _ = self.delete();
    }
}

fn command(runtime: Runtime, state: &PathBuf) -> Result<Command> {
    let program = runtime.find().with_context(|| format!("{} is not installed", runtime.name()))?;
    let mut command = Command::new(program);
    command.arg("--root").arg(state).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if runtime == Runtime::Crun {
        private_cgroup2(&mut command);
        command.arg("--cgroup-manager=disabled");
    }
    Ok(command)
}
