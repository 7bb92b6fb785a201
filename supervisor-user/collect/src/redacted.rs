//! Wraps a host and returns its facts without secrets. The rules are in [`supervisor_model::redact`].

use std::{collections::BTreeMap, io};

use supervisor_claims::names_containers;
use supervisor_model::{
    evidence::{ExecFacts, Task},
    facts::{
        ArgsNote, CpuFacts, HostIdentity, NotRead, OciFacts, OciPlaces, PidBudget, PipeWriters, ProcessFacts,
        RemoteMount, ThreadCall, ThreadFacts,
    },
    redact::{ArgsMode, Redactor},
};

use crate::host::{Arguments, Host, ReadsLost};

/// A host whose facts come without secrets.
#[derive(Clone, Copy)]
pub struct Redacted<'a> {
    host: &'a dyn Host,
    redactor: &'a Redactor,
}

impl<'a> Redacted<'a> {
    /// Applies a redactor to a host.
    #[must_use]
    pub fn new(host: &'a dyn Host, redactor: &'a Redactor) -> Self {
        Self { host, redactor }
    }

    /// Redacts a name that the kernel side has reported.
    #[must_use]
    pub fn text(&self, text: String) -> String {
        self.redactor.text(text)
    }

    /// Redacts an exec that the kernel side has reported.
    #[must_use]
    pub fn exec(&self, exec: ExecFacts) -> ExecFacts {
        self::exec(self.redactor, exec)
    }

    /// Redacts a record of the task iterator.
    #[must_use]
    pub fn task(&self, task: Task) -> Task {
        let cgroup = task.cgroup.map(|names| {
            let redacted: Vec<String> = names.iter().map(|name| self.text(name.clone())).collect();
            if redacted == *names { names } else { redacted.into() }
        });
        Task { cgroup, ..task }
    }
}

/// Redacts an exec, and keeps as many of its arguments as the redactor's mode allows.
#[must_use]
pub fn exec(redactor: &Redactor, exec: ExecFacts) -> ExecFacts {
    let names_containers = names_containers(&exec);
    let (args, args_note) = arguments(redactor, &exec.args, exec.args_note, names_containers);
    ExecFacts {
        filename: redactor.path(&exec.filename),
        previous: exec.previous.map(|it| redactor.path(&it)),
        args,
        args_note,
        ..exec
    }
}

fn process(redactor: &Redactor, facts: ProcessFacts) -> ProcessFacts {
    ProcessFacts {
        comm: redactor.text(facts.comm),
        exe: facts.exe.map(|it| redactor.path(&it)),
        cgroup: facts.cgroup.map(|it| redactor.path(&it)),
        ..facts
    }
}

/// Keeps as many arguments as the mode allows. The arguments of runtimes and monitors name containers, so they all
/// stay, and the note says how many may be shown.
fn arguments(
    redactor: &Redactor,
    args: &[String],
    note: ArgsNote,
    names_containers: bool,
) -> (Vec<String>, ArgsNote) {
    let mut args = redactor.list(args);
    let shown = match redactor.mode() {
        ArgsMode::Full | ArgsMode::Redacted => return (args, note),
        ArgsMode::Program => 1,
        ArgsMode::None => 0,
    };
    let note = ArgsNote { shown: Some(shown), is_cut: note.is_cut || args.len() > shown as usize, ..note };
    if !names_containers {
        args.truncate(shown as usize);
    }
    (args, note)
}

fn oci(redactor: &Redactor, facts: OciFacts) -> OciFacts {
    let annotations: BTreeMap<String, String> =
        facts.annotations.into_iter().map(|(key, value)| (key, redactor.text(value))).collect();
    OciFacts {
        source: redactor.path(&facts.source),
        id: facts.id.map(|it| redactor.text(it)),
        name: facts.name.map(|it| redactor.text(it)),
        bundle: facts.bundle.map(|it| redactor.path(&it)),
        args: arguments(redactor, &facts.args, ArgsNote::default(), false).0,
        pid_ns_path: facts.pid_ns_path.map(|it| redactor.path(&it)),
        annotations,
        ..facts
    }
}

