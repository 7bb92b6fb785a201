//! No file is longer than a reader keeps in mind.

use std::fs;

use anyhow::{Result, ensure};

use super::sources;
use crate::process;

/// Lines of a file, without the unit tests at its end.
const MOST: usize = 500;

/// Files that are longer, each with the reason.
const LONGER: &[(&str, &str)] = &[
    ("supervisor-ebpf/src/wire.rs", "every type that crosses the kernel boundary, in one place"),
    ("supervisor-user/render/src/families/pages.rs", "a page of text for each family"),
];

/// Fails if a file of the programs is longer, or if one is listed that is not.
pub(super) fn check() -> Result<()> {
    let root = process::workspace();
    let mut long = Vec::new();
    for dir in ["supervisor-ebpf/src", "supervisor-user", "xtask/src"] {
        for path in sources(&root.join(dir))? {
            let lines = without_tests(&fs::read_to_string(&path)?);
            if lines > MOST {
                long.push((path.strip_prefix(root)?.display().to_string(), lines));
            }
        }
    }
    for (file, _) in LONGER {
        ensure!(long.iter().any(|(name, _)| name == file), "{file} is not too long: take it out of the list");
    }
    long.retain(|(name, _)| LONGER.iter().all(|(file, _)| file != name));
    let lines: Vec<String> = long.iter().map(|(name, lines)| format!("{name}: {lines} lines")).collect();
    ensure!(long.is_empty(), "a file has at most {MOST} lines; split it by topic:\n{}", lines.join("\n"));
    Ok(())
}

/// The number of lines before the unit tests.
fn without_tests(text: &str) -> usize {
    text.lines()
        .collect::<Vec<_>>()
        .windows(2)
        .position(|it| it[0] == "#[cfg(test)]" && it[1].ends_with('{'))
        .unwrap_or_else(|| text.lines().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_tests_do_not_count() {
        assert_eq!(without_tests("a\nb\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests;\nb\n"), 4);
    }
}
