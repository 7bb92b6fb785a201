//! Bug reports about parents that have a reason not to reap their own child yet, or that something keeps from reaping.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{Lab, program, stat, wchan};
use supervisor_tests::{Guard, Watch, child_of, signal, supervisor_bin, zombie_of};

use super::{FIXTURE, Truth, script};

/// The distribution's interpreter. The one in `PATH` may be a script that searches for one, or its path may show where
/// it was installed.
pub(super) fn python() -> Result<PathBuf> {
    Path::new("/usr/bin/python3").canonicalize().context("the distribution's python3 is not installed")
}

/// Perl/perl5#11953: backticks read to the end of the pipe before they wait.
#[test]
fn perl_reads_a_pipe_that_a_background_process_keeps_open() -> Result<()> {
    let perl = program("perl").context("perl is not installed")?;
    let text = |service: &str| format!("my $out = `{service}`;\nprint \"status $?\\n\";\n");
    keeps_a_pipe_open("case-perl-backtick", &perl, text, &["restart", "end perl", "kill perl"])
}

/// The same for a parent that polls: `subprocess.run` with captured output.
#[test]
fn python_polls_a_pipe_that_a_background_process_keeps_open() -> Result<()> {
    let text =
        |service: &str| format!("import subprocess\nsubprocess.run(['{service}'], capture_output=True)\n");
    keeps_a_pipe_open("case-python-captures", &python()?, text, &["restart"])
}

/// `interpreter` runs a script. The script captures the output of a command, and that command starts a process in the
/// background that keeps the output open.
fn keeps_a_pipe_open(
    recording: &str,
    interpreter: &Path,
    text: impl FnOnce(&str) -> String,
    no_remedy: &[&str],
) -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let (service, parent) = (lab.path().join("start-service.sh"), lab.path().join("parent"));
    script(&service, "#!/bin/sh\nsleep 600 &\nexit 0\n")?;
    script(&parent, &text(service.to_str().context("no UTF-8")?))?;
    let mut watch = Watch::recorded(recording)?;
    let guard = Guard::start(FIXTURE, interpreter, &[parent.to_str().context("no UTF-8")?])?;
    let reaper = guard.program();
    let zombie = zombie_of(reaper)?.pid;
    let holder = child_of(guard.pid(), "the background process", |it| it.comm == "sleep")?.pid;
    watch.keep(&[zombie]);
    let truth = Truth {
        family: "F19",
        position: "own-child",
        cause: "reading",
        prognosis: "late",
        names: &["sleep", &holder.to_string()],
        remedies: &["redirect"],
        no_remedy,
        wont_help: &["init"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, reaper)?;
    signal(holder, Signal::TERM)?;
    truth.holds_to_the_end(watch, zombie, &[reaper, holder])
}

/// LeaYeh/minishell#222: the jobs run at the same time, and the shell waits for them in the order of their start.
#[test]
fn python_waits_for_its_first_job() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let jobs = lab.path().join("jobs.py");
    let text = "import subprocess\n\
                jobs = [subprocess.Popen(['sleep', s]) for s in ('600', '0.5')]\n\
                for job in jobs:\n    job.wait()\n";
    script(&jobs, text)?;
    let mut watch = Watch::recorded("case-ordered-wait")?;
    let guard = Guard::start(FIXTURE, &python()?, &[jobs.to_str().context("no UTF-8")?])?;
    let python = guard.program();
    let zombie = zombie_of(python)?.pid;
    let first = child_of(python, "the first job", |it| it.pid != zombie && it.comm == "sleep")?.pid;
    watch.keep(&[zombie]);
    let name = stat(python).context("python has ended")?.comm;
    let truth = Truth {
        family: "F20",
        position: "own-child",
        cause: "waiting-for-another",
        prognosis: "late",
        names: &["sleep", &first.to_string()],
        no_remedy: &["restart", &format!("end {name}"), &format!("kill {name}")],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, python)?;
    signal(first, Signal::TERM)?;
    truth.holds_to_the_end(watch, zombie, &[python, first])
}

/// The calls of a 32-bit program have other numbers, and their arguments are in other registers.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_waits_for_its_first_child() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let file = lab.path().join("waits32");
    super::elf32::write(&file)?;
    let mut watch = Watch::start(&[])?;
    let guard = Guard::start(FIXTURE, &file, &[]).context("does this kernel run 32-bit programs?")?;
    let reaper = guard.program();
    let zombie = zombie_of(reaper)?.pid;
    let first = child_of(reaper, "the first child", |it| it.pid != zombie)?.pid;
    let truth = Truth {
        family: "F20",
        position: "own-child",
        cause: "waiting-for-another",
        prognosis: "late",
        names: &[&first.to_string()],
        no_remedy: &["restart", "end waits32", "kill waits32"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, reaper)?;
    // It cannot be made to wait: the injected code is for 64 bits.
    let mut reap = Command::new(supervisor_bin()?);
    let refused = reap.args(["reap", "--yes", "--force", "--no-nudge", &zombie.to_string()]).output()?;
    let said = String::from_utf8_lossy(&refused.stdout);
    ensure!(refused.status.code() == Some(1), "{said}");
    ensure!(said.contains("it runs a program of another architecture, or a 32-bit one"), "{said}");
    signal(first, Signal::TERM)?;
    truth.holds_to_the_end(watch, zombie, &[reaper, first])
}

/// jow-/ucode#382: the launcher waits with `sigtimedwait`, and its command inherits the mask. A shell then waits in
/// `sigsuspend`, and no signal wakes it.
#[test]
fn a_shell_inherits_a_mask_that_blocks_sigchld() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let (launcher, job) = (lab.path().join("launcher.py"), lab.path().join("job.sh"));
    script(&job, "sleep 0.5 &\nwait $!\necho finished\n")?;
    let text = format!(
        "import os, signal\n\
         signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGCHLD}})\n\
         pid = os.fork()\n\
         if pid == 0:\n    os.execvp('dash', ['dash', '{}'])\n\
         signal.sigtimedwait({{signal.SIGCHLD}}, 600)\n",
        job.display()
    );
    script(&launcher, &text)?;
    let mut watch = Watch::recorded("case-dash-blocked-chld")?;
    let guard = Guard::start(FIXTURE, &python()?, &[launcher.to_str().context("no UTF-8")?])?;
    let launcher = guard.program();
    let shell = child_of(launcher, "the shell", |it| it.comm == "dash")?.pid;
    let zombie = zombie_of(shell)?.pid;
    watch.keep(&[zombie]);
    let name = stat(launcher).context("the launcher has ended")?.comm;
    let truth = Truth {
        family: "F21",
        position: "own-child",
        cause: "sigchld-blocked",
        prognosis: "leaked",
        names: &["inherited", &name],
        remedies: &["mask", &name],
        wont_help: &["init", "CHLD", "restart"],
        ..Truth::default()
    };
    truth.is_told_of(&mut watch, zombie, shell)?;
    // The remedy that will not help has no effect: the signal does not wake the shell.
    signal(shell, Signal::CHILD)?;
    watch.settle(FIXTURE)?;
    ensure!(stat(zombie).is_some_and(|it| it.state == 'Z'), "SIGCHLD has helped");
    ensure!(wchan(shell).is_some_and(|it| it.contains("sigsuspend")), "the shell was woken");
    drop(guard);
    truth.holds_to_the_end(watch, zombie, &[launcher, shell])
}
