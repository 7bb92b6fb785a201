//! Tests with FIFOs and symbolic links at every path that the agent opens for itself. It waits for no FIFO, writes
//! through no link, and ends on time.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{CWD, Mode, mkfifoat};
use supervisor_lab::until;
use supervisor_tests::{Agent, Besieged, Den, supervisor_bin};
use tempfile::TempDir;

const UNTOUCHED: &str = "nobody has written here\n";
const LIMIT: Duration = Duration::from_secs(20);

/// Files that the agent needs. If another kind of file is in their place, it says so and does not start.
const NEEDED: [&str; 6] = [
    "state/lock",
    "state/open-findings.jsonl",
    "state/spool/out/lock",
    "state/spool/out/delivered",
    "state/spool/out/0000000000000001.spool",
    "events.sock",
];
/// Files that the agent replaces, leaves out, or does not need for now.
const OTHERS: [&str; 7] = [
    "state/open-findings.new",
    "state/history.json",
    "state/history.new",
    "events.json",
    "rotated.json.1",
    "rotated.json.2.zst",
    "rotated.json.part",
];

#[derive(Clone, Copy, Debug)]
enum Kind {
    Fifo,
    Link,
}

/// A directory with the files of an agent, and a directory to which no user may write.
struct Planted(TempDir);

impl Planted {
    fn new(kind: Kind, paths: &[&str]) -> Result<Self> {
        let planted = Self(tempfile::tempdir()?);
        for dir in ["state/spool/out", "outside"] {
            fs::create_dir_all(planted.at(dir))?;
        }
        for (number, path) in paths.iter().enumerate() {
            let outside = planted.at("outside").join(number.to_string());
            fs::write(&outside, UNTOUCHED)?;
            match kind {
                Kind::Fifo => mkfifoat(CWD, planted.at(path), Mode::RUSR | Mode::WUSR)?,
                Kind::Link => symlink(&outside, planted.at(path))?,
            }
        }
        Ok(planted)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Sinks that open all the paths.
    fn sinks(&self) -> String {
        let dir = self.0.path().display();
        format!(
            "[sinks.file.file]\npath = \"{dir}/events.json\"\n\
             [sinks.rotated.file]\npath = \"{dir}/rotated.json\"\nrotate_size = \"4KiB\"\nkeep = 3\ncompress = true\n"
        )
    }

    fn nothing_is_written_outside(&self) -> Result<()> {
        for entry in fs::read_dir(self.at("outside"))? {
            let path = entry?.path();
            ensure!(fs::read_to_string(&path)? == UNTOUCHED, "{} was written to", path.display());
        }
        Ok(())
    }
}

fn refusal(dir: &Path, config: &str) -> Result<String> {
    let refused = Agent::start_in(dir, config).err();
    Ok(refused.context("the agent has started")?.to_string())
}

#[test]
fn a_fifo_or_link_in_place_of_a_needed_file_is_refused_by_name() -> Result<()> {
    for kind in [Kind::Fifo, Kind::Link] {
        for path in NEEDED {
            let planted = Planted::new(kind, &[path])?;
            let socket = planted.at("events.sock");
            let config = format!(
                "[sinks.out]\npolicy = \"spool\"\n[sinks.out.stdout]\n[sinks.readers.unix]\npath = \"{}\"\n",
                socket.display()
            );
            let why = refusal(planted.0.path(), &config)?;
            ensure!(why.contains("has ended"), "{kind:?} at {path}: {why}");
            planted.nothing_is_written_outside().with_context(|| format!("{kind:?} at {path}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_fifo_or_link_elsewhere_delays_neither_reports_nor_the_end() -> Result<()> {
    let den = Den::new(env!("CARGO_BIN_EXE_fixture"))?;
    for kind in [Kind::Fifo, Kind::Link] {
        let planted = Planted::new(kind, &OTHERS)?;
        let agent =
            Besieged::of(|config| Agent::start_in(planted.0.path(), &format!("{config}{}", planted.sinks())))
                .with_context(|| format!("{kind:?}"))?;
        // Waits until the file has been rotated, and the planted file has moved on.
        let rotated = planted.at("rotated.json.3.zst");
        for _ in 0..4 {
            den.bystander(LIMIT, |pid, within| agent.reports(pid, within))?;
        }
        until("the file to be rotated", LIMIT, || Ok(fs::symlink_metadata(&rotated).ok().map(drop)))?;
        agent.is_healthy()?;
        // A sink that fails gets five seconds at the end (docs/sinks.md).
        let asked = Instant::now();
        agent.agent.stop()?;
        ensure!(asked.elapsed() < LIMIT, "its end took {:?}", asked.elapsed());
        planted.nothing_is_written_outside().with_context(|| format!("{kind:?}"))?;
    }
    Ok(())
}

#[test]
fn a_fifo_in_place_of_the_configuration_is_refused_and_not_waited_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("fifo.toml");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR)?;
    let output = Command::new(supervisor_bin()?).arg("run").arg("--config").arg(&fifo).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "{}: {said}", output.status);
    ensure!(said.contains("it is no regular file"), "{said}");
    Ok(())
}
