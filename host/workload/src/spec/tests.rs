//! What specs generate, and what they are told.

use super::*;
use std::collections::BTreeMap;
use windtunnel_base::request::{FinishReason, Finished, Request, Source};

const LENGTHS: &str = "input_distribution: {type: gaussian, params: {mean: 100, std_dev: 30, min: 10, max: 200}}, \
    output_distribution: {type: constant, params: {value: 20}}";

fn opened(text: &str) -> Result<Opened, String> {
    let text = text.replace("LENGTHS", LENGTHS);
    let spec = input::parse_yaml("f", &text).map_err(|e| e.to_string())?;
    open(spec, Path::new(".")).map_err(|f| f.in_text("f", &text).to_string())
}

pub(super) fn bounds(opened: &Opened) -> Bounds {
    let spec = &opened.spec;
    Bounds {
        seed: spec.seed.cast_unsigned(),
        horizon_us: if spec.horizon > 0 {
            spec.horizon
        } else {
            i64::MAX
        },
        num_requests: (spec.num_requests > 0).then_some(spec.num_requests),
        timeout_us: None,
        pauses: Pauses::default(),
    }
}

fn source(text: &str) -> Generator {
    let opened = opened(text).unwrap();
    let bounds = bounds(&opened);
    opened.source(bounds).unwrap()
}

/// All requests when every answer takes a second and lacks its last token; in order of arrival.
fn all(text: &str) -> (Vec<Request>, Generator) {
    played(source(text))
}

pub(super) fn played(mut source: Generator) -> (Vec<Request>, Generator) {
    let mut requests: Vec<Request> = Vec::new();
    let mut follow_ups: Vec<Request> = Vec::new();
    let mut upcoming = source.next_request();
    loop {
        let due = (0..follow_ups.len()).min_by_key(|k| follow_ups[*k].arrival_us);
        let request = match (due, &upcoming) {
            (Some(k), Some(r)) if follow_ups[k].arrival_us < r.arrival_us => follow_ups.remove(k),
            (Some(k), None) => follow_ups.remove(k),
            (_, Some(_)) => {
                let next = source.next_request();
                std::mem::replace(&mut upcoming, next).unwrap()
            }
            (None, None) => break,
        };
        let finished = Finished {
            request: &request,
            reason: FinishReason::Completed,
            at_us: request.arrival_us + 1_000_000,
            generated_tokens: request.output.len().max(1) - 1,
        };
        follow_ups.extend(source.on_finished(&finished));
        requests.push(request);
    }
    for pair in requests.windows(2) {
        assert!(pair[0].arrival_us <= pair[1].arrival_us);
    }
    (requests, source)
}

fn by_client(requests: &[Request], source: &Generator) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for r in requests {
        let client = source.symbols().name(r.client).to_owned();
        found.entry(client).or_default().push(r.arrival_us);
    }
    found
}

#[test]
fn shares_of_the_rate_become_shares_of_the_requests() {
    let text = "aggregate_rate: 100\nnum_requests: 20000\nclients:\n- {id: a, rate_fraction: 3, LENGTHS}\n\
        - {id: b, rate_fraction: 1, arrival: {process: gamma, cv: 2}, LENGTHS}\n";
    let (requests, source) = all(text);
    assert_eq!(requests.len(), 20_000);
    let seconds = requests.last().unwrap().arrival_us as f64 / 1e6;
    assert!(
        (seconds - 200.0).abs() < 5.0 * 200.0_f64.sqrt(),
        "{seconds}"
    );
    let a = by_client(&requests, &source)["a"].len() as f64;
    // Standard deviation of a's count: sqrt(15000 (1 + share of b's burstiness)), below 200.
    assert!((a - 15_000.0).abs() < 1000.0, "{a}");
}

