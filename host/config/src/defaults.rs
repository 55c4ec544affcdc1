//! The defaults file: models with their fitted step-time coefficients, hardware, workload presets.

use super::blis_entries::{KvDevice, LoraFigures};
use super::entries::{
    Coefficients, DefaultsFile, KernelFit, ModelEntry, Preset, check, check_hardware,
};
use super::hardware::{HardwareTable, KnownGpu};
use super::model::short_name;
use super::xpu_entries::{XpuCatalog, check_xpus};
use super::{blis, builtin};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use windtunnel_base::input::{InputError, InputErrorKind, parse_yaml, ranked, read_text};

/// What a defaults file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    /// Where it comes from, for messages.
    pub name: String,
    /// Models by full name, lower case.
    pub models: BTreeMap<String, ModelEntry>,
    /// GPUs.
    pub hardware: HardwareTable,
    /// Coefficients of the trained-physics step-time model; one set for all models and GPUs.
    pub trained_physics: Coefficients,
    /// Figures of the step-time model `kernel-tables`.
    pub kernel_fit: KernelFit,
    /// Workload presets by name.
    pub workloads: BTreeMap<String, Preset>,
    /// What LoRA adapters cost in the reference simulator.
    pub lora: LoraFigures,
    /// Kinds of devices that keep KV blocks in the reference simulator.
    pub kv_devices: BTreeMap<String, KvDevice>,
    /// Models and accelerators of the step-time model `xpu-roofline`.
    pub xpu: XpuCatalog,
}

/// One line of a listing of models, see [`Defaults::models`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModelFacts<'a> {
    /// Full name where one is known.
    pub name: &'a str,
    /// Defaults and fitted rows, if the defaults file knows the model.
    pub entry: Option<&'a ModelEntry>,
    /// Deployments with fitted coefficients: GPU, tensor parallelism, vLLM image; each once, in
    /// file order.
    pub fitted: Vec<(&'a str, u32, &'a str)>,
    /// Is its architecture built in (so that every GPU and tensor parallelism can be computed)?
    pub has_config: bool,
}

