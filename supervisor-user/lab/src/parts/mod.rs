//! The parts: each makes a family of unreaped processes, or healthy processes that are similar.
//!
//! A part prints facts, one a line, takes commands, one a line, and ends when its input ends. All its children die with
//! it. `supervisor demo` plays the parts as actors. The tests have their own program for these parts and for more.

mod blocked;
mod changed;
pub mod family;
mod healthy;
mod late;
mod lost;
mod namespace;
mod orphans;
mod slow;
pub mod sys;
mod threads;
mod traced;
mod unreaped;

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};

pub use self::{
    orphans::{make_orphan, pid1_holds_a_zombie},
    traced::Tracer,
    unreaped::never_wait,
};

/// Plays the part that the arguments name.
pub fn play(args: &[&str]) -> Result<()> {
    match *args {
        ["when-told", ref part @ ..] => match command()? {
            Some(_) => play(part),
            None => Ok(()),
        },
        ["never-wait", count] => never_wait(number(count)?),
        ["ignored"] => healthy::ignored(),
        ["no-cld-wait"] => healthy::no_cld_wait(),
        ["leader-exits"] => threads::leader_exits(),
        ["sleeper"] => sys::wait_for_input_to_end(),
        ["exits"] => sys::exit(1),
        ["held-init"] => namespace::held_init(),
        ["adopts"] => orphans::adopts(),
        ["pid1-adopts", "never-waits"] => orphans::pid1_adopts(orphans::Pid1::NeverWaits),
        ["pid1-adopts", "waits-for-other"] => orphans::pid1_adopts(orphans::Pid1::WaitsForOther),
        ["init-not-pid1", init, ref args @ ..] => orphans::init_not_pid1(init, args),
        ["orphan-maker"] => orphans::orphan_maker(),
        ["orphan-maker", "stays"] => orphans::orphan_maker().map(|()| sys::sleep_for_ever()),
        ["waits-for-other"] => unreaped::waits_for_other(),
        ["spawns", program, ref args @ ..] => unreaped::spawns(program, args),
        ["traced", "leader"] => traced::traced(traced::Seized::Leader),
        ["traced", "thread"] => traced::traced(traced::Seized::OtherThread),
        ["parent-stopped"] => blocked::stopped(),
        ["exit-signal", signal] => lost::exit_signal(number(signal)? as i32),
        ["peek"] => lost::peek(),
        ["coalesced", count] => lost::coalesced(number(count)?),
        ["reads-to-end"] => late::reads_to_end(),
        ["waits-in-order"] => late::waits_in_order(),
        ["computes"] => late::computes(),
        ["blocked-mask"] => changed::blocked_mask(),
        ["replaced-handler"] => changed::replaced_handler(),
        ["replaced-image", program, ref args @ ..] => changed::replaced_image(program, args),
        ["slow-reaper", milliseconds] => slow::slow_reaper(number(milliseconds)?, None),
        ["slow-reaper", milliseconds, round] => {
            slow::slow_reaper(number(milliseconds)?, Some(number(round)?))
        }
        _ => bail!("no such part: {args:?}"),
    }
}

/// Parses a number among the arguments.
pub fn number(text: &str) -> Result<u64> {
    text.parse().with_context(|| format!("{text} is no number"))
}

/// Prints a fact.
pub fn say(fact: &str) -> Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{fact}")?;
    Ok(stdout.flush()?)
}

/// The next command, `None` when the input has ended.
pub fn command() -> Result<Option<String>> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

/// Waits for any command, or for the end of the input, and runs `release`. Then waits for the end of the input.
pub fn hold(release: impl FnOnce() -> Result<()>) -> Result<()> {
    let told = command()?;
    release()?;
    if told.is_some() {
        say("released")?;
    }
    sys::wait_for_input_to_end()
}
