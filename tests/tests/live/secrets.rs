//! Tests that secrets in arguments, names and paths of watched processes reach no destination, recording, metric, log,
//! report, screen or file of the agent.

use std::{
    fs,
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use supervisor_lab::{Lines, Owned, until};
use supervisor_tests::{Agent, Broker, Fixture, Guard, Screen, Watch, http_get, supervisor_bin};

/// Every planted secret contains this text, and nothing else does.
const SECRET: &str = "opensesame";
const LIMIT: Duration = Duration::from_secs(30);
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The number of groups made so far: the tests of one process run at the same time.
static GROUPS: AtomicU32 = AtomicU32::new(0);

/// A control group whose name holds a secret. It is removed when this is dropped.
struct Group(PathBuf);

impl Group {
    fn make() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mount = mounts.lines().find_map(|line| {
            let mut words = line.split(' ');
            words.nth(1).filter(|_| words.next() == Some("cgroup2"))
        });
        let mount = mount.context("cgroup version 2 is not mounted")?;
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("supervisor-test-{}-{number}-API_TOKEN={SECRET}-group", std::process::id());
        let group = Self(Path::new(mount).join(name));
        fs::create_dir(&group.0).with_context(|| group.0.display().to_string())?;
        Ok(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group is busy until its last process has left it.
        let removed = until("the group to be empty", LIMIT, || Ok(fs::remove_dir(&self.0).ok()));
        let members = fs::read_to_string(self.0.join("cgroup.procs"));
        let is_good = removed.is_ok() || std::thread::panicking();
        assert!(is_good, "{} stays, with {members:?}", self.0.display());
    }
}

/// A zombie with secrets in its arguments, those of its creator, the name of its container and its control group.
struct Planted {
    // The order matters: the group can be removed only when its processes are gone.
    creator: Owned,
    zombie: u32,
    _group: Group,
    _dir: tempfile::TempDir,
}

/// The program of a process that names a container: a monitor. It is grep, which takes a monitor's arguments, reads its
/// standard input and never waits.
fn monitor_in(dir: &Path) -> Result<PathBuf> {
    let monitor = dir.join("conmon");
    supervisor_lab::copy_program("/usr/bin/grep", &monitor)
        .or_else(|_| supervisor_lab::copy_program("/bin/grep", &monitor))?;
    Ok(monitor)
}

/// Waits until the parent has become the monitor, or is gone. dash reaps a child that exits before that at its next
/// command.
const UNTIL_MONITOR: &str = "while read -r name </proc/$PPID/comm && [ \"$name\" != conmon ]; do :; done";

/// The commands of a shell that plants the secrets and becomes the monitor. The file for the monitor to read is missing
/// at the end.
fn planting(group: &Group, monitor: &Path) -> String {
    format!(
        "echo 0 > {group}/cgroup.procs\n\
         sh -c '{UNTIL_MONITOR}' sh --db-password={SECRET}1 --token {SECRET}2 API_TOKEN={SECRET}3 \
         postgres://user:{SECRET}4@host/db 'Authorization: Basic {SECRET}5' '{{\"secret\": \"{SECRET} 6\"}}' &\n\
         echo $! > zombie\n\
         exec {monitor} -c {ID} -n web-ghp_{SECRET}7 -e --password={SECRET}8 -e glpat-{SECRET}9 \
         -e 'curl --password {SECRET}10 https://{SECRET}11@host'",
        group = group.0.display(),
        monitor = monitor.display(),
    )
}

/// A shell that plants the secrets on command.
struct Planter {
    process: Owned,
    group: Group,
    dir: tempfile::TempDir,
}

impl Planter {
    fn start() -> Result<Self> {
        let group = Group::make()?;
        let dir = tempfile::tempdir()?;
        let script = format!(
            "while read -r word && [ \"$word\" = tick ]; do env true; done\n{} -",
            planting(&group, &monitor_in(dir.path())?)
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(dir.path());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { process: Owned::start(&mut command)?, group, dir })
    }

    /// With `tick` it runs a program, with `go` it plants.
    fn tell(&mut self, word: &str) -> Result<()> {
        let stdin = self.process.child().stdin.as_mut().context("it has no standard input")?;
        Ok(writeln!(stdin, "{word}")?)
    }

    fn plant(mut self) -> Result<Planted> {
        self.tell("go")?;
        // The creator is dropped before its group, also after an error.
        let Self { group, dir, process: creator } = self;
        // Another child of the shell, from a tick, can be a zombie for a moment too.
        let zombie = until("the zombie", LIMIT, || {
            let named = fs::read_to_string(dir.path().join("zombie")).unwrap_or_default();
            let Some(pid) = named.strip_suffix('\n') else { return Ok(None) };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            Ok(if stat.contains(") Z ") { Some(pid.parse()?) } else { None })
        })?;
        Ok(Planted { creator, zombie, _group: group, _dir: dir })
    }
}

impl Planted {
    fn start() -> Result<Self> {
        Planter::start()?.plant()
    }
}

/// Fails if a text contains a secret, or if it lacks the zombie that must be in it.
fn is_clean(name: &str, text: &str, zombie: Option<u32>) -> Result<()> {
    if let Some(at) = text.find(SECRET) {
        let start = text.floor_char_boundary(at.saturating_sub(80));
        let end = text.ceil_char_boundary((at + 40).min(text.len()));
        anyhow::bail!("a secret is in {name}: {}", &text[start..end]);
    }
    if let Some(pid) = zombie {
        ensure!(text.contains(&pid.to_string()), "{name} does not tell the zombie: {text}");
    }
    Ok(())
}

/// The datagrams that a socket receives until the zombie is in one.
fn datagrams(mut receive: impl FnMut(&mut [u8]) -> std::io::Result<usize>, pid: u32) -> Result<String> {
    let (mut datagram, mut text) = (vec![0; 1 << 20], String::new());
    while !text.contains(&pid.to_string()) {
        let length = receive(&mut datagram)?;
        ensure!(length > 0, "it ended without {pid}: {text}");
        text.push_str(&String::from_utf8_lossy(&datagram[..length]));
        text.push('\n');
    }
    Ok(text)
}

/// Runs the program to its end and returns both of its outputs.
fn output(args: &[&str]) -> Result<String> {
    let output = Command::new(supervisor_bin()?).args(args).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn secrets_reach_no_destination_no_metric_and_no_log() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::start()?;
    let syslog = UdpSocket::bind("127.0.0.1:0")?;
    let journal = UnixDatagram::bind(dir.path().join("journal.sock"))?;
    syslog.set_read_timeout(Some(LIMIT))?;
    journal.set_read_timeout(Some(LIMIT))?;
    let place = dir.path().display();
    let mut agent = Agent::start_in(
        dir.path(),
        &format!(
            "[filter]\ncontainer = \"{ID}\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[sinks.out]\n[sinks.out.stdout]\n\
             [sinks.file]\nformat = \"ocsf\"\n[sinks.file.file]\npath = \"{place}/events.ocsf\"\n\
             [sinks.people]\nformat = \"text\"\npolicy = \"spool\"\n[sinks.people.file]\npath = \"{place}/events.txt\"\n\
             [sinks.readers.unix]\npath = \"{place}/events.sock\"\n\
             [sinks.syslog.syslog]\naddress = \"udp:{}\"\n\
             [sinks.journal]\nformat = \"text\"\n[sinks.journal.journald]\nsocket = \"{place}/journal.sock\"\n\
             [sinks.siem.nats]\nservers = [\"{}\"]\n",
            syslog.local_addr()?,
            broker.url()
        ),
    )?;
    let metrics = agent.hears("metrics are at http://")?;
    let metrics: SocketAddr = metrics.strip_suffix("/metrics").context("no address")?.parse()?;
    let mut reader = UnixStream::connect(dir.path().join("events.sock"))?;
    reader.set_read_timeout(Some(LIMIT))?;
    let planted = Planted::start()?;
    let pid = planted.zombie;

    let found = agent.wait_for("the zombie", |event| event.says("zombie-detected", pid))?;
    is_clean("stdout", &found.0.to_string(), Some(pid))?;
    // Text that is no secret is complete.
    let args = found.get("process.args").context("no arguments")?.to_string();
    for word in
        ["--db-password=[redacted]", "\"--token\",\"[redacted]\"", "postgres://user:[redacted]@host/db"]
    {
        ensure!(args.contains(word), "{word} is not in {args}");
    }
    assert_eq!(found.number("process.args_count")?, 11);
    assert_eq!(found.text("container.id")?, ID);
    assert_eq!(found.text("container.name")?, "web-[redacted]");
    ensure!(found.text("supervisor.cgroup")?.contains("API_TOKEN=[redacted]"), "{}", found.0);

    is_clean("syslog", &datagrams(|block| syslog.recv(block), pid)?, Some(pid))?;
    is_clean("journald", &datagrams(|block| journal.recv(block), pid)?, Some(pid))?;
    is_clean("unix", &datagrams(|block| std::io::Read::read(&mut reader, block), pid)?, Some(pid))?;
    for name in ["events.ocsf", "events.txt"] {
        let text = until(name, LIMIT, || {
            Ok(fs::read_to_string(dir.path().join(name)).ok().filter(|it| it.contains(&pid.to_string())))
        })?;
        is_clean(name, &text, Some(pid))?;
    }
    let (_, body) = http_get(metrics, "/metrics", "*/*")?;
    is_clean("metrics", &body, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let deadline = Instant::now() + LIMIT;
    let stored = loop {
        let stored = format!("{:?}", runtime.block_on(broker.stored("SUPERVISOR"))?);
        if stored.contains(&pid.to_string()) || Instant::now() > deadline {
            break stored;
        }
    };
    is_clean("NATS", &stored, Some(pid))?;
    // The list that a run leaves for the next one.
    is_clean("open findings", &fs::read_to_string(dir.path().join("state/open-findings.jsonl"))?, Some(pid))?;
    is_clean("ps", &output(&["ps", "-o", "json"])?, Some(pid))?;
    is_clean("ps --columns", &output(&["ps", "--columns", "pid,container,why,verdict"])?, Some(pid))?;
    is_clean("explain", &output(&["explain", &pid.to_string()])?, Some(pid))?;
    is_clean("ps --from", &output(&["ps", "--from", &broker.url(), "-o", "json"])?, Some(pid))?;
    drop(planted);
    is_clean("standard error", &agent.stop()?.join("\n"), None)
}

#[test]
fn secrets_reach_no_recording_and_no_trace() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("recording.zst");
    let path = file.to_str().context("a plain path")?;
    let mut command = Command::new(supervisor_bin()?);
    command.args(["record", path, "-o", "json"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut recorder = Owned::start(command.stderr(Stdio::piped()))?;
    let said = Lines::of(recorder.child().stderr.take().context("no pipe")?);
    while !said.next("it to watch", LIMIT)?.context("it has ended")?.contains("watching") {}
    let mut shell = Planter::start()?;
    let mut trace = Command::new(supervisor_bin()?);
    trace.args(["trace", "-o", "json", "--pid", &shell.process.pid().to_string()]);
    trace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut trace = Owned::start(&mut trace)?;
    let traced = Lines::of(trace.child().stdout.take().context("no pipe")?);
    let first = until("the trace to begin", LIMIT, || {
        shell.tell("tick")?;
        traced.next_within(Duration::from_millis(200))
    })?;
    let planted = shell.plant()?;
    let pid = planted.zombie;
    let mut lines = first;
    let deadline = Instant::now() + LIMIT;
    while !(lines.contains("db-password") && lines.contains(&pid.to_string())) {
        ensure!(Instant::now() < deadline, "the trace does not tell it");
        if let Some(line) = traced.next_within(Duration::from_millis(200))? {
            lines.push_str(&line);
        }
    }
    is_clean("trace", &lines, Some(pid))?;
    trace.signal(Signal::TERM)?;
    trace.end(LIMIT)?;

    let shown = Lines::of(recorder.child().stdout.take().context("no pipe")?);
    let (mut text, deadline) = (String::new(), Instant::now() + LIMIT);
    while !text.contains(&format!("\"pid\":{pid}")) {
        ensure!(Instant::now() < deadline, "the recorder does not tell of {pid}");
        text.push_str(&shown.next("the zombie", LIMIT)?.context("the recorder has ended")?);
    }
    is_clean("the recorder's output", &text, Some(pid))?;
    recorder.signal(Signal::TERM)?;
    recorder.end(LIMIT)?;
    let content = zstd::decode_all(fs::File::open(&file)?)?;
    is_clean("the recording", &String::from_utf8_lossy(&content), Some(pid))?;
    is_clean("replay", &output(&["replay", path, "-o", "json"])?, Some(pid))
}

#[test]
fn each_mode_of_args_keeps_as_many_arguments_as_documented() -> Result<()> {
    for (mode, expected) in [("full", 11), ("redacted", 11), ("program", 1), ("none", 0)] {
        let mut watch = Watch::start(&["--args", mode, "--cgroup", "supervisor-test-"])?;
        let planted = Planted::start()?;
        let found = watch.wait_for("the zombie", |event| event.says("zombie-detected", planted.zombie))?;
        let args = found.get("process.args").and_then(|it| it.as_array()).map_or(0, Vec::len);
        assert_eq!(args, expected, "{mode}: {}", found.0);
        assert_eq!(found.0.to_string().contains(SECRET), mode == "full", "{mode}: {}", found.0);
        assert_eq!(found.number("process.args_count")?, 11);
        assert_eq!(found.get("supervisor.args_cut").is_some(), expected < 11);
        // Every mode uses the value that names the container.
        assert_eq!(found.text("container.id")?, ID);
        drop(planted);
        watch.stop()?;
    }
    Ok(())
}

#[test]
fn arguments_that_are_padded_are_marked_as_cut() -> Result<()> {
    let padding = "x".repeat(2000);
    let mut watch = Watch::start(&[])?;
    let script = format!("sh -c : sh --first {padding} --last & exec tail -f /dev/null");
    let mut command = Command::new("sh");
    let creator = Owned::start(command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()))?;
    let found = watch.wait_for("the zombie", |event| {
        event.action() == "zombie-detected" && event.is_under(creator.pid())
    })?;
    ensure!(found.flag("supervisor.args_cut")?, "{}", found.0);
    ensure!(found.get("process.args_count").is_none(), "how many there were is not known: {}", found.0);
    let args = found.get("process.args").context("no arguments")?.to_string();
    ensure!(args.contains("--first") && !args.contains("--last"), "{args}");
    let pid = found.pid("process.pid")?.to_string();
    ensure!(output(&["explain", &pid])?.contains("--first …"), "the text does not show the cut");
    drop(creator);
    watch.stop()?;
    Ok(())
}

/// A program whose path and name hold a secret. It does not reap its child before a command.
struct Named {
    // The order matters, as above.
    fixture: Fixture,
    zombie: u32,
    _group: Group,
    _dir: tempfile::TempDir,
}

impl Named {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let folder = dir.path().join(format!("token={SECRET}"));
        fs::create_dir(&folder)?;
        // The whole secret is within the 15 bytes of a name.
        let program = folder.join(format!("pw={SECRET}"));
        supervisor_lab::copy_program(env!("CARGO_BIN_EXE_fixture"), &program)?;
        let group = Group::make()?;
        let script =
            format!("echo 0 > {}/cgroup.procs; exec {} never-wait 1", group.0.display(), program.display());
        let fixture = Fixture::start("/bin/sh", &["-c", &script])?;
        let zombie = fixture.fact("zombie")?.pid("pid")?;
        Ok(Self { fixture, zombie, _group: group, _dir: dir })
    }
}

/// Every file below a directory: its bytes as text.
fn files_below(dir: &Path) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else if path.is_file() {
            let bytes = fs::read(&path)?;
            files.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    Ok(files)
}

#[test]
fn secrets_reach_no_file_of_an_agent_whose_destinations_are_down() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let place = dir.path().display();
    let agent = Agent::start_in(
        dir.path(),
        &format!(
            "[filter]\ncgroup = \"supervisor-test-{}-\"\n[sinks.out]\n[sinks.out.stdout]\n\
             [sinks.syslog]\npolicy = \"spool\"\n[sinks.syslog.syslog]\naddress = \"unix:{place}/nobody\"\n\
             [sinks.siem]\nformat = \"text\"\npolicy = \"spool\"\n\
             [sinks.siem.nats]\nservers = [\"nats://127.0.0.1:1\"]\n",
            std::process::id()
        ),
    )?;
    let planted = Planted::start()?;
    agent.wait_for("the zombie", |event| event.says("zombie-detected", planted.zombie))?;
    let mut named = Named::start()?;
    agent.wait_for("the named zombie", |event| event.says("zombie-detected", named.zombie))?;
    named.fixture.send("reap")?;
    let reaped = agent.wait_for("the reap", |event| event.says("zombie-reaped", named.zombie))?;
    is_clean("the close", &reaped.0.to_string(), Some(named.zombie))?;
    is_clean("standard error", &agent.stop()?.join("\n"), None)?;

    let state = dir.path().join("state");
    let files = files_below(&state)?;
    for (name, text) in &files {
        is_clean(name, text, None)?;
    }
    for sink in ["syslog", "siem"] {
        let spool = state.join("spool").join(sink).display().to_string();
        let spooled: String =
            files.iter().filter(|(name, _)| name.starts_with(&spool)).map(|(_, text)| &**text).collect();
        for pid in [planted.zombie, named.zombie] {
            is_clean(&spool, &spooled, Some(pid))?;
        }
        ensure!(spooled.contains("[redacted]"), "{spool} holds no name without its secret");
    }
    // Who has reaped is not seen on every kernel, and only then the reap counts for the reaper at once.
    let history = fs::read_to_string(state.join("history.json"))?;
    let is_kept = history.contains("\"reaped\":1");
    ensure!(is_kept || reaped.get("supervisor.reaped_by").is_none(), "the reap is not kept: {history}");
    named.fixture.end()
}

