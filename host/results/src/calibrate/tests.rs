use super::*;
use crate::metrics::slo::Dimension;
use serde_json::json;

/// Times in milliseconds: sent, to the first token, to the last one; tokens of the answer.
fn real(id: &str, sent: f64, ttft: f64, e2e: f64, output_tokens: u32) -> RealRequest {
    RealRequest {
        id: id.to_owned(),
        ok: true,
        sent_us: sent * 1e3,
        ttft_us: Some(ttft * 1e3),
        e2e_us: Some(e2e * 1e3),
        prompt_tokens: 100,
        output_tokens,
        ..RealRequest::default()
    }
}

fn simulated(id: &str, at: f64, ttft: f64, e2e: f64, output_tokens: u32) -> SimulatedRequest {
    SimulatedRequest {
        id: format!("request_{id}"),
        arrival_us: Some(at * 1e3),
        ttft_us: Some(ttft * 1e3),
        e2e_us: Some(e2e * 1e3),
        prompt_tokens: 100,
        output_tokens,
    }
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

/// Four requests; the first one warms up, the fourth one failed.
fn sides() -> (Vec<RealRequest>, Vec<SimulatedRequest>) {
    let failed = RealRequest {
        ok: false,
        ..real("4", 3000.0, 1.0, 2.0, 1)
    };
    let observed = vec![
        real("0", 0.0, 500.0, 900.0, 5),
        real("1", 1000.0, 10.0, 50.0, 5),
        real("2", 1500.0, 20.0, 60.0, 5),
        real("3", 2000.0, 40.0, 140.0, 11),
        failed,
        real("5", 4000.0, 9.0, 9.0, 1),
    ];
    let played = vec![
        simulated("0", 0.0, 5.0, 45.0, 5),
        simulated("1", 1000.0, 11.0, 47.0, 5),
        simulated("2", 1500.0, 18.0, 62.0, 5),
        simulated("3", 2000.0, 50.0, 150.0, 21),
        simulated("4", 3000.0, 1.0, 2.0, 1),
        simulated("7", 9000.0, 1.0, 2.0, 1),
    ];
    (observed, played)
}

#[test]
fn figures_are_those_worked_out_by_hand() {
    let (observed, played) = sides();
    let options = Options {
        warm_up: 1,
        ..Options::default()
    };
    let found = calibrate(&observed, &played, &options).expect("pairs");
    let expected = Matched {
        num_requests: 6,
        warm_up_excluded: 1,
        matched_pairs: 3,
        token_mismatches: 1,
        unmatched_real: 1,
        unmatched_simulated: 1,
        failed_real: 1,
        failed_simulated: 0,
    };
    assert_eq!(found.requests, expected);
    let ttft = &found.metrics["ttft"];
    // |11 - 10| / 10, |18 - 20| / 20, |50 - 40| / 40.
    near(ttft.mape.expect("a MAPE"), (0.1 + 0.1 + 0.25) / 3.0);
    near(ttft.real_us.mean, 70_000.0 / 3.0);
    near(ttft.simulated_us.mean, 79_000.0 / 3.0);
    near(ttft.relative_error["mean"].expect("an error"), 9.0 / 70.0);
    // Ranks 0.9 * 2 = 1.8: 20 + 0.8 * 20, 18 + 0.8 * 32.
    near(ttft.real_us.p90, 36_000.0);
    near(ttft.simulated_us.p90, 43_600.0);
    assert_eq!(
        (ttft.bias, ttft.quality),
        (Bias::OverPredict, Quality::Good)
    );
    // Deviations -40/3, -10/3, 50/3 and -46/3, -25/3, 71/3.
    let r = (40.0 * 46.0 + 10.0 * 25.0 + 50.0 * 71.0)
        / ((1600.0_f64 + 100.0 + 2500.0) * (2116.0 + 625.0 + 5041.0)).sqrt();
    near(ttft.pearson_r, r);
    // 40/4, 40/4, 100/10 and 36/4, 44/4, 100/20.
    near(
        found.metrics["tpot"].mape.expect("a MAPE"),
        (0.1 + 0.1 + 0.5) / 3.0,
    );
    assert!(!found.metrics.contains_key("itl"), "nobody recorded events");
    // From 1.0 s to 2.14 s, and to 2.15 s.
    let rate = found.requests_per_s.expect("a rate");
    near(rate.real, 3.0 / 1.14);
    near(rate.simulated, 3.0 / 1.15);
    near(found.output_tokens_per_s.expect("a rate").real, 21.0 / 1.14);
    // Three requests are too few for an interval.
    assert_eq!(ttft.mape_interval, None);
}

#[test]
fn a_network_and_targets_count_as_the_reference_counts_them() {
    let (observed, played) = sides();
    let network = Network {
        rtt_us: 500.0,
        bandwidth_mbps: 8.0,
    };
    let mut targets = SloTargets::default();
    targets.set("default", Dimension::Ttft, 20_000.0);
    targets.set("default", Dimension::E2e, 55_000.0);
    let options = Options {
        network,
        targets,
        warm_up: 1,
    };
    let found = calibrate(&observed, &played, &options).expect("pairs");
    // 100 tokens up take 400 us, 5 tokens down 20 us, 21 tokens 84 us.
    near(
        found.metrics["ttft"].simulated_us.mean,
        (79_000.0 + 3.0 * 900.0) / 3.0,
    );
    near(
        found.metrics["e2e"].simulated_us.mean,
        (259_000.0 + 3.0 * 900.0 + 124.0) / 3.0,
    );
    let goodput = found.goodput.expect("there are targets");
    let class = &goodput.per_class["default"];
    // TTFT: 10, 20, not 40, not the failed one; E2E: 50, not 60.
    assert_eq!((class.count, class.real_slo_attainment), (4, 0.25));
    assert_eq!(class.real_attainment_by_dim["ttft"], 0.5);
    assert_eq!(class.real_attainment_by_dim["e2e"], 0.5);
    // 11.9 and 18.9 ms, not 50.9, 1.9 of the one that failed in reality; E2E 47.92, not 62.92, 3.3.
    assert_eq!(class.sim_attainment_by_dim["ttft"], 0.75);
    near(class.sim_slo_attainment, 0.5);
    near(class.real_goodput_rps, 1.0 / 1.14);
    assert_eq!(
        goodput.targets["default"],
        json!({"ttft_ms": 20.0, "e2e_ms": 55.0})
    );
}

#[test]
fn the_report_has_the_keys_of_the_reference_and_no_others() {
    let (mut observed, played) = sides();
    observed[1].itl_us = Some(9_500.0);
    let found = calibrate(&observed, &played, &Options::default()).expect("pairs");
    let hits = Hits {
        real: 0.5,
        simulated: 0.56,
        source: "gpu-prefix-cache-fallback".to_owned(),
    };
    let tolerances = Tolerances {
        ttft_mape: 0.15,
        hit_rate_pp: 5.0,
    };
    let report = report(&found, Some(&hits), tolerances, Network::default());
    let keys = |value: &serde_json::Value| {
        let keys = value.as_object().expect("an object").keys();
        keys.cloned().collect::<Vec<String>>().join(" ")
    };
    assert_eq!(
        keys(&report),
        "trace_info metrics config_match known_limitations hit_rate ttft_tolerance"
    );
    assert_eq!(
        keys(&report["trace_info"]),
        "num_requests warm_up_excluded matched_pairs token_mismatches"
    );
    assert_eq!(keys(&report["metrics"]), "ttft e2e itl");
    let itl = &report["metrics"]["itl"];
    assert_eq!(keys(itl), "workload_level request_level count");
    assert_eq!(
        keys(&itl["request_level"]),
        "mape pearson_r bias_direction quality"
    );
    let level = keys(&itl["workload_level"]);
    assert!(level.starts_with("real_mean sim_mean mean_error mean_percent_error real_median"));
    assert!(level.ends_with("real_p99 sim_p99 p99_error p99_percent_error"));
    assert_eq!(level.split(' ').count(), 24);
    assert_eq!(itl["count"], 1);
    assert_eq!(itl["request_level"]["bias_direction"], "under-predict");
    assert_eq!(itl["request_level"]["quality"], "poor");
    assert_eq!(report["hit_rate"]["within"], false);
    assert_eq!(
        keys(&report["hit_rate"]),
        "real_hit_rate sim_hit_rate abs_error_pp tolerance_pp within source"
    );
    assert_eq!(keys(&report["ttft_tolerance"]), "mape threshold within");
}

#[test]
fn classes_and_sessions_stand_apart() {
    let (mut observed, mut played) = (Vec::new(), Vec::new());
    for k in 0..40_u32 {
        let (id, at) = (k.to_string(), f64::from(k) * 100.0);
        let (ttft, e2e) = (f64::from(10 + k % 7), f64::from(60 + k % 11));
        observed.push(RealRequest {
            slo_class: ["batch", "critical"][(k % 2) as usize].to_owned(),
            session: format!("s{}", k / 4),
            round: k % 4,
            ..real(&id, at, ttft, e2e, 6)
        });
        let factor = if k % 2 == 0 { 1.0 } else { 1.5 };
        played.push(simulated(&id, at, factor * ttft, factor * e2e, 6));
    }
    let found = calibrate(&observed, &played, &Options::default()).expect("pairs");
    near(found.per_class["batch"]["ttft"].mape.expect("a MAPE"), 0.0);
    near(
        found.per_class["critical"]["e2e"].mape.expect("a MAPE"),
        0.5,
    );
    let counts = ["cold_ttft", "warm_ttft", "duration"].map(|name| found.per_session[name].count);
    assert_eq!(counts, [10, 30, 10]);
    // First rounds have even numbers; a session ends with an odd one.
    near(found.per_session["cold_ttft"].mape.expect("a MAPE"), 0.0);
    let ttft = &found.metrics["ttft"];
    // Runs of four neighbours have two of each class, so every sample has the same MAPE.
    let interval = ttft.mape_interval.expect("enough requests");
    assert_eq!((interval.low, interval.high), (0.25, 0.25));
    let mean = ttft.relative_error["mean"].expect("an error");
    let around = ttft.relative_error_interval["mean"].expect("enough requests");
    assert!(around.low < mean && mean < around.high, "{around:?}");
    let shown = text(&found);
    assert!(
        shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
}

#[test]
fn a_simulation_of_itself_is_exact_and_order_is_found() {
    let run = |factor: f64| {
        let ids = (0..30_u32).map(|k| (k, f64::from(k) * 50.0, factor * f64::from(5 + k % 5)));
        let both = ids.map(|(k, at, ttft)| {
            let id = k.to_string();
            (
                real(&id, at, ttft, 4.0 * ttft, 4),
                simulated(&id, at, ttft, 4.0 * ttft, 4),
            )
        });
        let (observed, played): (Vec<_>, Vec<_>) = both.unzip();
        calibrate(&observed, &played, &Options::default()).expect("pairs")
    };
    let own = run(1.0);
    for (name, metric) in &own.metrics {
        assert_eq!(metric.mape, Some(0.0), "{name}");
        near(metric.pearson_r, 1.0);
        assert_eq!(
            (metric.bias, metric.quality),
            (Bias::Neutral, Quality::Excellent)
        );
    }
    let runs = [3.0, 1.0, 2.0].map(|f| (format!("x{f}"), run(f)));
    let ranks = rank(&runs).expect("several runs");
    let ttft = &ranks.by_figure[0];
    assert_eq!(
        (ttft.figure, ttft.in_order, ttft.pairs),
        ("ttft_mean", 3, 3)
    );
    assert_eq!((ttft.spearman, ttft.kendall), (Some(1.0), Some(1.0)));
    let interval = ttft.kendall_interval.expect("enough requests");
    assert_eq!((interval.low, interval.high), (1.0, 1.0));
    assert!(ranks_text(&ranks).contains("2 3 1"));
    assert!(rank(&runs[..1]).is_none());
}

#[test]
fn nothing_to_compare_is_said_with_its_reasons() {
    let (observed, _) = sides();
    let refused = calibrate(&observed, &[], &Options::default()).expect_err("nothing");
    assert!(refused.contains("of 6 observed ones 0 warmed up, 6 are not in the simulation"));
}
