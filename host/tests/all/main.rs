//! Integration tests: everything here goes through the command line or the public library, as a user would.
#![allow(clippy::print_stdout, reason = "the sweep says how many cases ran")]

mod oracle;
mod support;
