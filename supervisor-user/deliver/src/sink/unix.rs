//! A Unix stream socket: every reader gets the events from its connection on, one on each line.
//!
//! Each reader has its own bounded buffer. A reader that is slower than that is cut off, and counted.

use std::{
    collections::VecDeque,
    fs, future,
    io::{self, IoSlice},
    os::{
        fd::OwnedFd,
        unix::fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, fchmod},
    io::Errno,
    net::{
        AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send,
        socket_with,
    },
};
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::{UnixListener, UnixStream},
    task::coop::consume_budget,
    time::{sleep, timeout},
};

use super::{Delivered, Message, SinkError, warn};
use crate::config::UnixConfig;

/// Only users who may see the processes may read the events about them.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 16;
/// How long a reader whose buffer is full may take to make room, before it is cut off.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long, at the end, no reader may take anything of its waiting lines.
const LAST_PATIENCE: Duration = Duration::from_millis(250);
/// How long readers may take at the end to take all of them.
const LAST_AT_MOST: Duration = Duration::from_secs(2);
/// How long to wait after a failed bind or accept.
const AGAIN: Duration = Duration::from_secs(1);
/// How often the sink checks whether the socket's file is still there.
const LOOK: Duration = Duration::from_secs(10);

/// A socket and its readers.
#[derive(Debug)]
pub struct UnixSink {
    config: UnixConfig,
    socket: Option<Socket>,
    readers: Vec<Reader>,
    cut_off: u64,
    refused: u64,
}

/// A bound socket. Its file is removed when this is dropped, if it is still the same file.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    id: (u64, u64),
    listener: Listener,
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// A listener. It is bound outside of the runtime, and the runtime drives it from the first call of
/// [`UnixSink::serve`] or [`UnixSink::deliver`] on.
#[derive(Debug)]
enum Listener {
    Bound(OwnedFd),
    Driven(UnixListener),
}

/// One reader, and the lines that it has not taken yet.
#[derive(Debug)]
struct Reader {
    stream: UnixStream,
    waiting: VecDeque<Arc<[u8]>>,
    /// How many bytes of the first waiting line are written.
    written: usize,
    /// How many bytes of all waiting lines are still to be written.
    bytes: usize,
    /// The reader will send nothing more. It may still read.
    is_silent: bool,
}

impl UnixSink {
    /// Binds the socket. If it cannot be bound now, it is bound later.
    ///
    /// # Errors
    ///
    /// If a running agent, or something that is no socket, has the path.
    pub fn open(config: &UnixConfig) -> Result<Self, SinkError> {
        let mut sink =
            Self { config: config.clone(), socket: None, readers: Vec::new(), cut_off: 0, refused: 0 };
        match sink.ensure() {
            Err(BindError::Taken(error)) => Err(error),
            // A delivery reports this error again.
            Err(BindError::Unavailable(_)) | Ok(()) => Ok(sink),
        }
    }

    /// Gives the messages to every connected reader. All are counted as delivered, even if there is no reader. But if
    /// the socket cannot be bound and there is no reader, none is counted, and the result has the error.
    pub async fn deliver(&mut self, batch: &[Message]) -> Delivered {
        if let Err(BindError::Taken(error) | BindError::Unavailable(error)) = self.ensure()
            && self.readers.is_empty()
        {
            return Delivered { count: 0, error: Some(error) };
        }
        self.turn_once().await;
        for message in batch {
            if self.readers.is_empty() {
                break;
            }
            let line: Arc<[u8]> = message.payload.iter().copied().chain([b'\n']).collect();
            self.give(&line).await;
        }
        Delivered { count: batch.len(), error: None }
    }

    /// Accepts new readers, and writes to readers that were not ready.
    pub async fn serve(&mut self) {
        loop {
            let pause = if self.ensure().is_ok() { LOOK } else { AGAIN };
            let turns = future::poll_fn(|cx| {
                self.turn(cx);
                Poll::<()>::Pending
            });
            let _over = timeout(pause, turns).await;
        }
    }

