//! What errors are told of, and who else published some.

use std::collections::BTreeMap;
use windtunnel_sim::ground_truth::{Compared, Metric, Summary, summarize};

/// Metrics that have a column, and its heading.
pub(super) const COLUMNS: [(Metric, &str); 5] = [
    (Metric::Ttft, "TTFT"),
    (Metric::Tpot, "TPOT"),
    (Metric::E2e, "E2E"),
    (Metric::TtftP99, "TTFT p99"),
    (Metric::E2eP99, "E2E p99"),
];

/// Another simulator, and the cases of which it published something.
pub(super) struct PeerCases<'a> {
    pub name: &'a str,
    pub cases: Vec<&'a Compared>,
}

impl PeerCases<'_> {
    fn published(&self, case: &Compared, metric: Metric) -> Option<f64> {
        let peer = case.peers.iter().find(|peer| peer.name == self.name)?;
        peer.errors.get(&metric).copied()
    }

    /// Its errors.
    pub fn theirs(&self, metric: Metric) -> Option<Summary> {
        let cases = self.cases.iter();
        summarize(cases.filter_map(|case| self.published(case, metric)))
    }

    /// Ours on the same cases.
    pub fn ours(&self, metric: Metric) -> Option<Summary> {
        let cases = self.cases.iter();
        let same = cases.filter(|case| self.published(case, metric).is_some());
        summarize(same.filter_map(|case| case.error(metric)))
    }
}

/// Who published something of these cases, by name.
pub(super) fn peers_of<'a>(cases: &[&'a Compared]) -> Vec<PeerCases<'a>> {
    let mut by_name: BTreeMap<&str, Vec<&Compared>> = BTreeMap::new();
    for case in cases {
        for peer in &case.peers {
            by_name.entry(&peer.name).or_default().push(case);
        }
    }
    let all = by_name.into_iter();
    all.map(|(name, cases)| PeerCases { name, cases }).collect()
}
