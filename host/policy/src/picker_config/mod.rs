//! The configuration of llm-d's endpoint picker, and of the Gateway API inference extension, as a
//! policy bundle: `kind: EndpointPickerConfig`.
//!
//! Its one profile of filters, scorers and a picker becomes `weighted` routing, its saturation
//! detector the admission policy `gaie-legacy`. What has no counterpart is refused with its place
//! where it decides, and said in a note where it does not.

mod admission;
mod file;
mod kinds;
mod params;

use file::{File, Kind, Plugin, Reference};
use kinds::{Meaning, find};
use params::{Params, Place, at, place};
use std::collections::BTreeMap;
use windtunnel_base::input::{InputError, hint, parse_yaml, unknown};

/// Versions of the format.
const VERSIONS: [&str; 4] = [
    "inference.networking.x-k8s.io/v1alpha1",
    "llm-d.ai/v1alpha1",
    "llm-d.ai/v1",
    "config.apix.gateway-api-inference-extension.sigs.k8s.io/v1alpha1",
];

const KIND: &str = "EndpointPickerConfig";

/// What such a file says, in terms of a bundle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picker {
    /// Parameters of the admission policy `gaie-legacy`; `None` = all are admitted.
    pub(crate) gaie_legacy: Option<BTreeMap<String, f64>>,
    /// Scorers of weighted routing, with their weights.
    pub(crate) scorers: Vec<(String, f64)>,
    /// Other parameters of weighted routing.
    pub(crate) weighted: BTreeMap<String, f64>,
    /// What a person should know of how it was read.
    pub(crate) notes: Vec<String>,
}

/// What a file of this format says; `None` for other files. `name` stands for the file in messages.
pub(crate) fn read(name: &str, text: &str) -> Option<Result<Picker, InputError>> {
    let kind: Kind = parse_yaml(name, text).ok()?;
    let kind = kind.kind?;
    Some(if kind.value == KIND {
        parse_yaml(name, text).and_then(|file| Translation::new(name, &file)?.picker())
    } else {
        let of_cluster = if kind.value == "ConfigMap" {
            "; give the text under its data as a file of its own"
        } else {
            ""
        };
        let message = format!(
            "kind {}; expected a policy bundle or kind {KIND}{of_cluster}",
            kind.value
        );
        Err(at(name, place(&kind), message))
    })
}

/// A plugin with what it is.
struct Known<'a> {
    plugin: &'a Plugin,
    meaning: Meaning,
    params: Params<'a>,
}

struct Translation<'a> {
    name: &'a str,
    file: &'a File,
    plugins: Vec<Known<'a>>,
    scorers: Vec<(String, f64)>,
    /// Parameters of weighted routing.
    values: BTreeMap<String, f64>,
    picker: Option<&'a Plugin>,
    /// Sources of the prefix hits that filter, `no-hit-lru` and `token-load` count, and where each
    /// is chosen; `true`: cache events.
    signals: Vec<(bool, Place)>,
    notes: Vec<String>,
}

impl<'a> Translation<'a> {
    fn new(name: &'a str, file: &'a File) -> Result<Self, InputError> {
        let version = &file.api_version;
        if !VERSIONS.contains(&version.value.as_str()) {
            let message = unknown("apiVersion", &version.value, &VERSIONS);
            return Err(at(name, place(version), message));
        }
        let mut translation = Self {
            name,
            file,
            plugins: Vec::new(),
            scorers: Vec::new(),
            values: BTreeMap::new(),
            picker: None,
            signals: Vec::new(),
            notes: Vec::new(),
        };
        for plugin in &file.plugins {
            if translation.named(plugin.name()).is_some() {
                let message = format!("plugin \"{}\" is there twice", plugin.name());
                let here = plugin.name.as_ref().unwrap_or(&plugin.kind);
                return Err(at(name, place(here), message));
            }
            let known = translation.know(plugin)?;
            translation.plugins.push(known);
        }
        Ok(translation)
    }

