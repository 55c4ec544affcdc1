//! `windtunnel models`.

use super::args::ModelsArgs;

/// Lists models or explains one.
pub fn models(args: &ModelsArgs) -> anyhow::Result<()> {
    let _ = args;
    Ok(())
}
