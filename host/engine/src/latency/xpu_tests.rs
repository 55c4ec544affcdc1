//! `xpu-roofline` against what XpuSim computed: rows that lie in the project, and all of them where
//! they are (`WINDTUNNEL_ORACLE`).
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use super::collectives::{Collective, Link};
use super::xpu_roofline::{LayerSeconds, XpuRoofline};
use super::{GIB, StepItem};
use serde_json::Value;
use std::path::{Path, PathBuf};
use windtunnel_config::{Defaults, XpuAlgorithm};

/// The table of that name: the rows in the project, and all.
fn tables(name: &str) -> Vec<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let all = std::env::var_os("WINDTUNNEL_ORACLE")
        .map_or_else(|| here.join("../../../shared/oracle"), PathBuf::from);
    let read = |folder: PathBuf| {
        let text = std::fs::read_to_string(folder.join("xpu").join(name)).ok()?;
        Some(serde_json::from_str(&text).unwrap())
    };
    let kept = read(here.join("../tests/data/oracle")).expect("rows of the project");
    let all = read(all);
    if all.is_none() {
        eprintln!("skipped: not all rows of {name} (set WINDTUNNEL_ORACLE)");
    }
    [kept].into_iter().chain(all).collect()
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key}: {row}"))
}

fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap()
}

fn near(found: f64, expected: f64, what: &dyn std::fmt::Debug) {
    assert!(
        (found - expected).abs() <= 6e-16 * expected,
        "{what:?}: {found:e}, expected {expected:e}"
    );
}

fn model(row: &Value) -> Result<XpuRoofline, String> {
    let catalog = &Defaults::builtin().xpu;
    let (name, model) = catalog.model(text(row, "model")).unwrap();
    let (gpu, xpu) = catalog.xpu(text(row, "xpu")).unwrap();
    XpuRoofline::new((name, gpu), model, xpu, number(row, "tp") as u32).map_err(|e| e.to_string())
}

fn items(requests: f64, tokens: f64, is_prefill: bool) -> impl Iterator<Item = StepItem> {
    let item = StepItem {
        new_tokens: if is_prefill { tokens as u32 } else { 1 },
        context: if is_prefill { 0 } else { tokens as u32 },
        prompt_tokens: tokens as u32,
        is_prefill,
    };
    std::iter::repeat_n(item, requests as usize)
}

#[test]
fn steps_take_and_hold_what_the_reference_says() {
    for table in tables("_timing_points.json") {
        let mut points = 0;
        for row in table.as_array().unwrap() {
            let of_row = row["points"].as_array().unwrap();
            if row["points"][0].get("error").is_some() {
                // There it divides by zero.
                assert!(model(row).is_err(), "{row}");
                continue;
            }
            let model = model(row).unwrap();
            // Absent where the weights do not fit.
            if let Some(gib) = row["weights_gb"].as_f64() {
                near(model.weight_bytes() / GIB, gib, row);
            }
            for point in of_row {
                let (batch, len) = (number(point, "batch"), number(point, "len"));
                let seconds = |is_prefill| model.seconds(&mut items(batch, len, is_prefill));
                let what = (text(row, "model"), text(row, "xpu"), point);
                near(seconds(true), number(point, "prefill_s"), &what);
                near(seconds(false), number(point, "decode_s"), &what);
                let kv = batch * len * model.kv_bytes_per_token() / GIB;
                near(kv, number(point, "kv_gb"), &what);
                if let Some(gib) = point["act_gb"].as_f64() {
                    near(model.activation_gib(batch * len), gib, &what);
                }
                points += 1;
            }
        }
        assert!(points >= 60, "{points}");
    }
}

