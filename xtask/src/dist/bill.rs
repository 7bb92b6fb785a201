//! Lists the linked crates with their licences, for people and for programs.

use std::{collections::BTreeSet, fmt::Write as _, process::Stdio};

use anyhow::{Context as _, Result};

use super::VERSION;
use crate::{arch::Arch, process};

/// A crate that is linked in.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Linked {
    name: String,
    version: String,
    licence: String,
}

/// All crates that are linked into the program, except those of this workspace.
pub(super) fn crates(arch: Arch) -> Result<BTreeSet<Linked>> {
    let mut cargo = process::cargo();
    cargo.args(["tree", "--locked", "--package", "supervisor-user", "--edges", "normal", "--prefix", "none"]);
    cargo.args(["--target", arch.triple(), "--format", "{p}|{l}"]);
    let tree = process::output(cargo.stderr(Stdio::inherit())).context("cargo tree fails")?;
    Ok(tree.lines().filter_map(parse_crate).collect())
}

/// Parses a line of `cargo tree`, such as `libc v0.2.180|MIT OR Apache-2.0`. The line of a crate of this workspace also
/// has the folder of the crate.
fn parse_crate(line: &str) -> Option<Linked> {
    let (package, licence) = line.trim_end_matches(" (*)").split_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    if words.any(|word| word.starts_with("(/")) {
        return None;
    }
    Some(Linked { name: name.to_owned(), version: version.to_owned(), licence: licence.to_owned() })
}

/// The text with the licences of all linked crates and libraries.
pub(super) fn copyright(crates: &BTreeSet<Linked>) -> String {
    let mut text = "supervisor is licensed under MIT or Apache-2.0, at your choice; its eBPF programs also under GPL-2.0.\n\
                    Linked into it are, each under its own licence:\n\n"
        .to_owned();
    for Linked { name, version, licence } in crates {
        let _infallible = writeln!(text, "{name} {version}: {licence}");
    }
    text.push_str(
        "\nand the GNU C library (LGPL-2.1 or later) and libgcc (GPL-3.0 with the runtime exception).\n",
    );
    text
}

/// The list of crates for programs, as `CycloneDX` 1.6.
pub(super) fn of_materials(crates: &BTreeSet<Linked>) -> String {
    let component = |it: &Linked| {
        format!(
            "    {{\"type\": \"library\", \"name\": {:?}, \"version\": {:?}, \"purl\": \"pkg:cargo/{}@{}\", \
             \"licenses\": [{{\"expression\": {:?}}}]}}",
            it.name, it.version, it.name, it.version, it.licence
        )
    };
    let components: Vec<String> = crates.iter().map(component).collect();
    format!(
        "{{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.6\",\n  \"version\": 1,\n  \"metadata\": {{\"component\": \
         {{\"type\": \"application\", \"name\": \"supervisor\", \"version\": {VERSION:?}}}}},\n  \"components\": [\n{}\n  ]\n}}\n",
        components.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_listed_with_their_licences_but_not_our_own() {
        let libc = Linked {
            name: "libc".to_owned(),
            version: "0.2.180".to_owned(),
            licence: "MIT OR Apache-2.0".to_owned(),
        };
        assert_eq!(parse_crate("libc v0.2.180|MIT OR Apache-2.0"), Some(libc));
        assert_eq!(parse_crate("supervisor-ebpf v0.1.0 (/a/supervisor-ebpf)|MIT"), None);
        assert_eq!(parse_crate(""), None);
        let proc_macro = parse_crate("serde_derive v1.0.1 (proc-macro)|MIT (*)").map(|it| it.licence);
        assert_eq!(proc_macro.as_deref(), Some("MIT"));
    }
}
