//! Builds the eBPF program and leaves the object file as `$OUT_DIR/supervisor-ebpf`.

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use aya_build::Package;

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // Cargo prints this as its own error, without the page it shows for a script that dies.
            println!("cargo::error={sentence}");
            ExitCode::SUCCESS
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={}", toolchain::OVERRIDE);
    // The profile of the eBPF crate stands in the first, the version of aya-ebpf in the second.
    for file in ["../Cargo.toml", "../Cargo.lock"] {
        println!("cargo::rerun-if-changed={file}");
    }

    let targets = target_dirs();
    let candidates = toolchain::candidates();
    let tools = toolchain::find(&candidates, targets.iter().map(PathBuf::as_path)).ok_or_else(|| {
        match env::var(toolchain::OVERRIDE) {
            Ok(name) => format!(
                "{}={name} has no rust-src or no matching bpf-linker: run `cargo xtask setup` once",
                toolchain::OVERRIDE
            ),
            Err(_) => "the eBPF compiler or bpf-linker is missing: run `cargo xtask setup` once".to_owned(),
        }
    })?;
    println!("cargo::rerun-if-changed={}", tools.linker.display());

    let old = env::var_os("PATH").unwrap_or_default();
    let dir = tools.linker.parent().map(Path::to_owned);
    let path = env::join_paths(dir.into_iter().chain(env::split_paths(&old)))
        .map_err(|error| format!("bpf-linker cannot be put on PATH: {error}"))?;
    // SAFETY: this script has one thread.
    unsafe {
        env::set_var("PATH", path);
        // The inner cargo's progress would be shown as warnings.
        env::set_var("CARGO_TERM_QUIET", "true");
        // Lets a stable compiler build `core`; a nightly needs no permission.
        env::set_var("RUSTC_BOOTSTRAP", "1");
    }
    let package = Package {
        name: "supervisor-ebpf",
        root_dir: "../supervisor-ebpf",
        features: &["program"],
        ..Package::default()
    };
    aya_build::build_ebpf([package], aya_build::Toolchain::Custom(&tools.toolchain.name)).map_err(|error| {
        format!("the eBPF program could not be built (toolchain {}): {error}", tools.toolchain.name)
    })
}

/// Directories that may be cargo's target directory, where `cargo xtask setup` puts bpf-linker: what `OUT_DIR`
/// lies in, and the default for when build and target directories are apart.
fn target_dirs() -> Vec<PathBuf> {
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    let mut dirs: Vec<PathBuf> = out.ancestors().map(Path::to_owned).collect();
    dirs.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"));
    dirs
}
