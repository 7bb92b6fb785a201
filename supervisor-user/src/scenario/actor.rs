//! The hidden subcommand: what the `supervisor` binary does when it plays a part.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::{monitor, played, pod};

/// The first argument of a `supervisor` that is to play a part.
pub const ACTOR: &str = "__actor";

/// Plays the part that the arguments behind [`ACTOR`] name.
#[must_use]
pub fn main(args: &[String]) -> ExitCode {
    match play(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(args: &[String]) -> Result<u8> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        [pod::PAUSE] => pod::pause(),
        [pod::HOLDER, pause] => pod::hold(pause).map(|()| 0),
        [monitor::ROLE] => monitor::play().map(|()| 0),
        [played::PLAYED_CRUN, namespace, command] => played::play(namespace, command),
        _ => bail!("no such part: {args:?}"),
    }
}
