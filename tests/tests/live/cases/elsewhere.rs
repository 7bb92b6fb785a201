//! Bug reports about reapers that do something else when their child exits: they are in another call, at work, or in a
//! wait that excludes the child.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::{
    fs::{CWD, Mode},
    process::Signal,
};
use supervisor_lab::{Lab, program, until};
use supervisor_tests::{Guard, WAIT_LIMIT, Watch, child_of, signal, supervisor_bin, zombie_of};

use super::{FIXTURE, Truth, own::python, script};

/// A Python program that is the reaper of its child, and the watch that records it.
struct Played {
    watch: Watch,
    guard: Guard,
    reaper: u32,
    zombie: u32,
    _lab: Lab,
}

impl Played {
    /// Runs the program until it has a zombie.
    fn start(recording: &str, text: &str) -> Result<Self> {
        Self::watched_by(Watch::recorded(recording)?, text)
    }

    /// The same under a watch that is not recorded.
    fn watched_by(mut watch: Watch, text: &str) -> Result<Self> {
        let lab = Lab::new(&supervisor_bin()?)?;
        let file = lab.path().join("program.py");
        script(&file, text)?;
        let guard = Guard::start(FIXTURE, &python()?, &[file.to_str().context("no UTF-8")?])?;
        let reaper = guard.program();
        let zombie = zombie_of(reaper)?.pid;
        watch.keep(&[zombie]);
        Ok(Self { watch, guard, reaper, zombie, _lab: lab })
    }

    /// Compares the output with the truth, ends the program, and compares again.
    fn compare(mut self, truth: &Truth<'_>) -> Result<()> {
        truth.is_told_of(&mut self.watch, self.zombie, self.reaper)?;
        drop(self.guard);
        truth.holds_to_the_end(self.watch, self.zombie, &[self.reaper])
    }
}

/// containerd/containerd#2136: the reaper opens a FIFO to which no process writes.
#[test]
fn the_reaper_opens_a_fifo() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let fifo = lab.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
    let text = format!(
        "import os\n\
         pid = os.fork()\n\
         if pid == 0:\n    os._exit(7)\n\
         open('{}').close()\n\
         os.waitpid(pid, 0)\n",
        fifo.display()
    );
    let mut played = Played::start("case-opens-fifo", &text)?;
    let truth = Truth {
        family: "F11",
        position: "own-child",
        cause: "cannot-run",
        prognosis: "unknown",
        names: &["openat"],
        no_remedy: &["restart", "end python", "stop-gap"],
        wont_help: &["init"],
        ..Truth::default()
    };
    truth.is_told_of(&mut played.watch, played.zombie, played.reaper)?;
    OpenOptions::new().write(true).open(&fifo)?;
    truth.holds_to_the_end(played.watch, played.zombie, &[played.reaper])
}

/// The reaper reads the output of its second child to the end, and only then waits for both children.
#[test]
fn the_reaper_reads_the_output_of_another_child() -> Result<()> {
    let text = "import subprocess\n\
                first = subprocess.Popen(['sleep', '0.5'])\n\
                second = subprocess.Popen(['sleep', '600'], stdout=subprocess.PIPE)\n\
                second.stdout.read()\n\
                first.wait()\n\
                second.wait()\n";
    let mut played = Played::start("case-reads-another", text)?;
    let other = child_of(played.reaper, "the second child", |it| it.pid != played.zombie)?.pid;
    let truth = Truth {
        family: "F19",
        position: "own-child",
        cause: "reading",
        prognosis: "unknown",
        names: &["sleep", &other.to_string()],
        no_remedy: &["restart", "end python", "stop-gap"],
        wont_help: &["init"],
        ..Truth::default()
    };
    truth.is_told_of(&mut played.watch, played.zombie, played.reaper)?;
    signal(other, Signal::TERM)?;
    truth.holds_to_the_end(played.watch, played.zombie, &[played.reaper, other])
}

