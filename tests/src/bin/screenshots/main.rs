//! Pictures for the documentation: real sessions on a real terminal, against the incident. `cargo xtask docs` builds and
//! runs it.

mod svg;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use supervisor_lab::{
    Lab, Monitor, PidNs, Pod, Runtime, create, played_double_fork, stop_on_signals, until, zombies_of,
};
use supervisor_tests::{Fixture, Screen, Watch, supervisor_bin};

/// What a shell says when it waits for the next command.
const PROMPT: &str = "$ ";
/// How long the monitor may take to adopt the zombie.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Args {
    /// The folder for the pictures
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn main() -> Result<()> {
    stop_on_signals()?;
    let out = Args::parse().out;
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let mut monitor = Monitor::start(&lab)?;
    let mut watch = Watch::start(&[])?;
    let (top, top_wide) = (Session::of_top(80, 24)?, Session::of_top(150, 40)?);

    // The incident, and a parent that never waits.
    if Runtime::Crun.find().is_some() {
        create(&lab, &mut monitor, Runtime::Crun, PidNs::Joined(&pod))?;
    } else {
        played_double_fork(&lab, &mut monitor, &pod)?;
    }
    let zombie = until("a zombie under the monitor", LIMIT, || Ok(zombies_of(monitor.pid())?.pop()))?.pid;
    watch.wait_for("the zombie", |event| event.says("zombie-detected", zombie))?;
    pod.kill()?;
    watch.wait_for("the blocked namespace", |event| event.says("namespace-blocked", pod.pid()))?;
    let program = env::current_exe()?.with_file_name("fixture");
    let fixture = Fixture::start(&program.to_string_lossy(), &["never-wait", "2"])?;
    for _ in 0..2 {
        let other = fixture.fact("zombie")?.pid("pid")?;
        watch.wait_for("another zombie", |event| event.says("zombie-detected", other))?;
    }

    let picture = |name: &str, picture: String| {
        let file = out.join(format!("{name}.svg"));
        fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
        Ok::<_, anyhow::Error>(())
    };
    picture("ps", Session::start(130, 24, "supervisor ps")?.whole()?)?;
    picture("explain", Session::start(112, 80, &format!("supervisor explain {zombie}"))?.whole()?)?;
    picture("top", top.shown(&["blocked 1", "crun[", "fixture["], "")?)?;
    picture("top-wide", top_wide.shown(&["blocked 1", "crun[", "fixture["], "\r")?)?;

    // What was left is reaped, and the pod ends.
    monitor.reap()?;
    fixture.end()?;
    watch.stop()?;
    until("the pod to end", LIMIT, || Ok(pod.is_gone().then_some(())))
}

/// A shell on a host of a plain name, and the command that was typed.
struct Session {
    screen: Screen,
    lines: u16,
    command: String,
}

impl Session {
    fn start(columns: u16, lines: u16, command: &str) -> Result<Self> {
        let binary = supervisor_bin()?.canonicalize()?;
        let own = binary.parent().unwrap_or(Path::new("/")).to_owned();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths([own].into_iter().chain(env::split_paths(&path)))?;
        let mut shell = Command::new("unshare");
        shell.args(["--uts", "sh", "-c", "hostname node-1 && exec sh +m -i"]);
        shell.env("PATH", path).env("PS1", PROMPT).env("LANG", "C.UTF-8").current_dir("/").env_remove("ENV");
        let mut screen = Screen::start(shell, columns, lines)?;
        screen.shows(PROMPT.trim_end())?;
        screen.types(&format!("{command}\n"))?;
        Ok(Self { screen, lines, command: command.to_owned() })
    }

    /// `supervisor top`, once it watches: what it has not seen, it cannot tell.
    fn of_top(columns: u16, lines: u16) -> Result<Self> {
        let session = Self::start(columns, lines, "supervisor top")?;
        session.screen.shows("? keys")?;
        Ok(session)
    }

    /// Waits until the shell wants another command.
    fn prompts(&self) -> Result<()> {
        let end = format!("\n{}", PROMPT.trim_end());
        until("the next prompt", LIMIT, || Ok(self.screen.text().trim_end().ends_with(&end).then_some(())))
            .with_context(|| self.screen.text())
    }

    /// A picture of the command and all that it prints.
    fn whole(self) -> Result<String> {
        self.prompts()?;
        let now = self.screen.now();
        let rows = now.screen().contents().trim_end().lines().count();
        ensure!(rows < usize::from(self.lines), "it does not fit on {} lines", self.lines);
        // The last line is the prompt.
        self.end("", &now, rows - 1)
    }

    /// A picture of the whole screen, once it shows this and these keys were typed.
    fn shown(mut self, words: &[&str], keys: &str) -> Result<String> {
        for word in words {
            self.screen.shows(word)?;
        }
        if !keys.is_empty() {
            self.screen.types(keys)?;
            self.screen.shows("the whole story")?;
        }
        let now = self.screen.now();
        let rows = usize::from(self.lines);
        self.end("q", &now, rows)
    }

    fn end(mut self, keys: &str, now: &vt100::Parser, rows: usize) -> Result<String> {
        self.screen.types(keys)?;
        self.prompts()?;
        // Nothing more to read ends a shell.
        self.screen.types("\x04")?;
        self.screen.code()?;
        Ok(svg::draw(now.screen(), rows, &self.command, &placeless()?))
    }
}

/// What tells where a picture was made, and what is put for it: this program's control groups, and the kernel's local
/// version; a narrow screen may show only its beginning.
fn placeless() -> Result<Vec<(String, String)>> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let groups = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| *path != "/");
    let mut places: Vec<_> =
        groups.map(|path| (path.to_owned(), "/system.slice/crio.service".to_owned())).collect();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let release = release.trim_end();
    let local = release.find('-').unwrap_or(release.len());
    let longer = (local + 1..=release.len()).filter_map(|end| release.get(..end));
    places.extend(longer.map(|text| (text.to_owned(), release[..local].to_owned())));
    // The longest first: others may begin so.
    places.sort_by_key(|(place, _)| std::cmp::Reverse(place.len()));
    Ok(places)
}
