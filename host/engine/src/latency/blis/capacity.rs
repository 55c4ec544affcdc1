//! KV capacity as BLIS has it.

use super::super::capacity::{GIB, KvCapacity};
use windtunnel_base::input::InputError;
use windtunnel_config::ModelArch;

/// Memory per instance for activations, GiB.
const ACTIVATIONS_DENSE: f64 = 5.5;
const ACTIVATIONS_MOE: f64 = 8.0;
/// Memory per GPU that is not the framework's, GiB: alone, and with communication buffers.
const OTHER_SINGLE: f64 = 0.15;
const OTHER_PARALLEL: f64 = 0.6;

/// Activation functions whose feed-forward blocks have the three matrices that are counted here.
const ACTIVATIONS: [&str; 5] = ["silu", "swiglu", "geglu", "situ", ""];

/// KV blocks of one instance, as BLIS computes them (August 2026): memory that may be used,
/// less weights, activations, what else lives there and `reserved_bytes`, divided by the size of a
/// block.
///
/// # Errors
/// When the model does not fit (says how many GPUs it needs), cannot be split that way, or a
/// figure is missing.
pub fn kv_blocks(of: &KvCapacity<'_>, reserved_bytes: f64) -> Result<u64, InputError> {
    check(of)?;
    let block_bytes = block_bytes(of.model, of.tp, of.block_size);
    if block_bytes < 1.0 {
        return refuse("a KV block would be smaller than a byte".to_owned());
    }
    let (model, tp) = (of.model, f64::from(of.tp));
    let weights_gib = (parameters(of) as f64 * model.blis_weight_bytes()).trunc() / GIB;
    let activations = if model.is_moe() {
        ACTIVATIONS_MOE
    } else {
        ACTIVATIONS_DENSE
    };
    let other = if of.tp == 1 {
        OTHER_SINGLE
    } else {
        OTHER_PARALLEL
    } * tp;
    let budget = of.hardware.memory_gib * of.utilization * tp;
    let overhead = weights_gib + activations + other + reserved_bytes / GIB;
    if overhead >= budget {
        let per_gpu = of.hardware.memory_gib * of.utilization;
        return refuse(format!(
            "the model does not fit: it needs {overhead:.2} GiB ({weights_gib:.2} weights + {activations:.2} \
             activations + {other:.2} other) before any KV cache, and {budget:.2} GiB are available ({} GiB x \
             {:.0}% x {} GPUs). Minimum GPUs per instance: {}",
            of.hardware.memory_gib,
            of.utilization * 100.0,
            of.tp,
            (overhead / per_gpu).ceil()
        ));
    }
    let free = ((budget - overhead) * GIB).trunc();
    let blocks = free as u64 / block_bytes as u64;
    if blocks == 0 {
        return refuse(format!(
            "not one KV block of {} tokens ({block_bytes} bytes) fits into the {free} bytes beside the model",
            of.block_size
        ));
    }
    Ok(if model.is_moe() && of.dp > 1 {
        blocks * u64::from(of.dp)
    } else {
        blocks
    })
}

fn check(of: &KvCapacity<'_>) -> Result<(), InputError> {
    let m = of.model;
    if of.tp == 0 || of.dp == 0 || of.block_size == 0 {
        return refuse("parallelism and block size must be 1 or more".to_owned());
    }
    if !(of.utilization > 0.0 && of.utilization <= 1.0) {
        return refuse(format!(
            "GPU memory utilization is {}; expected above 0 and at most 1",
            of.utilization
        ));
    }
    if of.hardware.memory_gib <= 0.0 {
        return refuse(
            "the hardware figures have no memory size; give `total_kv_blocks` or a hardware file with MemoryGiB"
                .to_owned(),
        );
    }
    for (key, value) in [
        ("intermediate_size", m.intermediate),
        ("vocab_size", m.vocab),
    ] {
        if value == 0 {
            return refuse(format!("{key} is missing in the model configuration"));
        }
    }
    if m.activation_bytes <= 0.0 {
        return refuse("the model's data type (torch_dtype) is missing or unknown".to_owned());
    }
    if !ACTIVATIONS.contains(&m.activation.to_lowercase().as_str()) {
        return refuse(format!(
            "activation function \"{}\" is not among those whose weights can be counted (silu, swiglu, geglu, \
             situ); give `total_kv_blocks`",
            m.activation
        ));
    }
    if m.head_dim == 0 && !m.hidden.is_multiple_of(m.heads) {
        return refuse(format!(
            "hidden_size {} is no multiple of {} attention heads, and there is no head_dim",
            m.hidden, m.heads
        ));
    }
    let tp = u64::from(of.tp);
    if m.kv_heads >= tp && !m.kv_heads.is_multiple_of(tp) {
        return refuse(format!(
            "{} key/value heads cannot be split over {tp} GPUs; tensor parallelism must divide them",
            m.kv_heads
        ));
    }
    Ok(())
}

fn head_dim(model: &ModelArch) -> u64 {
    match model.head_dim {
        0 => model.hidden / model.heads,
        stated => stated,
    }
}

/// Bytes of one KV block of `block_size` tokens on one of `tp` GPUs.
#[must_use]
pub fn kv_block_bytes(model: &ModelArch, tp: u32, block_size: u32) -> i64 {
    block_bytes(model, tp, block_size) as i64
}

