//! Reading a whole hash map with few syscalls; aya reads one element with two.

use std::{
    io, mem,
    os::fd::{AsRawFd, BorrowedFd},
};

use aya::Pod;
use aya_obj::generated::{bpf_attr, bpf_cmd};

/// Elements asked for at a time. The kernel returns whole buckets and fails if one does not fit.
const CHUNK: usize = 4096;

/// Every element of a hash map. One that is there during the whole call is returned once; one that comes or
/// goes meanwhile may be.
///
/// # Errors
///
/// The error of `bpf(2)`, `BPF_MAP_LOOKUP_BATCH` (Linux 5.6).
pub(super) fn entries<K: Pod, V: Pod>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut keys = Vec::<K>::with_capacity(CHUNK);
    let mut values = Vec::<V>::with_capacity(CHUNK);
    // A position is a bucket number (`__htab_map_lookup_and_delete_batch()`, `kernel/bpf/hashtab.c`).
    let mut position = 0u32;
    let mut started = false;
    loop {
        // SAFETY: all-zero is a valid bpf_attr.
        let mut attr: bpf_attr = unsafe { mem::zeroed() };
        attr.batch.in_batch = if started { &raw const position as u64 } else { 0 };
        attr.batch.out_batch = &raw mut position as u64;
        attr.batch.keys = keys.as_mut_ptr() as u64;
        attr.batch.values = values.as_mut_ptr() as u64;
        attr.batch.count = keys.capacity().min(values.capacity()) as u32;
        attr.batch.map_fd = map.as_raw_fd() as u32;
        // SAFETY: the buffers hold `count` elements of the map's key and value types, and outlive the call.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                bpf_cmd::BPF_MAP_LOOKUP_BATCH as libc::c_long,
                &raw mut attr,
                size_of::<bpf_attr>(),
            )
        };
        let error = (result != 0).then(io::Error::last_os_error);
        match error.as_ref().and_then(io::Error::raw_os_error) {
            None | Some(libc::ENOENT) => {}
            Some(libc::ENOSPC) => {
                keys.reserve_exact(keys.capacity() * 2);
                values.reserve_exact(values.capacity() * 2);
                continue;
            }
            Some(_) => return Err(error.unwrap_or_else(io::Error::last_os_error)),
        }
        // SAFETY: the kernel set this many elements, and stores how many.
        unsafe {
            let count = attr.batch.count as usize;
            keys.set_len(count);
            values.set_len(count);
        }
        all.extend(keys.drain(..).zip(values.drain(..)));
        if error.is_some() {
            return Ok(all);
        }
        started = true;
    }
}
