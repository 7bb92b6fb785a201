//! Completion values for shells: pids, reapers and containers of this host now. The code reads only `/proc` and needs
//! no capability.

use std::{collections::BTreeMap, ffi::OsStr};

use clap::{Arg, Command};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use procfs::process::{Process, Stat, all_processes};
use supervisor_claims::container_id;
use supervisor_model::words::clean;

/// The most values that a shell gets: a longer list does not help a person who has pressed TAB.
const MOST: usize = 200;
/// The number of characters of a container's id that a shell gets. Commands accept any beginning of the id.
const ID: usize = 12;

/// Adds completion values to every option and argument that takes one, in all commands.
pub(crate) fn complete(command: Command) -> Command {
    command.mut_args(with_values).mut_subcommands(complete)
}

fn with_values(arg: Arg) -> Arg {
    match arg.get_id().as_str() {
        "pid" | "pids" | "subjects" => arg.add(zombies()),
        "reaper" => arg.add(reapers()),
        "container" => arg.add(containers()),
        _ => arg,
    }
}

/// Pids of zombies.
fn zombies() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let zombie = |stat: Stat| {
            (stat.pid.to_string(), Some(format!("{}, a zombie of {}", clean(&stat.comm), stat.ppid)))
        };
        offer(typed, unreaped().map(zombie))
    })
}

/// Pids of processes that must reap a zombie.
fn reapers() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let mut counts: BTreeMap<i32, usize> = BTreeMap::new();
        for stat in unreaped() {
            *counts.entry(stat.ppid).or_default() += 1;
        }
        let reaper = |(pid, count): (i32, usize)| {
            let name = Process::new(pid).and_then(|process| process.stat()).map(|stat| clean(&stat.comm));
            (pid.to_string(), Some(format!("{}, must reap {count}", name.unwrap_or_default())))
        };
        offer(typed, counts.into_iter().map(reaper))
    })
}

/// Ids of containers that have a process.
fn containers() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let mut ids: Vec<String> = processes().filter_map(|process| container_of(&process)).collect();
        ids.sort();
        ids.dedup();
        offer(typed, ids.into_iter().map(|id| (id, None)))
    })
}

/// The values that begin with the typed text, each with its meaning.
fn offer(typed: &OsStr, all: impl Iterator<Item = (String, Option<String>)>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting = all.filter(|(value, _)| value.starts_with(&*typed)).take(MOST);
    fitting.map(|(value, help)| CompletionCandidate::new(value).help(help.map(Into::into))).collect()
}

fn container_of(process: &Process) -> Option<String> {
    let groups = process.cgroups().ok()?;
    let id = groups.into_iter().find_map(|group| container_id(&group.pathname))?;
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let is_hash = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_plain.then(|| if is_hash { id[..ID].to_owned() } else { id })
}

fn unreaped() -> impl Iterator<Item = Stat> {
    processes().filter_map(|process| process.stat().ok()).filter(|stat| stat.state == 'Z')
}

/// All readable processes. An error is left out, because a shell must not get one.
fn processes() -> impl Iterator<Item = Process> {
    all_processes().into_iter().flatten().flatten()
}