#[test]
fn a_window_sends_what_its_rate_makes_and_who_is_always_there_stays() {
    // Acceptance check of the format: 8 of 8.5 shares of 10 requests/s over 10 s in four members
    // are 23.5 each.
    let text = "aggregate_rate: 10\nhorizon: 20000000\nclients: [{id: always, rate_fraction: 0.5, LENGTHS}]\n\
        cohorts: [{id: c, population: 4, rate_fraction: 1, LENGTHS, prefix_group: g, streaming: true, timeout: 5,\n  \
        spike: {start_time_us: 3000000, duration_us: 10000000, trace_rate: 8}}]\n";
    let (requests, source) = all(text);
    let found = by_client(&requests, &source);
    for member in 0..4 {
        let times = &found[&format!("c-{member}")];
        assert!((23..=24).contains(&times.len()), "{}", times.len());
        assert!(times.iter().all(|t| (3_000_000..13_000_000).contains(t)));
    }
    // 10 x 0.5 / 8.5 requests/s for 20 s are 11.8.
    assert!((2..=25).contains(&found["always"].len()), "{found:?}");
    let member = requests.iter().find(|r| r.streaming).unwrap();
    assert_eq!(
        (member.prefix_tokens, member.deadline_us),
        (50, member.arrival_us + 5)
    );
    let exact = "clients: [{id: a, LENGTHS, lifecycle: {windows: [{start_us: 0, end_us: 2000000, trace_rate: 5}]}}]\n";
    assert_eq!(all(exact).0.len(), 10);
}

#[test]
fn a_process_sends_only_in_its_windows() {
    let text = "aggregate_rate: 50\nclients: [{id: a, rate_fraction: 1, LENGTHS, lifecycle: {windows: [\n  \
        {start_us: 5000000, end_us: 9000000}, {start_us: 3600000000, end_us: 3604000000}]}}]\n";
    let (requests, _) = all(text);
    assert!(
        (requests.len() as f64 - 400.0).abs() < 5.0 * 20.0,
        "{}",
        requests.len()
    );
    let inside = |r: &Request| {
        (5_000_000..9_000_000).contains(&r.arrival_us)
            || (3_600_000_000..3_604_000_000).contains(&r.arrival_us)
    };
    assert!(requests.iter().all(inside));
}

#[test]
fn a_day_has_its_peak_and_a_drain_fades() {
    let text = |shape: &str| {
        format!(
            "aggregate_rate: 1\ncohorts: [{{id: c, population: 5, rate_fraction: 1, LENGTHS, {shape}}}]\n"
        )
    };
    let (day, _) = all(&text("diurnal: {peak_hour: 14, peak_to_trough_ratio: 4}"));
    let hour = |h: i64| {
        day.iter()
            .filter(|r| r.arrival_us / 3_600_000_000 == h)
            .count() as f64
    };
    assert!((hour(14) - 3600.0).abs() < 300.0 && (hour(2) - 900.0).abs() < 150.0);
    assert!(day.iter().all(|r| r.arrival_us < 86_400_000_000));
    let (drain, _) = all(&text(
        "drain: {start_time_us: 1000000000, ramp_duration_us: 1000000000}",
    ));
    let within = |from: i64, to: i64| {
        drain
            .iter()
            .filter(|r| (from..to).contains(&(r.arrival_us / 1_000_000)))
            .count() as f64
    };
    assert!((within(0, 1000) - 1000.0).abs() < 160.0);
    assert!((within(1000, 2000) - 550.0).abs() < 120.0 && within(1910, 2000) == 0.0);
}

