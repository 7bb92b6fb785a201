//! Prints what is concluded from each recording, and whether it is right.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

#[path = "../tests/calibration/mod.rs"]
mod calibration;

fn main() -> Result<()> {
    let dir: PathBuf = std::env::args_os().nth(1).context("name the directory of the recordings")?.into();
    print!("{}", calibration::table(&calibration::rows(&dir)?));
    Ok(())
}
