//! `supervisor schema`: prints the JSON Schema of events, of the configuration or of the report of `leaks`.

use anyhow::Result;
use clap::Args;

use crate::{console::print, exit::CommandExit, schema::SchemaSubject};

/// Print the JSON Schema of events, or of the configuration.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// Of what
    subject: SchemaSubject,
}

/// Prints the schema.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(args: &SchemaArgs) -> Result<CommandExit> {
    print(&args.subject.text())?;
    Ok(CommandExit::Ok)
}