#[test]
fn secrets_reach_no_line_of_check_no_decision_of_reap_and_no_screen() -> Result<()> {
    let planted = Planted::start()?;
    let named = Named::start()?;
    for (zombie, reaper) in [(planted.zombie, planted.creator.pid()), (named.zombie, named.fixture.pid())] {
        let (pid, parent) = (zombie.to_string(), reaper.to_string());
        is_clean("check", &output(&["check", "--reaper", &parent, "--min-age", "0s"])?, Some(reaper))?;
        is_clean("reap", &output(&["reap", "--dry-run", "--force", &pid])?, Some(zombie))?;
        let decided = output(&["reap", "--dry-run", "--force", &pid, "-o", "json"])?;
        is_clean("reap -o json", &decided, Some(zombie))?;
        is_clean("ps", &output(&["ps", "--reaper", &parent])?, Some(zombie))?;

        let mut command = Command::new(supervisor_bin()?);
        command.args(["top", "--reaper", &parent]).env("LC_ALL", "C.UTF-8");
        let mut screen = Screen::start(command, 200, 60)?;
        screen.shows("[redacted]")?;
        screen.types("\x1b[F\r")?;
        screen.shows("the whole story")?;
        screen.shows(&format!("[{pid}]"))?;
        is_clean("top", &screen.text(), Some(zombie))?;
        ensure!(!screen.has(SECRET.as_bytes()), "a secret was on the screen");
        screen.types("q")?;
        screen.ends()?;
    }
    let line = output(&["check", "--reaper", &named.fixture.pid().to_string(), "--min-age", "0s"])?;
    ensure!(line.contains("1 of pw=[redacted]["), "{line}");
    named.fixture.end()
}

