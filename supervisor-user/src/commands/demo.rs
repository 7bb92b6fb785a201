//! `supervisor demo`: plays the incident, or chosen families, in namespaces that end with this program. It shows the
//! output of the tool for them.

mod scenes;
mod tour;
mod watch;

use std::{
    env,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use supervisor_lab::{
    Created, LIMIT, Lab, Monitor, NO_SUCH_COMMAND, PLAYED_CRUN, PidNs, Pod, Runtime, Stat, create,
    played_double_fork, stop_on_signals, until, zombies_of,
};
use supervisor_model::{family::Family, words::clean};

use self::{
    scenes::Scene,
    watch::{Watch, say, show},
};
use crate::exit::CommandExit;

/// How long the demo watches the killed `pause`.
const BLOCKED: Duration = Duration::from_millis(500);

/// Arguments of `supervisor demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Make these families happen, such as F4; without any it is the incident
    #[arg(value_name = "FAMILY", value_enum, ignore_case = true, hide_possible_values = true)]
    families: Vec<Family>,
    /// List the families, what is done for each, and whether that can be done here
    #[arg(long, conflicts_with_all = ["families", "played"])]
    list: bool,
    /// Play crun's double fork with our own processes, even if crun is installed
    #[arg(long, conflicts_with = "families")]
    played: bool,
}

/// Runs the demonstration; [`CommandExit::Found`] if it did not go as announced.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    if args.list {
        scenes::list()?;
        return Ok(CommandExit::Ok.into());
    }
    let scenes = args.families.iter().map(|family| scenes::of(*family)).collect::<Result<Vec<_>>>()?;
    if !rustix::process::geteuid().is_root() {
        eprintln!("supervisor demo makes namespaces and loads eBPF programs, which only root may: use sudo.");
        return Ok(CommandExit::Capabilities.into());
    }
    stop_on_signals()?;
    let started = Instant::now();
    if let Err(error) = in_a_lab(args, &scenes) {
        eprintln!("supervisor demo: it did not go as announced: {}", clean(&format!("{error:#}")));
        return Ok(CommandExit::Found.into());
    }
    say(&format!("\nAll of it happened as announced, in {:.1} s.", started.elapsed().as_secs_f64()))?;
    Ok(CommandExit::Ok.into())
}

fn in_a_lab(args: &DemoArgs, scenes: &[&Scene]) -> Result<()> {
    let binary = env::current_exe().context("the path of this program is not known")?;
    let lab = Lab::new(&binary)?;
    if !scenes.is_empty() {
        return scenes.iter().try_for_each(|scene| tour::show(&lab, &binary, scene));
    }
    say("The incident of containers/conmon-rs#2242, in namespaces that end with this program.")?;
    incident(&lab, &binary, args)
}

