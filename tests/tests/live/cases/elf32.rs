//! Writes a 32-bit program byte by byte, since no other file on the machine is a 32-bit program.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Result;

/// Where the program lies in memory.
const ADDRESS: u32 = 0x0804_8000;
/// The sizes of the two headers.
const HEADERS: u32 = 52 + 32;

/// Forks a child that pauses and one that exits, and calls `waitpid` for the first.
#[rustfmt::skip]
const CODE: [u8; 55] = [
    0xb8, 2, 0, 0, 0,    // mov eax, 2 (fork)
    0xcd, 0x80,          // int 0x80
    0x85, 0xc0,          // test eax, eax
    0x74, 35,            // jz pause
    0x89, 0xc6,          // mov esi, eax
    0xb8, 2, 0, 0, 0,    // mov eax, 2 (fork)
    0xcd, 0x80,          // int 0x80
    0x85, 0xc0,          // test eax, eax
    0x74, 13,            // jz exit
    0xb8, 7, 0, 0, 0,    // mov eax, 7 (waitpid)
    0x89, 0xf3,          // mov ebx, esi
    0x31, 0xc9,          // xor ecx, ecx
    0x31, 0xd2,          // xor edx, edx
    0xcd, 0x80,          // int 0x80
    0xb8, 1, 0, 0, 0,    // exit: mov eax, 1 (exit)
    0x31, 0xdb,          // xor ebx, ebx
    0xcd, 0x80,          // int 0x80
    0xb8, 29, 0, 0, 0,   // pause: mov eax, 29 (pause)
    0xcd, 0x80,          // int 0x80
    0xeb, 0xee,          // jmp exit
];

/// Writes the program.
pub(super) fn write(file: &Path) -> Result<()> {
    let size = HEADERS + CODE.len() as u32;
    let mut bytes = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // An executable for i386, version 1; its entry, the offset of the program header, no sections, no flags.
    bytes.extend([2_u16, 3].map(u16::to_le_bytes).concat());
    bytes.extend([1, ADDRESS + HEADERS, 52, 0, 0].map(u32::to_le_bytes).concat());
    bytes.extend([52_u16, 32, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // Load the whole file, readable and executable.
    bytes.extend([1, 0, ADDRESS, ADDRESS, size, size, 5, 0x1000].map(u32::to_le_bytes).concat());
    bytes.extend(CODE);
    fs::write(file, bytes)?;
    Ok(fs::set_permissions(file, fs::Permissions::from_mode(0o755))?)
}
