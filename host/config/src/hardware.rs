//! The GPUs known by name, and the hardware file.

use super::entries::Hardware;
use super::json::parse_json;
use super::upkeep::Upkeep;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use windtunnel_base::input::{InputError, InputErrorKind, nearest, read_text, unknown};

/// The GPUs known by name.
///
/// Names match in any case and whatever stands between their parts, with or without the vendor:
/// `NVIDIA H100-80GB-HBM3` is a spelling of `H100`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HardwareTable {
    rows: BTreeMap<String, KnownGpu>,
    /// Bare spelling -> name of a row.
    spellings: BTreeMap<String, String>,
    /// Name of a row -> the name of the row that is the same GPU.
    aliases: BTreeMap<String, String>,
}

/// What is known of a GPU.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KnownGpu {
    pub(crate) figures: Hardware,
    /// The GPU whose utilisations count, as nobody has calibrated this one.
    pub(crate) mfu_from: Option<String>,
    /// FP8 peak in the reference simulator's table, where that is not the dense one.
    pub(crate) reference_fp8: Option<f64>,
    /// Its power and price.
    pub(crate) upkeep: Upkeep,
    /// What its link to another GPU of the node carries one way, 10^9 bytes per second.
    pub(crate) link_gb_s: Option<f64>,
    /// What a person should know about the figures.
    pub(crate) notes: Vec<String>,
}

impl Upkeep {
    /// What an hour costs, US dollars: the middle of the prices.
    #[must_use]
    pub fn price(&self) -> Option<f64> {
        self.usd_per_hour.map(|[low, high]| (low + high) / 2.0)
    }

    /// These figures, and where they are absent those of `other`. Power is taken from one of both:
    /// one's limit beside the other's idle power would be nobody's.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let power = match self.tdp_w {
            Some(_) => self,
            None => other,
        };
        Self {
            tdp_w: power.tdp_w,
            idle_w: power.idle_w,
            usd_per_hour: self.usd_per_hour.or(other.usd_per_hour),
        }
    }
}

/// Vendors and families that people write in front of a name, longest first.
const PREFIXES: [&str; 8] = [
    "googlecloud",
    "nvidiatesla",
    "amdinstinct",
    "instinct",
    "nvidia",
    "google",
    "tesla",
    "amd",
];

/// A name without case, vendor, and what stands between its parts.
fn bare(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    let bare: String = letters.map(|c| c.to_ascii_lowercase()).collect();
    let shorter = PREFIXES.iter().find_map(|p| bare.strip_prefix(p));
    match shorter {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => bare,
    }
}

/// No other spellings.
const NONE: &[&str] = &[];

/// No GPU's dense FP8 peak is more than twice its 16-bit peak, and sparsity doubles it: above this
/// ratio a file has the sparse figure.
const SPARSE_FP8: f64 = 3.5;

/// One entry of BLIS's hardware file, both ages: the older one has overhead constants (which its
/// successor's roofline no longer reads) and no memory size.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlisEntry {
    #[serde(rename = "TFlopsPeak")]
    tflops_peak: f64,
    #[serde(rename = "TFlopsFP8", default)]
    tflops_fp8: f64,
    #[serde(rename = "TFlopsFP4", default)]
    tflops_fp4: f64,
    #[serde(rename = "BwPeakTBs")]
    bandwidth: f64,
    #[serde(rename = "mfuPrefill")]
    mfu_prefill: f64,
    #[serde(rename = "mfuDecode")]
    mfu_decode: f64,
    #[serde(rename = "MemoryGiB", default)]
    memory_gib: f64,
    #[serde(rename = "TDPWatts")]
    tdp_w: Option<f64>,
    #[serde(rename = "IdleWatts")]
    idle_w: Option<f64>,
    #[serde(rename = "USDPerHour")]
    usd_per_hour: Option<f64>,
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

impl BlisEntry {
    fn row(self, gpu: &str) -> Result<KnownGpu, String> {
        let mut figures = Hardware {
            tflops_peak: self.tflops_peak,
            tflops_fp8: self.tflops_fp8,
            tflops_fp4: self.tflops_fp4,
            bandwidth_tb_s: self.bandwidth,
            mfu_prefill: self.mfu_prefill,
            mfu_decode: self.mfu_decode,
            memory_gib: self.memory_gib,
        };
        figures.check(gpu)?;
        let upkeep = Upkeep {
            tdp_w: self.tdp_w,
            idle_w: self.idle_w,
            usd_per_hour: self.usd_per_hour.map(|price| [price; 2]),
        };
        let wrong = |wrong| format!("GPU {gpu}: {wrong}");
        upkeep.check().map_err(wrong)?;
        let mut row = KnownGpu {
            figures,
            mfu_from: None,
            reference_fp8: None,
            upkeep,
            link_gb_s: None,
            notes: Vec::new(),
        };
        let times = figures.tflops_fp8 / figures.tflops_peak;
        if times > SPARSE_FP8 {
            figures.tflops_fp8 /= 2.0;
            row.figures = figures;
            row.reference_fp8 = Some(self.tflops_fp8);
            row.notes.push(format!(
                "the file's FP8 peak of {gpu}, {} TFLOP/s, is {times:.1} times its 16-bit peak: that is the figure with \
                 sparsity; half of it, {}, counts",
                self.tflops_fp8, figures.tflops_fp8
            ));
        }
        Ok(row)
    }
}

