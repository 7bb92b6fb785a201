//! What a service manager is told: `sd_notify(3)`. Without one, nobody is told, and that is no error.

use std::{
    io,
    time::{Duration, Instant},
};

use sd_notify::{NotifyState, notify};

/// The hooks are attached. The status is one line for people.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn ready(status: &str) -> io::Result<()> {
    notify(&[NotifyState::Ready, NotifyState::Status(status)])
}

/// The configuration is being read again; [`ready`] has to follow, whatever comes of it.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn reloading() -> io::Result<()> {
    notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?])
}

/// This process ends.
///
/// # Errors
///
/// If there is a service manager and it cannot be reached.
pub fn stopping() -> io::Result<()> {
    notify(&[NotifyState::Stopping])
}

/// The service manager's watchdog, which ends this process when it does not hear from it.
#[derive(Debug)]
pub struct Watchdog {
    /// How often it is told: at half of the time after which it bites; never if there is none.
    period: Option<Duration>,
    told: Option<Instant>,
}

impl Watchdog {
    /// The one that the environment names (`WATCHDOG_USEC`, `WATCHDOG_PID`).
    #[must_use]
    pub fn from_env() -> Self {
        Self { period: sd_notify::watchdog_enabled().map(|limit| limit / 2), told: None }
    }

    /// All is well. Call it at each tick of the tracer, and only there: it is to bite when the tracer is stuck.
    ///
    /// # Errors
    ///
    /// If there is a service manager and it cannot be reached.
    pub fn tick(&mut self) -> io::Result<()> {
        let Some(period) = self.period else { return Ok(()) };
        if self.told.is_some_and(|told| told.elapsed() < period) {
            return Ok(());
        }
        self.told = Some(Instant::now());
        notify(&[NotifyState::Watchdog])
    }
}

#[cfg(test)]
mod tests {
    use std::{env, os::unix::net::UnixDatagram, process::Command};

    use super::*;

    const CHILD: &str = "SUPERVISOR_TEST_SERVICE";
    const LIMIT: Duration = Duration::from_secs(20);

    /// The environment belongs to the whole process: so the test starts itself once more.
    fn in_child(name: &str) -> Command {
        let mut command = Command::new(env::current_exe().expect("this test"));
        command.args(["--exact", &format!("service::tests::{name}"), "--nocapture"]).env(CHILD, "1");
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command
    }

    fn live() {
        let mut watchdog = Watchdog::from_env();
        watchdog.tick().expect("told");
        ready("watching").expect("told");
        watchdog.tick().expect("told");
        reloading().expect("told");
        ready("watching again").expect("told");
        stopping().expect("told");
    }

    #[test]
    fn a_service_manager_hears_of_each_state() {
        if env::var_os(CHILD).is_some() {
            return live();
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(LIMIT)).expect("a time");
        let status = in_child("a_service_manager_hears_of_each_state")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "30000000")
            .status()
            .expect("it starts");
        assert!(status.success(), "{status}");
        let next = || {
            let mut buffer = [0; 4096];
            let length = socket.recv(&mut buffer).expect("a message");
            String::from_utf8(buffer[..length].to_vec()).expect("text")
        };
        assert_eq!(next(), "WATCHDOG=1\n");
        assert_eq!(next(), "READY=1\nSTATUS=watching\n", "the second tick came too soon to be told");
        let reloading = next();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("the time of the reload");
        assert!(time.trim().parse::<u64>().expect("a number") > 0);
        assert_eq!(next(), "READY=1\nSTATUS=watching again\n");
        assert_eq!(next(), "STOPPING=1\n");
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
