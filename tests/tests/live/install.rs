//! Tests of `supervisor install --systemd`: systemd's rating of the unit, and the files that are written.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};
use supervisor_tests::supervisor_bin;

/// The worst exposure that is allowed. 0 is none and 10 is all.
const LIMIT: f64 = 3.0;

fn install(args: &[&str]) -> Result<Output> {
    let output = Command::new(supervisor_bin()?).args(["install", "--systemd"]).args(args).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "install {args:?} ended with {}: {text}", output.status);
    Ok(output)
}

fn systemd_analyze(args: &[&str], file: &Path) -> Result<String> {
    let output = Command::new("systemd-analyze").args(args).arg(file).env("SYSTEMD_COLORS", "0").output();
    let output = output.context("systemd-analyze cannot be started: install the package systemd")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.success(), "systemd-analyze {args:?} ended with {}: {all}", output.status);
    Ok(all)
}

#[test]
fn the_unit_is_hardened_and_valid() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("supervisor.service");
    // systemd checks whether the program exists.
    let program = supervisor_bin()?.canonicalize()?;
    let unit = String::from_utf8(install(&["--dry-run"])?.stdout)?;
    fs::write(&file, unit.replace("/usr/local/bin/supervisor", &program.to_string_lossy()))?;
    let text = systemd_analyze(&["security", "--offline=true", "--no-pager"], &file)?;
    let level = text.split("exposure level for supervisor.service: ").nth(1);
    let level =
        level.and_then(|rest| rest.split(' ').next()).with_context(|| format!("no level in: {text}"))?;
    println!("exposure level {level}");
    assert!(level.parse::<f64>()? <= LIMIT, "{text}");
    let complaints = systemd_analyze(&["verify", "--man=no"], &file)?;
    assert!(!complaints.contains("supervisor.service"), "{complaints}");

    // The drop-in of `[reap]` follows the unit: sections and lists of a unit can continue.
    let unit = String::from_utf8(install(&["--dry-run", "--reap"])?.stdout)?;
    assert!(unit.contains("\nSystemCallFilter=ptrace "), "{unit}");
    fs::write(&file, unit.replace("/usr/local/bin/supervisor", &program.to_string_lossy()))?;
    let complaints = systemd_analyze(&["verify", "--man=no"], &file)?;
    assert!(!complaints.contains("supervisor.service"), "{complaints}");
    Ok(())
}

#[test]
fn a_dry_run_writes_nothing() -> Result<()> {
    let root = tempfile::tempdir()?;
    let folder = root.path().to_str().context("a plain path")?;
    let unit = install(&["--dry-run", "--root", folder, "--config", "/etc/other.toml"])?.stdout;
    assert!(String::from_utf8(unit)?.contains(" run --config /etc/other.toml\n"));
    assert_eq!(fs::read_dir(root.path())?.count(), 0);
    Ok(())
}

#[test]
fn files_are_written_and_a_configuration_is_kept() -> Result<()> {
    let root = tempfile::tempdir()?;
    let folder = root.path().to_str().context("a plain path")?;
    let mode = |path: &str| -> Result<u32> {
        let place = root.path().join(path);
        let metadata = fs::metadata(&place).with_context(|| format!("there is no {}", place.display()))?;
        Ok(metadata.permissions().mode() & 0o7777)
    };
    let (unit, config) = ("etc/systemd/system/supervisor.service", "etc/supervisor/supervisor.toml");
    let prefixed = ["--root", folder, "--prefix", "/opt/supervisor"];
    install(&prefixed)?;
    assert_eq!((mode(unit)?, mode(config)?), (0o644, 0o600));
    assert_eq!(mode("opt/supervisor/bin/supervisor")?, 0o755);
    let text = fs::read_to_string(root.path().join(unit))?;
    assert!(text.contains(
        "\nExecStart=/opt/supervisor/bin/supervisor run --config /etc/supervisor/supervisor.toml\n"
    ));
    let version =
        Command::new(root.path().join("opt/supervisor/bin/supervisor")).arg("--version").output()?;
    assert!(version.status.success(), "what was installed runs");

    fs::write(root.path().join(config), "grace = \"5s\"\n")?;
    fs::write(root.path().join(unit), "of an older version\n")?;
    let said = String::from_utf8(install(&prefixed)?.stdout)?;
    assert_eq!(fs::read_to_string(root.path().join(config))?, "grace = \"5s\"\n");
    assert_eq!(fs::read_to_string(root.path().join(unit))?, text, "the unit is ours");
    assert!(said.contains(&format!("kept {folder}/{config}\n")), "{said}");
    let drop_in = "etc/systemd/system/supervisor.service.d/reap.conf";
    assert!(!root.path().join(drop_in).exists(), "only --reap writes it");
    install(&[&prefixed[..], &["--reap"]].concat())?;
    assert_eq!(mode(drop_in)?, 0o644);
    // No half-written file stays behind.
    assert_eq!(fs::read_dir(root.path().join("etc/supervisor"))?.count(), 1);
    Ok(())
}
