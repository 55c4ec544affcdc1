//! The `windtunnel` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    windtunnel_cli::main()
}
