//! Tests of another user who holds locks on the agent's files: that must not stop the agent.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use supervisor_lab::until;
use supervisor_tests::{Agent, Event, fixture};

const NOBODY: u32 = 65_534;
const LIMIT: Duration = Duration::from_secs(30);

/// Opens a file or directory as another user. Linux keeps user ids for each thread: the other threads of this process
/// stay root.
fn open_as_nobody(path: &Path) -> Result<io::Result<File>> {
    let opened = thread::scope(|scope| {
        let open = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_thread_res_uid(uid, uid, uid)?;
            Ok::<_, io::Error>(File::open(path))
        });
        open.join()
    });
    Ok(opened.ok().context("the thread has panicked")??)
}

/// A lock of a file or directory that another user has opened. It is held until this is dropped.
fn lock_as_nobody(path: &Path) -> Result<File> {
    let file = open_as_nobody(path)??;
    file.try_lock()?;
    ensure!(matches!(File::open(path)?.try_lock(), Err(TryLockError::WouldBlock)), "it is not held");
    Ok(file)
}

fn chmod(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

#[test]
fn a_lock_of_another_user_stops_no_sink() -> Result<()> {
    let dir = tempfile::tempdir()?;
    chmod(dir.path(), 0o755)?;
    let events = dir.path().join("events.json");
    // An administrator may set it up like this, for a shipper that is not root.
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

#[test]
fn no_other_user_can_open_a_file_that_the_agent_locks() -> Result<()> {
    let dir = tempfile::tempdir()?;
    chmod(dir.path(), 0o755)?;
    // All users may enter these directories, so only the mode of a lock file excludes others.
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
        ensure!(open_as_nobody(&control)?.is_ok(), "nobody cannot enter {}", holder.display());
        fs::remove_file(&control)?;
        let opened = open_as_nobody(&lock)?.map_err(|error| error.kind());
        let is_denied = matches!(opened, Err(io::ErrorKind::PermissionDenied));
        ensure!(is_denied, "another user opens {}: {opened:?}", lock.display());
    }
    agent.stop()?;
    Ok(())
}
