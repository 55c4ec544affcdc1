//! What summaries need of the requests, gathered while they finish: memory grows with the number of
//! distinct values, not with the number of requests.

use super::stats::{Sample, Weighted};
use super::window::Arrivals;
use windtunnel_base::record::{GatewayTimes, Outcome, Recorder, RequestRecord};
use windtunnel_base::request::Symbols;

/// Values waiting to be counted.
const BUFFER: usize = 1 << 13;

/// How often each integer occurs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// (value, how often), ascending.
    counted: Vec<(i64, u64)>,
    buffer: Vec<i64>,
}

impl Tally {
    /// One more `value`.
    pub fn add(&mut self, value: i64) {
        self.buffer.push(value);
        // Counting costs as much as there are distinct values: wait until it is worth that.
        if self.buffer.len() >= BUFFER.max(self.counted.len()) {
            self.count();
        }
    }

    fn count(&mut self) {
        self.buffer.sort_unstable();
        let mut fresh: Vec<(i64, u64)> = Vec::new();
        for &value in &self.buffer {
            match fresh.last_mut() {
                Some((last, n)) if *last == value => *n += 1,
                _ => fresh.push((value, 1)),
            }
        }
        self.buffer.clear();
        self.counted = merge(&self.counted, &fresh);
    }

    /// Everything counted so far.
    fn into_counted(mut self) -> Vec<(i64, u64)> {
        self.count();
        self.counted
    }
}

/// Merges two ascending lists and adds up equal values.
fn merge(a: &[(i64, u64)], b: &[(i64, u64)]) -> Vec<(i64, u64)> {
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let ((va, na), (vb, nb)) = (a[i], b[j]);
        merged.push(if va < vb {
            (va, na)
        } else {
            (vb, if va == vb { na + nb } else { nb })
        });
        i += usize::from(va <= vb);
        j += usize::from(vb <= va);
    }
    merged.extend_from_slice(&a[i..]);
    merged.extend_from_slice(&b[j..]);
    merged
}

/// The latencies of one instance's requests.
#[derive(Clone, Debug, Default)]
struct Part {
    routed: u64,
    /// Of completed requests.
    ttft_us: Tally,
    e2e_us: Tally,
    /// Nanoseconds per output token after the first.
    tpot_ns: Tally,
    delay_us: Tally,
    /// Of requests that did not complete.
    open_ttft_us: Tally,
    open_delay_us: Tally,
}

/// The same, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    pub(super) routed: u64,
    pub(super) ttft_us: Weighted,
    pub(super) e2e_us: Weighted,
    pub(super) tpot: Nanoseconds,
    pub(super) delay_us: Weighted,
    /// Of all requests that have one, completed or not, where those are not the same.
    any_ttft_us: Option<Weighted>,
    any_delay_us: Option<Weighted>,
}

impl Values {
    /// Times to first token of all requests that have one, completed or not.
    pub(super) fn any_ttft_us(&self) -> &Weighted {
        self.any_ttft_us.as_ref().unwrap_or(&self.ttft_us)
    }

    /// Scheduling delays of all requests that have one, completed or not.
    pub(super) fn any_delay_us(&self) -> &Weighted {
        self.any_delay_us.as_ref().unwrap_or(&self.delay_us)
    }
}

/// Nanoseconds that are asked for in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Nanoseconds(Weighted);

impl Sample for Nanoseconds {
    fn count(&self) -> u64 {
        self.0.count()
    }
    fn at(&self, rank: u64) -> f64 {
        self.0.at(rank) / 1000.0
    }
    fn sum(&self) -> f64 {
        self.0.sum() / 1000.0
    }
}

/// What the summaries of a run need of its requests.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    parts: Vec<Part>,
    pub(super) arrivals: u64,
    pub(super) window: Arrivals,
    pub(super) in_transit: u64,
    /// Refused by servers, for their requests and for their prompt tokens.
    pub(super) refused: [u64; 2],
    /// Times at the gateway of requests that went on, microseconds.
    gateway_us: Tally,
}

