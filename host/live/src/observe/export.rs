//! What an observation leaves behind, beside the trace: times of chunks, lines as AIPerf writes
//! them.

use super::{Observation, Observed};
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use windtunnel_workload::trace_v2::observed::Status;

/// Writes the time of every event with tokens, a row each: `request_id`, `chunk_index` from 0,
/// `timestamp_us` since 1970.
///
/// # Errors
/// When `out` fails.
pub fn write_itl(out: &mut dyn Write, seen: &Observation) -> io::Result<()> {
    writeln!(out, "request_id,chunk_index,timestamp_us")?;
    for o in seen.requests.iter().filter(|o| o.row.status == Status::Ok) {
        for (k, chunk) in o.chunks.iter().enumerate() {
            let at_us = o.row.send_us + chunk.at_us - o.sent_us;
            writeln!(out, "{},{k},{at_us}", o.row.id)?;
        }
    }
    Ok(())
}

/// Writes the requests as AIPerf's `profile_export.jsonl` has them: an object per line, in the
/// order of sending.
///
/// # Errors
/// When `out` fails.
pub fn write_jsonl(out: &mut dyn Write, seen: &Observation) -> io::Result<()> {
    for o in &seen.requests {
        writeln!(out, "{}", line(o))?;
    }
    Ok(())
}

fn line(o: &Observed) -> Value {
    let row = &o.row;
    let ns = |us: i64| us.saturating_mul(1000);
    // Since 1970, of a time after the start.
    let epoch = |us: i64| ns(row.send_us + us - o.sent_us);
    let ok = row.status == Status::Ok;
    let last = o.chunks.last().map(|c| c.at_us);
    let session = match row.session.as_str() {
        "" => row.x_request_id.as_str(),
        session => session,
    };
    let mut metadata = json!({
        "session_num": row.id.parse::<u64>().unwrap_or_default(),
        "x_request_id": row.x_request_id,
        "x_correlation_id": session,
        "conversation_id": session,
        "turn_index": row.round,
        "credit_issued_ns": epoch(o.request.arrival_us),
        "request_start_ns": epoch(o.sent_us),
        "request_end_ns": last.map(epoch),
        "worker_id": "windtunnel",
        "record_processor_id": "windtunnel",
        "benchmark_phase": if o.warm_up { "warmup" } else { "profiling" },
        "was_cancelled": matches!(row.status, Status::Timeout | Status::Incomplete),
    });
    if row.streaming
        && let Some(first) = o.chunks.first()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.insert("request_ack_ns".into(), epoch(first.at_us).into());
    }
    let error = match row.error.as_str() {
        "" => Value::Null,
        message => json!({"code": null, "type": row.status.word(), "message": message}),
    };
    json!({
        "metadata": metadata,
        "metrics": if ok { metrics(o) } else { Value::Object(Map::new()) },
        "error": error,
    })
}

fn metrics(o: &Observed) -> Value {
    let row = &o.row;
    let ms = |us: i64| json!({"value": us as f64 / 1e3, "unit": "ms"});
    let tokens = |n: u32| json!({"value": n, "unit": "tokens"});
    let mut all = Map::new();
    all.insert("input_sequence_length".into(), tokens(row.prompt_tokens()));
    all.insert("output_sequence_length".into(), tokens(row.output_tokens));
    all.insert("output_token_count".into(), tokens(row.output_tokens));
    if let Some(cached) = row.cached_tokens {
        all.insert("usage_prompt_cache_read_tokens".into(), tokens(cached));
    }
    let (Some(first), Some(last)) = (o.chunks.first(), o.chunks.last()) else {
        return Value::Object(all);
    };
    all.insert("request_latency".into(), ms(last.at_us - o.sent_us));
    if row.streaming {
        all.insert("time_to_first_token".into(), ms(first.at_us - o.sent_us));
        let pairs = o.chunks.windows(2);
        let gaps: Vec<f64> = pairs
            .map(|pair| (pair[1].at_us - pair[0].at_us) as f64 / 1e3)
            .collect();
        if row.output_tokens > 1 && !gaps.is_empty() {
            let mean = (last.at_us - first.at_us) as f64 / 1e3 / f64::from(row.output_tokens - 1);
            let mean = json!({"value": mean, "unit": "ms"});
            all.insert("inter_token_latency".into(), mean);
        }
        let gaps = json!({"value": gaps, "unit": "ms"});
        all.insert("inter_chunk_latency".into(), gaps);
    }
    Value::Object(all)
}