#[test]
fn sessions_repeat_their_past_and_wait_for_their_answers() {
    let text = "aggregate_rate: 2\nnum_requests: 30\nclients:\n- {id: s, rate_fraction: 1, streaming: true, prefix_group: g, \
        prefix_length: 64, LENGTHS, reasoning: {multi_turn: {max_rounds: 4, think_time_us: 500000, context_growth: accumulate}}}\n";
    let (requests, source) = all(text);
    assert_eq!(requests.len(), 30);
    let mut sessions: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for r in &requests {
        sessions
            .entry(source.symbols().name(r.session))
            .or_default()
            .push(r);
        assert!(r.streaming && r.prefix_tokens == 64);
        assert_eq!(r.deadline_us, r.arrival_us + 300_000_000);
    }
    // Seven sessions of four rounds and one that the limit cuts to two.
    let mut rounds: Vec<usize> = sessions.values().map(Vec::len).collect();
    rounds.sort_unstable();
    assert_eq!(rounds, [2, 4, 4, 4, 4, 4, 4, 4]);
    for rounds in sessions.values() {
        for pair in rounds.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            assert_eq!(b.arrival_us, a.arrival_us + 1_000_000 + 500_000);
            assert_eq!(b.round, a.round + 1);
            // The whole prompt and all but the last token of the answer.
            let common = a.prompt.len() + 19;
            assert!(b.prompt.len() > common);
            for at in [0, 63, 64, a.prompt.len() - 1] {
                assert_eq!(a.prompt.token_key(at), b.prompt.token_key(at));
            }
            assert_eq!(b.prompt.token_key(common - 1), a.output.token_key(18));
            assert_ne!(b.prompt.token_key(common), a.output.token_key(19));
        }
    }
    assert!(
        requests
            .iter()
            .any(|r| r.id.to_string() == "session_sess_s_0_round_1_1")
    );
}

#[test]
fn rounds_that_do_not_wait_are_sent_by_the_clock() {
    let text = "aggregate_rate: 2\nnum_requests: 30\nclients:\n- {id: s, rate_fraction: 1, LENGTHS, closed_loop: false, \
        reasoning: {multi_turn: {max_rounds: 3, think_time_us: 500000}}}\n";
    let mut source = source(text);
    assert!(!source.has_follow_ups());
    let requests: Vec<Request> = std::iter::from_fn(|| source.next_request()).collect();
    assert_eq!(requests.len(), 30);
    let first: Vec<&Request> = requests
        .iter()
        .filter(|r| r.session == requests[0].session)
        .collect();
    let gaps: Vec<i64> = first
        .windows(2)
        .map(|w| w[1].arrival_us - w[0].arrival_us)
        .collect();
    // The think time and a microsecond per token of the answer.
    assert_eq!(gaps, [500_020, 500_020]);
    assert_ne!(first[0].prompt.token_key(0), first[1].prompt.token_key(0));
}

#[test]
fn drawn_pauses_tell_nothing_of_the_answer_before_them() {
    let text = |tokens: u32| {
        let lengths =
            format!("output_distribution: {{type: constant, params: {{value: {tokens}}}}}");
        format!(
            "aggregate_rate: 2\nnum_requests: 2000\nclients:\n- {{id: s, rate_fraction: 1, {lengths}, \
             input_distribution: {{type: constant, params: {{value: 5}}}}, closed_loop: false, \
             reasoning: {{multi_turn: {{max_rounds: 2, think_time_us: 500000}}}}}}\n"
        )
    };
    let pauses = |tokens| -> Vec<i64> {
        let opened = parse(Path::new("w.yaml"), &text(tokens), Changes::default()).unwrap();
        let bounds = Bounds {
            pauses: Pauses::Drawn,
            ..bounds(&opened)
        };
        let mut source = opened.source(bounds).unwrap();
        let mut sessions: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
        while let Some(request) = source.next_request() {
            let of_session = sessions.entry(request.session.0).or_default();
            of_session.push(request.arrival_us);
        }
        sessions
            .values()
            .filter(|s| s.len() == 2)
            .map(|s| s[1] - s[0])
            .collect()
    };
    let short = pauses(1);
    assert_eq!(short, pauses(900));
    let mean = short.iter().sum::<i64>() / short.len() as i64;
    assert!((450_000..550_000).contains(&mean), "{mean}");
    assert!(short.iter().min() < Some(&300_000) && short.iter().max() > Some(&900_000));
}

