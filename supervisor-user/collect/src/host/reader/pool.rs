//! Manages the readers of one collector: the reader that answers, and the killed readers that the kernel does not let
//! end.

use std::{
    collections::HashMap,
    io::{self, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use supervisor_model::facts::NotRead;

use super::wire::{self, Request};
use crate::host::ReadsLost;

/// A reader that sleeps in an answer for this long is given up. A search for the writers of pipes takes about 50 ms at
/// most (`SEARCH_TIME` in `descriptors.rs`). Other answers usually take less than a millisecond.
pub(super) const DEADLINE: Duration = Duration::from_millis(200);
/// A reader that runs, or waits for a CPU, is given up after this long.
const HARD_DEADLINE: Duration = Duration::from_secs(1);
/// How long a killed reader may take to end before it counts as stuck.
const KILLED_WITHIN: Duration = Duration::from_millis(10);
/// With this many stuck readers, requests that a process can delay are left out; with twice as many, all requests are.
pub(super) const MAX_STUCK: usize = 4;
/// A late request is not repeated for this long, and then for twice as long each time.
const PAUSE: Duration = Duration::from_secs(10);
/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_mins(5);
/// At most this many late requests are remembered.
const MAX_REMEMBERED: usize = 1024;
/// Late answers and starts of readers spend this time, and after that a tenth of the time that passes. When it is
/// spent, requests that a process can delay are left out. Other requests spend it too, but it does not limit them.
const ALLOWANCE: Duration = Duration::from_secs(1);
const ALLOWANCE_SHARE: u32 = 10;
/// After a failed start the collector starts no reader for this long, and then for twice as long each time.
const START_PAUSE: Duration = Duration::from_secs(1);
/// From this many failed starts in a row on, a request is an error: 15 s after the first one.
const MAX_FAILED_STARTS: u32 = 5;

/// A reader as a process.
pub(super) trait Process {
    /// Its pid.
    fn pid(&self) -> u32;
    /// Whether it runs or waits for a CPU, and does not sleep.
    fn is_running(&self) -> bool;
    /// The kernel function that it sleeps in.
    fn wchan(&self) -> Option<String>;
    /// Sends SIGKILL.
    fn kill(&mut self);
    /// Whether it has ended; if so, it is reaped.
    fn has_ended(&mut self) -> bool;
}

/// A reader, and the socket to it, which does not block.
pub(super) struct Reader {
    pub(super) stream: UnixStream,
    pub(super) process: Box<dyn Process>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The request was late, or not made.
    NotRead(NotRead),
    /// No reader has ever answered, or none can be started any more.
    Broken(io::Error),
}

/// A late request.
struct Late {
    wchan: Option<String>,
    until: Instant,
    pause: Duration,
}

/// Starts that failed one after the other.
struct FailedStarts {
    count: u32,
    until: Instant,
    error: (io::ErrorKind, String),
}

/// All readers of a collector.
pub(super) struct Pool {
    start: Box<dyn Fn() -> io::Result<Reader>>,
    reader: Option<Reader>,
    /// Readers that were killed and do not end, each with the request that it sleeps in.
    stuck: Vec<(Request, Reader)>,
    late: HashMap<Request, Late>,
    allowance: Allowance,
    lost: ReadsLost,
    has_answered: bool,
    failed_starts: Option<FailedStarts>,
}

impl Pool {
    pub(super) fn new(start: impl Fn() -> io::Result<Reader> + 'static) -> Self {
        Self {
            start: Box::new(start),
            reader: None,
            stuck: Vec::new(),
            late: HashMap::new(),
            allowance: Allowance { left: ALLOWANCE, at: Instant::now() },
            lost: ReadsLost::default(),
            has_answered: false,
            failed_starts: None,
        }
    }

    /// Whether a process is one of the readers.
    pub(super) fn has(&self, pid: u32) -> bool {
        let stuck = self.stuck.iter().map(|(_, reader)| reader);
        self.reader.iter().chain(stuck).any(|reader| reader.process.pid() == pid)
    }

    /// The reads that were lost so far. It also reaps the readers that have ended meanwhile, so call it from time to
    /// time.
    pub(super) fn lost(&mut self) -> ReadsLost {
        self.stuck.retain_mut(|(_, reader)| !reader.process.has_ended());
        ReadsLost { stuck: self.stuck.len() as u64, ..self.lost }
    }

    /// Asks the reader, and starts one if there is none.
    pub(super) fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, Unanswered> {
        self.lost();
        let now = Instant::now();
        let is_stuck = self.stuck.iter().any(|(held, _)| held == request);
        let late = self.late.get(request).filter(|late| is_stuck || now < late.until);
        if is_stuck || late.is_some() {
            let wchan = late.and_then(|late| late.wchan.clone());
            return Err(Unanswered::NotRead(NotRead::Late { wchan }));
        }
        let most = if request.can_be_held_up() { MAX_STUCK } else { 2 * MAX_STUCK };
        if self.stuck.len() >= most || (request.can_be_held_up() && self.allowance.is_spent(now)) {
            self.lost.skipped += 1;
            return Err(Unanswered::NotRead(NotRead::Skipped));
        }
        let frame = wire::frame(request).map_err(Unanswered::Broken)?;
        if let Some(reader) = self.reader.take() {
            match self.exchange(reader, request, &frame) {
                // The reader may have died while it was idle: the OOM killer does not know its purpose.
                Err(End::Broken(_)) => {}
                Err(End::Late(why)) => return Err(Unanswered::NotRead(why)),
                Ok(answer) => return Ok(answer),
            }
        }
        let reader = self.started()?;
        self.exchange(reader, request, &frame).map_err(|end| match end {
            End::Late(why) => Unanswered::NotRead(why),
            End::Broken(error) => self.no_answer(error),
        })
    }

    /// Replaces the reader, and fails if that is not possible. Call it after the collector has given up capabilities:
    /// the next reader is started without them.
    pub(super) fn replace(&mut self) -> io::Result<()> {
        let reader = (self.start)()?;
        if let Some(mut idle) = self.reader.replace(reader) {
            // The idle reader sleeps in no answer, so SIGKILL ends it.
            ends(&mut idle, HARD_DEADLINE);
        }
        Ok(())
    }

    /// Starts a reader, unless a start failed a short while ago.
    fn started(&mut self) -> Result<Reader, Unanswered> {
        let now = Instant::now();
        if let Some(failed) = self.failed_starts.as_ref().filter(|failed| now < failed.until) {
            let (kind, why) = failed.error.clone();
            return Err(self.no_answer(io::Error::new(kind, why)));
        }
        let reader = (self.start)();
        let done = Instant::now();
        self.allowance.spend(done, done - now);
        reader.map_err(|error| {
            let count = self.failed_starts.as_ref().map_or(0, |failed| failed.count) + 1;
            let pause = START_PAUSE.saturating_mul(1 << (count - 1).min(16)).min(PAUSE_MAX);
            let why = (error.kind(), error.to_string());
            self.failed_starts = Some(FailedStarts { count, until: done + pause, error: why });
            self.no_answer(error)
        })
    }

    /// One exchange with a reader. The reader is kept if it answers.
    fn exchange<T: DeserializeOwned>(
        &mut self,
        mut reader: Reader,
        request: &Request,
        frame: &[u8],
    ) -> Result<T, End<NotRead>> {
        let asked = Instant::now();
        let answer = exchange(&mut reader, frame).and_then(|answer| {
            let document = wire::whole(&answer).map_err(End::Broken)?.unwrap_or_default();
            serde_json::from_slice(document).map_err(|error| End::Broken(error.into()))
        });
        match answer {
            Ok(answer) => {
                self.reader = Some(reader);
                self.has_answered = true;
                self.failed_starts = None;
                self.late.remove(request);
                Ok(answer)
            }
            Err(end) => {
                let wchan = reader.process.wchan();
                self.give_up(request, reader);
                Err(match end {
                    End::Late(()) => End::Late(self.remember(request, wchan, asked)),
                    End::Broken(error) => End::Broken(error),
                })
            }
        }
    }

    /// Kills a reader. A reader that the kernel does not let end is kept until it ends.
    fn give_up(&mut self, request: &Request, mut reader: Reader) {
        if !ends(&mut reader, KILLED_WITHIN) {
            self.stuck.push((request.clone(), reader));
        }
    }

    /// Records a late request.
    fn remember(&mut self, request: &Request, wchan: Option<String>, asked: Instant) -> NotRead {
        let now = Instant::now();
        self.lost.late += 1;
        self.allowance.spend(now, now - asked);
        let pause = self.late.get(request).map_or(PAUSE, |late| (late.pause * 2).min(PAUSE_MAX));
        if self.late.len() >= MAX_REMEMBERED {
            self.late.retain(|_, late| now < late.until);
        }
        if self.late.len() < MAX_REMEMBERED || self.late.contains_key(request) {
            self.late.insert(request.clone(), Late { wchan: wchan.clone(), until: now + pause, pause });
        }
        NotRead::Late { wchan }
    }

    /// The result of a request without a reader: an error if no reader will answer, or else a lost read.
    fn no_answer(&mut self, error: io::Error) -> Unanswered {
        let failed = self.failed_starts.as_ref().map_or(0, |failed| failed.count);
        // If the host is out of pids or memory, or too busy, waiting helps. The agent must survive until then.
        let may_pass = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory);
        if !self.has_answered || (failed >= MAX_FAILED_STARTS && !may_pass) {
            return Unanswered::Broken(error);
        }
        self.lost.skipped += 1;
        Unanswered::NotRead(NotRead::Skipped)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // A stuck reader is left to the process that adopts it: the collector does not wait for it at its own end.
        if let Some(mut reader) = self.reader.take() {
            ends(&mut reader, KILLED_WITHIN);
        }
    }
}

/// Kills a reader, and returns whether it has ended within that time.
pub(super) fn ends(reader: &mut Reader, within: Duration) -> bool {
    reader.process.kill();
    let deadline = Instant::now() + within;
    while !reader.process.has_ended() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Why an exchange has no answer.
enum End<Late> {
    Late(Late),
    Broken(io::Error),
}

/// Sends a request, and waits for the answer.
fn exchange(reader: &mut Reader, request: &[u8]) -> Result<Vec<u8>, End<()>> {
    let mut patience = Patience::new();
    let mut rest = request;
    while !rest.is_empty() {
        match reader.stream.write(rest) {
            Ok(len) => rest = &rest[len..],
            Err(error) => patience.wait(reader, PollFlags::OUT, error)?,
        }
    }
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while wire::whole(&answer).map_err(End::Broken)?.is_none() {
        match reader.stream.read(&mut part) {
            Ok(0) => return Err(End::Broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(len) => answer.extend_from_slice(&part[..len]),
            Err(error) => patience.wait(reader, PollFlags::IN, error)?,
        }
    }
    Ok(answer)
}

/// How long an exchange may take.
struct Patience {
    deadline: Instant,
    hard: Instant,
}

impl Patience {
    fn new() -> Self {
        let now = Instant::now();
        Self { deadline: now + DEADLINE, hard: now + HARD_DEADLINE }
    }

    /// Waits after this error until the socket is ready.
    fn wait(&mut self, reader: &Reader, flags: PollFlags, error: io::Error) -> Result<(), End<()>> {
        match error.kind() {
            io::ErrorKind::Interrupted => return Ok(()),
            io::ErrorKind::WouldBlock => {}
            _ => return Err(End::Broken(error)),
        }
        loop {
            let now = Instant::now();
            if now >= self.deadline {
                // On a busy host the reader may not have had the CPU yet.
                if now >= self.hard || !reader.process.is_running() {
                    return Err(End::Late(()));
                }
                self.deadline = now + DEADLINE;
            }
            let left = Timespec::try_from(self.deadline - now).ok();
            match poll(&mut [PollFd::new(&reader.stream, flags)], left.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(End::Broken(error.into())),
            }
        }
    }
}

/// Time that late answers and starts of readers may take before requests that a process can delay are left out.
struct Allowance {
    left: Duration,
    at: Instant,
}

impl Allowance {
    fn is_spent(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left < DEADLINE
    }

    fn spend(&mut self, now: Instant, time: Duration) {
        self.refill(now);
        self.left = self.left.saturating_sub(time);
    }

    fn refill(&mut self, now: Instant) {
        self.left = (self.left + now.saturating_duration_since(self.at) / ALLOWANCE_SHARE).min(ALLOWANCE);
        self.at = now;
    }
}

#[cfg(test)]
mod tests;
