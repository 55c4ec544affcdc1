//! Measured times of GPU kernels, by shape: what the latency model `kernel-tables` reads.
//!
//! A file is the line [`MAGIC`], a line of JSON (the GPU, where the figures come from, what tables
//! there are), and the tables, each compressed by itself so that a run unpacks only those that it
//! needs. A table is a grid: rows of some shape, columns of some size. Times are kept as logarithms
//! in steps of 0.03 %.

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use windtunnel_base::input::{InputError, plain, read_bytes};

/// The first line of a file.
const MAGIC: &str = "windtunnel kernel tables 1\n";
/// Steps per doubling of a time.
const STEPS: f64 = 2500.0;
/// Microseconds whose code is 0; the largest code but one is 2^26 times as long.
const SHORTEST_US: f64 = 1.0 / 64.0;
/// The code of a time that was not measured.
const MISSING: u16 = u16::MAX;
/// No table that is true has as many bytes when it is unpacked.
const MOST_BYTES: u64 = 64 << 20;

/// Gated delta nets are measured with heads of keys and of values so wide, and a convolution over
/// so many tokens, which is what all models have.
pub const DELTA_NET_WIDTHS: [u32; 3] = [128, 128, 4];

/// What a kernel does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelOp {
    /// A matrix product of m x k activations and k x n weights. Rows: n, k. Columns: m.
    Gemm,
    /// Attention of one new token per sequence. Rows: query heads, KV heads, sequences. Columns:
    /// tokens of each sequence.
    DecodeAttention,
    /// Attention of a whole prompt. Rows: query heads, KV heads. Columns: its tokens.
    PrefillAttention,
    /// A sum over the GPUs of an instance. Rows: GPUs. Columns: 16-bit elements.
    AllReduce,
    /// The experts of a layer. Rows: hidden size, width of an expert, experts per token, experts,
    /// tensor parallelism and expert parallelism. Columns: tokens.
    Experts,
    /// A whole layer of attention over compressed KV, projections included, of one new token per
    /// sequence. Rows: query heads, sequences. Columns: tokens of each sequence.
    DecodeLatentAttention,
    /// The same of a whole prompt. Rows: query heads. Columns: its tokens.
    PrefillLatentAttention,
    /// A gated delta net of one new token per sequence, without its projections. Rows: heads of
    /// keys, heads of values. Columns: sequences.
    DecodeDeltaNet,
    /// The same of a whole prompt. Rows: as before. Columns: its tokens.
    PrefillDeltaNet,
}

impl KernelOp {
    /// Figures of a row.
    #[must_use]
    pub fn keys(self) -> usize {
        match self {
            Self::Gemm
            | Self::PrefillAttention
            | Self::DecodeLatentAttention
            | Self::DecodeDeltaNet
            | Self::PrefillDeltaNet => 2,
            Self::DecodeAttention => 3,
            Self::AllReduce | Self::PrefillLatentAttention => 1,
            Self::Experts => 6,
        }
    }
}

/// Where figures come from.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KernelSource {
    /// The package and its version.
    pub package: String,
    /// Its licence.
    pub licence: String,
    /// The file within it.
    pub file: String,
    /// BLAKE3 of the file, 16 hexadecimal digits.
    pub hash: String,
    /// The engine that was measured, and its version.
    pub engine: String,
    /// The device as the measurement calls it.
    pub device: String,
}

/// What a table holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KernelTableInfo {
    /// The kernel's work.
    pub op: KernelOp,
    /// Data type of the products: `bfloat16`, `fp8` or `fp8_block`; of the KV cache for attention.
    pub dtype: String,
    /// What tells tables of the same kernel apart: the width of a head, `graph` or `eager`, how
    /// tokens are spread over experts, the data type of the products in a layer, `convolution` or
    /// `delta-rule`; empty where there is one.
    pub variant: String,
    /// Names of the kernels that were measured.
    pub kernels: String,
    /// Number of the source in the file.
    pub source: usize,
    rows: usize,
    columns: usize,
    offset: usize,
    bytes: usize,
}

/// A table, unpacked.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelTable {
    /// The kernel's work.
    pub op: KernelOp,
    /// [`KernelOp::keys`] figures of each row, ascending.
    pub rows: Vec<Vec<u32>>,
    /// Ascending.
    pub columns: Vec<u32>,
    /// Microseconds by row and column; NaN where nothing was measured.
    pub us: Vec<Vec<f64>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    gpu: String,
    made_by: String,
    sources: Vec<KernelSource>,
    tables: Vec<KernelTableInfo>,
}

