//! The report for people: a few tables, plain text without colours.

use super::machines::per_gpu;
use super::width::{fit, left_out};
pub use super::width::{styled, whole};
use super::{Results, gateway, instance_name, scaling, tiers, upkeep};
use crate::metrics::drafts::Drafts;
use crate::metrics::groups::{Group, fairness};
use crate::metrics::measured::Measured;
use crate::metrics::stats::{Distribution, Ints, Spread};
use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

/// Tables stop here; the rest is told in one line.
const MOST_ROWS: usize = 32;

/// The whole report, with a final line break.
#[must_use]
pub fn text(results: &Results<'_>) -> String {
    let mut blocks = Vec::new();
    if !results.inputs.header.is_empty() {
        blocks.push(results.inputs.header.join("\n"));
    }
    blocks.push(overview(results));
    blocks.push(latencies(results));
    if results.summary.instances.len() > 1 {
        blocks.push(instances(results));
    }
    if results.pools.len() > 1 {
        blocks.push(groups("Pool", &results.pools));
    }
    if results.classes.len() > 1 {
        blocks.push(groups("SLO class", &results.classes));
    }
    if results.models.len() > 1 {
        blocks.push(groups("Model", &results.models));
    }
    if !results.adapters.is_empty() {
        blocks.push(groups("Adapter", &results.adapters));
    }
    if results.tenants.len() > 1 {
        blocks.push(format!(
            "{}\nFairness between tenants (Jain, output tokens): {}",
            groups("Tenant", &results.tenants),
            or_dash(fairness(&results.tenants), |jain| format!("{jain:.4}"))
        ));
    }
    if let Some(inputs) = results.inputs.generator {
        blocks.push(
            super::generator::text(results, inputs)
                .trim_end()
                .to_owned(),
        );
    }
    let notes = notes(results);
    if !notes.is_empty() {
        blocks.push(notes.join("\n"));
    }
    let mut text = blocks.join("\n\n");
    text.push('\n');
    text
}

/// A number with enough digits to compare, and no more.
fn digits(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if a < 0.995 => format!("{x:.3}"),
        a if a < 99.95 => format!("{x:.2}"),
        a if a < 9999.5 => format!("{x:.1}"),
        _ => thousands(x.round() as i64),
    }
}

