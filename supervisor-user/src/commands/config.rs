//! `supervisor config`: prints the default configuration, or checks a file.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use supervisor_model::words::clean;

use crate::{config::Config, console::print, exit::CommandExit};

/// The configuration that the command prints. Without a file, the agent uses the same values.
pub const DEFAULT: &str = include_str!("../config/default.toml");

/// Print the default configuration with all keys, or check a file.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct ConfigArgs {
    /// Print a configuration with every key, its meaning and its default
    #[arg(long, group = "what")]
    print_default: bool,
    /// Say what is wrong with a file, with line and key; nothing is opened or started
    #[arg(long, value_name = "FILE", group = "what")]
    check: Option<PathBuf>,
}

/// Prints the default configuration, or checks a file.
///
/// # Errors
///
/// If the file is wrong.
pub fn run(args: &ConfigArgs) -> Result<CommandExit> {
    let Some(file) = &args.check else {
        print(DEFAULT)?;
        return Ok(CommandExit::Ok);
    };
    let config = Config::load(Some(file), &[])?;
    let sinks: Vec<&str> = config.sinks.keys().map(String::as_str).collect();
    print(&format!("{} is right; its sinks: {}\n", clean(&file.display().to_string()), sinks.join(", ")))?;
    Ok(CommandExit::Ok)
}