#[test]
fn a_session_ends_when_its_client_gives_up_or_is_refused() {
    let text = "aggregate_rate: 2\nnum_requests: 9\nclients:\n- {id: s, rate_fraction: 1, LENGTHS, \
        reasoning: {multi_turn: {max_rounds: 3}}}\n";
    let mut source = source(text);
    let request = source.next_request().unwrap();
    let finished = |reason, generated_tokens| Finished {
        request: &request,
        reason,
        at_us: 5,
        generated_tokens,
    };
    assert!(
        source
            .on_finished(&finished(FinishReason::TimedOut, 3))
            .is_none()
    );
    assert!(
        source
            .on_finished(&finished(FinishReason::Dropped, 0))
            .is_none()
    );
    assert!(
        source
            .on_finished(&finished(FinishReason::Completed, 21))
            .is_none()
    );
    assert!(
        source
            .on_finished(&finished(FinishReason::Completed, 19))
            .is_some()
    );
}

#[test]
fn users_of_a_closed_loop_share_the_limit() {
    // Acceptance check of the format.
    let text =
        "num_requests: 8\nclients: [{id: u, concurrency: 3, think_time_us: 300000, LENGTHS}]\n";
    let (requests, source) = all(text);
    let times: Vec<i64> = requests.iter().map(|r| r.arrival_us).collect();
    let round = |k: i64| [0, 100_000, 200_000].map(|t| t + k * 1_300_000);
    assert_eq!(times, [round(0), round(1), round(2)].concat()[..8]);
    assert_eq!(
        source.symbols().name(requests[4].session),
        "concurrency_u_user_1"
    );
    assert_eq!(requests[7].round, 2);
}

#[test]
fn stages_of_inference_perf_send_exactly_their_share() {
    // Acceptance check of the format: 4 requests/s for 30 s from 6 users.
    let perf = |stages: &str, turns: bool| {
        format!(
            "inference_perf:\n  stages: [{stages}]\n  shared_prefix: {{num_unique_system_prompts: 3, \
            num_users_per_system_prompt: 2, system_prompt_len: 100, question_len: 40, output_len: 8, enable_multi_turn_chat: {turns}}}\n"
        )
    };
    let (requests, source) = all(&perf("{rate: 4, duration: 30}", false));
    let found = by_client(&requests, &source);
    assert_eq!((requests.len(), found.len()), (120, 6));
    assert!(found.values().all(|times| times.len() == 20));
    assert!(
        requests
            .iter()
            .all(|r| r.arrival_us < 30_000_000 && r.prompt.len() == 140)
    );
    assert_eq!(
        source.symbols().name(requests[0].prefix_group).len(),
        "prompt-0".len()
    );

    let (requests, _) = all(&perf(
        "{rate: 4, duration: 10}, {rate: 12, duration: 10}",
        false,
    ));
    let first = requests
        .iter()
        .filter(|r| r.arrival_us < 10_000_000)
        .count();
    assert_eq!((first, requests.len()), (40, 160));

    let (requests, source) = all(&perf("{rate: 6, duration: 20}", true));
    assert_eq!(requests.len(), 120);
    let rounds = requests
        .iter()
        .filter(|r| r.session == requests[0].session)
        .count();
    assert_eq!((rounds, source.has_follow_ups()), (20, true));
}

#[test]
fn another_client_changes_nobody_elses_traffic() {
    let window = "lifecycle: {windows: [{start_us: 0, end_us: 9000000, trace_rate: 20}]}";
    let client = |id: &str, process: &str| {
        format!("- {{id: {id}, LENGTHS, arrival: {{process: {process}}}, {window}}}\n")
    };
    let (a, b, c) = (
        client("a", "gamma"),
        client("b", "poisson"),
        client("c", "weibull"),
    );
    let of = |text: String, id: &str| -> Vec<(i64, u32, u32)> {
        let (requests, source) = all(&format!("clients:\n{text}"));
        let wanted = source.symbols().get(id).unwrap();
        let mine = requests.iter().filter(|r| r.client == wanted);
        mine.map(|r| (r.arrival_us, r.prompt.len(), r.output.len()))
            .collect()
    };
    let alone = of(b.clone(), "b");
    assert_eq!(alone.len(), 180);
    assert_eq!(of(format!("{a}{b}{c}"), "b"), alone);
    assert_eq!(of(format!("{c}{b}"), "b"), alone);
}

