//! Reads what the scripts of a run use, while it runs and after it.

use super::interrupt;
use super::usage::ScriptUsage;
use super::vm::Vm;
use std::rc::Rc;

/// Reads what the script engines of a run have used, while it runs and after it.
pub struct UsageMonitor {
    pub(super) vms: Vec<Rc<Vm>>,
}

impl UsageMonitor {
    /// What has been used so far.
    #[must_use]
    pub fn used(&self) -> ScriptUsage {
        let used = self.vms.iter().map(|vm| vm.used());
        used.fold(ScriptUsage::default(), ScriptUsage::and)
    }

    /// Memory that the scripts hold after a garbage collection, bytes: with the standard library
    /// that each has around it, without unused room in pages.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let held = |vm: &Rc<Vm>| {
            // Twice: what the first collection finalises, the second frees.
            let _ = vm.lua.gc_collect().and_then(|()| vm.lua.gc_collect());
            interrupt::held_bytes(&vm.lua)
        };
        self.vms.iter().map(held).sum()
    }
}
