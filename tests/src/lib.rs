//! What the live tests share: a running `supervisor watch`, the event contract, fixtures.
//!
//! Other zombies may stand on the host while they run: every test looks at its own processes only.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

mod agent;
mod broker;
mod case;
mod containerd;
mod contract;
mod den;
mod diagnosis;
mod event;
mod guard;
mod messages;
mod oracle;
mod process;
mod prometheus;
mod quiet_agent;
mod recorded;
mod screen;
mod watch;

pub use agent::Agent;
pub use broker::{Broker, Stored};
pub use case::Case;
pub use containerd::{Containerd, Spec, container_id, pod_cgroup, remove_groups};
pub use contract::Contract;
pub use den::{ATTACKER, Besieged, Den, END, ON_TIME};
pub use event::{Event, events_in, finding_of, findings_of, of_process};
pub use guard::{Guard, child_of, signal, zombie_of};
pub use messages::{HOSTILE, hostile, hostile_in, message, octet_counted, recorded, repeated};
pub use oracle::{Judgement, Life, Run, Slack, judge, lives, setting, time_of, wall};
pub use process::{end_by, freeze, hides_init, resident_kib};
pub use prometheus::{Prometheus, http_get, promtool};
pub use quiet_agent::QuietAgent;
pub use screen::{Screen, code_without_terminal};
pub use supervisor_lab::{Fact, Part as Fixture, RunningContainer};
pub use watch::{Outcome, Watch, counted, created_on_host, events_of, run_json};

/// How long a test waits for any condition before it gives up. It only guards against a hang: no test passes or fails
/// by how fast the machine is, so it is far longer than a busy machine needs.
pub const WAIT_LIMIT: Duration = Duration::from_mins(2);

/// The binary under test.
pub fn supervisor_bin() -> Result<PathBuf> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the live tests load eBPF programs and make namespaces: run them as root"
    );
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/supervisor");
    let path = env::var_os("SUPERVISOR_BIN").map_or(built, PathBuf::from);
    ensure!(
        path.is_file(),
        "there is no {}: build it with `cargo xtask build`, or set SUPERVISOR_BIN",
        path.display()
    );
    Ok(path)
}

/// Starts a program of `tests/src/bin/fixture`, with its arguments.
#[macro_export]
macro_rules! fixture {
    ($($argument:expr),+ $(,)?) => {
        $crate::Fixture::start(env!("CARGO_BIN_EXE_fixture"), &[$($argument),+])
    };
}
