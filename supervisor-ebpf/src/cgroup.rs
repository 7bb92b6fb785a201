//! Finds the control group of a task, and reads its path.
//!
//! The control group is the one in the unified hierarchy. If that is the root, it is the one of the version 1
//! pids controller. If that is the root too, it is the one of the version 1 memory controller. If all three are
//! the root, it is the root of the unified hierarchy.

use aya_ebpf::{Global, helpers::generated::bpf_probe_read_kernel_str};
use supervisor_ebpf::{CGROUP_DEPTH, CGROUP_NAME_LEN, CgroupPath, TASK_CGROUP_V1};

use crate::kernel::{self, Ptr, probe};

/// The cgroup directory (`struct kernfs_node`) of a task, and [`TASK_CGROUP_V1`] if the cgroup is of version 1.
#[inline(always)]
pub(crate) fn directory_of(task: Ptr) -> (Ptr, u32) {
    let css_set: Ptr = kernel::load(task, &kernel::TASK_CGROUPS);
    let unified = directory(probe::<u64>(css_set, kernel::CSS_SET_DFL_CGRP.load() as usize) as Ptr);
    if has_parent(unified) {
        return (unified, 0);
    }
    let pids = controller(css_set, &kernel::CGROUP_PIDS);
    if has_parent(pids) {
        return (pids, TASK_CGROUP_V1);
    }
    let memory = controller(css_set, &kernel::CGROUP_MEMORY);
    if has_parent(memory) { (memory, TASK_CGROUP_V1) } else { (unified, 0) }
}

/// Writes the path of a directory, innermost component first.
///
/// # Safety
///
/// `path` is writable for its whole size.
#[inline(always)]
pub(crate) unsafe fn path_of(directory: Ptr, path: *mut CgroupPath) {
    let mut at = directory;
    for i in 0..CGROUP_DEPTH {
        // SAFETY: the index is in bounds. The helper writes at most the given length.
        unsafe {
            let name = path.cast::<[u8; CGROUP_NAME_LEN]>().add(i);
            *name.cast::<u8>() = 0;
            if has_parent(at) {
                let from: u64 = probe(at, kernel::KN_NAME.load() as usize);
                bpf_probe_read_kernel_str(name.cast(), CGROUP_NAME_LEN as u32, from as Ptr);
                at = parent(at);
            }
        }
    }
}

/// The directory of a task's cgroup for one controller. NULL if the kernel does not have the controller.
#[inline(always)]
fn controller(css_set: Ptr, index: &Global<u32>) -> Ptr {
    let index = index.load();
    if index == u32::MAX {
        return core::ptr::null();
    }
    let css: u64 = probe(css_set, kernel::CSS_SET_SUBSYS.load() as usize + index as usize * 8);
    directory(probe::<u64>(css as Ptr, kernel::CSS_CGROUP.load() as usize) as Ptr)
}

/// The directory of a cgroup.
#[inline(always)]
fn directory(cgroup: Ptr) -> Ptr {
    probe::<u64>(cgroup, kernel::CGROUP_KN.load() as usize) as Ptr
}

/// The parent directory. NULL for the root.
#[inline(always)]
fn parent(directory: Ptr) -> Ptr {
    probe::<u64>(directory, kernel::KN_PARENT.load() as usize) as Ptr
}

/// Whether a directory is not the root of its hierarchy.
#[inline(always)]
fn has_parent(directory: Ptr) -> bool {
    !directory.is_null() && !parent(directory).is_null()
}
