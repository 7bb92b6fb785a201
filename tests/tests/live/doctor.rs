//! Tests of `doctor`: the verifier's work stays within bounds, since it grows unseen until a kernel refuses a program.
//! `doctor` also recognises a kernel that hides its PID 1.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use supervisor_collect::kernel::VERIFIED_AT_MOST;
use supervisor_tests::{hides_init, supervisor_bin};

#[test]
fn every_program_stays_within_its_bound_of_verified_instructions() -> Result<()> {
    let output = Command::new(supervisor_bin()?).arg("doctor").output()?;
    let report = String::from_utf8(output.stdout)?;
    // Before 5.16 the kernel counts instructions, but does not report the count (`bpf_prog_info::verified_insns`).
    if !report.contains("instructions verified)") {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        assert!(
            release.starts_with("5.14.") || release.starts_with("5.15."),
            "no figures on {release}{report}"
        );
        return Ok(());
    }
    for (program, bound) in VERIFIED_AT_MOST {
        let line = report.lines().find(|line| line.split_whitespace().nth(1) == Some(program));
        let line = line.with_context(|| format!("nothing of {program}: {report}"))?;
        if line.starts_with("without") {
            continue;
        }
        let figure = line.strip_suffix(" instructions verified)").and_then(|rest| rest.rsplit_once('('));
        let verified: u32 = figure.with_context(|| format!("no figure: {line}"))?.1.parse()?;
        assert!(verified <= bound, "{program}: {verified} instructions, {bound} at most");
    }
    let figures = report.lines().filter(|line| line.ends_with("instructions verified)")).count();
    assert!(figures >= VERIFIED_AT_MOST.len() - 1, "only the optional hook may be missing: {report}");
    assert!(figures <= VERIFIED_AT_MOST.len(), "a program without a bound: {report}");
    Ok(())
}

/// A kernel that keeps its PID 1 from being traced shows its system calls to no process either. (Neither does Yama, if
/// it forbids all `ptrace`; no machine that runs these tests does that.)
#[test]
fn it_says_whether_pid_1_of_the_host_can_be_traced() -> Result<()> {
    let output = Command::new(supervisor_bin()?).arg("doctor").output()?;
    let report = String::from_utf8(output.stdout)?;
    let line = report.lines().find(|line| line.contains(" PID 1  ")).with_context(|| report.clone())?;
    let expected = if hides_init() { "without " } else { "ok " };
    assert!(line.starts_with(expected), "{line}");
    Ok(())
}