#[test]
fn the_wire_delays_requests_and_follow_ups_but_not_deadlines() {
    // 10 ms there and back, 8 us per token.
    let text = "num_requests: 2\nclients: [{id: u, concurrency: 1, think_time_us: 7, timeout: 1000000, \
        input_distribution: {type: constant, params: {value: 1000}}, output_distribution: {type: constant, params: {value: 500}}, \
        network: {rtt_ms: 10, bandwidth_mbps: 4}}]\n";
    let (requests, _) = all(text);
    assert_eq!(
        (requests[0].arrival_us, requests[0].deadline_us),
        (13_000, 1_000_000)
    );
    let sent = 13_000 + 1_000_000 + 5_000 + 4_000 + 7;
    assert_eq!(
        (requests[1].arrival_us, requests[1].deadline_us),
        (sent + 13_000, sent + 1_000_000)
    );
}

#[test]
fn modalities_add_up() {
    let constant = |n: u32| format!("{{type: constant, params: {{value: {n}}}}}");
    let text = format!(
        "aggregate_rate: 1\nnum_requests: 300\nclients: [{{id: m, rate_fraction: 1, adapter: lora, output_distribution: {},\n  \
         multimodal: {{text_distribution: {}, image_distribution: {}, image_count_distribution: {{type: empirical, params: {{0: 1, 2: 1}}}}}},\n  \
         reasoning: {{reason_ratio_distribution: {}}}}}]\n",
        constant(5),
        constant(10),
        constant(100),
        constant(40)
    );
    let (requests, source) = all(&text);
    let with = requests.iter().filter(|r| r.prompt.len() == 210).count();
    let without = requests.iter().filter(|r| r.prompt.len() == 10).count();
    assert!(
        with + without == 300 && (100..200).contains(&with),
        "{with}"
    );
    let long = requests.iter().find(|r| r.prompt.len() == 210).unwrap();
    let detail = long.detail.clone().unwrap();
    assert_eq!(
        (detail.text_tokens, detail.image_tokens, detail.audio_tokens),
        (10, 200, 0)
    );
    assert_eq!(
        (detail.reason_ratio, source.symbols().name(long.adapter)),
        (0.4, "lora")
    );
}

#[test]
fn older_names_of_classes_are_todays() {
    let spec = |version: &str, class: &str| {
        format!(
            "version: {version}\naggregate_rate: 1\nnum_requests: 1\nclients: [{{id: a, rate_fraction: 1, slo_class: {class}, LENGTHS}}]\n"
        )
    };
    for (written, meant) in [
        ("realtime", "critical"),
        ("interactive", "standard"),
        ("batch", "batch"),
    ] {
        let (requests, source) = all(&spec("\"1\"", written));
        assert_eq!(source.symbols().name(requests[0].slo_class), meant);
    }
    let error = opened(&spec("2", "realtime")).unwrap_err();
    assert!(
        error.starts_with("f:4:48: clients[0].slo_class: unknown SLO class \"realtime\""),
        "{error}"
    );
}

