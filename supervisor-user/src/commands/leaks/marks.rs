//! Marks of tests: with `supervisor leaks --each`, a test runner reports through a socket when a test begins and ends.
//! The path of the socket is in the environment of the command.
//!
//! A request is one line of JSON, and the answer is another line. The kernel says which process sends the request.

use std::{
    fs::{self, Permissions},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, net::UnixStream as Client},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use supervisor_model::words::clean;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader as AsyncReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};

/// The environment variable with the path of the socket.
pub(super) const SOCKET: &str = "SUPERVISOR_LEAKS_SOCKET";
/// The most bytes of a request: it has the name of a test and some words.
const MAX_REQUEST: u64 = 64 << 10;
/// The most requests that may wait at once.
const MAX_WAITING: usize = 1024;

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    Begin,
    End,
}

/// Which process runs the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Runner {
    /// The one that sends the mark.
    Sender,
    /// The one that created the sender.
    Creator,
}

/// One request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) mark: Mark,
    pub(super) runner: Runner,
    pub(super) test: String,
}

/// The answer to a request. The answer to the end of a test lists the processes that the test left behind.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The processes, as sentences.
    pub(super) leaks: Vec<String>,
    /// Why the mark does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// A request, the pid of its sender, and the channel for the answer.
pub(super) struct Asked {
    pub(super) request: Request,
    pub(super) pid: u32,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The listening socket.
///
/// The command may run as another user, so every user who knows the path can connect. The path has a random part in a
/// directory that others cannot list. A mark is refused if its sender does not descend from the command.
pub(super) struct Marks {
    socket: PathBuf,
    asked: mpsc::Receiver<Asked>,
    /// Removes the socket.
    _dir: TempDir,
}

impl Marks {
    /// Binds the socket, and starts a task of the event loop that accepts connections.
    pub(super) fn listen() -> Result<Self> {
        let (dir, socket, listener) = bind().context("cannot listen for marks of tests")?;
        let (sender, asked) = mpsc::channel(MAX_WAITING);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Ok(Self { socket, asked, _dir: dir })
    }

    /// The path for the command's environment.
    pub(super) fn path(&self) -> &Path {
        &self.socket
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        self.asked.recv().await
    }
}

fn bind() -> io::Result<(TempDir, PathBuf, UnixListener)> {
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode));
    let dir = tempfile::Builder::new().prefix("supervisor-leaks-").tempdir()?;
    let bound = tempfile::Builder::new().prefix("").make_in(dir.path(), |path| UnixListener::bind(path))?;
    let (listener, path) = bound.keep()?;
    mode(&path, 0o666)?;
    mode(dir.path(), 0o711)?;
    Ok((dir, path, listener))
}

/// Serves one connection, which sends one request. Anything else gets no answer.
async fn serve(stream: UnixStream, asked: mpsc::Sender<Asked>) -> Option<()> {
    let pid = u32::try_from(stream.peer_cred().ok()?.pid()?).ok()?;
    let mut stream = AsyncReader::new(stream.take(MAX_REQUEST));
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    let request = serde_json::from_str(&line).ok()?;
    let (answer, answered) = oneshot::channel();
    asked.send(Asked { request, pid, answer }).await.ok()?;
    let mut text = serde_json::to_string(&answered.await.ok()?).ok()?;
    text.push('\n');
    stream.into_inner().into_inner().write_all(text.as_bytes()).await.ok()
}

/// The socket of the `supervisor leaks` above this process, if there is one.
pub(super) fn outer() -> Option<PathBuf> {
    let path = std::env::var_os(SOCKET).filter(|path| !path.as_bytes().is_empty())?;
    Some(PathBuf::from(path))
}

/// Sends a mark and waits for the answer. Returns the processes that the test left behind, as sentences.
pub(super) fn send(socket: &Path, request: &Request) -> Result<Vec<String>> {
    /// The answer comes after the settle time. Only the other side knows that time, so this limit is long.
    const LIMIT: Duration = Duration::from_mins(10);
    let mut stream = Client::connect(socket).with_context(|| {
        format!(
            "cannot reach the `supervisor leaks` that {SOCKET} names: {}",
            clean(&socket.display().to_string())
        )
    })?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut text = serde_json::to_string(request)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).context("cannot send the mark")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).context("the mark was not answered")?;
    let Answer { leaks, error } =
        serde_json::from_str(&line).context("the `supervisor leaks` above did not take the mark")?;
    match error {
        Some(error) => bail!("{}", clean(&error)),
        None => Ok(leaks),
    }
}
