//! What an observation says in figures.

use super::{Observation, Observed};
use serde::Serialize;
use windtunnel_results::metrics::stats::{Ints, Spread};
use windtunnel_workload::trace_v2::observed::Status;

/// The figures of an observation, over the requests that do not only warm up. Latencies are
/// milliseconds, of requests that were answered whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Requests sent, without those that warm up.
    pub requests: u64,
    /// Requests that only warmed up.
    pub warm_up: u64,
    /// Answered whole.
    pub ok: u64,
    /// Refused, or broken off.
    pub errors: u64,
    /// Given up by their client.
    pub timeouts: u64,
    /// Under way when the observation was ended.
    pub incomplete: u64,
    /// Answers whose length is not the one that was asked for.
    pub other_length: u64,
    /// From the first sending to the last token, seconds.
    pub duration_s: f64,
    /// Answered requests per second of that; `None` where it is 0.
    pub requests_per_s: Option<f64>,
    /// Their output tokens per second.
    pub output_tokens_per_s: Option<f64>,
    /// Prompt tokens of all requests, as the server counts where it does.
    pub prompt_tokens: u64,
    /// Output tokens of answered requests.
    pub output_tokens: u64,
    /// Share of prompt tokens that the server says it found in its prefix cache.
    pub cached_share: Option<f64>,
    /// The same by the server's counters, of all its requests meanwhile.
    pub kv_hit_rate: Option<f64>,
    /// How late requests were sent.
    pub lateness_ms: Spread,
    /// Requests that the limit on requests at once held back.
    pub held: u64,
    /// For how long.
    pub held_ms: Spread,
    /// From sending to the first token; `None` where answers are not streamed.
    pub ttft_ms: Option<Spread>,
    /// The same from the intended time of sending.
    pub ttft_from_intended_ms: Option<Spread>,
    /// Gaps between events with tokens.
    pub itl_per_chunk_ms: Spread,
    /// The same divided by the tokens of the event, once for each of them.
    pub itl_per_token_ms: Spread,
    /// Mean time per output token after the first, of each request.
    pub tpot_ms: Spread,
    /// From sending to the last token.
    pub e2e_ms: Spread,
    /// The same from the intended time of sending.
    pub e2e_from_intended_ms: Spread,
}

fn spread(values: impl Iterator<Item = i64>) -> Spread {
    Spread::of_us(&Ints::new(values.collect()))
}

