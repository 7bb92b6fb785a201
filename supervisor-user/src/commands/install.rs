//! `supervisor install`: installs supervisor as a systemd service.

use std::{
    env,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use supervisor_deliver::say::say;
use tempfile::NamedTempFile;

use crate::{console::print, exit::CommandExit};

/// The unit with the default paths.
const UNIT: &str = include_str!("../../../deploy/supervisor.service");
/// The drop-in that the unit needs for `[reap]`.
const REAP_DROP_IN: &str = include_str!("../../../deploy/supervisor-reap.conf");
/// The content of a new configuration.
const CONFIG: &str = include_str!("../../../deploy/supervisor.toml");
const UNIT_PATH: &str = "/etc/systemd/system/supervisor.service";
const REAP_DROP_IN_PATH: &str = "/etc/systemd/system/supervisor.service.d/reap.conf";
const DEFAULT_PREFIX: &str = "/usr/local";
const DEFAULT_CONFIG: &str = "/etc/supervisor/supervisor.toml";

/// Makes a service of it.
#[derive(Args, Clone, Debug)]
pub struct InstallArgs {
    /// Write a hardened systemd unit, a configuration if there is none, and this program; start nothing
    #[arg(long, required = true)]
    systemd: bool,
    /// Print the unit, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Also write the drop-in that the unit needs if the configuration enables `[reap]`: more capabilities, and ptrace
    #[arg(long)]
    reap: bool,
    /// The program is put into `bin` below this folder
    #[arg(long, default_value = DEFAULT_PREFIX, value_parser = plain, value_name = "DIR")]
    prefix: PathBuf,
    /// The configuration that the unit names
    #[arg(long, default_value = DEFAULT_CONFIG, value_parser = plain, value_name = "FILE")]
    config: PathBuf,
    /// Write everything below this folder, for an image or a package
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

/// Writes the files, or prints the unit.
///
/// # Errors
///
/// If a file cannot be written.
pub fn run(args: &InstallArgs) -> Result<CommandExit> {
    let program = args.prefix.join("bin/supervisor");
    let unit = unit(&program, &args.config);
    if args.dry_run {
        print(&unit)?;
        if args.reap {
            print(&format!("\n{REAP_DROP_IN}"))?;
        }
        return Ok(CommandExit::Ok);
    }
    let below = |path: &Path| args.root.join(path.strip_prefix("/").unwrap_or(path));
    let print_file = |what: &str, path: &Path| print(&format!("{what} {}\n", path.display()));
    let place = below(&program);
    print_file(if copy_program(&place)? { "wrote" } else { "runs from" }, &place)?;
    let place = below(&args.config);
    let is_new = write(&place, CONFIG.as_bytes(), 0o600, Existing::Keep)?;
    print_file(if is_new { "wrote" } else { "kept" }, &place)?;
    let place = below(Path::new(UNIT_PATH));
    write(&place, unit.as_bytes(), 0o644, Existing::Replace)?;
    print_file("wrote", &place)?;
    if args.reap {
        let place = below(Path::new(REAP_DROP_IN_PATH));
        write(&place, REAP_DROP_IN.as_bytes(), 0o644, Existing::Replace)?;
        print_file("wrote", &place)?;
    }
    if args.root == Path::new("/") {
        say("next: systemctl daemon-reload && systemctl enable --now supervisor");
    }
    Ok(CommandExit::Ok)
}

/// The unit with these paths.
fn unit(program: &Path, config: &Path) -> String {
    UNIT.replace(&format!("{DEFAULT_PREFIX}/bin/supervisor"), &program.display().to_string())
        .replace(DEFAULT_CONFIG, &config.display().to_string())
}

/// Parses a path that needs no quoting in a unit, where blanks, quotes, `%` and `$` have a meaning.
fn plain(text: &str) -> Result<PathBuf, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.starts_with('/') && text.chars().all(is_plain) {
        Ok(PathBuf::from(text))
    } else {
        Err("a unit needs an absolute path of letters, digits and ._-+:@".to_owned())
    }
}

/// What to do with a file that exists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Existing {
    Keep,
    Replace,
}

/// Copies this program, unless the file at `place` is this program itself.
fn copy_program(place: &Path) -> Result<bool> {
    let own = env::current_exe().context("cannot find this program's own file")?;
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    if let (Ok(own), Ok(there)) = (own.metadata(), place.metadata())
        && same(own, there)
    {
        return Ok(false);
    }
    let mut program = File::open(&own).with_context(|| format!("cannot read {}", own.display()))?;
    write_from(place, &mut program, 0o755, Existing::Replace)
}

fn write(place: &Path, mut content: &[u8], mode: u32, existing: Existing) -> Result<bool> {
    write_from(place, &mut content, mode, existing)
}

/// Writes a file so that it exists either whole or not at all. Returns whether it was written.
fn write_from(place: &Path, content: &mut impl io::Read, mode: u32, existing: Existing) -> Result<bool> {
    let refused = || format!("cannot write {} (is this run as root?)", place.display());
    let folder = place.parent().context("a file has a folder")?;
    ensure!(!place.is_dir(), "{} is a folder", place.display());
    fs::create_dir_all(folder).with_context(refused)?;
    let mut file = NamedTempFile::new_in(folder).with_context(refused)?;
    io::copy(content, &mut file).with_context(refused)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).with_context(refused)?;
    file.flush().with_context(refused)?;
    file.as_file().sync_all().with_context(refused)?;
    if existing == Existing::Replace {
        file.persist(place).with_context(refused)?;
        return Ok(true);
    }
    match file.persist_noclobber(place) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_unit_names_the_paths() {
        let text = unit(Path::new("/opt/s/bin/supervisor"), Path::new("/etc/s.toml"));
        assert!(text.contains("\nExecStart=/opt/s/bin/supervisor run --config /etc/s.toml\n"), "{text}");
        let text = unit(&Path::new(DEFAULT_PREFIX).join("bin/supervisor"), Path::new(DEFAULT_CONFIG));
        assert_eq!(text, UNIT);
        assert!(plain("/opt/super_visor-1.0").is_ok());
        for path in ["relative", "/with blank", "/with%h", "/with$X", "/with\nExecStartPre=x", "/with\"quote"]
        {
            assert!(plain(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_new_configuration_is_valid() {
        let config: Config = toml::from_str(CONFIG).expect("it is valid");
        assert!(config.sinks["journal"].journald.is_some());
        assert!(config.metrics.listen.is_some_and(|address| address.ip().is_loopback()));
    }

    #[test]
    fn the_unit_keeps_exactly_the_needed_capabilities() {
        let kept = UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
        let needed: Vec<String> =
            supervisor_collect::privileges::NEEDS.iter().map(|need| need.capability.to_string()).collect();
        assert_eq!(kept, Some(needed.join(" ").as_str()));
    }
}
