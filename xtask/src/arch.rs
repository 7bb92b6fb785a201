//! The processor architectures that supervisor is built for.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    plan::{CROSS_AARCH64, KERNELS, KERNELS_AARCH64, Programs},
    process, setup,
};

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    /// Debian's amd64.
    #[value(name = "x86_64", alias = "amd64")]
    X86_64,
    /// Debian's arm64.
    #[value(name = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Arch {
    /// Rust's name of the target.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The kernel's and RPM's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Debian's and OCI's name. The names of Debian's kernels end with it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// Whether this host has this architecture.
    pub(crate) fn is_host(self) -> bool {
        match self {
            Self::X86_64 => cfg!(target_arch = "x86_64"),
            Self::Aarch64 => cfg!(target_arch = "aarch64"),
        }
    }

    /// The program that runs programs of this architecture on another architecture.
    pub(crate) fn runner(self) -> Command {
        Command::new(match self {
            Self::X86_64 => "qemu-x86_64-static",
            Self::Aarch64 => "qemu-aarch64-static",
        })
    }

    /// Runs a static program of this architecture.
    pub(crate) fn run(self, program: &str) -> Command {
        if self.is_host() {
            return Command::new(program);
        }
        let mut command = self.runner();
        command.arg(program);
        command
    }

    /// The programs that boot kernels of this architecture.
    pub(crate) fn kernels(self) -> &'static Programs {
        match self {
            Self::X86_64 => &KERNELS,
            Self::Aarch64 => &KERNELS_AARCH64,
        }
    }

    /// The emulator with the machine that it emulates, and the machine's console.
    pub(crate) fn machine(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::X86_64 => (&["qemu-system-x86_64", "-cpu", "max"], "ttyS0"),
            Self::Aarch64 => (&["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a72"], "ttyAMA0"),
        }
    }

    /// The dynamic loader, below the root.
    pub(crate) fn interpreter(self) -> &'static str {
        match self {
            Self::X86_64 => "lib64/ld-linux-x86-64.so.2",
            Self::Aarch64 => "lib/ld-linux-aarch64.so.1",
        }
    }

    /// The linker for this architecture on a host of another architecture, and the programs to install for it.
    fn cross(self) -> Option<(&'static str, &'static Programs)> {
        match self {
            Self::X86_64 => None,
            Self::Aarch64 => Some(("aarch64-linux-gnu-gcc", &CROSS_AARCH64)),
        }
    }

    /// Prepares a cargo command to build for this architecture. Installs Rust's standard library and the linker if they
    /// are missing.
    pub(crate) fn prepare(self, cargo: &mut Command) -> Result<()> {
        add_standard_library(self.triple())?;
        if let Some((linker, programs)) = self.cross()
            && !self.is_host()
        {
            setup::ensure(&[programs])?;
            let triple = self.triple().to_uppercase().replace('-', "_");
            cargo.env(format!("CARGO_TARGET_{triple}_LINKER"), linker);
        }
        Ok(())
    }
}

/// Adds the standard library of a target to the toolchain that runs this task.
fn add_standard_library(triple: &str) -> Result<()> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]));
    let sysroot = sysroot.context("rustc --print sysroot fails")?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(triple).join("lib").is_dir() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    process::without_cargo_run(&mut add);
    add.args(["target", "add", triple]);
    process::condensed(&format!("build: rustup target add {triple}"), add)
        .with_context(|| format!("this compiler has no standard library for {triple}"))
}
