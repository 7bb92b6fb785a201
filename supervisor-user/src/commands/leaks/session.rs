//! One run: starts the command, takes the marks of its tests, and waits for the processes that are left at the end.

use std::{ffi::OsString, process::Child, time::Duration};

use anyhow::{Context as _, Result};
use caps::Capability;
use supervisor_ebpf::ProcessId;
use supervisor_model::{
    clock,
    redact::{ArgsMode, Redactor},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    LeaksArgs,
    child::{self, Signals},
    follow::{Follower, Left},
    marks::{Answer, Asked, Mark, Marks, Runner},
};
use crate::leaks::{
    CommandEnd, LeakKind, Leaks, Report,
    runners::tests_of,
    sentence_of,
    settling::{Present, Settling},
    tests::Tests,
};

/// How often the follower searches for zombies.
const TICK: Duration = Duration::from_millis(250);
/// How often the session lists the processes that should end.
const CHECK: Duration = Duration::from_millis(50);

/// The result of a run.
pub(super) enum Outcome {
    /// The command ended.
    Ended(Box<Report>),
    /// The command was not started. The value is the exit code.
    NotStarted(u8),
}

/// A test that has ended. Its processes may take some time to end.
struct Pending {
    process: ProcessId,
    test: String,
    settling: Settling,
    /// The sender of the mark and its creators. They exist for as long as they wait for the answer.
    asking: Vec<ProcessId>,
    answer: oneshot::Sender<Answer>,
}

struct Session<'a> {
    follower: &'a mut dyn Follower,
    settle_ns: u64,
    tests: Tests,
    pending: Vec<Pending>,
    leaks: Leaks,
    /// The name of the test, if the whole command is one test.
    whole: Option<String>,
}

/// Runs the command and reports what it leaves behind.
pub(super) async fn run(
    args: &LeaksArgs,
    follower: &mut dyn Follower,
    is_subreaper: bool,
    mut signals: Signals,
) -> Result<Outcome> {
    let mut marks = Marks::listen()?;
    if is_subreaper {
        let own = rustix::process::getpid();
        rustix::process::set_child_subreaper(Some(own)).context("cannot become a subreaper")?;
    }
    let started_ns = clock::now_ns();
    let mut child = match child::start(&args.command, marks.path()) {
        Ok(child) => child,
        Err(code) => return Ok(Outcome::NotStarted(code)),
    };
    // The command may run as another user now. `CAP_KILL` is needed to end it then.
    let ready =
        follower.follow(child.id()).and_then(|()| follower.give_up_capabilities(&[Capability::CAP_KILL]));
    if let Err(error) = ready {
        let _ended_meanwhile = child.kill();
        child.wait()?;
        return Err(error);
    }
    let settle_ns = args.settle.0.as_nanos() as u64;
    let tests = Tests::new(follower.precision_ns());
    let mut session = Session {
        follower,
        settle_ns,
        tests,
        pending: Vec::new(),
        leaks: Leaks::default(),
        whole: args.each.clone(),
    };
    let ended = session.until_end(&mut child, &mut marks, &mut signals, is_subreaper).await?;
    let ran_ns = clock::now_ns().saturating_sub(started_ns);
    session.settle(is_subreaper).await?;
    let command = shown(&args.redact.redactor()?, &args.command);
    session.report(command, ended, ran_ns).map(|report| Outcome::Ended(Box::new(report)))
}

/// The command line for the report, without its secrets: a report is often published. The program always stays, because
/// it names the run.
fn shown(redactor: &Redactor, command: &[OsString]) -> Vec<String> {
    let args: Vec<String> = command.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let mut args = redactor.list(&args);
    if matches!(redactor.mode(), ArgsMode::Program | ArgsMode::None) {
        args.truncate(1);
    }
    args
}