impl HardwareTable {
    /// Parses a hardware file in BLIS's layout (`{"H100": {"TFlopsPeak": ...}, ...}`). `name` is
    /// what messages call it. An FP8 peak that can only be the one with sparsity counts half, see
    /// [`notes`](Self::notes).
    ///
    /// # Errors
    /// When the text is not such a file, a figure makes no sense, or two rows are one GPU's.
    pub fn parse(name: &str, text: &str) -> Result<Self, InputError> {
        let raw: BTreeMap<String, BlisEntry> = parse_json(name, text)?;
        let mut table = Self::default();
        let refuse = |message: String| InputError::in_file(name, message);
        for (gpu, entry) in raw {
            if let Some(other) = table.name_of(&gpu) {
                return Err(refuse(format!(
                    "{gpu} and {other} are one GPU; keep one row"
                )));
            }
            let row = entry.row(&gpu).map_err(refuse)?;
            table.insert(gpu, row, NONE);
        }
        if table.rows.is_empty() {
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

    /// The GPUs of a run: these, and those of a hardware file, whose rows win. `as_blis`
    /// gives them the figures of the reference simulator where those are not the true ones.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn of_run(&self, file: Option<&Path>, as_blis: bool) -> Result<Self, InputError> {
        let mut table = self.clone();
        if let Some(path) = file {
            table.add(Self::load(path)?);
        }
        if as_blis {
            for row in table.rows.values_mut() {
                if let Some(fp8) = row.reference_fp8 {
                    row.figures.tflops_fp8 = fp8;
                }
                row.notes.clear();
            }
        }
        Ok(table)
    }

    /// Adds the rows of another table, which win. A GPU keeps its names: a row for one of them
    /// counts for all that have no row of their own there.
    fn add(&mut self, other: Self) {
        let mut given: BTreeSet<String> = BTreeSet::new();
        let mut later = Vec::new();
        for (gpu, row) in other.rows {
            match self.name_of(&gpu).map(str::to_owned) {
                Some(name) => {
                    given.insert(name.clone());
                    later.push((gpu, name, row));
                }
                None => self.insert(gpu, row, NONE),
            }
        }
        // Of two rows for one GPU the one that has its name counts.
        later.sort_by_key(|(gpu, name, _)| bare(gpu) == bare(name));
        for (_, name, mut row) in later {
            row.notes.extend(self.suspicion(&name, &row.figures));
            // The file's layout comes from a simulator that knows neither power nor price.
            row.upkeep = row.upkeep.or(self.upkeep(&name));
            row.link_gb_s = self.link_gb_s(&name);
            let same = |n: &&String| !given.contains(*n) && self.same_gpu(n, &name);
            let others: Vec<String> = self.rows.keys().filter(same).cloned().collect();
            for other in others {
                self.rows.insert(other, row.clone());
            }
            self.rows.insert(name, row);
        }
    }

    /// A peak that is twice the known one is the peak with sparsity.
    fn suspicion(&self, name: &str, given: &Hardware) -> Option<String> {
        let known = self.rows.get(name)?.figures.tflops_peak;
        let twice = (given.tflops_peak / known - 2.0).abs() < 0.05;
        twice.then(|| {
            format!(
                "the file's 16-bit peak of {name}, {} TFLOP/s, is twice the built-in one, {known}: it looks like the \
                 figure with sparsity, which dense models do not reach",
                given.tflops_peak
            )
        })
    }

    /// Adds a GPU, with other spellings of its name.
    pub(crate) fn insert(&mut self, name: String, row: KnownGpu, spellings: &[impl AsRef<str>]) {
        for spelling in spellings {
            self.spellings.insert(bare(spelling.as_ref()), name.clone());
        }
        self.spellings.insert(bare(&name), name.clone());
        self.rows.insert(name, row);
    }

    /// Makes `name` another name of `target`.
    pub(crate) fn insert_alias(
        &mut self,
        file: &str,
        name: String,
        target: &str,
    ) -> Result<(), InputError> {
        let Some(row) = self.rows.get(target).cloned() else {
            let valid = self.names().collect::<Vec<_>>();
            return Err(InputError::in_file(file, unknown("GPU", target, &valid)));
        };
        self.insert(name.clone(), row, NONE);
        self.note_alias(name, target.to_owned());
        Ok(())
    }

    /// Says that `name`, which has figures, is another name of `target`.
    pub(crate) fn note_alias(&mut self, name: String, target: String) {
        self.aliases.insert(name, target);
    }

    /// All names, aliases too, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rows.keys().map(String::as_str)
    }

