//! Another user holds locks on what the agent writes to: that must not stop it.

use std::{
    fs::{self, File, TryLockError},
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use supervisor_tests::{Agent, Event, fixture};
use supervisor_user::scenario::{Owned, until};

const NOBODY: u32 = 65_534;
const LIMIT: Duration = Duration::from_secs(30);

/// A process of another user that holds the lock of a file or directory until it is dropped.
fn lock_as_nobody(path: &Path) -> Result<Owned> {
    let mut command = Command::new("flock");
    command.arg("--exclusive").arg("--no-fork").arg(path).args(["sleep", "600"]);
    command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let owned = Owned::start(&mut command)?;
    until("the lock to be held", LIMIT, || {
        Ok(matches!(File::open(path)?.try_lock(), Err(TryLockError::WouldBlock)).then_some(()))
    })?;
    Ok(owned)
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn a_lock_of_another_user_stops_no_sink() -> Result<()> {
    let dir = tempfile::tempdir()?;
    chmod(dir.path(), 0o755)?;
    let events = dir.path().join("events.json");
    // As an administrator would have it, for a shipper that is not root.
    fs::write(&events, "")?;
    chmod(&events, 0o644)?;
    let _of_directory = lock_as_nobody(dir.path())?;
    let _of_file = lock_as_nobody(&events)?;

    let socket = dir.path().join("events.sock");
    let agent = Agent::start(&format!(
        "[sinks.readers.unix]\npath = \"{}\"\n[sinks.file.file]\npath = \"{}\"\n",
        socket.display(),
        events.display()
    ))?;
    let reader = UnixStream::connect(&socket).context("the socket is not there")?;
    reader.set_read_timeout(Some(LIMIT))?;
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let is_it = |line: &str| -> Result<bool> {
        let event = Event(serde_json::from_str(line).with_context(|| line.to_owned())?);
        Ok(event.says("zombie-detected", pid))
    };
    let mut lines = BufReader::new(reader).lines();
    while !is_it(&lines.next().context("the socket's end")??)? {}
    until("the file to have it", LIMIT, || {
        let text = fs::read_to_string(&events)?;
        let whole = text.lines().filter(|line| line.ends_with('}'));
        Ok(whole.map(is_it).collect::<Result<Vec<_>>>()?.contains(&true).then_some(()))
    })?;
    fixture.send("reap")?;
    fixture.end()?;
    agent.stop()?;
    Ok(())
}

/// What `cat` says of a file as another user; `None` if that user can read it.
fn read_as_nobody(path: &Path) -> Result<Option<String>> {
    let mut command = Command::new("cat");
    command.arg(path).env("LC_ALL", "C").uid(NOBODY).gid(NOBODY).stdin(Stdio::null());
    let output = command.output()?;
    Ok((!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn no_other_user_can_open_what_the_agent_locks() -> Result<()> {
    let dir = tempfile::tempdir()?;
    chmod(dir.path(), 0o755)?;
    // Everybody may enter these directories, so that only the mode of a lock keeps others out.
    let holders = ["state", "state/spool", "state/spool/out"].map(|holder| dir.path().join(holder));
    for holder in &holders {
        fs::create_dir(holder)?;
        chmod(holder, 0o755)?;
    }
    let agent = Agent::start_in(dir.path(), "[sinks.out]\npolicy = \"spool\"\n[sinks.out.stdout]\n")?;
    for holder in [&holders[0], &holders[2]] {
        let (lock, control) = (holder.join("lock"), holder.join("control"));
        ensure!(fs::metadata(&lock)?.permissions().mode() & 0o777 == 0o600, "{}", lock.display());
        fs::write(&control, "")?;
        chmod(&control, 0o644)?;
        ensure!(read_as_nobody(&control)?.is_none(), "nobody cannot enter {}", holder.display());
        fs::remove_file(&control)?;
        let error = read_as_nobody(&lock)?;
        let is_denied = error.as_ref().is_some_and(|error| error.contains("Permission denied"));
        ensure!(is_denied, "another user opens {}: {error:?}", lock.display());
    }
    agent.stop()?;
    Ok(())
}
