//! `weighted`: several scorers give every instance a number; the highest weighted sum wins.
//!
//! The weights of the scorers are parameters of the policy. A list of scorers, such as `scorers` in
//! a bundle, gives all of them at once: what it leaves out has no weight. Two weights of an older
//! form stand instead of the scorers ([`TwoWeights`]).
//!
//! Before the scorers, filters may narrow the instances down ([`Filters`]); behind them, a picker
//! takes one by its sum ([`Picker`]).

use super::columns::Columns;
use super::filters::{self, Filters};
use super::memory::Memory;
use super::picker::Picker;
use super::scorers::{self, Decision, Scorer, Settings};
use super::two_weights::TwoWeights;
use crate::builtin::policy::{BuiltIn, Make, Values};
use crate::param::Param;
use windtunnel_base::input::InputError;
use windtunnel_plugin_api::{
    ClusterView, Event, Interests, PolicyError, RequestView, Route, Router,
};

/// How `lora-affinity` scores.
const ADAPTER_SCORES: &str = "adapter_scores";

/// The table of scorers, and the parameters of the policy: their weights, then others.
macro_rules! table {
    ([$($scorer:ident,)*] $($param:expr,)*) => {
        /// The scorers that can be chosen.
        pub static SCORERS: &[Scorer] = &[$(scorers::$scorer),*];
        const PARAMS: &[Param] = &[$(scorers::$scorer.weight(),)* $($param),*];
    };
}

table! {
    [
        PRECISE_PREFIX_CACHE,
        PREFIX_AFFINITY,
        NO_HIT_LRU,
        QUEUE_DEPTH,
        KV_UTILIZATION,
        LOAD_BALANCE,
        ACTIVE_REQUESTS,
        RUNNING_REQUESTS,
        LOAD_AWARE,
        VLLM_DP,
        PRECISE_PREFIX_SHARE,
        TOKEN_LOAD,
        SESSION_AFFINITY,
        LORA_AFFINITY,
    ]
    Param::number(
        "cache_weight",
        0.6,
        0.0,
        f64::MAX,
        "Two-weight form: weight of free KV blocks, if either of the two is given",
    ),
    Param::number(
        "load_weight",
        0.4,
        0.0,
        f64::MAX,
        "Two-weight form: weight of a short wait queue, if either of the two is given",
    ),
    Param::number(
        "picker",
        0.0,
        0.0,
        3.0,
        "0: the first highest sum; 1: one of the highest at random; 2: any at random; 3: at random, as likely as its sum is high",
    )
    .whole(),
    filters::AFFINITY_THRESHOLD,
    filters::MAX_TTFT_PENALTY_MS,
    filters::PEAK_PREFILL_TOKENS_PER_S,
    filters::EXPLORATION,
    filters::SESSION_PIN,
    Param::number(
        "prefix_signal",
        0.0,
        0.0,
        2.0,
        "Prefix hits that the filter, no-hit-lru and token-load count: 1 what was sent there before, 2 the instances' cache events; 0: 1, but 2 for no-hit-lru",
    )
    .whole(),
    Param::number(
        "max_prefix_tokens",
        0.0,
        0.0,
        f64::MAX,
        "Leading tokens of a prompt that shares of cached blocks look at; 0 = all",
    ),
    Param::number(
        ADAPTER_SCORES,
        0.0,
        0.0,
        1.0,
        "lora-affinity: 0 as llm-d has it; 1 as BLIS: 1 where the adapter is loaded, else 0, and 1 everywhere if all are alike [1 under its rules]",
    )
    .whole(),
    Param::number(
        "token_load_tokens",
        4_194_304.0,
        1.0,
        f64::MAX,
        "token-load: uncached tokens in flight at which it gives 0",
    ),
    Param::number(
        "load_aware_queue",
        128.0,
        1.0,
        f64::MAX,
        "load-aware: wait queue at which it gives 0",
    ),
    Param::number(
        "idle_requests",
        0.0,
        0.0,
        f64::MAX,
        "active-requests: requests in flight up to which an instance is idle and gets 1",
    ),
    Param::number(
        "max_busy_score",
        1.0,
        0.0,
        1.0,
        "active-requests: the highest score of an instance that is not idle",
    ),
}

