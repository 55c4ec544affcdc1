//! What a model weighs, keeps and takes at least, as the command says it: figures that a GPU cannot
//! have are refused or named.

use crate::support::{Ran, windtunnel};
use serde_json::Value;
use std::path::Path;

const GIB: f64 = 1_073_741_824.0;
const PUBLISHED: &str = include_str!("../../config/src/model/published.json");

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap()
}

/// A small run's JSON.
fn run(flags: &str) -> Value {
    let line = format!("run --num-requests 3 --quiet --json {flags}");
    json(&windtunnel(line.split_whitespace().map(str::to_owned)))
}

fn config(folder: &Path, config: &Value) -> String {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder.display().to_string()
}

fn notes(run: &Value) -> String {
    run["setup"]["notes"].to_string()
}

#[test]
fn the_weights_of_published_models_are_counted_to_a_tenth() {
    let dir = tempfile::tempdir().unwrap();
    let published: serde_json::Map<String, Value> = serde_json::from_str(PUBLISHED).unwrap();
    for (name, model) in &published {
        let folder = config(dir.path(), &model["config"]);
        // TP 4 over GPUs that hold all of them; heads that 4 does not divide on one.
        let tp = if name == "phi-4" { "2" } else { "4" };
        let explained = json(&windtunnel(
            [
                "models",
                &format!("x/{name}"),
                "--model-config-folder",
                &folder,
                "--hardware",
                "B300",
                "--tp",
                tp,
                "--json",
            ]
            .map(str::to_owned),
        ));
        let gib = explained["counted"]["weights"]["bytes"].as_f64().unwrap() / GIB;
        let off = gib / model["weights_gib"].as_f64().unwrap() - 1.0;
        assert!(off.abs() < 0.1, "{name}: {gib:.1} GiB");
    }
}

#[test]
fn the_kv_cache_of_tensor_parallel_instances_fits_into_the_gpus() {
    for (model, tp, token_bytes, weights_gib) in [
        (
            "llama-3.1-8b-instruct --latency-model roofline",
            1,
            131_072.0,
            15.0,
        ),
        (
            "llama-3.1-8b-instruct --latency-model roofline",
            8,
            131_072.0,
            15.0,
        ),
        ("llama-3.1-8b-instruct", 2, 131_072.0, 15.0),
        ("llama-3.1-70b-instruct", 4, 327_680.0, 131.4),
        ("qwen3-14b", 4, 163_840.0, 27.5),
        ("llama-3.3-70b-instruct", 8, 327_680.0, 131.4),
    ] {
        let setup = &run(&format!("--model {model} --hardware H100 --tp {tp}"))["setup"];
        let blocks = setup["total_kv_blocks"].as_f64().unwrap();
        let usable = 0.9 * 80.0 * f64::from(tp);
        let used = blocks * 16.0 * token_bytes / GIB + weights_gib;
        assert!(
            (0.85..1.001).contains(&(used / usable)),
            "{model} TP {tp}: {used} of {usable} GiB"
        );
    }
}

#[test]
fn blis_rules_keep_its_blocks_and_say_that_they_cannot_be() {
    let ran = run("--model llama-3.1-8b-instruct --rules blis");
    assert_eq!(ran["setup"]["total_kv_blocks"], 132_139);
    assert!(
        notes(&ran).contains("cannot be, as BLIS computes them"),
        "{}",
        notes(&ran)
    );
    let ran = run("--model llama-3.1-8b-instruct");
    assert_eq!(notes(&ran), "[]");
    let ran = run("--model llama-3.1-8b-instruct --total-kv-blocks 132139");
    assert!(
        notes(&ran).contains("132139 KV blocks cannot be: "),
        "{}",
        notes(&ran)
    );
}

#[test]
fn one_decode_is_never_faster_than_reading_the_weights() {
    for (model, tp, gigabytes) in [
        ("llama-3.1-8b-instruct", 1, 15.0),
        ("llama-3.1-70b-instruct", 4, 139.0),
        ("llama-2-7b-hf", 1, 13.2),
        ("qwen3-14b", 1, 28.0),
    ] {
        for latency in ["roofline", "trained-physics", "auto"] {
            let ran = run(&format!(
                "--model {model} --hardware H100 --tp {tp} --latency-model {latency} --concurrency 1 --prompt-tokens 100 \
                 --output-tokens 200"
            ));
            let itl = ran["latency_ms"]["itl"]["mean"].as_f64().unwrap();
            let least = gigabytes / (f64::from(tp) * 3.35);
            assert!(
                itl >= least * 0.999,
                "{model} {latency}: {itl} ms, {least} ms to read"
            );
        }
    }
}

#[test]
fn auto_says_where_step_times_are_computed_and_keeps_above_the_active_weights() {
    let ran = run("--model glm-5.2-fp8 --hardware H200 --tp 8 --concurrency 1");
    let setup = &ran["setup"];
    assert_eq!(setup["latency_model"], "trained-physics");
    let caution = setup["latency_model_caution"].as_str().unwrap();
    assert!(
        caution.contains("nothing of this deployment was measured"),
        "{caution}"
    );
    assert!(notes(&ran).contains("no step times of glm-5.2-fp8 were measured"));
    // 40 billion weights of a byte are active per token.
    let tpot = ran["latency_ms"]["tpot"]["mean"].as_f64().unwrap();
    assert!(tpot > 40.0 / (8.0 * 4.8), "{tpot}");
    let why = "not kernel-tables: attention over compressed KV (MLA) with heads of such widths was not measured on H200";
    assert!(notes(&ran).contains(why), "{}", notes(&ran));
    let fitted = run("--model llama-3.1-8b-instruct --latency-model blackbox");
    assert_eq!(fitted["setup"]["latency_model_caution"], Value::Null);
    let printed = |gpu: &str| {
        let line = format!("run --model qwen3-14b --hardware {gpu} --tp 4 --num-requests 3");
        windtunnel(line.split(' ').map(str::to_owned)).stdout
    };
    let (kernels, computed) = (printed("H100"), printed("L4"));
    let measured = "latency model kernel-tables (measured kernels), rules vllm";
    assert!(kernels.contains(measured), "{kernels}");
    let neither = "latency model trained-physics (computed), rules blis";
    assert!(computed.contains(neither), "{computed}");
}

#[test]
fn a_configuration_that_is_not_understood_is_refused_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut published: serde_json::Map<String, Value> = serde_json::from_str(PUBLISHED).unwrap();
    let mut model = published["llama-70b-awq"]["config"].take();
    model["quantization_config"]["quant_method"] = "newquant".into();
    let with = |model: &Value, more: &str| {
        let folder = config(dir.path(), model);
        let line = format!(
            "run --num-requests 2 --quiet --model x/y --hardware H100 --tp 4 --model-config-folder {folder} {more}"
        );
        windtunnel(line.split_whitespace().map(str::to_owned))
    };
    let ran = with(&model, "");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    for part in [
        "config.json: quantization_config: unknown quant_method \"newquant\"",
        "awq, ",
        "torchao",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    model["quantization_config"]["quant_method"] = "awq".into();
    model["attention_sparsity_topk"] = 2048.into();
    let ran = with(&model, "");
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains(
        "not understood, though size or time may depend on them: attention_sparsity_topk"
    ));
    let ran = with(&model, "--kv-cache-dtype fp8x");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("did you mean \"fp8\"?"),
        "{}",
        ran.stderr
    );
}
