//! Latency targets per SLO class, and how much of the work met them (goodput).

use super::population::Population;
use super::stats::{Distribution, Floats, Sample, mean, percentile};
use serde::Serialize;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;
use windtunnel_base::record::{RequestRecord, RunRecord};
use windtunnel_base::request::Sym;

/// What a target is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dimension {
    /// Time to first token.
    Ttft,
    /// A request's mean inter-token latency.
    Itl,
    /// End-to-end latency.
    E2e,
}

impl Dimension {
    /// All of them, in order of report.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Itl, Self::E2e];

    /// `ttft`, `itl` or `e2e`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Itl => "itl",
            Self::E2e => "e2e",
        }
    }
}

/// Targets by [`Dimension`], microseconds; absent means not gated.
type Gates = [Option<f64>; 3];

/// Latency targets per SLO class.
///
/// A request without a class belongs to class `default`. A target *for every class* (a bare
/// duration on the command line) holds for each class that has no target of its own on that
/// dimension. A class without any target takes no part.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SloTargets {
    classes: BTreeMap<String, Gates>,
    every_class: Gates,
}

/// The class a request without one belongs to.
pub const DEFAULT_CLASS: &str = "default";

impl SloTargets {
    /// No target at all?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.every_class == [None; 3] && self.classes.values().all(|g| *g == [None; 3])
    }

    /// Sets the target of a class, microseconds; 0 or less takes none.
    pub fn set(&mut self, class: &str, dimension: Dimension, microseconds: f64) {
        if microseconds > 0.0 {
            self.classes.entry(class.to_owned()).or_default()[dimension as usize] =
                Some(microseconds);
        }
    }

    /// Reads `class=duration[,class=duration]`; a duration alone is the target of every class that
    /// has none of its own. Durations are written `100ms`, `1m30s`, `2.5s`, `250us`. `flag` is what
    /// messages call the text.
    ///
    /// # Errors
    /// On an empty class, a class named twice, and a duration that is malformed or not above 0.
    pub fn parse(
        &mut self,
        dimension: Dimension,
        flag: &str,
        text: &str,
    ) -> Result<(), InputError> {
        let mut seen: Vec<&str> = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (class, duration) = match part.split_once('=') {
                Some((class, duration)) => (Some(class.trim()), duration.trim()),
                None => (None, part),
            };
            if let Some(name) = class.filter(|name| is_statistic(name)) {
                let figure = match dimension {
                    // A request's mean gap.
                    Dimension::Itl => "tpot",
                    Dimension::Ttft | Dimension::E2e => dimension.name(),
                };
                let name = name.to_lowercase();
                return Err(InputError::new(format!(
                    "{flag}: found \"{part}\", expected a target of each request, as {duration} or class={duration}; \
                     a target of a statistic is of the run: `slo` '{figure}.{name}<{duration}' of a plan finds a cluster \
                     that meets it, `fail_if` '{figure}.{name}>{duration}' fails a run that does not"
                )));
            }
            if class == Some("") {
                return Err(InputError::new(format!(
                    "{flag}: expected class=duration, found \"{part}\""
                )));
            }
            let us = match parse_duration_us(duration) {
                Some(us) if us > 0.0 => us,
                Some(_) => {
                    return Err(InputError::new(format!(
                        "{flag}: a target must be above 0, found \"{duration}\""
                    )));
                }
                None => {
                    return Err(InputError::new(format!(
                        "{flag}: expected a duration like 100ms, 5s or 1m30s, found \"{duration}\""
                    )));
                }
            };
            if seen.contains(&class.unwrap_or("")) {
                return Err(InputError::new(match class {
                    Some(class) => format!("{flag}: class \"{class}\" is given twice"),
                    None => format!("{flag}: two durations without a class"),
                }));
            }
            seen.push(class.unwrap_or(""));
            match class {
                Some(class) => self.set(class, dimension, us),
                None => self.every_class[dimension as usize] = Some(us),
            }
        }
        Ok(())
    }

    /// These targets where they speak, `lower`'s elsewhere, class by class and dimension by
    /// dimension.
    #[must_use]
    pub fn over(mut self, lower: &Self) -> Self {
        let fill = |mine: &mut Gates, theirs: &Gates| {
            for (m, t) in mine.iter_mut().zip(theirs) {
                *m = m.or(*t);
            }
        };
        fill(&mut self.every_class, &lower.every_class);
        for (class, gates) in &lower.classes {
            fill(self.classes.entry(class.clone()).or_default(), gates);
        }
        self
    }

    /// The target of `class` on `dimension`, microseconds.
    #[must_use]
    pub fn target_us(&self, class: &str, dimension: Dimension) -> Option<f64> {
        self.classes
            .get(class_name(class))
            .and_then(|g| g[dimension as usize])
            .or(self.every_class[dimension as usize])
    }

    /// The classes that have targets of their own, and on which dimension.
    pub fn named(&self) -> impl Iterator<Item = (&str, Dimension)> {
        self.classes.iter().flat_map(|(class, gates)| {
            let set = Dimension::ALL.into_iter().zip(gates);
            let set = set.filter(|(_, gate)| gate.is_some());
            set.map(|(dimension, _)| (class.as_str(), dimension))
        })
    }

    /// Did a request of this class meet every target that it has? `None` = it has none. With
    /// `of_requests`, see [`Goodput::of`].
    #[must_use]
    pub fn judge(&self, class: &str, r: &RequestRecord, of_requests: bool) -> Option<bool> {
        let mut gates = self.gates(class);
        if of_requests && r.slo_ttft_us > 0 {
            let ttft = &mut gates.get_or_insert_default()[Dimension::Ttft as usize];
            ttft.get_or_insert(r.slo_ttft_us as f64);
        }
        Some(met(r, gates?).is_some_and(is_good))
    }

    fn gates(&self, class: &str) -> Option<Gates> {
        let gates = Dimension::ALL.map(|d| self.target_us(class, d));
        gates.iter().any(Option::is_some).then_some(gates)
    }
}

