//! Views as JSON objects of those fields that are not 0, and back.

use serde_json::{Map, Value, json};
use windtunnel_plugin_api::{Event, InstanceView, RequestView};

/// A view whose fields have names.
pub trait Named: Copy + Default + PartialEq {
    /// The fields that differ from those of another one.
    fn differences(&self, from: &Self) -> Map<String, Value>;

    /// Sets a field.
    ///
    /// # Errors
    /// When there is none of this name, or the value does not fit.
    fn set(&mut self, name: &str, value: &Value) -> Result<(), String>;

    /// Sets several.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    fn apply(&mut self, fields: &Map<String, Value>) -> Result<(), String> {
        fields
            .iter()
            .try_for_each(|(name, value)| self.set(name, value))
    }
}

macro_rules! named {
    ($view:ident { $($field:ident),* $(,)? }) => {
        impl Named for $view {
            fn differences(&self, from: &Self) -> Map<String, Value> {
                // Every field is named here, or this does not compile.
                let Self { $($field: _),* } = *self;
                let mut all = Map::new();
                $(if self.$field != from.$field {
                    all.insert(stringify!($field).to_owned(), json!(self.$field));
                })*
                all
            }

            fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
                match name {
                    $(stringify!($field) => {
                        self.$field = serde_json::from_value(value.clone())
                            .map_err(|e| format!("{name}: {e}"))?;
                    })*
                    _ => return Err(format!("there is no field \"{name}\"")),
                }
                Ok(())
            }
        }
    };
}

named!(InstanceView {
    index,
    queue_depth,
    batch_size,
    in_flight,
    kv_used_blocks,
    kv_total_blocks,
    kv_free_blocks,
    preemptions,
    kv_utilization,
    cache_hit_rate,
    dispatched_tokens,
    scraped_us,
    max_batch_size,
    block_size,
    queued_prompt_tokens,
    running_prefill_tokens,
    decode_context_tokens,
    decodes,
    max_step_tokens,
    pool,
    gpus,
    max_loras,
    loaded_lora_adapters,
    running_lora_adapters,
    waiting_lora_adapters,
    role,
    incoming_kv_caches,
    kept_kv_caches,
    kept_kv_blocks,
});

named!(RequestView {
    serial,
    arrival_us,
    deadline_us,
    slo_ttft_us,
    prompt_key,
    prompt_tokens,
    slo_class,
    class_priority,
    tenant,
    session,
    round,
    prefix_group,
    prefix_tokens,
    model,
    predicted_output_tokens,
    attempts,
    reserved,
    adapter,
    client_priority,
});

named!(Event {
    now_us,
    serial,
    ttft_us,
    e2e_us,
    kind,
    outcome,
    instance,
    tenant,
    session,
    prompt_tokens,
    output_tokens,
    slo_class,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_comes_back_as_it_was() {
        let before = InstanceView {
            index: 3,
            kv_utilization: 0.1 + 0.2,
            ..InstanceView::default()
        };
        let now = InstanceView {
            in_flight: 2,
            dispatched_tokens: u64::MAX,
            ..before
        };
        let mut fields = now.differences(&before);
        assert_eq!(fields.len(), 2);
        let mut back = before;
        back.apply(&fields).unwrap();
        assert_eq!(back, now);
        fields.insert("in_fligth".to_owned(), json!(1));
        assert_eq!(
            back.apply(&fields).unwrap_err(),
            "there is no field \"in_fligth\""
        );
        assert!(back.set("index", &json!(-1)).is_err());
    }
}