    /// Gives readers a moment to take their waiting lines, and more time as long as they take them. Call it before the sink
    /// is dropped, which discards waiting lines. No new reader is accepted.
    pub async fn finish(&mut self) {
        let until = Instant::now() + LAST_AT_MOST;
        loop {
            let waiting = self.waiting();
            let drained = future::poll_fn(|cx| {
                self.sweep(cx);
                if self.waiting() == 0 { Poll::Ready(()) } else { Poll::Pending }
            });
            let is_over = timeout(LAST_PATIENCE, drained).await.is_ok();
            if is_over || self.waiting() == waiting || Instant::now() > until {
                return;
            }
        }
    }

    /// How many bytes wait for readers.
    fn waiting(&self) -> usize {
        self.readers.iter().map(|reader| reader.bytes).sum()
    }

    /// How many readers were cut off because they were too slow.
    #[must_use]
    pub fn cut_off(&self) -> u64 {
        self.cut_off
    }

    /// How many readers were refused because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// How many readers are connected now.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Puts a line into every buffer, and writes what can be written.
    async fn give(&mut self, line: &Arc<[u8]>) {
        let limit = usize::try_from(self.config.reader_buffer.0).unwrap_or(usize::MAX);
        let is_full = |reader: &Reader| !reader.waiting.is_empty() && reader.bytes + line.len() > limit;
        if self.readers.iter().any(is_full) {
            // Most of these readers had only no time yet to read what came at once.
            let room = future::poll_fn(|cx| {
                self.turn(cx);
                if self.readers.iter().any(is_full) { Poll::Pending } else { Poll::Ready(()) }
            });
            if timeout(PATIENCE, pin!(room)).await.is_err() {
                let before = self.readers.len();
                self.readers.retain(|reader| !is_full(reader));
                let cut_off = before - self.readers.len();
                self.cut_off += cut_off as u64;
                warn(&format!(
                    "{}: {cut_off} readers were too slow and are cut off",
                    self.config.path.display()
                ));
            }
        }
        for reader in &mut self.readers {
            reader.waiting.push_back(Arc::clone(line));
            reader.bytes += line.len();
        }
        self.turn_once().await;
    }

    async fn turn_once(&mut self) {
        future::poll_fn(|cx| {
            self.turn(cx);
            Poll::Ready(())
        })
        .await;
        // Lets the runtime find out which readers are ready now.
        consume_budget().await;
    }

    /// Does everything that is possible now. The rest wakes the task when it is possible.
    fn turn(&mut self, cx: &mut Context<'_>) {
        self.sweep(cx);
        let Some(socket) = &mut self.socket else { return };
        while let Poll::Ready(stream) = socket.poll_accept(cx) {
            let mut reader = Reader::new(stream);
            if self.readers.len() >= self.config.max_readers as usize {
                self.refused += 1;
                if self.refused == 1 {
                    let path = self.config.path.display();
                    warn(&format!(
                        "{path}: max_readers are there, and another one is sent away; this is said once"
                    ));
                }
            } else if reader.poll_drain(cx).is_pending() {
                self.readers.push(reader);
            }
        }
    }

    /// Writes what can be written, and removes readers that have hung up.
    fn sweep(&mut self, cx: &mut Context<'_>) {
        self.readers.retain_mut(|reader| {
            reader.poll_drain(cx).is_pending() && !matches!(reader.poll_write(cx), Poll::Ready(Err(_)))
        });
    }

    /// Binds the socket, unless it is bound and its file is still there.
    fn ensure(&mut self) -> Result<(), BindError> {
        let path = &self.config.path;
        if self.socket.as_ref().is_some_and(|socket| file_id(path) == Some(socket.id)) {
            return Ok(());
        }
        // Readers stay: they are connected without the file.
        self.socket = None;
        self.socket = Some(Socket::bind(path)?);
        Ok(())
    }
}

/// Why a path cannot be bound.
#[derive(Debug)]
enum BindError {
    /// Something else has the path, and later attempts fail too.
    Taken(SinkError),
    Unavailable(SinkError),
}

