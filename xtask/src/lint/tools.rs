//! Checks by programs that are not part of Rust: `typos` for the spelling, `cargo-deny` for what the dependencies bring in.
//! Both are built once, below cargo's target directory.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::process;

/// The folder below cargo's target directory where they are installed.
const TOOLS: &str = "lint-tools";

/// A program that checks something.
struct Tool {
    /// The crate that it comes from.
    package: &'static str,
    /// Its file.
    program: &'static str,
    version: &'static str,
    /// What `--version` calls it.
    name: &'static str,
}

const TYPOS: Tool = Tool { package: "typos-cli", program: "typos", version: "1.52.0", name: "typos-cli" };
const DENY: Tool =
    Tool { package: "cargo-deny", program: "cargo-deny", version: "0.20.2", name: "cargo-deny" };

/// Fails on a misspelt word. `typos.toml` has the words that are right here.
pub(super) fn spelling() -> Result<()> {
    let mut typos = Command::new(TYPOS.installed()?);
    typos.arg("--config").arg("typos.toml").current_dir(process::workspace());
    process::visibly(typos)
}

/// Fails on a licence that `deny.toml` does not allow, on a source other than the registry, and on a crate in two versions that
/// `deny.toml` does not list.
pub(super) fn dependencies() -> Result<()> {
    let mut deny = Command::new(DENY.installed()?);
    deny.args([
        "--all-features",
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ]);
    deny.current_dir(process::workspace());
    process::visibly(deny)
}

/// Fails on a known vulnerability. The list of those is fetched from where `RustSec` publishes it.
pub(crate) fn advisories() -> Result<()> {
    let mut deny = Command::new(DENY.installed()?);
    deny.args(["--all-features", "--locked", "check", "advisories"]);
    deny.current_dir(process::workspace());
    process::visibly(deny)
}

impl Tool {
    /// The program, which is built if it is not there yet.
    fn installed(&self) -> Result<PathBuf> {
        let root = process::target_dir()?.join(TOOLS);
        let program = root.join("bin").join(self.program);
        let version = process::output(Command::new(&program).arg("--version"));
        let expected = format!("{} {}", self.name, self.version);
        if version.is_none_or(|text| text.lines().next() != Some(&expected)) {
            let mut install = process::cargo();
            install.args([
                "install",
                self.package,
                "--version",
                self.version,
                "--locked",
                "--force",
                "--root",
            ]);
            install.arg(&root);
            process::condensed(&format!("lint: {expected}  (built once; some minutes)"), install)?;
        }
        Ok(program)
    }
}
