//! GPUs by name and by file, and what is said of them where runs on unlike ones are compared.

use crate::errors::Folder;
use crate::support::{Ran, root};
use serde_json::Value;

const ROOFLINE: &str = "--latency-model roofline --tp 2 --num-requests 4 --json";

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

/// The notes on what was chosen unlike.
fn unlike(ran: &Ran) -> Vec<&str> {
    let notes = notes(ran).into_iter();
    notes.filter(|note| note.contains("differs")).collect()
}

/// The notes, without the word in front.
fn notes(ran: &Ran) -> Vec<&str> {
    let lines = ran.stderr.lines();
    lines
        .filter_map(|line| line.strip_prefix("note: "))
        .collect()
}

/// A hardware file with the shipped figures of L40S but for its FP8 peak, and a GPU of its own.
fn hardware_file(fp8: f64) -> String {
    format!(
        "{{\"L40S\": {{\"TFlopsPeak\": 362.05, \"TFlopsFP8\": {fp8}, \"BwPeakTBs\": 0.864, \"mfuPrefill\": 0.32,
          \"mfuDecode\": 0.08, \"MemoryGiB\": 48}},
          \"Own-1\": {{\"TFlopsPeak\": 500, \"BwPeakTBs\": 2, \"mfuPrefill\": 0.4, \"mfuDecode\": 0.2, \"MemoryGiB\": 64}}}}"
    )
}

#[test]
fn a_run_takes_every_gpu_and_says_which_are_not_calibrated() {
    let folder = Folder::with(&[]);
    for (written, name, calibrated_as) in [
        ("NVIDIA-H100-80GB-HBM3", "H100", None),
        ("a100-80", "A100-80", None),
        ("l40s", "L40S", None),
        ("h200_sxm", "H200", Some("H100")),
        ("nvidia-b200", "B200", Some("H100")),
        ("GB200", "GB200", Some("H100")),
        ("mi300x", "MI300X", Some("H100")),
        ("A100-SXM4-40GB", "A100-40", Some("A100-SXM")),
        ("NVIDIA-L4", "L4", Some("L40S")),
        ("a10g", "A10G", Some("L40S")),
        ("trillium", "TPU-v6e", Some("H100")),
    ] {
        let ran = folder.run(&format!("--hardware {written} {ROOFLINE}"));
        let setup = &json(&ran)["setup"];
        assert_eq!(setup["hardware"], name);
        assert_eq!(setup["gpus"], 2, "{name}");
        let expected = calibrated_as.map(|other| {
            format!("nobody has calibrated {name}: its roofline reaches the shares of the peak that {other} does")
        });
        let told = notes(&ran)
            .into_iter()
            .find(|note| note.contains("calibrated"))
            .map(str::to_owned);
        assert_eq!(told, expected);
        let in_setup = setup["notes"].to_string().contains("calibrated");
        assert_eq!(in_setup, calibrated_as.is_some(), "{name}");
    }
    // Fitted coefficients do not hang on it.
    let fitted = folder.run("--num-requests 4 --hardware h100-sxm --latency-model blackbox");
    assert!(
        fitted.stdout.contains("2 H100, latency model blackbox"),
        "{}",
        fitted.stdout
    );
    assert!(!fitted.stderr.contains("calibrated"), "{}", fitted.stderr);
}

