//! Profiles of Vidur and LLMServingSim as tables of kernel times. The files are made up, in the
//! layouts of both.

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;
use std::fmt::Write;
use windtunnel_config::{KernelOp, KernelTables};

/// Microseconds that a made-up product takes: of no GPU, but larger with its size.
fn product_us(n: u32, k: u32, m: u32) -> f64 {
    5.0 + 2.0 * f64::from(n) * f64::from(k) * (f64::from(m) + 300.0) / 6e8
}

/// Microseconds of made-up attention.
fn decode_us(batch: u32, context: u32) -> f64 {
    4.0 + f64::from(batch) * f64::from(context) / 500.0
}

fn prefill_us(tokens: u32) -> f64 {
    6.0 + f64::from(tokens) * f64::from(tokens) / 2e4
}

const TOKENS: [u32; 5] = [1, 16, 128, 1024, 4096];
const CONTEXTS: [u32; 4] = [15, 127, 1023, 4095];
const BATCHES: [u32; 4] = [1, 8, 64, 256];
/// Of Llama-3.1-8B: n and k of its products on one GPU.
const SHAPES: [[u32; 2]; 4] = [[6144, 4096], [4096, 4096], [28672, 4096], [4096, 14336]];

fn write(folder: &Folder, path: &str, text: &str) {
    let file = folder.path().join(path);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    std::fs::write(file, text).expect("written");
}

const PRODUCTS: &str = "time_stats.attn_pre_proj.median,time_stats.attn_post_proj.median,time_stats.mlp_up_proj.median,\
                        time_stats.mlp_down_proj.median,n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,\
                        use_gated_mlp,num_tokens,num_tensor_parallel_workers\n";

/// A file of products, on so many GPUs, all times so many times as long.
fn products(gpus: &[u32], times: f64) -> String {
    let mut text = PRODUCTS.to_owned();
    for tp in gpus {
        for m in TOKENS {
            let shapes = [
                [6144 / tp, 4096],
                [4096, 4096 / tp],
                [28672 / tp, 4096],
                [4096, 14336 / tp],
            ];
            for [n, k] in shapes {
                let _ = write!(text, "{},", times * product_us(n, k, m) / 1e3);
            }
            let _ = writeln!(text, "32,8,4096,14336,128256,True,{m},{tp}");
        }
    }
    text
}

/// A folder as Vidur's `data/profiling`.
fn vidur(times: f64) -> Folder {
    let folder = Folder::with(&[("LICENSE", "MIT License\n\nCopyright somebody\n")]);
    let model = "compute/h100/meta-llama/Llama-3.1-8B";
    write(
        &folder,
        &format!("{model}/mlp.csv"),
        &products(&[1, 2], times),
    );
    let mut text = String::from(
        "time_stats.attn_prefill.median,time_stats.attn_decode.median,n_embd,n_q_head,n_kv_head,block_size,\
         num_tensor_parallel_workers,max_model_len,batch_size,prefill_chunk_size,kv_cache_size,is_prefill,\
         attention_backend\n",
    );
    for tokens in TOKENS {
        let ms = prefill_us(tokens) / 1e3;
        // A chunk behind another is no prompt: it must not be taken for one.
        for (cached, ms) in [(0, ms), (512, 9.0 * ms)] {
            let _ = writeln!(
                text,
                "{ms},,4096,32,8,16,1,4096,1,{tokens},{cached},True,AttentionBackend.FLASHINFER"
            );
        }
    }
    for batch in BATCHES {
        for cached in CONTEXTS {
            let ms = decode_us(batch, cached + 1) / 1e3;
            let _ = writeln!(
                text,
                ",{ms},4096,32,8,16,1,4096,{batch},0,{cached},False,AttentionBackend.FLASHINFER"
            );
        }
    }
    write(&folder, &format!("{model}/attention.csv"), &text);
    let mut text = String::from(
        ",time_stats.all_reduce.median,rank,num_workers,size,collective,devices_per_node,max_devices_per_node\n",
    );
    for (k, bytes) in [2048, 65536, 1_048_576, 67_108_864].into_iter().enumerate() {
        let _ = writeln!(
            text,
            "{k},{},0,2,{bytes},all_reduce,2,8",
            0.02 + f64::from(bytes) / 1e8
        );
        let _ = writeln!(text, "{k},9.0,0,2,{bytes},all_reduce,1,8");
        let _ = writeln!(text, "{k},9.0,0,2,{bytes},send_recv,2,8");
    }
    write(&folder, "network/h100_dgx/all_reduce.csv", &text);
    write(
        &folder,
        "network/h100_pair_nvlink/all_reduce.csv",
        "damaged\n",
    );
    folder
}

