//! Notifies a service manager with `sd_notify(3)`. Without a service manager, the functions send nothing and return no
//! error.

use std::io;

use sd_notify::{NotifyState, notify};
use tokio::time::interval;

/// Reports that the hooks are attached. The status is one line for people.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn ready(status: &str) -> io::Result<()> {
    notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

/// Reports that this process reads its configuration again. A call of [`ready`] must follow, whether the reload
/// succeeds or fails.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn reloading() -> io::Result<()> {
    notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// Reports that this process ends.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn stopping() -> io::Result<()> {
    notify(&[NotifyState::Stopping])
}

/// Notifies the service manager's watchdog repeatedly that the event loop of this thread runs. Without a watchdog, the
/// function returns at once. Run it on the loop that it vouches for. If notifications fail one after the other, only
/// the error of the first one goes to `failed`.
pub async fn watchdog(mut failed: impl FnMut(io::Error)) {
    // The environment names the time after which the watchdog acts.
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let mut ticks = interval(limit / 2);
    let mut is_notified = true;
    loop {
        ticks.tick().await;
        let result = notify(&[NotifyState::Watchdog]);
        let was_notified = std::mem::replace(&mut is_notified, result.is_ok());
        if let (Err(error), true) = (result, was_notified) {
            failed(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        io::Write as _,
        os::unix::net::UnixDatagram,
        process::{Child, Command},
        thread,
        time::{Duration, Instant},
    };

    use tokio::time::timeout;

    use super::*;

    const CHILD: &str = "SUPERVISOR_TEST_SERVICE";
    /// Names the file for the output of the child.
    const SAID: &str = "SUPERVISOR_TEST_SAID";
    const LIMIT: Duration = Duration::from_secs(20);

    /// A child that does not outlive the test.
    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            // The child may have ended already.
            let _over = self.0.kill();
            let _status = self.0.wait();
        }
    }

    /// The environment belongs to the whole process, so the test starts itself once more as a child.
    fn in_child(name: &str) -> Command {
        let mut command = Command::new(env::current_exe().expect("this test"));
        command.args(["--exact", &format!("service::tests::{name}"), "--nocapture"]).env(CHILD, "1");
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command
    }

    fn live() {
        ready("watching").expect("notified");
        reloading().expect("notified");
        ready("watching again").expect("notified");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a loop");
        let guarded = async {
            timeout(Duration::from_millis(700), watchdog(|error| panic!("it could not be notified: {error}")))
                .await
        };
        match runtime.block_on(guarded) {
            Ok(()) => assert!(env::var_os("WATCHDOG_USEC").is_none(), "there is a watchdog to tell"),
            Err(_) => assert!(env::var_os("WATCHDOG_USEC").is_some(), "there is no watchdog to tell"),
        }
        stopping().expect("notified");
    }

    #[test]
    fn a_service_manager_gets_every_state() {
        if env::var_os(CHILD).is_some() {
            return live();
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a time");
        let status = in_child("a_service_manager_gets_every_state")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "1000000")
            .status()
            .expect("it starts");
        assert!(status.success(), "{status}");
        let next = || {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).expect("a message");
            String::from_utf8(buffer[..length].to_vec()).expect("text")
        };
        assert_eq!(next(), "READY=1\nSTATUS=watching\n");
        let reloading = next();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time of the reload");
        assert!(time.trim().parse::<u64>().expect("a number") > 0);
        assert_eq!(next(), "READY=1\nSTATUS=watching again\n");
        // The first message comes at once, the second after half of the time.
        assert_eq!((next(), next()), ("WATCHDOG=1\n".to_owned(), "WATCHDOG=1\n".to_owned()));
        let last = std::iter::repeat_with(next).find(|message| message != "WATCHDOG=1\n");
        assert_eq!(last.as_deref(), Some("STOPPING=1\n"));
    }

    /// Runs until it is killed. It writes each reported failure as a line into the file.
    fn guard_on() {
        let said = env::var_os(SAID).expect("a file");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a loop");
        runtime.block_on(watchdog(|error| {
            let mut file = fs::File::options().append(true).create(true).open(&said).expect("a file");
            writeln!(file, "{error}").expect("written");
        }));
    }

    #[test]
    fn a_restarted_service_manager_gets_watchdog_messages_again() {
        if env::var_os(CHILD).is_some() {
            return guard_on();
        }
        let dir = tempfile::tempdir().expect("a directory");
        let (path, said) = (dir.path().join("notify"), dir.path().join("said"));
        let bind = || {
            let socket = UnixDatagram::bind(&path).expect("a socket");
            socket.set_read_timeout(Some(LIMIT)).expect("a time");
            socket
        };
        let is_notified = |socket: &UnixDatagram| {
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).expect("WATCHDOG=1 within the time");
            assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
        };
        let failures = || fs::read_to_string(&said).unwrap_or_default().lines().count();
        let mut socket = bind();
        let child = in_child("a_restarted_service_manager_gets_watchdog_messages_again")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "200000")
            .env(SAID, &said)
            .spawn()
            .expect("it starts");
        let _killed = Killed(child);
        is_notified(&socket);
        for row in 1..=2 {
            drop(socket);
            fs::remove_file(&path).expect("removed");
            let deadline = Instant::now() + LIMIT;
            while failures() < row {
                assert!(Instant::now() < deadline, "no failure is reported");
                thread::sleep(Duration::from_millis(5));
            }
            // Several more notifications fail, and none of these failures is reported.
            thread::sleep(Duration::from_millis(500));
            assert_eq!(failures(), row, "{:?}", fs::read_to_string(&said));
            socket = bind();
            is_notified(&socket);
        }
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        if env::var_os(CHILD).is_some() {
            return live();
        }
        let status = in_child("without_a_service_manager_nothing_happens").status().expect("it starts");
        assert!(status.success(), "{status}");
    }
}
