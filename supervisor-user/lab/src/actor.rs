//! The hidden subcommand: the `supervisor` binary plays a part.

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Context, Result};

use super::{lab, monitor, parts, played, pod};

/// Plays the part that the arguments after [`ACTOR`](crate::ACTOR) name.
#[must_use]
pub fn main(args: &[OsString]) -> ExitCode {
    match play(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(args: &[OsString]) -> Result<u8> {
    let args = args.iter().map(|arg| arg.to_str().context("an argument is no UTF-8"));
    let args = args.collect::<Result<Vec<&str>>>()?;
    match args[..] {
        [lab::JANITOR, dir] => lab::clean(dir).map(|()| 0),
        [pod::PAUSE] => pod::pause(),
        [pod::HOLDER, pause] => pod::hold(pause).map(|()| 0),
        [monitor::ROLE] => monitor::play().map(|()| 0),
        [played::PLAYED_CRUN, namespace, command] => played::play(namespace, command),
        ref part => parts::play(part).map(|()| 0),
    }
}
