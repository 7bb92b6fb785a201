//! Prints the offsets that a BTF file, such as `/sys/kernel/btf/vmlinux`, gives, one a line; or why it gives none.

use std::{env, fs};

use anyhow::{Context as _, Result};
use supervisor_collect::kernel::resolve;

fn main() -> Result<()> {
    let file = env::args_os().nth(1).context("usage: offsets FILE")?;
    match resolve(fs::read(file)?) {
        Ok(offsets) => offsets.iter().for_each(|(global, value)| println!("{global} {value}")),
        Err(error) => println!("{error}"),
    }
    Ok(())
}
