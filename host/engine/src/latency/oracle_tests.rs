//! Sweep over the reference's cases: what it made of its command lines, and how long its steps
//! took.
//!
//! The cases are not part of the project; without them (`WINDTUNNEL_ORACLE` names their folder) the
//! tests skip.
#![allow(clippy::print_stderr, reason = "a skipped test says so")]

use super::{LatencyModelKind, Resolved, Setup, StepAggregates, StepItem, resolve};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::InputError;
use windtunnel_config::{Defaults, HardwareTable, ModelArch};

struct Case {
    name: String,
    folder: PathBuf,
    flags: BTreeMap<String, String>,
    expected: Value,
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("WINDTUNNEL_ORACLE")
        .map_or_else(|| here.join("../../../shared/oracle"), PathBuf::from)
}

fn cases(family: &str) -> Vec<Case> {
    let root = root();
    let Ok(folders) = std::fs::read_dir(root.join(family)) else {
        eprintln!(
            "skipped: no reference cases at {}",
            root.join(family).display()
        );
        return Vec::new();
    };
    let json = |path: PathBuf| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let mut cases: Vec<Case> = folders
        .map(|f| f.unwrap().path())
        .filter(|f| f.is_dir())
        .map(|folder| {
            let case = json(folder.join("case.json"));
            Case {
                name: case["name"].as_str().unwrap().to_owned(),
                flags: flags(&case["argv"]),
                expected: json(folder.join("expected.json")),
                folder,
            }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn flags(argv: &Value) -> BTreeMap<String, String> {
    let argv: Vec<&str> = argv
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a.as_str().unwrap())
        .collect();
    let mut flags = BTreeMap::new();
    for (i, name) in argv.iter().enumerate() {
        if let Some(name) = name.strip_prefix("--") {
            let value = argv.get(i + 1).filter(|v| !v.starts_with("--"));
            flags.insert(
                name.to_owned(),
                value.copied().unwrap_or_default().to_owned(),
            );
        }
    }
    flags
}

impl Case {
    fn resolve(&self) -> Result<Resolved, InputError> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let text = |name: &str| self.flags.get(name).cloned();
        let path = |name: &str| text(name).map(|p| root.join(p));
        let list = |name: &str| {
            text(name).map(|l| {
                l.split(',')
                    .map(|x| x.parse().unwrap())
                    .collect::<Vec<f64>>()
            })
        };
        let mut setup = Setup::new(text("model").unwrap(), Defaults::builtin().clone());
        setup.gpu = text("hardware");
        setup.tp = text("tp").map(|v| v.parse().unwrap());
        setup.dp = text("dp").map_or(1, |v| v.parse().unwrap());
        setup.latency = text("latency-model").map(|v| v.parse().unwrap());
        setup.alpha = list("alpha-coeffs");
        setup.beta = list("beta-coeffs");
        setup.model_config_folder = path("model-config-folder");
        setup.hardware_config = path("hardware-config");
        setup.total_kv_blocks = text("total-kv-blocks").map(|v| v.parse().unwrap());
        setup.block_size = text("block-size-in-tokens").map_or(16, |v| v.parse().unwrap());
        setup.gpu_memory_utilization =
            text("gpu-memory-utilization").map_or(0.9, |v| v.parse().unwrap());
        setup.max_model_len = text("max-model-len").map(|v| v.parse().unwrap());
        setup.moe_comm_backend = text("moe-comm-backend");
        setup.as_blis = true;
        resolve(&setup)
    }
}

#[test]
fn command_lines_resolve_as_the_reference_resolves_them() {
    for case in cases("blis") {
        let resolved = case.resolve();
        if case.expected["exit_code"] != 0 {
            let error = resolved.unwrap_err().to_string();
            assert!(
                case.name.contains("glm-5_2"),
                "{}: an unexpected failure of the reference",
                case.name
            );
            assert!(
                error.starts_with("KV capacity: the model does not fit"),
                "{error}"
            );
            continue;
        }
        let (name, r) = (&case.name, resolved.unwrap());
        let expected = &case.expected["resolved"];
        assert_eq!(expected["total_kv_blocks"], r.total_kv_blocks, "{name}");
        assert_eq!(expected["max_model_len"], r.max_model_len, "{name}");
        assert_eq!(expected["backend"], r.latency_kind.name(), "{name}");
        assert_eq!(expected["gpu"], r.gpu.as_str(), "{name}");
        assert_eq!(expected["tp"], r.tp, "{name}");
        if r.latency_kind == LatencyModelKind::TrainedPhysics {
            let numbers = |v: &Value| -> Vec<f64> {
                let list = v.as_array().unwrap().iter();
                list.map(|x| x.as_f64().unwrap()).collect()
            };
            assert_eq!(numbers(&expected["alpha"]), r.alpha, "{name}");
            assert_eq!(numbers(&expected["beta"]), r.beta, "{name}");
        }
        let hw = r.hardware.unwrap();
        for (key, value) in [
            ("TFlopsPeak", hw.tflops_peak),
            ("TFlopsFP8", hw.tflops_fp8),
            ("BwPeakTBs", hw.bandwidth_tb_s),
            ("mfuPrefill", hw.mfu_prefill),
            ("mfuDecode", hw.mfu_decode),
            ("MemoryGiB", hw.memory_gib),
        ] {
            let expected = expected["hw"][key].as_f64().unwrap_or(0.0);
            assert_eq!(expected, value, "{name}: {key}");
        }
        compare_model(name, &expected["model_config"], &r.arch.unwrap());
    }
    for case in cases("blackbox") {
        let (name, r) = (&case.name, case.resolve().unwrap());
        let expected = &case.expected["resolved"];
        assert_eq!(r.latency_kind, LatencyModelKind::Blackbox);
        assert_eq!(expected["total_kv_blocks"], r.total_kv_blocks, "{name}");
        assert_eq!(expected["max_model_len"], r.max_model_len, "{name}");
    }
}

#[test]
fn the_references_own_figure_files_say_what_is_built_in() {
    let data = root().join("../data");
    if !data.exists() {
        eprintln!("skipped: no reference figures at {}", data.display());
        return;
    }
    let builtin = Defaults::builtin();
    let february = Defaults::load(&data.join("blis-2026-02-defaults.yaml")).unwrap();
    let august = Defaults::load(&data.join("blis-2026-08-defaults.yaml")).unwrap();
    for (name, entry) in &builtin.models {
        let (feb, aug) = (february.models.get(name), august.models.get(name));
        assert_eq!(entry.fitted, feb.map_or(vec![], |e| e.fitted.clone()));
        assert_eq!(
            entry.fitted_default,
            feb.and_then(|e| e.fitted_default.clone())
        );
        if let Some(aug) = aug {
            assert_eq!(entry.analytic_default, aug.analytic_default, "{name}");
            assert_eq!(entry.hf_repo, aug.hf_repo, "{name}");
        }
    }
    let known = |d: &Defaults| d.models.keys().all(|m| builtin.models.contains_key(m));
    assert!(known(&february) && known(&august));
    assert_eq!(august.trained_physics, builtin.trained_physics);
    assert_eq!(august.workloads, builtin.workloads);
    assert_eq!(february.workloads, builtin.workloads);
    let new = HardwareTable::load(&data.join("blis-2026-08-hardware.json")).unwrap();
    for name in new.names() {
        assert_eq!(new.find(name), builtin.hardware.find(name));
    }
    let old = HardwareTable::load(&data.join("blis-2026-02-hardware.json")).unwrap();
    assert_eq!(old.names().collect::<Vec<_>>(), ["A100-SXM", "H100"]);
    for (name, _) in windtunnel_config::builtin::MODEL_CONFIGS {
        let file = data.join(format!("model_configs/{name}.json"));
        if !file.exists() {
            continue;
        }
        let mut whole = ModelArch::load(&file, name).unwrap();
        let mut builtin = ModelArch::builtin(name).unwrap();
        assert_eq!(whole.weights(), builtin.weights(), "{name}");
        // The same modules may be named by other patterns, and keys without effect are dropped.
        for arch in [&mut whole, &mut builtin] {
            arch.quantization = None;
            arch.notes.clear();
        }
        assert_eq!(whole, builtin, "{name}: a figure was lost");
    }
}

/// The reference leaves out what is 0.
fn compare_model(name: &str, expected: &Value, m: &ModelArch) {
    for (key, value) in [
        ("num_hidden_layers", m.layers),
        ("hidden_size", m.hidden),
        ("num_attention_heads", m.heads),
        ("num_key_value_heads", m.kv_heads),
        ("vocab_size", m.vocab),
        ("intermediate_size", m.intermediate),
        ("num_local_experts", m.experts),
        ("num_experts_per_tok", m.experts_per_token),
        ("moe_intermediate_size", m.moe_intermediate),
        ("shared_expert_intermediate_size", m.shared_intermediate),
        ("interleave_moe_layer_step", m.interleave_step),
        ("intermediate_size_mlp", m.dense_intermediate),
        ("head_dim", m.head_dim),
        ("kv_lora_rank", m.kv_lora_rank),
        ("qk_rope_head_dim", m.qk_rope_head_dim),
        ("first_k_dense_replace", m.first_k_dense),
    ] {
        let expected = expected[key].as_u64().unwrap_or(0);
        assert_eq!(expected, value, "{name}: {key}");
    }
    let bytes = |key: &str| expected[key].as_f64().unwrap_or(0.0);
    assert_eq!(bytes("bytes_per_param"), m.activation_bytes, "{name}");
    assert_eq!(
        bytes("weight_bytes_per_param"),
        m.blis_quantized_bytes.unwrap_or(0.0),
        "{name}"
    );
    assert_eq!(
        expected["hidden_act"].as_str().unwrap_or(""),
        m.activation,
        "{name}"
    );
}

/// Step logs do not say what each request is at, but it can be followed as long as requests come
/// one by one and leave all at once.
#[derive(Default)]
struct Follower {
    /// Tokens each running request has computed; `None` = lost, until the instance is idle again.
    contexts: Option<Vec<u32>>,
}

impl Follower {
    /// The step behind a log row, if it is known.
    fn step(&mut self, running: usize, scheduled: usize, new: u32) -> Option<Vec<StepItem>> {
        let contexts = self.contexts.as_mut()?;
        let old = contexts.len();
        if scheduled != running || running < old || running > old + 1 || new >= 2048 {
            self.contexts = None;
            return None;
        }
        let mut items: Vec<StepItem> = contexts
            .iter_mut()
            .map(|context| {
                *context += 1;
                StepItem {
                    new_tokens: 1,
                    context: *context - 1,
                    prompt_tokens: 0,
                    is_prefill: false,
                }
            })
            .collect();
        if running > old {
            let prompt = new - old as u32;
            items.push(StepItem {
                new_tokens: prompt,
                context: 0,
                prompt_tokens: prompt,
                is_prefill: true,
            });
            contexts.push(prompt);
        }
        Some(items)
    }

    fn completed(&mut self, completed: usize, running: usize) {
        if completed == running {
            self.contexts = Some(Vec::new());
        } else if completed > 0 {
            self.contexts = None;
        }
    }
}

/// Flags that make steps longer or requests start elsewhere than at their first token.
const UNFOLLOWED: [&str; 8] = [
    "total-kv-blocks",
    "max-num-batched-tokens",
    "long-prefill-token-threshold",
    "lora-config",
    "kv-offload-config",
    "kv-cpu-blocks",
    "prefill-instances",
    "session-mode",
];

fn can_be_followed(case: &Case) -> bool {
    let trace = std::fs::read_to_string(case.folder.join("trace.csv")).unwrap();
    let mut lines = trace.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).unwrap();
    let (group, session) = (column("prefix_group"), column("session_id"));
    let deadline = column("deadline_us");
    let blackbox = case.flags["latency-model"] == "blackbox";
    UNFOLLOWED
        .iter()
        .all(|f| !case.flags.contains_key(*f) || (blackbox && *f == "total-kv-blocks"))
        && lines.all(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            fields[group].is_empty() && fields[session].is_empty() && fields[deadline] == "0"
        })
}

