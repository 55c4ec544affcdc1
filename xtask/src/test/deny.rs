//! Licences, sources and duplicates of what the workspace depends on, where `cargo deny` is
//! installed. It reads deny.toml and needs no network.

use crate::shared::{cargo, has, run};
use std::process::ExitCode;

/// The check, or a line that says how it could be made.
pub(crate) fn step() -> anyhow::Result<Option<ExitCode>> {
    if !has("deny") {
        println!("skipped: cargo deny is not installed (cargo install cargo-deny --locked)");
        return Ok(None);
    }
    run(cargo("deny --offline check bans licenses sources"))
}