impl Defaults {
    /// The defaults that are built in: those of `defaults.yaml`.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILTIN: OnceLock<Defaults> = OnceLock::new();
        BUILTIN.get_or_init(|| Self {
            name: "defaults.yaml".to_owned(),
            models: builtin::models(),
            hardware: builtin::hardware(),
            trained_physics: builtin::trained_physics(),
            kernel_fit: builtin::kernel_fit(),
            workloads: builtin::workloads(),
            lora: builtin::lora(),
            kv_devices: builtin::kv_devices(),
            xpu: builtin::xpu(),
        })
    }

    /// Reads a defaults file, see [`parse`](Self::parse).
    ///
    /// # Errors
    /// When it cannot be read or is no defaults file.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        Self::parse(&path.display().to_string(), &read_text(path)?)
    }

    /// Parses a defaults file of our layout or of BLIS's (recognised by its keys). `name` is what
    /// messages call it.
    ///
    /// # Errors
    /// When the text is no such file or a figure makes no sense.
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let defaults = if blis::is_blis_layout(text) {
            Self::parse_blis(name, text)?
        } else {
            Self::parse_ours(name, text)?
        };
        check(
            &defaults.models,
            &defaults.trained_physics,
            &defaults.workloads,
        )
        .and_then(|()| defaults.kernel_fit.check())
        .and_then(|()| defaults.lora.check())
        .and_then(|()| defaults.kv_devices.values().try_for_each(KvDevice::check))
        .map_err(|message| InputError::in_file(name, message))?;
        Ok(defaults)
    }

    fn parse_ours(name: &str, text: &str) -> Result<Self, InputError> {
        let file: DefaultsFile = parse_yaml(name, text)?;
        check_hardware(&file.hardware, &file.sources)
            .map_err(|message| InputError::in_file(name, message))?;
        let xpu = file
            .xpu_roofline
            .unwrap_or_else(|| Self::builtin().xpu.clone());
        check_xpus(&xpu).map_err(|message| InputError::in_file(name, message))?;
        let mut hardware = HardwareTable::default();
        for (gpu, entry) in &file.hardware {
            if entry.alias_of.is_none() {
                let figures = entry.figures(gpu, &file.hardware);
                let upkeep = entry.upkeep(gpu);
                let link = entry.link(gpu);
                let row = KnownGpu {
                    figures: figures.map_err(|message| InputError::in_file(name, message))?,
                    mfu_from: entry.mfu_from.clone(),
                    reference_fp8: entry.reference_tflops_fp8,
                    upkeep: upkeep.map_err(|message| InputError::in_file(name, message))?,
                    link_gb_s: link.map_err(|message| InputError::in_file(name, message))?,
                    notes: Vec::new(),
                };
                hardware.insert(gpu.clone(), row, &entry.spellings);
            }
        }
        for (gpu, entry) in file.hardware {
            if let Some(target) = entry.alias_of {
                hardware.insert_alias(name, gpu, &target)?;
            }
        }
        Ok(Self {
            name: name.to_owned(),
            models: file
                .models
                .into_iter()
                .map(|(id, entry)| (id.to_lowercase(), entry))
                .collect(),
            hardware,
            trained_physics: file.trained_physics,
            kernel_fit: file.kernel_tables.unwrap_or_else(builtin::kernel_fit),
            workloads: file.workloads,
            lora: file.blis_lora.unwrap_or_else(builtin::lora),
            kv_devices: file.blis_kv_devices.unwrap_or_else(builtin::kv_devices),
            xpu,
        })
    }

    /// BLIS's files have no GPU figures; those, and what else one lacks, are the built-in ones.
    fn parse_blis(name: &str, text: &str) -> Result<Self, InputError> {
        let file = blis::parse_defaults(name, text)?;
        let builtin = Self::builtin();
        Ok(Self {
            name: name.to_owned(),
            models: file.models,
            hardware: builtin.hardware.clone(),
            trained_physics: file
                .trained_physics
                .unwrap_or_else(|| builtin.trained_physics.clone()),
            kernel_fit: builtin.kernel_fit,
            workloads: file.workloads.unwrap_or_else(|| builtin.workloads.clone()),
            lora: file.lora.unwrap_or_else(|| builtin.lora.clone()),
            kv_devices: file
                .kv_devices
                .unwrap_or_else(|| builtin.kv_devices.clone()),
            xpu: builtin.xpu.clone(),
        })
    }

    /// The workload preset of that name.
    ///
    /// # Errors
    /// When there is none: names all, the nearest first.
    pub fn preset(&self, name: &str) -> Result<&Preset, InputError> {
        self.workloads.get(name).ok_or_else(|| {
            let valid: Vec<&str> = self.workloads.keys().map(String::as_str).collect();
            InputError::unknown("workload", name, &valid)
        })
    }

    /// All models, by name: those of the file and those whose architecture is built in.
    pub fn models(&self) -> impl Iterator<Item = ModelFacts<'_>> {
        let named: BTreeSet<&str> = self.models.keys().map(|id| short_name(id)).collect();
        let mut facts: Vec<ModelFacts<'_>> = self
            .models
            .iter()
            .map(|(name, entry)| ModelFacts {
                name,
                entry: Some(entry),
                fitted: entry.deployments(),
                has_config: builtin::model_config(short_name(name)).is_some(),
            })
            .collect();
        for (name, _) in builtin::MODEL_CONFIGS {
            if !named.contains(name) {
                facts.push(ModelFacts {
                    name,
                    entry: None,
                    fitted: Vec::new(),
                    has_config: true,
                });
            }
        }
        facts.sort_by_key(|f| f.name);
        facts.into_iter()
    }

    /// The full name of a model given by full or short name or by an alias, in any case; `None`
    /// when it is not known.
    ///
    /// # Errors
    /// When the short name fits several models: names them.
    pub fn full_name(&self, model: &str) -> Result<Option<&str>, InputError> {
        let wanted = model.to_lowercase();
        let all: Vec<&str> = self.models().map(|f| f.name).collect();
        if let Some(name) = all.iter().find(|name| **name == wanted) {
            return Ok(Some(name));
        }
        let hits: Vec<&str> = all
            .into_iter()
            .filter(|name| short_name(name) == wanted)
            .collect();
        match hits[..] {
            [] => Ok(self.of_alias(&wanted)),
            [name] => Ok(Some(name)),
            _ => Err(InputError::new(format!(
                "model \"{model}\" is ambiguous; give the full name: {}",
                hits.join(", ")
            ))),
        }
    }

    /// The model of which `wanted`, in lower case, is an alias, or the short name of one.
    fn of_alias(&self, wanted: &str) -> Option<&str> {
        let mut models = self.models.iter();
        let is_it = |alias: &String| {
            let alias = alias.to_lowercase();
            alias == wanted || short_name(&alias) == wanted
        };
        models
            .find(|(_, entry)| entry.aliases.iter().any(is_it))
            .map(|(name, _)| name.as_str())
    }

    /// What to say of a model that nobody knows: the eight nearest, and how to see all.
    #[must_use]
    pub fn unknown_model(&self, model: &str) -> InputError {
        let all: Vec<&str> = self.models().map(|f| f.name).collect();
        let wanted = short_name(model);
        let names: Vec<&str> = ranked(wanted, all.iter().map(|n| short_name(n)))
            .into_iter()
            .filter(|(likeness, _)| *likeness >= 0.6)
            .map(|(_, short)| short)
            .take(8)
            .collect();
        let nearest = if names.is_empty() {
            String::new()
        } else {
            format!(" nearest: {};", names.join(", "))
        };
        InputError::new(format!(
            "unknown model \"{model}\";{nearest} \"windtunnel models\" lists all {}. For any other model give \
             `model_config_folder` with its config.json",
            all.len()
        ))
        .of_kind(InputErrorKind::UnknownName)
    }
}

