//! What a server's metrics say of its prefix cache.

use crate::client::Client;
use hyper::StatusCode;
use windtunnel_workload::trace_v2::observed::KvCounters;

/// Families of counters: what is found, what is asked for, and how traces call them.
const FAMILIES: [(&str, &str, &str); 2] = [
    (
        "vllm:prefix_cache_hits",
        "vllm:prefix_cache_queries",
        "gpu-prefix-cache-fallback",
    ),
    (
        "vllm:gpu_prefix_cache_hits",
        "vllm:gpu_prefix_cache_queries",
        "gpu-prefix-cache-fallback",
    ),
];

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading([Option<[f64; 2]>; 2]);

/// The sum of a family over its labels.
fn sum(metrics: &str, family: &str) -> Option<f64> {
    let values = metrics.lines().filter_map(|line| {
        let (name, rest) = match line.find(['{', ' ']) {
            Some(end) => line.split_at(end),
            None => return None,
        };
        if name.strip_suffix("_total").unwrap_or(name) != family {
            return None;
        }
        let value = match rest.rfind('}') {
            Some(end) => &rest[end + 1..],
            None => rest,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|a, b| a + b)
}

impl Reading {
    fn of(metrics: &str) -> Self {
        let both = |(hits, queries, _): (&str, &str, &str)| {
            Some([sum(metrics, hits)?, sum(metrics, queries)?])
        };
        Self(FAMILIES.map(both))
    }

    /// Reads the counters of a server now.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn now(client: &Client) -> Result<Self, String> {
        let answer = client.get("/metrics").await.map_err(|e| e.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!(
                "{}/metrics: status {}",
                client.url(),
                answer.status
            ));
        }
        let reading = Self::of(&answer.text);
        match reading.0.iter().any(Option::is_some) {
            true => Ok(reading),
            false => Err(format!(
                "{}/metrics: there are no counters of a prefix cache, as {}",
                client.url(),
                FAMILIES[0].1
            )),
        }
    }

    /// What was counted since `before`.
    ///
    /// # Errors
    /// Why that is no hit rate.
    pub(super) fn since(&self, before: &Self) -> Result<KvCounters, String> {
        for (k, (now, before)) in self.0.iter().zip(&before.0).enumerate() {
            if let (Some(now), Some(before)) = (now, before) {
                let [hits, queries] = [now[0] - before[0], now[1] - before[1]];
                if !(queries > 0.0 && (0.0..=queries).contains(&hits)) {
                    return Err(format!(
                        "the counters of the prefix cache make no sense: {hits} of {queries} found"
                    ));
                }
                let source = FAMILIES[k].2;
                return Ok(KvCounters {
                    source,
                    hits,
                    queries,
                });
            }
        }
        Err("the server has other counters than before".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_labels_and_compared() {
        let at = |hits: u32, queries: u32| {
            let text = format!(
                "# HELP vllm:prefix_cache_hits_total x\nvllm:prefix_cache_hits_total{{engine=\"0\",a=\"}} 9\"}} {hits}\n\
                 vllm:prefix_cache_hits_total{{engine=\"1\"}} 1.0\nvllm:prefix_cache_hits_created 5\n\
                 vllm:prefix_cache_queries_total {queries}e0\n"
            );
            Reading::of(&text)
        };
        assert_eq!(at(3, 8).0[0], Some([4.0, 8.0]));
        let found = at(13, 48).since(&at(3, 8)).expect("counters");
        assert_eq!((found.hits, found.queries), (10.0, 40.0));
        assert_eq!(found.hit_rate(), 0.25);
        assert!(at(3, 8).since(&at(3, 8)).is_err());
        assert!(at(1, 9).since(&at(3, 8)).is_err());
        assert_eq!(Reading::of("vllm:num_requests_running 0\n").0, [None; 2]);
    }
}