/// An event loop waits for each of its children by pid when SIGCHLD comes. Now it computes, and a helper thread sleeps
/// beside it.
#[test]
fn an_event_loop_computes_beside_a_thread_that_sleeps() -> Result<()> {
    let text = "import os, signal, threading, time\n\
                threading.Thread(target=threading.Event().wait, daemon=True).start()\n\
                children = []\n\
                def spawn(seconds):\n    children.append(os.posix_spawnp('sleep', ['sleep', seconds], os.environ))\n\
                def poll(*_):\n    for pid in list(children):\n        if os.waitpid(pid, os.WNOHANG)[0]:\n            children.remove(pid)\n\
                signal.signal(signal.SIGCHLD, poll)\n\
                spawn('0.3')\n\
                spawn('2')\n\
                while len(children) > 1:\n    time.sleep(0.01)\n\
                sum(range(10 ** 13))\n";
    let played = Played::start("case-busy-loop", text)?;
    played.compare(&Truth {
        family: "F24",
        position: "own-child",
        cause: "busy",
        prognosis: "late",
        no_remedy: &["restart", "end python", "stop-gap"],
        wont_help: &["init"],
        ..Truth::default()
    })
}

/// A SIGCHLD handler takes a lock that the interrupted code holds, as `malloc` does.
#[test]
fn the_reaper_waits_for_a_lock_in_its_own_handler() -> Result<()> {
    let text = "import ctypes, os, signal, threading, time\n\
                lock = threading.Lock()\n\
                def reap(_):\n    with lock:\n        os.waitpid(-1, os.WNOHANG)\n\
                handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(reap)\n\
                ctypes.CDLL(None).signal(signal.SIGCHLD, handler)\n\
                with lock:\n    if os.fork() == 0:\n        os._exit(7)\n    time.sleep(600)\n";
    let played = Played::watched_by(Watch::start(&[])?, text)?;
    played.compare(&Truth {
        family: "F11",
        position: "own-child",
        cause: "cannot-run",
        prognosis: "unknown",
        names: &["futex", "handler"],
        remedies: &["take no lock"],
        no_remedy: &["unblock SIGCHLD", "wait whenever SIGCHLD comes"],
        wont_help: &["init"],
        ..Truth::default()
    })
}

/// A tracer's loop asks for children that stop, and for no others.
#[test]
fn the_reaper_asks_only_for_stopped_children() -> Result<()> {
    let text = "import os, time\n\
                if os.fork() == 0:\n    os._exit(7)\n\
                while True:\n    try:\n        os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG)\n    \
                except ChildProcessError:\n        pass\n    time.sleep(0.3)\n";
    let played = Played::start("case-asks-for-stops", text)?;
    played.compare(&Truth {
        family: "F4",
        position: "own-child",
        cause: "narrowed-wait",
        prognosis: "leaked",
        names: &["not for exited ones"],
        remedies: &["WEXITED"],
        no_remedy: &["waitpid(-1"],
        wont_help: &["init"],
        ..Truth::default()
    })
}

/// One thread forks, and another one waits with `__WNOTHREAD`.
#[test]
fn the_reaper_waits_only_for_children_of_another_thread() -> Result<()> {
    let text = "import os, threading, time\n\
                def forks():\n    if os.fork() == 0:\n        os._exit(7)\n    threading.Event().wait()\n\
                threading.Thread(target=forks, daemon=True).start()\n\
                while True:\n    try:\n        os.waitpid(-1, os.WNOHANG | 0x20000000)\n    \
                except ChildProcessError:\n        pass\n    time.sleep(0.3)\n";
    let played = Played::watched_by(Watch::start(&[])?, text)?;
    played.compare(&Truth {
        family: "F4",
        position: "own-child",
        cause: "narrowed-wait",
        prognosis: "leaked",
        names: &["__WNOTHREAD", "children of its other threads"],
        remedies: &["without __WNOTHREAD"],
        no_remedy: &["waitpid(-1"],
        wont_help: &["init"],
        ..Truth::default()
    })
}

/// A control group that gets a thousandth of a processor. It is removed when this is dropped.
struct Throttled(PathBuf);