/// Is this no class but a statistic of many requests: `p99`, `mean`?
fn is_statistic(name: &str) -> bool {
    let name = name.to_lowercase();
    let percentile = name
        .strip_prefix('p')
        .is_some_and(|n| n.parse::<f64>().is_ok());
    percentile || ["avg", "max", "mean", "median", "min"].contains(&name.as_str())
}

/// The class's name in reports: `default` for none.
#[must_use]
pub fn class_name(class: &str) -> &str {
    if class.is_empty() {
        DEFAULT_CLASS
    } else {
        class
    }
}

/// A duration in Go's notation (`1h2m3.5s`, `100ms`, `250us`), microseconds. `None` when malformed.
#[must_use]
pub fn parse_duration_us(text: &str) -> Option<f64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0.0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|&n| n > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += match &rest[..unit] {
            "ns" => number / 1e3,
            "us" | "\u{b5}s" | "\u{3bc}s" => number,
            "ms" => number * 1e3,
            "s" => number * 1e6,
            "m" => number * 60e6,
            "h" => number * 3600e6,
            _ => return None,
        };
        rest = &rest[unit..];
    }
    Some(if negative { -total } else { total })
}

/// How one class met its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassGoodput {
    /// Class (`default` for none).
    pub class: String,
    /// Requests of the class that arrived, whatever became of them.
    pub arrivals: u64,
    /// Requests that completed within every target.
    pub good: u64,
    /// Good over arrivals.
    pub attainment: f64,
    /// Good per second of simulated time.
    pub rps: f64,
    /// Per gated dimension: completed requests within that target over those that have one.
    pub by_dimension: Vec<(Dimension, f64)>,
    /// 99th percentile of the time to first token, milliseconds; 0 of nothing.
    pub ttft_p99_ms: f64,
    /// Mean of the requests' mean inter-token latency, milliseconds; 0 of nothing.
    pub itl_mean_ms: f64,
    /// 99th percentile of the end-to-end latency, milliseconds; 0 of nothing.
    pub e2e_p99_ms: f64,
}

/// How much of the work met its targets, over the classes that have any.
#[derive(Clone, Debug, PartialEq)]
pub struct Goodput {
    /// Requests of gated classes that arrived.
    pub arrivals: u64,
    /// Requests that completed within every target of their class.
    pub good: u64,
    /// Good over arrivals.
    pub attainment: f64,
    /// Good per second of simulated time.
    pub rps: f64,
    /// By class, sorted by name; only gated classes that had arrivals.
    pub classes: Vec<ClassGoodput>,
}

/// Which targets a request met, of those that it has; `None` if it did not complete.
fn met(r: &RequestRecord, gates: Gates) -> Option<[Option<bool>; 3]> {
    let e2e = r.e2e_us? as f64;
    // Without a gap there is none that is too long.
    let itl = r.mean_itl_us.unwrap_or(0.0);
    let ttft = r.ttft_us.map(|us| us as f64);
    let within = |gate: Option<f64>, value: Option<f64>| {
        gate.map(|gate| value.is_some_and(|value| value <= gate))
    };
    Some([
        within(gates[0], ttft),
        within(gates[1], Some(itl)),
        within(gates[2], Some(e2e)),
    ])
}

fn is_good(met: [Option<bool>; 3]) -> bool {
    met.into_iter().all(|met| met != Some(false))
}

