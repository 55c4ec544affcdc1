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
    for alias in [
        "Meta-Llama-3.1-8B-Instruct",
        "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "META-LLAMA/META-LLAMA-3.1-8B-INSTRUCT",
    ] {
        assert_eq!(data(&[alias])["model"], "meta-llama/llama-3.1-8b-instruct");
        let run = ["run", "--model", alias, "--num-requests", "2", "--json"];
        let run: Value = serde_json::from_str(&windtunnel(run).stdout).expect("JSON");
        assert_eq!(run["setup"]["model"], "meta-llama/llama-3.1-8b-instruct");
    }
    let text = text(&["llama-3.1-8b-instruct"]);
    for part in [
        "meta-llama/llama-3.1-8b-instruct\n",
        "  Also for          meta-llama/Meta-Llama-3.1-8B-Instruct\n",
        "  GPU               H100 x 2 (tensor parallelism)\n",
        "  Latency model     kernel-tables: the kernels of this GPU were measured\n",
        "│ attention projections    ┆ measured   ┆ vllm_default bfloat16, vLLM 0.19.0",
        "│ dense feed-forward       ┆ neighbours ┆ ",
        "│ between the kernels      ┆ computed   ┆ ",
        "│ step                     ┆ fitted     ┆ ",
        "Packages: aiconfigurator 0.10.0, aiconfigurator_core 0.12.0;",
        "  KV cache          64021 blocks of 16 tokens = 1024336 tokens, computed from GPU memory\n",
        "  Max model length  131072 tokens, from the model's configuration\n",
        "  Rules             vllm with --rules auto: the latency model was fitted under them\n",
        "Deployments with fitted coefficients",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
    let parts = text
        .split("Where the time")
        .nth(1)
        .and_then(|t| t.split("\n\n").next());
    let parts = parts.expect("a table of parts");
    assert!(parts.lines().all(|l| l.chars().count() <= 80), "{parts}");
}

#[test]
fn every_part_of_a_step_says_where_its_time_comes_from() {
    let parts = |args: &[&str]| data(args)["step_time_parts"].clone();
    let of = |parts: &Value, name: &str| {
        let mut parts = parts.as_array().unwrap().iter();
        parts
            .find(|part| part["part"] == name)
            .cloned()
            .unwrap_or(Value::Null)
    };
    let dense = parts(&["llama-3.1-8b-instruct"]);
    let decodes = of(&dense, "attention of decodes");
    assert_eq!(decodes["time_is"], "measured");
    let measured = json!({"operation": "decode-attention", "data_type": "bfloat16", "variant": "128",
        "kernels": "vllm_flash_attn", "engine": "vLLM 0.19.0", "package": "aiconfigurator 0.10.0"});
    assert_eq!(decodes["measured"], measured);
    assert_eq!(of(&dense, "experts"), Value::Null);
    // Experts of a shape that nobody measured.
    let experts = parts(&["qwen3-30b-a3b", "--hardware", "A100-SXM", "--tp", "8"]);
    assert_eq!(of(&experts, "experts")["time_is"], "computed");
    assert_eq!(of(&experts, "router")["time_is"], "measured");
    let latent = parts(&["deepseek-v3", "--hardware", "H200", "--tp", "8"]);
    let decodes = of(&latent, "attention of decodes");
    assert_eq!(decodes["time_is"], "measured");
    assert_eq!(decodes["measured"]["operation"], "decode-latent-attention");
    let delta = parts(&[
        "qwen3-next-80b-a3b-instruct",
        "--hardware",
        "H100",
        "--tp",
        "4",
    ]);
    let prefills = of(&delta, "delta nets of prefills");
    assert_eq!(prefills["time_is"], "measured");
    assert_eq!(prefills["measured"]["variant"], "delta-rule");
    // No kernels, no parts.
    assert_eq!(
        parts(&["glm-5.2-fp8", "--hardware", "H200", "--tp", "8"]),
        Value::Null
    );
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
    assert_eq!(explained["latency_model"], "kernel-tables");
    assert_eq!(explained["total_kv_blocks"], 28_181);
    assert_eq!(explained["kv_blocks_source"], "computed");
    let fitted = data(&["llama-3.1-8b-instruct", "--latency-model", "blackbox"]);
    assert_eq!(fitted["vllm_version"], "vllm/vllm-openai:v0.8.4");
    assert_eq!(fitted["coefficients"]["beta_us"][0], 6910.420479880494);
    assert_eq!(
        (&fitted["rules"], &fitted["hardware"]),
        (&json!("blis"), &json!("H100"))
    );
    let explained = data(&["llama-3.1-8b-instruct", "--hardware", "L4", "--tp", "2"]);
    assert_eq!(explained["latency_model"], "trained-physics");
    assert_eq!(explained["kv_blocks_source"], "computed");
    let why = explained["notes"][0].as_str().unwrap();
    assert!(
        why.starts_with("not kernel-tables: no kernels were measured on L4; "),
        "{why}"
    );
    assert_eq!(
        explained["notes"][1],
        "no step times of meta-llama/llama-3.1-8b-instruct were measured for L4, TP 2: they are computed by \
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