/// Bytes of one block on one GPU, truncated. Compressed KV (multi-head latent attention) is not
/// split over GPUs.
fn block_bytes(m: &ModelArch, tp: u32, block_size: u32) -> f64 {
    let layers = m.layers as f64;
    let per_token = if m.kv_lora_rank > 0 {
        layers * (m.kv_lora_rank + m.qk_rope_head_dim) as f64 * m.activation_bytes
    } else {
        layers * 2.0 * head_dim(m) as f64 * m.kv_heads as f64 * m.activation_bytes / f64::from(tp)
    };
    (per_token * f64::from(block_size)).trunc()
}

/// Weights of the model: embeddings, attention, norms, feed-forward blocks (three matrices
/// each), router. All layers of an MoE model count as MoE but the leading dense ones; an
/// interleave step is not read here.
fn parameters(of: &KvCapacity<'_>) -> u128 {
    let m = of.model;
    let n = u128::from;
    let (d, layers, vocab) = (n(m.hidden), n(m.layers), n(m.vocab));
    let or_ffn = |width: u64| n(if width > 0 { width } else { m.intermediate });
    let kv_width = n(m.kv_heads) * n(head_dim(of.model));
    let attention = d * (d + 2 * kv_width) + d * d + 2 * d;
    let mlp = if m.is_moe() {
        let dense = layers.min(n(m.first_k_dense));
        let expert = 3 * d * or_ffn(m.moe_intermediate);
        let moe = expert * n(m.experts) + 3 * d * n(m.shared_intermediate) + n(m.experts) * d;
        dense * 3 * d * or_ffn(m.dense_intermediate) + (layers - dense) * moe
    } else {
        layers * 3 * d * n(m.intermediate)
    };
    let head = if m.tied_embeddings { 0 } else { vocab * d };
    vocab * d + layers * attention + mlp + head + d
}

fn refuse<T>(message: String) -> Result<T, InputError> {
    Err(InputError::new(format!("KV capacity: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_config::{Defaults, Hardware, ModelArch};

    fn blocks(model: &str, gpu: &str, tp: u32, dp: u32) -> Result<u64, InputError> {
        kv_blocks(
            &KvCapacity {
                model: &ModelArch::builtin(model).unwrap(),
                hardware: Defaults::builtin().hardware.find(gpu).unwrap().1,
                tp,
                dp,
                block_size: 16,
                utilization: 0.9,
                kv_element_bytes: 2.0,
                max_model_len: 0,
                stage: [1, 1],
            },
            0.0,
        )
    }

    #[test]
    fn capacities_are_those_of_the_reference() {
        let scout = "llama-4-scout-17b-16e-instruct-fp8-dynamic";
        for (model, tp, dp, expected) in [
            ("qwen3-14b", 1, 1, 15_909),
            ("llama-3.1-8b-instruct", 1, 1, 26_312),
            ("qwen2.5-7b-instruct", 4, 1, 1_244_786),
            ("yi-34b", 2, 1, 40_001),
            ("mixtral-8x7b-v0.1", 2, 2, 97_912),
            ("qwen3-30b-a3b", 2, 1, 107_423),
            ("qwen3-30b-a3b", 2, 4, 429_692),
            ("deepseek-v2-lite", 1, 1, 74_312),
            (scout, 4, 1, 249_660),
            (scout, 2, 2, 54_690),
        ] {
            assert_eq!(
                blocks(model, "H100", tp, dp).unwrap(),
                expected,
                "{model} {tp}x{dp}"
            );
        }
        assert_eq!(blocks("llama-2-7b-hf", "A100-80", 1, 1).unwrap(), 6886);
        assert_eq!(
            blocks("llama-3.1-8b-instruct", "L40S", 1, 1).unwrap(),
            11_567
        );
    }

    #[test]
    fn a_model_that_does_not_fit_says_how_many_gpus_it_needs() {
        let error = blocks("glm-5.2-fp8", "H100", 8, 1).unwrap_err().to_string();
        assert_eq!(
            error,
            "KV capacity: the model does not fit: it needs 709.41 GiB (696.61 weights + 8.00 activations + 4.80 other) \
             before any KV cache, and 576.00 GiB are available (80 GiB x 90% x 8 GPUs). Minimum GPUs per instance: 10"
        );
        assert!(blocks("glm-5.2-fp8", "H100", 16, 1).is_ok());
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let good = ModelArch::builtin("qwen3-14b").unwrap();
        let h100 = *Defaults::builtin().hardware.find("H100").unwrap().1;
        let error = |change: fn(&mut ModelArch, &mut Hardware), tp: u32, utilization: f64| {
            let (mut model, mut hardware) = (good.clone(), h100);
            change(&mut model, &mut hardware);
            let capacity = KvCapacity {
                model: &model,
                hardware: &hardware,
                tp,
                dp: 1,
                block_size: 16,
                utilization,
                kv_element_bytes: 2.0,
                max_model_len: 0,
                stage: [1, 1],
            };
            kv_blocks(&capacity, 0.0).unwrap_err().to_string()
        };
        assert!(error(|m, _| m.activation = "gelu".into(), 1, 0.9).contains("\"gelu\""));
        assert!(error(|m, _| m.vocab = 0, 1, 0.9).contains("vocab_size"));
        assert!(error(|_, h| h.memory_gib = 0.0, 1, 0.9).contains("no memory size"));
        assert!(error(|_, _| (), 3, 0.9).contains("8 key/value heads"));
        assert!(error(|_, _| (), 1, 1.5).contains("utilization is 1.5"));
        assert!(error(|_, _| (), 1, 0.1).contains("Minimum GPUs per instance: 5"));
        let odd = |m: &mut ModelArch, _: &mut Hardware| (m.head_dim, m.hidden) = (0, 5121);
        assert!(error(odd, 1, 0.9).contains("no multiple"));
    }
}
