//! Wrong flags and files: each has one clear message, exit code 2, and nothing on stdout; its good
//! twin works.

use crate::support::{Ran, windtunnel};
use std::path::Path;
use tempfile::TempDir;

/// A folder with files for the flags; `@` in arguments and messages stands for it.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).expect("written");
    }

    /// Names of what lies in it, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.path()).expect("readable");
        let name = |f: std::io::Result<std::fs::DirEntry>| f.unwrap().file_name().into_string();
        let mut names: Vec<String> = files.map(|f| name(f).expect("UTF-8")).collect();
        names.sort();
        names
    }

    /// Runs the command; arguments are separated by spaces, `''` is an empty one.
    pub(crate) fn command(&self, args: &str) -> Ran {
        let here = self.path().display().to_string();
        windtunnel(args.split_whitespace().map(|a| match a {
            "''" => String::new(),
            a => a.replace('@', &here),
        }))
    }

    /// A small run with more flags.
    pub(crate) fn run(&self, flags: &str) -> Ran {
        self.command(&format!("run --model llama-3.1-8b-instruct {flags}"))
    }

    /// The one line that a refused run says.
    pub(crate) fn refused(&self, flags: &str) -> String {
        let ran = self.run(flags);
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (2, ""),
            "{flags}\n{}",
            ran.stderr
        );
        let message = ran.stderr.replace(&self.path().display().to_string(), "@");
        let message = message.strip_suffix('\n').unwrap_or(&message);
        assert!(
            !message.contains('\n'),
            "more than a line for {flags}:\n{message}"
        );
        let message = message.strip_prefix("error: ");
        message
            .unwrap_or_else(|| panic!("{flags}: {}", ran.stderr))
            .to_owned()
    }

    pub(crate) fn fine(&self, flags: &str) -> Ran {
        let ran = self.run(flags);
        assert_eq!(ran.code, 0, "{flags}\n{}", ran.stderr);
        assert!(
            !ran.stdout.is_empty() && !ran.stderr.contains("error"),
            "{flags}"
        );
        ran
    }

    /// Each line of flags with the whole message that refuses it.
    fn check(&self, cases: &[(&str, &str)]) {
        for (flags, message) in cases {
            assert_eq!(self.refused(flags), *message, "{flags}");
        }
    }

    /// Each line of flags with the beginning of the message that refuses it.
    pub(crate) fn check_beginnings(&self, cases: &[(&str, &str)]) {
        for (flags, beginning) in cases {
            let message = self.refused(flags);
            assert!(
                message.starts_with(beginning),
                "{flags}\n{message}\n{beginning}"
            );
        }
    }
}

