//! Hostile trace files, extreme numbers, and outputs that cannot be written: an error or a right
//! result, never a panic, and nothing half-written.

use crate::errors::Folder;
use crate::support::root;
use std::process::{Command, Stdio};

const FIVE: &str = "t,a,b,p,o\n1,x,y,\"[1,2]\",\"[3]\"\n";
const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,10,5\n";

#[test]
fn rows_of_traces_name_line_column_and_element() {
    let folder = Folder::with(&[]);
    let time = "column \"t\": expected an arrival time in seconds, finite and 0 or more, found";
    let ids = "column \"p\": expected token ids as a JSON array like \"[1, 2, 3]\", found";
    let five = |row: &str| format!("{FIVE}{row}\n");
    let azure = |row: &str| format!("{AZURE}{row}\n");
    for (text, message) in [
        (five("-1,x,y,[1],[1]"), format!(":3: {time} \"-1\"")),
        (five("NaN,x,y,[1],[1]"), format!(":3: {time} \"NaN\"")),
        (five("inf,x,y,[1],[1]"), format!(":3: {time} \"inf\"")),
        (five("1e300,x,y,[1],[1]"), format!(":3: {time} \"1e300\"")),
        (five("1,x,y,1,[1]"), format!(":3: {ids} \"1\": it does not begin with \"[\"")),
        (five("1,x,y,\"[1,2\",[1]"), format!(":3: {ids} \"[1,2\": it does not end with \"]\"")),
        (five("1,x,y,\"[1,two]\",[1]"), format!(":3: {ids} \"[1,two]\": element 2 is \"two\", not a token id")),
        (five("1,x,y,[[1]],[1]"), format!(":3: {ids} \"[[1]]\": element 1 is \"[1]\", not a token id")),
        (five("1,x,y,[4294967296],[1]"), format!(":3: {ids} \"[4294967296]\": element 1 is \"4294967296\", not a token id")),
        (five("1,x,y,[1]"), ":3: the row has 4 fields, the header row has 5".into()),
        (five("1,x,y,\"[1],[1]"), ":3: a quoted field that begins in this row is not closed".into()),
        (
            AZURE.replace("GeneratedTokens", "GeneratedTokns"),
            ":1: the column \"GeneratedTokens\" is missing (the header has \"GeneratedTokns\": is that it?)".into(),
        ),
        (
            AZURE.replace("ContextTokens,", "ContextTokens,Other,"),
            ":2: the row has 3 fields, the header row has 4".into(),
        ),
        (
            azure("2023-11-16 18:17:04,-10,5"),
            ":3: column \"ContextTokens\": expected a whole number from 0 to 1073741823, found \"-10\"".into(),
        ),
        (
            azure("yesterday,10,5"),
            ":3: column \"TIMESTAMP\": expected a time like 2023-11-16 18:17:03.9799600, found \"yesterday\"".into(),
        ),
    ] {
        folder.write("t.csv", text.as_bytes());
        assert_eq!(folder.refused("--workload @/t.csv --strict"), format!("@/t.csv{message}"));
    }
    for text in [FIVE, AZURE] {
        for text in [
            text.to_owned(),
            text.replace('\n', "\r\n"),
            format!("\u{feff}{text}"),
        ] {
            folder.write("t.csv", text.as_bytes());
            let ran = folder.fine("--workload @/t.csv");
            assert!(
                ran.stdout.contains("1 arrived: 1 completed"),
                "{text}\n{}",
                ran.stdout
            );
        }
    }
}

