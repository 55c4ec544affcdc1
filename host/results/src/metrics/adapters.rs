//! What the reference reports of each LoRA adapter.

use super::groups::has_row;
use super::population::Population;
use super::stats::{Floats, Spread};
use std::collections::BTreeMap;
use windtunnel_base::record::RunRecord;

/// An adapter on one instance, or on all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AdapterFigures {
    /// Times that it was loaded.
    pub loads: u64,
    /// Times that it made room for another.
    pub evictions: u64,
    /// Time to first token of the requests with it, milliseconds.
    pub ttft: Spread,
    /// True output lengths of the completed requests with it, tokens.
    pub output_tokens: u64,
}

/// By name, on this instance or, `None`, on all.
#[must_use]
pub fn of_adapters(record: &RunRecord, instance: Option<u32>) -> BTreeMap<&str, AdapterFigures> {
    let mut all: BTreeMap<&str, (AdapterFigures, Vec<f64>)> = BTreeMap::new();
    let here = |at: Option<u32>| instance.is_none() || at == instance;
    for r in record.requests.iter().filter(|r| !r.adapter.is_none()) {
        if !has_row(r) || !here(r.instance) {
            continue;
        }
        let (figures, ttft) = all.entry(record.symbols.name(r.adapter)).or_default();
        ttft.extend(Population::Reference.ttft_us(r));
        figures.output_tokens += r.e2e_us.map_or(0, |_| r.output_tokens.into());
    }
    for (k, totals) in (0..).zip(&record.instances) {
        for moves in totals.adapter_moves.iter().filter(|_| here(Some(k))) {
            let (figures, _) = all.entry(record.symbols.name(moves.adapter)).or_default();
            figures.loads += moves.loads;
            figures.evictions += moves.evictions;
        }
    }
    let figures = all.into_iter().map(|(name, (figures, ttft))| {
        let ttft = Spread::of_us(&Floats::new(ttft));
        (name, AdapterFigures { ttft, ..figures })
    });
    figures.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::summary::tests::{done, run};
    use windtunnel_base::record::AdapterMoves;

    #[test]
    fn loads_are_of_the_instance_and_latencies_of_its_requests() {
        let requests = vec![
            done(0, 0, 1000, 3000, 0),
            done(1, 0, 2000, 9000, 1),
            done(2, 5, 1, 2, 0),
        ];
        let mut record = run(requests, 2);
        let sql = record.symbols.intern("sql");
        let other = record.symbols.intern("other");
        for r in &mut record.requests[..2] {
            r.adapter = sql;
        }
        let moves = |adapter, loads, evictions| AdapterMoves {
            adapter,
            loads,
            evictions,
        };
        record.instances[0].adapter_moves = vec![moves(sql, 2, 1), moves(other, 1, 1)];
        record.instances[1].adapter_moves = vec![moves(sql, 1, 0)];
        let seen = |instance| -> Vec<(String, u64, u64, f64, u64)> {
            let all = of_adapters(&record, instance).into_iter();
            all.map(|(name, f)| {
                (
                    name.into(),
                    f.loads,
                    f.evictions,
                    f.ttft.p50,
                    f.output_tokens,
                )
            })
            .collect()
        };
        assert_eq!(
            seen(None),
            [("other".into(), 1, 1, 0.0, 0), ("sql".into(), 3, 1, 1.5, 6)]
        );
        assert_eq!(
            seen(Some(0)),
            [("other".into(), 1, 1, 0.0, 0), ("sql".into(), 2, 1, 1.0, 3)]
        );
        assert_eq!(seen(Some(1)), [("sql".into(), 1, 0, 2.0, 3)]);
    }
}
