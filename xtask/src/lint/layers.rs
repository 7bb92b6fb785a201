//! Which crate of user space may use which: the compiler holds it, as long as nobody adds a dependency.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use toml::Table;

use crate::process;

/// Each crate below `supervisor-user`, and the crates of this workspace that it may use, lowest layer first. Dependencies of
/// tests are not bound by it.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &["supervisor-ebpf"]),
    ("lab", &[]),
    ("claims", &["supervisor-ebpf", "supervisor-model"]),
    ("render", &["supervisor-ebpf", "supervisor-model"]),
    ("conclude", &["supervisor-claims", "supervisor-ebpf", "supervisor-model"]),
    ("deliver", &["supervisor-model", "supervisor-render"]),
    ("collect", &["supervisor-claims", "supervisor-ebpf", "supervisor-model"]),
    ("reap", &["supervisor-collect", "supervisor-model"]),
];

/// Fails if a crate uses one that it may not use, or is not in the table.
pub(super) fn check() -> Result<()> {
    let user = process::workspace().join("supervisor-user");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&user)? {
        let dir = entry?.path();
        let manifest = dir.join("Cargo.toml");
        if manifest.is_file() {
            let name =
                dir.file_name().and_then(|name| name.to_str()).context("a folder has a strange name")?;
            let allowed = LAYERS.iter().find(|(layer, _)| *layer == name);
            let (_, allowed) = allowed.with_context(|| {
                format!(
                    "supervisor-user/{name} is in no layer: say in xtask/src/lint/layers.rs what it may use"
                )
            })?;
            let wrong: Vec<String> =
                used(&manifest)?.into_iter().filter(|it| !allowed.contains(&&**it)).collect();
            ensure!(
                wrong.is_empty(),
                "supervisor-user/{name} must not use {}: docs/architecture.md shows the layers",
                wrong.join(", ")
            );
            found.insert(name.to_owned());
        }
    }
    for (layer, _) in LAYERS {
        ensure!(found.contains(*layer), "there is no supervisor-user/{layer}: remove it from the layers");
    }
    Ok(())
}

/// The crates of this workspace that a crate depends on.
fn used(manifest: &Path) -> Result<Vec<String>> {
    let name = manifest.display();
    let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {name}"))?;
    let table: Table = text.parse().with_context(|| format!("cannot read {name}"))?;
    let dependencies = table.get("dependencies").and_then(|it| it.as_table());
    let names = dependencies.into_iter().flat_map(Table::keys);
    Ok(names.filter(|it| it.starts_with("supervisor-")).cloned().collect())
}