#[test]
fn what_is_no_trace_is_told_what_would_be_one() {
    let folder = Folder::with(&[]);
    let cases: [(&[u8], &str); 7] = [
        (b"", "the file is empty; understood are: "),
        (b" \n\n", "the file is empty; understood are: "),
        (
            b"a,b\n1,2\n",
            "the file begins with a row of unknown columns: \"a,b\"; --map arrival=COLUMN,prompt=COLUMN,output=COLUMN says which is what; understood are: ",
        ),
        (
            b"t,a,\0,p,o\n1,x,y,[1],[1]\n",
            "the file is binary, not text; understood are: ",
        ),
        (
            b"\x1f\x8b\x08\0\0",
            "cannot read: its gzip data are damaged",
        ),
        (b"{\"timestamp\": 1}\n", "the file begins like JSON: "),
        (
            b"\xff\xfe\n",
            "the file begins with a row of unknown columns: ",
        ),
    ];
    for (bytes, message) in cases {
        folder.write("t.csv", bytes);
        folder.check_beginnings(&[("--workload @/t.csv", &format!("@/t.csv: {message}"))]);
    }
    folder.write("t.csv", &[FIVE.as_bytes(), b"1,\xff,y,[1],[1]\n"].concat());
    assert_eq!(
        folder.refused("--workload @/t.csv --strict"),
        "@/t.csv:3: field 2 is not UTF-8 text"
    );
    for (flags, message) in [
        ("--workload @", "@: cannot read: it is a folder"),
        (
            "--workload traces --workload-traces-filepath @/none",
            "@/none: cannot read: no such file or folder",
        ),
        (
            "--workload traces",
            "--workload traces needs --workload-traces-filepath FILE",
        ),
        (
            "--workload /dev/null",
            "/dev/null: cannot read: it is a pipe or a device; a trace is read twice and must be a file",
        ),
    ] {
        assert_eq!(folder.refused(flags), message);
    }
    let ran = folder.command("replay @/none.csv --model llama-3.1-8b-instruct");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .ends_with("none.csv: cannot read: no such file or folder\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn huge_lines_and_deep_nesting_are_told_in_a_line() {
    let folder = Folder::with(&[]);
    const MANY: usize = 50_000_000;
    let nested = [
        b"t,a,b,p,o\n1,x,y,".to_vec(),
        vec![b'['; MANY],
        vec![b']'; MANY],
        b",[1]\n".to_vec(),
    ]
    .concat();
    folder.write("t.csv", &nested);
    let message = folder.refused("--workload @/t.csv");
    assert!(
        message.starts_with("@/t.csv:2: column \"p\": expected token ids"),
        "{message}"
    );
    assert!(message.len() < 500, "{message}");
    folder.write("t.csv", &vec![b'x'; 2 * MANY]);
    let message = folder.refused("--workload @/t.csv");
    assert!(
        message.starts_with("@/t.csv: the file begins with a row of unknown columns"),
        "{message}"
    );
    assert!(message.len() < 700, "{message}");
    for text in [
        "admission: ".to_owned() + &"[".repeat(100_000),
        "admission: ".to_owned() + &"{a: ".repeat(100_000),
    ] {
        folder.write("p.yaml", text.as_bytes());
        let message = folder.refused("--policy-config @/p.yaml");
        assert!(
            message.starts_with("@/p.yaml:1:") && message.len() < 500,
            "{message}"
        );
    }
    // Every alias doubles what it stands for.
    let bomb: String = (1..40)
        .map(|k| format!("k{k}: &k{k} [*k{}, *k{}]\n", k - 1, k - 1))
        .collect();
    folder.write("p.yaml", format!("k0: &k0 [x, x]\n{bomb}").as_bytes());
    folder.check_beginnings(&[(
        "--policy-config @/p.yaml",
        "@/p.yaml:1:1: unknown key \"k0\"",
    )]);
    folder.write("config.json", "[".repeat(100_000).as_bytes());
    folder.check_beginnings(&[
        ("--model-config-folder @", "@/config.json:1:"),
        (
            "--hardware-config @/config.json --latency-model roofline",
            "@/config.json:1",
        ),
        (
            "--policy-config /dev/zero",
            "/dev/zero: cannot read: it is a device; expected a regular file",
        ),
    ]);
}

/// Runs with an address space of 3 GB, so that gigabytes are a failure.
fn within_memory(flags: &str) -> (Option<i32>, String, String) {
    let script = "ulimit -v 3000000; exec \"$0\" run --model llama-3.1-8b-instruct \"$@\"";
    let run = Command::new("sh")
        .current_dir(root())
        .args(["-c", script, env!("CARGO_BIN_EXE_windtunnel")])
        .args(flags.split_whitespace())
        .output()
        .expect("a shell");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (run.status.code(), text(run.stdout), text(run.stderr))
}

#[cfg(unix)]
#[test]
fn extreme_numbers_give_a_result_or_an_error() {
    let u32_max = u32::MAX;
    let u64_max = u64::MAX;
    let usual = within_memory("--num-requests 5").1;
    let numbers = |text: &str| {
        let kept = |l: &&str| {
            l.starts_with("Requests") || l.starts_with("Throughput") || l.starts_with('│')
        };
        text.lines()
            .filter(kept)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // More than enough is as good as enough.
    for flag in [
        format!("--max-num-seqs {u32_max}"),
        format!("--max-num-batched-tokens {u32_max}"),
        format!("--long-prefill-token-threshold {u32_max}"),
        format!("--snapshot-refresh-interval {u32_max}"),
        format!("--cache-signal-delay {u32_max}"),
        format!("--total-kv-blocks {u64_max}"),
        format!("--total-kv-blocks {u64_max} --block-size {u32_max}"),
        format!("--total-kv-blocks {u64_max} --max-model-len {u64_max}"),
        format!("--counterfactual-k {u64_max} --trace-level decisions"),
        format!("--horizon {}", i64::MAX),
        "--timeout 1e300".into(),
        "--timeout -1e300".into(),
        "--slo-ttft 99999999999999999999h".into(),
        "--detectors all --saturation-final-window 1e300".into(),
    ] {
        let (code, out, err) = within_memory(&format!("--num-requests 5 {flag}"));
        assert_eq!(code, Some(0), "{flag}\n{err}");
        assert_eq!(numbers(&out)[0], numbers(&usual)[0], "{flag}");
    }
    for flag in [
        "--rate 1e300".into(),
        "--rate 1e-300".into(),
        format!("--seed {u64_max}"),
        format!("--admission-latency {u32_max} --routing-latency {u32_max}"),
        "--alpha-coeffs 0,0,0 --beta-coeffs 0,0,0".into(),
        "--total-kv-blocks 1".into(),
        "--max-num-seqs 1 --max-num-batched-tokens 1".into(),
        "--prompt-tokens-max 2000000000".into(),
        "--output-tokens-stdev 4294967295 --prompt-tokens-stdev 4294967295".into(),
        "--prefix-tokens 2000000000".into(),
        "--pp 32 --core-schedule-us 1000000,1000000".into(),
        "--rules vllm --pp 2 --gpus-per-node 1 --inter-node-bandwidth 1e-300".into(),
    ] {
        let (code, out, err) = within_memory(&format!("--num-requests 5 {flag}"));
        assert_eq!(code, Some(0), "{flag}\n{err}");
        assert!(out.contains("Requests: "), "{flag}\n{out}");
    }
    for flag in [
        format!("--num-instances {u32_max}"),
        format!("--tp {u32_max}"),
        format!("--dp {u32_max}"),
        format!("--pp {u32_max}"),
        format!("--pp 2 --tp {u32_max}"),
        "--tp 2 --gpus-per-node 0".into(),
        "--tp 2 --gpus-per-node 1 --inter-node-bandwidth 1e400".into(),
        format!("--prompt-tokens {u32_max}"),
        format!("--prefix-tokens {u32_max}"),
        format!("--num-requests {u32_max}"),
        format!("--max-model-len {u64_max}"),
        "--alpha-coeffs 1e400,1,1 --beta-coeffs 1,1,1".into(),
        "--alpha-coeffs 1e300,1e300,1e300 --beta-coeffs 1e300,1e300,1e300".into(),
    ] {
        let (code, out, err) = within_memory(&flag);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{flag}\n{err}");
        assert!(err.starts_with("error: "), "{flag}\n{err}");
    }
}

#[test]
fn a_prompt_that_can_never_fit_is_dropped_and_reported() {
    let folder = Folder::with(&[("t.csv", &format!("{AZURE}2023-11-16 18:17:05,400000,5\n"))]);
    let ran = folder.fine("--workload @/t.csv --results-path @/r.csv");
    assert!(
        ran.stdout.contains("2 arrived: 1 completed, 1 dropped"),
        "{}",
        ran.stdout
    );
    let told = "! 1 request can never be served: its prompt and output exceed the model length or the KV cache";
    assert!(ran.stdout.contains(told), "{}", ran.stdout);
    let rows = std::fs::read_to_string(folder.path().join("r.csv")).unwrap();
    let outcomes: Vec<&str> = rows
        .lines()
        .skip(1)
        .map(|l| l.split(',').nth(2).unwrap())
        .collect();
    assert_eq!(outcomes, ["completed", "dropped"]);
}

#[test]
fn outputs_that_cannot_be_written_are_refused_before_the_run() {
    let folder = Folder::with(&[("FILE", "x"), ("t.csv", FIVE)]);
    std::fs::create_dir(folder.path().join("d.csv")).unwrap();
    let before = folder.names();
    for (flags, message) in [
        (
            "--results-path @/none/r.csv",
            "@/none/r.csv: there is no folder @/none",
        ),
        (
            "--results-path @/FILE/r.csv",
            "@/FILE/r.csv: @/FILE is not a folder",
        ),
        (
            "--metrics-path @/FILE/m",
            "@/FILE/m: @/FILE is not a folder",
        ),
        (
            "--trace-output @/FILE/t",
            "@/FILE/t.yaml: @/FILE is not a folder",
        ),
        (
            "--trace-level decisions --decisions-path @/FILE/d",
            "@/FILE/d: @/FILE is not a folder",
        ),
        (
            "--detectors all --saturation-report @/FILE/d",
            "@/FILE/d: @/FILE is not a folder",
        ),
        (
            "--results-path @/d.csv",
            "@/d.csv: it is a folder; expected a file name",
        ),
        (
            "--results-path @/r.txt",
            "@/r.txt: the file's name must end in .csv, .json, .jsonl or .parquet",
        ),
        (
            "--results-path @/r",
            "@/r: the file's name must end in .csv, .json, .jsonl or .parquet",
        ),
        (
            "--results-path @/a.json --metrics-path @/a.json",
            "@/a.json: two outputs would go to the same file",
        ),
        (
            "--results-path @/a.json --metrics-path @/d.csv/../a.json",
            "@/d.csv/../a.json: two outputs would go to the same file",
        ),
        (
            "--results-path @/a.csv --trace-output @/a",
            "@/a.csv: two outputs would go to the same file",
        ),
        (
            "--workload @/t.csv --results-path @/t.csv",
            "@/t.csv: it would be overwritten, but the run reads it",
        ),
        // A good output beside a bad one, and a run that fails later.
        (
            "--metrics-path @/m --results-path @/FILE/r.csv",
            "@/FILE/r.csv: @/FILE is not a folder",
        ),
        (
            "--metrics-path @/m --results-path @/r.csv --trace-output @/x --rate 0",
            "--rate is 0; expected a finite number above 0, in requests per second",
        ),
    ] {
        assert_eq!(folder.refused(flags), message);
        assert_eq!(folder.names(), before, "{flags}");
    }
    folder.fine("--num-requests 2 --metrics-path @/m --results-path @/r.csv --trace-output @/x --detectors all --saturation-report @/s");
    assert_eq!(
        folder.names(),
        [
            "FILE", "d.csv", "m", "r.csv", "s", "t.csv", "x.csv", "x.yaml"
        ]
    );
    // Over itself, and to a device that takes everything.
    folder.fine("--num-requests 2 --metrics-path @/m --results-path @/r.csv");
    folder.fine("--num-requests 2 --metrics-path /dev/null --trace-level decisions --decisions-path /dev/null");
}

/// No files when one of them fails after all checks.
#[cfg(target_os = "linux")]
#[test]
fn when_one_output_fails_none_appears() {
    let folder = Folder::with(&[]);
    let ran = folder
        .run("--num-requests 2 --results-path @/r.csv --trace-output @/x --metrics-path /dev/full");
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert_eq!(
        ran.stderr,
        "error: /dev/full: cannot write: no space left on the device\n"
    );
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    let streamed = "--num-requests 2 --summary-only --results-path @/r.csv --trace-level decisions";
    let ran = folder.run(&format!("{streamed} --decisions-path /dev/full"));
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    folder.fine(&format!("{streamed} --decisions-path @/d"));
    assert_eq!(folder.names(), ["d", "r.csv"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_a_failure_and_a_closed_pipe_is_not() {
    let run = |args: &str, out: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_windtunnel"))
            .args(args.split(' '))
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .expect("started")
    };
    let simulate = "run --model llama-3.1-8b-instruct --num-requests 5";
    for args in [
        simulate,
        &format!("{simulate} --json"),
        "models",
        "completions zsh",
    ] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let ran = run(args, full.into()).wait_with_output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{args}");
        assert_eq!(
            String::from_utf8(ran.stderr).unwrap(),
            "error: cannot write to standard output: no space left on the device\n"
        );
        let mut child = run(args, Stdio::piped());
        drop(child.stdout.take());
        let ran = child.wait_with_output().unwrap();
        assert_eq!(
            (ran.status.code(), &ran.stderr[..]),
            (Some(0), &b""[..]),
            "{args}"
        );
    }
}
