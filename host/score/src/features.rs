//! Features that tell candidates apart by their text and behaviour, for archives that keep diverse
//! candidates (MAP-Elites).
//!
//! All but the first two are taken on the [smoke scenarios](super::smoke), which are the same for
//! every candidate and suite, so that they compare across suites and runs.

use super::report::Scripts;
use super::smoke::SmokeRun;
use full_moon::ast::{Expression, Field, LastStmt, Parameter, Stmt};
use full_moon::node::Node;
use full_moon::visitors::Visitor;
use std::collections::{BTreeMap, BTreeSet};
use windtunnel_base::record::{InstanceSnapshot, RoutingObservation};
use windtunnel_policy::lua::with_ast;

use windtunnel_plugin_api::InstanceView;

/// The features by name, and a fingerprint of the behaviour in the smoke scenarios.
///
/// * `ast_nodes`: statements, expressions, fields and parameters of the scripts
/// * `loc`: lines with code
/// * `decision_entropy`: entropy of the instances chosen out of four, bits: 0 to 2
/// * `cache_vs_load`: of the decisions in which the longest prefix and the least load are on
///   different instances and one of them is chosen, the share that follows the prefix; 0.5 if there
///   is none
/// * `agreement.least-loaded`: share of decisions for an instance with the least waiting, running
///   and in flight
/// * `agreement.round-robin`: share of decisions for the next instance in turn
/// * `agreement.longest-prefix`: share of decisions for an instance with the most of the prompt in
///   its cache, where any has some; 0 if none has
/// * `state_bytes`: growth of the scripts' memory over 300 requests
/// * `units_per_call`: units of fuel per call into a script
/// * `disaggregated`: share of the prompts that an instance computed which prefills for others;
///   of suites that ask where prompts are computed
/// * `mean_instances`: mean number of instances where they come and go; of suites that ask how many
///   there should be
#[must_use]
pub fn of(texts: &Scripts, runs: &[SmokeRun]) -> (BTreeMap<String, f64>, String) {
    let mut features = BTreeMap::new();
    let mut add = |name: &str, value: f64| features.insert(name.to_owned(), value);
    let sizes = texts.values().map(|text| size(text));
    let (nodes, lines) = sizes.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    add("ast_nodes", nodes as f64);
    add("loc", lines as f64);
    let whole = runs.iter();
    let whole = whole.filter(|run| run.disaggregated.is_none() && run.mean_instances.is_none());
    let choices = whole.map(Choices::of);
    let four = choices.clone().find(|c| c.chosen.len() == 4);
    add("decision_entropy", four.map_or(0.0, |c| c.entropy()));
    let all = choices
        .filter(|c| c.chosen.len() > 1)
        .fold(Choices::default(), Choices::plus);
    let share = |n: u64, of: u64, none: f64| if of == 0 { none } else { n as f64 / of as f64 };
    add(
        "cache_vs_load",
        share(all.by_prefix, all.by_prefix + all.by_load, 0.5),
    );
    add(
        "agreement.least-loaded",
        share(all.least_loaded, all.decisions, 0.0),
    );
    add(
        "agreement.round-robin",
        share(all.in_turn, all.decisions, 0.0),
    );
    add(
        "agreement.longest-prefix",
        share(all.longest_prefix, all.with_prefix, 0.0),
    );
    let grown = runs.iter().map(|run| run.state_bytes).max();
    add("state_bytes", grown.unwrap_or(0) as f64);
    let (calls, units) = runs.iter().fold((0, 0), |(calls, units), run| {
        (calls + run.used.calls, units + run.used.units)
    });
    add("units_per_call", units as f64 / calls.max(1) as f64);
    if let Some(share) = runs.iter().find_map(|run| run.disaggregated) {
        add("disaggregated", share);
    }
    if let Some(mean) = runs.iter().find_map(|run| run.mean_instances) {
        add("mean_instances", mean);
    }
    (features, fingerprint(runs))
}