    /// Finds out what a plugin is. What decides without being in a profile is refused at once.
    fn know(&mut self, plugin: &'a Plugin) -> Result<Known<'a>, InputError> {
        let kind = &plugin.kind;
        let Some((meaning, known)) = find(&kind.value) else {
            let names = kinds::KINDS.iter().map(|(name, ..)| *name);
            let hint = hint("; ", &kind.value, names);
            let message = format!("unknown type of plugin \"{}\"{hint}", kind.value);
            return Err(at(self.name, place(kind), message));
        };
        let any = matches!(meaning, Meaning::Missing(_));
        let known = if any { kinds::ANY } else { known };
        let params = Params::of(self.name, plugin, known)?;
        // Handlers and admitters work as soon as they are there.
        let always = ["handler", "admitter", "routing"];
        if let Meaning::Missing(why) = meaning
            && always.iter().any(|word| kind.value.ends_with(word))
        {
            return Err(self.missing(plugin, why));
        }
        Ok(Known {
            plugin,
            meaning,
            params,
        })
    }

    fn named(&self, name: &str) -> Option<&Known<'a>> {
        self.plugins
            .iter()
            .find(|known| known.plugin.name() == name)
    }

    fn missing(&self, plugin: &Plugin, why: &str) -> InputError {
        let message = format!("{} has no counterpart: {why}", plugin.kind.value);
        at(self.name, place(&plugin.kind), message)
    }

    fn note(&mut self, plugin: &Plugin, what: &str) {
        let (line, _) = place(&plugin.kind);
        self.notes.push(format!(
            "{}:{line}: {}: {what}",
            self.name, plugin.kind.value
        ));
    }

    fn picker(mut self) -> Result<Picker, InputError> {
        let used = self.profile()?;
        for (at, weight, place) in &used {
            self.take(*at, *weight, *place)?;
        }
        self.left_out(&used);
        self.signal()?;
        let picker = self.picker.map_or(1.0, |p| match find(&p.kind.value) {
            Some((Meaning::Picker(number), _)) => number,
            _ => 1.0,
        });
        self.values.insert("picker".into(), picker);
        if self.scorers.is_empty() {
            // All sums are 0 then, as without scorers.
            for param in ["precise_prefix_cache", "queue_depth", "kv_utilization"] {
                self.values.insert(param.into(), 0.0);
            }
        }
        let gaie_legacy = self.admission()?;
        self.notes.insert(0, self.summary(gaie_legacy.as_ref()));
        Ok(Picker {
            gaie_legacy,
            scorers: self.scorers,
            weighted: self.values,
            notes: self.notes,
        })
    }

    /// The plugins of the one profile: position, weight, and where it is named.
    fn profile(&mut self) -> Result<Vec<(usize, Option<f64>, Place)>, InputError> {
        let [profile] = self.file.scheduling_profiles.as_slice() else {
            if let Some(second) = self.file.scheduling_profiles.get(1) {
                let message = format!(
                    "profile \"{}\" beside another has no counterpart: one profile decides for all requests; which \
                     instances prefill and which decode is said by the run's pools",
                    second.name.value
                );
                return Err(at(self.name, place(&second.name), message));
            }
            // Without profiles there is one with all filters, scorers and pickers.
            let all = 0..self.plugins.len();
            let decides = |k: &usize| !matches!(self.plugins[*k].meaning, Meaning::Detector(_));
            let all = all.filter(decides);
            let all = all.map(|k| (k, None, place(&self.plugins[k].plugin.kind)));
            return Ok(all.collect());
        };
        let mut used: Vec<(usize, Option<f64>, Place)> = Vec::new();
        for Reference { plugin_ref, weight } in &profile.plugins {
            let names: Vec<&str> = self.plugins.iter().map(|k| k.plugin.name()).collect();
            let found = names.iter().position(|name| *name == plugin_ref.value);
            let Some(found) = found else {
                let message = if names.is_empty() {
                    format!(
                        "unknown plugin \"{}\"; plugins names none",
                        plugin_ref.value
                    )
                } else {
                    unknown("plugin", &plugin_ref.value, &names)
                };
                return Err(at(self.name, place(plugin_ref), message));
            };
            if used.iter().any(|(k, ..)| *k == found) {
                let message = format!("plugin \"{}\" is named twice", plugin_ref.value);
                return Err(at(self.name, place(plugin_ref), message));
            }
            if let Some(weight) = weight
                && !(weight.value.is_finite() && weight.value >= 0.0)
            {
                let message = format!("weight {} is not a number of 0 or more", weight.value);
                return Err(at(self.name, place(weight), message));
            }
            let weight = weight.as_ref().map(|w| w.value);
            used.push((found, weight, place(plugin_ref)));
        }
        Ok(used)
    }