#[test]
fn steps_take_as_long_as_the_reference_says() {
    let mut checked: BTreeMap<&str, u64> = BTreeMap::new();
    let mut any = false;
    for case in cases("blis").into_iter().chain(cases("blackbox")) {
        any = true;
        if case.expected["exit_code"] != 0 || !can_be_followed(&case) {
            continue;
        }
        let resolved = case.resolve().unwrap();
        let Some(log) = unpack(&case.folder.join("steps.csv.gz")) else {
            eprintln!("skipped: gzip is not there to unpack the step logs");
            return;
        };
        let mut followers: BTreeMap<String, Follower> = BTreeMap::new();
        for row in log.lines().skip(1) {
            let fields: Vec<&str> = row.split(',').collect();
            let number = |i: usize| fields[i].parse::<usize>().unwrap();
            let (running, scheduled) = (number(3), number(5));
            let follower = followers
                .entry(fields[0].to_owned())
                .or_insert_with(|| Follower {
                    contexts: Some(Vec::new()),
                });
            if let Some(items) = follower.step(running, scheduled, number(6) as u32) {
                let mut step = StepAggregates::default();
                items.iter().for_each(|i| step.add(*i));
                let us = resolved.latency.step_us(&step, &mut items.iter().copied());
                assert_eq!(us, number(2) as i64, "{}: {row}", case.name);
                *checked.entry(resolved.latency_kind.name()).or_default() += 1;
            }
            follower.completed(number(8), running);
        }
    }
    if any {
        eprintln!("steps checked: {checked:?}");
        assert!(
            checked.len() == 3 && checked.values().all(|n| *n > 1000),
            "{checked:?}"
        );
    }
}

fn unpack(path: &Path) -> Option<String> {
    let output = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output()
        .ok()?;
    assert!(output.status.success(), "{}", path.display());
    Some(String::from_utf8(output.stdout).unwrap())
}