#[test]
fn mistakes_have_a_place_and_a_reason() {
    let client = |rest: &str| {
        format!("aggregate_rate: 1\nclients:\n- {{id: a, rate_fraction: 1, LENGTHS, {rest}}}\n")
    };
    let bare = |rest: &str| format!("aggregate_rate: 1\nclients:\n- {{id: a, {rest}}}\n");
    for (text, message) in [
        ("clints: []\n".to_owned(), "f:1:1: unknown key \"clints\"; did you mean \"clients\"?"),
        ("version: 3\n".into(), "f:1:10: version: unknown value \"3\""),
        ("seed: 1\n".into(), "f:1:1: there is nobody to send"),
        (client("arival: {}"), "f:3:"),
        (client("arrival: {process: poison}"), "f:3:"),
        (client("arrival: {process: gamma, cv: 0}"), "clients[0].arrival.cv: expected a finite number above 0, found 0"),
        (client("arrival: {process: weibull, cv: 1000}"), "clients[0].arrival.cv: no weibull distribution"),
        (client("arrival: {process: poisson, cv: 2}"), "clients[0].arrival.cv: has no effect on this process"),
        (client("arrival: {process: gamma, shape: 2}"), "clients[0].arrival: shape and scale go together"),
        (client("concurrency: 2"), "clients[0].rate_fraction: has no effect on users"),
        (client("think_time_us: 2"), "clients[0].think_time_us: goes with concurrency"),
        (client("closed_loop: true"), "clients[0].closed_loop: needs concurrency or reasoning.multi_turn"),
        (client("prefix_length: 5"), "clients[0].prefix_length: has no effect without a prefix_group"),
        (client("timeout: -1"), "clients[0].timeout: expected microseconds of 0 or more, found -1"),
        (client("lifecycle: {windows: []}"), "clients[0].lifecycle.windows: expected at least one window"),
        (client("lifecycle: {windows: [{start_us: 5, end_us: 5}]}"), "clients[0].lifecycle.windows[0]: expected 0 <= start_us < end_us"),
        (client("network: {rtt_ms: -1}"), "clients[0].network.rtt_ms: expected a finite number of 0 or more, found -1"),
        (client("reasoning: {multi_turn: {max_rounds: 0}}"), "clients[0].reasoning.multi_turn.max_rounds: expected at least 1"),
        (client("reasoning: {multi_turn: {max_rounds: 1, context_growth: acumulate}}"), "did you mean \"accumulate\"?"),
        (client("multimodal: {image_distribution: {type: constant, params: {value: 1}}}"), "clients[0].multimodal.image_count_distribution: is missing beside image_distribution"),
        (bare("rate_fraction: 1"), "clients[0]: input_distribution is missing"),
        (bare("LENGTHS"), "clients[0].rate_fraction: expected a finite number above 0, found 0"),
        (bare("rate_fraction: 1, input_distribution: {type: gaussian, params: {mean: 1}}"), "clients[0].input_distribution.params: std_dev is missing"),
        (bare("rate_fraction: 1, input_distribution: {type: constant, params: {valu: 1}}"), "unknown parameter \"valu\"; did you mean \"value\"?"),
        (bare("rate_fraction: 1, input_distribution: {type: exponential, params: {mean: .nan}}"), "params.mean: expected a finite number, found NaN"),
        (bare("rate_fraction: 1, input_distribution: {type: exponential, params: {mean: 5, min: 9, max: 2}}"), "params.min: 9 is above max 2"),
        (bare("rate_fraction: 1, input_distribution: {type: empirical, params: {x: 1}}"), "expected a length from 0 to 16777216 with its weight, found \"x\""),
        (bare("rate_fraction: 1, input_distribution: {type: empirical}"), "params: expected lengths with weights above 0"),
        (bare("rate_fraction: 1, input_distribution: {type: empirical, file: none.csv}"), "none.csv: cannot read: no such file"),
        ("cohorts: [{id: c, population: 0}]\n".into(), "cohorts[0].population: expected 1 to 100000 members, found 0"),
        ("cohorts: [{id: c, population: 1, prefix_sharing: per_member}]\n".into(), "cohorts[0].prefix_sharing: per_member needs a prefix_group"),
        ("cohorts: [{id: c, population: 1, diurnal: {peak_hour: 24, peak_to_trough_ratio: 1}}]\n".into(), "cohorts[0].diurnal.peak_hour: expected 0 to 23, found 24"),
        ("inference_perf: {stages: []}\n".into(), "inference_perf: shared_prefix is missing"),
        ("clients: [{id: a}]\ninference_perf: {stages: []}\n".into(), "give one of clients, inference_perf and servegen_data"),
        ("aggregate_rate: 1\nclients: [{id: a, rate_fraction: 1, slo_class: batch, LENGTHS}, {id: b, rate_fraction: 1, LENGTHS}]\n".into(), "clients[1]: slo_class is missing; clients[0] names one"),
    ] {
        let Err(error) = opened(&text) else {
            panic!("not refused: {text}");
        };
        assert!(error.starts_with("f:") && error.contains(message), "{text}\n{error}");
    }
    let endless =
        opened("aggregate_rate: 1\nclients: [{id: a, rate_fraction: 1, LENGTHS}]\n").unwrap();
    let bounds = bounds(&endless);
    let error = endless.source(bounds).unwrap_err().to_string();
    assert!(error.starts_with("the workload never ends"), "{error}");
}

