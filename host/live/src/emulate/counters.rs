//! What a server counts of itself since it started, as vLLM 0.32 does.

use super::job::{End, Load};
use crate::clock::since_1970;
use crate::prometheus::{Histogram, MetricNames, Page, escaped};
use windtunnel_base::record::RequestRecord;
use windtunnel_engine::instance::Instance;

/// Bounds of token counts; vLLM has those up to `max_model_len`.
const TOKENS: [f64; 18] = [
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5,
    5e5,
];
const STEP_TOKENS: [f64; 13] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const TOKEN_GAP: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];
const PREEMPTIONS: [f64; 7] = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0];
const PARAM_N: [f64; 5] = [1.0, 2.0, 5.0, 10.0, 20.0];

/// What a server counts.
pub struct Counters {
    stopped: u64,
    length: u64,
    aborted: u64,
    failed: u64,
    prompt_tokens: u64,
    generated_tokens: u64,
    refused_requests: u64,
    refused_tokens: u64,
    /// End of the step whose tokens are counted at present, and those tokens.
    step: (i64, u64),
    step_tokens: Histogram,
    prompts: Histogram,
    generated: Histogram,
    most_generated: Histogram,
    param_n: Histogram,
    param_max_tokens: Histogram,
    first_token: Histogram,
    token_gap: Histogram,
    per_output_token: Histogram,
    e2e: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    preemptions: Histogram,
    kv_computed: Histogram,
}

impl Counters {
    /// Those of a server that has just started; requests have at most `max_model_len` tokens, 0 =
    /// any number.
    pub fn new(max_model_len: u64) -> Self {
        let below = |bound: &f64| max_model_len == 0 || *bound <= max_model_len as f64;
        let tokens = || Histogram::new(&TOKENS[..TOKENS.iter().take_while(|b| below(b)).count()]);
        Self {
            stopped: 0,
            length: 0,
            aborted: 0,
            failed: 0,
            prompt_tokens: 0,
            generated_tokens: 0,
            refused_requests: 0,
            refused_tokens: 0,
            step: (0, 0),
            step_tokens: Histogram::new(&STEP_TOKENS),
            prompts: tokens(),
            generated: tokens(),
            most_generated: tokens(),
            param_n: Histogram::new(&PARAM_N),
            param_max_tokens: tokens(),
            first_token: Histogram::new(&FIRST_TOKEN),
            token_gap: Histogram::new(&TOKEN_GAP),
            per_output_token: Histogram::new(&TOKEN_GAP),
            e2e: Histogram::new(&REQUEST),
            queue: Histogram::new(&REQUEST),
            inference: Histogram::new(&REQUEST),
            prefill: Histogram::new(&REQUEST),
            decode: Histogram::new(&REQUEST),
            preemptions: Histogram::new(&PREEMPTIONS),
            kv_computed: tokens(),
        }
    }

    /// A request was refused: by the limit of tokens, or that of requests.
    pub fn refused(&mut self, for_tokens: bool) {
        match for_tokens {
            true => self.refused_tokens += 1,
            false => self.refused_requests += 1,
        }
    }

    /// Nobody waits for a request any more.
    pub fn aborted(&mut self) {
        self.aborted += 1;
    }

    /// A request got `tokens` tokens at `at_us`; the last one before was `gap_us` ago. Of its first
    /// tokens, the prompt's length is told instead, and the time since it came.
    pub fn tokens(&mut self, at_us: i64, tokens: u32, first: Option<u32>, gap_us: i64) {
        let gap_s = gap_us as f64 / 1e6;
        match first {
            Some(prompt) => {
                self.prompt_tokens += u64::from(prompt);
                self.first_token.add(gap_s);
            }
            None => self.token_gap.add(gap_s),
        }
        self.generated_tokens += u64::from(tokens);
        let computed = u64::from(tokens) + u64::from(first.unwrap_or(0));
        if self.step.0 != at_us {
            self.end_step();
        }
        self.step = (at_us, self.step.1 + computed);
    }

    fn end_step(&mut self) {
        if self.step.1 > 0 {
            self.step_tokens.add(self.step.1 as f64);
        }
        self.step.1 = 0;
    }