#[test]
fn unknown_names_come_with_the_nearest_and_all_valid_ones() {
    let folder = Folder::with(&[]);
    // The built-ins come first, then the scripts of the library.
    folder.check_beginnings(&[
        (
            "--admission-policy tokn-bucket",
            "unknown admission policy \"tokn-bucket\"; did you mean \"token-bucket\"? valid: always-admit, token-bucket, \
             reject-all, tier-shed, gaie-legacy",
        ),
        (
            "--routing-policy leastloaded",
            "unknown routing policy \"leastloaded\"; did you mean \"least-loaded\"? valid: round-robin, least-loaded, \
             weighted, prefix-affinity, always-busiest, lora-affinity",
        ),
        (
            "--scheduler sfj",
            "unknown scheduler \"sfj\"; did you mean \"sjf\"? valid: fcfs, priority-fcfs, sjf, reverse-priority",
        ),
        (
            "--priority-policy slo",
            "unknown priority policy \"slo\"; did you mean \"slo-class\"? valid: slo-class, constant, client, slo-based, \
             inverted-slo",
        ),
        (
            "--preemption-policy prioritty",
            "unknown preemption policy \"prioritty\"; did you mean \"priority\"? valid: fcfs, priority",
        ),
        (
            "--routing-policy vtc",
            "unknown routing policy \"vtc\": it fills scheduler; valid: round-robin, least-loaded, weighted",
        ),
        (
            "--admission-policy fcfs",
            "unknown admission policy \"fcfs\": it fills scheduler and preemption; valid: always-admit, token-bucket",
        ),
    ]);
    for (args, message) in [
        (
            "policy show vtcc",
            "unknown policy \"vtcc\"; did you mean \"vtc\"? \"windtunnel policy list\" lists all of them\n",
        ),
        (
            "policy show qqqq",
            "unknown policy \"qqqq\"; \"windtunnel policy list\" lists all of them\n",
        ),
        (
            "policy show vtc --hook preemption",
            "unknown preemption policy \"vtc\": it fills scheduler; valid: fcfs, priority",
        ),
    ] {
        let ran = folder.command(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
        let said = ran.stderr.strip_prefix("error: ").expect("an error");
        assert!(said.starts_with(message), "{args}\n{said}");
    }
    folder.check_beginnings(&[(
        "--hardware H10",
        "unknown GPU \"H10\"; did you mean \"H100\"? valid: A100-40, A100-80,",
    )]);
    folder.check(&[
        (
            "--routing-policy weighted --routing-scorers queue-dept:1",
            "unknown scorer \"queue-dept\"; did you mean \"queue-depth\"? valid: precise-prefix-cache, prefix-affinity, \
             no-hit-lru, queue-depth, kv-utilization, load-balance, active-requests, running-requests, load-aware, \
             vllm-dp, precise-prefix-share, token-load, session-affinity, lora-affinity",
        ),
        (
            "--detectors treshold",
            "--detectors: unknown detector \"treshold\"; did you mean \"threshold\"? valid: backlog-drift, composite, \
             threshold, all",
        ),
        (
            "--workload chatbt",
            "unknown workload \"chatbt\"; did you mean \"chatbot\"? valid: chatbot, contentgen, multidoc, summarization, \
             distribution, xpusim, traces; and there is no file of that name",
        ),
        (
            "--moe-comm-backend naiv",
            "unknown expert communication backend \"naiv\"; did you mean \"naive\"? valid: allgather_reducescatter, \
             naive, pplx, deepep_high_throughput, deepep_low_latency, mori, flashinfer_all2allv",
        ),
    ]);
    let ran = folder.command("run --model llama-3.1-8b-instrct");
    assert_eq!(ran.code, 2);
    let beginning =
        "error: unknown model \"llama-3.1-8b-instrct\"; nearest: llama-3.1-8b-instruct, ";
    assert!(ran.stderr.starts_with(beginning), "{}", ran.stderr);
    for flags in [
        "--hardware h100",
        "--admission-policy token-bucket --routing-policy weighted --routing-scorers queue-depth:1,load-aware:2",
        "--scheduler sjf --preemption-policy priority --priority-policy slo-based --detectors all",
        "--workload chatbot",
    ] {
        folder.fine(flags);
    }
}

#[test]
fn a_flag_without_effect_is_refused_with_the_reason() {
    let trace = "t,a,b,p,o\n0.5,x,y,\"[1,2]\",\"[3]\"\n";
    let folder = Folder::with(&[
        ("t.csv", trace),
        ("hw.json", "{}"),
        ("s.yaml", "threshold: {threshold_ms: 5}\n"),
    ]);
    let no_trace = "has no effect without --trace-level decisions";
    let no_detectors = "has no effect without --detectors";
    let not_bucket = "has no effect with admission policy \"always-admit\"; it belongs to --admission-policy token-bucket";
    let not_weighted = "has no effect with routing policy \"round-robin\"; it belongs to --routing-policy weighted";
    let no_records = "has no effect with --summary-only, which keeps no request's record";
    let no_experts = "has no effect without data parallelism (--dp) of a mixture-of-experts model";
    let recorded = "has no effect with a trace file, whose requests come as recorded; --rate-scale makes them faster";
    let not_synthetic = "has no effect with synthetic traffic; it chooses from a trace file";
    let preset = "has no effect with the preset \"chatbot\", which sets all lengths; use --workload distribution";
    let own_lengths = "has no effect with a trace file, whose requests have their own lengths";
    let cases = [
        ("--trace-from 2", not_synthetic),
        ("--strict --workload chatbot", not_synthetic),
        ("--counterfactual-k 2", no_trace),
        ("--summarize-trace", no_trace),
        ("--decisions-path @/d", no_trace),
        ("--saturation-report @/d", no_detectors),
        (
            "--kv-events-path @/k --rules blis",
            "has no effect under blis rules, whose simulator publishes none; give --rules vllm",
        ),
        (
            "--kv-events-path @/k --rules vllm --no-enable-prefix-caching",
            "has no effect without prefix caching (--[no-]enable-prefix-caching)",
        ),
        ("--saturation-final-window 5", no_detectors),
        ("--saturation-config @/s.yaml", no_detectors),
        ("--token-bucket-capacity 5", not_bucket),
        ("--token-bucket-refill-rate 5", not_bucket),
        ("--routing-scorers queue-depth:1", not_weighted),
        ("--routing-cache-weight 1", not_weighted),
        ("--routing-load-weight 1", not_weighted),
        (
            "--priority-policy constant",
            "has no effect because nothing reads priorities; choose --scheduler priority-fcfs or reverse-priority, or \
             --preemption-policy priority",
        ),
        ("--metrics-path @/m --summary-only", no_records),
        ("--trace-output @/m --summary-only", no_records),
        ("--slo-ttft 5ms --summary-only", no_records),
        ("--slo-itl 5ms --summary-only", no_records),
        ("--slo-e2e 5ms --summary-only", no_records),
        ("--detectors all --summary-only", no_records),
        (
            "--enable-expert-parallel",
            "has no effect without several GPUs per instance (--tp, --dp) and a mixture-of-experts model",
        ),
        ("--moe-comm-backend naive", no_experts),
        (
            "--vllm-version v0.8.4 --latency-model roofline",
            "has no effect with latency model roofline; it selects fitted coefficients (--latency-model blackbox)",
        ),
        (
            "--vllm-version v9",
            "has no effect because meta-llama/llama-3.1-8b-instruct has no fitted coefficients for this version, GPU and \
             tensor parallelism; \"windtunnel models meta-llama/llama-3.1-8b-instruct\" lists those it has",
        ),
        (
            "--gpu-memory-utilization 0.5 --rules blis",
            "has no effect because the number of KV blocks is that of the fitted deployment; --total-kv-blocks changes \
             it",
        ),
        (
            "--gpu-memory-utilization 0.5 --total-kv-blocks 500 --latency-model roofline",
            "has no effect because --total-kv-blocks sets the KV cache",
        ),
        (
            "--workload-traces-filepath @/t.csv",
            "has no effect with a synthetic workload; give --workload traces",
        ),
        ("--rate 2 --workload @/t.csv", recorded),
        ("--prefix-tokens 2 --workload @/t.csv", own_lengths),
        ("--output-tokens-max 9 --workload @/t.csv", own_lengths),
        ("--prompt-tokens 2 --workload chatbot", preset),
        ("--prompt-tokens-stdev 2 --workload chatbot", preset),
        ("--output-tokens-min 2 --workload chatbot", preset),
    ];
    for (flags, why) in cases {
        let flag = flags.split(' ').next().unwrap();
        assert_eq!(folder.refused(flags), format!("{flag} {why}"));
    }
    let ran = folder.command("replay @/t.csv --model llama-3.1-8b-instruct --think-time-ms 5");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: --think-time-ms has no effect in fixed session mode; it goes with --session-mode closed-loop\n"
        )
    );
    let ran =
        folder.command("replay @/t.csv --model llama-3.1-8b-instruct --session-mode closed-loop");
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr
            .contains("this is a five-column trace: it has no sessions"),
        "{}",
        ran.stderr
    );
    for flags in [
        "--trace-level decisions --counterfactual-k 2 --summarize-trace --decisions-path @/d",
        "--detectors all --saturation-report @/r --saturation-final-window 5 --saturation-config @/s.yaml",
        "--admission-policy token-bucket --token-bucket-capacity 5 --token-bucket-refill-rate 5",
        "--routing-policy weighted --routing-cache-weight 1 --routing-load-weight 1",
        "--scheduler priority-fcfs --priority-policy constant",
        "--vllm-version 0.8.4",
        "--gpu-memory-utilization 0.8 --latency-model roofline",
        "--workload traces --workload-traces-filepath @/t.csv",
    ] {
        folder.fine(flags);
    }
    let moe = "run --model qwen3-30b-a3b --tp 2 --dp 2 --enable-expert-parallel --latency-model trained-physics \
               --moe-comm-backend naive";
    assert_eq!(folder.command(moe).code, 0);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let folder = Folder::with(&[]);
    let rate = "expected a finite number above 0, in requests per second";
    for (given, shown) in [("NaN", "NaN"), ("-1", "-1"), ("inf", "inf"), ("0", "0")] {
        assert_eq!(
            folder.refused(&format!("--rate {given}")),
            format!("--rate is {shown}; {rate}")
        );
    }
    for flag in [
        "num-instances",
        "max-num-running-reqs",
        "max-num-scheduled-tokens",
        "tp",
        "dp",
        "block-size-in-tokens",
    ] {
        assert_eq!(
            folder.refused(&format!("--{flag} 0")),
            format!("--{flag} must be at least 1, found 0")
        );
    }
    folder.check(&[
        ("--max-num-seqs 0", "--max-num-running-reqs must be at least 1, found 0"),
        ("--num-instances 100001", "--num-instances must be at most 100000, found 100001"),
        ("--total-kv-blocks 0", "the number of KV blocks must be 1 or more"),
        ("--num-requests 0", "--num-requests is 0; expected 1 to 2147483646"),
        ("--num-requests 18446744073709551615", "--num-requests is 18446744073709551615; expected 1 to 2147483646"),
        ("--horizon 0", "--horizon 0 must be above 0, in microseconds"),
        ("--horizon -5", "--horizon -5 must be above 0, in microseconds"),
        ("--timeout 0", "--timeout 0 must be above 0 seconds, or negative for none"),
        ("--timeout NaN", "--timeout NaN must be above 0 seconds, or negative for none"),
        ("--timeout inf", "--timeout inf must be above 0 seconds, or negative for none"),
        ("--timeout 1e-9", "--timeout is 0 us; expected a time above 0"),
        ("--prompt-tokens-min 0", "--prompt-tokens-min is 0; expected at least 1"),
        ("--output-tokens-min 9000", "--output-tokens-min 9000 is above --output-tokens-max 7000"),
        (
            "--prompt-tokens 8000",
            "--prompt-tokens is 8000; expected a mean between --prompt-tokens-min 2 and --prompt-tokens-max 7000",
        ),
        (
            "--prompt-tokens-max 4294967295",
            "--prefix-tokens, --prompt-tokens-max and --output-tokens-max are 4294974295 tokens together; expected at \
             most 2147483647",
        ),
        ("--gpu-memory-utilization NaN", "GPU memory utilization is NaN; expected above 0 and at most 1"),
        ("--gpu-memory-utilization 1.1", "GPU memory utilization is 1.1; expected above 0 and at most 1"),
        ("--detectors all --saturation-final-window NaN", "--saturation-final-window NaN must be above 0 seconds"),
        (
            "--routing-policy weighted --routing-scorers queue-depth:NaN",
            "weight NaN of scorer \"queue-depth\" must be a positive finite number",
        ),
        (
            "--routing-policy weighted --routing-scorers queue-depth",
            "scorer \"queue-depth\" has no weight; expected name:weight, such as queue-depth:1",
        ),
        (
            "--routing-policy weighted --routing-scorers queue-depth:1,queue-depth:2",
            "scorer \"queue-depth\" is named twice",
        ),
        (
            "--routing-policy weighted --routing-cache-weight NaN",
            "the cache weight NaN and the load weight 0.4 must be numbers of 0 or more, not both 0",
        ),
        (
            "--routing-policy weighted --routing-cache-weight 1 --routing-scorers queue-depth:1",
            "give --routing-scorers or --routing-cache-weight and --routing-load-weight, not both",
        ),
        (
            "--admission-policy token-bucket --token-bucket-capacity -1",
            "--token-bucket-capacity must be a positive number, found -1",
        ),
        (
            "--admission-policy token-bucket --token-bucket-refill-rate inf",
            "--token-bucket-refill-rate must be a positive number, found inf",
        ),
        (
            "--admission-policy token-bucket --policy-param capacity=0",
            "admission policy \"token-bucket\": parameter \"capacity\" is 0; expected a number above 0",
        ),
        (
            "--admission-policy token-bucket --policy-param capcity=5",
            "--policy-param: unknown parameter \"capcity\"; valid: admission.capacity, admission.refill_rate",
        ),
        (
            "--policy-param scheduler.capacity=5",
            "scheduler \"fcfs\": the policy declares no parameters, found \"capacity\"",
        ),
        ("--slo-ttft 0ms", "--slo-ttft: a target must be above 0, found \"0ms\""),
        ("--slo-ttft 5", "--slo-ttft: expected a duration like 100ms, 5s or 1m30s, found \"5\""),
        ("--slo-e2e a=5lightyears", "--slo-e2e: expected a duration like 100ms, 5s or 1m30s, found \"5lightyears\""),
        ("--slo-itl =5ms", "--slo-itl: expected class=duration, found \"=5ms\""),
        ("--slo-itl a=5ms,a=4ms", "--slo-itl: class \"a\" is given twice"),
        ("--fitness-weights throughput", "--fitness-weights: expected key:weight, found \"throughput\""),
        (
            "--fitness-weights thrughput:1",
            "--fitness-weights: unknown fitness metric \"thrughput\"; did you mean \"throughput\"? valid: mean_e2e, \
             mean_ttft, p50_e2e, p50_ttft, p99_e2e, p99_ttft, throughput, tokens_per_sec",
        ),
        (
            "--fitness-weights throughput:NaN",
            "--fitness-weights: the weight of \"throughput\" must be a number of at least 0, found \"NaN\"",
        ),
        ("--fitness-weights throughput:1,throughput:2", "--fitness-weights: \"throughput\" is given twice"),
    ]);
    folder.fine(
        "--rate 0.001 --num-requests 2 --timeout -1 --horizon 1 --slo-ttft 100ms,batch=1m30s",
    );
    folder.fine("--fitness-weights throughput:1,p99_ttft:0 --total-kv-blocks 9000 --block-size 32");
}

