//! The GPUs known by name, and the hardware file.

use super::entries::Hardware;
use super::json::parse_json;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::{InputError, read_text, unknown};

/// The GPUs known by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HardwareTable {
    entries: BTreeMap<String, Hardware>,
    /// Other name -> name it stands for.
    aliases: BTreeMap<String, String>,
}

/// One entry of BLIS's hardware file, both ages: the older one has overhead constants (which its
/// successor's roofline no longer reads) and no memory size.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlisEntry {
    #[serde(rename = "TFlopsPeak")]
    tflops_peak: f64,
    #[serde(rename = "TFlopsFP8", default)]
    tflops_fp8: f64,
    #[serde(rename = "BwPeakTBs")]
    bandwidth: f64,
    #[serde(rename = "mfuPrefill")]
    mfu_prefill: f64,
    #[serde(rename = "mfuDecode")]
    mfu_decode: f64,
    #[serde(rename = "MemoryGiB", default)]
    memory_gib: f64,
    #[serde(rename = "BwEffConstant")]
    _bw_eff: Option<f64>,
    #[serde(rename = "TOverheadMicros")]
    _overhead: Option<f64>,
    #[serde(rename = "perLayerOverhead")]
    _per_layer: Option<f64>,
    #[serde(rename = "allReduceLatency")]
    _all_reduce: Option<f64>,
    #[serde(rename = "_comment")]
    _comment: Option<IgnoredAny>,
}

impl HardwareTable {
    /// Parses a hardware file in BLIS's layout (`{"H100": {"TFlopsPeak": ...}, ...}`). `name` is
    /// what messages call it.
    ///
    /// # Errors
    /// When the text is not such a file or a figure makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let raw: BTreeMap<String, BlisEntry> = parse_json(name, text)?;
        let mut table = Self::default();
        for (gpu, e) in raw {
            let hardware = Hardware {
                tflops_peak: e.tflops_peak,
                tflops_fp8: e.tflops_fp8,
                bandwidth_tb_s: e.bandwidth,
                mfu_prefill: e.mfu_prefill,
                mfu_decode: e.mfu_decode,
                memory_gib: e.memory_gib,
            };
            hardware
                .check(&gpu)
                .map_err(|message| InputError::in_file(name, message))?;
            table.entries.insert(gpu, hardware);
        }
        if table.entries.is_empty() {
            return Err(InputError::in_file(name, "no GPU in it"));
        }
        Ok(table)
    }

    /// Reads a hardware file, see [`parse`](Self::parse).
    ///
    /// # Errors
    /// When it cannot be read or is not a hardware file.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    pub(crate) fn insert(&mut self, name: String, hardware: Hardware) {
        self.entries.insert(name, hardware);
    }

    /// Makes `name` another name of `target`.
    pub(crate) fn insert_alias(
        &mut self,
        file: &str,
        name: String,
        target: &str,
    ) -> Result<(), InputError> {
        let Some(&hardware) = self.entries.get(target) else {
            let valid = self.names().collect::<Vec<_>>();
            return Err(InputError::in_file(file, unknown("GPU", target, &valid)));
        };
        self.entries.insert(name.clone(), hardware);
        self.note_alias(name, target.to_owned());
        Ok(())
    }

    /// Says that `name`, which has figures, is another name of `target`.
    pub(crate) fn note_alias(&mut self, name: String, target: String) {
        self.aliases.insert(name, target);
    }

    /// All names, aliases too, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The figures of `gpu`, in any case, and the name as the table spells it.
    #[must_use]
    pub fn find(&self, gpu: &str) -> Option<(&str, &Hardware)> {
        self.entries
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(gpu))
            .map(|(name, hardware)| (name.as_str(), hardware))
    }

    /// Are both names of one GPU? Case does not count.
    #[must_use]
    pub fn same_gpu(&self, a: &str, b: &str) -> bool {
        let target = |name: &str| {
            self.aliases
                .iter()
                .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
                .map_or_else(|| name.to_lowercase(), |(_, t)| t.to_lowercase())
        };
        target(a) == target(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = include_str!("../../../hardware_config.json");
    const OLD: &str = r#"{"H100": {"TFlopsPeak": 989.5, "BwPeakTBs": 3.35, "BwEffConstant": 0.72,
        "TOverheadMicros": 500.0, "perLayerOverhead": 20.0, "mfuPrefill": 0.65, "mfuDecode": 0.12, "allReduceLatency": 20.0}}"#;

    #[test]
    fn both_ages_of_the_hardware_file_are_understood() {
        let table = HardwareTable::parse("new.json", NEW).unwrap();
        let names: Vec<&str> = table.names().collect();
        assert_eq!(names, ["A100-80", "A100-SXM", "H100", "L40S"]);
        let (name, l40s) = table.find("l40s").unwrap();
        assert_eq!(name, "L40S");
        let expected = Hardware {
            tflops_peak: 362.05,
            tflops_fp8: 1466.0,
            bandwidth_tb_s: 0.864,
            mfu_prefill: 0.32,
            mfu_decode: 0.08,
            memory_gib: 48.0,
        };
        assert_eq!(*l40s, expected);
        let table = HardwareTable::parse("old.json", OLD).unwrap();
        let (_, h100) = table.find("H100").unwrap();
        assert_eq!((h100.mfu_prefill, h100.memory_gib), (0.65, 0.0));
    }

    #[test]
    fn the_shipped_file_and_the_built_in_table_agree() {
        let file = HardwareTable::parse("hardware_config.json", NEW).unwrap();
        let builtin = crate::Defaults::builtin();
        for name in file.names() {
            assert_eq!(
                file.find(name),
                builtin.hardware.find(name).map(|(_, h)| (name, h)),
                "{name}"
            );
        }
        assert!(builtin.hardware.same_gpu("a100-80", "A100-SXM"));
        assert!(!builtin.hardware.same_gpu("H100", "A100-SXM"));
    }

    #[test]
    fn a_misspelt_key_and_a_senseless_figure_are_refused_with_their_place() {
        let text = "{\"H100\": {\n  \"TFlopsPeek\": 1}}";
        let error = HardwareTable::parse("hw.json", text)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("hw.json:2:"), "{error}");
        assert!(error.contains("did you mean \"TFlopsPeak\"?"), "{error}");
        assert!(!error.contains("_comment"), "{error}");
        let error = HardwareTable::parse("hw.json", &OLD.replace("3.35", "-1"))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "hw.json: GPU H100: memory bandwidth is -1; expected a finite number above 0"
        );
        assert!(HardwareTable::parse("hw.json", "{}").is_err());
    }
}
