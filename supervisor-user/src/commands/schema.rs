//! `supervisor schema`: what events and configurations look like, for machines.

use anyhow::Result;
use clap::Args;

use crate::{console::print, exit::Exit, schema::Subject};

/// Print the JSON Schema of events, or of the configuration.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// Of what
    subject: Subject,
}

/// Prints it.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(args: &SchemaArgs) -> Result<Exit> {
    print(&args.subject.text())?;
    Ok(Exit::Ok)
}
