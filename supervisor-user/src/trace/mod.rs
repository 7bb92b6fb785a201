//! What `supervisor trace` tells: a fork, exec, exit, wait or reap, with what is known of it. Pure.

pub mod text;
pub mod tree;

use std::{collections::HashMap, rc::Rc};

use supervisor_ebpf::{
    CGROUP_DEPTH, Exec, ProcessId, TRACE_EXEC, TRACE_EXIT, TRACE_FORK, TRACE_REAP, TRACE_WAIT, Traced, Wait,
};

use crate::{
    attribution::container_id,
    evidence::{self, ExecFacts},
    finding::{Exit, LastWait},
    redact::Redactor,
    words::clean,
};

/// How many control groups, and how many exits that no reap was seen of, are remembered.
const BOUND: usize = 65_536;

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
#[repr(u32)]
pub enum Kind {
    /// A process is forked
    Fork = TRACE_FORK,
    /// It executes a file
    Exec = TRACE_EXEC,
    /// Its last thread exits
    Exit = TRACE_EXIT,
    /// It waits for children
    Wait = TRACE_WAIT,
    /// It is reaped
    Reap = TRACE_REAP,
}

/// Something that happened to a process.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at_ns: u64,
    /// The process.
    pub process: Named,
    /// Where it lives, if it was seen to.
    pub pid_ns: Option<PidNs>,
    /// Its control group, if that was told.
    pub cgroup: Option<Rc<Cgroup>>,
    /// What happened.
    pub what: What,
}

/// What happened to a process.
#[derive(Clone, Debug)]
pub enum What {
    /// This one has forked it.
    Forked(Named),
    /// It has executed a file.
    Executed {
        /// As it was named to exec.
        file: String,
        /// The arguments, as far as they are kept.
        args: Vec<String>,
        /// How many there were, if that is known.
        args_count: Option<u32>,
        /// Whether there were more than are here.
        args_cut: bool,
    },
    /// It has exited, and this one must reap it.
    Exited(Exit, Named),
    /// It waits.
    Waits(LastWait),
    /// It was reaped.
    Reaped {
        /// By whom, where that is seen.
        by: Option<Named>,
        /// How long after its exit, if that was seen.
        after_ns: Option<u64>,
    },
}

impl What {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Forked(_) => Kind::Fork,
            Self::Executed { .. } => Kind::Exec,
            Self::Exited(..) => Kind::Exit,
            Self::Waits(_) => Kind::Wait,
            Self::Reaped { .. } => Kind::Reap,
        }
    }
}

/// A process by its pid and its name at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which process.
    pub id: ProcessId,
    comm: [u8; 16],
}

impl Named {
    /// Its name, as it is.
    #[must_use]
    pub fn name(&self) -> String {
        evidence::text(&self.comm)
    }

    /// Its name, harmless for a terminal.
    #[must_use]
    pub fn shown(&self) -> String {
        clean(&self.name())
    }
}

/// A place in a PID namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNs {
    /// Inode number.
    pub ino: u32,
    /// Depth; the initial one is 0.
    pub level: u32,
    /// The pid there.
    pub vpid: u32,
}

/// A control group.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path; of a deep one the innermost part, after `…`.
    pub path: String,
    /// The container that it is of.
    pub container: Option<String>,
}

impl Cgroup {
    fn new(names: &[String]) -> Self {
        let start = if names.len() < CGROUP_DEPTH { "/" } else { "…/" };
        let path = format!("{start}{}", names.join("/"));
        Self { container: container_id(&path), path }
    }
}

/// Makes events of what the kernel side tells.
#[derive(Debug, Default)]
pub struct Decoder {
    cgroups: HashMap<u64, Rc<Cgroup>>,
    exited: HashMap<ProcessId, (u64, Option<PidNs>)>,
    /// No reap is told, so that what it would say of an exit is not remembered.
    without_reaps: bool,
    redactor: Redactor,
    lost: u64,
}

impl Decoder {
    /// For a trace that tells these kinds, without secrets.
    #[must_use]
    pub fn of(kinds: &[Kind], redactor: Redactor) -> Self {
        Self { without_reaps: !kinds.contains(&Kind::Reap), redactor, ..Self::default() }
    }

