//! What configurations of inference-perf send, and what of them is refused.

use crate::spec::tests::{bounds, played};
use crate::spec::{Changes, Generator, parse};
use std::path::Path;
use windtunnel_base::request::{Request, Source};

const RANDOM: &str = "data:\n  type: random\n  input_distribution: {min: 10, max: 90, mean: 50, std_dev: 20}\n  \
    output_distribution: {min: 5, max: 9, mean: 7, std_dev: 1}\n";

fn text(load: &str, data: &str) -> String {
    format!("load:\n  {load}\n{data}")
}

fn shared(rest: &str) -> String {
    format!(
        "data:\n  type: shared_prefix\n  shared_prefix: {{num_groups: 2, num_prompts_per_group: 3{rest}}}\n"
    )
}

fn sent(text: &str) -> (Vec<Request>, Generator, String) {
    let opened = parse(Path::new("f"), text, Changes::default()).unwrap();
    let notes = opened.notes().join("\n");
    let bounds = bounds(&opened);
    let (requests, source) = played(opened.source(bounds).unwrap());
    (requests, source, notes)
}

fn refused(text: &str) -> String {
    let error = parse(Path::new("f"), text, Changes::default()).unwrap_err();
    error.to_string()
}

#[test]
fn stages_have_their_rates_and_rest_between_them() {
    let two = "interval: 60\n  stages: [{rate: 4, duration: 10}, {rate: 8.05, duration: 10, num_requests: null}]";
    for kind in ["constant", "poisson"] {
        let (requests, _, notes) = sent(&text(&format!("type: {kind}\n  {two}"), RANDOM));
        assert_eq!(requests.len(), 40 + 80, "as many as are whole");
        let (last, next) = (requests[39].arrival_us, requests[40].arrival_us);
        assert!(
            last < 10_000_000 && (70_000_000..80_000_000).contains(&next),
            "{last} {next}"
        );
        assert!(
            notes.starts_with("load.interval: each stage begins 60 s after"),
            "{notes}"
        );
    }
    // Constant is the type of a load that gives none, and a second the rest.
    let (requests, ..) = sent(&text(
        "stages: [{rate: 1, duration: 9}, {rate: 1, duration: 9}]",
        RANDOM,
    ));
    let gaps: Vec<i64> = requests
        .windows(2)
        .map(|r| r[1].arrival_us - r[0].arrival_us)
        .collect();
    assert!(
        gaps[..8]
            .iter()
            .all(|gap| (899_999..=900_001).contains(gap)),
        "{gaps:?}"
    );
    assert_eq!(gaps[8], 2_800_000);
}

#[test]
fn a_shared_prefix_is_a_fixed_set_of_prompts_in_turn() {
    let load = "type: constant\n  stages: [{rate: 3, duration: 6}]";
    let lengths = ", system_prompt_len: 100, question_len: {type: uniform, min: 10, max: 1000}, output_len: 8";
    let (requests, source, _) = sent(&text(load, &shared(lengths)));
    assert_eq!((requests.len(), source.has_follow_ups()), (18, false));
    for (k, r) in requests.iter().enumerate() {
        // Six prompts have their turns; the same prompt is the same tokens to its end.
        let first = &requests[k % 6];
        assert_eq!(r.prompt, first.prompt, "{k}");
        assert_eq!(r.private_from, r.prompt.len());
        assert!(k < 6 || r.output.token_key(0) != first.output.token_key(0));
        assert_eq!(r.prefix_tokens, 100);
    }
    let mut prompts: Vec<_> = requests[..6]
        .iter()
        .map(|r| r.prompt.token_key(100))
        .collect();
    prompts.sort_unstable();
    prompts.dedup();
    let mut prefixes: Vec<_> = requests.iter().map(|r| r.prompt.token_key(99)).collect();
    prefixes.sort_unstable();
    prefixes.dedup();
    assert_eq!((prompts.len(), prefixes.len()), (6, 2));
    // What is not said is as in inference-perf: 10 x 10 prompts of 100 and 50 tokens.
    let (requests, ..) = sent(&text(load, "data:\n  type: shared_prefix\n"));
    assert!(
        requests
            .iter()
            .all(|r| (r.prompt.len(), r.output.len()) == (150, 50))
    );
}

