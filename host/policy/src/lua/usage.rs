//! What the scripts of a run use of their budgets.

use super::interrupt;
use super::vm::Vm;
use std::ops::Sub;
use std::rc::Rc;

/// Reads what the script engines of a run have used, while it runs and after it.
pub struct UsageMonitor {
    pub(super) vms: Vec<Rc<Vm>>,
}

/// What scripts have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScriptUsage {
    /// Calls into scripts.
    pub calls: u64,
    /// Units spent in them: loop iterations and function calls.
    pub units: i64,
}

impl Sub for ScriptUsage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            calls: self.calls - earlier.calls,
            units: self.units - earlier.units,
        }
    }
}

impl UsageMonitor {
    /// What has been used so far.
    #[must_use]
    pub fn used(&self) -> ScriptUsage {
        self.vms.iter().fold(ScriptUsage::default(), |sum, vm| {
            let (calls, units) = vm.spent();
            ScriptUsage {
                calls: sum.calls + calls,
                units: sum.units + units,
            }
        })
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