impl Host for Redacted<'_> {
    fn process(&self, pid: u32) -> io::Result<Option<ProcessFacts>> {
        Ok(self.host.process(pid)?.map(|facts| process(self.redactor, facts)))
    }

    fn was_not_read(&self) -> bool {
        self.host.was_not_read()
    }

    fn arguments(&self, facts: &ProcessFacts) -> Result<Arguments, NotRead> {
        let (args, note) = self.host.arguments(facts)?;
        let exec = ExecFacts { filename: facts.exe.clone().unwrap_or_default(), ..ExecFacts::default() };
        Ok(arguments(self.redactor, &args, note, names_containers(&exec)))
    }

    fn reads_lost(&self) -> ReadsLost {
        self.host.reads_lost()
    }

    fn thread_group(&self, tid: u32) -> Option<u32> {
        self.host.thread_group(tid)
    }

    fn is_there(&self, pid: u32, start_ticks: u64) -> bool {
        self.host.is_there(pid, start_ticks)
    }

    fn pids(&self) -> io::Result<Vec<u32>> {
        self.host.pids()
    }

    fn threads(&self, pid: u32) -> io::Result<Vec<ThreadFacts>> {
        let threads = self.host.threads(pid)?;
        Ok(threads.into_iter().map(|it| ThreadFacts { comm: self.text(it.comm), ..it }).collect())
    }

    fn calls(&self, pid: u32) -> Vec<ThreadCall> {
        self.host.calls(pid)
    }

    fn has_io_uring(&self, pid: u32) -> Option<bool> {
        self.host.has_io_uring(pid)
    }

    fn pipe_writers(&self) -> Option<PipeWriters> {
        self.host.pipe_writers()
    }

    fn cpu(&self, pid: u32) -> Option<CpuFacts> {
        self.host.cpu(pid)
    }

    fn cgroup(&self, pid: u32) -> Option<String> {
        self.host.cgroup(pid).map(|it| self.redactor.path(&it))
    }

    fn frozen(&self, pid: u32) -> Option<String> {
        self.host.frozen(pid).map(|it| self.redactor.path(&it))
    }

    fn remote_mounts(&self, tid: u32) -> Vec<RemoteMount> {
        let redacted = |mount: RemoteMount| RemoteMount {
            source: self.redactor.path(&mount.source),
            mount_point: self.redactor.path(&mount.mount_point),
            ..mount
        };
        self.host.remote_mounts(tid).into_iter().map(redacted).collect()
    }

    fn pid_budget(&self, pid: u32, v1_group: Option<&str>, neighbour: Option<u32>) -> Option<PidBudget> {
        let budget = self.host.pid_budget(pid, v1_group, neighbour)?;
        Some(PidBudget { source: self.redactor.path(&budget.source), ..budget })
    }

    fn is_roots_file(&self, path: &str) -> Option<bool> {
        self.host.is_roots_file(path)
    }

    fn oci(&self, places: &[OciPlaces]) -> Result<Option<OciFacts>, NotRead> {
        Ok(self.host.oci(places)?.map(|facts| oci(self.redactor, facts)))
    }

    fn identity(&self) -> &HostIdentity {
        self.host.identity()
    }
}

#[cfg(test)]
mod tests {
    use supervisor_model::redact::RedactConfig;

    use super::*;

    fn exec(mode: ArgsMode, filename: &str, args: &[&str]) -> ExecFacts {
        let redactor = Redactor::new(&RedactConfig { args: mode, patterns: Vec::new() }).unwrap();
        super::exec(
            &redactor,
            ExecFacts {
                filename: filename.to_owned(),
                args: args.iter().map(|it| (*it).to_owned()).collect(),
                args_note: ArgsNote { count: Some(args.len() as u32), ..ArgsNote::default() },
                ..ExecFacts::default()
            },
        )
    }

    #[test]
    fn each_mode_keeps_its_arguments_and_reports_how_many_there_were() {
        let args = ["/bin/a", "--token=x", "b"];
        for (mode, expected, is_cut) in [
            (ArgsMode::Full, &args[..], false),
            (ArgsMode::Redacted, &["/bin/a", "--token=[redacted]", "b"], false),
            (ArgsMode::Program, &["/bin/a"], true),
            (ArgsMode::None, &[], true),
        ] {
            let exec = exec(mode, "/bin/a", &args);
            assert_eq!(exec.args, expected);
            assert_eq!((exec.args_note.count, exec.args_note.is_cut), (Some(3), is_cut));
        }
    }

    #[test]
    fn a_runtime_keeps_the_arguments_that_name_its_container() {
        let exec = exec(ArgsMode::None, "/usr/bin/crun", &["crun", "create", "--token", "x", "web"]);
        assert_eq!(exec.args, ["crun", "create", "--token", "[redacted]", "web"]);
        assert_eq!(exec.args_note.shown, Some(0));
    }
}