impl Throttled {
    fn make() -> Result<Self> {
        let name = format!("supervisor-test-throttled-{}", std::process::id());
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount_of = |kind: &str, option: &str| {
            let mut lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            let is_it = |words: &Vec<&str>| {
                words.get(2) == Some(&kind)
                    && words.get(3).is_some_and(|options| options.split(',').any(|it| it == option))
            };
            lines.find(is_it).map(|words| Path::new(words[1]).join(&name))
        };
        if let Some(dir) = mount_of("cgroup", "cpu") {
            fs::create_dir(&dir)?;
            let group = Self(dir);
            group.write("cpu.cfs_period_us", "1000000")?;
            group.write("cpu.cfs_quota_us", "1000")?;
            return Ok(group);
        }
        let dir = mount_of("cgroup2", "rw").context("no hierarchy of control groups is mounted")?;
        // Where systemd runs, the controller is on already.
        let control = dir.with_file_name("cgroup.subtree_control");
        if !fs::read_to_string(&control)?.split_whitespace().any(|it| it == "cpu") {
            fs::write(&control, "+cpu")?;
        }
        fs::create_dir(&dir)?;
        let group = Self(dir);
        group.write("cpu.max", "1000 1000000")?;
        Ok(group)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.0.join(file), text).with_context(|| file.to_owned())
    }

    /// Takes the limit away.
    fn lift(&self) -> Result<()> {
        if self.0.join("cpu.max").exists() {
            return self.write("cpu.max", "max");
        }
        self.write("cpu.cfs_quota_us", "-1")
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        // The group is busy until its last process has left it.
        let removed = until("the group to be empty", WAIT_LIMIT, || Ok(fs::remove_dir(&self.0).ok()));
        assert!(removed.is_ok() || std::thread::panicking(), "{} stays", self.0.display());
    }
}

/// A handler reaps all children when it has done its work. Its container's limit leaves it no time for that.
#[test]
fn the_reaper_is_throttled() -> Result<()> {
    let text = "import os, signal, time\n\
                reaped = []\n\
                def handle(*_):\n    sum(range(10 ** 7))\n    \
                try:\n        while (pid := os.waitpid(-1, os.WNOHANG)[0]):\n            reaped.append(pid)\n    \
                except ChildProcessError:\n        pass\n\
                signal.signal(signal.SIGCHLD, handle)\n\
                if os.fork() == 0:\n    os._exit(0)\n\
                while not reaped:\n    time.sleep(0.01)\n\
                os.posix_spawnp('sleep', ['sleep', '600'], os.environ)\n\
                while True:\n    signal.pause()\n";
    let lab = Lab::new(&supervisor_bin()?)?;
    let file = lab.path().join("program.py");
    script(&file, text)?;
    let mut watch = Watch::start(&[])?;
    let group = Throttled::make()?;
    let guard = Guard::start(FIXTURE, &python()?, &[file.to_str().context("no UTF-8")?])?;
    let reaper = guard.program();
    let zombie = child_of(reaper, "the second child", |it| it.comm == "sleep")?.pid;
    group.write("cgroup.procs", &reaper.to_string())?;
    signal(zombie, Signal::TERM)?;
    let truth = Truth {
        family: "F24",
        position: "own-child",
        cause: "busy",
        prognosis: "late",
        names: &["was throttled"],
        remedies: &["processor time"],
        no_remedy: &["restart", "end python", "stop-gap"],
        wont_help: &["init"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, reaper)?;
    // With the time that it needs, it reaps.
    group.lift()?;
    truth.holds_to_the_end(watch, zombie, &[reaper])?;
    drop(guard);
    drop(group);
    Ok(())
}

/// A shell is PID 1, as in `docker run IMAGE sh`. It reaps when it comes to its next command, and now it reads that
/// command.
#[test]
fn a_shell_as_pid_1_reads_its_next_command() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let fifo = lab.path().join("fifo");
    rustix::fs::mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
    let file = lab.path().join("shell.sh");
    script(&file, &format!("exec 3<>{}\n(sleep 0.5 &)\nread line <&3\n/bin/true\n", fifo.display()))?;
    let unshare = program("unshare").context("unshare is not installed")?;
    let mut watch = Watch::recorded("case-shell-reads")?;
    let file = file.to_str().context("no UTF-8")?;
    let guard = Guard::start(FIXTURE, &unshare, &["--pid", "--fork", "--kill-child", "dash", file])?;
    let shell = child_of(guard.program(), "the shell", |it| it.comm == "dash")?.pid;
    let zombie = zombie_of(shell)?.pid;
    watch.keep(&[zombie]);
    let truth = Truth {
        family: "F2",
        position: "adopted-by-init",
        cause: "reading",
        prognosis: "unknown",
        names: &["descriptor 0"],
        remedies: &["run an init as PID 1"],
        no_remedy: &["containers share", "while (waitpid"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, shell)?;
    drop(guard);
    truth.holds_to_the_end(watch, zombie, &[shell])
}
