//! Tests that a reaper that is interrupted in any call goes on as if there had been no interruption. Each reaper is
//! stopped again and again within one call.
//!
//! `REAP_TIMES=200` repeats each call 200 times.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use supervisor_lab::{Owned, stat, until, zombies_of};
use supervisor_tests::{Fixture, WAIT_LIMIT, child_of, fixture};

use super::{continues, reaps, times, zombies};

/// Calls that the fixture can be in.
pub(super) const CALLS: [&str; 14] = [
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
    "alternate-stack",
];

fn make_it_wait(reaper: u32, count: u64) -> Result<()> {
    let output = reaps(reaper, &zombies(reaper, count)?, 0)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn goes_on(fixture: Fixture, reaper: u32, count: u64) -> Result<()> {
    fixture.fact("ready")?;
    make_it_wait(reaper, count)?;
    continues(fixture)
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
    for call in ["epoll", "nanosleep", "wait4"] {
        let args = ["--pid", "--mount", "--fork", "--kill-child", program, "interrupted", call, &text];
        let fixture = Fixture::start("unshare", &args)?;
        let reaper = child_of(fixture.pid(), "the fixture", |it| it.comm == "fixture")?.pid;
        goes_on(fixture, reaper, count).with_context(|| call.to_owned())?;
    }
    Ok(())
}

/// Frees all zombies of a reaper by `supervisor reap`, and lets the reaper go on.
fn freed_by_the_command(fixture: Fixture, count: u64) -> Result<()> {
    let reaper = fixture.pid().to_string();
    let (events, code) = super::reap_json(&["--reaper", &reaper, "--force", "--yes", "--no-nudge"])?;
    ensure!(code == Some(0) && events.len() as u64 == count, "{code:?}: {events:#?}");
    for event in &events {
        assert_eq!(event.text("supervisor.reap.outcome")?, "freed", "{}", event.0);
        assert_eq!(event.pid("supervisor.reap.reaper.pid")?, fixture.pid());
    }
    ensure!(zombies_of(fixture.pid())?.is_empty(), "zombies are left");
    continues(fixture)
}

/// The main thread cannot be interrupted until the child that it has made by vfork ends.
#[test]
fn another_thread_waits_while_the_main_thread_is_in_vfork() -> Result<()> {
    let count = times(5)?;
    let fixture = fixture!("interrupted", "vfork", &count.to_string())?;
    fixture.fact("ready")?;
    let main = fixture.pid();
    until("the main thread to sleep in vfork", WAIT_LIMIT, || {
        Ok(stat(main).is_some_and(|it| it.state == 'D').then_some(()))
    })?;
    zombies(main, count)?;
    freed_by_the_command(fixture, count)
}

/// The files of the process in `/proc` are empty then. Those of its other threads are not.
#[test]
fn another_thread_waits_after_the_main_thread_has_exited() -> Result<()> {
    let count = times(5)?;
    let fixture = fixture!("without-main-thread", &count.to_string())?;
    fixture.fact("ready")?;
    zombies(fixture.pid(), count)?;
    freed_by_the_command(fixture, count)
}

#[test]
fn a_reaper_under_a_seccomp_filter_that_allows_it_goes_on() -> Result<()> {
    let count = times(5)?;
    let fixture = fixture!("filtered", "allows-wait", &count.to_string())?;
    let reaper = fixture.pid();
    goes_on(fixture, reaper, count)
}

#[test]
fn a_seccomp_filter_that_forbids_the_wait_is_respected() -> Result<()> {
    let fixture = fixture!("filtered", "forbids-wait")?;
    fixture.fact("ready")?;
    let output = reaps(fixture.pid(), &zombies(fixture.pid(), 1)?, 0)?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(error.contains("its seccomp filter does not allow wait4"), "{error}");
    continues(fixture)
}

/// A program that has zombies from before its exec.
struct Heir {
    process: Owned,
    started: Instant,
}

impl Heir {
    /// Starts the program of the distribution. The one in `PATH` may be a script that searches for another one.
    fn start(count: u64, program: &str, args: &[&str]) -> Result<Self> {
        Self::start_file(count, Path::new("/usr/bin").join(program).as_path(), args)
    }

    fn start_file(count: u64, program: &Path, args: &[&str]) -> Result<Self> {
        ensure!(program.exists(), "{} is not there: `cargo xtask setup` installs it", program.display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_fixture"));
        command
            .args(["leaves-zombies-to", &count.to_string()])
            .arg(program)
            .args(args)
            .stdout(Stdio::piped());
        let started = Instant::now();
        Ok(Self { process: Owned::start(&mut command)?, started })
    }

    /// Waits until it runs the program and sleeps, and makes it wait.
    fn make_it_wait(&self, name: &str, count: u64) -> Result<()> {
        self.until_asleep(name)?;
        make_it_wait(self.process.pid(), count)
    }

    /// Waits until it runs the program and a thread of it sleeps.
    fn until_asleep(&self, name: &str) -> Result<()> {
        let pid = self.process.pid();
        // Python before 3.11 sleeps in select.
        let calls = [libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_select, libc::SYS_pselect6];
        let sleeps = calls.map(|call| format!("{call} "));
        until("the program to sleep", WAIT_LIMIT, || {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"))?;
            let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
            // That of a thread that has exited cannot be read.
            let calls = threads.filter_map(|it| std::fs::read_to_string(it.path().join("syscall")).ok());
            let is_sleep = |call: String| sleeps.iter().any(|it| call.starts_with(it));
            Ok((comm.trim() == name && calls.into_iter().any(is_sleep)).then_some(()))
        })
    }

    /// Its output, and how long it has run.
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

/// How many seconds a program sleeps that is stopped this many times meanwhile.
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

/// Sleeps in its first goroutine while others compute and one runs commands. It fails if the exit status of a command
/// is lost.
const GO: &str = r#"package main

import ("fmt"; "os"; "os/exec"; "time")

func main() {
	length, _ := time.ParseDuration(os.Args[1])
	for i := 0; i < 2; i++ {
		go func() { for n := 0; ; n++ { _ = fmt.Sprint(n); time.Sleep(time.Millisecond) } }()
	}
	failed := make(chan error, 1)
	go func() {
		for { if err := exec.Command("/bin/true").Run(); err != nil { failed <- err } }
	}()
	start := time.Now()
	fmt.Println("ready")
	select {
	case err := <-failed:
		fmt.Println(err)
		os.Exit(1)
	case <-time.After(length):
		fmt.Println(time.Since(start).Seconds())
	}
}
"#;

#[test]
fn go_sleeps_to_the_end_and_loses_no_command() -> Result<()> {
    let count = times(5)?;
    let dir = tempfile::tempdir()?;
    let (source, program) = (dir.path().join("main.go"), dir.path().join("heir"));
    std::fs::write(&source, GO)?;
    let mut go = Command::new("go");
    go.arg("build").arg("-o").arg(&program).arg(&source).env("GOCACHE", dir.path().join("cache"));
    go.env("GOFLAGS", "").env("GO111MODULE", "off").current_dir(dir.path());
    let built = go.output().context("go cannot be started: install golang-go")?;
    ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let wanted = f64::from(seconds(count));
    let mut heir = Heir::start_file(count, &program, &[&format!("{wanted}s")])?;
    let mut said = BufReader::new(heir.process.child().stdout.take().context("no pipe")?).lines();
    ensure!(said.next().context("it ended")?? == "ready");
    let pid = heir.process.pid();
    // Its own commands are zombies for a moment too, and have another name.
    let inherited = || -> Result<Vec<u32>> {
        let zombies = zombies_of(pid)?.into_iter().filter(|zombie| zombie.comm == "fixture");
        Ok(zombies.map(|zombie| zombie.pid).collect())
    };
    until("its first thread to be on the stack that the kernel made", WAIT_LIMIT, || {
        let output = reaps(pid, &inherited()?, 0)?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() || error.contains("its stack was placed by the program"), "{error}");
        Ok(inherited()?.is_empty().then_some(()))
    })?;
    let slept = said.next().context("it ended")??;
    let status = heir.process.end(WAIT_LIMIT)?;
    ensure!(status.success(), "it ended with {status}: {slept}");
    let slept: f64 = slept.parse()?;
    ensure!((wanted..wanted + 1.0).contains(&slept), "it slept {slept} s, and not {wanted}");
    Ok(())
}

/// Sleeps in its main thread, or in another one after its main thread has exited.
const C: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void *sleeps(void *length) {
    struct timespec time = {atoi(length), 0}, from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    if (nanosleep(&time, 0)) exit(1);
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%f\n", to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) / 1e9);
    exit(0);
}

int main(int count, char **args) {
    pthread_t thread;
    if (count == 2) sleeps(args[1]);
    if (pthread_create(&thread, 0, sleeps, args[1])) return 2;
    pthread_exit(0);
}
"#;

/// Its C library has other stacks, other data of threads, and another way out of a signal handler.
#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_musl_sleep_to_the_end() -> Result<()> {
    let count = times(5)?;
    let dir = tempfile::tempdir()?;
    let source = dir.path().join("sleeps.c");
    std::fs::write(&source, C)?;
    for link in [&["-static"][..], &[]] {
        let program = dir.path().join("sleeps");
        let built =
            Command::new("musl-gcc").args(link).args(["-O2", "-o"]).arg(&program).arg(&source).output();
        let built = built.context("musl-gcc cannot be started: install musl-tools")?;
        ensure!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let length = seconds(count);
        for more in [&[][..], &["thread"]] {
            let text = length.to_string();
            let heir = Heir::start_file(count, &program, &[&[&*text], more].concat())?;
            heir.until_asleep("sleeps")?;
            make_it_wait(heir.process.pid(), count)?;
            let (said, _) = heir.end().with_context(|| format!("{link:?} {more:?}"))?;
            let (slept, wanted): (f64, f64) = (said.trim().parse()?, length.into());
            ensure!((wanted..wanted + 1.0).contains(&slept), "{link:?} {more:?} slept {slept} s");
        }
    }
    Ok(())
}

/// The JRE's own server: many threads, a garbage collector, and compiled code.
#[test]
fn java_goes_on_to_serve() -> Result<()> {
    let count = times(5)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let heir = Heir::start(count, "rmiregistry", &[&port.to_string()])?;
    let serves =
        || -> Result<()> { until("the registry to serve", WAIT_LIMIT, || Ok(shakes_hands(port).ok())) };
    serves()?;
    make_it_wait(heir.process.pid(), count)?;
    serves()?;
    ensure!(zombies_of(heir.process.pid())?.is_empty(), "zombies are left");
    // It serves until it is ended: it is dropped here.
    Ok(())
}

/// The first bytes of Java's remote method invocation, and its answer.
fn shakes_hands(port: u16) -> Result<()> {
    const ACKNOWLEDGED: u8 = 0x4e;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(WAIT_LIMIT))?;
    stream.write_all(b"JRMI\x00\x02\x4b")?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    ensure!(answer[0] == ACKNOWLEDGED, "it answered {answer:?}");
    Ok(())
}

/// The reaper's name can be any bytes.
#[test]
fn a_reaper_whose_name_is_no_utf_8_is_made_to_wait() -> Result<()> {
    let fixture = fixture!("hostile-name", "1")?;
    let zombie = fixture.next("zombie")?.pid("pid")?.to_string();
    let (events, code) = super::reap_json(&["--force", "--yes", "--no-nudge", &zombie])?;
    let [event] = &events[..] else { bail!("one zombie was to be freed: {events:#?}") };
    ensure!(code == Some(0) && event.text("supervisor.reap.outcome")? == "freed", "{}", event.0);
    Ok(())
}