#[test]
fn coefficients_and_deployments_must_make_sense() {
    let folder = Folder::with(&[]);
    folder.check(&[
        ("--alpha-coeffs 1,2,3", "alpha and beta coefficients must be given together"),
        ("--beta-coeffs 1,2,3", "alpha and beta coefficients must be given together"),
        ("--alpha-coeffs 1,2 --beta-coeffs 1,2,3", "2 alpha coefficients; expected 3"),
        (
            "--alpha-coeffs 1,2,3 --beta-coeffs 1,2,3,4",
            "4 beta coefficients; expected 3 (blackbox) or 7 to 11 (trained-physics)",
        ),
        (
            "--alpha-coeffs 1,NaN,3 --beta-coeffs 1,2,3",
            "alpha coefficient 1 is NaN; expected a finite number, 0 or above",
        ),
        (
            "--alpha-coeffs 1,2,3 --beta-coeffs -1,2,3",
            "beta coefficient 0 is -1; expected a finite number, 0 or above",
        ),
        (
            "--alpha-coeffs 1,2,3 --beta-coeffs 1,2,inf",
            "beta coefficient 2 is inf; expected a finite number, 0 or above",
        ),
        (
            "--alpha-coeffs 1,2,3 --beta-coeffs 1,2,3 --latency-model roofline",
            "the roofline model has no coefficients; drop them or choose another model",
        ),
        ("--tp 3", "KV capacity: 8 key/value heads cannot be split over 3 GPUs; tensor parallelism must divide them, or be a multiple of them"),
        ("--dp 2 --rules blis", "data parallelism of 2 within an instance is for mixture-of-experts models; this one is dense"),
        (
            "--max-model-len 10000000",
            "--max-model-len 10000000 is above what the KV cache holds: 1024336 tokens (64021 blocks of 16)",
        ),
        (
            "--max-model-len 18446744073709551615",
            "--max-model-len 18446744073709551615 is above what the KV cache holds: 1024336 tokens (64021 blocks of 16)",
        ),
    ]);
    let ran = folder.command("run --model llama-3.1-70b-instruct --tp 1");
    assert_eq!(
        (ran.code, ran.stderr.as_str()),
        (
            2,
            "error: KV capacity: the model does not fit: it needs 133.42 GiB (131.42 weights + 2.00 buffers and copies) \
             before any KV cache, and 72.00 GiB are available (80 GiB x 90% x 1 GPUs). Minimum GPUs per instance: 2\n"
        )
    );
    assert_eq!(
        folder
            .command("run --model llama-3.1-70b-instruct --tp 2 --num-requests 2")
            .code,
        0
    );
    folder.fine("--alpha-coeffs 1,2,3 --beta-coeffs 1,2,3 --max-model-len 8192 --num-requests 2");
    folder.fine("--tp 8 --num-requests 2");
}

