//! `doctor`: the verifier's work, which grows unseen until a kernel refuses a program, stays within bounds.

use std::process::Command;

use anyhow::{Context as _, Result};
use supervisor_tests::supervisor_bin;
use supervisor_user::kernel::VERIFIED_AT_MOST;

#[test]
fn the_verifier_has_no_more_work_with_any_program_than_it_may_have() -> Result<()> {
    let output = Command::new(supervisor_bin()?).arg("doctor").output()?;
    let report = String::from_utf8(output.stdout)?;
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
    assert!(figures >= VERIFIED_AT_MOST.len() - 1, "only the extra hook may be missing: {report}");
    assert!(figures <= VERIFIED_AT_MOST.len(), "a program without a bound: {report}");
    Ok(())
}