/// Sums an observation up.
#[must_use]
pub fn summarize(seen: &Observation) -> Summary {
    let measured = || seen.requests.iter().filter(|o| !o.warm_up);
    let ok = || measured().filter(|o| o.row.status == Status::Ok);
    let count = |status| measured().filter(|o| o.row.status == status).count() as u64;
    let first = |o: &Observed| o.chunks.first().map(|c| c.at_us);
    let last = |o: &Observed| o.chunks.last().map(|c| c.at_us);
    let from = measured().map(|o| o.sent_us).min();
    let until = measured().filter_map(last).max();
    let duration_us = from
        .zip(until)
        .map_or(0, |(from, until)| (until - from).max(0));
    let per_s = |n: u64| (duration_us > 0).then(|| n as f64 / (duration_us as f64 / 1e6));
    let output_tokens = ok().map(|o| u64::from(o.row.output_tokens)).sum();
    let streamed = measured().any(|o| o.row.streaming);
    let gaps = || {
        ok().flat_map(|o| {
            let pairs = o.chunks.windows(2);
            pairs.map(|pair| (pair[1].at_us - pair[0].at_us, pair[1].tokens))
        })
    };
    let cached = ok().filter_map(|o| Some((o.row.cached_tokens?, o.row.prompt_tokens())));
    let cached = cached.fold((0_u64, 0_u64), |(hits, all), (cached, prompt)| {
        (hits + u64::from(cached), all + u64::from(prompt))
    });
    let tpot = |o: &Observed| {
        let others = i64::from(o.row.output_tokens) - 1;
        let us = last(o)? - first(o)?;
        (others > 0 && o.chunks.len() > 1).then(|| us / others)
    };
    Summary {
        requests: measured().count() as u64,
        warm_up: seen.requests.iter().filter(|o| o.warm_up).count() as u64,
        ok: count(Status::Ok),
        errors: count(Status::Error),
        timeouts: count(Status::Timeout),
        incomplete: count(Status::Incomplete),
        other_length: ok()
            .filter(|o| o.row.output_tokens != o.request.output.len().max(1))
            .count() as u64,
        duration_s: duration_us as f64 / 1e6,
        requests_per_s: per_s(count(Status::Ok)),
        output_tokens_per_s: per_s(output_tokens),
        prompt_tokens: measured().map(|o| u64::from(o.row.prompt_tokens())).sum(),
        output_tokens,
        cached_share: (cached.1 > 0).then(|| cached.0 as f64 / cached.1 as f64),
        kv_hit_rate: seen.kv.as_ref().map(|kv| kv.hit_rate()),
        lateness_ms: spread(measured().map(Observed::late_us)),
        held: measured().filter(|o| o.held_us > 0).count() as u64,
        held_ms: spread(measured().map(|o| o.held_us).filter(|us| *us > 0)),
        ttft_ms: streamed.then(|| spread(ok().filter_map(|o| Some(first(o)? - o.sent_us)))),
        ttft_from_intended_ms: streamed
            .then(|| spread(ok().filter_map(|o| Some(first(o)? - o.request.arrival_us)))),
        itl_per_chunk_ms: spread(gaps().map(|(us, _)| us)),
        itl_per_token_ms: spread(gaps().flat_map(|(us, tokens)| {
            let each = us / i64::from(tokens.max(1));
            std::iter::repeat_n(each, tokens as usize)
        })),
        tpot_ms: spread(ok().filter_map(tpot)),
        e2e_ms: spread(ok().filter_map(|o| Some(last(o)? - o.sent_us))),
        e2e_from_intended_ms: spread(ok().filter_map(|o| Some(last(o)? - o.request.arrival_us))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Chunk;
    use super::*;
    use windtunnel_base::request::{Request, RequestId, TokenSeq};
    use windtunnel_workload::trace_v2::observed::ObservedRow;

    fn observed(arrival_us: i64, sent_us: i64, chunks: &[(i64, u32)], status: Status) -> Observed {
        let prompt = TokenSeq::of(0, 10);
        Observed {
            request: Request::new(RequestId::Number(0), arrival_us, prompt, TokenSeq::of(1, 4)),
            row: ObservedRow {
                streaming: true,
                status,
                input_tokens: 10,
                output_tokens: chunks.iter().map(|(_, n)| n).sum(),
                cached_tokens: Some(5),
                ..ObservedRow::default()
            },
            sent_us,
            held_us: 0,
            chunks: chunks
                .iter()
                .map(|(at_us, tokens)| Chunk {
                    at_us: *at_us,
                    tokens: *tokens,
                })
                .collect(),
            warm_up: false,
        }
    }

    #[test]
    fn figures_are_those_worked_out_by_hand() {
        let warm = Observed {
            warm_up: true,
            ..observed(0, 0, &[(9_000_000, 4)], Status::Ok)
        };
        let seen = Observation {
            requests: vec![
                warm,
                observed(
                    1_000_000,
                    1_002_000,
                    &[(1_012_000, 1), (1_018_000, 3)],
                    Status::Ok,
                ),
                observed(2_000_000, 2_000_000, &[(2_020_000, 1)], Status::Error),
                observed(3_000_000, 3_000_000, &[(3_002_000, 2)], Status::Ok),
            ],
            ..Observation::default()
        };
        let s = summarize(&seen);
        assert_eq!((s.requests, s.warm_up, s.ok, s.errors), (3, 1, 2, 1));
        assert_eq!(
            (s.other_length, s.output_tokens, s.prompt_tokens),
            (1, 6, 30)
        );
        assert_eq!((s.duration_s, s.requests_per_s), (2.0, Some(1.0)));
        assert_eq!(s.cached_share, Some(0.5));
        let ttft = s.ttft_ms.expect("streamed");
        assert_eq!((ttft.mean, ttft.max), (6.0, 10.0));
        assert_eq!(s.ttft_from_intended_ms.expect("streamed").max, 12.0);
        assert_eq!(
            (s.itl_per_chunk_ms.mean, s.itl_per_chunk_ms.count),
            (6.0, 1)
        );
        assert_eq!(
            (s.itl_per_token_ms.mean, s.itl_per_token_ms.count),
            (2.0, 3)
        );
        assert_eq!((s.tpot_ms.mean, s.tpot_ms.count), (2.0, 1));
        assert_eq!((s.lateness_ms.max, s.e2e_ms.mean), (2.0, 9.0));
    }
}