impl Socket {
    fn bind(path: &Path) -> Result<Self, BindError> {
        let name = path.display();
        let failed = |error: io::Error| {
            BindError::Unavailable(SinkError::unavailable(format!("binding {name}"), error))
        };
        let taken = |cause: &str| BindError::Taken(SinkError::unavailable(format!("binding {name}"), cause));
        let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
        // Nothing here is locked: other users can open the directory, and could hold its lock for ever. Agents with the
        // same state directory exclude each other there. If two other agents start at once, both may find that the file
        // of a dead one is free. Then the second one has the path, and the first one notices that within `LOOK` and
        // reports it.
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => {
                return Err(taken("there is something that is no socket: remove it, or choose another path"));
            }
            Ok(_) if is_live(&address).map_err(failed)? => {
                return Err(taken("a running program listens there: stop it, or choose another path"));
            }
            Ok(_) => fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = Self::listen(&address).map_err(failed)?;
        let id = file_id(path).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        Ok(Self { path: path.to_owned(), id, listener, pause: None })
    }

    fn listen(address: &SocketAddrUnix) -> io::Result<Listener> {
        let socket = stream_socket()?;
        // The kernel makes the file with the mode of the socket, so that the file never has another mode.
        fchmod(&socket, MODE)?;
        bind(&socket, address)?;
        listen(&socket, BACKLOG)?;
        Ok(Listener::Bound(socket))
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<UnixStream> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        match ready!(self.listener.poll_accept(cx)) {
            Ok(stream) => Poll::Ready(stream),
            Err(error) => {
                warn(&format!("{}: a reader cannot be accepted: {error}", self.path.display()));
                self.pause = Some(Box::pin(sleep(AGAIN)));
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Listener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<UnixStream>> {
        if let Self::Bound(socket) = self {
            *self = Self::Driven(UnixListener::from_std(socket.try_clone()?.into())?);
        }
        match self {
            Self::Driven(listener) => listener.poll_accept(cx).map_ok(|(stream, _)| stream),
            Self::Bound(_) => Poll::Pending,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if file_id(&self.path) == Some(self.id)
            && let Err(error) = fs::remove_file(&self.path)
        {
            warn(&format!("{} cannot be removed: {error}", self.path.display()));
        }
    }
}

fn stream_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Whether a program listens there.
fn is_live(address: &SocketAddrUnix) -> io::Result<bool> {
    match connect(&stream_socket()?, address) {
        // With a full backlog, the program is only busy.
        Ok(()) | Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Device and inode of the file at this path.
fn file_id(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|it| (it.dev(), it.ino()))
}

impl Reader {
    fn new(stream: UnixStream) -> Self {
        Self { stream, waiting: VecDeque::new(), written: 0, bytes: 0, is_silent: false }
    }

    /// Discards what the reader sends. Ready when the reader has hung up.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut block = [0; 512];
        while !self.is_silent {
            let mut buffer = ReadBuf::new(&mut block);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer));
            self.is_silent = read.is_err() || buffer.filled().is_empty();
        }
        // Writing nothing fails if the other side is fully closed, and not if it only sends nothing more.
        let is_there = send(&self.stream, &[], SendFlags::NOSIGNAL).is_ok();
        if is_there { Poll::Pending } else { Poll::Ready(()) }
    }

    /// Writes waiting lines. Ready when none waits, or the reader is gone.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let lines: Vec<IoSlice<'_>> = (self.waiting.iter().take(64).enumerate())
                .map(|(i, line)| IoSlice::new(&line[if i == 0 { self.written } else { 0 }..]))
                .collect();
            let mut count = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &lines))?;
            self.bytes -= count;
            while let Some(first) = self.waiting.front()
                && count >= first.len() - self.written
            {
                count -= first.len() - self.written;
                self.written = 0;
                self.waiting.pop_front();
            }
            self.written += count;
        }
        Poll::Ready(Ok(()))
    }
}
