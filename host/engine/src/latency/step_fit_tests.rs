//! Tests of fitted tables: laws that are known must come back.

use super::*;

fn step(prefill: u64, past: u64, decodes: u64, kv: u64, ms: f64) -> MeasuredStep {
    MeasuredStep {
        work: StepAggregates {
            requests: 1,
            prefill_tokens: prefill,
            prefill_context: past,
            decodes,
            decode_context: kv,
            ..StepAggregates::default()
        },
        ms,
    }
}

/// 4 ms, 0.05 ms per prompt token, 0.1 per decode, 0.001 per KV token.
fn law(prefill: u64, past: u64, decodes: u64, kv: u64) -> f64 {
    4.0 + 0.05 * prefill as f64 + 0.1 * decodes as f64 + 0.001 * (past + kv) as f64
}

fn lawful() -> Vec<MeasuredStep> {
    let mut steps = Vec::new();
    for k in 0..400u64 {
        let (n, kv) = (1 + k % 23, 100 + 37 * k);
        steps.push(step(0, 0, n, kv, law(0, 0, n, kv)));
        let (tokens, past) = (1 + (k * 97) % 1500, (k % 3) * 512);
        steps.push(step(tokens, past, 0, 0, law(tokens, past, 0, 0)));
        if k % 4 == 0 {
            let both =
                law(tokens, past, 0, 0) + 0.25 * law(0, 0, n, kv).min(law(tokens, past, 0, 0));
            if law(tokens, past, 0, 0) > law(0, 0, n, kv) {
                steps.push(step(tokens, past, n, kv, both));
            }
        }
    }
    steps
}

#[test]
fn a_law_of_lines_comes_back_also_for_steps_that_were_held_back() {
    let steps = lawful();
    let fitted = fit_steps(&steps).expect("a table");
    let last = steps.len() % 10;
    let of_last = [3, 6, 9].into_iter().filter(|k| *k <= last).count();
    assert_eq!(
        fitted.quality.held_back_steps,
        Some((steps.len() / 10 * 3 + of_last) as u64)
    );
    let held = fitted.quality.held_back_error_median.expect("held back");
    assert!(fitted.quality.error_p90 < 0.005, "{:?}", fitted.quality);
    assert!(held < 0.005, "{:?}", fitted.quality);
    let overlap = fitted.table.overlap.expect("an overlap");
    assert!((overlap - 0.25).abs() < 0.02, "{overlap}");
    assert!(fitted.table.rows.len() < 400);
    assert_eq!(fitted.by_kind.len(), 3);
}

#[test]
fn a_few_steps_that_were_disturbed_change_little() {
    let mut steps = lawful();
    for k in (0..steps.len()).step_by(25) {
        steps[k].ms *= 20.0;
    }
    let fitted = fit_steps(&steps).expect("a table");
    assert!(fitted.quality.error_median < 0.05, "{:?}", fitted.quality);
}

#[test]
fn the_table_reaches_as_far_as_the_steps_and_its_times_never_fall() {
    let mut steps = lawful();
    // Slower than its larger neighbours.
    steps.push(step(700, 0, 0, 0, 500.0));
    let fitted = fit_steps(&steps).expect("a table");
    let rows = &fitted.table.rows;
    assert_eq!(rows.iter().map(|r| r.decode_seqs).max(), Some(23));
    let most = steps.iter().map(|s| s.work.prefill_tokens).max();
    assert_eq!(rows.iter().map(|r| r.prefill_tokens).max(), most);
    let most = steps.iter().map(|s| s.work.decode_context).max();
    let kv = rows.iter().filter(|r| r.decode_seqs > 0);
    assert_eq!(kv.map(|r| r.kv_tokens).max(), most);
    let plain: Vec<f64> = rows
        .iter()
        .filter(|r| r.prefill_tokens > 0 && r.kv_tokens == 0)
        .map(|r| r.ms)
        .collect();
    assert!(plain.is_sorted(), "{plain:?}");
}

#[test]
fn prefills_that_never_run_alone_are_told_by_the_steps_with_both() {
    let mut steps = vec![step(0, 0, 4, 400, 10.0), step(0, 0, 4, 800, 10.0)];
    steps.push(step(64, 0, 4, 500, 60.0));
    let fitted = fit_steps(&steps).expect("a table");
    let row = fitted.table.rows.iter().find(|r| r.prefill_tokens == 64);
    assert_eq!(row.map(|r| r.ms), Some(50.0));
    assert!(fitted.notes[0].starts_with("no step has prefills alone"));
}

#[test]
fn a_table_needs_steps_of_both_kinds() {
    let refused = |steps: &[MeasuredStep]| fit_steps(steps).expect_err("refused").to_string();
    assert!(refused(&[step(4, 0, 0, 0, 1.0)]).starts_with("there is no step that only decodes"));
    assert!(refused(&[step(0, 0, 1, 9, 1.0)]).starts_with("there is no step that computes"));
}

#[test]
fn violators_are_pooled() {
    let values = [(1.0, 1.0), (5.0, 1.0), (2.0, 2.0), (9.0, 1.0)];
    assert_eq!(ascending(&values), [1.0, 3.0, 3.0, 9.0]);
}
