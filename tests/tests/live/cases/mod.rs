//! Plays public bug reports, with the programs of the reports or with a fixture that makes the same system calls. Each
//! test knows the truth, and compares it with the output of `watch`, `ps`, `explain` and `check` at the same time.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use supervisor_tests::{Event, Watch, of_process, run_json, supervisor_bin};

mod containers;
mod crond;
#[cfg(target_arch = "x86_64")]
mod elf32;
mod elsewhere;
mod lxc;
mod misled;
mod own;
mod pods;
mod storage;

/// The fixture program.
const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");

/// The truth about a zombie. Words are compared without regard to case.
#[derive(Clone, Copy, Debug, Default)]
struct Truth<'a> {
    family: &'a str,
    position: &'a str,
    cause: &'a str,
    prognosis: &'a str,
    /// The verdict or the evidence names each of these.
    names: &'a [&'a str],
    /// One of the remedies has each of these words.
    remedies: &'a [&'a str],
    /// No remedy has any of these words.
    no_remedy: &'a [&'a str],
    /// A line of the remedies that will not help has each of these words.
    wont_help: &'a [&'a str],
    /// No such line has any of these words.
    may_help: &'a [&'a str],
}

impl Truth<'_> {
    /// Waits until the watch reports this truth about a process, and compares the other commands. Returns the event of
    /// the watch.
    fn is_told_of(&self, watch: &mut Watch, pid: u32, reaper: u32) -> Result<Event> {
        let what = format!("the cause {} of {pid}", self.cause);
        // A prognosis can need some seconds of watching.
        let is_so = |event: &Event| {
            let prognosis = event.text("supervisor.prognosis");
            event.is_about(pid) && self.has_cause(event) && prognosis.is_ok_and(|it| it == self.prognosis)
        };
        let found = watch.wait_for(&what, is_so)?;
        self.compare(&found, reaper).context("watch")?;
        let pid_text = pid.to_string();
        for args in [&["ps", "-o", "json", "--pid", &pid_text], &["explain", &pid_text, "-o", "json"][..]] {
            let (events, _) = run_json(args)?;
            let event = events.iter().find(|event| event.is_about(pid));
            let event = event.with_context(|| format!("{args:?} does not tell of {pid}"))?;
            self.compare(event, reaper).with_context(|| args[0].to_owned())?;
        }
        let line = check(&["--pid", &pid_text])?;
        // Its performance data counts leaked and late zombies apart, and other zombies only in the total.
        let counted = match self.prognosis {
            "unknown" => " leaked=0;;;0 late=0;".to_owned(),
            prognosis => format!(" {prognosis}=1;"),
        };
        for word in [&format!("[{reaper}]"), self.family, &counted] {
            ensure!(line.contains(word), "{word} is not in what check says: {line}");
        }
        Ok(found)
    }

    /// Fails if an event about the process was sure of anything else, or if the last event before its end says anything
    /// else.
    fn holds_in(&self, events: &[Event], pid: u32) -> Result<()> {
        let open: Vec<&Event> =
            of_process(events, pid).into_iter().filter(|event| event.action() != "zombie-reaped").collect();
        let last = open.last().context("no event is about the process")?;
        ensure!(self.has_cause(last), "the last cause is another one: {}", last.0);
        for event in open {
            let is_sure = event.text("supervisor.confidence")? == "high";
            ensure!(!is_sure || self.has_cause(event), "it was sure of another cause: {}", event.0);
        }
        Ok(())
    }

    /// Waits until the process is reaped, and ends the watch. The verdict must hold to the end, and the `healthy`
    /// processes must cause no finding.
    fn holds_to_the_end(&self, mut watch: Watch, pid: u32, healthy: &[u32]) -> Result<()> {
        watch.wait_for("its end", |event| event.says("zombie-reaped", pid))?;
        let outcome = watch.stop()?;
        self.holds_in(&outcome.events, pid)?;
        silent_about(&outcome.events, healthy)
    }

    fn has_cause(&self, event: &Event) -> bool {
        event.text("supervisor.cause").is_ok_and(|cause| cause == self.cause)
    }

    fn compare(&self, event: &Event, reaper: u32) -> Result<()> {
        let wanted = [
            ("supervisor.family.id", self.family),
            ("supervisor.position", self.position),
            ("supervisor.cause", self.cause),
            ("supervisor.prognosis", self.prognosis),
        ];
        for (field, wanted) in wanted {
            let is = event.text(field)?;
            ensure!(is == wanted, "{field} is {is}, not {wanted}: {}", event.0);
        }
        ensure!(event.pid("supervisor.reaper.pid")? == reaper, "the reaper is {reaper}: {}", event.0);
        let said = format!("{} {}", event.text("supervisor.verdict")?, text_of(event, "evidence"));
        has_all("the verdict and the evidence", &said, self.names)?;
        let (remedies, wont_help) = (text_of(event, "remedies"), text_of(event, "wont_help"));
        has_all("the remedies", &remedies, self.remedies)?;
        has_none("the remedies", &remedies, self.no_remedy)?;
        has_all("what will not help", &wont_help, self.wont_help)?;
        has_none("what will not help", &wont_help, self.may_help)
    }
}

/// The line of `check` for zombies of any age.
fn check(filter: &[&str]) -> Result<String> {
    let mut check = Command::new(supervisor_bin()?);
    check.args(["check", "--min-age", "0s"]).args(filter).stdin(Stdio::null());
    Ok(String::from_utf8(check.output()?.stdout)?)
}

/// A list of the event, as text; empty if it is absent.
fn text_of(event: &Event, list: &str) -> String {
    event.get(&format!("supervisor.{list}")).map(ToString::to_string).unwrap_or_default()
}

fn has_all(what: &str, text: &str, words: &[&str]) -> Result<()> {
    let lower = text.to_lowercase();
    let missing = words.iter().find(|word| !lower.contains(&word.to_lowercase()));
    missing.map_or(Ok(()), |word| Err(anyhow::anyhow!("{word:?} is missing in {what}: {text}")))
}

fn has_none(what: &str, text: &str, words: &[&str]) -> Result<()> {
    let lower = text.to_lowercase();
    let false_one = words.iter().find(|word| lower.contains(&word.to_lowercase()));
    false_one.map_or(Ok(()), |word| Err(anyhow::anyhow!("{word:?} is in {what}: {text}")))
}

/// The first finding about a child of this process that fits.
fn finding_under(watch: &mut Watch, reaper: u32, fits: impl Fn(&Event) -> bool) -> Result<Event> {
    watch.wait_for("a zombie of the reaper", |event| {
        event.action() == "zombie-detected" && event.is_under(reaper) && fits(event)
    })
}

/// Fails if an event is about any of these processes.
fn silent_about(events: &[Event], pids: &[u32]) -> Result<()> {
    for &pid in pids {
        let about = events.iter().find(|event| event.is_about(pid));
        ensure!(about.is_none(), "process {pid} is healthy: {about:?}");
    }
    Ok(())
}

/// Writes an executable script.
fn script(file: &Path, text: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text).with_context(|| file.display().to_string())?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}
