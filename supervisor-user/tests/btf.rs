//! Tests with the recorded kernels of `tests/btf`: the value of every offset, and the errors for files that lack one.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use supervisor_collect::kernel::{KernelError, resolve};
use supervisor_ebpf::{HELPERS, MISSING, Need, OFFSETS};

/// The recorded kernels that are new enough, in the order of the columns below.
const KERNELS: [&str; 4] = ["6.1", "6.12", "6.18", "7.3"];

/// The value of every global, from `bpftool` and `pahole` (see `btf/README.md`), not from the code under test.
#[rustfmt::skip]
const EXPECTED: [(&str, [u32; 4]); 56] = [
    // global                   6.1  6.12  6.18   7.3
    ("TASK_PID",              [ 2416,  2432,  1264,  2872]),
    ("TASK_TGID",             [ 2420,  2436,  1268,  2876]),
    ("TASK_LEADER",           [ 2480,  2496,  1328,  2936]),
    ("TASK_REAL_PARENT",      [ 2432,  2448,  1280,  2888]),
    ("TASK_START",            [ 2784,  2784,  1560,  3224]),
    ("TASK_COMM",             [ 2976,  2976,  1752,  3408]),
    ("TASK_SIGNAL",           [ 3072,  3072,  1848,  3520]),
    ("TASK_EXIT_STATE",       [ 2308,  2328,  1160,  2768]),
    ("TASK_EXIT_SIGNAL",      [ 2316,  2336,  1168,  2776]),
    ("TASK_EXIT_CODE",        [ 2312,  2332,  1164,  2772]),
    ("TASK_CRED",             [ 2952,  2952,  1728,  3384]),
    ("CRED_UID",              [    8,     8,     8,     8]),
    ("TASK_PTRACE",           [   48,    48,    48,    48]),
    ("TASK_THREAD_PID",       [ 2520,  2536,  1368,  2976]),
    ("TASK_CGROUPS",          [ 3600,  3584,  2376,  4072]),
    ("TASK_MM",               [ 2272,  2304,  1136,  2744]),
    ("TASK_SIGHAND",          [ 3080,  3080,  1856,  3528]),
    ("SIGHAND_ACTION",        [   32,    32,    32,    32]),
    ("SIGACTION_SIZE",        [   32,    32,    32,    32]),
    ("SIGACTION_HANDLER",     [    0,     0,     0,     0]),
    ("SIGACTION_FLAGS",       [    8,     8,     8,     8]),
    ("SIGNAL_LIVE",           [    4,     4,     4,     4]),
    ("SIGNAL_THREADS",        [    8,     8,     8,     8]),
    ("SIGNAL_PIDS",           [  360,   352,   360,   376]),
    ("PIDTYPE_PGID",          [    2,     2,     2,     2]),
    ("SIGNAL_FLAGS",          [  116,   116,   116,   116]),
    ("SIGNAL_GROUP_EXIT_CODE",[   96,    96,    96,    96]),
    ("SIGNAL_SUBREAPER_BIT",  [ 1024,  1024,  1024,  1024]),
    ("PID_LEVEL",             [    4,     4,     4,     4]),
    ("PID_NUMBERS",           [   96,   112,   144,   128]),
    ("UPID_NR",               [    0,     0,     0,     0]),
    ("UPID_NS",               [    8,     8,     8,     8]),
    ("UPID_SIZE",             [   16,    16,    16,    16]),
    ("PID_NS_INUM",           [  128,   128,   136,   344]),
    ("PID_NS_INIT",           [   48,    48,    48,   160]),
    ("MM_ARG_START",          [  312,   376,   480,   728]),
    ("MM_ARG_END",            [  320,   384,   488,   736]),
    ("BPRM_FILENAME",         [   96,    96,    96,   120]),
    ("CSS_SET_DFL_CGRP",      [  128,   128,   112,   128]),
    ("CSS_SET_SUBSYS",        [    0,     0,     0,     0]),
    ("CGROUP_PIDS",           [   11,    11,    11,    11]),
    ("CGROUP_MEMORY",         [    4,     4,     4,     4]),
    ("CSS_CGROUP",            [    0,     0,     0,     0]),
    ("CGROUP_KN",             [  248,   256,   256,   296]),
    ("KN_ID",                 [  104,    96,    96,    96]),
    ("KN_PARENT",             [    8,     8,     8,     8]),
    ("KN_NAME",               [   16,    16,    16,    16]),
    ("EXIT_ARGS",             [    1,     1,     2,     2]),
    ("REGS_SYSCALL",          [  120,   120,   120,   120]),
    ("REGS_ARG0",             [  112,   112,   112,   112]),
    ("REGS_ARG1",             [  104,   104,   104,   104]),
    ("REGS_ARG2",             [   96,    96,    96,    96]),
    ("REGS_ARG3",             [   56,    56,    56,    56]),
    ("REGS_COMPAT_ARG0",      [   40,    40,    40,    40]),
    ("REGS_COMPAT_ARG1",      [   88,    88,    88,    88]),
    ("REGS_COMPAT_ARG3",      [  104,   104,   104,   104]),
];

fn recorded(kernel: &str) -> Result<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/btf/{kernel}.btf"));
    fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))
}

