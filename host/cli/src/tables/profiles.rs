//! Profiles of other simulators: what they measured of kernels, and what is taken from elsewhere.

use super::kernels::{Cells, grid};
use super::llmservingsim;
use super::measured::{Measured, OPS, TableKey, folders};
use super::packages::in_file;
use super::vidur;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, unknown};
use windtunnel_config::{Defaults, KernelOp, KernelSource, KernelTables, KernelTablesWriter};

/// A folder of profiles.
pub struct Profiles {
    /// The simulator.
    pub simulator: &'static str,
    /// Where its folders of GPUs are.
    root: PathBuf,
    read: fn(&Path, &str) -> Result<Measured, InputError>,
}

impl Profiles {
    /// The profiles in a folder, if it has some that are known.
    pub fn find(folder: &Path) -> Option<Self> {
        if let Some(root) = vidur::root(folder) {
            return Some(Self {
                simulator: "Vidur",
                root,
                read: vidur::read,
            });
        }
        let root = llmservingsim::root(folder)?;
        Some(Self {
            simulator: "LLMServingSim",
            root,
            read: llmservingsim::read,
        })
    }

    /// What was measured of a system.
    pub fn measured(&self, system: &str) -> Result<Measured, InputError> {
        let systems = match self.simulator {
            "Vidur" => folders(&self.root.join("compute"))?,
            _ => folders(&self.root)?,
        };
        if !systems.iter().any(|there| there == system) {
            let systems: Vec<&str> = systems.iter().map(String::as_str).collect();
            let message = format!("--system: {}", unknown("system", system, &systems));
            return Err(InputError::new(message));
        }
        let measured = (self.read)(&self.root, system)?;
        if measured.tables.is_empty() {
            let message = format!("no kernel of {system} in it that can be taken over");
            return Err(in_file(&self.root, &message));
        }
        Ok(measured)
    }

    /// Writes what was measured, and takes the tables that are missing from those that are built
    /// in. Returns what came from where, in sentences.
    pub fn write(
        &self,
        measured: Measured,
        gpu: &str,
        writer: &mut KernelTablesWriter,
    ) -> Result<Vec<String>, InputError> {
        let mut told = measured.notes;
        let (package, licence) = (self.simulator.to_owned(), licence(&self.root));
        let mut own: BTreeSet<TableKey> = BTreeSet::new();
        for (key, mut table) in measured.tables {
            let (op, what) = OPS[key.0];
            if op == KernelOp::Gemm {
                told.extend(at_least_read(&mut table.cells, gpu));
            }
            let source = writer.add_source(KernelSource {
                package: package.clone(),
                licence: licence.to_owned(),
                file: listed(table.files.keys().map(|path| within(&self.root, path))),
                hash: hash(&table.files),
                engine: listed(table.files.values().map(|(_, engine)| engine.clone())),
                device: String::new(),
            });
            let (times, kernels) = (table.cells.len(), listed(table.kernels.into_iter()));
            told.push(format!(
                "{what} {}{}: {times} times of {kernels}",
                key.1,
                in_brackets(&key.2)
            ));
            let table = grid(op, table.cells);
            writer.add(&table, (key.1, &key.2, &kernels), source);
            own.insert(key);
        }
        let shipped = KernelTables::builtin(gpu);
        for (k, (op, what)) in OPS.into_iter().enumerate() {
            let mut taken = BTreeSet::new();
            let mut variants = Vec::new();
            for info in shipped.iter().flat_map(|tables| tables.tables()) {
                let is_there = own.iter().any(|(at, dtype, variant)| {
                    (*at, *dtype, variant) == (k, &*info.dtype, &info.variant)
                });
                if info.op != op || is_there {
                    continue;
                }
                let Some(tables) = shipped else { continue };
                if let Some((info, table)) = tables.read(op, &info.dtype, &info.variant)? {
                    let source = tables.source(info).clone();
                    taken.insert(format!("{}, {}", source.package, source.engine));
                    let source = writer.add_source(source);
                    variants.push(format!("{}{}", info.dtype, in_brackets(&info.variant)));
                    writer.add(&table, (&info.dtype, &info.variant, &info.kernels), source);
                }
            }
            let has_own = own.iter().any(|(at, ..)| *at == k);
            if !variants.is_empty() {
                told.push(format!(
                    "{what} {}: not in it; taken over from the built-in tables of {gpu} ({})",
                    listed(variants.into_iter()),
                    listed(taken.into_iter())
                ));
            } else if !has_own {
                told.push(format!(
                    "{what}: not in it, and no tables of {gpu} are built in: runs that need them are refused"
                ));
            }
        }
        Ok(told)
    }
}

/// Lengthens the times of products in which the weights cannot have come from the GPU's memory:
/// whoever runs one layer over and over finds them in the cache, where a whole model's are not.
/// Says how many those were.
fn at_least_read(cells: &mut Cells, gpu: &str) -> Option<String> {
    let Some((_, hardware)) = Defaults::builtin().hardware.find(gpu) else {
        return Some(format!(
            "matrix products: the memory bandwidth of {gpu} is not known here, so that times with weights in the cache \
             of the GPU are not told from others"
        ));
    };
    // Of 16 bits; TB/s are as many million bytes per microsecond.
    let read_us =
        |row: &[u32]| 2.0 * f64::from(row[0]) * f64::from(row[1]) / (1e6 * hardware.bandwidth_tb_s);
    let (mut short, mut all) = (0, 0);
    for ((row, _), times) in cells {
        for us in times {
            all += 1;
            let least = read_us(row);
            short += usize::from(*us < least);
            *us = us.max(least);
        }
    }
    (short > 0).then(|| {
        format!(
            "matrix products: {short} of {all} times are shorter than reading the weights from the memory of {gpu} takes \
             (they were in its cache, where those of a whole model are not); they count as that long"
        )
    })
}

fn in_brackets(variant: &str) -> String {
    match variant {
        "" => String::new(),
        variant => format!(" ({variant})"),
    }
}

/// Each once, joined by commas; of many the first ones.
fn listed(all: impl Iterator<Item = String>) -> String {
    const MOST: usize = 6;
    let all: BTreeSet<String> = all.collect();
    let shown: Vec<&str> = all.iter().map(String::as_str).take(MOST).collect();
    match all.len() {
        n if n > MOST => format!("{} and {} more", shown.join(", "), n - MOST),
        _ => shown.join(", "),
    }
}

fn within(root: &Path, path: &Path) -> String {
    let within = path.strip_prefix(root).unwrap_or(path);
    within.display().to_string()
}

/// Of several files the hash of their hashes, in the order of their paths.
fn hash(files: &BTreeMap<PathBuf, (String, String)>) -> String {
    let mut hashes = files.values().map(|(hash, _)| hash);
    let all = match (hashes.next(), files.len()) {
        (Some(hash), 1) => hash.clone(),
        _ => {
            let all: String = files.values().map(|(hash, _)| hash.as_str()).collect();
            blake3::hash(all.as_bytes()).to_hex().to_string()
        }
    };
    all[..16].to_owned()
}

/// The licence that stands above a folder: whoever has the data knows where it is from.
fn licence(root: &Path) -> &'static str {
    const ABOVE: usize = 4;
    let texts = root.ancestors().take(ABOVE);
    let mut texts = texts.filter_map(|folder| fs::read_to_string(folder.join("LICENSE")).ok());
    let text = texts.next().unwrap_or_default();
    match text.trim_start() {
        text if text.starts_with("MIT License") => "MIT",
        text if text.starts_with("Apache License") => "Apache-2.0",
        _ => "licence unknown",
    }
}
