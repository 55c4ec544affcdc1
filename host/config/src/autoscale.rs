//! Pools that a policy scales, as plain data: the same in a run's file and in a policy bundle.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;
use windtunnel_base::input::{InputError, is_default, number};

/// How pools are scaled by a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoscaleSpec {
    /// The policy: a name, `FILE.lua`, or `FILE.so[:NAME]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its parameters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, f64>,
    /// Seconds between two decisions; 15 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<f64>,
    /// Least instances of a pool; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Most instances of a pool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Time until an instance that is started takes requests.
    #[serde(skip_serializing_if = "is_default")]
    pub startup: StartupSpec,
    /// What becomes of the requests of an instance that goes: `wait` (if not given), `redirect` or
    /// `immediate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<String>,
    /// The nodes that instances run on; none = GPUs are there when an instance is started. Not of
    /// single pools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub node_pools: Vec<NodePoolSpec>,
    /// The same of single pools, by name, which goes before what stands above.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, Self>,
}

/// Seconds between two decisions, where nothing is said: Kubernetes' default.
pub const INTERVAL_S: f64 = 15.0;
/// Seconds until an instance that is started, or replaces another one, takes requests, where
/// nothing is said.
pub const STARTUP_S: f64 = 60.0;

/// A pool of equal nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePoolSpec {
    /// Its name.
    pub name: String,
    /// GPU of the nodes.
    pub gpu: String,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// Nodes at the start; as many as the least if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<u32>,
    /// Least nodes, which stay when they are idle; as many as there are at the start if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// Most nodes.
    pub max: u32,
    /// Time from asking for a node until instances can be started on it; 120 s if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub provisioning_delay: StartupSpec,
    /// Seconds after which a node without instances goes back; 600 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_after: Option<f64>,
    /// What a node costs, US dollars per hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_per_hour: Option<f64>,
}

impl FromStr for NodePoolSpec {
    type Err = InputError;

    /// `NAME:GPU:GPUS:INITIAL-MAX[:DELAY[:COST]]`.
    fn from_str(text: &str) -> Result<Self, InputError> {
        let parts: Vec<&str> = text.split(':').collect();
        let expected =
            "expected NAME:GPU:GPUS:INITIAL-MAX[:DELAY[:COST]], as big:H100:8:1-4:120:24";
        let [name, gpu, gpus, nodes, rest @ ..] = &parts[..] else {
            return Err(InputError::new(expected));
        };
        let Some((initial, max)) = nodes.split_once('-').filter(|_| rest.len() <= 2) else {
            return Err(InputError::new(expected));
        };
        Ok(Self {
            name: (*name).to_owned(),
            gpu: (*gpu).to_owned(),
            gpus_per_node: number(gpus)?,
            initial: Some(number(initial)?),
            max: number(max)?,
            provisioning_delay: StartupSpec {
                mean: rest.first().map(|text| number(text)).transpose()?,
                stddev: None,
            },
            cost_per_hour: rest.get(1).map(|text| number(text)).transpose()?,
            ..Self::default()
        })
    }
}

/// A delay that is normally distributed, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartupSpec {
    /// Mean; of instances 60 if not given, of nodes 120.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<f64>,
    /// Standard deviation; 0 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
}

impl AutoscaleSpec {
    /// Is any pool scaled?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.max.is_some() || self.pools.values().any(|pool| pool.max.is_some())
    }

    /// These keys where they are given, `under`'s elsewhere, pool by pool.
    #[must_use]
    pub fn over(&self, under: &Self) -> Self {
        let mut all = self.over_but_pools(under);
        all.pools.clone_from(&under.pools);
        for (name, own) in &self.pools {
            let below = under.pools.get(name).cloned().unwrap_or_default();
            all.pools.insert(name.clone(), own.over_but_pools(&below));
        }
        all
    }

    /// The same without what is another for single pools.
    fn over_but_pools(&self, under: &Self) -> Self {
        // The parameters are those of the policy beside them.
        let params = match self.policy.is_some() || !self.params.is_empty() {
            true => self.params.clone(),
            false => under.params.clone(),
        };
        Self {
            policy: self.policy.clone().or_else(|| under.policy.clone()),
            params,
            interval: self.interval.or(under.interval),
            min: self.min.or(under.min),
            max: self.max.or(under.max),
            startup: StartupSpec {
                mean: self.startup.mean.or(under.startup.mean),
                stddev: self.startup.stddev.or(under.startup.stddev),
            },
            drain: self.drain.clone().or_else(|| under.drain.clone()),
            node_pools: match self.node_pools.is_empty() {
                true => under.node_pools.clone(),
                false => self.node_pools.clone(),
            },
            pools: BTreeMap::new(),
        }
    }

    /// How the pool of this name is scaled.
    #[must_use]
    pub fn of_pool(&self, name: &str) -> Self {
        let own = self.pools.get(name).cloned().unwrap_or_default();
        own.over_but_pools(self)
    }
}