/// The tables of one GPU. A table is unpacked when it is read first, and kept.
#[derive(Clone, Debug)]
pub struct KernelTables {
    file: String,
    header: Header,
    body: Cow<'static, [u8]>,
    /// Of each table in the header.
    unpacked: Vec<OnceLock<Arc<KernelTable>>>,
}

macro_rules! shipped {
    ($($gpu:literal: $file:literal),* $(,)?) => {
        /// GPUs by name, with their files.
        const SHIPPED: &[(&str, &[u8])] =
            &[$(($gpu, include_bytes!(concat!("../kernel_tables/", $file)))),*];
    };
}

shipped! {
    "A100-SXM": "a100_sxm.tables",
    "B200": "b200_sxm.tables",
    "GB200": "gb200.tables",
    "H100": "h100_sxm.tables",
    "H200": "h200_sxm.tables",
    "L40S": "l40s.tables",
    "RTX-PRO-6000": "rtx_pro_6000_server.tables",
}

impl KernelTableInfo {
    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }
}

impl KernelTables {
    /// The GPUs whose tables are built in, as the hardware table spells them.
    pub fn shipped_gpus() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(gpu, _)| *gpu)
    }

    /// The built-in tables of a GPU, by the name in the hardware table.
    #[must_use]
    pub fn builtin(gpu: &str) -> Option<&'static Self> {
        static PARSED: [OnceLock<KernelTables>; SHIPPED.len()] =
            [const { OnceLock::new() }; SHIPPED.len()];
        let at = SHIPPED.iter().position(|(name, _)| *name == gpu)?;
        Some(PARSED[at].get_or_init(|| {
            let file = format!("built-in tables of {gpu}");
            let parsed = Self::parse(file, Cow::Borrowed(SHIPPED[at].1));
            // A test reads them all.
            parsed.expect("built-in kernel tables are sound")
        }))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn load(path: &Path) -> Result<Self, InputError> {
        let file = path.display().to_string();
        let bytes = read_bytes(path, MOST_BYTES)
            .map_err(|error| InputError::in_file(&file, plain(&error)))?;
        Self::parse(file, Cow::Owned(bytes))
    }

    fn parse(file: String, bytes: Cow<'static, [u8]>) -> Result<Self, InputError> {
        let refuse = |message: String| Err(InputError::in_file(&file, message));
        let Some(rest) = bytes.strip_prefix(MAGIC.as_bytes()) else {
            return refuse(format!(
                "no kernel tables: the first line is not \"{}\"; `windtunnel tables import` makes such files",
                MAGIC.trim_end()
            ));
        };
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return refuse("it ends within its second line".to_owned());
        };
        let header: Header = match serde_json::from_slice(&rest[..end]) {
            Ok(header) => header,
            Err(error) => return refuse(format!("line 2: {error}")),
        };
        let start = MAGIC.len() + end + 1;
        let body = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[start..]),
            Cow::Owned(mut bytes) => Cow::Owned(bytes.split_off(start)),
        };
        for table in &header.tables {
            let end = table.offset.checked_add(table.bytes);
            if end.is_none_or(|end| end > body.len()) {
                return refuse(format!(
                    "it is cut off: table {:?} {} ends behind its end",
                    table.op, table.dtype
                ));
            }
            if table.source >= header.sources.len() {
                return refuse(format!("table {:?} names no source", table.op));
            }
        }
        let unpacked = vec![OnceLock::new(); header.tables.len()];
        Ok(Self {
            file,
            header,
            body,
            unpacked,
        })
    }

    /// What messages call the file.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The GPU, as the hardware table spells it.
    #[must_use]
    pub fn gpu(&self) -> &str {
        &self.header.gpu
    }

    /// Where the figures come from.
    #[must_use]
    pub fn sources(&self) -> &[KernelSource] {
        &self.header.sources
    }

    /// What tables there are.
    #[must_use]
    pub fn tables(&self) -> &[KernelTableInfo] {
        &self.header.tables
    }

    /// The first table of a kernel, data type and variant, and what is known about it.
    ///
    /// # Errors
    /// When the table is damaged.
    pub fn read(
        &self,
        op: KernelOp,
        dtype: &str,
        variant: &str,
    ) -> Result<Option<(&KernelTableInfo, Arc<KernelTable>)>, InputError> {
        let is = |t: &KernelTableInfo| (t.op, &*t.dtype, &*t.variant) == (op, dtype, variant);
        let Some(at) = self.header.tables.iter().position(is) else {
            return Ok(None);
        };
        let info = &self.header.tables[at];
        if let Some(table) = self.unpacked[at].get() {
            return Ok(Some((info, Arc::clone(table))));
        }
        let table = Arc::new(self.unpack(info)?);
        // Another thread may have been faster; both have the same.
        let _ = self.unpacked[at].set(Arc::clone(&table));
        Ok(Some((info, table)))
    }

    /// Where a table's figures come from.
    #[must_use]
    pub fn source(&self, table: &KernelTableInfo) -> &KernelSource {
        &self.header.sources[table.source]
    }

    fn unpack(&self, info: &KernelTableInfo) -> Result<KernelTable, InputError> {
        let damaged = |why: &str| {
            let what = format!("table {:?} {}: {why}", info.op, info.dtype);
            InputError::in_file(&self.file, what)
        };
        let packed = &self.body[info.offset..info.offset + info.bytes];
        let keys = info.op.keys();
        let (rows, columns) = (info.rows as u64, info.columns as u64);
        let size = rows
            .checked_mul(columns)
            .and_then(|n| n.checked_mul(2))
            .and_then(|n| n.checked_add(4 * (rows * keys as u64 + columns)))
            .filter(|size| *size <= MOST_BYTES)
            .ok_or_else(|| damaged("it is too large to be true"))?;
        let mut bytes = Vec::new();
        DeflateDecoder::new(packed)
            .take(size + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| damaged(&error.to_string()))?;
        if bytes.len() as u64 != size {
            return Err(damaged("it has not the size that line 2 says"));
        }
        let (shape, codes) = bytes.split_at(4 * (info.rows * keys + info.columns));
        let shape: Vec<u32> = shape
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let (row_keys, columns) = shape.split_at(info.rows * keys);
        let us = |code: &[u8]| match u16::from_le_bytes([code[0], code[1]]) {
            MISSING => f64::NAN,
            code => SHORTEST_US * (f64::from(code) / STEPS).exp2(),
        };
        let table = KernelTable {
            op: info.op,
            rows: row_keys.chunks_exact(keys).map(<[u32]>::to_vec).collect(),
            columns: columns.to_vec(),
            us: codes
                .chunks_exact(2 * info.columns.max(1))
                .map(|row| row.chunks_exact(2).map(us).collect())
                .collect(),
        };
        if !(table.rows.is_sorted() && table.columns.is_sorted_by(|a, b| a < b)) {
            return Err(damaged("rows and columns must ascend"));
        }
        Ok(table)
    }
}

