//! ServeGen folders in a spec.

use super::locate::Fault;
use super::plan::Planned;
use super::types::ServeGenData;
use std::path::Path;

pub(super) fn plan(
    _: &ServeGenData,
    _: &Path,
    _: &mut Vec<Planned>,
    _: &mut Vec<String>,
) -> Result<(), Fault> {
    Err(Fault::new("", "not yet"))
}
