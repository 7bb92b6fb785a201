//! Tests of `supervisor trace`: it reports all that happened, in order, and counts its losses.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use supervisor_lab::{Lab, Owned, PidNs, Runtime, bundle, pid_namespace, until};
use supervisor_tests::{Contract, Event, WAIT_LIMIT, fixture, freeze, supervisor_bin};
use supervisor_user::schema::SchemaSubject;

const FIXTURE: &str = env!("CARGO_BIN_EXE_fixture");
/// More processes than fit into a small ring.
const MANY: u64 = 20_000;
const RING: &str = "65536";

/// A trace that writes to a file.
struct Trace {
    process: Owned,
    out: File,
}

impl Trace {
    fn start(args: &[&str]) -> Result<Self> {
        let out = tempfile::tempfile()?;
        let mut command = Command::new(supervisor_bin()?);
        command.arg("trace").args(args).env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null()).stdout(out.try_clone()?);
        Ok(Self { process: Owned::start(&mut command)?, out })
    }

    /// The text that it has written so far. The file position is shared with it, and must not be moved.
    fn text(&self) -> Result<String> {
        let mut text = vec![0; self.out.metadata()?.len() as usize];
        self.out.read_exact_at(&mut text, 0)?;
        Ok(String::from_utf8(text)?)
    }

    /// Waits until it has written this.
    fn says(&self, what: &str) -> Result<()> {
        until(what, WAIT_LIMIT, || Ok(self.text()?.contains(what).then_some(())))
    }

    /// Its exit code, once it has ended, and all that it has written.
    fn end(mut self) -> Result<(i32, String)> {
        let status = self.process.end(WAIT_LIMIT)?;
        Ok((status.code().context("it was killed")?, self.text()?))
    }

    fn stop(mut self) -> Result<String> {
        self.process.signal(Signal::INT)?;
        let (code, text) = self.end()?;
        ensure!(code == 0, "it ended with {code}");
        Ok(text)
    }
}

/// The events among the lines. Each is checked against the contract.
fn events(text: &str) -> Result<Vec<Event>> {
    let mut contract = Contract::default();
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let event = Event(serde_json::from_str(line)?);
            contract.check(&event)?;
            Ok(event)
        })
        .collect()
}

/// Whether the hooks see the reap itself here.
fn sees_reaps(event: &Event) -> Result<bool> {
    Ok(event.text("supervisor.hooks")?.ends_with("+fentry"))
}

#[test]
fn a_command_is_traced_from_its_fork_to_its_reap() -> Result<()> {
    let (code, text) = Trace::start(&["-o", "json", "--", FIXTURE, "reap-after", "500"])?.end()?;
    ensure!(code == 0, "it ended with {code}: {text}");
    let fact = |name: &str, key: &str| -> Result<u64> {
        let line = text.lines().find(|line| line.starts_with(name)).context("no such fact")?;
        let value = line.split(' ').find_map(|word| word.strip_prefix(key)).context("no such value")?;
        Ok(value.parse()?)
    };
    let pid = fact("exited", "pid=")? as u32;
    let all = events(&text)?;
    let of = |pid: u32| -> Vec<&Event> { all.iter().filter(|event| event.is_about(pid)).collect() };

    let child = of(pid);
    let actions: Vec<&str> = child.iter().map(|event| event.action()).collect();
    assert_eq!(actions, ["process-forked", "process-exited", "process-reaped"], "{text}");
    let parent = child[0].pid("process.parent.pid")?;
    assert_eq!(child[1].pid("process.parent.pid")?, parent);
    assert_eq!(child[1].number("process.exit_code")?, 0);
    assert_eq!(child[1].number("supervisor.exit.code")?, 0);
    // At least the time from its exit to its reap. Where only the free is seen, which comes later, the time is longer.
    let least = fact("reaped", "earliest=")? - fact("exited", "latest=")?;
    let most = fact("reaped", "latest=")? - fact("exited", "earliest=")?;
    let told = child[2].number("event.duration")?;
    ensure!(told >= least, "it was unreaped for {least} ns and not {told}");
    if sees_reaps(child[2])? {
        ensure!(told <= most, "it was unreaped for {most} ns and not {told}");
        assert_eq!(child[2].pid("supervisor.reaped_by.pid")?, parent);
    } else {
        ensure!(child[2].get("supervisor.reaped_by").is_none(), "nobody has seen who: {}", child[2].0);
    }

    let parents = of(parent);
    let actions: Vec<&str> = parents.iter().map(|event| event.action()).collect();
    assert_eq!(actions.first(), Some(&"process-forked"));
    assert_eq!(actions.get(1), Some(&"process-started"));
    assert_eq!(actions.last(), Some(&"process-reaped"), "{actions:?}");
    assert_eq!(parents[1].text("process.executable")?, FIXTURE);
    let args = parents[1].field("process.args")?;
    assert_eq!(*args, serde_json::json!([FIXTURE, "reap-after", "500"]));
    let wait = parents.iter().find(|event| event.action() == "process-waited").context("no wait")?;
    ensure!(wait.get("supervisor.wait.call").is_some(), "{}", wait.0);
    Ok(())
}