/// A file of tables in the making.
#[derive(Debug)]
pub struct KernelTablesWriter {
    header: Header,
    body: Vec<u8>,
}

impl KernelTablesWriter {
    /// A file of this GPU's tables; `made_by` is the command that makes it.
    #[must_use]
    pub fn new(gpu: &str, made_by: &str) -> Self {
        Self {
            header: Header {
                gpu: gpu.to_owned(),
                made_by: made_by.to_owned(),
                sources: Vec::new(),
                tables: Vec::new(),
            },
            body: Vec::new(),
        }
    }

    /// Adds a source and returns its number.
    pub fn add_source(&mut self, source: KernelSource) -> usize {
        let sources = &mut self.header.sources;
        sources
            .iter()
            .position(|s| *s == source)
            .unwrap_or_else(|| {
                sources.push(source);
                sources.len() - 1
            })
    }

    /// Adds a table.
    ///
    /// # Panics
    /// When the table's figures are not of its own shape.
    pub fn add(
        &mut self,
        table: &KernelTable,
        (dtype, variant, kernels): (&str, &str, &str),
        source: usize,
    ) {
        let mut bytes = Vec::new();
        let shape = table.rows.iter().flatten().chain(&table.columns);
        shape.for_each(|n| bytes.extend(n.to_le_bytes()));
        for row in &table.us {
            assert_eq!(row.len(), table.columns.len(), "a time for every column");
            let code = |us: &f64| {
                let code = ((us / SHORTEST_US).log2() * STEPS).round();
                if us.is_finite() {
                    code.clamp(0.0, f64::from(MISSING - 1)) as u16
                } else {
                    MISSING
                }
            };
            row.iter()
                .for_each(|us| bytes.extend(code(us).to_le_bytes()));
        }
        let mut packer = DeflateEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&bytes).expect("memory takes everything");
        let packed = packer.finish().expect("memory takes everything");
        self.header.tables.push(KernelTableInfo {
            op: table.op,
            dtype: dtype.to_owned(),
            variant: variant.to_owned(),
            kernels: kernels.to_owned(),
            source,
            rows: table.rows.len(),
            columns: table.columns.len(),
            offset: self.body.len(),
            bytes: packed.len(),
        });
        self.body.extend(packed);
    }

    /// The file.
    ///
    /// # Panics
    /// Never: the header is plain data.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let header = serde_json::to_string(&self.header).expect("plain data");
        let mut file = format!("{MAGIC}{header}\n").into_bytes();
        file.extend(self.body);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_file() -> Vec<u8> {
        let mut writer = KernelTablesWriter::new("H100", "a test");
        let source = writer.add_source(KernelSource {
            package: "p 1".into(),
            licence: "Apache-2.0".into(),
            file: "f".into(),
            hash: "00".into(),
            engine: "vllm 1".into(),
            device: "d".into(),
        });
        let table = KernelTable {
            op: KernelOp::Gemm,
            rows: vec![vec![128, 256], vec![256, 256]],
            columns: vec![1, 2, 4],
            us: vec![vec![1.0, 2.5, f64::NAN], vec![0.5, 1e6, 3.0]],
        };
        writer.add(&table, ("bfloat16", "", "k"), source);
        writer.finish()
    }

    #[test]
    fn what_is_written_is_read() {
        let tables = KernelTables::parse("f".into(), Cow::Owned(a_file())).unwrap();
        let read = || tables.read(KernelOp::Gemm, "bfloat16", "");
        let (info, table) = read().unwrap().unwrap();
        assert_eq!(tables.source(info).engine, "vllm 1");
        // It is unpacked once.
        assert!(Arc::ptr_eq(&table, &read().unwrap().unwrap().1));
        assert_eq!(table.rows, [[128, 256], [256, 256]]);
        assert_eq!(table.columns, [1, 2, 4]);
        let wanted = [[1.0, 2.5, f64::NAN], [0.5, 1e6, 3.0]];
        for (found, wanted) in table.us.iter().flatten().zip(wanted.as_flattened()) {
            let near = (found / wanted - 1.0).abs() < 2e-4;
            assert!(
                near || found.is_nan() && wanted.is_nan(),
                "{found} {wanted}"
            );
        }
        assert!(tables.read(KernelOp::Gemm, "fp8", "").unwrap().is_none());
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let whole = a_file();
        for keep in 0..whole.len() {
            let cut = Cow::Owned(whole[..keep].to_vec());
            let read = KernelTables::parse("f".into(), cut)
                .and_then(|tables| tables.read(KernelOp::Gemm, "bfloat16", "").map(|_| ()));
            assert!(read.is_err(), "{keep} bytes are no file");
        }
        let mut wrong = whole;
        let last = wrong.len() - 1;
        wrong.truncate(last);
        wrong.extend([0xff; 9]);
        // Deflate has no checksum; sizes and order are checked, and nothing panics.
        let _ = KernelTables::parse("f".into(), Cow::Owned(wrong))
            .and_then(|tables| tables.read(KernelOp::Gemm, "bfloat16", "").map(|_| ()));
    }

    #[test]
    fn the_built_in_tables_are_sound() {
        for gpu in KernelTables::shipped_gpus() {
            let tables = KernelTables::builtin(gpu).expect("built in");
            assert_eq!(tables.gpu(), gpu);
            for info in tables.tables() {
                let table = tables.unpack(info).expect("sound");
                let measured = table.us.iter().flatten().filter(|us| us.is_finite());
                assert!(measured.clone().count() > 0, "{gpu} {info:?}");
                assert!(measured.clone().all(|us| *us > 0.5 && *us < 1e7));
            }
        }
    }
}