#[test]
fn weights_of_lengths_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("w.csv", "length,weight\n64,1\n256,3\n"),
        ("w.json", "{\"64\": 1, \"256\": 3}"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
        let text = format!(
            "aggregate_rate: 1\nnum_requests: 4000\nclients: [{{id: a, rate_fraction: 1, \
            input_distribution: {{type: empirical, file: {name}}}, output_distribution: {{type: constant, params: {{value: 1}}}}}}]\n"
        );
        let path = folder.path().join("s.yaml");
        std::fs::write(&path, text).unwrap();
        let opened = read(&path, Changes::default()).unwrap();
        let bounds = bounds(&opened);
        let mut source = opened.source(bounds).unwrap();
        let lengths: Vec<u32> = std::iter::from_fn(|| source.next_request())
            .map(|r| r.prompt.len())
            .collect();
        let long = lengths.iter().filter(|n| **n == 256).count();
        assert!(
            (2850..3150).contains(&long) && lengths.iter().all(|n| [64, 256].contains(n)),
            "{long}"
        );
    }
}

#[test]
fn a_factor_on_the_rates_reaches_every_kind_of_rate() {
    let scaled = |text: &str| {
        let text = text.replace("LENGTHS", LENGTHS);
        let changes = Changes {
            rate_scale: Some(1.5),
            ..Changes::default()
        };
        parse(Path::new("f"), &text, changes).map_err(|e| e.to_string())
    };
    let shares = "{aggregate_rate: 8, clients: [{id: a, rate_fraction: 1, LENGTHS, \
        lifecycle: {windows: [{start_us: 0, end_us: 9000000, trace_rate: 4}]}}]}";
    let spec = scaled(shares).unwrap().spec;
    let window_rate = |spec: &WorkloadSpec| {
        let lifecycle = spec.clients[0].lifecycle.as_ref();
        lifecycle.unwrap().windows[0].trace_rate
    };
    assert_eq!((spec.aggregate_rate, window_rate(&spec)), (12.0, Some(4.0)));
    let own = "{clients: [{id: a, rate_fraction: 1, LENGTHS, \
        lifecycle: {windows: [{start_us: 0, end_us: 9000000, trace_rate: 4}]}}], \
        cohorts: [{id: b, population: 2, rate_fraction: 1, LENGTHS, \
        spike: {start_time_us: 0, duration_us: 9000000, trace_rate: 10}}]}";
    let spec = scaled(own).unwrap().spec;
    let spike = spec.cohorts[0].spike.as_ref().unwrap().trace_rate;
    assert_eq!((window_rate(&spec), spike), (Some(6.0), Some(15.0)));
    let stages = "{inference_perf: {stages: [{rate: 4, duration: 10}], shared_prefix: \
        {num_unique_system_prompts: 1, num_users_per_system_prompt: 1, system_prompt_len: 8, \
        question_len: 8, output_len: 8}}}";
    let spec = scaled(stages).unwrap().spec;
    assert_eq!(spec.inference_perf.unwrap().stages[0].rate, 6.0);
}