    /// Takes a plugin of the profile.
    fn take(&mut self, k: usize, weight: Option<f64>, here: Place) -> Result<(), InputError> {
        let Known {
            plugin, meaning, ..
        } = self.plugins[k];
        match meaning {
            Meaning::Scorer(scorer) => self.scorer(k, scorer, weight)?,
            Meaning::PrefixScorer => {
                let precise = self.prefix_scorer(k)?;
                let scorer = if precise {
                    "precise-prefix-share"
                } else {
                    "prefix-affinity"
                };
                self.scorer(k, scorer, weight)?;
            }
            Meaning::Picker(_) => {
                if let Some(other) = self.picker {
                    let message = format!("a second picker beside {}", other.name());
                    return Err(at(self.name, here, message));
                }
                self.picker = Some(plugin);
                let params = &self.plugins[k].params;
                if params.number("maxNumOfEndpoints", 0.0, f64::MAX)? > Some(1.0) {
                    self.note(
                        plugin,
                        "maxNumOfEndpoints: the first one serves the request",
                    );
                }
            }
            Meaning::AffinityFilter => self.affinity_filter(k)?,
            Meaning::SessionFilter => {
                self.session(k)?;
                self.values.insert("session_pin".into(), 1.0);
            }
            Meaning::KeepsAll => {
                self.note(plugin, "left out: all instances serve prompts and outputs");
            }
            Meaning::Missing(why) => return Err(self.missing(plugin, why)),
            Meaning::Detector(_) => {
                return Err(self.missing(
                    plugin,
                    "it cannot be a filter here, only decide about admission",
                ));
            }
            Meaning::PrefixProducer(_)
            | Meaning::InFlightProducer
            | Meaning::SingleProfile
            | Meaning::Plumbing
            | Meaning::FlowControl => {}
        }
        if let (Some(_), false) = (
            weight,
            matches!(meaning, Meaning::Scorer(_) | Meaning::PrefixScorer),
        ) {
            self.note(plugin, "its weight has no effect: it is no scorer");
        }
        Ok(())
    }

    /// Adds a scorer, with its settings.
    fn scorer(&mut self, k: usize, scorer: &str, weight: Option<f64>) -> Result<(), InputError> {
        let plugin = self.plugins[k].plugin;
        let weight = weight.unwrap_or(1.0);
        if weight == 0.0 {
            self.note(plugin, "left out: its weight is 0");
            return Ok(());
        }
        match scorer {
            "load-aware" => self.set(k, "threshold", "load_aware_queue", 1.0)?,
            "active-requests" => {
                self.set(k, "idleThreshold", "idle_requests", 0.0)?;
                if let Some(most) = self.plugins[k].params.number("maxBusyScore", 0.0, 1.0)? {
                    self.values.insert("max_busy_score".into(), most);
                }
            }
            "token-load" => {
                self.set(k, "queueThresholdTokens", "token_load_tokens", 1.0)?;
                self.in_flight(k)?;
            }
            "session-affinity" => self.session(k)?,
            "no-hit-lru" => self.choose_signal(k, None)?,
            _ => {}
        }
        match self.scorers.iter_mut().find(|(name, _)| name == scorer) {
            Some((_, sum)) => {
                *sum += weight;
                self.note(
                    plugin,
                    "a second scorer of this kind: their weights are added",
                );
            }
            None => self.scorers.push((scorer.to_owned(), weight)),
        }
        Ok(())
    }

    /// Hands a parameter on.
    fn set(&mut self, k: usize, key: &str, param: &str, least: f64) -> Result<(), InputError> {
        let value = self.plugins[k].params.number(key, least, f64::MAX)?;
        self.values
            .extend(value.map(|value| (param.to_owned(), value)));
        Ok(())
    }

    fn session(&mut self, k: usize) -> Result<(), InputError> {
        let params = &self.plugins[k].params;
        match params.text("algorithm")? {
            None | Some("encoded_endpoint_header") => Ok(()),
            Some(_) => Err(params.wrong(
                "algorithm",
                "has no counterpart; only encoded_endpoint_header, which goes where the session went before",
            )),
        }
    }

