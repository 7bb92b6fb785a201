//! A reaper that is interrupted in any call goes on as if it had not been: each is stopped again and again within one call.
//!
//! `REAP_TIMES=200` repeats each as often.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use supervisor_tests::{Fixture, WAIT_LIMIT, child_of, fixture};
use supervisor_user::scenario::{Owned, until};

use super::{reaps, times, zombies};

/// Calls that the fixture can be in.
pub(super) const CALLS: [&str; 13] = [
    "nanosleep",
    "poll",
    "futex-timed",
    "futex",
    "epoll",
    "read",
    "accept",
    "wait4",
    "sigsuspend",
    "pselect",
    "io_uring_enter",
    "busy",
    "handler",
];

fn make_it_wait(reaper: u32, count: u64) -> Result<()> {
    let output = reaps(reaper, &zombies(reaper, count)?, 0)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn goes_on(mut fixture: Fixture, reaper: u32, count: u64) -> Result<()> {
    fixture.fact("ready")?;
    make_it_wait(reaper, count)?;
    fixture.send("go on")?;
    fixture.fact("continued")?;
    fixture.end()
}

#[test]
fn a_reaper_goes_on_in_whatever_call_it_was() -> Result<()> {
    let count = times(5)?;
    for call in CALLS {
        let fixture = fixture!("interrupted", call, &count.to_string())?;
        let reaper = fixture.pid();
        goes_on(fixture, reaper, count).with_context(|| call.to_owned())?;
    }
    Ok(())
}

#[test]
fn a_reaper_in_other_namespaces_goes_on() -> Result<()> {
    let count = times(5)?;
    let program = env!("CARGO_BIN_EXE_fixture");
    let text = count.to_string();
    let args = ["--pid", "--mount", "--fork", "--kill-child", program, "interrupted", "epoll", &text];
    let fixture = Fixture::start("unshare", &args)?;
    let reaper = child_of(fixture.pid(), "the fixture", |it| it.comm == "fixture")?.pid;
    goes_on(fixture, reaper, count)
}

#[test]
fn a_reaper_under_a_seccomp_filter_that_allows_it_goes_on() -> Result<()> {
    let fixture = fixture!("filtered", "allows-wait")?;
    let reaper = fixture.pid();
    goes_on(fixture, reaper, 1)
}

#[test]
fn a_seccomp_filter_that_forbids_the_wait_is_respected() -> Result<()> {
    let mut fixture = fixture!("filtered", "forbids-wait")?;
    fixture.fact("ready")?;
    let output = reaps(fixture.pid(), &zombies(fixture.pid(), 1)?, 0)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(error.contains("its seccomp filter does not allow wait4"), "{error}");
    fixture.send("go on")?;
    fixture.fact("continued")?;
    fixture.end()
}

/// A program that has zombies from before its exec.
struct Heir {
    process: Owned,
    started: Instant,
}

impl Heir {
    /// Starts the program of the distribution: what `PATH` has may be a script that looks for another one.
    fn start(count: u64, program: &str, args: &[&str]) -> Result<Self> {
        let program = format!("/usr/bin/{program}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixture"));
        command.args(["leaves-zombies-to", &count.to_string(), &program]).args(args).stdout(Stdio::piped());
        let started = Instant::now();
        Ok(Self { process: Owned::start(&mut command)?, started })
    }

    /// Waits until it runs the program and sleeps, and makes it wait.
    fn make_it_wait(&self, name: &str, count: u64) -> Result<()> {
        let pid = self.process.pid();
        // Python before 3.11 sleeps in select.
        let calls = [libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_select, libc::SYS_pselect6];
        let sleeps = calls.map(|call| format!("{call} "));
        until("the program to sleep", WAIT_LIMIT, || {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
            let call = std::fs::read_to_string(format!("/proc/{pid}/syscall"))?;
            let is_asleep = comm.trim() == name && sleeps.iter().any(|it| call.starts_with(it));
            Ok(is_asleep.then_some(()))
        })?;
        make_it_wait(pid, count)
    }

    /// What it says, and how long it has run.
    fn end(mut self) -> Result<(String, Duration)> {
        let mut pipe = self.process.child().stdout.take().context("no pipe")?;
        let status = self.process.end(WAIT_LIMIT)?;
        let lasted = self.started.elapsed();
        let mut said = String::new();
        pipe.read_to_string(&mut said)?;
        if !status.success() {
            bail!("it ended with {status}: {said}");
        }
        Ok((said, lasted))
    }
}

/// How long a program sleeps that is stopped so often meanwhile.
fn seconds(count: u64) -> u32 {
    5 + u32::try_from(count / 10).unwrap_or(u32::MAX - 5)
}

#[test]
fn python_sleeps_to_the_end() -> Result<()> {
    let count = times(5)?;
    let seconds = seconds(count);
    let script =
        format!("import time; a = time.monotonic(); time.sleep({seconds}); print(time.monotonic() - a)");
    let heir = Heir::start(count, "python3", &["-c", &script])?;
    heir.make_it_wait("python3", count)?;
    let (said, _) = heir.end()?;
    let slept: f64 = said.trim().parse()?;
    let wanted = f64::from(seconds);
    ensure!((wanted..wanted + 1.0).contains(&slept), "it slept {slept} s, and not {wanted}");
    Ok(())
}

#[test]
fn busybox_sleeps_to_the_end() -> Result<()> {
    let count = times(5)?;
    let length = Duration::from_secs(seconds(count).into());
    let heir = Heir::start(count, "busybox", &["sleep", &length.as_secs().to_string()])?;
    heir.make_it_wait("busybox", count)?;
    let (_, lasted) = heir.end()?;
    ensure!(lasted >= length, "it slept {lasted:?}");
    Ok(())
}
