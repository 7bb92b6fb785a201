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
use supervisor_tests::{Fixture, Screen, Watch, supervisor_bin};
use supervisor_user::scenario::{
    Lab, Monitor, PidNs, Pod, Runtime, create, played_double_fork, stop_on_signals, until, zombies_of,
};

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
    // The incident, and a parent that never waits.
    if Runtime::Crun.find().is_some() {
        create(&lab, &mut monitor, Runtime::Crun, PidNs::Joined(&pod))?;
    } else {
        played_double_fork(&lab, &mut monitor, &pod)?;
    }
    let zombie = until("a zombie under the monitor", LIMIT, || Ok(zombies_of(monitor.pid())?.pop()))?.pid;
    pod.kill()?;
    let program = env::current_exe()?.with_file_name("fixture");
    let fixture = Fixture::start(&program.to_string_lossy(), &["never-wait", "2"])?;
    for (action, pid) in [("zombie-detected", zombie), ("namespace-blocked", pod.pid())] {
        watch.wait_for(action, |event| event.says(action, pid))?;
    }
    let last = fixture.fact("zombie")?.pid("pid")?;
    watch.wait_for("the other zombies", |event| event.says("zombie-detected", last))?;

    let explain = format!("supervisor explain {zombie}");
    for (name, columns, lines, command) in [
        ("ps", 130, 24, "supervisor ps"),
        ("explain", 112, 80, explain.as_str()),
        ("top", 80, 24, "supervisor top"),
        ("top-wide", 150, 30, "supervisor top"),
    ] {
        let file = out.join(format!("{name}.svg"));
        let picture = if command.ends_with("top") {
            session_of_top(columns, lines, command, &zombie.to_string(), name == "top-wide")?
        } else {
            session(columns, lines, command, &zombie.to_string())?
        };
        fs::write(&file, picture).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{}", file.display());
    }

    // What was left is reaped, and the pod ends.
    monitor.reap()?;
    fixture.end()?;
    watch.stop()?;
    until("the pod to end", LIMIT, || Ok(pod.is_gone().then_some(())))
}

/// A shell on a host of a plain name.
fn shell(columns: u16, lines: u16) -> Result<Screen> {
    let binary = supervisor_bin()?.canonicalize()?;
    let own = binary.parent().unwrap_or(Path::new("/")).to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([own].into_iter().chain(env::split_paths(&path)))?;
    let mut shell = Command::new("unshare");
    shell.args(["--uts", "sh", "-c", "hostname node-1 && exec sh +m -i"]);
    shell.env("PATH", path).env("PS1", PROMPT).env("LANG", "C.UTF-8").current_dir("/").env_remove("ENV");
    let screen = Screen::start(shell, columns, lines)?;
    screen.shows(PROMPT.trim_end())?;
    Ok(screen)
}

/// A command and all that it prints, which has to hold `what`.
fn session(columns: u16, lines: u16, command: &str, what: &str) -> Result<String> {
    let mut screen = shell(columns, lines)?;
    screen.types(&format!("{command}\n"))?;
    screen.shows(what)?;
    let ready = format!("\n{}", PROMPT.trim_end());
    until("the next prompt", LIMIT, || Ok(screen.text().trim_end().ends_with(&ready).then_some(())))?;
    let now = screen.now();
    let rows = now.screen().contents().lines().count();
    ensure!(rows < usize::from(lines), "it does not fit on {lines} lines");
    screen.types("exit\n")?;
    screen.code()?;
    // The last line is the prompt.
    Ok(svg::draw(now.screen(), rows - 1, command))
}

/// A screen of `supervisor top` that shows `what`, with the whole story of what is selected or not.
fn session_of_top(columns: u16, lines: u16, command: &str, what: &str, story: bool) -> Result<String> {
    let mut screen = shell(columns, lines)?;
    screen.types(&format!("{command}\n"))?;
    for shown in ["? keys", what] {
        screen.shows(shown)?;
    }
    if story {
        screen.types("\r")?;
        screen.shows("the whole story")?;
    }
    let now = screen.now();
    screen.types("q")?;
    until("the next prompt", LIMIT, || {
        Ok(screen.text().trim_end().ends_with(PROMPT.trim_end()).then_some(()))
    })?;
    screen.types("exit\n")?;
    screen.code()?;
    Ok(svg::draw(now.screen(), usize::from(lines), command))
}
