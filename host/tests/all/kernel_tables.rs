//! The step-time model `kernel-tables`: its files, its import, and how true it is.

use crate::support::{root, windtunnel};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn ok(args: &[&str]) -> String {
    let ran = windtunnel(args);
    assert_eq!(ran.code, 0, "{args:?}: {}", ran.stderr);
    ran.stdout
}

fn refused(args: &[&str]) -> String {
    let ran = windtunnel(args);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
    ran.stderr
}

/// Columns of a parquet file.
enum Column<'a> {
    Numbers(&'a str, Vec<i64>),
    Texts(&'a str, Vec<&'a str>),
    Times(&'a str, Vec<f64>),
}

fn write(path: &Path, columns: &[Column<'_>]) {
    let fields = columns.iter().map(|column| match column {
        Column::Numbers(name, _) => format!("required int64 {name};"),
        Column::Texts(name, _) => format!("required binary {name} (utf8);"),
        Column::Times(name, _) => format!("required double {name};"),
    });
    let schema = format!("message m {{ {} }}", fields.collect::<String>());
    let schema = Arc::new(parse_message_type(&schema).expect("a schema"));
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let file = fs::File::create(path).expect("a file");
    let mut writer = SerializedFileWriter::new(file, schema, Arc::default()).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    for column in columns {
        fill(&mut group, column);
    }
    group.close().expect("written");
    writer.close().expect("written");
}

fn fill(group: &mut SerializedRowGroupWriter<'_, fs::File>, column: &Column<'_>) {
    let mut writer = group.next_column().expect("a column").expect("one more");
    let written = match column {
        Column::Numbers(_, values) => {
            let typed = writer.typed::<Int64Type>();
            typed.write_batch(values, None, None)
        }
        Column::Texts(_, values) => {
            let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(*v)).collect();
            let typed = writer.typed::<ByteArrayType>();
            typed.write_batch(&values, None, None)
        }
        Column::Times(_, values) => {
            let typed = writer.typed::<DoubleType>();
            typed.write_batch(values, None, None)
        }
    };
    written.expect("written");
    writer.close().expect("written");
}

/// A package with matrix products of a GPU in the layout of aiconfigurator-core: 0.01 ms for every
/// token, whatever the shape.
fn package(folder: &Path, version: &str, times: f64) {
    let data = folder.join("aiconfigurator_core/systems/data/l40s");
    let (mut n, mut k, mut m, mut ms) = (vec![], vec![], vec![], vec![]);
    for (rows, columns) in [(1024, 1024), (1024, 8192), (8192, 1024), (8192, 8192)] {
        for tokens in [1, 64, 4096] {
            n.push(rows);
            k.push(columns);
            m.push(tokens);
            ms.push(times * 0.01 * tokens as f64);
        }
    }
    let columns = [
        Column::Texts("gemm_dtype", vec!["bfloat16"; n.len()]),
        Column::Numbers("n", n),
        Column::Numbers("k", k),
        Column::Numbers("m", m),
        Column::Times("latency", ms),
    ];
    let path = format!("gemm/vllm/{version}/gemm_perf.parquet");
    write(&data.join(path), &columns);
    let info = folder.join("aiconfigurator_core-0.12.0.dist-info");
    fs::create_dir_all(info).expect("a folder");
}

#[test]
fn measurements_become_a_file_with_their_source() {
    let folder = tempfile::tempdir().expect("a folder");
    package(folder.path(), "0.9.1", 1.0);
    package(folder.path(), "0.24.0", 2.0);
    let here = folder.path().to_str().expect("UTF-8");
    let file = folder.path().join("l40s.tables");
    let file = file.to_str().expect("UTF-8");
    let import = [
        "tables", "import", here, "--system", "l40s", "--output", file,
    ];
    let ran = windtunnel(import);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stderr.contains("note: l40s has no experts"),
        "{}",
        ran.stderr
    );
    let shown: Value = serde_json::from_str(&ok(&["tables", "show", file, "--json"])).unwrap();
    assert_eq!(shown["gpu"], "L40S");
    let source = &shown["sources"][0];
    assert_eq!(source["package"], "aiconfigurator_core 0.12.0");
    assert_eq!(source["licence"], "Apache-2.0");
    // The newest version, by its numbers.
    assert_eq!(source["engine"], "vLLM 0.24.0");
    let mut older = import.to_vec();
    older.extend(["--vllm-version", "gemm=0.9.1"]);
    assert_eq!(windtunnel(older).code, 0);
    let shown: Value = serde_json::from_str(&ok(&["tables", "show", file, "--json"])).unwrap();
    assert_eq!(shown["sources"][0]["engine"], "vLLM 0.9.1");
    // It has no attention, which a run needs.
    let message = refused(&[
        "run",
        "--model",
        "meta-llama/llama-3.1-8b-instruct",
        "--hardware",
        "L40S",
        "--tp",
        "1",
        "--latency-model",
        "kernel-tables",
        "--kernel-tables",
        file,
    ]);
    assert!(
        message.contains("no attention in bfloat16 were measured"),
        "{message}"
    );
}

