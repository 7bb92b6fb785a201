//! Shows one family: makes it happen, checks the tool's report, and ends it.

use std::path::Path;

use anyhow::Result;
use supervisor_lab::{LIMIT, Lab, Part, RunningContainer, Runtime, stat, until, zombies_of};

use super::{
    scenes::{Reported, Scene},
    watch::{self, Watch, say},
};

/// Shows a scene. It is an error if the tool does not report the announced family.
pub(super) fn show(lab: &Lab, binary: &Path, scene: &Scene) -> Result<()> {
    say(&format!("\n{} {}\n   {}.", scene.family, scene.family.title(), scene.does))?;
    let name = format!("demo-{}", scene.family.id().to_lowercase());
    if scene.part.is_empty() {
        in_a_container(lab, binary, scene, &name)
    } else {
        play(lab, binary, scene, &name)
    }
}

fn play(lab: &Lab, binary: &Path, scene: &Scene, name: &str) -> Result<()> {
    let mut args = vec!["when-told".to_owned()];
    for arg in scene.part {
        args.push(match arg.strip_prefix('@') {
            Some(name) => lab.actor_path(name)?.to_string_lossy().into_owned(),
            None => (*arg).to_owned(),
        });
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut part = Part::play(lab, name, &args)?;
    let reaper = part.pid().to_string();
    let mut watch = match scene.reported {
        Reported::Explained => None,
        Reported::OfName => Some(Watch::start(binary, &["--comm", name])?),
        _ => Some(Watch::start(binary, &["--reaper", &reaper])?),
    };
    part.send("begin")?;
    let pid = part.next(scene.fact.0)?.pid(scene.fact.1)?;
    match &watch {
        None => watch::names(&watch::explain(binary, pid)?, &[format!("; {} ", scene.family)])?,
        Some(watch) if scene.reported == Reported::Nothing => {
            watch.is_silent()?;
            say(&format!("   Pid {pid} was one of them, and is gone; supervisor has nothing to say."))?;
        }
        Some(watch) => opened(watch, scene, pid)?,
    }
    say(&format!("   {}.", scene.ends))?;
    if scene.reported != Reported::Late {
        part.send("reap")?;
    }
    if let Some(watch) = &mut watch {
        closed(watch, scene, pid)?;
    }
    part.end()?;
    until("it to be gone", LIMIT, || Ok(stat(pid).is_none().then_some(())))?;
    if watch.is_none() {
        say(&format!("   Pid {pid} is gone."))?;
    }
    Ok(())
}

fn in_a_container(lab: &Lab, binary: &Path, scene: &Scene, name: &str) -> Result<()> {
    // crun runs without control groups here, so no group stays behind if this process is killed.
    let runtime = if Runtime::Crun.find().is_some() { Runtime::Crun } else { Runtime::Runc };
    let [program, actor] = lab.add_actor(name)?;
    let container = RunningContainer::run(lab, runtime, &[&program, &actor, "sleeper"])?;
    let mut watch = Watch::start(binary, &["--container", container.id()])?;
    container.exec(&[&program, &actor, "orphan-maker"])?;
    let zombie = until("a zombie under PID 1", LIMIT, || Ok(zombies_of(container.init())?.pop()))?;
    opened(&watch, scene, zombie.pid)?;
    say(&format!("   {}.", scene.ends))?;
    container.remove()?;
    closed(&mut watch, scene, zombie.pid)
}

/// Shows the finding, and checks that it is of the family of the scene.
fn opened(watch: &Watch, scene: &Scene, pid: u32) -> Result<()> {
    let said = watch.next_about(pid, if scene.reported == Reported::Blocked { "blocked" } else { "" })?;
    let mut names: Vec<String> = scene.names.iter().map(|&name| name.to_owned()).collect();
    if names.is_empty() {
        names.push(format!("[{}, ", scene.family));
    }
    watch::names(&said, &names)
}

/// Shows the end of the finding, and ends the watch.
fn closed(watch: &mut Watch, scene: &Scene, pid: u32) -> Result<()> {
    match scene.reported {
        Reported::Nothing => {}
        Reported::Blocked => drop(watch.next_about(pid, "  released ")?),
        _ => drop(watch.next_about(pid, "  reaped ")?),
    }
    watch.stop().map(drop)
}
