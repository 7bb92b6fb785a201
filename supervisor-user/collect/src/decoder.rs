//! Makes events from the records of a trace.

use std::{collections::HashMap, rc::Rc};

use supervisor_claims::container_id;
use supervisor_ebpf::{
    CGROUP_DEPTH, Exec, ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT, Traced, Wait,
};
use supervisor_model::{
    evidence::{ExecFacts, text},
    finding::{Exit, LastWait},
    redact::Redactor,
    trace::{Cgroup, NamedProcess, PidInNamespace, TraceEvent, TraceKind, What},
};

use crate::redacted;

/// How many control groups are remembered, and how many exits whose reap was not seen.
const BOUND: usize = 65_536;

/// The control group whose path has these names, the outermost first.
fn cgroup_of(names: &[String]) -> Cgroup {
    let start = if names.len() < CGROUP_DEPTH { "/" } else { "…/" };
    let path = format!("{start}{}", names.join("/"));
    Cgroup { container: container_id(&path), path }
}

/// Makes events from the records of the kernel side.
#[derive(Debug, Default)]
pub struct Decoder {
    cgroups: HashMap<u64, Rc<Cgroup>>,
    exited: HashMap<ProcessId, (u64, Option<PidInNamespace>)>,
    /// The trace reports no reaps, so the exits are not remembered for them.
    without_reaps: bool,
    redactor: Redactor,
    lost: u64,
}

impl Decoder {
    /// A decoder for a trace that reports these kinds of events. It removes secrets.
    #[must_use]
    pub fn of(kinds: &[TraceKind], redactor: Redactor) -> Self {
        Self { without_reaps: !kinds.contains(&TraceKind::Reap), redactor, ..Self::default() }
    }

    /// Remembers the path of a control group.
    pub fn cgroup(&mut self, id: u64, names: &[String]) -> Rc<Cgroup> {
        if self.cgroups.len() >= BOUND {
            self.cgroups.clear();
        }
        let names: Vec<String> = names.iter().map(|name| self.redactor.text(name.clone())).collect();
        let cgroup = Rc::new(cgroup_of(&names));
        self.cgroups.insert(id, Rc::clone(&cgroup));
        cgroup
    }

    /// How many records were lost between the previous record and this one.
    pub fn lost_before(&mut self, traced: &Traced) -> u64 {
        self.lost_by(traced.lost)
    }

    /// The same, from the count of all lost records.
    pub fn lost_by(&mut self, lost: u64) -> u64 {
        // The records of two CPUs can arrive in an order in which a lower count comes later.
        let new = lost.saturating_sub(self.lost);
        self.lost += new;
        new
    }

    /// A process with its name, without secrets.
    fn named(&self, id: ProcessId, comm: [u8; 16]) -> NamedProcess {
        let name = text(&comm);
        let shown = self.redactor.text(name.clone());
        if shown == name {
            return NamedProcess { id, comm };
        }
        let mut comm = [0; 16];
        let length = shown.floor_char_boundary(comm.len() - 1);
        comm[..length].copy_from_slice(&shown.as_bytes()[..length]);
        NamedProcess { id, comm }
    }