impl Digest {
    /// Takes in one request. The order does not matter.
    pub fn add(&mut self, r: &RequestRecord) {
        self.arrivals += 1;
        self.window.add(r);
        self.in_transit += u64::from(r.outcome == Outcome::InTransit);
        self.refused[0] += u64::from(r.outcome == Outcome::RequestsQueued);
        self.refused[1] += u64::from(r.outcome == Outcome::TokensQueued);
        if let Some(us) = r.gateway.as_deref().and_then(GatewayTimes::delay_us) {
            self.gateway_us.add(us);
        }
        let Some(instance) = r.instance.map(|k| k as usize) else {
            return;
        };
        if self.parts.len() <= instance {
            self.parts.resize_with(instance + 1, Part::default);
        }
        let part = &mut self.parts[instance];
        part.routed += 1;
        let (ttft, delay) = match r.e2e_us {
            Some(us) => {
                part.e2e_us.add(us);
                (&mut part.ttft_us, &mut part.delay_us)
            }
            None => (&mut part.open_ttft_us, &mut part.open_delay_us),
        };
        if let Some(us) = r.scheduling_delay_us {
            delay.add(us);
        }
        if let Some(us) = r.ttft_us {
            ttft.add(us);
        }
        if let (Some(ttft), Some(e2e), true) = (r.ttft_us, r.e2e_us, r.generated_tokens > 1) {
            let gaps = i64::from(r.generated_tokens) - 1;
            part.tpot_ns.add(((e2e - ttft) * 1000 + gaps / 2) / gaps);
        }
    }

    /// Takes out the times at the gateway.
    pub(super) fn take_gateway_us(&mut self) -> Weighted {
        Weighted::new(std::mem::take(&mut self.gateway_us).into_counted())
    }

    /// The values of the cluster, and of each of `instances` instances.
    pub(super) fn values(mut self, instances: usize) -> (Values, Vec<Values>) {
        self.parts.resize_with(instances, Part::default);
        let mut all: [Vec<(i64, u64)>; 6] = Default::default();
        let mut routed = 0;
        let values = |routed, counted: [Vec<(i64, u64)>; 6]| {
            let [ttft, e2e, tpot, delay, open_ttft, open_delay] = counted;
            // Mostly all requests complete: then nothing is sorted twice.
            let both = |done: &[(i64, u64)], open: Vec<_>| {
                (!open.is_empty()).then(|| Weighted::new([done, &open].concat()))
            };
            Values {
                routed,
                any_ttft_us: both(&ttft, open_ttft),
                any_delay_us: both(&delay, open_delay),
                ttft_us: Weighted::new(ttft),
                e2e_us: Weighted::new(e2e),
                tpot: Nanoseconds(Weighted::new(tpot)),
                delay_us: Weighted::new(delay),
            }
        };
        let mut each = Vec::new();
        for part in self.parts {
            let counted = [
                part.ttft_us,
                part.e2e_us,
                part.tpot_ns,
                part.delay_us,
                part.open_ttft_us,
                part.open_delay_us,
            ]
            .map(Tally::into_counted);
            all.iter_mut()
                .zip(&counted)
                .for_each(|(sum, more)| sum.extend_from_slice(more));
            routed += part.routed;
            each.push(values(part.routed, counted));
        }
        (values(routed, all), each)
    }
}

impl Recorder for Digest {
    fn record(&mut self, request: RequestRecord, _symbols: &Symbols) {
        self.add(&request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_tally_counts_every_value(values in prop::collection::vec(-50i64..50, 0..200), cut in 0usize..200) {
            let mut tally = Tally::default();
            for (k, &value) in values.iter().enumerate() {
                tally.add(value);
                if k == cut {
                    tally.count();
                }
            }
            let mut expected = std::collections::BTreeMap::new();
            values.iter().for_each(|&v| *expected.entry(v).or_default() += 1u64);
            prop_assert_eq!(tally.into_counted(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
