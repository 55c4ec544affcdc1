//! `windtunnel models` lists what is known and explains what a run would use.

use crate::support::windtunnel;
use serde_json::{Value, json};

fn text(args: &[&str]) -> String {
    let ran = windtunnel(std::iter::once(&"models").chain(args));
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{args:?}");
    ran.stdout
}

fn data(args: &[&str]) -> Value {
    let mut args = args.to_vec();
    args.push("--json");
    serde_json::from_str(&text(&args)).expect("JSON")
}

fn error(args: &[&str]) -> String {
    let ran = windtunnel(std::iter::once(&"models").chain(args));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
    ran.stderr
}

#[test]
fn the_list_has_every_model_once_and_fits_a_terminal() {
    let listed = data(&[]);
    let models = listed["models"].as_array().unwrap();
    let names: Vec<&str> = models
        .iter()
        .map(|m| m["model"].as_str().unwrap())
        .collect();
    assert!(names.len() >= 40 && names.is_sorted(), "{names:?}");
    let table = text(&[]);
    assert!(table.lines().all(|l| l.chars().count() <= 100), "{table}");
    for name in &names {
        // In one piece, so that it can be copied.
        assert_eq!(table.matches(&format!(" {name} ")).count(), 1, "{name}");
    }
    let llama = models
        .iter()
        .find(|m| m["model"] == "meta-llama/llama-3.1-8b-instruct");
    let llama = llama.unwrap();
    assert_eq!(
        llama["default"],
        json!({"hardware": "H100", "tensor_parallelism": 2, "vllm_version": "vllm/vllm-openai:v0.8.4"})
    );
    assert_eq!(llama["fitted"].as_array().unwrap().len(), 6);
    assert_eq!(llama["builtin_config"], true);
    assert_eq!(llama["hf_repo"], "meta-llama/Llama-3.1-8B-Instruct");
}

#[test]
fn a_part_of_a_name_lists_the_models_that_have_it() {
    let listed = data(&["LLAMA-3.1"]);
    let models = listed["models"].as_array().unwrap();
    assert!(models.len() > 2);
    assert!(
        models
            .iter()
            .all(|m| m["model"].as_str().unwrap().contains("llama-3.1"))
    );
    let table = text(&["llama-3.1"]);
    assert!(
        table.contains("A100-80:1,2,4") && !table.contains("qwen"),
        "{table}"
    );
}

#[test]
fn a_name_explains_what_a_run_would_use() {
    // The short name is a part of other models' names, too, and still means its own.
    for name in [
        "meta-llama/llama-3.1-8b-instruct",
        "Llama-3.1-8B-Instruct",
        "qwen3-14b",
        "yi-34",
    ] {
        let explained = data(&[name]);
        let model = explained["model"].as_str().unwrap();
        assert!(model.contains(&name.to_lowercase()), "{name}: {model}");
    }
    let text = text(&["llama-3.1-8b-instruct"]);
    for part in [
        "meta-llama/llama-3.1-8b-instruct\n",
        "  GPU               H100 x 2 (tensor parallelism)\n",
        "  Latency model     blackbox: this deployment was measured and has fitted coefficients\n",
        "  vLLM version      vllm/vllm-openai:v0.8.4\n",
        "  Beta              6910.42 us per step, 17.67 us per prefilled token, 2.84 us per decode\n",
        "  KV cache          64021 blocks of 16 tokens = 1024336 tokens, computed from GPU memory\n",
        "  Max model length  131072 tokens, from the model's configuration\n",
        "  Rules             blis with --rules auto: the latency model was fitted under them\n",
        "Deployments with fitted coefficients",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
}

#[test]
fn every_model_that_has_a_default_can_be_explained() {
    for model in data(&[])["models"].as_array().unwrap() {
        let name = model["model"].as_str().unwrap();
        if model["default"].is_null() {
            continue;
        }
        let lines = text(&[name]);
        assert!(lines.lines().count() > 8, "{lines}");
        let explained = data(&[name]);
        assert_eq!(explained["model"], name);
        let default = &model["default"];
        for key in ["hardware", "tensor_parallelism"] {
            assert_eq!(explained[key], default[key], "{name}");
        }
    }
}

#[test]
fn gpu_parallelism_and_latency_model_change_the_explanation() {
    let explained = data(&[
        "llama-3.1-8b-instruct",
        "--hardware",
        "A100-80",
        "--tp",
        "1",
    ]);
    assert_eq!(explained["latency_model"], "blackbox");
    assert_eq!(explained["total_kv_blocks"], 28_181);
    assert_eq!(explained["kv_blocks_source"], "computed");
    let explained = data(&["llama-3.1-8b-instruct", "--tp", "8"]);
    assert_eq!(explained["latency_model"], "trained-physics");
    assert_eq!(explained["kv_blocks_source"], "computed");
    assert_eq!(
        explained["notes"][0],
        "no step times of meta-llama/llama-3.1-8b-instruct were measured for H100, TP 8: they are computed by \
         trained-physics, whose factors were fitted on H100 servers of other models"
    );
    let explained = data(&["qwen3-14b", "--latency-model", "trained-physics"]);
    assert_eq!(
        explained["latency_model_because"],
        "--latency-model asks for it"
    );
    assert_eq!(
        explained["coefficients"]["beta"].as_array().unwrap().len(),
        11
    );
    assert_eq!(explained["rules"], "blis");
}

#[test]
fn what_cannot_be_explained_is_an_error_that_helps() {
    assert_eq!(
        error(&["lama-3.1-8b-instrukt"]).split(',').next().unwrap(),
        "error: unknown model \"lama-3.1-8b-instrukt\"; nearest: llama-3.1-8b-instruct"
    );
    let nothing_like_it = error(&["@@@"]);
    assert!(!nothing_like_it.contains("nearest"), "{nothing_like_it}");
    assert_eq!(error(&[""]), "error: the model name is empty\n");
    assert_eq!(
        error(&["llama", "--tp", "2"]),
        "error: --tp has no effect on a list of models; name one model\n"
    );
    assert!(error(&["qwen3-14b", "--hardware", "H10"]).contains("did you mean \"H100\"?"));
    assert!(error(&["llama-3.1-70b-instruct", "--tp", "1"]).contains("does not fit"));
}
