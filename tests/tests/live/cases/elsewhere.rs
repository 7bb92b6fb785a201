//! Bug reports about reapers that do something else when their child exits: they are in another call, at work, or in a
//! wait that excludes the child.

use std::fs::OpenOptions;

use anyhow::{Context, Result};
use rustix::{
    fs::{CWD, Mode},
    process::Signal,
};
use supervisor_lab::{Lab, program};
use supervisor_tests::{Guard, Watch, child_of, signal, supervisor_bin, zombie_of};

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
        let lab = Lab::new(&supervisor_bin()?)?;
        let file = lab.path().join("program.py");
        script(&file, text)?;
        let mut watch = Watch::recorded(recording)?;
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
