//! The `supervisor` command; the library does the work.

use std::process::ExitCode;

fn main() -> ExitCode {
    supervisor_user::commands::main()
}
