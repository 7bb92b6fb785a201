//! Describes an exit and a wait call in words, as parts of a sentence.

use crate::{
    finding::{Exit, LastWait, WaitTarget},
    words::signal_name,
};

/// Says how a process ended.
#[must_use]
pub fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with status {code}"),
        Exit::Signal { number, core_dumped } => {
            let core = if core_dumped { ", core dumped" } else { "" };
            let name = signal_name(number).map_or_else(|| number.to_string(), str::to_owned);
            format!("was killed by {name}{core}")
        }
    }
}

/// Names a wait call, its target and its options.
#[must_use]
pub fn call(wait: &LastWait) -> String {
    let call = wait.call.unwrap_or("a call that was not decoded");
    let target = match wait.target {
        None => String::new(),
        Some(WaitTarget::Any) => " for any child".to_owned(),
        Some(WaitTarget::Pid(pid)) => format!(" for pid {pid}"),
        Some(WaitTarget::Pgid(0)) => " for its process group".to_owned(),
        Some(WaitTarget::Pgid(pgid)) => format!(" for process group {pgid}"),
        Some(WaitTarget::PidFd(fd)) => format!(" for pidfd {fd}"),
    };
    let flags = if wait.flags.is_empty() { String::new() } else { format!(" ({})", wait.flags.join("|")) };
    format!("{call}{target}{flags}")
}
