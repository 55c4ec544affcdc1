//! The kernels whose measurements are taken over, and how their columns become tables.

use super::columns::{self, Measurement};
use super::packages::Found;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;
use windtunnel_config::{KernelOp, KernelTable, KernelTablesWriter};

/// A kernel in the packages.
pub struct Kernel {
    /// Its name in messages.
    pub name: &'static str,
    /// What `--vllm-version` calls it.
    pub family: &'static str,
    /// Its folder and its file.
    pub folder: &'static str,
    pub file: &'static str,
    op: KernelOp,
    /// Columns of whole numbers that are read.
    numbers: &'static [&'static str],
    /// The column of its data type, of its variant.
    texts: &'static [&'static str],
    /// Columns that files of some versions have not.
    optional: &'static [&'static str],
    /// Is this measurement taken, and as which row, column and variant?
    place: fn(&Measurement) -> Option<Place>,
}

/// Times by row and column, microseconds.
pub type Cells = BTreeMap<(Vec<u32>, u32), Vec<f64>>;

struct Place {
    row: Vec<u32>,
    column: u32,
    dtype: String,
    variant: String,
}

impl Place {
    /// Where the second text is the data type and the third one the variant.
    fn by_texts(m: &Measurement, row: Vec<u32>, column: u32) -> Self {
        Self {
            row,
            column,
            dtype: m.texts[1].clone(),
            variant: m.texts[2].clone(),
        }
    }
}

/// Tokens of one attention kernel beyond which a window is none.
const NO_WINDOW: u32 = 0;

/// All of them.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gemm",
        family: "gemm",
        folder: "gemm",
        file: "gemm_perf.parquet",
        op: KernelOp::Gemm,
        numbers: &["n", "k", "m"],
        texts: &["kernel_source", "gemm_dtype"],
        optional: &["kernel_source"],
        place: |m| {
            Some(Place {
                row: m.numbers[..2].to_vec(),
                column: m.numbers[2],
                dtype: m.texts[1].clone(),
                variant: String::new(),
            })
        },
    },
    Kernel {
        name: "decode attention",
        family: "attention",
        folder: "attention",
        file: "generation_attention_perf.parquet",
        op: KernelOp::DecodeAttention,
        numbers: &[
            "num_heads",
            "num_key_value_heads",
            "batch_size",
            "isl",
            "step",
            "head_dim",
            "window_size",
        ],
        texts: &["kernel_source", "kv_cache_dtype"],
        optional: &["kernel_source", "head_dim", "window_size"],
        place: |m| {
            let n = &m.numbers;
            (n[6] == NO_WINDOW).then(|| Place {
                row: vec![n[0], kv_heads(n[0], n[1]), n[2]],
                column: n[3] + n[4],
                dtype: m.texts[1].clone(),
                variant: head_width(n[5]),
            })
        },
    },
    Kernel {
        name: "prefill attention",
        family: "attention",
        folder: "attention",
        file: "context_attention_perf.parquet",
        op: KernelOp::PrefillAttention,
        numbers: &[
            "num_heads",
            "num_key_value_heads",
            "batch_size",
            "isl",
            "step",
            "head_dim",
            "window_size",
        ],
        texts: &["kernel_source", "kv_cache_dtype"],
        optional: &["kernel_source", "head_dim", "window_size", "step"],
        place: |m| {
            let n = &m.numbers;
            (n[6] == NO_WINDOW && n[2] == 1 && n[4] == 0).then(|| Place {
                row: vec![n[0], kv_heads(n[0], n[1])],
                column: n[3],
                dtype: m.texts[1].clone(),
                variant: head_width(n[5]),
            })
        },
    },
    Kernel {
        name: "all-reduce",
        family: "all-reduce",
        folder: "comm",
        file: "custom_allreduce_perf.parquet",
        op: KernelOp::AllReduce,
        numbers: &["num_gpus", "message_size"],
        texts: &["kernel_source", "allreduce_dtype", "backend"],
        optional: &["kernel_source", "backend"],
        place: |m| {
            let graph = m.texts[0].contains("graph") || m.texts[2].contains("graph");
            Some(Place {
                row: vec![m.numbers[0]],
                column: m.numbers[1],
                dtype: m.texts[1].clone(),
                variant: if graph { "graph" } else { "eager" }.to_owned(),
            })
        },
    },
    Kernel {
        name: "experts",
        family: "experts",
        folder: "moe",
        file: "moe_perf.parquet",
        op: KernelOp::Experts,
        numbers: &[
            "hidden_size",
            "inter_size",
            "topk",
            "num_experts",
            "moe_tp_size",
            "moe_ep_size",
            "num_tokens",
        ],
        texts: &["kernel_source", "moe_dtype", "distribution"],
        optional: &["kernel_source"],
        place: |m| {
            // Measured untuned, and several times as slow as what vLLM runs by default.
            let untuned = m.texts[1] == "fp8" && m.texts[0].contains("flashinfer");
            (!untuned).then(|| Place::by_texts(m, m.numbers[..6].to_vec(), m.numbers[6]))
        },
    },
    Kernel {
        name: "decode layers over compressed KV",
        family: "attention",
        folder: "mla",
        file: "mla_generation_module_perf.parquet",
        op: KernelOp::DecodeLatentAttention,
        numbers: &["num_heads", "batch_size", "isl", "step"],
        texts: &["kernel_source", "kv_cache_dtype", "gemm_type", "model"],
        optional: &["kernel_source"],
        place: |m| {
            let n = &m.numbers;
            is_known_layer(m).then(|| Place::by_texts(m, n[..2].to_vec(), n[2] + n[3]))
        },
    },
    Kernel {
        name: "prefill layers over compressed KV",
        family: "attention",
        folder: "mla",
        file: "mla_context_module_perf.parquet",
        op: KernelOp::PrefillLatentAttention,
        numbers: &["num_heads", "batch_size", "isl", "step"],
        texts: &["kernel_source", "kv_cache_dtype", "gemm_type", "model"],
        optional: &["kernel_source"],
        place: |m| {
            let n = &m.numbers;
            let whole = is_known_layer(m) && n[1] == 1 && n[3] == 0;
            whole.then(|| Place::by_texts(m, vec![n[0]], n[2]))
        },
    },
    Kernel {
        name: "decode delta nets",
        family: "delta-nets",
        folder: "linear_attention",
        file: "gdn_perf.parquet",
        op: KernelOp::DecodeDeltaNet,
        numbers: DELTA_NUMBERS,
        texts: &["kernel_source", "phase"],
        optional: &[],
        place: |m| delta_net(m, "generation", m.numbers[2]),
    },
    Kernel {
        name: "prefill delta nets",
        family: "delta-nets",
        folder: "linear_attention",
        file: "gdn_perf.parquet",
        op: KernelOp::PrefillDeltaNet,
        numbers: DELTA_NUMBERS,
        texts: &["kernel_source", "phase"],
        optional: &[],
        place: |m| delta_net(m, "context", m.numbers[3]).filter(|_| m.numbers[2] == 1),
    },
];

