//! Which layers keep the KV of a whole context, of a window or a state of fixed size, and which
//! have experts.

use super::fields::Fields;
use serde_json::Value;
use windtunnel_base::input::InputError;

/// How the tokens of one layer see each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixer {
    /// Attention.
    Attention {
        /// Tokens that a token attends to at most; `None` = the whole context.
        window: Option<u64>,
        /// Is the KV of tokens outside the window kept all the same? (vLLM keeps it with chunked
        /// attention.)
        keeps_all: bool,
    },
    /// Linear attention, a state-space model or a short convolution: a state of fixed size per
    /// sequence.
    Recurrent,
    /// The layer is a feed-forward block alone.
    None,
}

/// The feed-forward block of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ffn {
    /// Dense.
    Dense,
    /// Routed experts, with shared ones where the model has them.
    Experts,
    /// None: the layer is a mixer alone.
    None,
}

/// One layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// How tokens see each other.
    pub mixer: Mixer,
    /// The feed-forward block.
    pub ffn: Ffn,
}

pub(super) const FULL: Mixer = Mixer::Attention {
    window: None,
    keeps_all: true,
};

/// The layers of the model, first to last.
///
/// # Errors
/// When a list of layers has another length than the model has layers, or a kind of layer is not
/// known.
pub(super) fn layers(f: &Fields<'_>, count: u64, is_moe: bool) -> Result<Vec<Layer>, InputError> {
    let pattern = f.text("hybrid_override_pattern");
    if !pattern.is_empty() {
        return by_pattern(f, pattern, count);
    }
    let mixers = mixers(f, count)?;
    let experts = with_experts(f, count, is_moe)?;
    Ok(mixers
        .into_iter()
        .zip(experts)
        .map(|(mixer, experts)| Layer {
            mixer,
            ffn: if experts { Ffn::Experts } else { Ffn::Dense },
        })
        .collect())
}

/// Nemotron-H: `M` Mamba, `*` attention, `-` feed-forward, `E` experts; a layer is one of them.
fn by_pattern(f: &Fields<'_>, pattern: &str, count: u64) -> Result<Vec<Layer>, InputError> {
    let layers: Option<Vec<Layer>> = pattern
        .chars()
        .map(|kind| {
            let (mixer, ffn) = match kind {
                'M' => (Mixer::Recurrent, Ffn::None),
                '*' => (FULL, Ffn::None),
                '-' => (Mixer::None, Ffn::Dense),
                'E' => (Mixer::None, Ffn::Experts),
                _ => return None,
            };
            Some(Layer { mixer, ffn })
        })
        .collect();
    match layers {
        Some(layers) if layers.len() as u64 == count => Ok(layers),
        Some(layers) => Err(wrong_length(
            f,
            "hybrid_override_pattern",
            layers.len(),
            count,
        )),
        None => Err(f.error(format!(
            "hybrid_override_pattern: expected M, *, - and E only, found \"{pattern}\""
        ))),
    }
}

fn wrong_length(f: &Fields<'_>, key: &str, found: usize, layers: u64) -> InputError {
    f.error(format!(
        "{key}: expected an entry for each of {layers} layers, found {found}"
    ))
}