    /// The settings of a prefix scorer; whether it reads cache events.
    fn prefix_scorer(&mut self, k: usize) -> Result<bool, InputError> {
        let params = &self.plugins[k].params;
        if params.number("prefixLengthWeight", 0.0, 1.0)? > Some(0.0) {
            return Err(params.wrong(
                "prefixLengthWeight",
                "has no counterpart; prefix scorers give the share of the prompt's blocks that is cached",
            ));
        }
        let by_mode = params.text("mode")? == Some("cache_tracking");
        self.prefix_index(k)?;
        let producer = self.producer(k, "prefixMatchInfoProducerName")?;
        Ok(by_mode || producer == Some(true))
    }

    /// The settings of an index of what was sent before.
    fn prefix_index(&mut self, k: usize) -> Result<(), InputError> {
        let Known { plugin, params, .. } = &self.plugins[k];
        let plugin = *plugin;
        let size = |key| params.number(key, 0.0, f64::MAX);
        let tokens = size("blockSizeTokens")?;
        // Blocks of so many characters, four to a token.
        let characters = size("hashBlockSize")?.or(size("blockSize")?);
        let block = tokens.or(characters.map(|c| c / 4.0)).filter(|b| *b > 0.0);
        let blocks = size("maxPrefixBlocksToMatch")?.filter(|n| *n > 0.0);
        let most = size("maxPrefixTokensToMatch")?.filter(|n| *n > 0.0);
        let most = most.or_else(|| Some(blocks? * block.unwrap_or(16.0)));
        let capacity = size("lruCapacityPerServer")?;
        if let Some(most) = most {
            self.values.insert("max_prefix_tokens".into(), most);
        }
        if block.is_some() {
            self.note(plugin, "prefixes are matched in the KV blocks of the instances, whatever the block size here");
        }
        if capacity.is_some() {
            self.note(
                plugin,
                "lruCapacityPerServer has no counterpart: what was sent is remembered for 10,000 blocks per instance",
            );
        }
        Ok(())
    }

    /// The producer of prefix hits that a plugin names: `Some(true)` for cache events.
    fn producer(&self, k: usize, key: &str) -> Result<Option<bool>, InputError> {
        let params = &self.plugins[k].params;
        let Some(name) = params.text(key)? else {
            return Ok(None);
        };
        match self.named(name).map(|known| known.meaning) {
            Some(Meaning::PrefixProducer(precise)) => Ok(Some(precise)),
            // Its type is its name where the picker makes it by itself.
            None if matches!(find(name), Some((Meaning::PrefixProducer(_), _))) => {
                Ok(Some(name.starts_with("precise")))
            }
            _ => {
                let names: Vec<&str> = self.plugins.iter().map(|k| k.plugin.name()).collect();
                let hint = hint("; ", name, names);
                Err(params.wrong(
                    key,
                    &format!("no producer of prefix hits is called \"{name}\"{hint}"),
                ))
            }
        }
    }

    /// Remembers the source of the prefix hits that a plugin counts.
    fn choose_signal(&mut self, k: usize, by_default: Option<bool>) -> Result<(), InputError> {
        let chosen = self
            .producer(k, "prefixMatchInfoProducerName")?
            .or(by_default);
        let here = place(&self.plugins[k].plugin.kind);
        self.signals.extend(chosen.map(|precise| (precise, here)));
        Ok(())
    }

    /// The producer of tokens in flight that a plugin reads.
    fn in_flight(&mut self, k: usize) -> Result<(), InputError> {
        let wanted = self.plugins[k].params.text("inFlightLoadProducerName")?;
        let found = self.plugins.iter().position(|known| {
            known.meaning == Meaning::InFlightProducer
                && wanted.is_none_or(|name| known.plugin.name() == name)
        });
        let Some(producer) = found else {
            return Ok(());
        };
        let params = &self.plugins[producer].params;
        if params.yes("addEstimatedOutputTokens") {
            return Err(params.wrong(
                "addEstimatedOutputTokens",
                "has no counterpart: tokens in flight are those of prompts until their first token",
            ));
        }
        self.choose_signal(producer, None)
    }

