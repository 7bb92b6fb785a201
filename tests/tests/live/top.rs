//! `supervisor top` on a terminal: driven by keys, against a real zombie.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use rustix::process::Signal;
use supervisor_tests::{Agent, Broker, Screen, WAIT_LIMIT, code_without_terminal, fixture, supervisor_bin};
use supervisor_user::scenario::until;

/// `supervisor top` on a terminal of 80 columns and 24 lines.
fn top(args: &[&str]) -> Result<Screen> {
    let mut command = Command::new(supervisor_bin()?);
    command.arg("top").args(args);
    Screen::start(command, 80, 24)
}

#[test]
fn a_zombie_is_found_and_explained_by_keys() -> Result<()> {
    let fixture = fixture!("never-wait", "1")?;
    let pid = fixture.fact("zombie")?.pid("pid")?.to_string();
    let mut screen = top(&[])?;
    screen.shows("unreaped")?;
    screen.types(&format!("/{pid}"))?;
    screen.shows(&format!("filter: {pid}_"))?;
    screen.types("\r")?;
    screen.shows(&format!("filter: {pid}  (Esc"))?;
    // Others on this host may fill the screen without a filter. With it, a row has the pid too.
    until("the row of the zombie", WAIT_LIMIT, || {
        let text = screen.text();
        Ok((text.lines().filter(|line| line.contains(&pid)).count() >= 2).then_some(()))
    })?;
    screen.types("\r")?;
    screen.shows("the whole story")?;
    screen.shows(&format!("fixture[{pid}]"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
}

#[test]
fn all_nodes_are_shown_as_their_agents_have_told_a_broker() -> Result<()> {
    let broker = Broker::start()?;
    let url = broker.url();
    let mut screen = top(&["--from", &url])?;
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
    screen.shows("F4")?;
    screen.types("\r")?;
    screen.shows("Why")?;
    screen.shows("What to do")?;
    screen.types("\x1b4")?;
    screen.shows(&format!("OPEN    fixture[{pid}] on node-a.example.com"))?;
    fixture.send("reap")?;
    screen.shows(&format!("CLOSED  fixture[{pid}] on node-a.example.com"))?;
    screen.types("q")?;
    screen.ends()?;
    fixture.end()
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