/// The command that `leaks` runs ends when the zombie is there, and leaves the monitor behind.
fn leaking(group: &Group, monitor: &Path) -> String {
    format!(
        "mkfifo never\n({} - <>never) >/dev/null 2>&1 &\n\
         until grep -q ') Z' \"/proc/$(cat zombie)/stat\"; do env true; done 2>/dev/null",
        planting(group, monitor)
    )
}

#[test]
fn secrets_reach_no_report_of_leaks() -> Result<()> {
    /// Keeps both outputs of `leaks`, and its exit code once it has ended.
    const KEPT: &str = "unset SUPERVISOR_LEAKS_SOCKET; cd \"$1\"; shift\n\
                        GITHUB_ACTIONS=true \"$@\" >out 2>err; echo $? >code.new; mv code.new code";
    for format in ["text", "json"] {
        let group = Group::make()?;
        let dir = tempfile::tempdir()?;
        let path = dir.path();
        let command = leaking(&group, &monitor_in(path)?);
        let (program, place) = (supervisor_bin()?, path.to_str().context("a plain path")?);
        let program = program.to_str().context("a plain path")?;
        let args = ["-c", KEPT, "sh", place, program, "leaks", "-o", format, "--junit", "junit.xml"];
        let args = [&args[..], &["--settle", "100ms", "--", "sh", "-c", &command, "sh", "--token"]].concat();
        let secret = format!("{SECRET}12");
        let args = [&args[..], &[&secret]].concat();
        let mut guard = Guard::start(env!("CARGO_BIN_EXE_fixture"), Path::new("/bin/sh"), &args)?;
        let read = |name: &str| fs::read_to_string(path.join(name)).with_context(|| name.to_owned());
        let code = until("leaks to end", LIMIT, || Ok(read("code").ok()))?;
        let (out, err) = (read("out")?, read("err")?);
        assert_eq!(code, "23\n", "{err}");
        let zombie: u32 = read("zombie")?.trim().parse()?;
        let report = if format == "json" { &out } else { &err };
        for (name, text) in [("the report", report), ("junit.xml", &read("junit.xml")?)] {
            is_clean(name, text, Some(zombie))?;
            ensure!(text.contains("[redacted]"), "{name} does not show the arguments: {text}");
        }
        is_clean("standard output", &out, None)?;
        is_clean("standard error", &err, None)?;
        // The group can be removed only when its processes are gone.
        guard.end()?;
    }
    Ok(())
}
