//! What the scripts of a run use.

use super::interrupt;
use super::vm::Vm;
use std::ops::Sub;
use std::rc::Rc;

/// Reads what some script engines have used.
pub struct Meter {
    pub(super) vms: Vec<Rc<Vm>>,
}

/// What scripts have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls into scripts.
    pub calls: u64,
    /// Units spent in them: loop iterations and function calls.
    pub units: i64,
}

impl Sub for Used {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            calls: self.calls - earlier.calls,
            units: self.units - earlier.units,
        }
    }
}

impl Meter {
    /// What has been used so far.
    #[must_use]
    pub fn used(&self) -> Used {
        self.vms.iter().fold(Used::default(), |sum, vm| {
            let (calls, units) = vm.spent();
            Used {
                calls: sum.calls + calls,
                units: sum.units + units,
            }
        })
    }

    /// Memory that the scripts hold after garbage was collected, bytes; the library that each has
    /// around it included, unused room in pages not.
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
