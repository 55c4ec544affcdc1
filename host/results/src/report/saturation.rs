//! The saturation detectors' report: final labels and the verdict after every event.

use super::go;
use crate::metrics::saturation::{Detectors, judge};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use windtunnel_base::record::RunRecord;

#[derive(Serialize)]
struct Entry<'a> {
    /// Microseconds.
    timestamp: i64,
    detector: &'a str,
    result: Outcome<'a>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    level: &'a str,
    score: f64,
    confidence: f64,
    signals: BTreeMap<&'a str, f64>,
}

/// Writes `{"trace": [...], "final": {...}}`, one verdict per line, as they are made. `final` comes
/// last for that reason, and is null when nothing completed. `timestamp` is in microseconds.
///
/// # Errors
/// When `out` fails.
pub fn write_trace(
    record: &RunRecord,
    detectors: &Detectors,
    out: &mut dyn Write,
) -> io::Result<()> {
    out.write_all(b"{\"trace\":[")?;
    let mut result = Ok(());
    let mut first = true;
    let labels = judge(record, detectors, |timestamp, detector, verdict| {
        if result.is_err() {
            return;
        }
        let entry = Entry {
            timestamp,
            detector: detector.name(),
            result: Outcome {
                level: verdict.level.name(),
                score: verdict.score,
                confidence: verdict.confidence,
                signals: verdict.signals.iter().copied().collect(),
            },
        };
        result = out
            .write_all(if first { b"\n" } else { b",\n" })
            .and_then(|()| go::write_line(out, &entry));
        first = false;
    });
    result?;
    out.write_all(b"\n],\"final\":")?;
    // The detectors look at completed requests: of none there is nothing to say.
    let judged = record.requests.iter().any(|r| r.e2e_us.is_some());
    go::write_line(out, &judged.then_some(labels))?;
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::{done, refused, run};

    #[test]
    fn a_trace_has_a_verdict_per_event_and_detector() {
        let record = run(vec![done(0, 1_000_000, 10, 5_000_000, 0)], 1);
        let detectors = Detectors::parse("--detectors", "composite,threshold").unwrap();
        let mut out = Vec::new();
        write_trace(&record, &detectors, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap();
        insta::assert_snapshot!(text, @r#"
        {"trace":[
        {"timestamp":1000000,"detector":"composite","result":{"level":"BACKLOGGED","score":1,"confidence":0.05,"signals":{"latency_trend":0,"latency_trend_raw":0,"noise_floor":1,"quartile_monotone":0,"rate_deficit":1}}},
        {"timestamp":1000000,"detector":"threshold","result":{"level":"STABLE","score":0,"confidence":0,"signals":{"mean_e2e_ms":0,"threshold_ms":5000}}},
        {"timestamp":6000000,"detector":"composite","result":{"level":"STABLE","score":0,"confidence":0.05,"signals":{"latency_trend":0,"latency_trend_raw":0,"noise_floor":1,"quartile_monotone":0,"rate_deficit":0}}},
        {"timestamp":6000000,"detector":"threshold","result":{"level":"OVERLOADED","score":0.75,"confidence":0.29289321881345254,"signals":{"mean_e2e_ms":5000,"threshold_ms":5000}}}
        ],"final":{"composite":"BACKLOGGED","threshold":"OVERLOADED"}}
        "#);
        let mut out = Vec::new();
        write_trace(&run(vec![refused(0, 0)], 1), &detectors, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"trace\":[\n],\"final\":null}\n"
        );
    }
}
