//! A temporary directory for one scenario: programs, root file system, bundles and runtime state.

use std::{
    env, fs, io,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use rustix::{
    fs::statfs,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::{ACTOR, copy::copy_program};

/// `CGROUP2_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const CGROUP2_MAGIC: rustix::fs::FsWord = 0x6367_7270;

pub(super) const JANITOR: &str = "lab-janitor";

/// The directory. It is removed when this is dropped, and also when this process is killed.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    binary: PathBuf,
    /// Removes the directory when its standard input ends.
    janitor: Option<Child>,
}

impl Lab {
    /// Makes a lab. `binary` is the `supervisor` that plays the parts.
    pub fn new(binary: &Path) -> Result<Self> {
        let binary = binary.canonicalize().with_context(|| format!("there is no {}", binary.display()))?;
        let dir = tempfile::Builder::new().prefix("supervisor-lab-").tempdir()?;
        fs::create_dir(dir.path().join("bin"))?;
        let mut lab = Self { dir: dir.path().to_owned(), binary, janitor: None };
        let mut janitor = lab.actor(JANITOR, &[JANITOR, &lab.dir.to_string_lossy()])?;
        // The janitor is not bound to its parent, because it must outlive the parent. It ends when its standard input
        // ends.
        janitor.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        lab.janitor = Some(janitor.spawn().context("the lab's janitor cannot be started")?);
        lab.dir = dir.keep();
        for name in ["bundles", "rootfs/bin", "rootfs/dev", "rootfs/proc", "rootfs/sys", "rootfs/tmp"] {
            fs::create_dir_all(lab.dir.join(name))?;
        }
        Ok(lab)
    }

    /// The path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// The root file system of its containers.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path().join("rootfs")
    }

    /// A directory for a runtime's state, so that nothing is left in `/run`.
    #[must_use]
    pub fn state(&self, runtime: &str) -> PathBuf {
        self.path().join("state").join(runtime)
    }

    /// A new container id. It is unique on the host as far as possible.
    #[must_use]
    pub fn container_id(&self, hint: &str) -> String {
        let place = self.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        format!("{place}-{hint}")
    }

    /// Puts the commands of the host's busybox into the root file system. Busybox must be statically linked. Fails if
    /// the host has no busybox.
    pub fn add_busybox(&self, commands: &[&str]) -> Result<()> {
        let source = program("busybox").context("busybox is not installed")?;
        let bin = self.rootfs().join("bin");
        copy_program(source, bin.join("busybox"))?;
        for command in commands {
            symlink("busybox", bin.join(command))?;
        }
        Ok(())
    }

    /// Puts this program into the root file system, where it plays parts under the name `name`. It must be statically
    /// linked. Returns the beginning of its command line.
    pub fn add_actor(&self, name: &str) -> Result<[String; 2]> {
        copy_program(&self.binary, self.rootfs().join("bin").join(name))?;
        Ok([format!("/bin/{name}"), ACTOR.to_owned()])
    }

    /// A command that plays a part under the name `name`: the kernel names a process after its file.
    pub(super) fn actor(&self, name: &str, role: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.actor_path(name)?);
        command.arg0(name).arg(ACTOR).args(role);
        Ok(command)
    }

    /// The path of the program that plays a part under this name.
    pub fn actor_path(&self, name: &str) -> Result<PathBuf> {
        let path = self.path().join("bin").join(name);
        if !path.is_symlink() {
            symlink(&self.binary, &path)?;
        }
        Ok(path)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            // An error would mean that other code has waited for the janitor, but no other code does.
            let _ = janitor.wait();
        }
    }
}

/// The part of the janitor: waits for the end of its input, and removes the directory.
pub(super) fn clean(dir: &str) -> Result<()> {
    io::copy(&mut io::stdin(), &mut io::sink())?;
    fs::remove_dir_all(dir).with_context(|| format!("{dir} cannot be removed"))
}

/// The file of a program on `PATH` or in the `sbin` directories.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(sbin).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Gives a command its own mount namespace in which `/sys/fs/cgroup` is plain cgroup v2, because crun refuses a hybrid
/// hierarchy. If it is plain already, the function does nothing.
pub fn private_cgroup2(command: &mut Command) -> &mut Command {
    if statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.f_type == CGROUP2_MAGIC) {
        return command;
    }
    // SAFETY: between fork and exec, the closure makes system calls with constant strings, and neither allocates nor
    // locks.
    unsafe { command.pre_exec(|| enter_private_cgroup2().map_err(io::Error::from)) }
}

fn enter_private_cgroup2() -> rustix::io::Result<()> {
    let place = c"/sys/fs/cgroup";
    // SAFETY: the calling process has one thread, and unsharing mounts does not change its memory or its descriptors.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    mount_change(c"/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    unmount(place, UnmountFlags::DETACH)?;
    mount(c"cgroup2", place, c"cgroup2", MountFlags::empty(), None)
}