#[test]
fn a_layer_is_the_sum_of_the_operations_that_the_reference_lists() {
    for table in tables("_breakdown_example.json") {
        let model = model(&table).unwrap();
        for (key, is_prefill) in [("prefill_1_512", true), ("decode_1_512", false)] {
            let expected = &table[key];
            let found = model.layer_seconds(&mut items(1.0, 512.0, is_prefill));
            let total = |key: &str| number(&expected[key], "total");
            let expected = LayerSeconds {
                norm: number(expected, "attention_norm"),
                qkv: total("qkv_projection"),
                attention: total("attention_compute"),
                output: total("attention_output_proj"),
                all_reduce: number(expected, "attention_communication"),
                up: total("mlp_up_proj"),
                activation: number(expected, "mlp_activation"),
                down: total("mlp_down_proj"),
                kv_write: number(expected, "kv_cache_write"),
                kv_read: expected["kv_cache_read"].as_f64().unwrap_or(0.0),
            };
            let parts = |s: &LayerSeconds| {
                let LayerSeconds {
                    norm,
                    qkv,
                    attention,
                    output,
                    all_reduce,
                    ..
                } = *s;
                let LayerSeconds {
                    up,
                    activation,
                    down,
                    kv_write,
                    kv_read,
                    ..
                } = *s;
                [
                    norm, qkv, attention, output, all_reduce, up, activation, down, kv_write,
                    kv_read,
                ]
            };
            for (i, (found, expected)) in parts(&found).iter().zip(parts(&expected)).enumerate() {
                near(*found, expected, &(key, i));
            }
            near(
                found.total(),
                parts(&expected).iter().sum::<f64>() + expected.norm,
                &key,
            );
        }
    }
}

#[test]
fn collectives_take_what_the_reference_says() {
    for table in tables("_collectives.json") {
        let rows = table.as_array().unwrap();
        for row in rows {
            let algorithm = match text(row, "algorithm") {
                "ring" => XpuAlgorithm::Ring,
                "tree" => XpuAlgorithm::Tree,
                "hierarchical" => XpuAlgorithm::Hierarchical,
                "nccl_auto" => XpuAlgorithm::Auto,
                other => panic!("{other}"),
            };
            let collective = match text(row, "op") {
                "all_reduce" => Collective::AllReduce,
                "all_gather" => Collective::AllGather,
                "reduce_scatter" => Collective::ReduceScatter,
                "all_to_all" => Collective::AllToAll,
                "reduce" => Collective::Reduce,
                "broadcast" => Collective::Broadcast,
                // Nothing is exchanged: there is nothing to ask for.
                "none" => continue,
                other => panic!("{other}"),
            };
            let link = Link {
                bandwidth: number(row, "bw_gbs") * 1e9,
                latency: number(row, "lat_us") * 1e-6,
            };
            let (n, bytes) = (number(row, "n") as u32, number(row, "bytes"));
            let found = collective.seconds(algorithm, n, bytes, link);
            near(found, number(row, "seconds"), row);
        }
        assert!(rows.len() >= 28);
    }
}

#[test]
fn requests_of_one_step_count_with_their_own_length_and_share_the_weights() {
    let row = serde_json::json!({"model": "llama2-7b", "xpu": "a100", "tp": 1});
    let model = model(&row).unwrap();
    let seconds = |parts: &mut dyn Iterator<Item = StepItem>| model.seconds(parts);
    let short = seconds(&mut items(1.0, 100.0, false));
    let long = seconds(&mut items(1.0, 3000.0, false));
    let both = seconds(&mut items(1.0, 100.0, false).chain(items(1.0, 3000.0, false)));
    let padded = seconds(&mut items(2.0, 3000.0, false));
    assert!(both < padded && both > long && both < short + long);
    let prompt = seconds(&mut items(1.0, 64.0, true));
    let mixed = seconds(&mut items(1.0, 64.0, true).chain(items(1.0, 100.0, false)));
    assert!(mixed > prompt && mixed < prompt + short);
    // A prompt in two chunks reads the keys of the first one again.
    let chunk = StepItem {
        new_tokens: 32,
        context: 32,
        prompt_tokens: 64,
        is_prefill: true,
    };
    assert!(model.layer_seconds(&mut std::iter::once(chunk)).kv_read > 0.0);
}

#[test]
fn an_accelerator_that_cannot_compute_the_model_is_refused() {
    let error = |gpu: &str, tp: u32| {
        let row = serde_json::json!({"model": "tiny-1b", "xpu": gpu, "tp": tp});
        model(&row).unwrap_err()
    };
    assert_eq!(
        error("1080ti", 1),
        "xpu-roofline: no unit of gtx-1080ti multiplies matrices of bf16, the data type of tiny-1b; \
         it has fp32"
    );
    assert!(error("1080ti", 2).contains("no unit"));
}
