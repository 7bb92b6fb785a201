//! Tests that each exit code in README.md is the one with which a command ends.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use supervisor_tests::{fixture, supervisor_bin};
use supervisor_user::exit::CommandExit;

/// Runs its arguments on a kernel that does not report its types.
const WITHOUT_BTF: &str = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";

#[test]
fn every_exit_code_is_the_one_that_is_documented() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    // A user without permissions may read it here.
    let program = dir.path().join("supervisor");
    supervisor_lab::copy_program(supervisor_bin()?, &program)?;
    let wrong = dir.path().join("wrong.toml");
    fs::write(&wrong, "graze = \"1s\"\n")?;
    let (program, wrong) = (program.display().to_string(), wrong.display().to_string());
    let fixture = fixture!("never-wait", "1")?;
    let (zombie, parent) = (fixture.fact("zombie")?.pid("pid")?.to_string(), fixture.pid().to_string());

    let plain: &[&str] = &[];
    let as_nobody = &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"][..];
    let without_btf = &["unshare", "--mount", "sh", "-c", WITHOUT_BTF, "sh"][..];
    for (how, args, code) in [
        (plain, &["ps", "--pid", "1"][..], CommandExit::Ok),
        (plain, &["explain", &parent], CommandExit::Ok),
        (plain, &["doctor"], CommandExit::Ok),
        (plain, &["watch", "--duration", "100ms"], CommandExit::Ok),
        (plain, &["ps", "--pid", &zombie], CommandExit::Found),
        (plain, &["explain", &zombie], CommandExit::Found),
        (without_btf, &["doctor"], CommandExit::Found),
        (as_nobody, &["doctor"], CommandExit::Found),
        (plain, &["ps", "--no-such-option"], CommandExit::Usage),
        (plain, &["config", "--check", &wrong], CommandExit::Usage),
        (plain, &["run", "--config", &wrong], CommandExit::Usage),
        (plain, &["explain", "4194305"], CommandExit::Failed),
        (plain, &["replay", "/no/such/file"], CommandExit::Failed),
        (plain, &["trace", "/no/such/command"], CommandExit::Failed),
        (plain, &["ps", "--from", "nats://127.0.0.1:1", "--nats-timeout", "1s"], CommandExit::Failed),
        (as_nobody, &["watch"], CommandExit::Capabilities),
        (as_nobody, &["trace"], CommandExit::Capabilities),
        (as_nobody, &["demo"], CommandExit::Capabilities),
        (without_btf, &["watch"], CommandExit::Kernel),
        (without_btf, &["trace"], CommandExit::Kernel),
    ] {
        let words: Vec<&str> = how.iter().chain(&[program.as_str()]).chain(args).copied().collect();
        let output = Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(code as i32), "{words:?} ended with {}: {said}", output.status);
    }
    fixture.end()
}

/// `trace` ends with the exit code of the command that it runs.
#[test]
fn a_trace_ends_as_its_command_does() -> Result<()> {
    for (command, code) in [("exit 0", 0), ("exit 41", 41), ("kill -9 $$", 128 + 9)] {
        let status = Command::new(supervisor_bin()?)
            .args(["trace", "--", "sh", "-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.code() == Some(code), "`{command}`: trace ended with {status}");
    }
    Ok(())
}
