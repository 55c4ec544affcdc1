//! What was counted of a model's configuration, and what each figure comes from.

use serde_json::{Value, json};
use windtunnel_config::{Ffn, Mixer, ModelArch, Weights};
use windtunnel_engine::latency::{GIB, Resolved};
use windtunnel_results::report::table::styled;

/// The weights on one GPU; of a pipeline on one of its fullest stage.
struct OnGpu<'a> {
    r: &'a Resolved,
    weights: Weights,
}

impl<'a> OnGpu<'a> {
    fn of(r: &'a Resolved, arch: &ModelArch) -> Self {
        let weights = r.fullest_stage.as_ref().unwrap_or(arch).weights();
        Self { r, weights }
    }

    /// Bytes of a part, by name.
    fn part(&self, name: &str) -> f64 {
        let part = self.weights.part(name);
        part.map_or(0.0, |part| {
            part.bytes / part.split.gpus(self.r.tp, self.r.dp)
        })
    }

    /// Bytes of all parts.
    fn all(&self) -> f64 {
        self.weights.bytes_per_gpu(self.r.tp, self.r.dp)
    }
}

/// The count as a person reads it; empty where no configuration is known.
pub fn text(r: &Resolved) -> String {
    let Some(arch) = &r.arch else {
        return String::new();
    };
    let weights = arch.weights();
    let on_gpu = OnGpu::of(r, arch);
    let mut table = styled(&["Weights", "Parameters", "Bits", "GiB", "GiB per GPU"]);
    for part in weights.parts() {
        table.add_row([
            part.name.to_owned(),
            count(part.parameters),
            format!("{:.2}", part.bytes * 8.0 / part.parameters),
            format!("{:.2}", part.bytes / GIB),
            format!("{:.2}", on_gpu.part(part.name) / GIB),
        ]);
    }
    table.add_row([
        "in all".to_owned(),
        count(weights.parameters()),
        format!("{:.2}", weights.bytes() * 8.0 / weights.parameters()),
        format!("{:.2}", weights.bytes() / GIB),
        format!("{:.2}", on_gpu.all() / GIB),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(comfy_table::CellAlignment::Right);
    }
    let mut text = format!("\nCounted from the configuration:\n{table}\n");
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("  {label:<17} {value}\n"));
    };
    line("Layers", layers(arch));
    line("Quantisation", quantisation(arch));
    line("KV heads", kv_heads(arch, r));
    line("KV per token", kv_per_token(arch, r));
    if let Some(memory) = r.memory {
        let gpu = r.hardware.map_or(0.0, |h| h.memory_gib);
        line(
            "Memory per GPU",
            format!(
                "{:.2} of {gpu} GiB: {:.2} weights, {:.2} activations and buffers, {:.2} KV cache",
                memory.budget / GIB,
                memory.weights / GIB,
                memory.overhead / GIB,
                (memory.budget - memory.weights - memory.overhead).max(0.0) / GIB
            ),
        );
    }
    text
}

/// The count for machines; null where no configuration is known.
pub fn json(r: &Resolved) -> Value {
    let Some(arch) = &r.arch else {
        return Value::Null;
    };
    let weights = arch.weights();
    let on_gpu = OnGpu::of(r, arch);
    let parts = weights.parts().map(|part| {
        json!({
            "part": part.name,
            "parameters": part.parameters,
            "bytes": part.bytes,
            "bytes_per_gpu": on_gpu.part(part.name),
        })
    });
    let attention = arch.attention_layers().into_iter().map(|kind| {
        json!({"layers": kind.layers, "window_tokens": kind.window, "keeps_all_kv": kind.keeps_all})
    });
    json!({
        "weights": {
            "parameters": weights.parameters(),
            "bytes": weights.bytes(),
            "bytes_per_gpu": on_gpu.all(),
            "parts": parts.collect::<Vec<_>>(),
        },
        "quantization": arch.quantization.as_ref().map(|q| q.method.as_str()),
        "layers": {
            "attention": attention.collect::<Vec<_>>(),
            "recurrent": arch.count_layers(|l| l.mixer == Mixer::Recurrent),
            "experts": arch.count_layers(|l| l.ffn == Ffn::Experts),
            "dense": arch.count_layers(|l| l.ffn == Ffn::Dense),
        },
        "kv_cache": {
            "bytes_per_element": r.kv_element_bytes,
            "bytes_per_token_per_layer_per_gpu": arch.kv_elements(r.tp) * r.kv_element_bytes,
            "bytes_per_token_per_gpu": r.memory.map(|m| m.token),
            "state_bytes_per_recurrent_layer": arch.state_bytes(),
        },
        "memory_bytes_per_gpu": r.memory.map(|m| json!({
            "usable": m.budget,
            "weights": m.weights,
            "activations_and_buffers": m.overhead,
        })),
    })
}

/// `70.55 B`, `8.19 M`.
fn count(n: f64) -> String {
    if n >= 1e9 {
        format!("{:.2} B", n / 1e9)
    } else {
        format!("{:.2} M", n / 1e6)
    }
}

fn layers(arch: &ModelArch) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for kind in arch.attention_layers() {
        kinds.push(match kind.window {
            None => format!("{} attend to the whole context", kind.layers),
            Some(window) if kind.keeps_all => {
                format!("{} attend to {window} tokens and keep all KV", kind.layers)
            }
            Some(window) => format!("{} keep a window of {window} tokens", kind.layers),
        });
    }
    let recurrent = arch.count_layers(|l| l.mixer == Mixer::Recurrent);
    if recurrent > 0 {
        kinds.push(format!("{recurrent} keep a state of fixed size"));
    }
    let experts = arch.count_layers(|l| l.ffn == Ffn::Experts);
    if experts > 0 {
        kinds.push(format!(
            "{experts} have {} experts, {} per token",
            arch.experts, arch.experts_per_token
        ));
    }
    format!("{}: {}", arch.layers, kinds.join(", "))
}

fn quantisation(arch: &ModelArch) -> String {
    arch.quantization.as_ref().map_or_else(
        || "none: 16-bit weights".to_owned(),
        |q| format!("{} (scales are counted)", q.method),
    )
}

fn kv_per_token(arch: &ModelArch, r: &Resolved) -> String {
    let per_gpu = r.memory.map_or(String::new(), |memory| {
        format!("{:.0} bytes per GPU: ", memory.token)
    });
    format!(
        "{per_gpu}{:.0} elements of {} bytes in a layer",
        arch.kv_elements(r.tp),
        r.kv_element_bytes
    )
}

fn kv_heads(arch: &ModelArch, r: &Resolved) -> String {
    if arch.kv_lora_rank > 0 {
        return format!(
            "compressed to {} + {}, a copy on each GPU",
            arch.kv_lora_rank, arch.qk_rope_head_dim
        );
    }
    let heads = (arch.kv_heads as f64 / f64::from(r.tp)).max(1.0);
    format!(
        "{heads} of {} on each GPU, {} wide",
        arch.kv_heads,
        arch.head_width()
    )
}