fn import(folder: &Folder, flags: &str) -> Ran {
    folder.command(&format!("tables import @ --output @/out.tables {flags}"))
}

fn tables(folder: &Folder) -> KernelTables {
    KernelTables::load(&folder.path().join("out.tables")).expect("tables")
}

/// The time in a table.
fn us(tables: &KernelTables, (op, variant): (KernelOp, &str), row: &[u32], column: u32) -> f64 {
    let (_, table) = tables
        .read(op, "bfloat16", variant)
        .expect("sound")
        .expect("there");
    let row = table.rows.iter().position(|r| r == row).expect("the row");
    let column = table
        .columns
        .iter()
        .position(|c| *c == column)
        .expect("the column");
    table.us[row][column]
}

fn close(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 3e-4
}

/// Mean TTFT and TPOT of a few requests.
fn latencies(folder: &Folder, flags: &str) -> [f64; 2] {
    let ran = folder.run(&format!(
        "--hardware H100 --rate 2 --num-requests 20 --json --kernel-tables @/out.tables {flags}"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(report["setup"]["latency_model"], "kernel-tables");
    ["ttft", "tpot"].map(|name| report["latency_ms"][name]["mean"].as_f64().expect("a time"))
}

#[test]
fn profiles_of_vidur_are_kernels_of_known_shape() {
    let folder = vidur(1.0);
    let ran = import(&folder, "--system h100");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let tables_of = tables(&folder);
    assert_eq!(tables_of.gpu(), "H100");
    let gemm = (KernelOp::Gemm, "");
    for [n, k] in SHAPES {
        for m in TOKENS {
            assert!(
                close(us(&tables_of, gemm, &[n, k], m), product_us(n, k, m)),
                "{n} {k} {m}"
            );
        }
    }
    // Half of a layer on each of two GPUs.
    assert!(close(
        us(&tables_of, gemm, &[14336, 4096], 16),
        product_us(14336, 4096, 16)
    ));
    assert!(close(
        us(&tables_of, gemm, &[4096, 7168], 16),
        product_us(4096, 7168, 16)
    ));
    let decode = (KernelOp::DecodeAttention, "128");
    assert!(close(
        us(&tables_of, decode, &[32, 8, 64], 1024),
        decode_us(64, 1024)
    ));
    let prefill = (KernelOp::PrefillAttention, "128");
    assert!(close(
        us(&tables_of, prefill, &[32, 8], 1024),
        prefill_us(1024)
    ));
    // Bytes of 16-bit elements, within a server.
    let sum = us(&tables_of, (KernelOp::AllReduce, "eager"), &[2], 524_288);
    assert!(close(sum, 20.0 + 1_048_576.0 / 1e5), "{sum}");
    for told in [
        "matrix products bfloat16: 40 times of meta-llama/Llama-3.1-8B TP1, meta-llama/Llama-3.1-8B TP2",
        "decode attention bfloat16 (128): 16 times of meta-llama/Llama-3.1-8B TP1 FLASHINFER",
        "all-reduce bfloat16 (eager): 4 times of NCCL",
        "all-reduce bfloat16 (graph): not in it; taken over from the built-in tables of H100 (aiconfigurator_core",
        "experts",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let sources: Vec<(&str, &str)> = tables_of
        .sources()
        .iter()
        .map(|source| (&*source.package, &*source.licence))
        .collect();
    assert!(sources.contains(&("Vidur", "MIT")), "{sources:?}");
    let shown = folder.command("tables show @/out.tables");
    for part in [
        "Sarathi-Serve, float16",
        "compute/h100/meta-llama/Llama-3.1-8B/mlp.csv",
    ] {
        assert!(shown.stdout.contains(part), "{}", shown.stdout);
    }
    // Runs read them.
    let once = latencies(&folder, "--tp 1");
    assert!(latencies(&folder, "--tp 2")[1] < once[1]);
    let slower = vidur(3.0);
    assert_eq!(import(&slower, "--system h100").code, 0);
    let thrice = latencies(&slower, "--tp 1");
    assert!(
        thrice
            .iter()
            .zip(once)
            .all(|(slow, fast)| *slow > 1.5 * fast),
        "{thrice:?} {once:?}"
    );
}

/// A folder as LLMServingSim's `profiler/perf`; `newer` has the columns of its profiler 1.
fn llmservingsim(newer: bool) -> Folder {
    let folder = Folder::with(&[]);
    let model = "perf/H100/meta-llama/Llama-3.1-8B/bf16";
    write(
        &folder,
        &format!("{model}/meta.yaml"),
        "vllm_version: 0.28.0\nhardware: H100\nmodel: meta-llama/Llama-3.1-8B\nskew_fit: {per_tp: {1: {n_samples: 3}}}\n",
    );
    for tp in [1, 2] {
        let mut text = String::from("layer,tokens,time_us\n");
        for m in TOKENS {
            let layers = [
                ("qkv_proj", 6144 / tp, 4096),
                ("o_proj", 4096, 4096 / tp),
                ("gate_up_proj", 28672 / tp, 4096),
                ("down_proj", 4096, 14336 / tp),
            ];
            for (layer, n, k) in layers {
                let _ = writeln!(text, "{layer},{m},{}", product_us(n, k, m));
            }
            let _ = writeln!(text, "act_fn,{m},2.5");
        }
        write(&folder, &format!("{model}/tp{tp}/dense.csv"), &text);
        let mut text = String::from(match newer {
            true => "layer,prefill_chunk,prefill_key,n_decode,kv_decode,decode_q_len,time_us\n",
            false => "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n",
        });
        let mut line = |cells: [u32; 4], us: f64| {
            let [chunk, keys, decodes, context] = cells;
            let _ = match newer {
                true => writeln!(text, "attention,{chunk},{keys},{decodes},{context},1,{us}"),
                false => writeln!(text, "{chunk},{keys},{decodes},{context},{us}"),
            };
        };
        for tokens in [32, 128, 1024, 2048] {
            line(
                [tokens, if newer { tokens / 2 } else { 0 }, 0, 0],
                prefill_us(tokens),
            );
            line([tokens, 4096, 0, 0], 9.0 * prefill_us(tokens));
            line([tokens, 16, 8, 1024], 99.0);
        }
        for batch in BATCHES {
            for context in CONTEXTS {
                line([0, 0, batch, context], decode_us(batch, context + 1));
            }
        }
        write(&folder, &format!("{model}/tp{tp}/attention.csv"), &text);
    }
    folder
}

#[test]
fn profiles_of_llmservingsim_have_the_shapes_of_their_model() {
    for newer in [true, false] {
        let folder = llmservingsim(newer);
        let unknown = "perf/H100/nobody/Unheard-9B/bf16/meta.yaml";
        write(&folder, unknown, "vllm_version: 0.28.0\n");
        let small = "perf/H100/meta-llama/Llama-3.1-8B/fp8/meta.yaml";
        write(&folder, small, "vllm_version: 0.28.0\n");
        let ran = import(&folder, "--system H100");
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let tables_of = tables(&folder);
        let gemm = (KernelOp::Gemm, "");
        for [n, k] in SHAPES {
            assert!(close(
                us(&tables_of, gemm, &[n, k], 128),
                product_us(n, k, 128)
            ));
        }
        assert!(close(
            us(&tables_of, gemm, &[3072, 4096], 16),
            product_us(3072, 4096, 16)
        ));
        let decode = (KernelOp::DecodeAttention, "128");
        for row in [[32, 8, 8], [16, 4, 8]] {
            assert!(close(us(&tables_of, decode, &row, 128), decode_us(8, 128)));
        }
        let prefill = (KernelOp::PrefillAttention, "128");
        assert!(close(
            us(&tables_of, prefill, &[16, 4], 1024),
            prefill_us(1024)
        ));
        for told in [
            "nobody/Unheard-9B bf16 is left out: its shapes are not known here",
            "meta-llama/Llama-3.1-8B fp8 is left out: only bf16 and fp16",
            "all-reduce bfloat16 (eager), bfloat16 (graph): not in it; taken over from",
        ] {
            assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
        }
        let engines: Vec<&str> = tables_of.sources().iter().map(|s| &*s.engine).collect();
        assert!(engines.contains(&"vLLM 0.28.0"), "{engines:?}");
        let [ttft, tpot] = latencies(&folder, "--tp 2");
        assert!(ttft > tpot && tpot > 1.0, "{ttft} {tpot}");
    }
}

#[test]
fn weights_that_stayed_in_the_cache_are_read_from_memory() {
    let folder = llmservingsim(true);
    let path = "perf/H100/meta-llama/Llama-3.1-8B/bf16/tp1/dense.csv";
    let text = "layer,tokens,time_us\nqkv_proj,1,5.0\nqkv_proj,64,15.5\nqkv_proj,128,40.0\n\
                down_proj,1,36\no_proj,1,12\n";
    write(&folder, path, text);
    let ran = import(&folder, "--system H100");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    // 6144 x 4096 weights of two bytes at 3.35 TB/s: 15.02 us.
    let tables_of = tables(&folder);
    let qkv = |m: u32| us(&tables_of, (KernelOp::Gemm, ""), &[6144, 4096], m);
    assert!(close(qkv(1), 2.0 * 6144.0 * 4096.0 / 3.35e6), "{}", qkv(1));
    assert!(close(qkv(64), 15.5) && close(qkv(128), 40.0));
    let told = "matrix products: 1 of 25 times are shorter than reading the weights from the memory of H100 takes";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
}

#[test]
fn damaged_profiles_name_file_line_and_column() {
    let refused = |folder: &Folder, flags: &str| {
        let ran = import(folder, flags);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{}", ran.stderr);
        assert!(!folder.path().join("out.tables").exists());
        ran.stderr
    };
    let path = "compute/h100/meta-llama/Llama-3.1-8B/mlp.csv";
    let good = products(&[1], 1.0);
    let lines: Vec<&str> = good.lines().collect();
    for (text, expected) in [
        (
            good.replacen("num_tokens", "tokens", 1),
            "mlp.csv: line 1: unknown column \"num_tokens\"; did you mean \"tokens\"?",
        ),
        (
            good.replacen("True,16,", "True,sixteen,", 1),
            "mlp.csv: line 3, column num_tokens: found \"sixteen\", expected a whole number above 0",
        ),
        (
            good.replacen("True,16,", "maybe,16,", 1),
            "line 3, column use_gated_mlp: found \"maybe\", expected True or False",
        ),
        (
            format!("{}\n{}\n1,2\n", lines[0], lines[1]),
            "mlp.csv: line 3: found 2 fields, expected 12 as in the header",
        ),
        (
            format!("{}\n", lines[0]),
            "mlp.csv: line 2: found no row, expected measurements",
        ),
        (
            format!("{}\n-1,1,1,1,32,8,4096,14336,1,True,1,1\n", lines[0]),
            "line 2, column time_stats.attn_pre_proj.median: found \"-1\", expected a time above 0",
        ),
        (
            format!("{}\n1,1,1,1,32,8,4096,14336,1,True,1,3\n", lines[0]),
            "line 2, column n_head: found \"32\", expected a multiple of num_tensor_parallel_workers, 3",
        ),
        (
            format!("{}\n1,1,1,1,33,8,4096,14336,1,True,1,1\n", lines[0]),
            "line 2, column n_head: found \"33\", expected a divisor of n_embd, 4096",
        ),
    ] {
        let folder = vidur(1.0);
        write(&folder, path, &text);
        let message = refused(&folder, "--system h100");
        assert!(message.contains(expected), "{expected}\n{message}");
        assert!(message.contains("meta-llama"), "{message}");
    }
    let folder = vidur(1.0);
    for (flags, expected) in [
        (
            "--system h10",
            "--system: unknown system \"h10\"; did you mean \"h100\"?",
        ),
        (
            "--system h100 --vllm-version 0.19.0",
            "--vllm-version has no effect on Vidur's profiles",
        ),
        ("@/compute --system h100", "found several folders"),
    ] {
        let message = refused(&folder, flags);
        assert!(message.contains(expected), "{expected}\n{message}");
    }
    // A GPU without a name and without built-in tables.
    let from = folder.path().join("compute/h100");
    std::fs::rename(from, folder.path().join("compute/a40")).expect("renamed");
    let message = refused(&folder, "--system a40");
    assert!(
        message.contains("a40 has no name here; give --gpu NAME"),
        "{message}"
    );
    let ran = import(&folder, "--system a40 --gpu A40");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told =
        "experts: not in it, and no tables of A40 are built in: runs that need them are refused";
    assert!(ran.stderr.contains(told), "{}", ran.stderr);

    let folder = llmservingsim(true);
    let meta = "perf/H100/meta-llama/Llama-3.1-8B/bf16/meta.yaml";
    write(&folder, meta, "gpu: H100\n");
    let message = refused(&folder, "--system H100");
    assert!(
        message.contains("meta.yaml: vllm_version: found null, expected a version"),
        "{message}"
    );
    let folder = llmservingsim(true);
    std::fs::remove_file(folder.path().join(meta).with_file_name("tp2/dense.csv"))
        .expect("removed");
    let message = refused(&folder, "--system H100");
    assert!(message.contains("tp2/dense.csv"), "{message}");
    let folder = Folder::with(&[("something.csv", "a\n1\n")]);
    let message = refused(&folder, "--system h100");
    assert!(
        message.contains("no measurements") && message.contains("Vidur"),
        "{message}"
    );
}
