//! A terminal with a program on it.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, ensure};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process_group},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use supervisor_lab::{Owned, until};

use crate::WAIT_LIMIT;

/// What a program says to a terminal to get its other screen, and to give it back.
const ENTERS: &[u8] = b"\x1b[?1049h";
const LEAVES: &[u8] = b"\x1b[?1049l";

/// The terminal. The program, and what it has started, is killed when this is dropped.
#[derive(Debug)]
pub struct Screen {
    process: Owned,
    master: File,
    written: Arc<Mutex<Vec<u8>>>,
    columns: u16,
    lines: u16,
}

/// Starts a command on a new terminal of that size; returns it with the terminal's other side.
fn start(mut command: Command, columns: u16, lines: u16) -> Result<(Owned, File)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
    tcsetwinsize(&slave, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
    let stdio = |slave: &OwnedFd| -> Result<Stdio> { Ok(slave.try_clone()?.into()) };
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    command.stdin(stdio(&slave)?).stdout(stdio(&slave)?).stderr(stdio(&slave)?);
    // The command's copies go with it: whoever reads the terminal is to see its end.
    Ok((Owned::start(&mut command)?, master.into()))
}

/// Starts a command on a terminal, which is closed when the command has written this. Returns its exit code.
pub fn code_without_terminal(command: Command, shown: &[u8]) -> Result<Option<i32>> {
    let (mut process, mut master) = start(command, 80, 24)?;
    let (mut written, mut buffer) = (Vec::new(), [0; 4096]);
    while !written.windows(shown.len()).any(|it| it == shown) {
        let count = master.read(&mut buffer)?;
        written.extend_from_slice(&buffer[..count]);
    }
    drop(master);
    Ok(process.end(WAIT_LIMIT)?.code())
}

impl Screen {
    /// Starts a command on a terminal of that size.
    pub fn start(command: Command, columns: u16, lines: u16) -> Result<Self> {
        let (process, master) = start(command, columns, lines)?;
        let written = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone()?, Arc::clone(&written));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // It ends with the last one that has the terminal open.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                bytes(&sink).extend_from_slice(&buffer[..count]);
            }
        });
        Ok(Self { process, master, written, columns, lines })
    }

    /// The program's pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What a terminal makes of all that was written to it so far.
    #[must_use]
    pub fn now(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(self.lines, self.columns, 0);
        parser.process(&bytes(&self.written));
        parser
    }

    /// What is on the screen now.
    #[must_use]
    pub fn text(&self) -> String {
        self.now().screen().contents()
    }

    /// Waits until this is on the screen.
    pub fn shows(&self, what: &str) -> Result<()> {
        until(&format!("the screen to show `{what}`"), WAIT_LIMIT, || {
            Ok(self.text().contains(what).then_some(()))
        })
        .with_context(|| self.text())
    }

    /// Types keys.
    pub fn types(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Gives the terminal another size.
    pub fn resize(&mut self, columns: u16, lines: u16) -> Result<()> {
        (self.columns, self.lines) = (columns, lines);
        tcsetwinsize(&self.master, Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?;
        // The kernel sends it to the jobs of the terminal's own session.
        self.signal(Signal::WINCH)
    }

    /// Whether this was written to the terminal.
    #[must_use]
    pub fn has(&self, what: &[u8]) -> bool {
        bytes(&self.written).windows(what.len()).any(|it| it == what)
    }

    /// Whether the program has given the terminal back for now.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.has(LEAVES) && !self.now().screen().alternate_screen()
    }

    /// Sends the program and what it has started a signal.
    pub fn signal_job(&self, signal: Signal) -> Result<()> {
        Ok(kill_process_group(Pid::from_raw(self.pid() as i32).context("no process")?, signal)?)
    }

    /// Sends the program a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Waits for its end, which has to be a clean one with the terminal given back as it was.
    pub fn ends(self) -> Result<()> {
        let written = Arc::clone(&self.written);
        let has = |what: &[u8]| bytes(&written).windows(what.len()).any(|it| it == what);
        let code = self.code()?;
        ensure!(code == Some(0), "it ended with {code:?}");
        ensure!(has(ENTERS), "it has not used the other screen");
        until("the terminal to be given back", WAIT_LIMIT, || Ok(has(LEAVES).then_some(())))
    }

    /// Waits for its end; returns its exit code.
    pub fn code(mut self) -> Result<Option<i32>> {
        let status = self.process.end(WAIT_LIMIT).with_context(|| self.text())?;
        Ok(status.code())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What a shell has started, too, where it has not ended as it should.
        if let Ok(None) = self.process.child().try_wait() {
            let _gone = kill_process_group(Pid::from_child(self.process.child()), Signal::KILL);
        }
    }
}

/// What was written so far. Who panics with it has only read.
fn bytes(written: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    written.lock().unwrap_or_else(PoisonError::into_inner)
}