#[test]
fn a_conversation_grows_and_waits_for_its_answers() {
    let data = shared(
        ", system_prompt_len: 100, question_len: 50, output_len: 40, enable_multi_turn_chat: true",
    );
    let (requests, source, _) = sent(&text("stages: [{rate: 4, duration: 6}]", &data));
    assert_eq!((requests.len(), source.has_follow_ups()), (24, true));
    for r in &requests {
        assert_eq!(r.prompt.len(), 150 + 90 * r.round);
        assert!(!r.session.is_none());
    }
    for user in &requests[..6] {
        let rounds: Vec<&Request> = requests
            .iter()
            .filter(|r| r.session == user.session)
            .collect();
        assert_eq!(rounds.len(), 4);
        for pair in rounds.windows(2) {
            // Every six requests at 4 per second; the answers take one second.
            assert!(pair[1].arrival_us - pair[0].arrival_us >= 1_400_000);
            assert_eq!(
                pair[0].output.token_key(39),
                pair[1].prompt.token_key(pair[0].prompt.len() + 39)
            );
        }
    }
    // Where answers are slower than turns come, they are waited for.
    let (requests, ..) = sent(&text("stages: [{rate: 24, duration: 1}]", &data));
    assert_eq!(requests.len(), 24);
    let rounds = requests.iter().filter(|r| r.session == requests[0].session);
    let times: Vec<i64> = rounds.map(|r| r.arrival_us).collect();
    assert_eq!(times[3] - times[0], 3_000_000);
}