/// `weighted`.
pub const POLICY: BuiltIn = BuiltIn {
    params: PARAMS,
    bundle_keys: &[
        ("cache_weight", "cache_weight"),
        ("load_weight", "load_weight"),
    ],
    check,
    ..BuiltIn::new(
        "weighted",
        "The highest weighted sum of scores; llm-d's defaults.",
        Make::Routing(|_, values| match two_weights(values) {
            Some((cache, load)) => Box::new(TwoWeights::new(cache, load)),
            None => Box::new(Weighted {
                filters: Filters::of(values),
                picker: Picker::of(values),
                settings: settings(values),
                ..Weighted::new(weights(values))
            }),
        }),
    )
};

/// Both weights of the two-weight form, if either was given.
fn two_weights(values: &Values) -> Option<(f64, f64)> {
    let given = ["cache_weight", "load_weight"].map(|name| values.given(name));
    let any = given.iter().any(Option::is_some);
    any.then(|| (values.get("cache_weight"), values.get("load_weight")))
}

/// The scorers that have a weight, in the order in which their scores are added up: that of a list,
/// which gives all of them, else that of the table. Sums of floating-point numbers depend on it.
fn weights(values: &Values) -> Vec<(&'static Scorer, f64)> {
    let scorer = |param| SCORERS.iter().find(|scorer| scorer.param == param);
    let given = values.named();
    let mut weights: Vec<(&Scorer, f64)> = given
        .filter_map(|(param, weight)| Some((scorer(param)?, weight)))
        .collect();
    if weights.len() < SCORERS.len() {
        let all = SCORERS.iter();
        weights = all.map(|s| (s, values.get(s.param))).collect();
    }
    weights.retain(|(_, weight)| *weight > 0.0);
    weights
}

fn settings(values: &Values) -> Settings {
    Settings {
        load_aware_queue: values.get("load_aware_queue"),
        idle_requests: values.get("idle_requests"),
        max_busy_score: values.get("max_busy_score"),
        token_load_tokens: values.get("token_load_tokens"),
        max_prefix_tokens: values.get("max_prefix_tokens"),
        adapter_is_there: values.get("adapter_scores") == 1.0,
        precise: match values.get("prefix_signal") {
            0.0 => None,
            signal => Some(signal == 2.0),
        },
    }
}

fn check(values: &Values) -> Result<(), String> {
    if let Some((cache, load)) = two_weights(values) {
        let fine = |w: f64| w.is_finite() && w >= 0.0;
        if !fine(cache) || !fine(load) || cache + load <= 0.0 {
            return Err(format!(
                "the cache weight {cache} and the load weight {load} must be numbers of 0 or more, not both 0"
            ));
        }
        if SCORERS.iter().any(|s| values.given(s.param).is_some()) {
            return Err("give scorers or cache_weight and load_weight, not both".into());
        }
        let more = POLICY.params.iter().skip(SCORERS.len() + 2);
        let mut more = more.filter(|p| values.given(&p.name).is_some());
        if let Some(param) = more.next() {
            return Err(format!(
                "{} has no effect with cache_weight and load_weight; give scorers instead",
                param.name
            ));
        }
    } else if weights(values).is_empty() && values.get("picker") == 0.0 {
        return Err("no scorer has a weight; expected at least one above 0".into());
    }
    Ok(())
}

/// The parameters that `name:weight,name:weight` sets: the weights of all scorers.
///
/// # Errors
/// Unknown or repeated names, weights that are not positive numbers, missing colons.
pub fn parse_scorers(text: &str) -> Result<Vec<(String, f64)>, InputError> {
    let mut scorers = Vec::new();
    for part in text.split(',').map(str::trim) {
        let Some((name, weight)) = part.split_once(':') else {
            return Err(InputError::new(format!(
                "scorer \"{part}\" has no weight; expected name:weight, such as queue-depth:1"
            )));
        };
        let weight = weight.trim().parse::<f64>().map_err(|_| {
            InputError::new(format!(
                "weight \"{}\" of scorer \"{name}\" is not a number",
                weight.trim()
            ))
        })?;
        scorers.push((name.trim(), weight));
    }
    scorer_params(scorers)
}

