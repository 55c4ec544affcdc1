//! Which fields a script sees, by view, and how their values become numbers.

use windtunnel_plugin_api::{Interests, QueueView, Table};

/// A field as a script sees it. `G` is the type of a function that takes the view and gives the
/// field as a number.
#[derive(Clone, Copy)]
pub struct ScriptField<G: 'static> {
    /// Its name.
    pub name: &'static str,
    /// Its unit; empty for plain numbers and identities.
    pub unit: &'static str,
    /// What it says, lines as written.
    pub doc: &'static [&'static str],
    /// Its value in the contract's terms.
    pub get: G,
}

impl<G> ScriptField<G> {
    /// A value as scripts see it: positions count from 1, and 0 is none.
    pub fn shown(&self, value: f64) -> f64 {
        if self.unit != "position" {
            value
        } else if value == f64::from(u32::MAX) {
            0.0
        } else {
            value + 1.0
        }
    }
}

/// All fields that scripts can see of a view.
#[must_use]
pub fn of<T: Table>() -> Vec<ScriptField<T::Get>> {
    T::FIELDS
        .iter()
        // The kind of an event shows in which handler is called.
        .filter(|field| !["reserved", "kind"].contains(&field.name))
        .map(|field| ScriptField {
            name: field.name,
            unit: field.unit,
            doc: field.doc,
            get: field.get,
        })
        .collect()
}

/// Fields that stand for a name: equal numbers for equal names, 0 for none. What the numbers are
/// differs from run to run.
const NAMES: [&str; 7] = [
    "adapter",
    "model",
    "pool",
    "prefix_group",
    "session",
    "slo_class",
    "tenant",
];

/// Does a field of a view stand for a name?
#[must_use]
pub fn is_name(field: &str) -> bool {
    NAMES.contains(&field)
}

/// Is 0 none, or unknown, in this field?
#[must_use]
pub fn zero_is_none(field: &str) -> bool {
    let times = [
        "deadline_us",
        "due_us",
        "slo_ttft_us",
        "slo_itl_us",
        "slo_e2e_us",
        "predicted_output_tokens",
    ];
    is_name(field) || times.contains(&field)
}

/// The interest that a policy must declare to read a field of an instance; none for fields that
/// never change.
#[must_use]
pub fn reads(field: &str) -> Interests {
    match field {
        "index" | "pool" | "gpus" | "role" | "max_batch_size" | "block_size"
        | "max_step_tokens" | "kv_total_blocks" | "max_loras" => Interests::NONE,
        "in_flight" | "dispatched_tokens" => Interests::COUNTERS,
        "queued_prompt_tokens" | "running_prefill_tokens" | "decode_context_tokens" | "decodes" => {
            Interests::WORK
        }
        "loaded_lora_adapters" | "running_lora_adapters" | "waiting_lora_adapters" => {
            Interests::ADAPTERS
        }
        _ => Interests::SNAPSHOTS,
    }
}

/// Gives a field of a view as a number.
pub type Get<T> = <T as Table>::Get;
/// Gives a field of the queue as a number.
pub type GetQueue = for<'v, 'r> fn(&'v QueueView<'r>) -> f64;

/// Fields of `queue`.
#[must_use]
pub fn queue() -> Vec<ScriptField<GetQueue>> {
    macro_rules! fields {
        ($($name:ident, $unit:literal, $doc:literal;)*) => {
            vec![$(ScriptField {
                name: stringify!($name),
                unit: $unit,
                doc: &[$doc],
                #[allow(clippy::unnecessary_cast, reason = "one expression for all types")]
                get: |queue| queue.$name as f64,
            }),*]
        };
    }
    fields! {
        now_us, "us", "Now.";
        instance, "position", "Position of the instance in the cluster.";
        max_batch_size, "requests", "Largest batch.";
        batch_size, "requests", "Requests in the running batch.";
        queue_depth, "requests", "Requests in the wait queue.";
        kv_free_blocks, "blocks", "KV blocks not in use.";
        kv_total_blocks, "blocks", "KV blocks in all.";
        block_size, "tokens", "Tokens a KV block holds.";
        max_step_tokens, "tokens", "Most new tokens per step.";
    }
}