    /// A request is over.
    pub fn ended(&mut self, end: End, record: &RequestRecord, max_tokens: u32) {
        match end {
            End::Complete if record.generated_tokens < max_tokens => self.stopped += 1,
            End::Complete | End::Length => self.length += 1,
            End::Impossible | End::Lost => {
                self.failed += 1;
                return;
            }
        }
        let seconds = |us: i64| us as f64 / 1e6;
        let (Some(ttft), Some(e2e)) = (record.ttft_us, record.e2e_us) else {
            return;
        };
        let queued = record.scheduling_delay_us.unwrap_or(0);
        let cached = record.cached_tokens.unwrap_or(0);
        self.prompts.add(record.prompt_tokens.into());
        self.generated.add(record.generated_tokens.into());
        self.most_generated.add(record.generated_tokens.into());
        self.param_n.add(1.0);
        self.param_max_tokens.add(max_tokens.into());
        self.e2e.add(seconds(e2e));
        self.queue.add(seconds(queued));
        self.inference.add(seconds(e2e - queued));
        self.prefill.add(seconds(ttft - queued));
        self.decode.add(seconds(e2e - ttft));
        let gaps = record.generated_tokens.saturating_sub(1);
        if gaps > 0 {
            let mean = seconds(e2e - ttft) / f64::from(gaps);
            self.per_output_token.add(mean);
        }
        self.preemptions.add(record.preemptions.into());
        self.kv_computed
            .add(record.prompt_tokens.saturating_sub(cached).into());
    }

    /// All metrics of a server in the text format of Prometheus. `adapters` are those of running
    /// requests, and of waiting ones.
    pub fn text(
        &mut self,
        instance: &Instance,
        load: &Load,
        model: &str,
        names: MetricNames,
        adapters: [String; 2],
    ) -> String {
        match names {
            MetricNames::Vllm => self.vllm(instance, load, model, adapters),
            MetricNames::Sglang => self.sglang(instance, load, model),
        }
    }

    fn vllm(
        &mut self,
        instance: &Instance,
        load: &Load,
        model: &str,
        adapters: [String; 2],
    ) -> String {
        self.end_step();
        let label = escaped(model);
        let totals = instance.counters();
        let mut page = Page::new(format!("engine=\"0\",model_name=\"{label}\""));
        let (running, waiting) = (load.running as f64, load.waiting as f64);
        page.gauge(
            "vllm:num_requests_running",
            "Requests in the batch.",
            running,
        );
        page.gauge("vllm:num_requests_waiting", "Requests that wait.", waiting);
        page.by(
            "vllm:num_requests_waiting_by_reason",
            "gauge",
            "Requests that wait, by reason.",
            "reason",
            &[("capacity", waiting), ("deferred", 0.0)],
        );
        let usage = load.usage();
        page.gauge(
            "vllm:kv_cache_usage_perc",
            "Share of KV blocks in use, 0 to 1.",
            usage,
        );
        let hits = totals.prefix_hits as f64;
        let computed = (self.prompt_tokens as f64 - hits).max(0.0);
        for (name, help, value) in [
            (
                "prefix_cache_queries",
                "Prompt tokens looked up in the prefix cache.",
                totals.prefix_queries as f64,
            ),
            (
                "prefix_cache_hits",
                "Of these, tokens that were there.",
                hits,
            ),
            ("num_preemptions", "Preemptions.", totals.preemptions as f64),
            (
                "prompt_tokens",
                "Prompt tokens of requests with a token.",
                self.prompt_tokens as f64,
            ),
            (
                "prompt_tokens_cached",
                "Prompt tokens that were cached.",
                hits,
            ),
            (
                "generation_tokens",
                "Output tokens.",
                self.generated_tokens as f64,
            ),
        ] {
            page.counter(&format!("vllm:{name}_total"), help, value);
        }
        page.by(
            "vllm:prompt_tokens_by_source_total",
            "counter",
            "Prompt tokens by where their KV came from.",
            "source",
            &[
                ("local_compute", computed),
                ("local_cache_hit", hits),
                ("external_kv_transfer", 0.0),
            ],
        );
        page.by(
            "vllm:request_success_total",
            "counter",
            "Requests that ended.",
            "finished_reason",
            &[
                ("stop", self.stopped as f64),
                ("length", self.length as f64),
                ("abort", self.aborted as f64),
                ("error", self.failed as f64),
                ("repetition", 0.0),
            ],
        );
        let config = instance.config();
        page.metric(
            "vllm:cache_config_info",
            "gauge",
            "What the KV cache is.",
            &[(
                format!(
                    ",block_size=\"{}\",enable_prefix_caching=\"{}\",num_gpu_blocks=\"{}\"",
                    config.block_size,
                    if config.scheduling.enable_prefix_caching {
                        "True"
                    } else {
                        "False"
                    },
                    config.total_kv_blocks
                ),
                1.0,
            )],
        );
        let [running, waiting] = adapters;
        page.metric(
            "vllm:lora_requests_info",
            "gauge",
            "LoRA adapters of requests, and when that was so.",
            &[(
                format!(
                    ",max_lora=\"{}\",running_lora_adapters=\"{}\",waiting_lora_adapters=\"{}\"",
                    config.scheduling.max_loras,
                    escaped(&running),
                    escaped(&waiting)
                ),
                since_1970().as_secs_f64(),
            )],
        );
        for (name, help, histogram) in [
            (
                "request_prompt_tokens",
                "Prompt tokens of a request.",
                &self.prompts,
            ),
            (
                "request_generation_tokens",
                "Output tokens of a request.",
                &self.generated,
            ),
            (
                "iteration_tokens_total",
                "Tokens of a step.",
                &self.step_tokens,
            ),
            (
                "request_max_num_generation_tokens",
                "Most output tokens that a request came to.",
                &self.most_generated,
            ),
            (
                "request_params_n",
                "Parameter n of a request.",
                &self.param_n,
            ),
            (
                "request_params_max_tokens",
                "Parameter max_tokens of a request.",
                &self.param_max_tokens,
            ),
            (
                "time_to_first_token_seconds",
                "Time to first token.",
                &self.first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Time between tokens.",
                &self.token_gap,
            ),
            (
                "request_time_per_output_token_seconds",
                "Mean time between tokens of a request.",
                &self.per_output_token,
            ),
            (
                "e2e_request_latency_seconds",
                "Time of a whole request.",
                &self.e2e,
            ),
            (
                "request_queue_time_seconds",
                "Time in the queue.",
                &self.queue,
            ),
            (
                "request_inference_time_seconds",
                "Time in the batch.",
                &self.inference,
            ),
            (
                "request_prefill_time_seconds",
                "Time from the queue to the first token.",
                &self.prefill,
            ),
            (
                "request_decode_time_seconds",
                "Time after the first token.",
                &self.decode,
            ),
            (
                "request_num_preemptions",
                "Preemptions of a request.",
                &self.preemptions,
            ),
            (
                "request_prefill_kv_computed_tokens",
                "Prompt tokens of a request that were computed.",
                &self.kv_computed,
            ),
        ] {
            page.histogram(&format!("vllm:{name}"), help, histogram);
        }
        // The one family of vLLM's without the label of the engine.
        let mut rest = Page::new(format!("model_name=\"{label}\""));
        rest.by(
            "vllm:admission_rejections_total",
            "counter",
            "Requests refused by a limit of the queue.",
            "reason",
            &[
                ("max_num_queued_reqs", self.refused_requests as f64),
                ("max_num_queued_tokens", self.refused_tokens as f64),
            ],
        );
        page.into_text() + &rest.into_text()
    }