fn mixers(f: &Fields<'_>, count: u64) -> Result<Vec<Mixer>, InputError> {
    let window = window(f)?;
    let sliding = window.map_or(FULL, |window| Mixer::Attention {
        window: Some(window),
        keeps_all: false,
    });
    let chunk = f.count("attention_chunk_size")?;
    let chunked = if chunk == 0 {
        FULL
    } else {
        Mixer::Attention {
            window: Some(chunk),
            keeps_all: true,
        }
    };
    for key in ["layer_types", "layers_block_type"] {
        if let Some(list) = f.list(key) {
            let kinds: Result<Vec<Mixer>, InputError> = list
                .iter()
                .map(|kind| match kind.as_str().unwrap_or("") {
                    "full_attention" | "attention" | "hybrid" | "global" => Ok(FULL),
                    "sliding_attention" | "local" | "local_attention" => Ok(sliding),
                    "chunked_attention" => Ok(chunked),
                    "linear_attention" | "mamba" | "mamba2" | "conv" | "recurrent" | "ssm" => {
                        Ok(Mixer::Recurrent)
                    }
                    other => Err(f.error(format!(
                        "{key}: unknown kind of layer \"{other}\"; known: full_attention, sliding_attention, \
                         chunked_attention, linear_attention, mamba, conv, recurrent"
                    ))),
                })
                .collect();
            let kinds = kinds?;
            if kinds.len() as u64 != count {
                return Err(wrong_length(f, key, kinds.len(), count));
            }
            return Ok(kinds);
        }
    }
    if let Some(list) = f.list("attn_type_list") {
        if list.len() as u64 != count {
            return Err(wrong_length(f, "attn_type_list", list.len(), count));
        }
        let is_full = |v: &Value| v.as_u64() == Some(1);
        let kind = |v| if is_full(v) { FULL } else { Mixer::Recurrent };
        return Ok(list.iter().map(kind).collect());
    }
    let each = |mixer: &dyn Fn(u64) -> Mixer| Ok((0..count).map(mixer).collect());
    let or_recurrent = |full: bool| if full { FULL } else { Mixer::Recurrent };
    let interval = f.count("full_attention_interval")?;
    if interval > 0 {
        return each(&|i| or_recurrent((i + 1).is_multiple_of(interval)));
    }
    let period = f.count("attn_layer_period")?;
    if period > 0 {
        let offset = f.count("attn_layer_offset")?;
        return each(&|i| or_recurrent(i % period == offset));
    }
    if let Some(list) = f.list("attn_layer_indices") {
        let at: Vec<u64> = list.iter().filter_map(Value::as_u64).collect();
        return each(&|i| or_recurrent(at.contains(&i)));
    }
    if chunk > 0 {
        // 1 = rotary positions, attention in chunks; 0 = no positions, the whole context.
        if let Some(list) = f.list("no_rope_layers").filter(|list| !list.is_empty()) {
            if list.len() as u64 != count {
                return Err(wrong_length(f, "no_rope_layers", list.len(), count));
            }
            let kind = |v: &Value| if v.as_u64() == Some(0) { FULL } else { chunked };
            return Ok(list.iter().map(kind).collect());
        }
        let every = f.count("no_rope_layer_interval")?;
        let every = if every > 0 { every } else { 4 };
        return each(&|i| {
            if (i + 1).is_multiple_of(every) {
                FULL
            } else {
                chunked
            }
        });
    }
    if window.is_some() {
        let pattern = f.first(
            &["sliding_window_pattern", "_sliding_window_pattern"],
            |n| n > 0,
        )?;
        if pattern > 0 {
            return each(&|i| {
                if (i + 1).is_multiple_of(pattern) {
                    FULL
                } else {
                    sliding
                }
            });
        }
        // Qwen 2 and 3: the first layers see everything.
        let first = f.count("max_window_layers")?;
        return each(&|i| if i < first { FULL } else { sliding });
    }
    Ok(vec![FULL; count as usize])
}

/// Tokens of the sliding window, unless it is switched off.
fn window(f: &Fields<'_>) -> Result<Option<u64>, InputError> {
    let size = f.count("sliding_window")?;
    Ok((size > 0 && f.flag("use_sliding_window") != Some(false)).then_some(size))
}

/// Which layers have experts.
fn with_experts(f: &Fields<'_>, count: u64, is_moe: bool) -> Result<Vec<bool>, InputError> {
    let each = |has: &dyn Fn(u64) -> bool| Ok((0..count).map(has).collect());
    if !is_moe {
        return each(&|_| false);
    }
    let indices = |key: &str| -> Option<Vec<u64>> {
        let list = f.list(key)?;
        Some(list.iter().filter_map(Value::as_u64).collect())
    };
    if let Some(list) = f.list("mlp_layer_types") {
        if list.len() as u64 != count {
            return Err(wrong_length(f, "mlp_layer_types", list.len(), count));
        }
        return Ok(list.iter().map(|kind| kind != "dense").collect());
    }
    if let Some(at) = indices("moe_layers").filter(|at| !at.is_empty()) {
        return each(&|i| at.contains(&i));
    }
    let step = f.count("interleave_moe_layer_step")?;
    if step > 0 {
        return each(&|i| (i + 1).is_multiple_of(step));
    }
    let period = f.count("expert_layer_period")?;
    if period > 0 {
        let offset = f.count("expert_layer_offset")?;
        return each(&|i| i % period == offset);
    }
    let interval = f.count("moe_layer_interval")?;
    if interval > 0 {
        let start = f.count("moe_layer_start_index")?;
        let end = match f.count("moe_layer_end_index")? {
            0 => count,
            end => end,
        };
        return each(&|i| i >= start && i <= end && (i + 1).is_multiple_of(interval));
    }
    let dense = f.count("first_k_dense_replace")?;
    if let Some(list) = f.list("moe_layer_freq") {
        if list.len() as u64 != count {
            return Err(wrong_length(f, "moe_layer_freq", list.len(), count));
        }
        return Ok(list.iter().map(|on| on.as_u64() != Some(0)).collect());
    }
    let every = f.count("moe_layer_freq")?.max(1);
    let sparse = f.count("decoder_sparse_step")?.max(1);
    let only_dense = indices("mlp_only_layers").unwrap_or_default();
    each(&|i| {
        i >= dense
            && i.is_multiple_of(every)
            && (i + 1).is_multiple_of(sparse)
            && !only_dense.contains(&i)
    })
}