/// Before 6.16, both threads can look like the last one. Where the reap itself is seen, a leader that exited first is
/// released together with the other thread.
#[test]
fn a_process_whose_last_threads_exit_at_once_exits_once_and_is_reaped_once() -> Result<()> {
    const COUNT: usize = 300;
    let command = [FIXTURE, "races", &COUNT.to_string()];
    let options = ["-o", "json", "--only", "exit,reap", "--"];
    let (code, text) = Trace::start(&[&options[..], &command].concat())?.end()?;
    ensure!(code == 0, "it ended with {code}: {text}");
    let mut ends: BTreeMap<(u32, String), Vec<&str>> = BTreeMap::new();
    let all = events(&text)?;
    let mut lost = 0;
    for event in &all {
        if event.action() == "events-lost" {
            lost += event.number("supervisor.loss.trace.records")?;
            continue;
        }
        // A pid can be reused.
        let started = event.text("process.start")?.to_owned();
        ends.entry((event.pid("process.pid")?, started)).or_default().push(event.action());
    }
    // Where a hook can be preempted (seen on Linux 7.3), the kernel leaves out a run of a program now and then, and the
    // trace reports that.
    ensure!(lost <= COUNT as u64 / 50, "{lost} records were lost");
    ensure!(ends.len() as u64 + lost > COUNT as u64, "the command is one of them");
    let mut reaped = 0;
    for (process, actions) in &ends {
        let is_whole = ["process-exited", "process-reaped"].starts_with(&actions[..]);
        ensure!(is_whole || (lost > 0 && *actions == ["process-reaped"]), "{process:?}: {actions:?}");
        reaped += usize::from(actions.len() == 2);
    }
    // The trace ends with the reap of the command, before the last frees of its children.
    ensure!(reaped > COUNT / 2, "only {reaped} are reaped");
    Ok(())
}

#[test]
fn a_trace_reports_the_same_in_ocsf() -> Result<()> {
    let (code, text) = Trace::start(&["-o", "ocsf", "--", FIXTURE, "reap-after", "0"])?.end()?;
    ensure!(code == 0, "it ended with {code}: {text}");
    let schema = jsonschema::options().should_validate_formats(true).build(&SchemaSubject::Ocsf.schema())?;
    let mut told = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let event: Value = serde_json::from_str(line)?;
        let wrong: Vec<String> = schema.iter_errors(&event).map(|it| it.to_string()).collect();
        ensure!(wrong.is_empty(), "{wrong:#?}: {event}");
        told.push(event);
    }
    let root = told.first().context("nothing is told")?["process"]["pid"].clone();
    let of_root = told.iter().filter(|event| event["process"]["pid"] == root);
    let names: Vec<String> = of_root
        .map(|event| {
            let kind = event.get("launch_type").unwrap_or(&event["activity_name"]);
            kind.as_str().unwrap_or_default().to_owned()
        })
        .collect();
    ensure!(names.starts_with(&["Fork".to_owned(), "Exec".to_owned()]), "{names:?}");
    ensure!(names.contains(&"Wait".to_owned()), "{names:?}");
    ensure!(names.ends_with(&["Terminate".to_owned(), "Reap".to_owned()]), "{names:?}");
    Ok(())
}

