//! Entry points for the fuzz targets: they call the parsers of what a process shows of itself in `/proc`. Nothing else
//! calls these functions.

use procfs::process::ProcState;

use super::{arch::GadgetSearch, space, target};

/// Where the code is assumed to be mapped.
const AT: u64 = 0x1000;

/// Parses the `maps` of a process that has mapped a file with this path, and the `status` of a thread, and searches code
/// for instructions.
///
/// # Panics
///
/// If the path hides a mapping, or if an instruction is found that the code does not have.
pub fn of_target(path: &[u8], status: &[u8], code: &[u8]) {
    // The kernel escapes newlines in the path (`show_map_vma()`, `fs/proc/task_mmu.c`). The rest is the kernel's own.
    let path: Vec<u8> = path.iter().copied().filter(|byte| !matches!(byte, b'\n' | 0)).collect();
    let line = |path: &[u8]| [b"00400000-00401000 r-xp 00000000 08:01 7 ", path, b"\n"].concat();
    let maps = [line(&path), line(b"/bin/true")].concat();
    let mappings = space::parse_maps(&maps).expect("a path breaks it");
    assert_eq!(mappings.len(), 2, "a mapping is hidden");
    let _no_panic = target::parse(1, ProcState::Sleeping, status);
    let Ok(mut search) = GadgetSearch::new() else { return };
    search.look(AT, code);
    let Some(found) = search.found() else { return };
    for (at, expected) in found.expected() {
        let start = (at - AT) as usize;
        assert_eq!(&code[start..start + expected.len()], expected, "an instruction was made up");
    }
}