/// A recorded kernel in which one name is replaced by another name of the same length.
fn renamed(kernel: &str, from: &str, to: &str) -> Result<Vec<u8>> {
    let mut btf = recorded(kernel)?;
    let [from, to] = [from, to].map(|name| format!("\0{name}\0").into_bytes());
    let place = btf.windows(from.len()).position(|window| window == from).context("no such name")?;
    btf[place..place + from.len()].copy_from_slice(&to);
    Ok(btf)
}

#[test]
fn every_offset_matches_the_recorded_kernel() {
    for (column, kernel) in KERNELS.into_iter().enumerate() {
        let offsets = resolve(recorded(kernel).unwrap()).unwrap();
        let found: Vec<(&str, u32)> = offsets.iter().map(|(global, value)| (global, *value)).collect();
        let expected = EXPECTED.map(|(global, values)| (global, values[column]));
        assert_eq!(found, expected, "{kernel}");
    }
}

#[test]
fn a_kernel_that_is_too_old_is_refused_with_all_missing_helpers() {
    let error = resolve(recorded("5.10").unwrap()).unwrap_err();
    let KernelError::TooOld(lacking) = &error else { panic!("{error}") };
    assert_eq!(*lacking, HELPERS);
}

#[test]
fn a_missing_helper_makes_a_kernel_too_old() {
    for kernel in KERNELS {
        let btf = renamed(kernel, "BPF_FUNC_task_pt_regs", "BPF_FUNC_task_xx_regs").unwrap();
        let error = resolve(btf).unwrap_err().to_string();
        let expected = "this kernel is too old: it has no bpf_task_pt_regs() (Linux 5.15); supervisor needs ";
        assert!(error.starts_with(expected), "{kernel}: {error}");
    }
}

#[test]
fn a_missing_required_type_is_named() {
    for kernel in KERNELS {
        let error = resolve(renamed(kernel, "pid_namespace", "pid_bamespace").unwrap()).unwrap_err();
        assert!(matches!(error, KernelError::MissingType("pid_namespace")), "{kernel}: {error}");
        assert!(error.to_string().contains("`pid_namespace`"), "{error}");
    }
}

#[test]
fn a_missing_required_member_is_named_with_its_type() {
    let cases = [
        ("start_boottime", "start_realtime", "task_struct", "start_boottime"),
        ("exit_signal", "exit_sygnal", "task_struct", "exit_signal"),
        ("group_exit_code", "group_exit_kode", "signal_struct", "group_exit_code"),
        ("child_reaper", "child_reeper", "pid_namespace", "child_reaper"),
    ];
    for kernel in KERNELS {
        for (from, to, expected_type, expected_member) in cases {
            let error = resolve(renamed(kernel, from, to).unwrap()).unwrap_err();
            let KernelError::MissingMember { type_name, member } = error else { panic!("{kernel}: {error}") };
            assert_eq!((type_name, member), (expected_type, expected_member), "{kernel}");
        }
    }
}

#[test]
fn without_an_optional_field_all_offsets_of_the_same_need_are_missing() {
    let cases = [
        ("is_child_subreaper", "is_child_subreeper", Need::Subreaper),
        ("sa_flags", "sa_fl4gs", Need::SigChld),
        ("sa_handler", "sa_handles", Need::SigChld),
        ("sighand_struct", "sighand_strict", Need::SigChld),
        ("arg_start", "arg_begin", Need::Arguments),
        ("linux_binprm", "linux_binary", Need::Filename),
        ("orig_ax", "orig_rx", Need::WaitRequest),
        ("real_cred", "real_cret", Need::User),
        ("ptrace", "ptrage", Need::Zombie),
        ("dfl_cgrp", "dfl_cgrt", Need::Cgroup),
    ];
    for kernel in KERNELS {
        let whole = resolve(recorded(kernel).unwrap()).unwrap();
        assert_eq!(whole.missing().count(), 0, "{kernel}");
        for (from, to, need) in cases {
            let offsets = resolve(renamed(kernel, from, to).unwrap()).unwrap();
            let missing: Vec<Need> = offsets.missing().map(|offset| offset.need).collect();
            assert_eq!(missing, [need], "{kernel}, {from}");
            for offset in OFFSETS {
                let (value, before) = (offsets.get(offset.global), whole.get(offset.global));
                let expected = if offset.need == need { Some(MISSING) } else { before };
                assert_eq!(value, expected, "{kernel}, {from}, {}", offset.global);
            }
        }
    }
}

#[test]
fn a_member_without_any_of_its_names_is_missing() {
    for (kernel, name, other) in [("6.1", "parent", "parant"), ("6.18", "__parent", "__parant")] {
        let offsets = resolve(renamed(kernel, name, other).unwrap()).unwrap();
        let missing: Vec<&str> = offsets.missing().map(|offset| offset.member).collect();
        assert_eq!(missing, ["__parent|parent"], "{kernel}");
    }
}

#[test]
fn a_kernel_without_a_cgroup_controller_is_no_error() {
    let offsets = resolve(renamed("6.12", "pids_cgrp_id", "mids_cgrp_id").unwrap()).unwrap();
    assert_eq!((offsets.get("CGROUP_PIDS"), offsets.get("CGROUP_MEMORY")), (Some(MISSING), Some(4)));
}

#[test]
fn a_truncated_btf_is_an_error() {
    for kernel in KERNELS {
        let whole = recorded(kernel).unwrap();
        for length in 0..whole.len() {
            let result = resolve(whole[..length].to_vec());
            assert!(matches!(result, Err(KernelError::BadBtf(_))), "{kernel}, {length} bytes: {result:?}");
        }
    }
}
