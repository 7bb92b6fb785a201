//! Carries out what is missing.
//!
//! After each step it looks at the host again, so that no step relies on what an earlier one was expected to do.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Command, slice, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    plan::{self, Extra, Facts, Kind, PROGRAMS, Step, Tried, plan},
    process,
    toolchain::{self, LINKER_VERSION, Toolchain, Tools},
};

/// `setup`: does what is missing and tells what there is.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let facts = complete(None)?;
    if let Some(Tools { toolchain: Toolchain { name, release, llvm, .. }, linker }) = &facts.tools {
        eprintln!("compiler   {name}: rustc {release}, LLVM {llvm}");
        eprintln!("linker     bpf-linker {LINKER_VERSION}, LLVM {llvm}: {}", linker.display());
    }
    eprintln!("programs   {}", PROGRAMS.map(|(program, _)| program).join(", "));
    eprintln!("setup is complete ({:.1} s)", start.elapsed().as_secs_f64());
    Ok(())
}

/// Does what is missing, in silence if nothing is.
pub(crate) fn ensure() -> Result<()> {
    complete(None).map(drop)
}

/// As [`ensure`], with what only one task needs.
pub(crate) fn ensure_with(extra: &Extra) -> Result<()> {
    complete(Some(extra)).map(drop)
}

/// Renews apt's index.
pub(crate) fn update_index() -> Result<()> {
    let step = Step::update();
    refuse_if_powerless(slice::from_ref(&step))?;
    process::condensed(&format!("setup: {step}  ({})", step.why), step.command())
}

/// `setup --check`: lists what is missing.
pub(crate) fn check() -> Result<()> {
    let facts = Facts::gather(None)?;
    let steps = plan(&facts, Tried::default(), &in_index)?;
    if steps.is_empty() {
        eprintln!("nothing is missing");
        return Ok(());
    }
    list(&steps);
    Err(process::Exit(1).into())
}

/// Whether this process may change the host.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

fn complete(extra: Option<&Extra>) -> Result<Facts> {
    let mut facts = Facts::gather(extra)?;
    let mut tried = Tried::default();
    let mut done = Vec::new();
    loop {
        let mut steps = plan(&facts, tried, &in_index)?;
        if steps.is_empty() {
            return Ok(facts);
        }
        if steps[0].kind != Kind::Try && steps.iter().any(Step::needs_root) {
            refuse_if_powerless(&steps)?;
        }
        let step = steps.swap_remove(0);
        if done.contains(&step) {
            bail!("`{step}` succeeded, yet what it should bring is still missing: {}", step.why);
        }
        let result = process::condensed(&format!("setup: {step}  ({})", step.why), step.command());
        match &step.kind {
            Kind::Try => {
                tried.src = true;
                if result.is_err() {
                    eprintln!("    cannot be had here, going on without it");
                }
            }
            Kind::Install(_) if result.is_err() && !tried.update => tried.install = true,
            kind => {
                result.with_context(|| format!("`{step}` failed; then `cargo xtask setup` again"))?;
                tried.update |= *kind == Kind::Update;
                done.push(step);
            }
        }
        facts = Facts::gather(extra)?;
    }
}

/// Says what to run, and ends, where this process cannot do it.
fn refuse_if_powerless(steps: &[Step]) -> Result<()> {
    if plan::program("apt-get").is_none() {
        eprintln!(
            "This host has no apt-get. On Debian these commands bring what is missing; here, take the same"
        );
        eprintln!("from the host's own packages, the compiler perhaps as a nightly toolchain with rust-src:");
    } else if !is_root() {
        eprintln!("Only root can install what is missing. Run these, in this order:");
    } else {
        return Ok(());
    }
    list(steps);
    Err(process::Exit(2).into())
}

fn list(steps: &[Step]) {
    for step in steps {
        println!("# {}", step.why);
        println!("{step}");
    }
}

/// Whether apt could install this package.
fn in_index(package: &str) -> bool {
    toolchain::output(Command::new("apt-cache").args(["policy", package]))
        .is_some_and(|text| plan::has_candidate(&text))
}
