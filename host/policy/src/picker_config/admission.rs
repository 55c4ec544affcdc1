//! What the file says of admission, and what it was read as.

use super::kinds::Meaning;
use super::params::{at, place};
use super::{KIND, Translation};
use std::collections::BTreeMap;
use windtunnel_base::input::{InputError, unknown};

impl Translation<'_> {
    pub(super) fn flow_control(&self) -> bool {
        let mut gates = self.file.feature_gates.iter();
        gates.any(|g| g.value.starts_with("flowControl") && !g.value.ends_with("=false"))
    }

    /// Without flow control, a saturated pool refuses requests of negative priority.
    pub(super) fn admission(&self) -> Result<Option<BTreeMap<String, f64>>, InputError> {
        if self.flow_control() {
            return Ok(None);
        }
        let name = self.name;
        let section = |settings: Vec<(&str, f64)>| {
            let settings = settings.into_iter();
            Some(settings.map(|(p, v)| (p.to_owned(), v)).collect())
        };
        let usual = || vec![("queue_limit", 5.0), ("kv_limit", 0.8)];
        let limits = |queue: Option<f64>, kv: Option<f64>| {
            vec![
                ("queue_limit", queue.unwrap_or(5.0)),
                ("kv_limit", kv.unwrap_or(0.8)),
            ]
        };
        let Some(detector) = &self.file.saturation_detector else {
            return Ok(section(usual()));
        };
        let keys = [
            "pluginRef",
            "queueDepthThreshold",
            "kvCacheUtilThreshold",
            "metricsStalenessThreshold",
        ];
        if let Some((key, value)) = detector
            .value
            .iter()
            .find(|(k, _)| !keys.contains(&k.as_str()))
        {
            let message = unknown("key of saturationDetector", key, &keys);
            return Err(at(name, place(value), message));
        }
        let Some(reference) = detector.value.get("pluginRef") else {
            let number = |key: &str, most: f64| match detector.value.get(key) {
                None => Ok(None),
                Some(value) => match value.value.as_f64() {
                    Some(x) if x > 0.0 && x <= most => Ok(Some(x)),
                    _ => {
                        let message = format!("{key}: {} is not above 0", value.value);
                        Err(at(name, place(value), message))
                    }
                },
            };
            let queue = number("queueDepthThreshold", f64::MAX)?;
            let kv = number("kvCacheUtilThreshold", 1.0)?;
            return Ok(section(limits(queue, kv)));
        };
        let wanted = reference.value.as_str().unwrap_or_default();
        let Some(known) = self.named(wanted) else {
            if wanted == "utilization-detector" {
                return Ok(section(usual()));
            }
            if wanted == "concurrency-detector" {
                return Ok(section(vec![("max_in_flight", 100.0)]));
            }
            let names: Vec<&str> = self.plugins.iter().map(|k| k.plugin.name()).collect();
            return Err(at(
                name,
                place(reference),
                unknown("plugin", wanted, &names),
            ));
        };
        match known.meaning {
            Meaning::Detector(false) => {
                let above = f64::MIN_POSITIVE;
                let queue = known
                    .params
                    .number("queueDepthThreshold", above, f64::MAX)?;
                let kv = known.params.number("kvCacheUtilThreshold", above, 1.0)?;
                Ok(section(limits(queue, kv)))
            }
            Meaning::Detector(true) => {
                let params = &known.params;
                for key in ["capacityMetric", "mode"] {
                    if let Some(metric) = params.text(key)?
                        && !metric.starts_with("request")
                    {
                        return Err(
                            params.wrong(key, "has no counterpart; only requests are counted")
                        );
                    }
                }
                let most = params.number("maxConcurrency", 1.0, f64::MAX)?;
                Ok(section(vec![("max_in_flight", most.unwrap_or(100.0))]))
            }
            _ => Err(at(
                name,
                place(reference),
                format!("{wanted} is no saturation detector"),
            )),
        }
    }

    /// What the file was read as.
    pub(super) fn summary(&self, gaie_legacy: Option<&BTreeMap<String, f64>>) -> String {
        let mut parts = Vec::new();
        if self.values.contains_key("session_pin") {
            parts.push("sessions pinned".to_owned());
        }
        if let Some(threshold) = self.values.get("affinity_threshold") {
            let penalty = self
                .values
                .get("max_ttft_penalty_ms")
                .copied()
                .unwrap_or(0.0);
            parts.push(format!(
                "sticky from {threshold} of the prompt cached until {penalty:.0} ms behind"
            ));
        }
        let scorers = self
            .scorers
            .iter()
            .map(|(name, weight)| format!("{name}:{weight}"));
        let scorers: Vec<String> = scorers.collect();
        parts.push(match scorers.is_empty() {
            true => "no scorers".to_owned(),
            false => scorers.join(","),
        });
        let picker = self.values.get("picker").copied().unwrap_or(1.0);
        parts.push(
            match picker as u32 {
                2 => "any at random",
                3 => "at random by score",
                _ => "the highest, ties at random",
            }
            .to_owned(),
        );
        let admission = match gaie_legacy {
            None => "always-admit".to_owned(),
            Some(limits) => {
                let value = |p: &str| limits.get(p).copied().unwrap_or(0.0);
                match limits.get("max_in_flight") {
                    Some(most) => format!("gaie-legacy at {most} in flight"),
                    None => format!(
                        "gaie-legacy at {} waiting or {} of the KV blocks",
                        value("queue_limit"),
                        value("kv_limit")
                    ),
                }
            }
        };
        format!(
            "{}: {KIND} read as routing weighted ({}), admission {admission}",
            self.name,
            parts.join("; ")
        )
    }
}
