//! The same measures by SLO class, model, tenant and session.

use super::population::Population;
use super::slo::{class_name, distribution};
use super::stats::{Distribution, jain};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use windtunnel_base::record::{Outcome, RequestRecord, RunRecord};
use windtunnel_base::request::Sym;

/// Latencies of one group, microseconds, over its [`Population`].
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Class, model, tenant, adapter or pool.
    pub name: String,
    /// Requests that arrived, refused and dropped ones included.
    pub arrivals: u64,
    /// Requests completed.
    pub completed: u64,
    /// True output lengths of the completed requests, tokens.
    pub output_tokens: u64,
    /// Time to first token.
    pub ttft_us: Distribution,
    /// Mean inter-token latency per request.
    pub itl_us: Distribution,
    /// End-to-end latency.
    pub e2e_us: Distribution,
}

#[derive(Default)]
struct Values {
    arrivals: u64,
    output_tokens: u64,
    ttft: Vec<f64>,
    itl: Vec<f64>,
    e2e: Vec<f64>,
}

/// Does the request have a row in the reference's results?
#[must_use]
pub fn has_row(r: &RequestRecord) -> bool {
    // One that lost its KV cache after its prefill has a latency there.
    r.instance.is_some() && (r.outcome != Outcome::Dropped || r.e2e_us.is_some())
}

/// Groups by the name of `key`, sorted by name. Requests without the key are named `unnamed`, or
/// left out.
fn grouped(
    record: &RunRecord,
    population: Population,
    key: impl Fn(&RequestRecord) -> Sym,
    unnamed: Option<&str>,
) -> Vec<Group> {
    let mut by_symbol: FxHashMap<Sym, Values> = FxHashMap::default();
    for r in &record.requests {
        let sym = key(r);
        if sym.is_none() && unnamed.is_none() {
            continue;
        }
        let values = by_symbol.entry(sym).or_default();
        values.arrivals += 1;
        if !has_row(r) {
            continue;
        }
        values.ttft.extend(population.ttft_us(r));
        values.itl.extend(population.itl_us(r));
        if let Some(e2e) = r.e2e_us {
            values.e2e.push(e2e as f64);
            values.output_tokens += u64::from(r.output_tokens);
        }
    }
    let mut by_name: BTreeMap<&str, Values> = BTreeMap::new();
    for (sym, mut values) in by_symbol {
        let name = match (sym.is_none(), unnamed) {
            (true, Some(name)) => name,
            _ => record.symbols.name(sym),
        };
        let group = by_name.entry(name).or_default();
        group.arrivals += values.arrivals;
        group.output_tokens += values.output_tokens;
        group.ttft.append(&mut values.ttft);
        group.itl.append(&mut values.itl);
        group.e2e.append(&mut values.e2e);
    }
    by_name
        .into_iter()
        .map(|(name, v)| Group {
            name: name.to_owned(),
            arrivals: v.arrivals,
            completed: v.e2e.len() as u64,
            output_tokens: v.output_tokens,
            ttft_us: distribution(v.ttft),
            itl_us: distribution(v.itl),
            e2e_us: distribution(v.e2e),
        })
        .collect()
}

/// By SLO class, sorted by name; requests without one are class `default`.
#[must_use]
pub fn by_class(record: &RunRecord, population: Population) -> Vec<Group> {
    grouped(record, population, |r| r.slo_class, Some(class_name("")))
}

/// By the model asked for, sorted by name; requests that name none are left out.
#[must_use]
pub fn by_model(record: &RunRecord, population: Population) -> Vec<Group> {
    grouped(record, population, |r| r.model, None)
}

/// By tenant, sorted by name; requests without one are left out.
#[must_use]
pub fn by_tenant(record: &RunRecord) -> Vec<Group> {
    grouped(record, Population::Completed, |r| r.tenant, None)
}

/// By LoRA adapter, sorted by name; requests without one are `none`. Without adapters there are no
/// groups.
#[must_use]
pub fn by_adapter(record: &RunRecord) -> Vec<Group> {
    if record.requests.iter().all(|r| r.adapter.is_none()) {
        return Vec::new();
    }
    grouped(record, Population::Completed, |r| r.adapter, Some("none"))
}

/// By the pool of the instance that they were sent to, sorted by name; without names of pools there
/// are no groups.
#[must_use]
pub fn by_pool(record: &RunRecord) -> Vec<Group> {
    grouped(record, Population::Completed, |r| r.pool, None)
}

/// Jain's fairness index of the groups' output tokens, of groups that got none, too; `None` if
/// nobody got any: then there is nothing that could be shared fairly.
#[must_use]
pub fn fairness(groups: &[Group]) -> Option<f64> {
    let tokens = || groups.iter().map(|g| g.output_tokens as f64);
    tokens().any(|n| n > 0.0).then(|| jain(tokens()))
}

/// The reference's: of the groups that completed anything, so that who got nothing at all does not
/// show.
#[must_use]
pub fn reference_fairness(groups: &[Group]) -> f64 {
    let served = groups.iter().filter(|g| g.completed > 0);
    jain(served.map(|g| g.output_tokens as f64))
}

/// Multi-round conversations.
#[derive(Clone, Debug, PartialEq)]
pub struct Sessions {
    /// Distinct sessions.
    pub count: u64,
    /// Time to first token of rounds 0, milliseconds.
    pub ttft_cold_ms: Distribution,
    /// Time to first token of later rounds, milliseconds.
    pub ttft_warm_ms: Distribution,
    /// From the arrival of round 0 to the last completion, milliseconds; sessions that have both.
    pub duration_ms: Distribution,
}

