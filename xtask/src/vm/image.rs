//! Builds the content of a machine: the program, the live tests, and the files that they need.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result};

use super::{
    Selection,
    initramfs::{self, Step, quoted},
    userland::Userland,
};
use crate::{arch::Arch, binary, process};

/// The path of the program for the tests, and the hooks that these kernels let it attach.
const ENVIRONMENT: &str = "SUPERVISOR_BIN=/bin/supervisor SUPERVISOR_HOOKS=tp_btf+iter+fentry";
/// Builds the content of the machine. Returns the path of the archive, and the steps that will run.
pub(super) fn build(arch: Arch, selection: &Selection, dir: &Path) -> Result<(PathBuf, Vec<Step>)> {
    let supervisor = binary::build_for(arch)?;
    let step = |name: &str, command: &str| Step { name: name.to_owned(), command: command.to_owned() };
    let mut steps = vec![step("doctor", "supervisor doctor"), step("demo", "supervisor demo")];
    let tests = if selection.is_empty() { Vec::new() } else { build_tests(arch)? };
    let mut files = vec![(supervisor.as_path(), "bin/supervisor".to_owned())];
    let mut preparation = String::new();
    for Built { name, executable, is_test } in &tests {
        let place = format!("tests/{name}");
        if *is_test {
            let names = names_of_files(arch, executable)?;
            if let Some(name) = selection.unknown(&names) {
                anyhow::bail!("no live tests in {name}.rs");
            }
            for name in names.iter().filter(|name| selection.wants(name)) {
                let command = format!("{ENVIRONMENT} /{place} {name}:: --test-threads=1 --include-ignored");
                steps.push(Step { name: format!("tests/{name}"), command });
            }
        } else {
            copy(&mut preparation, &place, Path::new(executable))?;
        }
        files.push((Path::new(executable), place));
    }
    let data = if tests.is_empty() { Vec::new() } else { data()? };
    for (number, file) in data.iter().enumerate() {
        let place = format!("data/{number}");
        copy(&mut preparation, &place, file)?;
        files.push((file, place));
    }
    let files: Vec<(&Path, &str)> = files.iter().map(|(file, place)| (*file, place.as_str())).collect();
    let bytes = initramfs::build(&Userland::of(arch, dir)?, &files, &preparation, &steps)?;
    let image = dir.join(format!("initramfs-{}.img", arch.debian()));
    fs::write(&image, &bytes).with_context(|| format!("cannot write {}", image.display()))?;
    eprintln!("vm: {} MB in {}", bytes.len() / 1_000_000, image.display());
    Ok((image, steps))
}

/// Adds the shell commands that copy a file to the path that the tests expect, which is its path on this host. The
/// archive cannot have that path, because it may be below a directory that a mount covers.
fn copy(preparation: &mut String, place: &str, file: &Path) -> Result<()> {
    let dir = file.parent().unwrap_or(file).to_string_lossy();
    Ok(writeln!(preparation, "mkdir -p {}; cp /{place} {}", quoted(&dir), quoted(&file.to_string_lossy()))?)
}

/// The files that live tests read, by their paths in the source tree.
fn data() -> Result<Vec<PathBuf>> {
    let tree = process::workspace();
    let mut files = Vec::new();
    for dir in ["tests/recordings", "deploy"] {
        for entry in fs::read_dir(tree.join(dir))? {
            files.extend(Some(entry?.path()).filter(|path| path.is_file()));
        }
    }
    Ok(files)
}

/// The source files of a program of live tests, from the names of its tests.
fn names_of_files(arch: Arch, executable: &str) -> Result<BTreeSet<String>> {
    let mut list = arch.run(executable);
    let list = process::output(list.args(["--list", "--format", "terse"]));
    let list = list.with_context(|| format!("{executable} does not list its tests"))?;
    Ok(list.lines().filter_map(|line| Some(line.split_once("::")?.0.to_owned())).collect())
}

/// A program that cargo has built.
#[derive(Debug, PartialEq, Eq)]
struct Built {
    name: String,
    executable: String,
    is_test: bool,
}

/// Builds the live tests, and the program that they watch.
fn build_tests(arch: Arch) -> Result<Vec<Built>> {
    let mut cargo = process::cargo();
    cargo.args(["test", "--no-run", "--locked", "--package", "supervisor-tests", "--tests"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).stderr(Stdio::inherit());
    binary::link_statically_for(&mut cargo, arch)?;
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        return Err(process::Exit(1).into());
    }
    let mut built: Vec<Built> =
        String::from_utf8(output.stdout)?.lines().filter_map(parse_artifact).collect();
    built.sort_by(|one, two| one.name.cmp(&two.name));
    Ok(built)
}

/// Parses a line of cargo's messages: a program, or a program of tests.
fn parse_artifact(line: &str) -> Option<Built> {
    let rest = line.strip_prefix(r#"{"reason":"compiler-artifact""#)?;
    let (_, target) = rest.split_once(r#""target":{"kind":[""#)?;
    let is_test = target.starts_with("test\"");
    if !is_test && !target.starts_with("bin\"") {
        return None;
    }
    let value = |key: &str| Some(target.split_once(key)?.1.split_once('"')?.0.to_owned());
    Some(Built { name: value(r#""name":""#)?, executable: value(r#""executable":""#)?, is_test })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_cargo_has_built_are_found() {
        let line = r#"{"reason":"compiler-artifact","package_id":"p","target":{"kind":["test"],"crate_types":["bin"],"name":"live"},"executable":"/t/live-1","fresh":true}"#;
        let built = Built { name: "live".to_owned(), executable: "/t/live-1".to_owned(), is_test: true };
        assert_eq!(parse_artifact(line), Some(built));
        assert_eq!(parse_artifact(&line.replace("[\"test\"]", "[\"lib\"]")), None);
        assert_eq!(parse_artifact(&line.replace("\"/t/live-1\"", "null")), None);
    }
}
