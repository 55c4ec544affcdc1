//! Commands that run scripts in their own process put it into a sandbox before the first one is
//! loaded. What the process is given up to then stays: files that are open, and results to come.

use super::print::say;
use std::path::PathBuf;
use windtunnel_policy::Reference;
use windtunnel_score::sandbox;
use windtunnel_sim::RunSpec;

/// Whether scripts from files run in this process, without plugins beside them, which have its
/// rights.
pub fn has_scripts(run: &RunSpec) -> bool {
    // A bundle that can be read only once may name any.
    let Some(named) = run.named_policies() else {
        return true;
    };
    let plugin = named.iter().any(|r| matches!(r, Reference::Plugin(..)));
    !plugin && named.iter().any(|r| matches!(r, Reference::Script(_)))
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