#[test]
fn a_faster_gpu_is_faster() {
    let folder = Folder::with(&[]);
    let tpot = |gpu: &str| {
        let report = json(&folder.run(&format!("--hardware {gpu} {ROOFLINE}")));
        report["latency_ms"]["tpot"]["mean"]
            .as_f64()
            .expect("a number")
    };
    let times = ["B200", "H200", "H100", "A100-80", "A100-40", "L40S", "L4"].map(tpot);
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn an_unknown_gpu_names_the_nearest_and_the_flag_for_others() {
    let folder = Folder::with(&[("hw.json", &hardware_file(733.0))]);
    let message = folder.refused("--hardware nvidia-h20");
    assert!(
        message.starts_with("unknown GPU \"nvidia-h20\"; did you mean \"H200\"? valid: A100-40,"),
        "{message}"
    );
    assert!(
        message.ends_with("For any other give --hardware-config, a JSON file with its figures"),
        "{message}"
    );
    let message = folder.refused("--hardware own --hardware-config @/hw.json");
    assert!(message.contains("did you mean \"Own-1\"?"), "{message}");
}

#[test]
fn a_hardware_file_adds_to_the_built_in_gpus() {
    let folder = Folder::with(&[("hw.json", &hardware_file(733.0))]);
    let with = |gpu: &str| {
        let ran = folder.run(&format!(
            "--hardware-config @/hw.json --hardware {gpu} {ROOFLINE}"
        ));
        json(&ran)
    };
    assert_eq!(with("own-1")["setup"]["hardware"], "Own-1");
    for gpu in ["H100", "L40S"] {
        let without = json(&folder.run(&format!("--hardware {gpu} {ROOFLINE}")));
        assert_eq!(with(gpu), without, "{gpu}");
    }
}

#[test]
fn a_peak_with_sparsity_counts_under_the_references_rules_only() {
    let folder = Folder::with(&[
        ("sparse.json", &hardware_file(1466.0)),
        ("dense.json", &hardware_file(733.0)),
    ]);
    let ran = |flags: &str| {
        folder.command(&format!(
            "run --model llama-4-scout-17b-16e-instruct-fp8-dynamic --hardware L40S --tp 8 --latency-model roofline \
             --num-requests 4 --prompt-tokens 4000 --json {flags}"
        ))
    };
    let ttft = |flags: &str| json(&ran(flags))["latency_ms"]["ttft"]["mean"].clone();
    let (sparse, dense) = (
        "--hardware-config @/sparse.json",
        "--hardware-config @/dense.json",
    );
    let truth = ttft("");
    assert_eq!(ttft(sparse), truth);
    assert_eq!(ttft(dense), truth);
    let told = ran(sparse).stderr;
    assert!(
        told.contains("1466 TFLOP/s, is 4.0 times its 16-bit peak"),
        "{told}"
    );
    let exact = ttft("--rules blis");
    assert_eq!(ttft(&format!("--rules blis {sparse}")), exact);
    assert_ne!(ttft(&format!("--rules blis {dense}")), exact);
    let shipped = root().join("hardware_config.json");
    let shipped = format!("--rules blis --hardware-config {}", shipped.display());
    assert_eq!(ttft(&shipped), exact);
}

#[test]
fn a_sweep_over_gpus_says_what_each_row_was_computed_on() {
    let folder = Folder::with(&[]);
    let base = "sweep --model llama-3.1-8b-instruct --num-requests 30 --rate 20 --grid hardware=H100,A100-80,L4";
    let ran = folder.command(&format!("{base} --out @/s.csv"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = notes(&ran);
    let tensor = "tensor parallelism was not given and differs: 2 (hardware=H100; hardware=A100-80), 1 (hardware=L4); \
                  --tp sets it";
    assert!(told.contains(&tensor), "{told:#?}");
    // Of two dimensions the one that decides is named.
    let crossed = folder.command(&format!("{base} --grid max-num-seqs=4,8"));
    assert!(notes(&crossed).contains(&tensor), "{}", crossed.stderr);
    let model = "the latency model was not given and differs: kernel-tables (hardware=H100; hardware=A100-80), ";
    assert!(told.iter().any(|note| note.starts_with(model)), "{told:#?}");
    for title in ["┆ TP ┆", "┆ GPUs ┆", "Latency model", "Tokens/s/GPU"] {
        assert!(ran.stdout.contains(title), "{title}\n{}", ran.stdout);
    }
    assert!(
        ran.stdout.lines().all(|line| line.chars().count() <= 100),
        "{}",
        ran.stdout
    );

    let mut reader = csv::Reader::from_path(folder.path().join("s.csv")).expect("a file");
    let rows: Vec<std::collections::BTreeMap<String, String>> = reader
        .deserialize()
        .map(|row| row.expect("a row"))
        .collect();
    let column = |name: &str| {
        rows.iter()
            .map(|row| row[name].as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(column("gpu"), ["H100", "A100-80", "L4"]);
    assert_eq!(column("tensor_parallelism"), ["2", "2", "1"]);
    assert_eq!(column("gpus"), ["2", "2", "1"]);
    let models = ["kernel-tables", "kernel-tables", "trained-physics"];
    assert_eq!(column("latency_model"), models);
    let sources = column("total_kv_blocks_source");
    assert_eq!(sources[2], "computed");
    let blocks = "the number of KV blocks was not given and differs: ";
    let told_of_blocks = told.iter().any(|note| note.starts_with(blocks));
    assert_eq!(told_of_blocks, sources[0] != sources[2], "{told:#?}");
    for row in &rows {
        let number = |name: &str| row[name].parse::<f64>().expect("a number");
        let each = number("output_tokens_per_s") / number("gpus");
        assert_eq!(number("output_tokens_per_s_per_gpu"), each);
    }
    let resumed = folder.command(&format!("{base} --out @/s.csv --json"));
    let resumed = json(&resumed);
    assert_eq!(resumed[2]["gpus"], 1);
    assert_eq!(resumed[0]["latency_model"], "kernel-tables");
}

#[test]
fn what_is_given_is_not_told_and_what_is_alike_is_not_shown() {
    let folder = Folder::with(&[]);
    let given = folder.command(
        "sweep --model llama-3.1-8b-instruct --num-requests 10 --grid hardware=H100,L40S --tp 1 --latency-model roofline",
    );
    assert_eq!(
        (given.code, unlike(&given)),
        (0, Vec::new()),
        "{}",
        given.stderr
    );
    assert!(
        !given.stdout.contains("Latency model") && !given.stdout.contains("┆ TP ┆"),
        "{}",
        given.stdout
    );
    assert!(given.stdout.contains("Tokens/s/GPU"), "{}", given.stdout);
    let swept = folder.command(
        "sweep --model llama-3.1-8b-instruct --num-requests 10 --hardware H100 --grid tp=1,2",
    );
    assert_eq!(
        (swept.code, unlike(&swept)),
        (0, Vec::new()),
        "{}",
        swept.stderr
    );
    // The dimension says it.
    assert!(
        swept.stdout.contains("┆ GPUs ┆") && !swept.stdout.contains("┆ TP ┆"),
        "{}",
        swept.stdout
    );
    let alike =
        folder.command("sweep --model llama-3.1-8b-instruct --num-requests 10 --grid rate=5,9");
    for title in ["GPU", "┆ TP ┆", "Latency model"] {
        assert!(!alike.stdout.contains(title), "{}", alike.stdout);
    }
}

#[test]
fn pools_that_were_chosen_unlike_are_told() {
    let spec = |parallel: &str| {
        format!(
            "model: llama-3.1-8b-instruct\npools:\n  - {{name: fast, count: 2, hardware: H100{parallel}}}\n  \
             - {{name: slow, count: 3, hardware: L40S{parallel}}}\npolicies: {{routing: round-robin}}\n\
             workload: {{num_requests: 12, rate: 10}}\n"
        )
    };
    let folder = Folder::with(&[
        ("chosen.yaml", &spec("")),
        (
            "given.yaml",
            &spec(", parallel: {tensor: 1}, latency: {model: roofline}"),
        ),
    ]);
    let chosen = folder.command("run --spec @/chosen.yaml --json");
    let tensor =
        "tensor parallelism was not given and differs: 2 (pool fast), 1 (pool slow); --tp sets it";
    assert!(notes(&chosen).contains(&tensor), "{}", chosen.stderr);
    let setup = &json(&chosen)["setup"];
    assert_eq!(setup["gpus"], 2 * 2 + 3);
    assert_eq!(setup["pools"][1]["gpus_per_instance"], 1);
    assert!(
        setup["notes"]
            .as_array()
            .expect("a list")
            .contains(&tensor.into())
    );
    let given = folder.command("run --spec @/given.yaml --json");
    assert_eq!(json(&given)["setup"]["gpus"], 2 + 3);
    assert_eq!(unlike(&given), [""; 0]);
}

#[test]
fn scenarios_that_were_chosen_unlike_are_told() {
    let data = root().join("host/tests/data/score");
    let read = |name: &str| std::fs::read_to_string(data.join(name)).expect("a file");
    let suite = read("suite.yaml");
    let open = suite.replace("  tensor_parallelism: 2\n", "").replace(
        "rate: 120, seed: 12,",
        "rate: 120, seed: 12, cluster: {hardware: L40S, latency_model: trained-physics},",
    );
    assert_ne!(suite, open);
    let folder = Folder::with(&[
        ("suite.yaml", &suite),
        ("open.yaml", &open),
        ("chat.yaml", &read("chat.yaml")),
        ("batch.yaml", &read("batch.yaml")),
    ]);
    let compared = |suite: &str| {
        folder.command(&format!(
            "compare least-loaded round-robin --suite @/{suite} --seeds 1 --json"
        ))
    };
    let told = compared("open.yaml");
    let expected = "tiny/1: tensor parallelism was not given and differs: 2 (scenario light; scenario long and 2 more), \
                    1 (scenario heavy); `tensor_parallelism` sets it";
    assert_eq!(told.code, 0, "{}", told.stderr);
    let found = notes(&told);
    let found = found
        .iter()
        .any(|note| note.ends_with(expected.split_once(": ").expect("a name").1));
    assert!(found, "{}", told.stderr);
    let silent = compared("suite.yaml");
    assert_eq!(
        (silent.code, unlike(&silent)),
        (0, Vec::new()),
        "{}",
        silent.stderr
    );
}

#[test]
fn every_model_with_a_configuration_runs_on_its_default_deployment() {
    let folder = Folder::with(&[]);
    for (model, gpus) in [
        ("llama-2-70b-hf", 4),
        ("mixtral-8x22b-v0.1", 8),
        ("qwen3-8b", 1),
        ("qwen3-32b", 2),
        ("qwen3-next-80b-a3b-instruct", 4),
        ("gpt-oss-20b", 1),
        ("gpt-oss-120b", 2),
        ("deepseek-v3", 8),
        ("glm-4.5", 8),
        ("kimi-k2-instruct", 8),
        ("gemma-3-27b-it", 1),
        ("llama-4-maverick-17b-128e-instruct", 8),
        ("llama-4-maverick-17b-128e-instruct-fp8", 8),
    ] {
        let ran = folder.command(&format!("run --model {model} --num-requests 3 --json"));
        let report = json(&ran);
        assert_eq!(report["completed_requests"], 3, "{model}");
        assert_eq!(report["setup"]["gpus"], gpus, "{model}");
    }
}