/// The scorers that have a weight by default, as [`parse_scorers`] reads them.
#[must_use]
pub fn default_scorers() -> String {
    let weighty = SCORERS.iter().filter(|s| s.default_weight > 0.0);
    let list: Vec<String> = weighty
        .map(|s| format!("{}:{}", s.name, s.default_weight))
        .collect();
    list.join(",")
}

/// The parameters that a list of scorers by name sets: the weights of all scorers, 0 for those that
/// are not in it.
///
/// # Errors
/// As [`parse_scorers`]; an empty list.
pub fn scorer_params<'a>(
    named: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Vec<(String, f64)>, InputError> {
    let mut params: Vec<(String, f64)> = Vec::new();
    for (name, weight) in named {
        let Some(scorer) = SCORERS.iter().find(|scorer| scorer.name == name) else {
            let names: Vec<&str> = SCORERS.iter().map(|scorer| scorer.name).collect();
            return Err(InputError::unknown("scorer", name, &names));
        };
        if !(weight.is_finite() && weight > 0.0) {
            return Err(InputError::new(format!(
                "weight {weight} of scorer \"{name}\" must be a positive finite number"
            )));
        }
        if params.iter().any(|(known, _)| known == scorer.param) {
            return Err(InputError::new(format!("scorer \"{name}\" is named twice")));
        }
        params.push((scorer.param.to_owned(), weight));
    }
    if params.is_empty() {
        return Err(InputError::new(
            "no scorers given; expected at least one name:weight",
        ));
    }
    let all = SCORERS.iter().map(|scorer| scorer.param);
    let others: Vec<&str> = all
        .filter(|param| params.iter().all(|(known, _)| known != param))
        .collect();
    params.extend(others.into_iter().map(|param| (param.to_owned(), 0.0)));
    Ok(params)
}

