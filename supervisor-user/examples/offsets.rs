//! Prints what the offsets are by a BTF file, such as `/sys/kernel/btf/vmlinux`: one a line.

use std::{env, fs};

use anyhow::{Context as _, Result};
use supervisor_user::kernel::resolve;

fn main() -> Result<()> {
    let file = env::args_os().nth(1).context("usage: offsets FILE")?;
    for (global, value) in resolve(fs::read(file)?)?.iter() {
        println!("{global} {value}");
    }
    Ok(())
}
