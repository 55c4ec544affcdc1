//! What another simulator's profile has measured of kernels.

use super::kernels::Cells;
use super::packages::in_file;
use super::sheet::Sheet;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use windtunnel_base::input::InputError;
use windtunnel_config::KernelOp;

/// What was measured of one GPU.
#[derive(Default)]
pub struct Measured {
    pub tables: BTreeMap<TableKey, Table>,
    /// What a person should know about it.
    pub notes: Vec<String>,
}

/// A table: place of its kernel among all, data type, variant.
pub type TableKey = (usize, &'static str, String);

#[derive(Default)]
pub struct Table {
    pub cells: Cells,
    /// What was measured, in words.
    pub kernels: BTreeSet<String>,
    /// The files, and the engine that ran the kernels.
    pub files: BTreeMap<PathBuf, (String, String)>,
}

/// The kernels and what people call them, in the order of the tables.
pub const OPS: [(KernelOp, &str); 5] = [
    (KernelOp::Gemm, "matrix products"),
    (KernelOp::DecodeAttention, "decode attention"),
    (KernelOp::PrefillAttention, "prefill attention"),
    (KernelOp::AllReduce, "all-reduce"),
    (KernelOp::Experts, "experts"),
];

/// What the tables call arithmetic and KV caches of 16 bits.
const SIXTEEN_BITS: &str = "bfloat16";

impl Measured {
    /// Adds a time, microseconds, that stands in `sheet`.
    pub fn add(
        &mut self,
        sheet: (&Sheet, &str),
        op: KernelOp,
        variant: String,
        kernels: &str,
        cell: (Vec<u32>, u32),
        us: f64,
    ) {
        let at = OPS.iter().position(|(known, _)| *known == op).unwrap_or(0);
        let table = self.tables.entry((at, SIXTEEN_BITS, variant)).or_default();
        table.cells.entry(cell).or_default().push(us);
        if !table.kernels.contains(kernels) {
            table.kernels.insert(kernels.to_owned());
        }
        let (sheet, engine) = sheet;
        if !table.files.contains_key(sheet.path()) {
            let hash = sheet.hash().to_hex().to_string();
            let of_file = (hash, engine.to_owned());
            table.files.insert(sheet.path().to_owned(), of_file);
        }
    }
}

/// Names of the folders in a folder, sorted.
pub fn folders(folder: &Path) -> Result<Vec<String>, InputError> {
    let refuse = |error: std::io::Error| in_file(folder, &error.to_string());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(refuse)? {
        let entry = entry.map_err(refuse)?;
        if entry.path().is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Folders of models, `ORGANISATION/MODEL`, beneath a folder.
pub fn models(folder: &Path) -> Result<Vec<String>, InputError> {
    let mut models = Vec::new();
    for organisation in folders(folder)? {
        for model in folders(&folder.join(&organisation))? {
            models.push(format!("{organisation}/{model}"));
        }
    }
    Ok(models)
}
