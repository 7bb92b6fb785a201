//! `supervisor schema`: prints the JSON Schema of events, of the configuration or of the report of `leaks`.

use anyhow::Result;
use clap::Args;

use crate::{console::print, exit::Exit, schema::Subject};

/// Print the JSON Schema of events, or of the configuration.
#[derive(Args, Clone, Debug)]
pub struct SchemaArgs {
    /// Of what
    subject: Subject,
}

/// Prints the schema.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(args: &SchemaArgs) -> Result<Exit> {
    print(&args.subject.text())?;
    Ok(Exit::Ok)
}
