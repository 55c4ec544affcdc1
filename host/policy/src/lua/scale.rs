//! Scaling by script: how many instances a pool should have.

use super::binding::write_f64;
use super::engines::ScriptEngines;
use super::front_end::FrontEndHook;
use super::program::Program;
use crate::param::Hook;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{ClusterView, Interests, PolicyError, RequestView, Scale, ScaleView};

/// Copies of a program that scale pools sit at places of their own, from here downwards: those
/// below are instances, those above routers of single stages.
const PLACES: u32 = u32::MAX - 16;

struct ScriptedScale {
    hook: FrontEndHook,
    /// Scratch: what is known of the pool.
    bytes: Vec<u8>,
}

impl ScriptedScale {
    /// Puts what is known of the pool behind all else.
    fn send(&mut self, pool: &ScaleView) -> Result<(), PolicyError> {
        let binding = &mut self.hook.binding;
        let at = self.hook.layout.size;
        let fields = &binding.vm.program.mentions.pool;
        self.bytes.clear();
        self.bytes.resize(8 * fields.len(), 0);
        for (k, field) in fields.iter().enumerate() {
            write_f64(&mut self.bytes, 8 * k, field.shown((field.get)(pool)));
        }
        binding.grow(at + self.bytes.len(), 0)?;
        binding.inbox.write_bytes(at, &self.bytes);
        Ok(())
    }
}

impl Scale for ScriptedScale {
    fn interests(&self) -> Interests {
        self.hook.interests()
    }

    fn replicas(
        &mut self,
        pool: &ScaleView,
        cluster: &ClusterView<'_>,
    ) -> Result<u32, PolicyError> {
        self.send(pool)?;
        let answer = self.hook.call(&RequestView::default(), cluster)?;
        if answer.is_nan() {
            let expected = "a number of 0 or more";
            return Err(self.hook.binding.bad_answer("replicas", expected));
        }
        // What is more than there can be is as much as there can be.
        Ok(answer.ceil() as u32)
    }
}

impl ScriptEngines {
    /// The program's scaling policy for the pool at this position.
    ///
    /// # Errors
    /// When the file does not run or fills no such hook.
    pub fn scale(
        &mut self,
        program: &Arc<Program>,
        pool: usize,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Scale>, InputError> {
        // The first pool's policy shares what the script remembers at the front end.
        let place = (pool > 0).then(|| PLACES - pool as u32);
        let module = self.module(program, place, symbols)?;
        let hook = FrontEndHook::new(&module, Hook::Scale, "replicas")?;
        let bytes = Vec::new();
        Ok(Box::new(ScriptedScale { hook, bytes }))
    }
}