#[derive(Default)]
struct Tally {
    arrivals: u64,
    good: u64,
    within: [u64; 3],
    /// Completed requests that have a target, by dimension.
    gated: [u64; 3],
    has_target: [bool; 3],
    ttft: Vec<f64>,
    itl: Vec<f64>,
    e2e: Vec<f64>,
}

impl Goodput {
    /// Of a run whose clock ended at `ended_us`, with the latencies of `population`; `None` without
    /// targets. With `of_requests`, one whose class has no target on the time to first token is
    /// judged by its own, if it has one.
    #[must_use]
    pub fn of(
        record: &RunRecord,
        targets: &SloTargets,
        of_requests: bool,
        ended_us: i64,
        population: Population,
    ) -> Option<Self> {
        let none_of_classes = targets.is_empty();
        if none_of_classes && !of_requests {
            return None;
        }
        let mut gates_of: BTreeMap<Sym, Option<Gates>> = BTreeMap::new();
        let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
        for r in &record.requests {
            let name = record.symbols.name(r.slo_class);
            let mut gates = *gates_of
                .entry(r.slo_class)
                .or_insert_with(|| targets.gates(name));
            if of_requests && r.slo_ttft_us > 0 {
                let ttft = &mut gates.get_or_insert_default()[Dimension::Ttft as usize];
                ttft.get_or_insert(r.slo_ttft_us as f64);
            }
            let Some(gates) = gates else { continue };
            let tally = tallies.entry(class_name(name)).or_default();
            tally.arrivals += 1;
            for (has, gate) in tally.has_target.iter_mut().zip(gates) {
                *has |= gate.is_some();
            }
            tally.ttft.extend(population.ttft_us(r));
            tally.itl.extend(population.itl_us(r));
            let Some(met) = met(r, gates) else { continue };
            tally.e2e.extend(r.e2e_us.map(|us| us as f64));
            for (d, met) in met.into_iter().enumerate() {
                let Some(met) = met else { continue };
                tally.within[d] += u64::from(met);
                tally.gated[d] += 1;
            }
            tally.good += u64::from(is_good(met));
        }
        if none_of_classes && tallies.is_empty() {
            return None;
        }
        let seconds = ended_us as f64 / 1e6;
        let per_second = |n: u64| {
            if seconds > 0.0 {
                n as f64 / seconds
            } else {
                0.0
            }
        };
        let part = |n: u64, of: u64| if of > 0 { n as f64 / of as f64 } else { 0.0 };
        let classes: Vec<ClassGoodput> = tallies
            .into_iter()
            .map(|(class, t)| ClassGoodput {
                arrivals: t.arrivals,
                good: t.good,
                attainment: part(t.good, t.arrivals),
                rps: per_second(t.good),
                by_dimension: Dimension::ALL
                    .into_iter()
                    .filter(|&d| t.has_target[d as usize])
                    .map(|d| (d, part(t.within[d as usize], t.gated[d as usize])))
                    .collect(),
                ttft_p99_ms: percentile(&Floats::new(t.ttft), 99.0) / 1000.0,
                itl_mean_ms: mean(&Floats::new(t.itl)) / 1000.0,
                e2e_p99_ms: percentile(&Floats::new(t.e2e), 99.0) / 1000.0,
                class: class.to_owned(),
            })
            .collect();
        let arrivals = classes.iter().map(|c| c.arrivals).sum();
        let good = classes.iter().map(|c| c.good).sum();
        Some(Self {
            arrivals,
            good,
            attainment: part(good, arrivals),
            rps: per_second(good),
            classes,
        })
    }
}