#[test]
fn a_trace_exits_with_the_code_of_its_command() -> Result<()> {
    let (code, text) = Trace::start(&["--only", "exit", "--", FIXTURE, "no-such-fixture"])?.end()?;
    assert_eq!(code, 1);
    ensure!(text.contains("code 1; supervisor["), "{text}");
    ensure!(!text.contains(" fork ") && !text.contains(" wait "), "{text}");
    Ok(())
}

#[test]
fn a_command_that_outlives_the_trace_gets_sigterm() -> Result<()> {
    let (code, text) = Trace::start(&["--duration", "1s", "--", FIXTURE, "load"])?.end()?;
    // Its input has ended, so it ends by itself. A sleeping command would need a signal.
    ensure!(code == 0 && text.contains("code 0; supervisor["), "it ended with {code}: {text}");
    let (code, text) = Trace::start(&["--duration", "1s", "--", "busybox", "sleep", "60"])?.end()?;
    assert_eq!(code, 128 + Signal::TERM.as_raw(), "{text}");
    ensure!(text.contains("SIGTERM; supervisor["), "{text}");
    Ok(())
}

#[test]
fn a_trace_with_unread_output_ends_on_sigterm() -> Result<()> {
    let mut command = Command::new(supervisor_bin()?);
    command.arg("trace").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut trace = Owned::start(&mut command)?;
    let unread = trace.child().stdout.take().context("no pipe")?;
    // A pipe is full long before it has its size in bytes: each write that does not fit into the last page takes a new
    // one. Then the trace sleeps in a write.
    let wchan = format!("/proc/{}/wchan", trace.pid());
    until("the pipe to be full", WAIT_LIMIT, || {
        fixture!("storm", "100")?.fact("done")?;
        Ok((fs::read_to_string(&wchan)?.ends_with("pipe_write")).then_some(()))
    })?;
    trace.signal(Signal::TERM)?;
    let status = trace.end(WAIT_LIMIT)?;
    assert_eq!(status.code(), Some(3), "{status}");
    drop(unread);
    Ok(())
}