#[test]
fn every_type_of_lengths_is_drawn_as_it_says() {
    let drawn = |lengths: &str| {
        let data = format!(
            "data:\n  type: random\n  input_distribution: {{{lengths}}}\n  output_distribution: {{type: fixed, mean: 7.9}}\n"
        );
        let (requests, ..) = sent(&text("stages: [{rate: 500, duration: 40}]", &data));
        assert!(requests.iter().all(|r| r.output.len() == 7));
        let mut all: Vec<f64> = requests.iter().map(|r| f64::from(r.prompt.len())).collect();
        all.sort_by(f64::total_cmp);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let deviation =
            (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        (mean, deviation, all)
    };
    let near = |found: f64, theory: f64| {
        assert!((found - theory).abs() < 0.03 * theory, "{found} {theory}")
    };
    let (mean, deviation, all) =
        drawn("type: lognormal, mean: 500, std_dev: 400, min: 10, max: 100000");
    near(mean, 500.0);
    near(deviation, 400.0);
    // The median of a lognormal: mean / sqrt(1 + cv^2).
    near(all[all.len() / 2], 500.0 / (1.0f64 + 0.64).sqrt());
    let (mean, _, all) = drawn("type: uniform, min: 10, max: 109, mean: 5");
    near(mean, 59.5);
    assert_eq!((all[0], *all.last().unwrap()), (10.0, 109.0));
    // Location and scale of a skew normal are not its mean and deviation.
    let (mean, deviation, _) =
        drawn("type: skew_normal, mean: 2000, std_dev: 400, skew: 3, min: 0, max: 10000");
    let delta = 3.0 / 10f64.sqrt();
    let shift = delta * (2.0 / std::f64::consts::PI).sqrt();
    near(mean, 2000.0 + 400.0 * shift);
    near(deviation, 400.0 * (1.0 - shift * shift).sqrt());
    let (mean, deviation, _) = drawn("type: poisson, mean: 100, min: 0, max: 1000");
    near(mean, 100.0);
    near(deviation, 10.0);
    let (mean, deviation, _) = drawn("mean: 300, variance: 900, max: 2000");
    near(mean, 300.0);
    near(deviation, 30.0);
    let (.., all) = drawn("mean: 300, std: 50, total_count: 3");
    let mut distinct = all;
    distinct.dedup();
    assert_eq!(distinct.len(), 3);
}

#[test]
fn users_adapters_seeds_and_targets_are_honoured() {
    let load = "type: concurrent\n  request_timeout: 5\n  base_seed: 7\n  \
        stages: [{concurrency_level: 3, num_requests: 40}]\n  \
        lora_traffic_split: [{name: a, split: 0.75}, {name: b, split: 0.25}]";
    let rest = "api: {type: chat, streaming: true}\nserver: {type: vllm, ignore_eos: false}\n\
        report: {goodput: {constraints: {ttft: 0.5, tpot: 0.02, request_latency: 9, itl: 1}}}\n";
    let all = text(load, &format!("{}{rest}", shared("")));
    let opened = parse(Path::new("f"), &all, Changes::default()).unwrap();
    let (written, targets) = (&opened.spec, &opened.spec.goodput_slo_targets["default"]);
    assert_eq!((written.seed, written.num_requests), (7, 40));
    assert_eq!(
        (targets.ttft_ms, targets.itl_ms, targets.e2e_ms),
        (500.0, 20.0, 9000.0)
    );
    let (requests, source, notes) = sent(&all);
    assert_eq!(requests.iter().filter(|r| r.arrival_us == 0).count(), 3);
    assert_eq!((requests.len(), requests[3].arrival_us), (40, 1_000_000));
    assert_eq!(requests[0].deadline_us, 5_000_000);
    assert!(requests.iter().all(|r| r.streaming));
    // The prompts go round with the requests, not with the users.
    assert_eq!(requests[1].prompt, requests[7].prompt);
    let adapter = |r: &&Request| source.symbols().name(r.adapter) == "a";
    let share = requests.iter().filter(adapter).count();
    assert!((24..=36).contains(&share), "{share}");
    for note in [
        "client \"inference-perf\": step times do not depend on adapters",
        "without effect here: server.ignore_eos (answers are as long as asked for)",
        "report.goodput.constraints.itl has no effect",
    ] {
        assert!(notes.contains(note), "{notes}");
    }
}

#[test]
fn what_is_not_simulated_is_refused_with_its_place() {
    let rate = "stages: [{rate: 2, duration: 5}]";
    let random = |lengths: &str| {
        format!(
            "data:\n  type: random\n  input_distribution: {{{lengths}}}\n  output_distribution: {{}}\n"
        )
    };
    for (load, data, message) in [
        (
            "interval: 15\n  sweep: {type: linear}",
            RANDOM,
            "f:3:10: load.sweep: the rates of a sweep come from probing a server",
        ),
        (
            "type: trace_replay\n  trace: {file: ./t.csv}\n  stages: [{rate: 1, duration: 1}]",
            RANDOM,
            "f:2:9: load.type: trace_replay sends what a trace says; expected ./t.csv itself as `workload`",
        ),
        (
            "type: trace_session_replay\n  stages: [{}]",
            RANDOM,
            "f:2:9: load.type: trace_session_replay is not simulated; expected one of constant, poisson, concurrent",
        ),
        (
            "type: constnt\n  stages: [{}]",
            RANDOM,
            "f:2:9: load.type: unknown load \"constnt\"; did you mean \"constant\"?",
        ),
        (
            "stages: []",
            RANDOM,
            "f:2:11: load.stages: expected at least one stage",
        ),
        (
            "stages: [{rate: 2, duration: 5, concurrency_level: 4}]",
            RANDOM,
            "f:2:54: load.stages[0].concurrency_level: has no effect on this load",
        ),
        (
            "stages: [{rate: 0, duration: 5}]",
            RANDOM,
            "f:2:19: load.stages[0].rate: expected a finite number above 0, found 0",
        ),
        (
            "stages: [{rate: 0.1, duration: 5}]",
            RANDOM,
            "f:2:34: load.stages[0].duration: 5 s are too short",
        ),
        (
            "stages: [{duration: 5}]",
            RANDOM,
            "f:2:12: load.stages[0]: rate is missing",
        ),
        (
            "type: concurrent\n  stages: [{concurrency_level: 3}]",
            RANDOM,
            "f:3:12: load.stages[0]: num_requests is missing",
        ),
        (
            "type: concurrent\n  stages: [{concurrency_level: 1, num_requests: 1}, {concurrency_level: 1, num_requests: 1}]",
            RANDOM,
            "f:3:53: load.stages[1]: a stage of the load concurrent begins when",
        ),
        (
            "interval: -1\n  stages: [{rate: 2, duration: 5}]",
            RANDOM,
            "f:2:13: load.interval: expected seconds of 0 or more, found -1",
        ),
        (
            "stages: [{rate: 2, duration: 5}]\n  lora_traffic_split: [{name: a, split: 0.5}]",
            RANDOM,
            "f:3:23: load.lora_traffic_split: expected splits of 0 or more with the sum 1, found 0.5",
        ),
        (
            rate,
            "data:\n  type: shareGPT\n",
            "f:4:9: data.type: shareGPT has texts, whose lengths in tokens are not known here; expected one of shared_prefix, ",
        ),
        (
            rate,
            "data:\n  type: conversation_replay\n",
            "f:4:9: data.type: conversation_replay is not simulated; expected one of",
        ),
        (
            rate,
            "data:\n  type: randon\n",
            "f:4:9: data.type: unknown data \"randon\"; did you mean \"random\"?",
        ),
        (
            rate,
            "data:\n  type: random\n  path: x\n",
            "f:5:9: data.path: has no effect of this type, which reads no file",
        ),
        (
            rate,
            "data:\n  type: random\n",
            "f:4:3: data: input_distribution is missing",
        ),
        (
            rate,
            "data:\n  type: shared_prefix\n  multimodal: {image: {}}\n",
            "f:5:15: data.multimodal: images, video and audio have no length in tokens here",
        ),
        (
            rate,
            "data:\n  type: random\n  trace: {file: t.csv}\n",
            "f:5:10: data.trace: lengths of a trace are not put together",
        ),
        (
            rate,
            &random("type: gamma"),
            "f:5:30: data.input_distribution.type: unknown type \"gamma\"; valid: normal, skew_normal",
        ),
        (
            rate,
            &random("skew: 2"),
            "f:5:30: data.input_distribution.skew: has no effect on the type normal",
        ),
        (
            rate,
            &random("min: 9, max: 2"),
            "f:5:29: data.input_distribution.min: expected 0 <= min <= max, found 9 and 2",
        ),
        (
            rate,
            &random("std_dev: 1, variance: 2"),
            "f:5:46: data.input_distribution.variance: std_dev says it already",
        ),
        (
            rate,
            &random("total_count: 0"),
            "f:5:37: data.input_distribution.total_count: expected 1 to 1000000, found 0",
        ),
        (
            rate,
            &shared(", question_len: {mean: 5}, question_distribution: {mean: 9}"),
            "f:5:108: data.shared_prefix.question_distribution: question_len is a distribution already",
        ),
        (
            rate,
            &shared(", question_len: -3"),
            "f:5:74: data.shared_prefix.question_len: expected 0 to ",
        ),
        (
            "type: concurrent\n  stages: [{concurrency_level: 3, num_requests: 9}]",
            &shared(", enable_multi_turn_chat: true"),
            "f:6:84: data.shared_prefix.enable_multi_turn_chat: is not simulated with the load concurrent",
        ),
    ] {
        let error = refused(&text(load, data));
        assert!(error.starts_with(message), "{error}\n{message}");
    }
    // Keys that nobody knows, wherever they stand.
    for (load, data, key) in [
        (
            "stages: [{rate: 2, duration: 5}]\n  intervall: 3",
            RANDOM,
            "intervall",
        ),
        (
            "stages: [{rate: 2, duration: 5, warmup: 3}]",
            RANDOM,
            "warmup",
        ),
        (rate, &shared(", question_length: 3"), "question_length"),
        (rate, &random("sigma: 3"), "sigma"),
        (rate, &format!("{RANDOM}lod: 3\n"), "lod"),
    ] {
        let error = refused(&text(load, data));
        assert!(error.starts_with("f:") && error.contains(key), "{error}");
    }
}
