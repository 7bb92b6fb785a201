//! The record beside the committed eBPF object: a hash of what it was made of, a hash of itself, and its compiler.
//!
//! Two programs include this file by path: `build.rs` compares the record with the tree, and `cargo xtask build --bpf` writes it.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

#[path = "recipe.rs"]
pub(crate) mod recipe;

/// The object, relative to the folder of the workspace.
pub(crate) const OBJECT: &str = "supervisor-ebpf/object/supervisor.bpf.o";
/// Its record.
pub(crate) const RECORD: &str = "supervisor-ebpf/object/supervisor.bpf.toml";
/// The versions of all dependencies.
pub(crate) const LOCK: &str = "Cargo.lock";
/// What the object is made of, apart from the crates in [`LOCK`]: files, and folders with all Rust files in them.
pub(crate) const SOURCES: [&str; 3] =
    ["supervisor-ebpf/Cargo.toml", "supervisor-ebpf/object/recipe.rs", "supervisor-ebpf/src"];
/// How the names of the crates begin that are compiled into the object.
const CRATES: [&str; 2] = ["aya-ebpf", "aya-log-"];

/// What the record of this object has to say in this tree.
pub(crate) fn expected(workspace: &Path, object: &[u8]) -> io::Result<String> {
    let mut sources = Vec::new();
    for source in SOURCES {
        collect(workspace, Path::new(source), &mut sources)?;
    }
    sources.sort();
    let lock = fs::read_to_string(workspace.join(LOCK))?;
    Ok(format!(
        "# Written by `cargo xtask build --bpf`, together with supervisor.bpf.o.\n\
         sources = \"{}\"\n\
         object = \"{}\"\n\
         compiler = \"{}\"\n\
         linker = \"bpf-linker {}\"\n",
        hash_of_sources(&sources, &lock),
        hex(Sha256::new().chain_update(object)),
        recipe::RUSTC,
        recipe::LINKER,
    ))
}

/// Whether the committed object and its record belong to this tree.
pub(crate) fn is_current(workspace: &Path) -> io::Result<bool> {
    let object = fs::read(workspace.join(OBJECT))?;
    Ok(fs::read_to_string(workspace.join(RECORD))? == expected(workspace, &object)?)
}

/// Reads a file, or all Rust files below a folder.
fn collect(workspace: &Path, path: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) -> io::Result<()> {
    let whole = workspace.join(path);
    if !whole.is_dir() {
        into.push((path.to_owned(), fs::read(whole)?));
        return Ok(());
    }
    for entry in fs::read_dir(whole)? {
        let entry = entry?;
        let path = path.join(entry.file_name());
        if entry.file_type()?.is_dir() || path.extension().is_some_and(|it| it == "rs") {
            collect(workspace, &path, into)?;
        }
    }
    Ok(())
}

/// The hash of the files, each with its name and length, and of the locked crates.
fn hash_of_sources(files: &[(PathBuf, Vec<u8>)], lock: &str) -> String {
    let mut hash = Sha256::new();
    for (path, content) in files {
        hash.update(format!("{} {}\n", path.display(), content.len()));
        hash.update(content);
    }
    for line in locked(lock) {
        hash.update(line);
    }
    hex(hash)
}

/// The lines of the lock file that say what [`CRATES`] are: names, versions and checksums.
fn locked(lock: &str) -> impl Iterator<Item = &str> {
    let entries = lock.split("[[package]]").filter(|entry| {
        let name = entry.lines().find_map(|line| line.strip_prefix("name = \""));
        name.is_some_and(|name| CRATES.iter().any(|prefix| name.starts_with(prefix)))
    });
    let is_fact =
        |line: &&str| ["name = ", "version = ", "checksum = "].iter().any(|key| line.starts_with(key));
    entries.flat_map(str::lines).filter(is_fact)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "version = 4\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\nsource = \"r\"\n\
                          checksum = \"1\"\ndependencies = [\n \"x\",\n]\n\n[[package]]\nname = \"x\"\nversion = \"1\"\n";

    fn hash(name: &str, content: &str, lock: &str) -> String {
        hash_of_sources(&[(name.into(), content.into())], lock)
    }

    #[test]
    fn the_hash_of_the_sources_changes_with_each_part() {
        let before = hash("a", "text", LOCKED);
        assert_ne!(hash("b", "text", LOCKED), before);
        assert_ne!(hash("a", "texts", LOCKED), before);
        assert_ne!(hash("a", "text", &LOCKED.replace("0.2.1", "0.2.2")), before);
        assert_ne!(hash("a", "text", &LOCKED.replace("checksum = \"1\"", "checksum = \"2\"")), before);
    }

    #[test]
    fn other_crates_do_not_change_the_hash_of_the_sources() {
        let other = LOCKED.replace("name = \"x\"\nversion = \"1\"", "name = \"x\"\nversion = \"2\"");
        assert_ne!(other, LOCKED);
        assert_eq!(hash("a", "text", &other), hash("a", "text", LOCKED));
    }
}
