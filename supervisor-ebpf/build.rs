//! Refuses to build user space with an eBPF object that was not made from these sources.

#[cfg(feature = "user")]
#[path = "object/record.rs"]
#[expect(dead_code, reason = "`cargo xtask build --bpf` uses the rest")]
mod record;

fn main() {
    #[cfg(feature = "user")]
    check();
}

#[cfg(feature = "user")]
fn check() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for path in record::SOURCES.iter().chain(&[record::OBJECT, record::RECORD, record::LOCK]) {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    match record::is_current(&workspace) {
        Ok(true) => {}
        Ok(false) => println!(
            "cargo::error=the eBPF object was not made from these sources of supervisor-ebpf: \
             run `cargo xtask build --bpf` and commit supervisor-ebpf/object"
        ),
        Err(error) => println!("cargo::error=cannot compare the eBPF object with its record: {error}"),
    }
}