/// `1,234,567`.
fn thousands(n: i64) -> String {
    let plain = n.unsigned_abs().to_string();
    let mut text = String::from(if n < 0 { "-" } else { "" });
    for (k, digit) in plain.chars().enumerate() {
        if k > 0 && (plain.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn count(n: u64) -> String {
    i64::try_from(n).map_or_else(|_| n.to_string(), thousands)
}

fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// A figure that may be of nothing: then a dash, since 0 would look like the best or the worst.
fn or_dash(value: Option<f64>, show: fn(f64) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A table of numbers after the first column.
fn table(header: &[&str]) -> Table {
    let mut table = styled(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The table without blanks at the ends of its lines, and what did not fit in: rows, and columns,
/// of which the `least_wanted` go first.
fn finish(mut table: Table, more_rows: usize, least_wanted: &[&str]) -> String {
    let hidden = left_out(&fit(&mut table, least_wanted, &[]));
    let mut text = table
        .to_string()
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n");
    if more_rows > 0 {
        let _ = write!(text, "\n... and {more_rows} more");
    }
    if !hidden.is_empty() {
        let _ = write!(text, "\n{hidden}");
    }
    text
}

fn overview(results: &Results<'_>) -> String {
    let s = &results.summary;
    let c = &s.cluster;
    let mut ends = vec![format!("{} completed", count(c.completed))];
    let queued_tokens = s.refused_by_queued_tokens;
    for (n, what) in [
        (s.rejected_by_admission, "rejected by admission"),
        (s.rejected_by_routing, "rejected by routing"),
        (s.refused_by_queued_reqs, "refused (max_num_queued_reqs)"),
        (queued_tokens, "refused (max_num_queued_tokens)"),
        (c.dropped, "dropped"),
        (c.timed_out, "timed out"),
        (c.still_running, "still running"),
        (c.still_queued, "still queued"),
        (s.in_transit, "in transit"),
    ]
    .into_iter()
    .chain(gateway::ends(s.gateway.as_ref()))
    .chain(scaling::ends(results.record))
    {
        if n > 0 {
            ends.push(format!("{} {what}", count(n)));
        }
    }
    let mut text = format!(
        "Requests:   {} arrived: {}\nThroughput: {} requests/s, {} output tokens/s over the whole run ({} simulated seconds){}",
        count(s.arrivals),
        ends.join(", "),
        digits(c.responses_per_sec()),
        digits(c.tokens_per_sec()),
        digits(c.duration_s()),
        per_gpu(&results.inputs.machines, c.tokens_per_sec(), digits, count),
    );
    if let Some(w) = &s.arrival_window {
        let _ = write!(
            text,
            "\nArrivals:   {} requests/s over {} s; completed in that time: {} requests/s, {} tokens/s",
            digits(w.arrivals_per_sec()),
            digits(w.seconds()),
            digits(w.responses_per_sec()),
            digits(w.tokens_per_sec()),
        );
    }
    if let Some(window) = results.inputs.measured_us {
        let m = Measured::of(results.record, window);
        let ms = |us: &Ints| {
            or_dash(
                Distribution::of(us).divided_by(1000.0).figure(|d| d.mean),
                digits,
            )
        };
        let _ = write!(
            text,
            "\nMeasured:   {}-{} s: {} requests/s, {} tokens/s, mean TTFT {} ms, mean E2E {} ms",
            digits(m.start_us as f64 / 1e6),
            digits(m.end_us as f64 / 1e6),
            digits(m.responses_per_sec()),
            digits(m.tokens_per_sec()),
            ms(&m.ttft_us),
            ms(&m.e2e_us),
        );
    }
    let asked_again = [
        (s.put_off.delays, "delays by admission"),
        (s.put_off.holds, "holds by the router"),
    ];
    let asked_again = asked_again.into_iter().filter(|(n, _)| *n > 0);
    let asked_again: Vec<String> = asked_again
        .map(|(n, what)| format!("{} {what}", count(n)))
        .collect();
    if !asked_again.is_empty() {
        let _ = write!(text, "\nPut off:    {}", asked_again.join(", "));
    }
    if let Some(g) = &s.gateway {
        let _ = write!(text, "\n{}", gateway::line(g, digits, count));
    }
    text += &scaling::lines(results.record, digits, count);
    let bound = results.inputs.infinite_cache_hit_rate;
    let bound = bound.filter(|rate| *rate > 0.0).map(percent);
    let bound = bound.map_or(String::new(), |rate| format!(" (infinite cache {rate})"));
    let _ = write!(
        text,
        "\nKV cache:   peak {}, time average {}, prefix hit rate {}{bound}, {} preemptions",
        percent(c.kv_peak_utilization),
        or_dash(c.kv_mean_utilization, percent),
        or_dash(c.cache_hit_rate, percent),
        count(c.preemptions)
    );
    text += &tiers::text(&results.record.instances, count);
    if let Some(t) = &results.transfers {
        let ms = |d: &Distribution, of: fn(&Distribution) -> f64| {
            or_dash(d.divided_by(1000.0).figure(of), digits)
        };
        let _ = write!(
            text,
            "\nTransfers:  {} KV caches moved, {} at most at once; ms: waited for blocks {} (p99 {}), moved {} (p99 {})",
            count(t.requests),
            count(t.peak),
            ms(&t.wait_us, |d| d.mean),
            ms(&t.wait_us, |d| d.p99),
            ms(&t.transfer_us, |d| d.mean),
            ms(&t.transfer_us, |d| d.p99),
        );
    }
    if !results.adapters.is_empty() {
        let loads = count(c.adapter_loads);
        let _ = write!(text, "\nAdapters:   {loads} loads to the GPU");
    }
    if let Some(d) = Drafts::of(&results.record.instances) {
        let _ = write!(
            text,
            "\nDrafts:     {} of {} tokens accepted ({}), {} tokens per verification",
            count(d.accepted),
            count(d.drafted),
            percent(d.acceptance_rate()),
            digits(d.mean_acceptance_length())
        );
    }
    if let Some(t) = &results.trace {
        let _ = write!(
            text,
            "\nDecisions:  {} at admission, {} admitted; {} instances used; regret mean {}, max {} (in the policy's score)",
            count(t.total),
            count(t.admitted),
            t.targets.len(),
            or_dash(t.mean_regret, digits),
            or_dash(t.max_regret, digits)
        );
    }
    if let Some(g) = &results.goodput {
        let _ = write!(
            text,
            "\nGoodput:    {} requests/s over the whole run, {} of {} requests met their targets",
            digits(g.rps),
            percent(g.attainment),
            count(g.arrivals)
        );
    }
    text += &upkeep::text(results);
    if let Some(f) = &results.fitness {
        let _ = write!(text, "\nFitness:    {:.6}", f.score);
    }
    if let Some(labels) = &results.saturation {
        let labels: Vec<String> = labels
            .iter()
            .map(|(detector, level)| format!("{detector} {}", level.name()))
            .collect();
        let text_of = if labels.is_empty() {
            "-, as nothing completed".to_owned()
        } else {
            labels.join(", ")
        };
        let _ = write!(text, "\nSaturation: {text_of}");
    }
    text
}

/// Picks one number of a spread.
type Measure = fn(&Spread) -> f64;

fn latencies(results: &Results<'_>) -> String {
    let l = &results.summary.cluster.latency_ms;
    let all = [l.ttft, l.itl, l.tpot, l.e2e, l.scheduling_delay];
    let mut table = table(&[
        "Latency, ms",
        "TTFT",
        "ITL",
        "TPOT",
        "E2E",
        "Scheduling delay",
    ]);
    let rows: [(&str, Measure); 5] = [
        ("mean", |s| s.mean),
        ("p50", |s| s.p50),
        ("p90", |s| s.p90),
        ("p99", |s| s.p99),
        ("max", |s| s.max),
    ];
    for (name, value) in rows {
        let cells = all.iter().map(|s| or_dash(s.figure(value), digits));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    }
    let text = finish(table, 0, &["Scheduling delay", "ITL"]);
    let (completed, arrived) = (l.e2e.count, results.summary.arrivals);
    match completed {
        _ if completed == arrived => text,
        0 => format!("{text}\nNo request completed: there are no latencies."),
        _ => format!(
            "{text}\nLatencies are those of the {} requests that completed, of {} that arrived.",
            count(completed),
            count(arrived)
        ),
    }
}

fn instances(results: &Results<'_>) -> String {
    let all = &results.summary.instances;
    let record = results.record;
    let mut header = vec!["Instance"];
    header.extend(record.names_pools().then_some("Pool"));
    let splits = results.transfers.is_some();
    header.extend(splits.then_some("Prefills"));
    header.extend([
        "Requests",
        "Share",
        "TTFT p99 ms",
        "KV peak",
        "Hit rate",
        "Preempted",
        "Queue",
    ]);
    let mut table = table(&header);
    for (k, s) in (0u32..).zip(all).take(MOST_ROWS) {
        // A queue that blocks its head of line is told in words below, too.
        let blocked = if results.anomalies.hol_blocked.contains(&k) {
            " HOL"
        } else {
            ""
        };
        let pool = record.symbols.name(record.instances[k as usize].pool);
        let mut row = vec![s.name.clone()];
        row.extend(record.names_pools().then(|| pool.to_owned()));
        row.extend(splits.then(|| count(s.prefills)));
        row.extend([
            count(s.routed),
            percent(s.share),
            or_dash(s.latency_ms.ttft.figure(|l| l.p99), digits),
            percent(s.kv_peak_utilization),
            or_dash(s.cache_hit_rate, percent),
            count(s.preemptions),
            format!("{}{blocked}", or_dash(s.mean_queue_length, digits)),
        ]);
        table.add_row(row);
    }
    let least_wanted = ["Share", "Preempted", "KV peak", "Queue", "Pool", "Hit rate"];
    finish(table, all.len().saturating_sub(MOST_ROWS), &least_wanted)
}

fn groups(kind: &str, groups: &[Group]) -> String {
    let mut table = table(&[
        kind,
        "Arrived",
        "Completed",
        "Output tokens",
        "TTFT mean",
        "TTFT p99",
        "E2E mean",
        "E2E p99",
    ]);
    let ms = |d: &Distribution, of: fn(&Distribution) -> f64| {
        or_dash(d.divided_by(1000.0).figure(of), digits)
    };
    for g in groups.iter().take(MOST_ROWS) {
        table.add_row([
            g.name.clone(),
            count(g.arrivals),
            count(g.completed),
            count(g.output_tokens),
            ms(&g.ttft_us, |d| d.mean),
            ms(&g.ttft_us, |d| d.p99),
            ms(&g.e2e_us, |d| d.mean),
            ms(&g.e2e_us, |d| d.p99),
        ]);
    }
    let least_wanted = ["E2E mean", "TTFT mean", "Output tokens", "Arrived"];
    let table = finish(table, groups.len().saturating_sub(MOST_ROWS), &least_wanted);
    format!("By {} (latencies in ms)\n{table}", kind_in_text(kind))
}

fn kind_in_text(kind: &str) -> String {
    if kind.starts_with("SLO") {
        kind.to_owned()
    } else {
        kind.to_lowercase()
    }
}

/// What a person should look at, in plain words.
fn notes(results: &Results<'_>) -> Vec<String> {
    let a = &results.anomalies;
    let mut notes = Vec::new();
    let mut note = |n: u64, one: &str, many: &str| {
        if n > 0 {
            notes.push(format!(
                "! {} {}",
                count(n),
                if n == 1 { one } else { many }
            ));
        }
    };
    note(
        a.priority_inversions,
        "pair of requests of one class where the earlier took more than twice as long",
        "pairs of requests of one class where the earlier took more than twice as long",
    );
    note(
        a.dropped,
        "request can never be served: its prompt and output exceed the model length or the KV cache",
        "requests can never be served: prompt and output exceed the model length or the KV cache",
    );
    note(a.timed_out, "request timed out", "requests timed out");
    note(
        a.length_capped,
        "request stopped at the model's length limit",
        "requests stopped at the model's length limit",
    );
    note(
        a.rejected_by_routing,
        "request names a model that no instance serves",
        "requests name a model that no instance serves",
    );
    note(
        results.summary.cluster.kv_allocation_failures,
        "request found no KV block for its last token",
        "requests found no KV block for their last token",
    );
    if !a.shed_by_class.is_empty() {
        let classes: Vec<String> = a
            .shed_by_class
            .iter()
            .map(|(class, n)| format!("{} {class}", count(*n)))
            .collect();
        notes.push(format!("! Rejected by admission: {}", classes.join(", ")));
    }
    if !a.hol_blocked.is_empty() {
        let names: Vec<String> = a.hol_blocked.iter().map(|&k| instance_name(k)).collect();
        notes.push(format!(
            "! Head-of-line blocking: the queue is more than twice the mean on {}",
            names.join(", ")
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::ReportInputs;
    use super::*;
    use crate::metrics::slo::Dimension;
    use crate::metrics::summary::tests::{done, refused, run};

    #[test]
    fn numbers_keep_three_or_four_digits() {
        for (x, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.999, "1.00"),
            (12.345, "12.35"),
            (99.96, "100.0"),
            (1234.56, "1234.6"),
            (1_234_567.8, "1,234,568"),
        ] {
            assert_eq!(digits(x), text);
        }
        assert_eq!(thousands(-1000), "-1,000");
    }

    #[test]
    fn a_report_fits_a_hundred_columns() {
        let mut record = run(
            vec![
                done(0, 0, 1000, 3000, 0),
                done(1, 100_000, 30_000, 1_200_000, 1),
                refused(2, 150_000),
            ],
            3,
        );
        let (t0, t1, batch) = (
            record.symbols.intern("tenant-a"),
            record.symbols.intern("tenant-b"),
            record.symbols.intern("batch"),
        );
        record.requests[0].tenant = t0;
        record.requests[1].tenant = t1;
        record.requests[1].slo_class = batch;
        record.shed_by_class = vec![("standard".into(), 1)];
        record.instances[1].steps = 10;
        record.instances[1].queue_length_sum = 25;
        record.instances[1].preemptions = 1234;
        record.instances[1].kv_peak_blocks = 90;
        let mut inputs = ReportInputs {
            header: vec![
                "qwen3-14b on H100, TP 1, 2 instances, trained-physics, blis rules".into(),
            ],
            ..ReportInputs::default()
        };
        inputs.slo_targets.set("default", Dimension::E2e, 5000.0);
        let text = text(&Results::new(&record, &inputs));
        assert!(text.lines().all(|l| l.chars().count() <= 100), "{text}");
        insta::assert_snapshot!(text, @r#"
        qwen3-14b on H100, TP 1, 2 instances, trained-physics, blis rules

        Requests:   3 arrived: 2 completed, 1 rejected by admission
        Throughput: 1.54 requests/s, 4.62 output tokens/s over the whole run (1.30 simulated seconds)
        Arrivals:   13.33 requests/s over 0.150 s; completed in that time: 6.67 requests/s, 20.00 tokens/s
        KV cache:   peak 90.0%, time average 0.0%, prefix hit rate -, 1,234 preemptions
        Goodput:    0.769 requests/s over the whole run, 50.0% of 2 requests met their targets

        ┌─────────────┬───────┬───────┬───────┬────────┬──────────────────┐
        │ Latency, ms ┆  TTFT ┆   ITL ┆  TPOT ┆    E2E ┆ Scheduling delay │
        ╞═════════════╪═══════╪═══════╪═══════╪════════╪══════════════════╡
        │ mean        ┆ 15.50 ┆ 293.0 ┆ 293.0 ┆  601.5 ┆            0.100 │
        │ p50         ┆ 15.50 ┆ 293.0 ┆ 293.0 ┆  601.5 ┆            0.100 │
        │ p90         ┆ 27.10 ┆ 585.0 ┆ 526.6 ┆ 1080.3 ┆            0.100 │
        │ p99         ┆ 29.71 ┆ 585.0 ┆ 579.2 ┆ 1188.0 ┆            0.100 │
        │ max         ┆ 30.00 ┆ 585.0 ┆ 585.0 ┆ 1200.0 ┆            0.100 │
        └─────────────┴───────┴───────┴───────┴────────┴──────────────────┘
        Latencies are those of the 2 requests that completed, of 3 that arrived.

        ┌────────────┬──────────┬───────┬─────────────┬─────────┬──────────┬───────────┬──────────┐
        │ Instance   ┆ Requests ┆ Share ┆ TTFT p99 ms ┆ KV peak ┆ Hit rate ┆ Preempted ┆    Queue │
        ╞════════════╪══════════╪═══════╪═════════════╪═════════╪══════════╪═══════════╪══════════╡
        │ instance_0 ┆        1 ┆ 50.0% ┆        1.00 ┆    0.0% ┆        - ┆         0 ┆        - │
        │ instance_1 ┆        1 ┆ 50.0% ┆       30.00 ┆   90.0% ┆        - ┆     1,234 ┆ 2.50 HOL │
        │ instance_2 ┆        0 ┆  0.0% ┆           - ┆    0.0% ┆        - ┆         0 ┆        - │
        └────────────┴──────────┴───────┴─────────────┴─────────┴──────────┴───────────┴──────────┘

        By SLO class (latencies in ms)
        ┌───────────┬─────────┬───────────┬───────────────┬───────────┬──────────┬──────────┬─────────┐
        │ SLO class ┆ Arrived ┆ Completed ┆ Output tokens ┆ TTFT mean ┆ TTFT p99 ┆ E2E mean ┆ E2E p99 │
        ╞═══════════╪═════════╪═══════════╪═══════════════╪═══════════╪══════════╪══════════╪═════════╡
        │ batch     ┆       1 ┆         1 ┆             3 ┆     30.00 ┆    30.00 ┆   1200.0 ┆  1200.0 │
        │ default   ┆       2 ┆         1 ┆             3 ┆      1.00 ┆     1.00 ┆     3.00 ┆    3.00 │
        └───────────┴─────────┴───────────┴───────────────┴───────────┴──────────┴──────────┴─────────┘

        By tenant (latencies in ms)
        ┌──────────┬─────────┬───────────┬───────────────┬───────────┬──────────┬──────────┬─────────┐
        │ Tenant   ┆ Arrived ┆ Completed ┆ Output tokens ┆ TTFT mean ┆ TTFT p99 ┆ E2E mean ┆ E2E p99 │
        ╞══════════╪═════════╪═══════════╪═══════════════╪═══════════╪══════════╪══════════╪═════════╡
        │ tenant-a ┆       1 ┆         1 ┆             3 ┆      1.00 ┆     1.00 ┆     3.00 ┆    3.00 │
        │ tenant-b ┆       1 ┆         1 ┆             3 ┆     30.00 ┆    30.00 ┆   1200.0 ┆  1200.0 │
        └──────────┴─────────┴───────────┴───────────────┴───────────┴──────────┴──────────┴─────────┘
        Fairness between tenants (Jain, output tokens): 1.0000

        ! Rejected by admission: 1 standard
        ! Head-of-line blocking: the queue is more than twice the mean on instance_1
        "#);
    }

    #[test]
    fn a_run_without_requests_has_a_report() {
        let record = run(vec![], 1);
        let text = text(&Results::new(&record, &ReportInputs::default()));
        insta::assert_snapshot!(text, @r#"
        Requests:   0 arrived: 0 completed
        Throughput: 0 requests/s, 0 output tokens/s over the whole run (0 simulated seconds)
        KV cache:   peak 0.0%, time average -, prefix hit rate -, 0 preemptions

        ┌─────────────┬──────┬─────┬──────┬─────┬──────────────────┐
        │ Latency, ms ┆ TTFT ┆ ITL ┆ TPOT ┆ E2E ┆ Scheduling delay │
        ╞═════════════╪══════╪═════╪══════╪═════╪══════════════════╡
        │ mean        ┆    - ┆   - ┆    - ┆   - ┆                - │
        │ p50         ┆    - ┆   - ┆    - ┆   - ┆                - │
        │ p90         ┆    - ┆   - ┆    - ┆   - ┆                - │
        │ p99         ┆    - ┆   - ┆    - ┆   - ┆                - │
        │ max         ┆    - ┆   - ┆    - ┆   - ┆                - │
        └─────────────┴──────┴─────┴──────┴─────┴──────────────────┘
        "#);
    }
}