impl Session<'_> {
    /// Follows the command until it has ended.
    async fn until_end(
        &mut self,
        child: &mut Child,
        marks: &mut Marks,
        signals: &mut Signals,
        is_subreaper: bool,
    ) -> Result<CommandEnd> {
        let mut child_signal = signal(SignalKind::child()).context("cannot handle SIGCHLD")?;
        let (mut ticks, mut checks) = (interval(TICK), interval(CHECK));
        for timer in [&mut ticks, &mut checks] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(child::ended(status));
            }
            if is_subreaper {
                let command = child.id();
                child::reap_orphans(|pid| pid == command || self.follower.is_own(pid));
            }
            tokio::select! {
                () = signals.pass_on(child) => {}
                _ = child_signal.recv() => {}
                Some(asked) = marks.next() => self.take(asked)?,
                _ = checks.tick(), if !self.pending.is_empty() => self.check_tests()?,
                _ = ticks.tick() => self.follower.tick()?,
            }
        }
    }

    /// Processes a mark. The end of a test is answered when its processes have ended, or when the wait for them is
    /// over.
    fn take(&mut self, asked: Asked) -> Result<()> {
        let Asked { request, pid, answer } = asked;
        let line = self.follower.line_of(pid)?;
        let process = match request.runner {
            Runner::Sender => line.first(),
            Runner::Creator => line.get(1),
        };
        let refused = |answer: oneshot::Sender<Answer>, error: &str| {
            // The sender may have ended.
            let _gone = answer.send(Answer { leaks: Vec::new(), error: Some(error.to_owned()) });
            Ok(())
        };
        let Some(process) = process.copied() else {
            return refused(answer, "the process that sends the mark does not descend from the command");
        };
        let now_ns = clock::now_ns();
        match request.mark {
            Mark::Begin => {
                self.tests.begin(process, &request.test, now_ns);
                let _gone = answer.send(Answer::default());
                Ok(())
            }
            Mark::End if self.tests.end(process, &request.test, now_ns) => {
                let settling = Settling::new(now_ns, self.settle_ns);
                let test = request.test;
                self.pending.push(Pending { process, test, settling, asking: line, answer });
                self.check_tests()
            }
            Mark::End => refused(answer, "the end of a test that has not begun in this process"),
        }
    }

    /// Answers for each test whose processes have ended, or whose wait is over.
    fn check_tests(&mut self) -> Result<()> {
        let present = self.follower.present()?;
        let now_ns = clock::now_ns();
        for mut pending in std::mem::take(&mut self.pending) {
            let of_test = |process: &&Present| {
                process.line.contains(&pending.process)
                    && !pending.asking.contains(&process.id())
                    && self.tests.of(&process.line).contains(&pending.test)
            };
            let own: Vec<Present> = present.iter().filter(of_test).cloned().collect();
            let Some(left) = pending.settling.settle(now_ns, &own) else {
                self.pending.push(pending);
                continue;
            };
            let mut leaks = Vec::new();
            for left in self.follower.inspect(&own, &left)? {
                leaks.push(self.add(left));
            }
            let _gone = pending.answer.send(Answer { leaks, error: None });
        }
        Ok(())
    }

    /// Adds a leak, and returns it as a sentence.
    fn add(&mut self, left: Left) -> String {
        let mut tests = self.tests.of(&left.line);
        if tests.is_empty() {
            tests.extend(self.whole.clone());
        }
        if tests.is_empty() {
            tests = tests_of(&left.event.kind, &left.line);
        }
        sentence_of(self.leaks.add(left.id, left.kind, tests, left.event))
    }

    /// Waits until all descendants have ended, or until the wait for them is over. Then inspects those that are left.
    async fn settle(&mut self, is_subreaper: bool) -> Result<()> {
        let mut settling = Settling::new(clock::now_ns(), self.settle_ns);
        self.pending.clear();
        loop {
            if is_subreaper {
                child::reap_orphans(|pid| self.follower.is_own(pid));
            }
            self.follower.tick()?;
            let present = self.follower.present()?;
            if let Some(left) = settling.settle(clock::now_ns(), &present) {
                for left in self.follower.inspect(&present, &left)? {
                    self.add(left);
                }
                return Ok(());
            }
            sleep(CHECK).await;
        }
    }

    fn report(mut self, command: Vec<String>, ended: CommandEnd, ran_ns: u64) -> Result<Report> {
        for left in self.follower.finish()? {
            debug_assert_eq!(left.kind, LeakKind::Late, "the others are inspected");
            // A zombie that a test left behind and that was reaped later is already reported for the test.
            if !self.leaks.has(&left.id) {
                self.add(left);
            }
        }
        let mut tests = self.tests.names();
        tests.extend(self.whole.take());
        Ok(Report {
            command,
            ended,
            ran_ns,
            method: self.follower.method(),
            unseen: self.follower.unseen()?,
            leaks: std::mem::take(&mut self.leaks).into_list(),
            tests,
            unmatched: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use supervisor_model::redact::RedactConfig;

    use super::*;

    #[test]
    fn the_command_is_shown_as_arguments_of_other_processes_are() {
        let command = ["deploy", "--token", "hunter2", "web"].map(OsString::from);
        for (mode, expected) in [
            (ArgsMode::Full, &["deploy", "--token", "hunter2", "web"][..]),
            (ArgsMode::Redacted, &["deploy", "--token", "[redacted]", "web"]),
            (ArgsMode::Program, &["deploy"]),
            (ArgsMode::None, &["deploy"]),
        ] {
            let redactor = Redactor::new(&RedactConfig { args: mode, patterns: Vec::new() });
            assert_eq!(shown(&redactor.expect("it has no pattern"), &command), expected);
        }
    }
}