impl Sessions {
    /// Of a run; `None` without sessions.
    #[must_use]
    pub fn of(record: &RunRecord, population: Population) -> Option<Self> {
        let mut spans: FxHashMap<Sym, (Option<i64>, Option<i64>)> = FxHashMap::default();
        let (mut cold, mut warm) = (Vec::new(), Vec::new());
        for r in &record.requests {
            if r.session.is_none() || !has_row(r) {
                continue;
            }
            let (start, end) = spans.entry(r.session).or_default();
            if r.round == 0 {
                *start = Some(r.arrival_us);
            }
            *end = (*end).max(r.completion_us());
            if let Some(ttft) = population.ttft_us(r) {
                let list = if r.round == 0 { &mut cold } else { &mut warm };
                list.push(ttft / 1000.0);
            }
        }
        if spans.is_empty() {
            return None;
        }
        // The reference has the arrival in seconds and the completion in microseconds: the last bit
        // shows in a median.
        let durations = spans
            .values()
            .filter_map(|&(start, end)| Some(end? as f64 / 1000.0 - start? as f64 / 1e6 * 1000.0))
            .filter(|&d| d > 0.0)
            .collect();
        Some(Self {
            count: spans.len() as u64,
            ttft_cold_ms: distribution(cold),
            ttft_warm_ms: distribution(warm),
            duration_ms: distribution(durations),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, refused, run};
    use super::*;

    #[test]
    fn adapters_are_groups_where_there_are_any() {
        let mut record = run(vec![done(0, 0, 10, 30, 0), done(1, 0, 20, 50, 0)], 1);
        assert_eq!(by_adapter(&record), []);
        record.requests[1].adapter = record.symbols.intern("sql");
        let adapters = by_adapter(&record);
        let seen: Vec<(&str, u64)> = (adapters.iter())
            .map(|g| (g.name.as_str(), g.completed))
            .collect();
        assert_eq!(seen, [("none", 1), ("sql", 1)]);
    }

    #[test]
    fn requests_without_a_class_are_default_and_without_a_tenant_left_out() {
        let mut record = run(
            vec![done(0, 0, 10, 30, 0), done(1, 0, 20, 50, 0), refused(2, 0)],
            1,
        );
        let t = record.symbols.intern("t0");
        record.requests[1].tenant = t;
        record.requests[1].slo_class = record.symbols.intern("default");
        let classes = by_class(&record, Population::Completed);
        assert_eq!(classes.len(), 1);
        assert_eq!((classes[0].arrivals, classes[0].completed), (3, 2));
        assert_eq!(classes[0].ttft_us.mean, 15.0);
        assert_eq!(classes[0].itl_us.mean, 12.5);
        let tenants = by_tenant(&record);
        assert_eq!((tenants.len(), tenants[0].output_tokens), (1, 3));
        assert_eq!(fairness(&tenants), Some(1.0));
        assert!(by_model(&record, Population::Completed).is_empty());
    }

    #[test]
    fn a_starved_tenant_is_unfair_and_nothing_has_no_fairness() {
        let mut record = run(vec![done(0, 0, 10, 30, 0), refused(1, 0)], 1);
        record.requests[0].tenant = record.symbols.intern("fed");
        record.requests[1].tenant = record.symbols.intern("starved");
        let tenants = by_tenant(&record);
        assert_eq!(
            (fairness(&tenants), reference_fairness(&tenants)),
            (Some(0.5), 1.0)
        );
        assert_eq!(fairness(&tenants[1..]), None);
        assert_eq!(tenants[1].ttft_us.figure(|d| d.p99), None);
    }

    #[test]
    fn a_first_token_without_completion_and_a_gap_that_is_none_are_the_references() {
        let mut late = done(0, 0, 10, 30, 0);
        (late.outcome, late.e2e_us, late.mean_itl_us) = (Outcome::TimedOut, None, None);
        let mut short = done(1, 0, 20, 20, 0);
        (short.generated_tokens, short.mean_itl_us) = (1, None);
        let record = run(vec![late, short], 1);
        let of = |population| {
            let class = by_class(&record, population).remove(0);
            (class.ttft_us.count, class.itl_us.count, class.e2e_us.count)
        };
        assert_eq!(of(Population::Completed), (1, 0, 1));
        assert_eq!(of(Population::Reference), (2, 1, 1));
    }

    #[test]
    fn a_session_lasts_from_its_first_arrival_to_its_last_completion() {
        let mut record = run(
            vec![
                done(0, 1000, 10, 30, 0),
                done(1, 5000, 20, 50, 0),
                done(2, 0, 9, 9, 0),
            ],
            1,
        );
        let of = |record: &RunRecord| Sessions::of(record, Population::Completed);
        assert_eq!(of(&record), None);
        let (a, b) = (record.symbols.intern("a"), record.symbols.intern("b"));
        record.requests[0].session = a;
        record.requests[1].session = a;
        record.requests[1].round = 1;
        record.requests[2].session = b;
        record.requests[2].round = 3; // its round 0 is missing: it has no duration
        let s = of(&record).unwrap();
        assert_eq!((s.count, s.duration_ms.count), (2, 1));
        assert_eq!(s.duration_ms.mean, 4.05);
        assert_eq!(
            (s.ttft_cold_ms.mean, s.ttft_warm_ms.p50),
            (0.01, 0.009 + 0.5 * (0.02 - 0.009))
        );
    }
}
