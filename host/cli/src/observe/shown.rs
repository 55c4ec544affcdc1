//! An observation as people and programs read it.

use super::asking::Seen;
use serde_json::{Value, json};
use std::fmt::Write;
use windtunnel_live::observe::{PromptFormat, Summary};
use windtunnel_results::metrics::stats::Spread;
use windtunnel_results::report::table::styled;

/// Columns of the table.
const WIDTH: u16 = 80;

/// The summary for people.
pub fn text(seen: &Seen, s: &Summary) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}, model {}", seen.url, seen.model);
    let _ = writeln!(text, "{}", seen.workload);
    let _ = write!(text, "{} of {} requests answered", s.ok, s.requests);
    for (n, what) in [
        (s.errors, "failed"),
        (s.timeouts, "given up"),
        (s.incomplete, "not waited for"),
        (s.held, "held back"),
        (s.warm_up, "to warm up before"),
    ] {
        if n > 0 {
            let _ = write!(text, ", {n} {what}");
        }
    }
    let _ = writeln!(text, "; {:.1} s", s.duration_s);
    if let (Some(requests), Some(tokens)) = (s.requests_per_s, s.output_tokens_per_s) {
        let _ = writeln!(
            text,
            "{requests:.2} requests/s, {tokens:.1} output tokens/s"
        );
    }
    let percent = |share: f64| format!("{:.1} %", share * 1e2);
    if let Some(share) = s.cached_share {
        let _ = writeln!(
            text,
            "prompt tokens found in the prefix cache: {}",
            percent(share)
        );
    }
    if let Some(rate) = s.kv_hit_rate {
        let _ = writeln!(text, "hit rate by the server's counters: {}", percent(rate));
    }
    if s.other_length > 0 {
        let _ = writeln!(
            text,
            "answers of another length than asked for: {}",
            s.other_length
        );
    }
    let mut table = styled(&["ms", "mean", "p50", "p90", "p95", "p99", "max"]);
    table.set_width(WIDTH);
    let rows = [
        ("TTFT", s.ttft_ms.unwrap_or_default()),
        (
            "  from intended",
            s.ttft_from_intended_ms.unwrap_or_default(),
        ),
        ("ITL per chunk", s.itl_per_chunk_ms),
        ("  per token", s.itl_per_token_ms),
        ("TPOT", s.tpot_ms),
        ("E2E", s.e2e_ms),
        ("  from intended", s.e2e_from_intended_ms),
        ("sent late by", s.lateness_ms),
        ("held back for", s.held_ms),
    ];
    for (name, spread) in rows {
        if spread.count > 0 {
            table.add_row(row(name, spread));
        }
    }
    let _ = writeln!(text, "{table}");
    text
}

fn row(name: &str, spread: Spread) -> Vec<String> {
    let figures = [
        spread.mean,
        spread.p50,
        spread.p90,
        spread.p95,
        spread.p99,
        spread.max,
    ];
    let digits = |ms: f64| match ms {
        ms if ms >= 1000.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms => format!("{ms:.3}"),
    };
    let figures = figures.map(digits);
    std::iter::once(name.to_owned()).chain(figures).collect()
}

/// The summary for programs.
pub fn json(seen: &Seen, summary: &Summary, late: bool) -> anyhow::Result<Value> {
    let prompts = match seen.prompts.format {
        PromptFormat::Tokens => json!({"format": "tokens"}),
        PromptFormat::Text => json!({
            "format": "text",
            "tokens_per_word": seen.prompts.ratio,
            "tokens_added": seen.prompts.added,
        }),
    };
    let mut all = json!({
        "url": seen.url,
        "model": seen.model,
        "workload": seen.workload,
        "prompts": prompts,
        "stopped": seen.observation.stopped,
        "too_late": late,
    });
    if let (Some(all), Value::Object(figures)) =
        (all.as_object_mut(), serde_json::to_value(summary)?)
    {
        all.extend(figures);
    }
    Ok(all)
}