#[test]
fn what_is_no_package_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().to_str().expect("UTF-8");
    let file = folder.path().join("x.tables");
    let file = file.to_str().expect("UTF-8");
    let import = |system| refused(&["tables", "import", here, "--system", system, "-o", file]);
    assert!(
        import("l40s").contains("no folder systems/data"),
        "{}",
        import("l40s")
    );
    package(folder.path(), "0.24.0", 1.0);
    assert!(
        import("l40").contains("did you mean \"l40s\""),
        "{}",
        import("l40")
    );
    // A damaged file is named.
    let data = folder.path().join("aiconfigurator_core/systems/data/l40s");
    let gemm = data.join("gemm/vllm/0.24.0/gemm_perf.parquet");
    let bytes = fs::read(&gemm).expect("written");
    fs::write(&gemm, &bytes[..bytes.len() / 2]).expect("written");
    assert!(
        import("l40s").contains("gemm_perf.parquet"),
        "{}",
        import("l40s")
    );
    // And so is a column that is not there.
    write(
        &gemm,
        &[
            Column::Numbers("m", vec![1]),
            Column::Times("latency", vec![1.0]),
        ],
    );
    assert!(
        import("l40s").contains("unknown column \"n\""),
        "{}",
        import("l40s")
    );
    // And a time that cannot be.
    let columns = [
        Column::Texts("gemm_dtype", vec!["bfloat16"]),
        Column::Numbers("n", vec![1]),
        Column::Numbers("k", vec![1]),
        Column::Numbers("m", vec![1]),
        Column::Times("latency", vec![-1.0]),
    ];
    write(&gemm, &columns);
    assert!(
        import("l40s").contains("row 1: latency"),
        "{}",
        import("l40s")
    );
    assert!(!Path::new(file).exists(), "nothing is half-written");
}

#[test]
fn built_in_tables_are_shown() {
    let all = ok(&["tables", "show"]);
    assert!(all.lines().any(|gpu| gpu == "H100"), "{all}");
    let h100 = ok(&["tables", "show", "h100"]);
    assert!(h100.contains("aiconfigurator"), "{h100}");
    assert!(
        h100.lines().all(|line| line.chars().count() <= 80),
        "{h100}"
    );
    let message = refused(&["tables", "show", "H10"]);
    assert!(message.contains("H100"), "{message}");
}

const RUN: [&str; 13] = [
    "run",
    "--model",
    "meta-llama/llama-3.1-8b-instruct",
    "--hardware",
    "H100",
    "--tp",
    "1",
    "--latency-model",
    "kernel-tables",
    "--rate",
    "20",
    "--json",
    "--quiet",
];

#[test]
fn a_run_uses_them_and_is_the_same_step_by_step() {
    let fast = ok(&RUN);
    let result: Value = serde_json::from_str(&fast).expect("JSON");
    assert_eq!(result["setup"]["latency_model"], "kernel-tables");
    assert_eq!(result["setup"]["rules"], "vllm");
    let mut plain = RUN.to_vec();
    plain.push("--plain-steps");
    let plain: Value = serde_json::from_str(&ok(&plain)).expect("JSON");
    for key in [
        "ttft_mean_ms",
        "itl_mean_ms",
        "e2e_p99_ms",
        "responses_per_sec",
    ] {
        assert_eq!(result[key], plain[key], "{key}");
    }
    // The default is the same; a file is asked for by its name alone, and nothing else reads it.
    let by_default = RUN.map(|flag| {
        if flag == "kernel-tables" {
            "auto"
        } else {
            flag
        }
    });
    assert_eq!(ok(&by_default), fast);
    let with_file = |more: &[&str]| {
        let model = ["run", "--model", "llama-3.1-8b-instruct"];
        refused(&[&model[..], &["--kernel-tables", "x.tables"], more].concat())
    };
    let message = with_file(&[]);
    assert!(message.contains("x.tables: no such file"), "{message}");
    for more in [["--latency-model", "blackbox"], ["--rules", "blis"]] {
        let message = with_file(&more);
        let said =
            "--kernel-tables has no effect with latency model blackbox; kernel-tables reads it";
        assert!(message.contains(said), "{message}");
    }
}

