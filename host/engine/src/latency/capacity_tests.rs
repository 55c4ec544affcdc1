//! KV capacity against servers that were measured, and against what a GPU can hold.

use super::KvCapacity;
use super::capacity::GIB;
use windtunnel_config::builtin::MODEL_CONFIGS;
use windtunnel_config::{Defaults, Hardware, ModelArch};

fn h100() -> &'static Hardware {
    Defaults::builtin().hardware.find("H100").unwrap().1
}

fn capacity<'a>(model: &'a ModelArch, hardware: &'a Hardware, tp: u32) -> KvCapacity<'a> {
    KvCapacity {
        model,
        hardware,
        tp,
        dp: 1,
        block_size: 16,
        utilization: 0.9,
        kv_element_bytes: model.kv_element_bytes(),
        max_model_len: 4096,
        stage: [1, 1],
    }
}

/// Blocks that vLLM 0.15 reported on H100 servers (sim-to-real-accuracy-validation dcec3fd), and
/// 0.23 for Qwen3-14B.
#[test]
fn capacities_are_close_to_those_of_measured_servers() {
    let scout = "llama-4-scout-17b-16e-instruct-fp8-dynamic";
    for (name, tp, measured) in [
        ("llama-2-7b-hf", 1, 7463),
        ("llama-3.1-70b-instruct", 4, 30_425),
        ("mistral-nemo-instruct-2407", 1, 19_251),
        ("mistral-nemo-instruct-2407", 2, 48_009),
        ("qwen2.5-7b-instruct", 1, 65_352),
        ("yi-34b", 2, 20_793),
        ("qwen3-14b", 1, 18_038),
        (scout, 2, 8253),
    ] {
        let model = ModelArch::builtin(name).unwrap();
        let blocks = capacity(&model, h100(), tp).blocks().unwrap();
        let off = blocks as f64 / f64::from(measured) - 1.0;
        let most = if name == scout { 0.1 } else { 0.04 };
        assert!(
            off.abs() < most,
            "{name} TP {tp}: {blocks}, {measured} measured"
        );
    }
}

#[test]
fn weights_and_kv_cache_fit_into_every_gpu() {
    let table = &Defaults::builtin().hardware;
    let mut fitted = 0;
    for (name, _) in MODEL_CONFIGS {
        let model = ModelArch::builtin(name).unwrap();
        for gpu in table.names() {
            let hardware = table.find(gpu).unwrap().1;
            for tp in [1, 2, 4, 8, 16] {
                let capacity = capacity(&model, hardware, tp);
                let Ok(blocks) = capacity.blocks() else {
                    continue;
                };
                fitted += 1;
                // Counted anew from the configuration: heads that a GPU holds, whole ones.
                let heads = (model.kv_heads as f64 / f64::from(tp)).ceil();
                let whole = model
                    .attention_layers()
                    .iter()
                    .filter(|kind| kind.window.is_none() || kind.keeps_all)
                    .map(|kind| kind.layers as f64)
                    .sum::<f64>();
                let elements = if model.kv_lora_rank > 0 {
                    (model.kv_lora_rank + model.qk_rope_head_dim) as f64
                } else {
                    2.0 * heads * model.head_width() as f64
                };
                let kv = blocks as f64 * 16.0 * whole * elements * model.kv_element_bytes();
                let weights = model.weights().bytes() / f64::from(tp);
                assert!(
                    kv + weights <= 0.9 * hardware.memory_gib * GIB,
                    "{name} on {tp} x {gpu}: {kv} + {weights}"
                );
            }
        }
    }
    assert!(fitted > 50, "{fitted}");
}

#[test]
fn heads_that_are_fewer_than_gpus_are_copied() {
    let model = ModelArch::builtin("qwen2.5-7b-instruct").unwrap();
    assert_eq!(model.kv_heads, 4);
    let token = |tp| capacity(&model, h100(), tp).memory().token;
    assert_eq!(token(4) * 4.0, token(1));
    assert_eq!(token(8), token(4));
}

#[test]
fn compressed_kv_is_copied() {
    let model = ModelArch::builtin("deepseek-v2-lite").unwrap();
    let token = |tp| capacity(&model, h100(), tp).memory().token;
    assert_eq!(token(1), 27.0 * (512.0 + 64.0) * 2.0);
    assert_eq!(token(8), token(1));
}

#[test]
fn a_narrower_kv_cache_holds_twice_as_much() {
    let model = ModelArch::builtin("qwen3-14b").unwrap();
    let blocks = |bytes| {
        let capacity = KvCapacity {
            kv_element_bytes: bytes,
            ..capacity(&model, h100(), 1)
        };
        capacity.blocks().unwrap()
    };
    assert_eq!(blocks(1.0) / 2, blocks(2.0));
}

#[test]
fn windows_and_states_weigh_more_on_short_requests() {
    let text = r#"{"num_hidden_layers": 8, "hidden_size": 1024, "num_attention_heads": 8, "vocab_size": 1000,
        "intermediate_size": 4096, "sliding_window": 1008, "sliding_window_pattern": 4}"#;
    let model = ModelArch::parse("config.json", text, "m").unwrap();
    let token = |max_model_len| {
        let capacity = KvCapacity {
            max_model_len,
            ..capacity(&model, h100(), 1)
        };
        capacity.memory().token
    };
    let layer = 2.0 * 1024.0 * 2.0;
    assert_eq!(
        token(1024),
        8.0 * layer,
        "the whole request is in the window"
    );
    assert_eq!(token(10_240), 2.0 * layer + 6.0 * layer / 10.0);
    assert_eq!(token(0), 2.0 * layer);
}

#[test]
fn a_model_that_does_not_fit_says_how_many_gpus_it_needs() {
    let model = ModelArch::builtin("glm-5.2-fp8").unwrap();
    let error = capacity(&model, h100(), 8)
        .blocks()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the model does not fit: it needs"),
        "{error}"
    );
    assert!(error.contains("Minimum GPUs per instance: 10"), "{error}");
    assert!(capacity(&model, h100(), 16).blocks().is_ok());
}

#[test]
fn what_cannot_be_counted_is_refused() {
    let good = ModelArch::builtin("qwen3-14b").unwrap();
    let error = |change: fn(&mut ModelArch, &mut Hardware), tp: u32, utilization: f64| {
        let (mut model, mut hardware) = (good.clone(), *h100());
        change(&mut model, &mut hardware);
        let capacity = KvCapacity {
            utilization,
            ..capacity(&model, &hardware, tp)
        };
        capacity.blocks().unwrap_err().to_string()
    };
    assert!(error(|m, _| m.gated = None, 1, 0.9).contains("activation function"));
    assert!(error(|m, _| m.vocab = 0, 1, 0.9).contains("vocab_size"));
    assert!(error(|_, h| h.memory_gib = 0.0, 1, 0.9).contains("no memory size"));
    assert!(error(|_, _| (), 3, 0.9).contains("8 key/value heads"));
    assert!(error(|_, _| (), 1, 1.5).contains("utilization is 1.5"));
    assert!(error(|_, _| (), 1, 0.1).contains("Minimum GPUs per instance: 5"));
    assert!(error(|_, _| (), 1, 0.02).contains("No number of GPUs"));
    let odd = |m: &mut ModelArch, _: &mut Hardware| (m.head_dim, m.hidden) = (0, 5121);
    assert!(error(odd, 1, 0.9).contains("no multiple"));
}