impl ModelEntry {
    /// Deployments with fitted coefficients: GPU, tensor parallelism, vLLM image; each once, in
    /// file order.
    #[must_use]
    pub fn deployments(&self) -> Vec<(&str, u32, &str)> {
        let mut seen: Vec<(&str, u32, &str)> = Vec::new();
        for row in &self.fitted {
            let key = (row.gpu.as_str(), row.tp, row.vllm.as_str());
            if !seen.contains(&key) {
                seen.push(key);
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entries::{FittedDefault, FittedRow};

    /// What the built-in tables are made of.
    const TEXT: &str = include_str!("../../../defaults.yaml");

    #[test]
    fn the_built_in_tables_say_what_the_file_says() {
        let file = Defaults::parse("defaults.yaml", TEXT).unwrap();
        let builtin = Defaults::builtin();
        let ids = |d: &Defaults| d.models.keys().cloned().collect::<Vec<_>>();
        assert_eq!(ids(builtin), ids(&file));
        for (id, entry) in &file.models {
            assert_eq!(builtin.models[id], *entry, "{id}");
        }
        assert_eq!(builtin.hardware, file.hardware);
        assert_eq!(builtin.trained_physics, file.trained_physics);
        assert_eq!(builtin.workloads, file.workloads);
        assert_eq!(builtin.xpu, file.xpu);
        assert_eq!(*builtin, file);
    }

    #[test]
    fn a_file_of_blis_takes_what_it_lacks_from_the_built_in_figures() {
        let builtin = Defaults::builtin();
        let bare = Defaults::parse("blis.yaml", "models: []\nversion: 0.0.1\n").unwrap();
        assert_eq!(bare.hardware, builtin.hardware);
        assert_eq!(bare.trained_physics, builtin.trained_physics);
        assert_eq!(bare.workloads, builtin.workloads);
        assert!(bare.models.is_empty());
        let own = "version: 0.0.1\nworkloads: {}\ntrained_physics_coefficients:\n  \
            {alpha_coeffs: [1, 2, 3], beta_coeffs: [1, 2, 3, 4, 5, 6, 7]}\n";
        let own = Defaults::parse("blis.yaml", own).unwrap();
        assert!(own.workloads.is_empty());
        assert_eq!(own.trained_physics.alpha, [1.0, 2.0, 3.0]);
        let error = Defaults::parse(
            "blis.yaml",
            "version: 1\ntrained_physics_coefficients:\n  \
            {alpha_coeffs: [1], beta_coeffs: [1]}\n",
        );
        assert!(
            error
                .unwrap_err()
                .to_string()
                .starts_with("blis.yaml: trained-physics coefficients: 1 alpha"),
        );
    }

    #[test]
    fn all_fitted_rows_are_there_to_the_last_digit() {
        let rows: Vec<&FittedRow> = Defaults::builtin()
            .models
            .values()
            .flat_map(|m| &m.fitted)
            .collect();
        assert_eq!(rows.len(), 109);
        let blis = |r: &&FittedRow| r.blis_kv_blocks.unwrap_or(r.kv_blocks);
        assert_eq!(rows.iter().map(blis).sum::<u64>(), 85_710_431);
        for row in &rows {
            assert_eq!(row.kv_blocks, blis(row) / u64::from(row.tp));
        }
        let near = |sum: f64, expected: f64| (sum - expected).abs() < 1e-5;
        let alpha: f64 = rows.iter().flat_map(|r| r.alpha).sum();
        let beta: f64 = rows.iter().flat_map(|r| r.beta).sum();
        let loss: f64 = rows.iter().map(|r| r.loss).sum();
        assert!(near(alpha, 1_792_881.340_874_383_7), "{alpha}");
        assert!(near(beta, 649_586.789_526_348_2), "{beta}");
        assert!(near(loss, 74_797.847_861_816_07), "{loss}");
        // Bits, in file order: any changed digit shows.
        let mut digest = 0u64;
        for row in &rows {
            for value in row.alpha.iter().chain(&row.beta) {
                digest = digest.rotate_left(7) ^ value.to_bits();
            }
        }
        assert_eq!(digest, DIGEST);
    }

    /// Computed from the published file by another program.
    const DIGEST: u64 = 2_339_374_775_922_092_464;

    #[test]
    fn single_rows_are_exact() {
        let model = &Defaults::builtin().models["meta-llama/llama-3.1-8b-instruct"];
        let row = model
            .fitted
            .iter()
            .find(|r| r.gpu == "H100" && r.tp == 2)
            .unwrap();
        assert_eq!(
            row.alpha,
            [1601.350510688092, 3.512476196805965, 1805.5430360826988]
        );
        assert_eq!(
            row.beta,
            [6910.420479880494, 17.67057489844186, 2.8377471109943855]
        );
        assert_eq!((row.kv_blocks, row.blis_kv_blocks), (66_069, Some(132_139)));
        let granite = &Defaults::builtin().models["ibm-granite/granite-3.1-8b-instruct"];
        assert_eq!(granite.fitted[1].loss, 477.84339070499686);
        assert_eq!(
            granite.fitted_default,
            Some(FittedDefault {
                gpu: "H100".into(),
                tp: 4,
                vllm: "vllm/vllm-openai:v0.8.4".into()
            })
        );
        assert_eq!(granite.analytic_default.as_ref().unwrap().tp, 1);
    }

    #[test]
    fn every_model_can_be_listed_and_found_by_its_short_name() {
        let defaults = Defaults::builtin();
        let facts: Vec<ModelFacts<'_>> = defaults.models().collect();
        assert_eq!(facts.len(), 50);
        assert_eq!(facts.iter().filter(|f| !f.fitted.is_empty()).count(), 29);
        assert_eq!(
            facts.iter().filter(|f| f.has_config).count(),
            builtin::MODEL_CONFIGS.len()
        );
        for f in &facts {
            let short = short_name(f.name).to_uppercase();
            assert_eq!(defaults.full_name(&short).unwrap(), Some(f.name));
        }
        assert_eq!(defaults.full_name("nothing").unwrap(), None);
        let mut aliases: Vec<String> = Vec::new();
        for (name, entry) in &defaults.models {
            for alias in &entry.aliases {
                assert_eq!(defaults.full_name(alias).unwrap(), Some(name.as_str()));
                let short = short_name(alias);
                assert_eq!(defaults.full_name(short).unwrap(), Some(name.as_str()));
                aliases.push(alias.to_lowercase());
            }
        }
        let all = aliases.len();
        aliases.sort();
        aliases.dedup();
        assert!(all > 15 && aliases.len() == all, "{aliases:?}");
        let error = defaults.unknown_model("lama-3.1-8b").to_string();
        assert!(
            error.starts_with(
                "unknown model \"lama-3.1-8b\"; nearest: llama-3.1-8b-instruct, llama-"
            ),
            "{error}"
        );
    }

    #[test]
    fn an_ambiguous_short_name_lists_its_models() {
        let mut defaults = Defaults::builtin().clone();
        defaults
            .models
            .insert("other/qwen3-14b".into(), ModelEntry::default());
        let error = defaults.full_name("Qwen3-14B").unwrap_err().to_string();
        assert_eq!(
            error,
            "model \"Qwen3-14B\" is ambiguous; give the full name: other/qwen3-14b, qwen/qwen3-14b"
        );
    }

    #[test]
    fn presets_are_found_by_name() {
        let defaults = Defaults::builtin();
        let chatbot = defaults.preset("chatbot").unwrap();
        assert_eq!(
            (
                chatbot.prefix,
                chatbot.prompt.min,
                chatbot.prompt.max,
                chatbot.output.max
            ),
            (0, 2, 800, 1024)
        );
        assert_eq!(defaults.preset("multidoc").unwrap().prompt.stdev, 1200);
        let error = defaults.preset("chatbots").unwrap_err().to_string();
        assert!(error.contains("did you mean \"chatbot\"?"), "{error}");
    }

    #[test]
    fn a_broken_file_names_the_place() {
        let error = |from: &str, to: &str| {
            let text = TEXT.replacen(from, to, 1);
            Defaults::parse("d.yaml", &text).unwrap_err().to_string()
        };
        assert!(error("hf_repo", "hf_rep").contains("did you mean \"hf_repo\"?"));
        assert!(error("hf_repo", "hf_rep").starts_with("d.yaml:"));
        assert!(error("alias_of: A100-SXM", "alias_of: A100-SMX").contains("\"A100-SXM\"?"));
        assert!(error("bandwidth_tb_s: 3.35, ", "").contains("bandwidth_tb_s is missing"));
        assert!(error("min: 2, max: 800", "min: 900, max: 800").contains("min 900 is above"));
        assert!(error("[15563.199579, ", "[").contains("2 alpha and 11 beta"));
        assert!(error("0.041813767451373045", ".nan").contains("codellama"));
    }
}