    fn sglang(&self, instance: &Instance, load: &Load, model: &str) -> String {
        let totals = instance.counters();
        let mut page = Page::new(format!("model_name=\"{}\"", escaped(model)));
        for (name, help, value) in [
            (
                "num_running_reqs",
                "Requests in the batch.",
                load.running as f64,
            ),
            ("num_queue_reqs", "Requests that wait.", load.waiting as f64),
            (
                "num_used_tokens",
                "Tokens in KV blocks.",
                load.tokens as f64,
            ),
            (
                "max_total_num_tokens",
                "Tokens that fit into KV blocks.",
                load.most_tokens as f64,
            ),
            (
                "token_usage",
                "Share of KV blocks in use, 0 to 1.",
                load.usage(),
            ),
        ] {
            page.gauge(&format!("sglang:{name}"), help, value);
        }
        if let Some(rate) = totals.prefix_hit_rate() {
            page.gauge(
                "sglang:cache_hit_rate",
                "Share of prompt tokens that were cached.",
                rate,
            );
        }
        let ended = self.stopped + self.length + self.aborted + self.failed;
        for (name, help, value) in [
            (
                "prompt_tokens",
                "Prompt tokens of requests with a token.",
                self.prompt_tokens,
            ),
            ("generation_tokens", "Output tokens.", self.generated_tokens),
            (
                "cached_tokens",
                "Prompt tokens that were cached.",
                totals.prefix_hits,
            ),
            ("num_requests", "Requests that ended.", ended),
            (
                "num_aborted_requests",
                "Requests that were aborted.",
                self.aborted,
            ),
        ] {
            page.counter(&format!("sglang:{name}_total"), help, value as f64);
        }
        for (name, help, histogram) in [
            (
                "time_to_first_token_seconds",
                "Time to first token.",
                &self.first_token,
            ),
            (
                "inter_token_latency_seconds",
                "Time between tokens.",
                &self.token_gap,
            ),
            (
                "e2e_request_latency_seconds",
                "Time of a whole request.",
                &self.e2e,
            ),
            ("queue_time_seconds", "Time in the queue.", &self.queue),
        ] {
            page.histogram(&format!("sglang:{name}"), help, histogram);
        }
        page.into_text()
    }
}
