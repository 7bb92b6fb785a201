//! How the committed eBPF object is made: the one place that pins its compiler, its linker and their flags.
//!
//! `cargo xtask build --bpf` follows it. Its text is part of the hash of the sources, so a change here asks for a new object.

/// The name under which rustup installs the compiler.
pub(crate) const TOOLCHAIN: &str = "nightly-2026-05-20";
/// What that compiler's `rustc --version` prints. A toolchain of any name that prints it will do.
pub(crate) const RUSTC: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)";
/// The version of bpf-linker.
pub(crate) const LINKER: &str = "0.13.0";
/// The feature of bpf-linker for the LLVM of that compiler. The linker is linked with the compiler's own `libLLVM`, so their
/// versions are always the same.
pub(crate) const LINKER_FEATURE: &str = "llvm-22";
/// The target of the object: every supported processor is little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// BTF is made from debug info. The object reads no register by its name, so it serves every architecture; aya-ebpf has to be
/// told one.
pub(crate) const RUSTFLAGS: [&str; 3] =
    ["--cfg=bpf_target_arch=\"x86_64\"", "-Cdebuginfo=2", "-Clink-arg=--btf"];
/// The release profile, whatever that of user space is; one unit lets bpf-linker see everything.
pub(crate) const PROFILE: [(&str, &str); 3] = [
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "thin"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3"),
];
