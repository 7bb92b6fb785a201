//! Boots a kernel in a machine, and reads its output.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    initramfs::Step,
    verdicts::{Heard, Verdicts, clean},
};
use crate::{arch::Arch, kernels::Kernel};

/// The machine is emulated, because a KVM inside a virtual machine was seen to accept a kernel and then to hang. The
/// CPUs take turns on one thread. With a thread for each CPU, qemu was seen to run code that the kernel was just
/// replacing in its own text. Several machines run at the same time, so this loses no time.
const MACHINE: &str = "-accel tcg,thread=single -m 1024 -smp 2 -nic none -nographic -no-reboot";
/// How long a broken kernel may run on, so that it can print what is broken.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Kills the machine when it is dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // In most cases the machine has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Boots a kernel, shows its output, and returns the verdicts.
pub(super) fn boot(
    arch: Arch,
    kernel: &Kernel,
    image: &Path,
    steps: &[Step],
    limit: Duration,
) -> Result<Verdicts> {
    let started = Instant::now();
    let (emulator, console) = arch.machine();
    let mut command = Command::new(emulator[0]);
    command.args(&emulator[1..]).args(MACHINE.split(' '));
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(image);
    command
        .arg("-append")
        .arg(format!("console={console} quiet panic=-1"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut machine = Machine(command.spawn().with_context(|| format!("cannot start {}", emulator[0]))?);
    let stdout = machine.0.stdout.take().context("qemu has no pipe")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The thread ends with the machine, or with the receiver.
        BufReader::new(stdout).split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line))
    });

    let mut verdicts = Verdicts::new(steps);
    let mut deadline = started + limit;
    loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let line = clean(&String::from_utf8_lossy(&line));
                if !line.is_empty() {
                    println!("{} │ {line}", kernel.name);
                }
                match verdicts.take(&line) {
                    Heard::Nothing => {}
                    Heard::Verdict => deadline = Instant::now() + limit,
                    Heard::Broken => deadline = Instant::now() + LAST_WORDS,
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if verdicts.broken.is_none() {
                    verdicts.broken = Some(format!("a step took more than {} s", limit.as_secs()));
                }
                break;
            }
        }
    }
    verdicts.seconds = started.elapsed().as_secs();
    Ok(verdicts)
}
