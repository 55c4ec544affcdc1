//! Commands that run scripts in their own process put it into a sandbox before the first one is
//! loaded. What the process is given up to then stays: files that are open, and results to come.

use super::output::{Files, export_paths};
use super::print::say;
use std::path::PathBuf;
use windtunnel_policy::Reference;
use windtunnel_score::sandbox;
use windtunnel_sim::RunSpec;

/// Whether scripts from files run in this process, without plugins beside them, which have its
/// rights.
pub fn has_scripts(run: &RunSpec) -> bool {
    // A bundle that can be read only once may name any.
    let Some(named) = run.policies.named() else {
        return true;
    };
    let plugin = named.iter().any(|r| matches!(r, Reference::Plugin(..)));
    !plugin && named.iter().any(|r| matches!(r, Reference::Script(_)))
}

/// The files that `written` names.
pub fn outputs(written: &Files) -> Vec<PathBuf> {
    let exported = written.trace_output.as_deref().map(export_paths);
    let files = [
        &written.results_path,
        &written.metrics_path,
        &written.decisions_path,
        &written.saturation_report,
    ];
    let files = files.into_iter().flatten().cloned();
    files.chain(exported.into_iter().flatten()).collect()
}

/// Confines this process to writing `outputs`; to be called before there is a second thread.
pub fn confine(outputs: &[PathBuf]) {
    let missing = sandbox::confine_own(outputs);
    if !missing.is_empty() {
        say(&format!(
            "note: this system does not limit the {} of a process: a script that escapes from its engine has your rights",
            missing.join(" and the ")
        ));
    }
}