/// The highest weighted sum of scores.
pub struct Weighted {
    scorers: Vec<(&'static Scorer, f64)>,
    filters: Filters,
    picker: Picker,
    settings: Settings,
    memory: Memory,
    columns: Columns,
    /// What it reads, once it was asked.
    reads: Option<Interests>,
    /// Scratch: positions of the instances that the filters leave.
    candidates: Vec<usize>,
    /// Scratch: the scores of one scorer.
    column: Vec<f64>,
    /// Scratch: the sums of the candidates.
    sums: Vec<f64>,
    /// The sums of all instances; 0 for those that a filter has taken away.
    totals: Vec<f64>,
    best: f64,
}

impl Weighted {
    /// Weights are relative; they are divided by their sum, added up in order.
    #[must_use]
    pub fn new(scorers: impl IntoIterator<Item = (&'static Scorer, f64)>) -> Self {
        let mut scorers: Vec<(&Scorer, f64)> = scorers.into_iter().collect();
        let sum: f64 = scorers.iter().map(|(_, weight)| weight).sum();
        scorers.iter_mut().for_each(|(_, weight)| *weight /= sum);
        Self {
            scorers,
            filters: Filters::default(),
            picker: Picker::default(),
            settings: Settings::default(),
            memory: Memory::default(),
            columns: Columns::default(),
            reads: None,
            candidates: Vec::new(),
            column: Vec::new(),
            sums: Vec::new(),
            totals: Vec::new(),
            best: 0.0,
        }
    }

    fn uses(&self, scorer: &Scorer) -> bool {
        self.scorers.iter().any(|(s, _)| s.name == scorer.name)
    }

    fn counts_tokens(&self) -> bool {
        self.filters.reads_ledger() || self.uses(&scorers::TOKEN_LOAD)
    }
}

impl Router for Weighted {
    fn interests(&self) -> Interests {
        let all = self.scorers.iter().map(|(scorer, _)| scorer.interests);
        let scored = all.fold(Interests::SNAPSHOTS, |all, more| all | more);
        let ledger = match self.counts_tokens() {
            true => scorers::LEDGER,
            false => Interests::NONE,
        };
        let asks = self.counts_tokens() || self.filters.asks_prefixes();
        // The cache events are counted by default by this scorer alone.
        let prefix = match (self.settings.precise, asks, self.uses(&scorers::NO_HIT_LRU)) {
            (Some(false), true, _) | (None, true, _) | (Some(false), _, true) => {
                Interests::APPROXIMATE_PREFIX
            }
            (Some(true), true, _) => Interests::PRECISE_PREFIX,
            _ => Interests::NONE,
        };
        scored | ledger | prefix
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let n = cluster.instances.len();
        let reads = self.reads.unwrap_or_else(|| self.interests());
        self.reads = Some(reads);
        self.columns.refresh(cluster, reads);
        self.memory.cold.begin();
        self.candidates.clear();
        self.candidates.extend(0..n);
        let mut all = Decision {
            request,
            cluster,
            columns: &self.columns,
            candidates: &[],
            settings: &self.settings,
        };
        self.filters
            .narrow(&all, &self.memory, &mut self.candidates);
        all.candidates = &self.candidates;
        self.sums.clear();
        self.sums.resize(self.candidates.len(), 0.0);
        for (scorer, weight) in &self.scorers {
            self.column.clear();
            (scorer.column)(&all, &mut self.memory, &mut self.column);
            for (total, score) in self.sums.iter_mut().zip(&self.column) {
                *total += score.clamp(0.0, 1.0) * weight;
            }
        }
        let place = self.picker.pick(&self.sums, cluster);
        let chosen = self.candidates[place];
        self.best = self.sums[place];
        self.totals.clear();
        if self.sums.len() == n {
            self.totals.extend_from_slice(&self.sums);
        } else {
            self.totals.resize(n, 0.0);
            for (&i, sum) in self.candidates.iter().zip(&self.sums) {
                self.totals[i] = *sum;
            }
        }
        let index = cluster.instances[chosen].index;
        self.memory.cold.sent_to(index);
        if self.counts_tokens() {
            let uncached = all.uncached(chosen);
            self.memory.ledger.sent(request.serial, index, uncached);
        }
        let sticks = self.filters.session_pin || self.uses(&scorers::SESSION_AFFINITY);
        if sticks && request.session != 0 {
            self.memory.sessions.insert(request.session, index);
        }
        Ok(Route::To(chosen))
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.memory.ledger.hear(event);
        Ok(())
    }

    fn scores(&self) -> Option<&[f64]> {
        Some(&self.totals)
    }

