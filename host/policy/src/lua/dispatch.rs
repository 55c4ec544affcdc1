//! Dispatch by script: which of the requests that the gateway holds goes next.

use super::binding::{position, write_f64, write_request};
use super::engines::ScriptEngines;
use super::front_end::FrontEndHook;
use super::program::Program;
use crate::param::Hook;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    ClusterView, Dispatch, Event, GatewayView, Interests, PolicyError, RequestView,
};

/// Bytes before the rows of the held requests.
const HEAD: usize = 32;

struct ScriptedDispatch {
    hook: FrontEndHook,
    /// Scratch: what the gateway says, and a row for each request that it holds.
    rows: Vec<u8>,
}

impl ScriptedDispatch {
    /// Puts what the gateway says behind all else.
    fn send(&mut self, gateway: &GatewayView<'_>) -> Result<(), PolicyError> {
        let binding = &mut self.hook.binding;
        let at = self.hook.layout.size;
        let mentions = &binding.vm.program.mentions;
        let requests = mentions.request.len();
        let row = 8 * (requests + mentions.held.len());
        let held = gateway.held;
        self.rows.clear();
        self.rows.resize(HEAD + row * held.len(), 0);
        let rows = &mut self.rows;
        write_f64(rows, 0, gateway.saturation);
        write_f64(rows, 8, gateway.depth.into());
        write_f64(rows, 16, gateway.on_the_way.into());
        write_f64(rows, 24, held.len() as f64);
        for (k, view) in held.iter().enumerate() {
            let start = HEAD + row * k;
            write_request(rows, start, &mentions.request, view.request);
            for (j, field) in mentions.held.iter().enumerate() {
                write_f64(rows, start + 8 * (requests + j), (field.get)(view));
            }
        }
        binding.grow(at + self.rows.len(), 0)?;
        binding.inbox.write_bytes(at, &self.rows);
        Ok(())
    }
}

impl Dispatch for ScriptedDispatch {
    fn interests(&self) -> Interests {
        self.hook.interests() | Interests::HELD
    }

    fn dispatch(
        &mut self,
        gateway: &GatewayView<'_>,
        cluster: &ClusterView<'_>,
    ) -> Result<Option<usize>, PolicyError> {
        self.send(gateway)?;
        let answer = self.hook.call(&RequestView::default(), cluster)?;
        let n = gateway.held.len();
        if answer == 0.0 {
            return Ok(None);
        }
        if let Some(chosen) = position(answer, n) {
            return Ok(Some(chosen));
        }
        let binding = &self.hook.binding;
        let expected = format!("a position from 1 to {n}, or nil");
        Err(if answer.is_nan() {
            binding.bad_answer("next_held", &expected)
        } else {
            binding.unexpected("next_held", &answer.to_string(), &expected)
        })
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.hook.binding.send_event(event)
    }
}

impl ScriptEngines {
    /// The program's dispatch policy.
    ///
    /// # Errors
    /// When the file does not run or fills no such hook.
    pub fn dispatch(
        &mut self,
        program: &Arc<Program>,
        symbols: &mut dyn FnMut(&str) -> u32,
    ) -> Result<Box<dyn Dispatch>, InputError> {
        let module = self.module(program, None, symbols)?;
        let hook = FrontEndHook::new(&module, Hook::Dispatch, "next_held")?;
        let rows = Vec::new();
        Ok(Box::new(ScriptedDispatch { hook, rows }))
    }
}
