//! Pools that a policy scales, as plain data: the same in a run's file and in a policy bundle.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use windtunnel_base::input::is_default;

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
    /// The same of single pools, by name, which goes before what stands above.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub pools: BTreeMap<String, Self>,
}

/// A delay that is normally distributed, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartupSpec {
    /// Mean; 60 if not given.
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

    /// How the pool of this name is scaled.
    #[must_use]
    pub fn of_pool(&self, name: &str) -> Self {
        let own = self.pools.get(name).cloned().unwrap_or_default();
        // The parameters are those of the policy beside them.
        let params = match own.policy.is_some() || !own.params.is_empty() {
            true => own.params,
            false => self.params.clone(),
        };
        Self {
            policy: own.policy.or_else(|| self.policy.clone()),
            params,
            interval: own.interval.or(self.interval),
            min: own.min.or(self.min),
            max: own.max.or(self.max),
            startup: StartupSpec {
                mean: own.startup.mean.or(self.startup.mean),
                stddev: own.startup.stddev.or(self.startup.stddev),
            },
            drain: own.drain.or_else(|| self.drain.clone()),
            pools: BTreeMap::new(),
        }
    }
}
