//! Tests of `supervisor top` on a terminal: keys control it, and the zombies are real.

use std::{
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use supervisor_lab::{Lab, Monitor, Pod, played_double_fork, until, zombies_of};
use supervisor_tests::{Agent, Broker, Screen, WAIT_LIMIT, code_without_terminal, fixture, supervisor_bin};

/// The key that selects the last line.
const LAST: &str = "\x1b[F";

/// `supervisor top` on a terminal of 80 columns and 24 lines.
fn top(args: &[&str]) -> Result<Screen> {
    top_on(80, args)
}

/// The same on a terminal of another width.
fn top_on(columns: u16, args: &[&str]) -> Result<Screen> {
    let mut command = Command::new(supervisor_bin()?);
    command.arg("top").args(args).env("LC_ALL", "C.UTF-8");
    Screen::start(command, columns, 24)
}

/// Waits until this text is not on the screen any more.
fn hides(screen: &Screen, what: &str) -> Result<()> {
    until(&format!("the screen to hide `{what}`"), WAIT_LIMIT, || {
        Ok((!screen.text().contains(what)).then_some(()))
    })
    .with_context(|| screen.text())
}

#[test]
fn a_zombie_is_found_and_explained_by_keys() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    let mut screen = top(&[])?;
    screen.shows("leaked")?;
    screen.types(&format!("/{pid}"))?;
    screen.shows(&format!("filter: {pid}_"))?;
    screen.types("\r")?;
    screen.shows(&format!("filter: {pid}  (Esc"))?;
    // Without a filter, other processes of this host may fill the screen. With it, a row also has the pid.
    until("the row of the zombie", WAIT_LIMIT, || {
        let text = screen.text();
        Ok((text.lines().filter(|line| line.contains(&pid)).count() >= 2).then_some(()))
    })?;
    screen.types(LAST)?;
    screen.types("\r")?;
    screen.shows("the whole story")?;
    screen.shows(&format!("fixture[{pid}]"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn all_nodes_are_shown_as_their_agents_report_to_a_broker() -> Result<()> {
    let broker = Broker::start()?;
    let url = broker.url();
    let mut screen = top_on(160, &["--from", &url])?;
    screen.shows("no agent has reported there yet")?;
    let _agent = Agent::start(&format!(
        r#"
grace = "300ms"
host.name = "node-a.example.com"
[sinks.siem]
nats = {{ servers = ["{url}"], heartbeat = "400ms" }}
"#
    ))?;
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    screen.shows("1 nodes, 0 stale")?;
    screen.types(&format!("/{pid}\r"))?;
    screen.shows("node-a.example.com")?;
    // Before that, there is nothing to open: other findings of the host do not pass the filter.
    screen.shows(&format!("    fixture[{pid}]"))?;
    screen.shows("F4")?;
    screen.types(LAST)?;
    screen.types("\r")?;
    screen.shows("Why")?;
    screen.shows("What to do")?;
    // A filter belongs to its page, and the agent also reports zombies of other tests.
    screen.types(&format!("\x1b4/{pid}\r"))?;
    screen.shows(&format!("OPEN    fixture[{pid}] on node-a.example.com"))?;
    fixture.send("reap")?;
    screen.shows(&format!("CLOSED  fixture[{pid}] on node-a.example.com"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn findings_are_grouped_filtered_by_page_and_copied_by_keys() -> Result<()> {
    let fixture = fixture!("never-wait", "7")?;
    let zombies = (0..7).map(|_| fixture.fact("zombie")?.pid("pid")).collect::<Result<Vec<u32>>>()?;
    let (first, last) = (zombies[0], zombies[6]);
    let reaper = fixture.pid();
    let mut screen = top(&["--reaper", &reaper.to_string()])?;

    // If a reaper has more than a few zombies, they are hidden below it until its line is opened.
    screen.shows(&format!("▸ fixture[{reaper}]"))?;
    screen.types("\r")?;
    screen.shows(&format!("▾ fixture[{reaper}]"))?;
    screen.shows(&format!("    fixture[{last}]"))?;
    screen.types("e")?;
    hides(&screen, &format!("fixture[{last}]"))?;
    screen.types("g")?;
    screen.shows("ZOMBIE  ")?;
    screen.shows(&format!("fixture[{last}]"))?;
    screen.types("g")?;

    // The filter of the first page does not apply to the second, and it is still there on the return.
    screen.types(&format!("/[{first}]\r"))?;
    screen.shows(&format!("filter: [{first}]  (Esc clears it)"))?;
    screen.shows(&format!("    fixture[{first}]"))?;
    hides(&screen, &format!("fixture[{last}]"))?;
    screen.types("2")?;
    screen.shows("LAST MINUTE")?;
    screen.shows(&format!("fixture[{reaper}]"))?;
    hides(&screen, "filter: ")?;
    screen.types("1")?;
    screen.shows(&format!("filter: [{first}]  (Esc clears it)"))?;

    screen.types(LAST)?;
    screen.types("y")?;
    screen.shows(&format!("{first} is sent to the terminal's clipboard"))?;
    let copied = format!("\x1b]52;c;{}\x07", BASE64_STANDARD.encode(first.to_string()));
    ensure!(screen.has(copied.as_bytes()), "nothing was copied");
    screen.types("m")?;
    screen.shows("the mouse is off")?;
    ensure!(screen.has(b"\x1b[?1000l"), "the mouse is still reported");
    screen.types("\x1b")?;
    hides(&screen, "filter: ")?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn it_is_suspended_and_goes_on() -> Result<()> {
    let mut fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let mut screen = top(&["--reaper", &fixture.pid().to_string()])?;
    screen.shows(&format!("fixture[{pid}]"))?;
    screen.types("\x1a")?;
    let state = |of: u32| -> Result<bool> {
        let stat = fs::read_to_string(format!("/proc/{of}/stat"))?;
        Ok(stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    };
    until("top to stop", WAIT_LIMIT, || Ok(state(screen.pid())?.then_some(())))?;
    // What it has written last is read in the background.
    until("the screen to be given back", WAIT_LIMIT, || Ok(screen.is_given_back().then_some(())))
        .with_context(|| screen.text())?;
    fixture.send("reap")?;
    fixture.fact("reaped")?;
    screen.signal_job(Signal::CONT)?;
    until("the other screen", WAIT_LIMIT, || Ok((!screen.is_given_back()).then_some(())))?;
    screen.shows("? keys")?;
    screen.shows("nothing is unreaped")?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn an_open_story_follows_the_size_of_the_terminal() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?;
    let mut screen = top(&["--reaper", &fixture.pid().to_string()])?;
    screen.shows(&format!("    fixture[{pid}]"))?;
    screen.types(LAST)?;
    screen.types("\r")?;
    screen.shows("the whole story, inspected")?;
    // The frame of the story is as wide as the terminal.
    let frame = |screen: &Screen| {
        let text = screen.text();
        let line = text.lines().find(|line| line.contains("the whole story"));
        line.filter(|line| line.ends_with('┐')).map(|line| line.chars().count())
    };
    for columns in [120, 60] {
        screen.resize(columns, 40)?;
        until("the story to be wrapped", WAIT_LIMIT, || {
            Ok((frame(&screen) == Some(usize::from(columns))).then_some(()))
        })
        .with_context(|| screen.text())?;
        screen.shows(&format!("UNREAPED  fixture[{pid}]"))?;
    }
    screen.types("\x1b")?;
    hides(&screen, "the whole story")?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn a_zombie_is_freed_by_a_key_and_its_pod_ends() -> Result<()> {
    let lab = Lab::new(&supervisor_bin()?)?;
    let pod = Pod::start(&lab)?;
    let mut monitor = Monitor::start(&lab)?;
    let mut screen = top_on(100, &["--reaper", &monitor.pid().to_string()])?;
    screen.shows("nothing is unreaped")?;
    played_double_fork(&lab, &mut monitor, &pod)?;
    let zombie = until("a zombie", WAIT_LIMIT, || Ok(zombies_of(monitor.pid())?.pop()))?.pid;
    pod.kill()?;
    screen.shows("BLOCKED  ")?;
    screen.shows("leaked 1")?;
    screen.types(LAST)?;
    screen.types("r")?;
    screen.shows("can be freed")?;
    screen.types("n")?;
    hides(&screen, "can be freed")?;
    ensure!(zombies_of(monitor.pid())?.iter().any(|it| it.pid == zombie), "nobody has said yes");
    screen.types("r")?;
    screen.shows("can be freed")?;
    screen.types("y")?;
    screen.shows("freed        ")?;
    screen.types(" ")?;
    until("the pod to end", WAIT_LIMIT, || Ok(pod.is_gone().then_some(())))?;
    ensure!(zombies_of(monitor.pid())?.is_empty(), "it is still there");
    // The history of the zombie, on the page of its event.
    screen.types("4/REAPED\r")?;
    screen.shows("REAPED")?;
    screen.types("\r")?;
    screen.shows("the history of this finding")?;
    screen.shows("UNREAPED")?;
    screen.types("q")?;
    screen.ends()
}

#[test]
fn a_signal_gives_the_terminal_back() -> Result<()> {
    let mut screen = top(&["--grace", "30s"])?;
    screen.shows("? keys")?;
    screen.signal(Signal::TERM)?;
    screen.ends()
}

#[test]
fn it_ends_with_its_terminal() -> Result<()> {
    let mut command = Command::new(supervisor_bin()?);
    command.arg("top");
    assert_eq!(code_without_terminal(command, b"keys")?, Some(0));
    Ok(())
}

#[test]
fn without_a_terminal_it_says_what_to_use() -> Result<()> {
    let output = Command::new(supervisor_bin()?).arg("top").stdin(Stdio::null()).output()?;
    ensure!(output.status.code() == Some(3), "it ended with {}", output.status);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("top needs a terminal") && said.contains("supervisor watch -o json"), "{said}");
    Ok(())
}