/// A fingerprint of all routing decisions, and of the outcomes of all requests.
pub(super) fn fingerprint(runs: &[SmokeRun]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (observation, _) in runs.iter().flat_map(|run| run.observations.iter()) {
        hasher.update(&observation.request.serial.to_le_bytes());
        hasher.update(&observation.chosen.to_le_bytes());
    }
    for run in runs {
        hasher.update(&run.outcomes);
    }
    hasher.finalize().to_hex()[..16].to_owned()
}

/// Decisions of a run, and how many simple policies share.
#[derive(Default)]
struct Choices {
    /// Decisions by instance.
    chosen: Vec<u64>,
    decisions: u64,
    with_prefix: u64,
    least_loaded: u64,
    in_turn: u64,
    longest_prefix: u64,
    by_prefix: u64,
    by_load: u64,
}

impl Choices {
    fn of(run: &SmokeRun) -> Self {
        let mut choices = Self::default();
        let mut turn = 0;
        for (observation, snapshots) in run.observations.iter() {
            choices.chosen.resize(snapshots.len(), 0);
            choices.chosen[observation.chosen as usize] += 1;
            choices.decide(observation, snapshots, turn);
            turn = (observation.chosen as usize + 1) % snapshots.len();
        }
        choices
    }

    fn decide(
        &mut self,
        observation: &RoutingObservation,
        snapshots: &[InstanceSnapshot],
        turn: usize,
    ) {
        let load = |s: &InstanceSnapshot| InstanceView::effective_load(&s.actual);
        let least = snapshots.iter().map(load).min().unwrap_or(0);
        let most = snapshots.iter().map(|s| s.cached_blocks).max().unwrap_or(0);
        let chosen = &snapshots[observation.chosen as usize];
        let lightest = load(chosen) == least;
        let longest = chosen.cached_blocks == most;
        self.decisions += 1;
        self.least_loaded += u64::from(lightest);
        self.in_turn += u64::from(observation.chosen as usize == turn);
        if most == 0 {
            return;
        }
        self.with_prefix += 1;
        self.longest_prefix += u64::from(longest);
        let both = |s: &InstanceSnapshot| s.cached_blocks == most && load(s) == least;
        if !snapshots.iter().any(both) {
            self.by_prefix += u64::from(longest);
            self.by_load += u64::from(lightest);
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            chosen: Vec::new(),
            decisions: self.decisions + other.decisions,
            with_prefix: self.with_prefix + other.with_prefix,
            least_loaded: self.least_loaded + other.least_loaded,
            in_turn: self.in_turn + other.in_turn,
            longest_prefix: self.longest_prefix + other.longest_prefix,
            by_prefix: self.by_prefix + other.by_prefix,
            by_load: self.by_load + other.by_load,
        }
    }

    fn entropy(&self) -> f64 {
        let all = self.decisions.max(1) as f64;
        let shares = self.chosen.iter().filter(|n| **n > 0);
        let bits = shares.map(|&n| {
            let p = n as f64 / all;
            -p * p.log2()
        });
        // Not -0 when a single instance is always chosen.
        bits.sum::<f64>().max(0.0)
    }
}

/// Nodes of a script's syntax tree and lines with code; 0 for a script that
/// cannot be looked at.
fn size(text: &str) -> (usize, usize) {
    #[derive(Default)]
    struct Count(usize);
    impl Visitor for Count {
        fn visit_stmt(&mut self, _: &Stmt) {
            self.0 += 1;
        }
        fn visit_last_stmt(&mut self, _: &LastStmt) {
            self.0 += 1;
        }
        fn visit_expression(&mut self, _: &Expression) {
            self.0 += 1;
        }
        fn visit_field(&mut self, _: &Field) {
            self.0 += 1;
        }
        fn visit_parameter(&mut self, _: &Parameter) {
            self.0 += 1;
        }
    }
    let size = with_ast(text, |ast| {
        let mut count = Count::default();
        count.visit_ast(ast);
        let lines: BTreeSet<usize> = ast
            .nodes()
            .tokens()
            .filter_map(|token| Some(token.start_position()?.line()))
            .collect();
        (count.0, lines.len())
    });
    size.unwrap_or_default()
}
