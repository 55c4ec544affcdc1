//! A part of a recorded trace, faster or slower, again and again.

use super::replay::{Planned, Replay, SessionMode};
use crate::import::Selection;
use rustc_hash::FxHashMap;
use windtunnel_base::request::{Sym, Symbols};

/// How many passes are needed for what the cap lets through: in so many all of its requests have
/// come, and later passes begin after them.
fn passes(s: &Selection, kept: &[(u64, Planned)], period: i64) -> u32 {
    let Some(most) = s.max_requests else {
        return s.loops;
    };
    let latest = kept.iter().map(|(_, p)| p.inject_us).max().unwrap_or(0);
    let length = latest.saturating_sub(s.from_us.unwrap_or(0)).max(0);
    let enough = most.div_ceil(kept.len().max(1) as u64);
    let enough = enough.saturating_add((length / period) as u64 + 2);
    s.loops.min(u32::try_from(enough).unwrap_or(u32::MAX))
}

/// Applies a selection, except for its cap. A closed loop keeps or drops sessions as a whole, by
/// their first request.
pub(super) fn select(
    planned: Vec<Planned>,
    replay: &Replay,
    symbols: &mut Symbols,
) -> Vec<Planned> {
    let s = &replay.selection;
    let whole = replay.session_mode == SessionMode::ClosedLoop;
    let mut begins: FxHashMap<Sym, (u64, i64)> = FxHashMap::default();
    for (k, p) in (0..).zip(&planned) {
        let begin = begins.entry(p.record.session).or_insert((k, p.inject_us));
        begin.1 = begin.1.min(p.inject_us);
    }
    let latest = planned.iter().map(|p| p.inject_us).max().unwrap_or(0);
    let period = s.period_us(latest, planned.len() as u64);
    let ids = planned
        .iter()
        .map(|p| p.record.number)
        .max()
        .unwrap_or(0)
        .saturating_add(1);
    let kept = |(k, p): &(u64, Planned)| {
        if p.record.session.is_none() {
            return s.keeps(*k, p.inject_us);
        }
        let (number, begin) = begins[&p.record.session];
        s.keeps(number, if whole { begin } else { p.inject_us })
    };
    let kept: Vec<(u64, Planned)> = (0..).zip(planned).filter(kept).collect();
    let mut all = Vec::with_capacity(kept.len());
    for pass in 0..passes(s, &kept, period) {
        for (_, p) in &kept {
            let mut p = p.clone();
            let inject_us = s.moved_us(p.inject_us, pass, period);
            if pass > 0 {
                let number = &mut p.record.number;
                *number = number.saturating_add(ids.saturating_mul(pass.into()));
                if let Some(name) = &mut p.record.name {
                    *name = format!("{name}#{pass}").into();
                }
                if !p.record.session.is_none() {
                    let name = format!("{}#{pass}", symbols.name(p.record.session));
                    p.record.session = symbols.intern(&name);
                }
            }
            if inject_us != p.inject_us && p.deadline_us > 0 {
                let distance = p.record.deadline_us - p.record.arrival_us;
                p.deadline_us = distance.saturating_add(inject_us).max(1);
            } else if let (0, Some(us)) = (p.deadline_us, s.timeout_us) {
                p.deadline_us = inject_us.saturating_add(us);
            }
            p.inject_us = inject_us;
            all.push(p);
        }
    }
    all
}