#[test]
fn filters_pass_only_matching_events() -> Result<()> {
    // Both make zombies on request. Only the first is wanted.
    let (mut wanted, mut other) = (fixture!("load")?, fixture!("load")?);
    let (pid, ns) = (wanted.pid(), pid_namespace(other.pid())?.to_string());
    let by_pid = Trace::start(&["-o", "json", "--pid", &pid.to_string()])?;
    let by_name = Trace::start(&["-o", "json", "--comm", "fixture", "--pidns", &ns, "--only", "exit"])?;
    let by_nothing = Trace::start(&["-o", "json", "--comm", "nobody"])?;
    let started = Instant::now();
    loop {
        ensure!(started.elapsed() < WAIT_LIMIT, "the traces have not seen anything");
        for fixture in [&mut wanted, &mut other] {
            fixture.send("zombies 1")?;
            fixture.fact("did")?;
        }
        let parent = |pid: u32| format!("\"parent\":{{\"pid\":{pid},");
        let texts = [by_pid.text()?, by_name.text()?];
        if texts[0].contains(&parent(pid))
            && [pid, other.pid()].iter().all(|&pid| texts[1].contains(&parent(pid)))
        {
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    for fixture in [&mut wanted, &mut other] {
        fixture.send("end")?;
        fixture.fact("did")?;
    }
    by_pid.says("process-reaped")?;
    let texts = [by_pid.stop()?, by_name.stop()?];
    ensure!(by_nothing.text()?.is_empty(), "nobody is called so");
    by_nothing.stop()?;
    for event in events(&texts[0])? {
        let parent = event.get("process.parent.pid");
        let is_wanted = event.is_about(pid) || parent.is_none_or(|it| *it == pid);
        ensure!(is_wanted && !event.is_about(other.pid()), "{}", event.0);
    }
    for event in events(&texts[1])? {
        ensure!(
            event.action() == "process-exited" && event.text("process.name")? == "fixture",
            "{}",
            event.0
        );
    }
    wanted.end()?;
    other.end()
}

#[test]
fn records_beyond_a_full_ring_are_counted_where_they_are_missing() -> Result<()> {
    let storm = MANY.to_string();
    let mut trace = Trace::start(&["--ring", RING, "--only", "exit", "--", FIXTURE, "storm", &storm])?;
    // The trace does not read the ring again until the storm is over. Until it stops, it has read only the events of a
    // moment.
    trace.says("WHAT")?;
    freeze(&mut trace.process)?;
    let done = trace.says("done");
    trace.process.signal(Signal::CONT)?;
    done?;
    let (code, text) = trace.end()?;
    ensure!(code == 0, "it ended with {code}");
    let exits = text.lines().filter(|line| line.contains("exit  code 0; ")).count() as u64;
    let lost = |line: &str| line.split_once("LOST  ")?.1.split_once(" records")?.0.parse::<u64>().ok();
    let losses: Vec<(usize, u64)> =
        text.lines().enumerate().filter_map(|(i, line)| Some((i, lost(line)?))).collect();
    let (place, _) = *losses.first().context("the ring had room for all of them")?;
    let lost: u64 = losses.iter().map(|(_, count)| count).sum();
    // The exits of the storm, and that of the fixture itself.
    assert_eq!(exits + lost, MANY + 1, "{lost} were lost");
    ensure!(place > 1, "the loss does not stand where it was: after what the ring had room for");
    Ok(())
}

/// Runs a container that ends at once, and returns its tree.
fn tree_of(runtime: Runtime) -> Result<String> {
    let lab = Lab::new(&supervisor_bin()?)?;
    lab.add_busybox(&["true"])?;
    let program = runtime.find().with_context(|| format!("{} is not installed", runtime.name()))?;
    let id = lab.container_id(runtime.name());
    let bundle = bundle(&lab, &id, PidNs::Own, &["true"])?;
    let (program, state, bundle) =
        (program.display(), lab.state(runtime.name()), bundle.display().to_string());
    let (program, state) = (program.to_string(), state.display().to_string());
    let mut args = vec!["-o", "tree", "--", &program, "--root", &state];
    if runtime == Runtime::Crun {
        args.push("--cgroup-manager=disabled");
    }
    args.extend(["run", "--bundle", &bundle, &id]);
    let (code, tree) = Trace::start(&args)?.end()?;
    ensure!(code == 0, "{} run ended with {code}: {tree}", runtime.name());
    Ok(tree)
}

#[test]
fn the_processes_of_a_runtime_are_drawn_as_a_tree() -> Result<()> {
    let mut tree = tree_of(Runtime::Runc)?;
    // Where a hook can be preempted, the kernel leaves out a run of a program now and then.
    for _ in 0..6 {
        if tree.contains("LOST") {
            tree = tree_of(Runtime::Runc)?;
        }
    }
    println!("{tree}");
    let line =
        |what: &str| tree.lines().find(|line| line.contains(what)).with_context(|| format!("no {what}"));
    let root = line("runc[")?;
    ensure!(root.contains("code 0") && root.contains(" run --bundle "), "{root}");
    // The container's command is below it, and was reaped.
    let container = line("/true")?;
    ensure!(container.contains("─ ") && container.contains("code 0"), "{container}");
    ensure!(!tree.contains("UNREAPED") && !tree.contains("LOST"), "{tree}");
    Ok(())
}
