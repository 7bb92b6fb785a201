//! Installs the programs that are missing.
//!
//! After each step it inspects the host again, so that no step relies on the expected result of an earlier step.

use std::{process::Command, slice, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    plan::{self, DEMO, Programs, Step, TESTS, Tried, plan},
    process,
};

/// `setup`: installs the programs that the demo and the tests need, and lists them.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    ensure(&[&DEMO, &TESTS])?;
    let names: Vec<&str> = DEMO.names().chain(TESTS.names()).collect();
    eprintln!("programs   {}", names.join(", "));
    eprintln!("setup is complete ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Renews apt's index.
pub(crate) fn update_index() -> Result<()> {
    let step = Step::Update;
    refuse_if_powerless(slice::from_ref(&step))?;
    process::condensed(&format!("setup: {step}  ({})", step.why()), step.command())
}

/// `setup --check`: lists the missing programs.
pub(crate) fn check() -> Result<()> {
    let steps = plan(missing(&[&DEMO, &TESTS]), Tried::default(), &in_index);
    if steps.is_empty() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    list(&steps);
    Err(process::Exit(1).into())
}

/// Installs the missing programs. Prints nothing if none is missing.
pub(crate) fn ensure(wanted: &[&Programs]) -> Result<()> {
    let mut tried = Tried::default();
    let mut done = Vec::new();
    loop {
        let mut steps = plan(missing(wanted), tried, &in_index);
        if steps.is_empty() {
            return Ok(());
        }
        refuse_if_powerless(&steps)?;
        let step = steps.swap_remove(0);
        if done.contains(&step) {
            bail!("`{step}` succeeded, yet what it should bring is still missing: {}", step.why());
        }
        let result = process::condensed(&format!("setup: {step}  ({})", step.why()), step.command());
        if result.is_err() && step != Step::Update && !tried.update {
            tried.install = true;
            continue;
        }
        result.with_context(|| format!("`{step}` failed; then `cargo xtask setup` again"))?;
        tried.update |= step == Step::Update;
        done.push(step);
    }
}

fn missing(wanted: &[&Programs]) -> Vec<Step> {
    wanted.iter().filter_map(|programs| programs.missing()).collect()
}

/// If this process cannot do the steps, prints the commands to run and ends.
fn refuse_if_powerless(steps: &[Step]) -> Result<()> {
    if plan::program("apt-get").is_none() {
        eprintln!(
            "This host has no apt-get. On Debian these commands bring what is missing; here, take the same from the \
             host's own packages:"
        );
    } else if !process::is_root() {
        eprintln!("Only root can install what is missing. Run these, in this order:");
    } else {
        return Ok(());
    }
    list(steps);
    Err(process::Exit(2).into())
}

fn list(steps: &[Step]) {
    for step in steps {
        println!("# {}", step.why());
        println!("{step}");
    }
}

/// Whether apt could install this package.
fn in_index(package: &str) -> bool {
    process::output(Command::new("apt-cache").args(["policy", package]))
        .is_some_and(|text| plan::has_candidate(&text))
}
