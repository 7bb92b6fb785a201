//! Runs other programs.

use std::{
    collections::VecDeque,
    env,
    fmt::{self, Display, Formatter},
    io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// The number of lines that are shown of a failed command's output.
const TAIL: usize = 25;

/// Ends xtask with this code. The code that returns it has already printed the reason.
#[derive(Debug)]
pub(crate) struct Exit(pub(crate) u8);

impl Display for Exit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.0)
    }
}

impl std::error::Error for Exit {}

/// The folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's target directory, wherever the user's settings put it.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot start cargo metadata")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse_target_dir(&text) {
        Some(dir) => Ok(dir.into()),
        None => bail!("cargo metadata fails:\n{}", String::from_utf8_lossy(&output.stderr)),
    }
}

fn parse_target_dir(metadata: &str) -> Option<&str> {
    metadata.split_once(r#""target_directory":""#)?.1.split_once('"').map(|(dir, _)| dir)
}

/// Whether this process may change the host.
pub(crate) fn is_root() -> bool {
    Path::new("/proc/self").metadata().is_ok_and(|own| own.uid() == 0)
}

/// A command for the cargo that runs this task, in the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    without_cargo_run(&mut command);
    command
}

/// Removes variables from a command's environment: those that `cargo run` has added to ours, and those that would make
/// cargo build again or make programs load rustup's libraries.
///
/// `RUSTUP_TOOLCHAIN` stays, because `cargo +name xtask` also applies to every cargo that xtask starts.
pub(crate) fn without_cargo_run(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let Some(libraries) = env::var_os("LD_LIBRARY_PATH") else { return };
    let exe = env::current_exe().unwrap_or_default();
    let own = exe.parent().unwrap_or(Path::new("/nowhere"));
    let cargo = env::var_os("CARGO").map(PathBuf::from).unwrap_or_default();
    let sysroot = cargo.ancestors().nth(2).unwrap_or(Path::new("/nowhere"));
    let kept: Vec<PathBuf> = env::split_paths(&libraries)
        .filter(|dir| !dir.starts_with(own) && !dir.starts_with(sysroot.join("lib")))
        .collect();
    match env::join_paths(&kept) {
        Ok(libraries) if !kept.is_empty() => command.env("LD_LIBRARY_PATH", libraries),
        _ => command.env_remove("LD_LIBRARY_PATH"),
    };
}

/// The output of a command, if it can be run and succeeds.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Runs a command with visible output. If it fails, its exit code becomes ours.
pub(crate) fn visibly(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", name(&command)))?;
    if status.success() {
        return Ok(());
    }
    Err(Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)).into())
}

/// Runs a command whose output matters only if it fails. Prints one line before the command and one after it. On a
/// terminal, the latest line of the output stands between them.
pub(crate) fn condensed(title: &str, mut command: Command) -> Result<()> {
    let start = Instant::now();
    let terminal = io::stderr().is_terminal();
    let mut stderr = io::stderr();
    writeln!(stderr, "{title} …")?;

    let (reader, writer) = io::pipe()?;
    let program = name(&command);
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
    // The command holds the writing ends of the pipe. With them open, the loop below would never end.
    drop(command);

    let mut tail = VecDeque::with_capacity(TAIL);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end().rsplit('\r').next().unwrap_or_default();
        if line.is_empty() {
            continue;
        }
        if terminal {
            let seconds = start.elapsed().as_secs();
            let status: String = format!("    {seconds} s  {line}").chars().take(78).collect();
            write!(stderr, "\r\x1b[2K{status}")?;
        }
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(line.to_owned());
    }
    let status = child.wait()?;
    let seconds = start.elapsed().as_secs_f64();
    if terminal {
        write!(stderr, "\r\x1b[2K")?;
    }
    if status.success() {
        writeln!(stderr, "    done in {seconds:.1} s")?;
        return Ok(());
    }
    writeln!(stderr, "    failed after {seconds:.1} s")?;
    let tail: Vec<String> = tail.into();
    bail!("{program} ended with {status}; the end of its output:\n    {}", tail.join("\n    "))
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_directory_is_read() {
        let text = r#"{"packages":[],"target_directory":"/a b/t","version":1}"#;
        assert_eq!(parse_target_dir(text), Some("/a b/t"));
        assert_eq!(parse_target_dir("{}"), None);
    }

    #[test]
    fn a_failing_command_shows_its_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "for i in $(seq 100); do echo line $i; done; exit 3"]);
        let error = condensed("test", command).unwrap_err().to_string();
        assert!(error.contains("line 100") && error.contains("line 76"), "{error}");
        assert!(!error.contains("line 75"), "{error}");
    }
}