/// A distribution of floats in any order.
pub(crate) fn distribution(values: Vec<f64>) -> Distribution {
    let sorted = Floats::new(values);
    debug_assert!(sorted.count() == 0 || sorted.at(0).is_finite());
    Distribution::of(&sorted)
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{done, refused, run};
    use super::*;

    #[test]
    fn durations_read_like_gos() {
        for (text, us) in [
            ("100ms", 100e3),
            ("5s", 5e6),
            ("1m30s", 90e6),
            ("250us", 250.0),
            ("2.5s", 2.5e6),
            (".5s", 0.5e6),
            ("1h0.5ms", 3600e6 + 500.0),
            ("1500ns", 1.5),
            ("0", 0.0),
            ("-2s", -2e6),
        ] {
            assert_eq!(parse_duration_us(text), Some(us), "{text}");
        }
        for text in ["", "5", "ms", "5 s", "5x", "1m30", "-", "1..2s", "s5"] {
            assert_eq!(parse_duration_us(text), None, "{text}");
        }
    }

    #[test]
    fn wrong_targets_are_named() {
        let error = |text| {
            SloTargets::default()
                .parse(Dimension::Ttft, "--slo-ttft", text)
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(error("critical=100"), @r#"--slo-ttft: expected a duration like 100ms, 5s or 1m30s, found "100""#);
        insta::assert_snapshot!(error("critical=0s"), @r#"--slo-ttft: a target must be above 0, found "0s""#);
        insta::assert_snapshot!(error("p99=500ms"), @r#"--slo-ttft: found "p99=500ms", expected a target of each request, as 500ms or class=500ms; a target of a statistic is of the run: `slo` 'ttft.p99<500ms' of a plan finds a cluster that meets it, `fail_if` 'ttft.p99>500ms' fails a run that does not"#);
        insta::assert_snapshot!(error("=1s"), @r#"--slo-ttft: expected class=duration, found "=1s""#);
        insta::assert_snapshot!(error("a=1s,a=2s"), @r#"--slo-ttft: class "a" is given twice"#);
        insta::assert_snapshot!(error("1s,2s"), @"--slo-ttft: two durations without a class");
    }

    #[test]
    fn targets_merge_by_class_and_dimension_and_a_bare_one_fills_the_rest() {
        let mut cli = SloTargets::default();
        cli.parse(Dimension::Ttft, "f", "critical=100ms,1s")
            .unwrap();
        let mut header = SloTargets::default();
        header.set("critical", Dimension::Ttft, 5.0);
        header.set("critical", Dimension::E2e, 7.0);
        header.set("batch", Dimension::E2e, 0.0);
        let t = cli.over(&header);
        assert_eq!(t.target_us("critical", Dimension::Ttft), Some(100e3));
        assert_eq!(t.target_us("critical", Dimension::E2e), Some(7.0));
        assert_eq!(t.target_us("", Dimension::Ttft), Some(1e6));
        assert_eq!(t.target_us("batch", Dimension::E2e), None);
    }

    #[test]
    fn a_request_without_a_target_of_its_class_is_judged_by_its_own_where_that_is_asked_for() {
        let requests = (0..4).map(|k| done(k, 0, 1000 * (k as i64 + 1), 9000, 0));
        let mut record = run(requests.collect(), 1);
        for (r, own) in record.requests.iter_mut().zip([0, 2000, 2000, 9000]) {
            r.slo_ttft_us = own;
        }
        let none = SloTargets::default();
        let of = |t: &SloTargets, own| Goodput::of(&record, t, own, 1, Population::Completed);
        assert_eq!(of(&none, false), None);
        let g = of(&none, true).unwrap();
        assert_eq!((g.arrivals, g.good), (3, 2), "the first has no target");
        assert_eq!(g.classes[0].by_dimension, [(Dimension::Ttft, 2.0 / 3.0)]);
        // The class's target counts, whatever the requests bring along.
        let mut targets = SloTargets::default();
        targets.set("default", Dimension::Ttft, 1500.0);
        let g = of(&targets, true).unwrap();
        assert_eq!((g.arrivals, g.good), (4, 1));
        record.requests.iter_mut().for_each(|r| r.slo_ttft_us = 0);
        let of = |own| Goodput::of(&record, &none, own, 1, Population::Completed);
        assert_eq!(of(true), None);
    }

    #[test]
    fn goodput_divides_by_arrivals_and_leaves_ungated_classes_out() {
        let mut record = run(
            vec![
                done(0, 0, 1000, 3000, 0),
                done(1, 0, 2000, 9000, 0),
                refused(2, 0),
                done(3, 0, 1000, 1000, 0),
            ],
            1,
        );
        record.requests[3].slo_class = record.symbols.intern("batch");
        record.requests[1].slo_class = record.symbols.intern("default");
        let mut t = SloTargets::default();
        let of = |t: &SloTargets, end| Goodput::of(&record, t, false, end, Population::Completed);
        assert_eq!(of(&t, 1), None);
        t.set("default", Dimension::Ttft, 2000.0);
        t.set("default", Dimension::E2e, 3000.0);
        let g = of(&t, 2_000_000).unwrap();
        assert_eq!((g.arrivals, g.good, g.rps), (3, 1, 0.5));
        assert_eq!(g.attainment, 1.0 / 3.0);
        assert_eq!(g.classes.len(), 1);
        let c = &g.classes[0];
        assert_eq!(c.class, "default");
        assert_eq!(
            c.by_dimension,
            vec![(Dimension::Ttft, 1.0), (Dimension::E2e, 0.5)]
        );
        assert_eq!(c.ttft_p99_ms, 1.99);
        assert_eq!(c.itl_mean_ms, (1.0 + 3.5) / 2.0);
    }
}
