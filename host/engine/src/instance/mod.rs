//! One serving engine: wait queue, batch formation, steps, preemption.
//!
//! An instance depends on nothing outside itself between [`add_request`](Instance::add_request)
//! calls, reads no clock and does no I/O.
//!
//! It runs steps in two ways that must give the same results. The plain path touches every request
//! of the batch in every step and is the definition of correctness; the fast path advances running
//! decodes as a group (`group_step`, `fast_forward`). Both choose their batches by the rules in
//! `batching`.

mod adapter_slots;
mod adapters;
mod api_server;
mod batching;
mod check;
mod chosen_step;
mod config;
mod cpu_blocks;
mod cpu_offload;
mod decode_group;
mod device_memory;
mod engine_request;
mod event_loop;
mod events;
mod fast_forward;
mod group_lengths;
mod group_members;
mod group_step;
mod itl_log;
mod lockstep;
mod memory_use;
mod part;
mod pipeline;
mod policies;
mod queue_key;
mod rank;
mod rank_state;
mod remote_kv;
mod sampler;
mod sampling;
mod slab;
mod slot;
mod speculation;
mod stage_steps;
mod state;
mod step;
mod step_log;
#[cfg(test)]
mod test_hooks;
mod wait_queue;
mod work;

pub use crate::rules::{EngineRules, Preset};
pub use config::{
    ApiServerConfig, CoreTime, CpuOffload, EngineConfig, NEVER, SchedulingConfig, Speculation,
    SpeculativeMethod,
};
pub use events::{FinishedRequest, InstanceEvent};
pub use part::{FirstToken, Part, RemoteKv};
pub use rank_state::{Load, OpenStep};
pub use slot::Slot;
pub use state::{Instance, InstanceHooks};
pub use work::Work;