    /// Decodes a record; `exec` is the second part of the record of an exec.
    pub fn event(&mut self, traced: &Traced, exec: Option<&Exec>) -> Option<TraceEvent> {
        let mut pid_ns = (traced.pid_ns != 0).then_some(PidInNamespace {
            ino: traced.pid_ns,
            level: traced.level,
            vpid: traced.vpid,
        });
        let other = self.named(traced.other, traced.other_comm);
        let what = match traced.kind {
            TRACE_FORK => What::Forked(other),
            TRACE_EXEC => {
                let exec = exec?;
                let ExecFacts { filename, mut args, args_note, .. } =
                    redacted::exec(&self.redactor, exec.into());
                args.truncate(args_note.shown.map_or(usize::MAX, |shown| shown as usize));
                What::Executed {
                    file: filename,
                    args,
                    args_count: args_note.count,
                    args_cut: args_note.is_cut,
                }
            }
            TRACE_EXIT => {
                if self.exited.len() >= BOUND {
                    self.exited.clear();
                }
                if !self.without_reaps {
                    self.exited.insert(traced.id, (traced.at_ns, pid_ns));
                }
                What::Exited(Exit::from_wait_status(traced.value as i32), other)
            }
            TRACE_WAIT => {
                let wait = Wait { at_ns: traced.at_ns, request: traced.value, ..Wait::default() };
                What::Waits(LastWait::of(&wait))
            }
            TRACE_REAP => {
                let exited = self.exited.remove(&traced.id);
                pid_ns = exited.and_then(|(_, ns)| ns);
                let after_ns = exited.map(|(exit_ns, _)| traced.at_ns.saturating_sub(exit_ns));
                What::Reaped { by: traced.other.is_known().then_some(other), after_ns }
            }
            _ => return None,
        };
        Some(TraceEvent {
            at_ns: traced.at_ns,
            process: self.named(traced.id, traced.comm),
            pid_ns,
            cgroup: self.cgroups.get(&traced.cgroup).cloned(),
            what,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(kind: u32, pid: u32, at_ns: u64) -> Traced {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"crun");
        Traced {
            kind,
            at_ns,
            id: ProcessId::new(pid, 1),
            comm,
            pid_ns: 7,
            vpid: 2,
            level: 1,
            ..Traced::default()
        }
    }

    #[test]
    fn a_reap_gets_its_namespace_and_delay_from_the_exit_record() {
        let mut decoder = Decoder::default();
        let exit = decoder.event(&Traced { value: 9, ..traced(TRACE_EXIT, 5, 1000) }, None).unwrap();
        assert!(matches!(exit.what, What::Exited(Exit::Signal { number: 9, core_dumped: false }, _)));
        let reap = traced(TRACE_REAP, 5, 4000);
        let reaped = decoder.event(&Traced { pid_ns: 0, ..reap }, None).unwrap();
        assert!(matches!(reaped.what, What::Reaped { by: None, after_ns: Some(3000) }));
        assert_eq!(reaped.pid_ns, Some(PidInNamespace { ino: 7, level: 1, vpid: 2 }));
        assert_eq!(reaped.process.name(), "crun");
        // The exit is forgotten: another reap with the same pid gets nothing from it.
        let again = decoder.event(&reap, None).unwrap();
        assert!(matches!(again.what, What::Reaped { after_ns: None, .. }));
    }

    #[test]
    fn each_loss_is_reported_once() {
        let mut decoder = Decoder::default();
        let mut at = |lost| decoder.lost_before(&Traced { lost, ..traced(TRACE_FORK, 1, 1) });
        assert_eq!([at(0), at(3), at(2), at(3), at(10)], [0, 3, 0, 0, 7]);
    }

    #[test]
    fn a_control_group_names_its_container() {
        let id = "a".repeat(64);
        let names = ["machine.slice".to_owned(), format!("libpod-{id}.scope"), "container".to_owned()];
        let cgroup = cgroup_of(&names);
        assert_eq!(cgroup.path, format!("/machine.slice/libpod-{id}.scope/container"));
        assert_eq!(cgroup.container.as_ref(), Some(&id));
        let deep: Vec<String> = (0..CGROUP_DEPTH).map(|i| i.to_string()).collect();
        assert_eq!(cgroup_of(&deep), Cgroup { path: "…/0/1/2/3/4/5".to_owned(), container: None });
    }

    #[test]
    fn an_exec_says_that_arguments_are_missing() {
        let mut exec = Exec {
            at_ns: 1,
            previous_ns: 0,
            argv_total: 2000,
            argv_len: 4,
            uid: 0,
            level: 0,
            filename: [0; 256],
            previous: [0; 128],
            argv: [0; 1024],
        };
        exec.filename[..4].copy_from_slice(b"/a\xff\0");
        exec.argv[..4].copy_from_slice(b"a\0b\0");
        let event = Decoder::default().event(&traced(TRACE_EXEC, 1, 1), Some(&exec)).unwrap();
        let What::Executed { file, args, args_count, args_cut } = event.what else { panic!("no exec") };
        // The last argument is not complete.
        assert_eq!((file.as_str(), args), ("/a\u{fffd}", vec!["a".to_owned()]));
        assert_eq!((args_count, args_cut), (None, true));
    }
}
