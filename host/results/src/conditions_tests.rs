use super::*;

fn error(text: &str) -> String {
    Condition::parse_all("--slo", text)
        .expect_err("refused")
        .to_string()
}

#[test]
fn conditions_are_read_with_their_units() {
    let all = Condition::parse_all(
        "--slo",
        "ttft.p99<500ms, batch/e2e.mean <= 1m30s,served>=99.9%,requests_per_s>10",
    );
    let all = all.expect("right");
    let limits: Vec<f64> = all.iter().map(|c| c.limit).collect();
    assert_eq!(limits[..2], [500.0, 90_000.0]);
    assert!((limits[2] - 0.999).abs() < 1e-12 && limits[3] == 10.0);
    let names: Vec<&str> = all.iter().map(Condition::name).collect();
    assert_eq!(
        names,
        ["ttft.p99", "batch/e2e.mean", "served", "requests_per_s"]
    );
    assert!(all[0].holds(Some(499.9)) && !all[0].holds(Some(500.0)));
    assert!(all[1].holds(Some(90_000.0)));
    assert!(!all[2].holds(Some(0.99)) && !all[2].holds(None));
    assert!(all[0].use_of_limit(1000.0) == 2.0 && all[3].use_of_limit(20.0) == 0.5);
}

#[test]
fn mistakes_in_conditions_are_named() {
    assert_eq!(
        error("ttft<500ms"),
        "--slo \"ttft<500ms\": say which: ttft.p50, ttft.p95, ttft.p99, ... or ttft.mean"
    );
    assert!(
        error("tftt.p99<1s").contains("did you mean \"ttft\"?"),
        "{}",
        error("tftt.p99<1s")
    );
    assert!(error("ttft.p99=500ms").contains("expected FIGURE<LIMIT"));
    assert!(error("ttft.p99<500").contains("expected a time as 500ms"));
    assert!(error("ttft.p100<5s").contains("expected mean or a percentile"));
    assert!(error("served>=101%").contains("expected a share"));
    assert!(error("batch/itl.p99<5ms").contains("tpot"));
    assert!(error("itl.p99.9<5ms").contains("tpot"));
    assert!(error("").contains("expected FIGURE<LIMIT"));
}