/// Cases of a folder: how many, and the medians of the absolute errors of TTFT, TPOT and E2E.
fn accuracy(folder: &str) -> (usize, [f64; 3]) {
    let result: Value = serde_json::from_str(&ok(&["accuracy", folder, "--json"])).expect("JSON");
    assert_eq!(result["not_simulated"], serde_json::json!([]));
    let median = |name: &str| {
        result["error_percent"][name]["median"]
            .as_f64()
            .expect("a median")
    };
    let cases = result["cases"].as_array().expect("cases").len();
    (cases, ["ttft_mean", "tpot_mean", "e2e_mean"].map(median))
}

/// The figures of docs/reference/accuracy.md are bounded from above; what moves them is to be
/// looked at.
#[test]
fn simulations_are_near_what_was_measured() {
    let (cases, errors) = accuracy("docs/examples/ground-truth");
    assert_eq!(cases, 6);
    assert!(
        errors[0] < 4.0 && errors[1] < 3.0 && errors[2] < 3.0,
        "{errors:?}"
    );
    let all = root().join("../shared/groundtruth");
    if all.is_dir() {
        let (cases, errors) = accuracy(all.to_str().expect("UTF-8"));
        println!("{cases} measured cases: {errors:?} %");
        assert!(
            errors[0] < 4.0 && errors[1] < 2.5 && errors[2] < 2.5,
            "{errors:?}"
        );
    }
}

#[test]
fn closed_loops_are_compared_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().to_str().expect("UTF-8");
    let file = folder.path().join("index.csv");
    let header = "model,hardware,tp,dp,num_prompts,max_concurrency,input_mean,output_mean,request_throughput,\
                  mean_ttft_ms,mean_itl_ms,median_itl_ms,mean_e2el_ms";
    // One run of llm-benchmaq (April 2026).
    let row = "Llama-3.1-70B,runpod_h100sxm,8,1,1000,50,511.0,128.0,18.410911,596.4,16.667860,13.134558,2713.2";
    fs::write(&file, format!("{header}\n{row}\n")).expect("written");
    let result: Value = serde_json::from_str(&ok(&["accuracy", here, "--json"])).expect("JSON");
    let figures = &result["closed_loops"][0]["figures"];
    let error = |name: &str| figures[name]["error_percent"].as_f64().expect("an error");
    assert!(
        error("req/s").abs() < 5.0 && error("ITL").abs() < 12.0,
        "{figures}"
    );
    assert!(ok(&["accuracy", here]).contains("Llama-3.1-70B TP8 x 1"));
    fs::write(
        &file,
        format!("{header}\n{row}\n").replace("8,1,1000", "x,1,1000"),
    )
    .expect("written");
    let message = refused(&["accuracy", here]);
    assert!(
        message.contains("index.csv") && message.contains("line: 2"),
        "{message}"
    );
}

#[test]
fn errors_are_told_by_case() {
    let truth = "docs/examples/ground-truth";
    let table = ok(&["accuracy", truth]);
    assert!(
        table.lines().all(|line| line.chars().count() <= 80),
        "{table}"
    );
    assert!(
        table.contains("blis-roofline") && table.contains("ours on these"),
        "{table}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let csv = folder.path().join("errors.csv");
    let csv = csv.to_str().expect("UTF-8");
    ok(&["accuracy", truth, "--only", "65-01", "--csv", csv]);
    let lines = fs::read_to_string(csv).expect("written");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    let message = refused(&["accuracy", truth, "--only", "nothing"]);
    assert!(message.contains("no run's name contains"), "{message}");
    let message = refused(&["accuracy", folder.path().to_str().expect("UTF-8")]);
    assert!(message.contains("cases"), "{message}");
    // The other models are further off: the figures are not of the model that was asked for last.
    let other = ["accuracy", truth, "--latency-model", "roofline", "--json"];
    let other: Value = serde_json::from_str(&ok(&other)).expect("JSON");
    assert!(other["error_percent"]["e2e_mean"]["median"].as_f64() > Some(20.0));
}
