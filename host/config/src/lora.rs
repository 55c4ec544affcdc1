//! BLIS's file of LoRA adapters.

use super::blis_entries::{LoraFigures, LoraOverhead};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use windtunnel_base::input::{InputError, parse_yaml, read_text};

/// What such a file says. Figures that it leaves out are those of the defaults file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraFile {
    /// Adapters that an instance has room for.
    pub adapter_capacity: Option<u32>,
    /// Time to load one besides that of its bytes, microseconds.
    pub load_base_latency_us: Option<f64>,
    /// Bandwidth at which one is loaded, bytes per microsecond.
    pub load_bandwidth_bytes_us: Option<f64>,
    /// Bytes per rank.
    pub footprint_bytes_per_rank: Option<f64>,
    /// By rank: what adapters of a step add to its time.
    pub step_overhead_tiers: Option<BTreeMap<u32, LoraOverhead>>,
    /// The adapters.
    pub adapters: Vec<LoraAdapter>,
}

/// An adapter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraAdapter {
    /// Its name.
    pub id: String,
    /// Its rank.
    pub rank: u32,
    /// The model that it belongs to; the run's if not given.
    pub base_model: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    lora: LoraFile,
}

impl LoraFile {
    /// Reads such a file.
    ///
    /// # Errors
    /// When it cannot be read, has an unknown key, or an adapter has no name, no rank, or the name
    /// of another.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// The same of a text; `name` is what messages call it.
    ///
    /// # Errors
    /// See [`load`](Self::load).
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let File { lora } = parse_yaml(name, text)?;
        let refuse = |message: String| Err(InputError::in_file(name, message));
        let mut names = BTreeSet::new();
        for adapter in &lora.adapters {
            if adapter.id.is_empty() {
                return refuse("an adapter has no name; expected `id`".to_owned());
            }
            if adapter.rank == 0 {
                return refuse(format!(
                    "adapter {}: rank is 0; expected 1 or more",
                    adapter.id
                ));
            }
            if !names.insert(&adapter.id) {
                return refuse(format!("adapter {} is there twice", adapter.id));
            }
        }
        if lora.adapter_capacity == Some(0) {
            return refuse("adapter_capacity is 0; expected 1 or more".to_owned());
        }
        Ok(lora)
    }

    /// Its figures, with those of `defaults` where it has none.
    ///
    /// # Errors
    /// When one makes no sense.
    pub fn figures(&self, defaults: &LoraFigures) -> Result<LoraFigures, InputError> {
        let figures = LoraFigures {
            load_base_latency_us: self
                .load_base_latency_us
                .unwrap_or(defaults.load_base_latency_us),
            load_bandwidth_bytes_us: self
                .load_bandwidth_bytes_us
                .unwrap_or(defaults.load_bandwidth_bytes_us),
            footprint_bytes_per_rank: self
                .footprint_bytes_per_rank
                .unwrap_or(defaults.footprint_bytes_per_rank),
            step_overhead_tiers: self
                .step_overhead_tiers
                .clone()
                .unwrap_or_else(|| defaults.step_overhead_tiers.clone()),
        };
        let wrong = |message: String| InputError::new(format!("LoRA adapters: {message}"));
        figures.check().map_err(wrong)?;
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Defaults;

    #[test]
    fn what_a_file_leaves_out_is_in_the_defaults() {
        let text = "lora:\n  adapter_capacity: 2\n  load_base_latency_us: 9\n  adapters:\n    - {id: a, rank: 8}\n";
        let file = LoraFile::parse("f", text).unwrap();
        let defaults = &Defaults::builtin().lora;
        let figures = file.figures(defaults).unwrap();
        assert_eq!(figures.load_base_latency_us, 9.0);
        assert_eq!(figures.step_overhead_tiers, defaults.step_overhead_tiers);
        assert_eq!(file.adapters[0].rank, 8);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, told) in [
            ("lora:\n  adapters:\n    - {id: a, rank: 0}\n", "rank is 0"),
            ("lora:\n  adapters:\n    - {id: '', rank: 1}\n", "no name"),
            (
                "lora:\n  adapters:\n    - {id: a, rank: 1}\n    - {id: a, rank: 2}\n",
                "twice",
            ),
            ("lora:\n  adapter_capacity: 0\n", "adapter_capacity is 0"),
            ("lora:\n  adapter_capacitty: 1\n", "adapter_capacitty"),
        ] {
            let error = LoraFile::parse("f", text).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let file = LoraFile::parse("f", "lora:\n  load_bandwidth_bytes_us: 0\n").unwrap();
        assert!(file.figures(&Defaults::builtin().lora).is_err());
    }
}