#[test]
fn yaml_and_json_files_name_the_line_and_the_nearest_key() {
    let folder = Folder::with(&[
        (
            "good.yaml",
            "routing:\n  policy: weighted\n  scorers: [{name: queue-depth, weight: 2}]\n",
        ),
        ("key.yaml", "routing:\n  polcy: weighted\n"),
        ("policy.yaml", "routing:\n  policy: wieghted\n"),
        ("hook.yaml", "scheduler: least-loaded\n"),
        (
            "broken.yaml",
            "scheduler: sjf\nrouting: {policy: weighted\n",
        ),
        (
            "type.yaml",
            "routing:\n  policy: weighted\n  cache_weight: much\n",
        ),
        ("twice.yaml", "scheduler: fcfs\nscheduler: sjf\n"),
        (
            "weight.yaml",
            "routing: {policy: weighted, scorers: [{name: queue-depth, weight: .nan}]}\n",
        ),
        ("range.yaml", "admission: {slo_priorities: {batch: 500}}\n"),
        ("empty.yaml", ""),
        ("comment.yaml", "# nothing\n---\n"),
        ("scalar.yaml", "weighted\n"),
        ("list.yaml", "- a\n"),
        ("nul.yaml", "scheduler: \0\n"),
        ("hw.json", "{\"H100\": {\"TFlopsPeak\": \"many\"}}"),
        ("cut.json", "{\"H100\": {\n"),
        ("config.json", "[]"),
    ]);
    folder.write("latin.yaml", b"scheduler: \xff\n");
    let keys = "admission, routing, prefill_routing, decode_routing, priority, scheduler, preemption, disaggregation, batching, dispatch, scale, flow_control, autoscale, tenant_budgets, pools";
    for (file, message) in [
        (
            "key",
            ":2:3: unknown key \"polcy\"; did you mean \"policy\"? valid: policy, scorers, cache_weight, load_weight, params",
        ),
        (
            "policy",
            ": routing.policy: unknown routing policy \"wieghted\"; did you mean \"weighted\"? valid: round-robin, \
             least-loaded, weighted, prefix-affinity, always-busiest, lora-affinity",
        ),
        (
            "hook",
            ": scheduler: unknown scheduler \"least-loaded\": it fills routing; valid: fcfs, priority-fcfs",
        ),
        (
            "weight",
            ": routing.scorers: weight NaN of scorer \"queue-depth\" must be a positive finite number",
        ),
        (
            "range",
            ": admission.slo_priorities: priority 500 of class \"batch\" is outside -100..=100",
        ),
        ("empty", ": the file is empty; expected YAML keys"),
        ("comment", ": the file is empty; expected YAML keys"),
        (
            "scalar",
            ":1:1: expected keys with values, such as \"key: value\"",
        ),
        (
            "list",
            ":1:1: expected keys with values, such as \"key: value\"",
        ),
        ("latin", ": cannot read: it is not UTF-8 text"),
        ("none", ": cannot read: no such file or folder"),
    ] {
        let said = folder.refused(&format!("--policy-config @/{file}.yaml"));
        let expected = format!("@/{file}.yaml{message}");
        assert!(said.starts_with(&expected), "{said}\n{expected}");
    }
    // The rest of these messages is the parser's own.
    folder.check_beginnings(&[
        ("--policy-config @/broken.yaml", "@/broken.yaml:2:10: "),
        ("--policy-config @/type.yaml", "@/type.yaml:3:17: "),
        ("--policy-config @/twice.yaml", "@/twice.yaml:2:1: "),
        ("--policy-config @/nul.yaml", "@/nul.yaml:1:"),
        ("--policy-config @", "@: cannot read: it is a folder"),
        (
            "--policy-config @/empty.yaml/x",
            "@/empty.yaml/x: cannot read: part of the path is not a folder",
        ),
        (
            "--defaults-filepath @/key.yaml",
            "@/key.yaml:1:1: unknown key \"routing\"; ",
        ),
        (
            "--defaults-filepath @/scalar.yaml",
            "@/scalar.yaml:1:1: expected keys with values",
        ),
        (
            "--hardware-config @/hw.json --latency-model roofline",
            "@/hw.json:1:",
        ),
        (
            "--hardware-config @/cut.json --latency-model roofline",
            "@/cut.json:",
        ),
        (
            "--hardware-config @/empty.yaml",
            "@/empty.yaml: the file is empty",
        ),
        (
            "--model-config-folder @/none",
            "@/none/config.json: cannot read: no such file or folder",
        ),
        (
            "--model-config-folder @",
            "@/config.json: expected a JSON object",
        ),
        (
            "--detectors all --saturation-config @/key.yaml",
            "@/key.yaml:1:1: unknown key \"routing\"",
        ),
    ]);
    folder.write("stranger.yaml", b"admision: {}\n");
    assert_eq!(
        folder.refused("--policy-config @/stranger.yaml"),
        format!(
            "@/stranger.yaml:1:1: unknown key \"admision\"; did you mean \"admission\"? valid: {keys}"
        )
    );
    folder.fine("--policy-config @/good.yaml --num-requests 2");
    // A byte order mark and Windows line ends are nobody's fault.
    folder.write(
        "windows.yaml",
        "\u{feff}routing:\r\n  policy: least-loaded\r\n".as_bytes(),
    );
    folder.fine("--policy-config @/windows.yaml --num-requests 2");
}