    /// GPUs whose price is known, each under one name.
    #[must_use]
    pub fn priced(&self) -> Vec<&str> {
        let known = self.rows.iter().filter(|(name, row)| {
            row.upkeep.usd_per_hour.is_some() && !self.aliases.contains_key(*name)
        });
        known.map(|(name, _)| name.as_str()).collect()
    }

    /// The name of a GPU as the table spells it.
    fn name_of(&self, gpu: &str) -> Option<&str> {
        self.spellings.get(&bare(gpu)).map(String::as_str)
    }

    fn row(&self, gpu: &str) -> Option<&KnownGpu> {
        self.rows.get(self.name_of(gpu)?)
    }

    /// The figures of `gpu`, in any spelling, and the name as the table spells it.
    #[must_use]
    pub fn find(&self, gpu: &str) -> Option<(&str, &Hardware)> {
        let (name, row) = self.rows.get_key_value(self.name_of(gpu)?)?;
        Some((name, &row.figures))
    }

    /// The GPU as the table spells it, or as one of `others` does, which have no figures.
    ///
    /// # Errors
    /// When nobody knows it: names all, the nearest first.
    pub fn known<'a>(
        &'a self,
        gpu: &str,
        others: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<String, InputError> {
        let wanted = bare(gpu);
        let other = || others.clone().find(|other| bare(other) == wanted);
        let found = self.name_of(gpu).or_else(other);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.unknown(gpu, others))
    }

    /// What to say of a GPU that nobody knows. `others` are known without figures.
    #[must_use]
    pub fn unknown<'a>(&'a self, gpu: &str, others: impl Iterator<Item = &'a str>) -> InputError {
        let valid: BTreeSet<&str> = self.names().chain(others).collect();
        let valid: Vec<&str> = valid.into_iter().collect();
        let wanted = bare(gpu);
        let family = |name: &&str| name.split_once('-').is_some_and(|(f, _)| bare(f) == wanted);
        let family: Vec<String> = valid
            .iter()
            .copied()
            .filter(family)
            .map(|name| format!("\"{name}\""))
            .collect();
        // A spelling may be nearer than the name that it stands for.
        let near = nearest(&wanted, self.spellings.keys().map(String::as_str))
            .and_then(|spelling| self.spellings.get(spelling))
            .map(|name| format!("\"{name}\""));
        let near = match &family[..] {
            [_, .., last] => Some(format!(
                "{} or {last}",
                family[..family.len() - 1].join(", ")
            )),
            _ => near,
        };
        let near = near.map_or(String::new(), |near| format!(" did you mean {near}?"));
        InputError::new(format!(
            "unknown GPU \"{gpu}\";{near} valid: {}. For any other give `hardware_config`, a JSON file with its figures",
            valid.join(", ")
        ))
        .of_kind(InputErrorKind::UnknownName)
    }

    /// The calibrated GPU whose utilisations are used for `gpu`, which has none of its own.
    #[must_use]
    pub fn mfu_from(&self, gpu: &str) -> Option<&str> {
        self.row(gpu)?.mfu_from.as_deref()
    }

    /// Power and price of `gpu`, as far as they are known.
    #[must_use]
    pub fn upkeep(&self, gpu: &str) -> Upkeep {
        self.row(gpu).map_or(Upkeep::default(), |row| row.upkeep)
    }

    /// What the link between `gpu` and another one of its node carries one way, 10^9 bytes per
    /// second, where that is known.
    #[must_use]
    pub fn link_gb_s(&self, gpu: &str) -> Option<f64> {
        self.row(gpu)?.link_gb_s
    }

    /// What a person should know about the figures of `gpu`.
    #[must_use]
    pub fn notes(&self, gpu: &str) -> &[String] {
        self.row(gpu).map_or(&[], |row| &row.notes)
    }

    /// Are both names of one GPU? Spelling does not count.
    #[must_use]
    pub fn same_gpu(&self, a: &str, b: &str) -> bool {
        let target = |name: &str| {
            let name = self.name_of(name).unwrap_or(name);
            bare(self.aliases.get(name).map_or(name, String::as_str))
        };
        target(a) == target(b)
    }
}

#[cfg(test)]
#[path = "hardware_tests.rs"]
mod tests;
