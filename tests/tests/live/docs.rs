//! Tests that every command that README.md and docs/*.md show in a block does what they say, as it is written there.
//! `supervisor-user/tests/docs.rs` and `xtask` parse the commands that are not run here.

use std::{
    env,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use supervisor_lab::{Lab, Owned, PidNs, Runtime, bundle, until};
use supervisor_tests::{Agent, Broker, Fixture, Screen, WAIT_LIMIT, fixture, supervisor_bin};

mod commands;

use commands::Shown;

/// How a command ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// By itself, with one of these codes.
    With(&'static [i32]),
    /// By SIGINT, with code 0, once it has printed this. Placeholders are replaced here too.
    After(&'static str),
    /// By `q`, with code 0, once this is on the screen.
    OnScreen(&'static str),
    /// It is not run, for this reason.
    NotRun(&'static str),
}

/// How commands end, by their first words without `sudo`. The first entry that fits counts. All other commands end by
/// themselves, with 0.
const ENDS: [(&str, Ends); 22] = [
    ("supervisor ps --from", Ends::With(&[1])),
    ("supervisor ps", Ends::With(&[1])),
    ("supervisor explain --family", Ends::With(&[0])),
    ("supervisor explain", Ends::With(&[1])),
    // The zombie of this test is too young to count; other zombies may be on the host.
    ("supervisor check", Ends::With(&[0, 1, 2])),
    ("supervisor watch --from", Ends::After("watching stream")),
    ("supervisor watch", Ends::After("[PID]")),
    ("supervisor top", Ends::OnScreen("PID")),
    ("supervisor trace --only", Ends::After(" reap ")),
    ("supervisor trace --container", Ends::After("WHAT")),
    ("supervisor trace -o json --pid", Ends::After("process-exited")),
    ("supervisor run", Ends::After("\"pid\":PID,")),
    ("supervisor record", Ends::After("[PID]")),
    ("setpriv", Ends::After("[PID]")),
    ("supervisor leaks", Ends::NotRun("leaks/recipes.rs runs what docs/leaks.md shows, with suites")),
    ("supervisor reap --dry-run", Ends::With(&[0, 1])),
    ("supervisor reap", Ends::NotRun("it acts on all processes of the host; the live tests in reap/ run it")),
    ("cargo xtask", Ends::NotRun("xtask parses it; CI itself is `cargo xtask test`")),
    ("systemctl", Ends::NotRun("there is no systemd where tests run")),
    ("dpkg", Ends::NotRun("the package is made by `cargo xtask dist` only")),
    ("nats", Ends::NotRun("NATS's own command line is no package of Debian")),
    (
        "journalctl",
        Ends::NotRun("there is no journal where tests run; sink_journald.rs starts one of its own"),
    ),
];

/// The directory in which commands are run, with the processes and files that they name.
struct Place {
    lab: Lab,
    dir: PathBuf,
    zombie: u32,
    broker: Broker,
    _fixture: Fixture,
    _agent: Agent,
    _conmon: Owned,
}

impl Place {
    fn new() -> Result<Self> {
        let lab = Lab::new(&supervisor_bin()?)?;
        lab.add_busybox(&["true"])?;
        let dir = bundle(&lab, "docs", PidNs::Own, &["true"])?;
        // One command is run as `nobody`.
        for folder in [lab.path(), &dir] {
            fs::set_permissions(folder, Permissions::from_mode(0o755))?;
        }
        supervisor_lab::copy_program(supervisor_bin()?, dir.join("supervisor"))?;
        fs::write(dir.join("sudo"), "#!/bin/sh\nexec \"$@\"\n")?;
        fs::set_permissions(dir.join("sudo"), Permissions::from_mode(0o755))?;
        fs::create_dir(dir.join("bin"))?;
        let copied = Command::new("cp").args(["-a", "/etc", "etc"]).current_dir(&dir).status()?;
        ensure!(copied.success(), "/etc is not copied: {copied}");
        let state = dir.join("state");
        fs::write(
            dir.join("supervisor.toml"),
            format!("state_dir = {:?}\n[sinks.out.stdout]\n", state.display().to_string()),
        )?;

        // A process of that name to trace. It has children.
        supervisor_lab::copy_program("/bin/sh", dir.join("conmon"))?;
        let mut conmon = Command::new(dir.join("conmon"));
        let conmon = Owned::start(conmon.args(["-c", "while sleep 0.1; do :; done"]).stdin(Stdio::null()))?;
        let fixture = fixture!("never-wait", "1")?;
        let zombie = fixture.fact("zombie")?.pid("pid")?;
        let broker = Broker::start()?;
        let url = broker.url();
        let agent =
            Agent::start(&format!("[sinks.siem.nats]\nservers = [\"{url}\"]\nheartbeat = \"400ms\"\n"))?;
        until("the broker to have the zombie", WAIT_LIMIT, || {
            let mut ps = Command::new(supervisor_bin()?);
            let output = ps.args(["ps", "--from", &url, "--pid", &zombie.to_string()]).output()?;
            Ok((output.status.code() == Some(1)).then_some(()))
        })?;
        Ok(Self { lab, dir, zombie, broker, _fixture: fixture, _agent: agent, _conmon: conmon })
    }

    /// The text with its placeholders replaced. Placeholders are words in capitals.
    fn filled(&self, text: &str) -> String {
        let text = text.replace("nats://HOST:4222", &self.broker.url());
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let mut filled = String::new();
        for piece in text.split_inclusive(|c| !is_part(c)) {
            let word = piece.trim_end_matches(|c| !is_part(c));
            let value = match word {
                "PID" => self.zombie.to_string(),
                "FILE" => "supervisor.toml".to_owned(),
                "ID" => self.lab.container_id(Runtime::Runc.name()),
                _ => word.to_owned(),
            };
            filled.push_str(&value);
            filled.push_str(&piece[word.len()..]);
        }
        filled
    }

    /// A shell that runs this text in its own mounts: it writes to copies of `/etc` and `/usr/local/bin`.
    fn shell(&self, text: &str) -> Result<Command> {
        let path = env::join_paths(
            [self.dir.clone()].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())),
        )?;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-ec"]).arg(PREPARE).args(["sh", text]);
        shell.current_dir(&self.dir).env("PATH", path).env("HOME", &self.dir).stdin(Stdio::null());
        Ok(shell)
    }

    /// Runs a command, checks how it ends, and returns its output.
    fn run(&self, shown: &Shown, ends: Ends) -> Result<String> {
        let text = self.filled(&shown.text);
        let mut shell = self.shell(&text)?;
        if let Ends::OnScreen(what) = ends {
            let mut screen = Screen::start(shell, 80, 24)?;
            screen.shows(&self.filled(what))?;
            screen.types("q")?;
            screen.ends()?;
            return Ok(String::new());
        }
        let file = self.dir.join("output");
        let output = File::create(&file)?;
        shell.stdout(output.try_clone()?).stderr(output);
        let mut process = Owned::start(&mut shell)?;
        let said = || Ok::<_, anyhow::Error>(String::from_utf8_lossy(&fs::read(&file)?).into_owned());
        let wanted = match ends {
            Ends::With(codes) => codes,
            _ => &[0],
        };
        if let Ends::After(what) = ends {
            let what = self.filled(what);
            until(&format!("it to say `{what}`"), WAIT_LIMIT, || {
                let ended = process.child().try_wait()?;
                ensure!(ended.is_none(), "it ended before it said `{what}`: {}", said()?);
                Ok(said()?.contains(&what).then_some(()))
            })
            .with_context(|| said().unwrap_or_default())?;
            kill_process_group(Pid::from_child(process.child()), Signal::INT)?;
        }
        let code = process.end(WAIT_LIMIT)?.code();
        ensure!(code.is_some_and(|it| wanted.contains(&it)), "it ended with {code:?}: {}", said()?);
        said()
    }
}

/// The shell does not pass an interrupt on. Its command gets the interrupt too, and the exit code of the command is
/// that of the shell.
const PREPARE: &str = r#"
    mount --bind etc /etc
    mount --bind bin /usr/local/bin
    trap : INT
    set +e
    eval "$1""#;

#[test]
fn every_command_of_a_block_does_what_is_said() -> Result<()> {
    let place = Place::new()?;
    let mut unused: Vec<&str> = ENDS.iter().map(|(start, _)| *start).collect();
    let mut wrong = Vec::new();
    for shown in commands::in_blocks()? {
        let words = shown.words().join(" ");
        let known = ENDS.iter().find(|(start, _)| words.trim_start_matches("./").starts_with(start));
        let ends = known.map_or(Ends::With(&[0]), |(_, ends)| *ends);
        unused.retain(|start| known.is_none_or(|(known, _)| known != start));
        if let Ends::NotRun(why) = ends {
            println!("{}: {words}: not run: {why}", shown.place);
            continue;
        }
        match place.run(&shown, ends) {
            Ok(said) => println!("{}: {words}\n{said}", shown.place),
            Err(error) => wrong.push(format!("{}: {words}: {error:#}", shown.place)),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    ensure!(unused.is_empty(), "no command begins so: {unused:?}");
    Ok(())
}
