//! The script engines of one run.

use super::module::Module;
use super::monitor::UsageMonitor;
use super::program::Program;
use super::vm::Vm;
use crate::facts::Facts;
use crate::param::Hook;
use std::rc::Rc;
use std::sync::Arc;
use windtunnel_base::input::InputError;

/// The hooks that a program fills. Its file runs once, as if for some cluster.
///
/// # Errors
/// When the file does not run, or its table is wrong.
pub fn hooks_filled(program: &Arc<Program>) -> Result<Vec<Hook>, InputError> {
    let facts = Facts {
        instances: 4,
        slots: 64,
        highest_priority: 4,
        known_names: 0,
    };
    let mut engines = ScriptEngines::new(facts);
    Ok(engines.module(program, None, &mut |_| 0)?.hooks())
}

/// The script engines of one run, one for each policy file. Admission and routing share a file's
/// copy at the front end; each instance has a copy of its own.
pub struct ScriptEngines {
    facts: Facts,
    vms: Vec<Rc<Vm>>,
    modules: Vec<(usize, Option<u32>, Rc<Module>)>,
}

impl ScriptEngines {
    /// No engine yet: one is started when a file is first needed.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            vms: Vec::new(),
            modules: Vec::new(),
        }
    }

    /// Reads what the engines started so far use, now and later.
    #[must_use]
    pub fn usage_monitor(&self) -> UsageMonitor {
        UsageMonitor {
            vms: self.vms.clone(),
        }
    }

    /// The copy of a program at the front end (`None`) or on an instance.
    pub(super) fn module(
        &mut self,
        program: &Arc<Program>,
        place: Option<u32>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Rc<Module>, InputError> {
        let known = self
            .vms
            .iter()
            .position(|vm| Arc::ptr_eq(&vm.program, program));
        let vm = match known {
            Some(k) => k,
            None => {
                let vm = Vm::new(Arc::clone(program), self.facts)?;
                self.vms.push(Rc::new(vm));
                self.vms.len() - 1
            }
        };
        let found = self
            .modules
            .iter()
            .find(|(v, p, _)| (*v, *p) == (vm, place));
        if let Some((_, _, module)) = found {
            return Ok(Rc::clone(module));
        }
        let module = Rc::new(Module::new(Rc::clone(&self.vms[vm]), symbols)?);
        self.modules.push((vm, place, Rc::clone(&module)));
        Ok(module)
    }
}