fn incident(lab: &Lab, binary: &Path, args: &DemoArgs) -> Result<()> {
    // Rust drops these values in reverse order. A pod ends only after the monitor has released its zombie.
    let pod = Pod::start(lab)?;
    step(1, "A pod, which is a PID namespace")?;
    say(&format!("   `pause`, pid {}, is PID 1 of the PID namespace {}.", pod.pid(), pod.ns_ino()))?;

    let second_pod = Runtime::Runc.find().map(|_| Pod::start(lab)).transpose()?;
    let mut monitor = Monitor::start(lab)?;
    step(2, "A container monitor like conmon-rs before 0.6.6")?;
    say(&format!("   demo-monitor, pid {}, is a subreaper: it adopts orphans.", monitor.pid()))?;
    say("   It waits for the processes that it started, and for no others.")?;

    step(3, "We watch")?;
    let mut watch = Watch::start(binary, &["--reaper", &monitor.pid().to_string()])?;

    step(4, "A container that joins the pod's PID namespace fails to start")?;
    say(&format!("   Its command `{NO_SUCH_COMMAND}` does not exist."))?;
    let crun = Runtime::Crun.find().is_some() && !args.played;
    if crun {
        print_created(&create(lab, &mut monitor, Runtime::Crun, PidNs::Joined(&pod))?)?;
    } else {
        let why = if args.played { "As you asked," } else { "crun is not installed:" };
        say(&format!("   {why} the double fork that crun would do is played by our own {PLAYED_CRUN}."))?;
        let finished = played_double_fork(lab, &mut monitor, &pod)?;
        say(&format!("   {PLAYED_CRUN}, pid {}, ended with {}.", finished.pid, finished.exit))?;
    }
    let zombie = only_zombie(&monitor)?;
    say(&format!(
        "   Left behind: {}, pid {}, a zombie that the monitor has adopted.",
        zombie.comm, zombie.pid
    ))?;

    step(5, "What supervisor says about it")?;
    let finding = watch.next_about(zombie.pid, "")?;
    // On a busy machine, `watch` can be less sure at first, because the monitor may be about to run.
    let mut facts = vec![monitor.pid().to_string(), pod.ns_ino().to_string(), "[F1, ".to_owned()];
    facts.extend(crun.then(|| "crun".to_owned()));
    watch::names(&finding, &facts)?;

    step(6, "The pod cannot be deleted")?;
    kill_in_vain(&pod)?;
    say("   What supervisor says about it:")?;
    let blocked = watch.next_about(pod.pid(), "blocked")?;
    ensure!(blocked.contains(&zombie.pid.to_string()), "it does not name what holds the namespace");

    step(7, "The monitor reaps, and everything dissolves")?;
    let reaped = monitor.reap()?;
    ensure!(reaped == [zombie.pid], "the monitor reaped {reaped:?} and not just the zombie {}", zombie.pid);
    let left = Instant::now();
    until("pause to go", LIMIT, || Ok(pod.is_gone().then_some(())))?;
    say(&format!("   Told to, the monitor waited for any child and got pid {}.", zombie.pid))?;
    say(&format!("   `pause` was gone {} ms later.", left.elapsed().as_millis()))?;
    watch.next_about(pod.pid(), "released")?;

    step(8, "The same with runc, whose helpers stay its own children")?;
    match &second_pod {
        Some(pod) => nothing_with_runc(lab, &mut monitor, pod, &watch)?,
        None => say("   runc is not installed; this part is left out.")?,
    }
    let summary = watch.stop()?;
    say("\nSupervisor's own summary")?;
    summary.iter().try_for_each(|line| show(line))
}

/// Kills `pause` and checks that it stays.
fn kill_in_vain(pod: &Pod) -> Result<()> {
    pod.kill()?;
    let killed = Instant::now();
    let place = until("pause to stand still", LIMIT, || {
        ensure!(!pod.is_gone(), "pause has died, although a zombie is left in its namespace");
        Ok(pod.wchan().filter(|name| name == "zap_pid_ns_processes"))
    })?;
    let state = until("half a second to pass", BLOCKED * 2, || {
        let state = pod.state().context("pause has died, although a zombie is left in its namespace")?;
        Ok((killed.elapsed() >= BLOCKED).then_some(state))
    })?;
    let pid = pod.pid();
    let age = killed.elapsed().as_millis();
    say(&format!(
        "   SIGKILL to `pause`, pid {pid}: after {age} ms it is still there, state {state}, in {place}."
    ))?;
    say("   It waits for the last pid of its namespace: the zombie's.")
}

fn nothing_with_runc(lab: &Lab, monitor: &mut Monitor, pod: &Pod, watch: &Watch) -> Result<()> {
    print_created(&create(lab, monitor, Runtime::Runc, PidNs::Joined(pod))?)?;
    let left = zombies_of(monitor.pid())?;
    ensure!(left.is_empty(), "runc has left zombies under the monitor: {left:?}");
    watch.is_silent()?;
    pod.kill()?;
    until("the second pause to go", LIMIT, || Ok(pod.is_gone().then_some(())))?;
    say(
        "   Nothing is left behind, supervisor has nothing to say, and `pause` dies at once when it is killed.",
    )
}

/// Prints how a runtime's `create` ended.
fn print_created(created: &Created) -> Result<()> {
    let Created { runtime, runtime_pid, exit, log, .. } = created;
    say(&format!("   {} create, pid {runtime_pid}, ended with {exit}:", runtime.name()))?;
    // runc prints more than is of interest here. Its last line is the reason.
    say(&format!("      {}", log.lines().next_back().unwrap_or("(it said nothing)")))
}

/// The only zombie of the monitor.
fn only_zombie(monitor: &Monitor) -> Result<Stat> {
    // The process may not have finished its exit yet.
    until("a zombie under the monitor", LIMIT, || match &zombies_of(monitor.pid())?[..] {
        [] => Ok(None),
        [zombie] => Ok(Some(zombie.clone())),
        more => bail!("the monitor has more zombies than expected: {more:?}"),
    })
}

fn step(number: u32, title: &str) -> Result<()> {
    say(&format!("\n{number}. {title}"))
}
