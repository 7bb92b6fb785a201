//! Nothing stays attached in the kernel, however `watch` ends.

use std::{collections::BTreeSet, fs, io};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use supervisor_lab::until;
use supervisor_tests::{WAIT_LIMIT, Watch};

/// `BPF_PROG_GET_NEXT_ID`, `include/uapi/linux/bpf.h`.
const PROG_GET_NEXT_ID: libc::c_int = 11;
/// `BPF_LINK_GET_NEXT_ID`.
const LINK_GET_NEXT_ID: libc::c_int = 31;

/// The part of `union bpf_attr` that these commands use.
#[repr(C)]
#[derive(Default)]
struct NextId {
    start: u32,
    next: u32,
    open_flags: u32,
}

/// The ids of all programs, or all links, in the kernel.
fn ids(command: libc::c_int) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut attr = NextId::default();
    loop {
        // SAFETY: the kernel reads and writes `attr` only, and its size is given.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of::<NextId>()) };
        if result == 0 {
            ids.insert(attr.next);
            attr.start = attr.next;
            continue;
        }
        let error = io::Error::last_os_error();
        ensure!(error.raw_os_error() == Some(libc::ENOENT), "bpf({command}): {error}");
        return Ok(ids);
    }
}

/// The ids that follow this name in the `fdinfo` of a process's descriptors.
fn held(pid: u32, name: &str) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let info = fs::read_to_string(entry?.path())?;
        ids.extend(info.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

fn nothing_left_after(end: impl FnOnce(Watch) -> Result<()>) -> Result<()> {
    let watch = Watch::start(&[])?;
    let programs = held(watch.pid(), "prog_id:")?;
    let links = held(watch.pid(), "link_id:")?;
    println!("programs {programs:?}, links {links:?}");
    ensure!(programs.len() >= 5, "watch holds only {} programs", programs.len());
    ensure!(programs.is_subset(&ids(PROG_GET_NEXT_ID)?) && links.is_subset(&ids(LINK_GET_NEXT_ID)?));
    end(watch)?;
    // The kernel frees them in the background.
    until("programs and links to go", WAIT_LIMIT, || {
        let gone =
            programs.is_disjoint(&ids(PROG_GET_NEXT_ID)?) && links.is_disjoint(&ids(LINK_GET_NEXT_ID)?);
        Ok(gone.then_some(()))
    })
}

#[test]
fn nothing_stays_attached_after_kill_9() -> Result<()> {
    nothing_left_after(|watch| watch.kill().map(drop))
}

#[test]
fn nothing_stays_attached_after_ctrl_c() -> Result<()> {
    nothing_left_after(|watch| watch.stop_with(Signal::INT).map(drop))
}