    /// Remembers the path of a control group.
    pub fn cgroup(&mut self, id: u64, names: &[String]) -> Rc<Cgroup> {
        if self.cgroups.len() >= BOUND {
            self.cgroups.clear();
        }
        let names: Vec<String> = names.iter().map(|name| self.redactor.text(name.clone())).collect();
        let cgroup = Rc::new(Cgroup::new(&names));
        self.cgroups.insert(id, Rc::clone(&cgroup));
        cgroup
    }

    /// How many records were lost before this one, since the one before it.
    pub fn lost_before(&mut self, traced: &Traced) -> u64 {
        self.lost_by(traced.lost)
    }

    /// The same, from a count of all that were lost.
    pub fn lost_by(&mut self, lost: u64) -> u64 {
        // On two CPUs, a lower count may be read later.
        let new = lost.saturating_sub(self.lost);
        self.lost += new;
        new
    }

    /// A process whose name is no secret.
    fn named(&self, id: ProcessId, comm: [u8; 16]) -> Named {
        let name = evidence::text(&comm);
        let shown = self.redactor.text(name.clone());
        if shown == name {
            return Named { id, comm };
        }
        let mut comm = [0; 16];
        let length = shown.floor_char_boundary(comm.len() - 1);
        comm[..length].copy_from_slice(&shown.as_bytes()[..length]);
        Named { id, comm }
    }

    /// Reads a record; `exec` belongs to that of an exec.
    pub fn event(&mut self, traced: &Traced, exec: Option<&Exec>) -> Option<Event> {
        let mut pid_ns = (traced.pid_ns != 0).then_some(PidNs {
            ino: traced.pid_ns,
            level: traced.level,
            vpid: traced.vpid,
        });
        let other = self.named(traced.other, traced.other_comm);
        let what = match traced.kind {
            TRACE_FORK => What::Forked(other),
            TRACE_EXEC => {
                let exec = exec?;
                let ExecFacts { filename, mut args, args_note, .. } = self.redactor.exec(exec.into());
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
        Some(Event {
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
    fn a_reap_is_told_with_what_the_exit_has_told() {
        let mut decoder = Decoder::default();
        let exit = decoder.event(&Traced { value: 9, ..traced(TRACE_EXIT, 5, 1000) }, None).unwrap();
        assert!(matches!(exit.what, What::Exited(Exit::Signal { number: 9, core_dumped: false }, _)));
        let reap = traced(TRACE_REAP, 5, 4000);
        let reaped = decoder.event(&Traced { pid_ns: 0, ..reap }, None).unwrap();
        assert!(matches!(reaped.what, What::Reaped { by: None, after_ns: Some(3000) }));
        assert_eq!(reaped.pid_ns, Some(PidNs { ino: 7, level: 1, vpid: 2 }));
        assert_eq!(reaped.process.name(), "crun");
        // Of another exit with that pid nothing is left.
        let again = decoder.event(&reap, None).unwrap();
        assert!(matches!(again.what, What::Reaped { after_ns: None, .. }));
    }

    #[test]
    fn each_loss_is_told_once() {
        let mut decoder = Decoder::default();
        let mut at = |lost| decoder.lost_before(&Traced { lost, ..traced(TRACE_FORK, 1, 1) });
        assert_eq!([at(0), at(3), at(2), at(3), at(10)], [0, 3, 0, 0, 7]);
    }

    #[test]
    fn a_control_group_names_its_container() {
        let id = "a".repeat(64);
        let names = ["machine.slice".to_owned(), format!("libpod-{id}.scope"), "container".to_owned()];
        let cgroup = Cgroup::new(&names);
        assert_eq!(cgroup.path, format!("/machine.slice/libpod-{id}.scope/container"));
        assert_eq!(cgroup.container.as_ref(), Some(&id));
        let deep: Vec<String> = (0..CGROUP_DEPTH).map(|i| i.to_string()).collect();
        assert_eq!(Cgroup::new(&deep), Cgroup { path: "…/0/1/2/3/4/5".to_owned(), container: None });
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
        // The last one is not whole.
        assert_eq!((file.as_str(), args), ("/a\u{fffd}", vec!["a".to_owned()]));
        assert_eq!((args_count, args_cut), (None, true));
    }
}