    fn affinity_filter(&mut self, k: usize) -> Result<(), InputError> {
        let Known { plugin, params, .. } = &self.plugins[k];
        let plugin = *plugin;
        if self.values.contains_key("affinity_threshold") {
            return Err(self.missing(plugin, "one such filter is possible, this is the second"));
        }
        if let Some(source) = params.text("ttftSource")?
            && source != "prefillThroughput"
        {
            return Err(params.wrong(
                "ttftSource",
                "has no counterpart; only prefillThroughput: there is no latency predictor to ask",
            ));
        }
        let threshold = params.number("affinityThreshold", 0.0, 1.0)?.unwrap_or(0.8);
        let exploration = params.number("explorationProbability", 0.0, 1.0)?;
        let speed = params.number("peakPrefillThroughput", 0.0, f64::MAX)?;
        let speed = speed.filter(|s| *s > 0.0).unwrap_or(15_928.0);
        let penalty = params.number("maxTTFTPenaltyMs", 0.0, f64::MAX)?;
        // The same bound in tokens, as earlier versions have it.
        let tokens = params.number("maxTokensInFlightPenalty", 0.0, f64::MAX)?;
        let by_tokens = tokens.filter(|t| *t > 0.0).map(|t| t / speed * 1000.0);
        let penalty = match (penalty, by_tokens) {
            (Some(ms), Some(by_tokens)) if ms > 0.0 => ms.min(by_tokens),
            (_, Some(by_tokens)) => by_tokens,
            (ms, None) => ms.unwrap_or(18_000.0),
        };
        let calibrated = params.get("prefillCalibrationFile").is_some();
        let given = params.get("peakPrefillThroughput").is_some();
        for (param, value) in [
            ("affinity_threshold", threshold),
            ("exploration", exploration.unwrap_or(0.0)),
            ("max_ttft_penalty_ms", penalty),
            ("peak_prefill_tokens_per_s", speed),
        ] {
            self.values.insert(param.into(), value);
        }
        if calibrated && !given {
            self.note(
                plugin,
                "the calibration file is not read: give peakPrefillThroughput",
            );
        } else if !given && penalty > 0.0 {
            self.note(
                plugin,
                "peakPrefillThroughput is llm-d's 15928 tokens/s, measured for Qwen3-32B on 2 H100; give that of your model",
            );
        }
        self.in_flight(k)?;
        self.choose_signal(k, None)
    }

    /// Settles the source of the prefix hits that filter, `no-hit-lru` and `token-load` count.
    fn signal(&mut self) -> Result<(), InputError> {
        for k in 0..self.plugins.len() {
            if self.plugins[k].meaning == Meaning::PrefixProducer(false) {
                self.prefix_index(k)?;
            }
        }
        let first = self.signals.first().copied();
        let other = self
            .signals
            .iter()
            .find(|(precise, _)| Some(*precise) != first.map(|f| f.0));
        if let Some((_, place)) = other {
            let message = "another source of prefix hits than the plugins before it has no counterpart: filter, no-hit-lru-scorer and \
                           token-load-scorer count the same";
            return Err(at(self.name, *place, message.to_owned()));
        }
        let scores = |name: &str| self.scorers.iter().any(|(known, _)| known == name);
        // Before there were producers, the one prefix scorer was the source of all.
        let precise_alone = scores("precise-prefix-cache") && !scores("prefix-affinity");
        let precise = first.map_or(precise_alone, |(precise, _)| precise);
        let signal = if precise { 2.0 } else { 1.0 };
        self.values.insert("prefix_signal".into(), signal);
        Ok(())
    }

    /// Notes on what the file has and nothing uses.
    fn left_out(&mut self, used: &[(usize, Option<f64>, Place)]) {
        for k in 0..self.plugins.len() {
            let Known {
                plugin, meaning, ..
            } = self.plugins[k];
            let decides = matches!(
                meaning,
                Meaning::Scorer(_)
                    | Meaning::PrefixScorer
                    | Meaning::Picker(_)
                    | Meaning::AffinityFilter
                    | Meaning::SessionFilter
                    | Meaning::KeepsAll
                    | Meaning::Missing(_)
            );
            if decides && !used.iter().any(|(u, ..)| *u == k) {
                self.note(plugin, "has no effect: the profile does not name it");
            }
        }
        let file = self.file;
        for gate in &file.feature_gates {
            if gate.value.starts_with("flowControl") && !gate.value.ends_with("=false") {
                let (line, _) = place(gate);
                self.notes.push(format!(
                    "{}:{line}: flow control is left out: requests are not queued before the instances, and none is refused when they are saturated",
                    self.name
                ));
            }
        }
        if file.flow_control.is_some() && !self.flow_control() {
            self.notes.push(format!(
                "{}: flowControl has no effect: featureGates do not name it",
                self.name
            ));
        }
    }
}

#[cfg(test)]
mod tests;