/// Columns of gated delta nets.
const DELTA_NUMBERS: &[&str] = &[
    "num_k_heads",
    "num_v_heads",
    "batch_size",
    "num_tokens",
    "head_k_dim",
    "head_v_dim",
    "d_conv",
];

/// Of a gated delta net whose heads are as wide as those of all models that there are.
fn delta_net(m: &Measurement, phase: &str, column: u32) -> Option<Place> {
    let n = &m.numbers;
    let [kernel, measured] = [&m.texts[0], &m.texts[1]];
    let is_known = n[4..] == windtunnel_config::DELTA_NET_WIDTHS;
    (measured == phase && is_known).then(|| Place {
        row: n[..2].to_vec(),
        column,
        dtype: "bfloat16".to_owned(),
        variant: if kernel.contains("conv1d") {
            "convolution"
        } else {
            "delta-rule"
        }
        .to_owned(),
    })
}

/// Whole layers tell nothing of layers of other sizes; those of this model are measured everywhere.
fn is_known_layer(m: &Measurement) -> bool {
    m.texts[3] == "deepseek-ai/DeepSeek-V3"
}

/// Files write 0 where there are as many KV heads as query heads.
fn kv_heads(heads: u32, kv_heads: u32) -> u32 {
    if kv_heads == 0 { heads } else { kv_heads }
}

/// Files without the column measured heads of 128.
fn head_width(width: u32) -> String {
    if width == 0 { 128 } else { width }.to_string()
}

impl Kernel {
    /// Adds what a file has of this kernel. Of several measurements of one shape the median counts.
    pub fn add(&self, found: &Found, writer: &mut KernelTablesWriter) -> Result<(), InputError> {
        let read = columns::read(&found.path, self.numbers, self.texts, self.optional)?;
        let mut tables: BTreeMap<(String, String), (Cells, Vec<String>)> = BTreeMap::new();
        for measurement in &read {
            let Some(place) = (self.place)(measurement) else {
                continue;
            };
            let (cells, kernels) = tables.entry((place.dtype, place.variant)).or_default();
            let cell = cells.entry((place.row, place.column)).or_default();
            cell.push(measurement.us);
            if !kernels.contains(&measurement.texts[0]) {
                kernels.push(measurement.texts[0].clone());
            }
        }
        let source = writer.add_source(found.source.clone());
        for ((dtype, variant), (cells, mut kernels)) in tables {
            kernels.sort();
            let table = grid(self.op, cells);
            writer.add(&table, (&dtype, &variant, &kernels.join(", ")), source);
        }
        Ok(())
    }
}

/// The table of some times; of several in one cell the median counts.
pub fn grid(op: KernelOp, cells: Cells) -> KernelTable {
    let mut rows: Vec<Vec<u32>> = cells.keys().map(|(row, _)| row.clone()).collect();
    rows.dedup();
    let mut columns: Vec<u32> = cells.keys().map(|(_, column)| *column).collect();
    columns.sort_unstable();
    columns.dedup();
    let mut us = vec![vec![f64::NAN; columns.len()]; rows.len()];
    for ((row, column), mut times) in cells {
        let (Ok(row), Ok(column)) = (rows.binary_search(&row), columns.binary_search(&column))
        else {
            continue;
        };
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        us[row][column] = if times.len() % 2 == 1 {
            times[middle]
        } else {
            (times[middle - 1] + times[middle]) / 2.0
        };
    }
    KernelTable {
        op,
        rows,
        columns,
        us,
    }
}