    fn reason(&self) -> String {
        format!("weighted-scoring (score={:.3})", self.best)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::{EventKind, InstanceView};

    #[test]
    fn cold_requests_walk_around_the_cluster() {
        let idle: Vec<InstanceView> = (0..3)
            .map(|index| InstanceView {
                index,
                ..InstanceView::default()
            })
            .collect();
        let mut router = Weighted::new([(&scorers::NO_HIT_LRU, 1.0)]);
        let view = ClusterView::bare(0, &idle);
        let order: Vec<Result<Route, PolicyError>> = (0..4)
            .map(|_| router.route(&RequestView::default(), &view))
            .collect();
        assert_eq!(order, [0, 1, 2, 0].map(|i| Ok(Route::To(i))));
    }

    #[test]
    fn tokens_in_flight_count_until_the_first_token() {
        let idle: Vec<InstanceView> = (0..2)
            .map(|index| InstanceView {
                index,
                ..InstanceView::default()
            })
            .collect();
        let mut router = Weighted::new([(&scorers::TOKEN_LOAD, 1.0)]);
        let view = ClusterView::bare(0, &idle);
        let mut route = |serial, prompt_tokens, ended: Option<u64>| {
            if let Some(serial) = ended {
                let event = Event {
                    kind: EventKind::FirstToken as u32,
                    serial,
                    ..Event::default()
                };
                router.on_event(&event).expect("heard");
            }
            let request = RequestView {
                serial,
                prompt_tokens,
                ..RequestView::default()
            };
            router.route(&request, &view).expect("routed")
        };
        assert_eq!(route(0, 100, None), Route::To(0));
        assert_eq!(route(1, 50, None), Route::To(1));
        // 50 against 100, then 60 against 100, then 60 against nothing.
        assert_eq!(route(2, 10, None), Route::To(1));
        assert_eq!(route(3, 10, Some(0)), Route::To(0));
    }

    #[test]
    fn a_pinned_session_stays_where_it_went() {
        let view = |depths: [u32; 2]| -> Vec<InstanceView> {
            let depths = (0..).zip(depths);
            let instance = |(index, queue_depth)| InstanceView {
                index,
                queue_depth,
                ..InstanceView::default()
            };
            depths.map(instance).collect()
        };
        let given = [("session_pin", 1.0), ("queue_depth", 1.0)];
        let given = given.map(|(name, value)| (name.to_owned(), value));
        let Make::Routing(make) = POLICY.make else {
            unreachable!("it routes");
        };
        let facts = crate::Facts {
            instances: 2,
            slots: 8,
            highest_priority: 4,
            known_names: 1,
        };
        let mut router = make(&facts, &POLICY.values(&given).expect("fine"));
        let mut route = |session, depths| {
            let instances = view(depths);
            let request = RequestView {
                session,
                ..RequestView::default()
            };
            let cluster = ClusterView::bare(0, &instances);
            router.route(&request, &cluster).expect("routed")
        };
        assert_eq!(route(7, [3, 0]), Route::To(1));
        assert_eq!(route(7, [0, 9]), Route::To(1));
        assert_eq!(route(8, [0, 9]), Route::To(0));
        assert_eq!(route(0, [0, 9]), Route::To(0));
        assert_eq!(route(0, [9, 0]), Route::To(1));
    }

    fn weighing(given: &[(String, f64)]) -> Vec<(&'static str, f64)> {
        let values = POLICY.values(given).expect("fine");
        let weights = weights(&values).into_iter();
        weights.map(|(s, w)| (s.name, w)).collect()
    }

    #[test]
    fn a_list_of_scorers_gives_all_weights_in_its_order() {
        let defaults = [
            ("precise-prefix-cache", 2.0),
            ("queue-depth", 1.0),
            ("kv-utilization", 1.0),
        ];
        assert_eq!(weighing(&[]), defaults);
        let listed = parse_scorers("kv-utilization:3,no-hit-lru:0.5").expect("scorers");
        assert_eq!(
            weighing(&listed),
            [("kv-utilization", 3.0), ("no-hit-lru", 0.5)]
        );
        let mut changed = listed;
        // One weight is changed; the order stays.
        changed.push(("no_hit_lru".into(), 4.0));
        assert_eq!(
            weighing(&changed),
            [("kv-utilization", 3.0), ("no-hit-lru", 4.0)]
        );
        assert_eq!(
            weighing(&[("kv_utilization".into(), 5.0)]),
            [
                ("precise-prefix-cache", 2.0),
                ("queue-depth", 1.0),
                ("kv-utilization", 5.0)
            ]
        );
    }

    #[test]
    fn weights_that_choose_nothing_are_refused() {
        let error = |given: &[(&str, f64)]| {
            let given: Vec<_> = given.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
            POLICY.values(&given).expect_err("refused").to_string()
        };
        let nothing = [
            ("precise_prefix_cache", 0.0),
            ("queue_depth", 0.0),
            ("kv_utilization", 0.0),
        ];
        assert!(error(&nothing).starts_with("no scorer has a weight"));
        assert!(error(&[("cache_weight", 0.0), ("load_weight", 0.0)]).ends_with("not both 0"));
        let both = [("cache_weight", 1.0), ("queue_depth", 1.0)];
        assert!(error(&both).starts_with("give scorers or cache_weight"));
        assert_eq!(
            error(&[("queue_depth", -1.0)]),
            "routing policy \"weighted\": parameter \"queue_depth\" is -1; expected 0 or more"
        );
    }
}
