//! Profiles of Vidur: `compute/GPU/ORGANISATION/MODEL/{mlp,attention}.csv` and
//! `network/GPU_.../all_reduce.csv`, times in milliseconds.
//!
//! They are of single kernels of known shape, run by themselves in 16-bit floats: matrix products
//! of one GPU's share of a layer without the sum over GPUs behind them, attention of one prefill or
//! of equal decodes, sums by NCCL outside of CUDA graphs.

use super::measured::{Measured, folders, models};
use super::sheet::{Column, Row, Sheet};
use std::path::{Path, PathBuf};
use windtunnel_base::input::InputError;
use windtunnel_config::KernelOp;

/// The engine whose kernels were run.
const ENGINE: &str = "Sarathi-Serve, float16";
/// Microseconds of the files' unit.
const MS: f64 = 1000.0;

/// Where the folder `compute` is.
pub fn root(folder: &Path) -> Option<PathBuf> {
    let places = ["", "profiling", "data/profiling"];
    let mut places = places.iter().map(|place| folder.join(place));
    places.find(|place| place.join("compute").is_dir())
}

/// Reads what there is of a GPU.
pub fn read(root: &Path, system: &str) -> Result<Measured, InputError> {
    let mut measured = Measured::default();
    let compute = root.join("compute").join(system);
    let mut without = Vec::new();
    for model in models(&compute)? {
        let folder = compute.join(&model);
        let (products, attention) = (folder.join("mlp.csv"), folder.join("attention.csv"));
        if products.is_file() {
            read_products(&Sheet::open(&products)?, &model, &mut measured)?;
        }
        match attention.is_file() {
            true => read_attention(&Sheet::open(&attention)?, &model, &mut measured)?,
            false => without.push(model),
        }
    }
    if !without.is_empty() {
        let models = without.join(", ");
        let note = format!("there is no attention.csv of {models}");
        measured.notes.push(note);
    }
    if let Some(path) = network(root, system)? {
        read_sums(&Sheet::open(&path)?, &mut measured)?;
    }
    Ok(measured)
}

/// The sums over GPUs: those of a server with as many links as they come, or the first others.
fn network(root: &Path, system: &str) -> Result<Option<PathBuf>, InputError> {
    let network = root.join("network");
    if !network.is_dir() {
        return Ok(None);
    }
    let mut names = folders(&network)?;
    let own = |name: &String| {
        name.strip_prefix(system)
            .is_some_and(|rest| rest.starts_with('_'))
    };
    names.retain(own);
    names.sort_by_key(|name| !name.ends_with("_dgx"));
    let files = names
        .iter()
        .map(|name| network.join(name).join("all_reduce.csv"));
    Ok(files.into_iter().find(|file| file.is_file()))
}

/// Heads and width of one on a GPU: of the model, and split over so many.
struct Heads {
    queries: u32,
    keys: u32,
    width: u32,
}

impl Heads {
    fn of(row: Row<'_>, [embedding, heads, kv, tp]: [Column<'_>; 4]) -> Result<Self, InputError> {
        let [n, queries, keys, gpus] = [
            row.count(embedding)?,
            row.count(heads)?,
            row.count(kv)?,
            row.count(tp)?,
        ];
        if !n.is_multiple_of(queries) {
            return Err(row.wrong(heads, &format!("a divisor of n_embd, {n}")));
        }
        for (column, count) in [(heads, queries), (kv, keys)] {
            if !count.is_multiple_of(gpus) {
                let why = format!("a multiple of num_tensor_parallel_workers, {gpus}");
                return Err(row.wrong(column, &why));
            }
        }
        Ok(Self {
            queries: queries / gpus,
            keys: keys / gpus,
            width: n / queries,
        })
    }
}

fn read_products(sheet: &Sheet, model: &str, measured: &mut Measured) -> Result<(), InputError> {
    let tp = sheet.column("num_tensor_parallel_workers")?;
    let (embedding, wide) = (sheet.column("n_embd")?, sheet.column("n_expanded_embd")?);
    let heads = [
        embedding,
        sheet.column("n_head")?,
        sheet.column("n_kv_head")?,
        tp,
    ];
    let (gated, tokens) = (sheet.column("use_gated_mlp")?, sheet.column("num_tokens")?);
    let times = [
        sheet.column("time_stats.attn_pre_proj.median")?,
        sheet.column("time_stats.attn_post_proj.median")?,
        sheet.column("time_stats.mlp_up_proj.median")?,
        sheet.column("time_stats.mlp_down_proj.median")?,
    ];
    for row in sheet.rows() {
        let share = Heads::of(row, heads)?;
        let (hidden, gpus) = (row.count(embedding)?, row.count(tp)?);
        let expanded = row.count(wide)?;
        if !expanded.is_multiple_of(gpus) {
            let why = format!("a multiple of num_tensor_parallel_workers, {gpus}");
            return Err(row.wrong(wide, &why));
        }
        let inner = expanded / gpus;
        let up = if row.switch(gated)? { 2 * inner } else { inner };
        let m = row.count(tokens)?;
        let shapes = [
            [(share.queries + 2 * share.keys) * share.width, hidden],
            [hidden, share.queries * share.width],
            [up, hidden],
            [hidden, inner],
        ];
        for (time, shape) in times.into_iter().zip(shapes) {
            if let Some(us) = row.us(time, MS)? {
                measured.add(
                    (sheet, ENGINE),
                    KernelOp::Gemm,
                    String::new(),
                    &format!("{model} TP{gpus}"),
                    (shape.to_vec(), m),
                    us,
                );
            }
        }
    }
    Ok(())
}

fn read_attention(sheet: &Sheet, model: &str, measured: &mut Measured) -> Result<(), InputError> {
    let tp = sheet.column("num_tensor_parallel_workers")?;
    let heads = [
        sheet.column("n_embd")?,
        sheet.column("n_q_head")?,
        sheet.column("n_kv_head")?,
        tp,
    ];
    let (batch, chunk) = (
        sheet.column("batch_size")?,
        sheet.column("prefill_chunk_size")?,
    );
    let (cached, prefill) = (sheet.column("kv_cache_size")?, sheet.column("is_prefill")?);
    let backend = sheet.column("attention_backend")?;
    let (of_prefill, of_decode) = (
        sheet.column("time_stats.attn_prefill.median")?,
        sheet.column("time_stats.attn_decode.median")?,
    );
    for row in sheet.rows() {
        let share = Heads::of(row, heads)?;
        let backend = row.text(backend).trim_start_matches("AttentionBackend.");
        let kernels = format!("{model} TP{} {backend}", row.count(tp)?);
        let variant = share.width.to_string();
        let cached = row.whole(cached)?;
        if row.switch(prefill)? {
            // Chunks behind others are no prompts: the tables hold whole ones.
            let us = row.us(of_prefill, MS)?.filter(|_| cached == 0);
            let cell = (vec![share.queries, share.keys], row.count(chunk)?);
            if let Some(us) = us {
                let op = KernelOp::PrefillAttention;
                measured.add((sheet, ENGINE), op, variant, &kernels, cell, us);
            }
        } else if let Some(us) = row.us(of_decode, MS)? {
            // The new token attends to itself, too.
            let cell = (
                vec![share.queries, share.keys, row.count(batch)?],
                cached + 1,
            );
            let op = KernelOp::DecodeAttention;
            measured.add((sheet, ENGINE), op, variant, &kernels, cell, us);
        }
    }
    Ok(())
}

fn read_sums(sheet: &Sheet, measured: &mut Measured) -> Result<(), InputError> {
    let (gpus, size) = (sheet.column("num_workers")?, sheet.column("size")?);
    let (kind, time) = (
        sheet.column("collective")?,
        sheet.column("time_stats.all_reduce.median")?,
    );
    let in_node = sheet.optional("devices_per_node");
    for row in sheet.rows() {
        let n = row.count(gpus)?;
        let is_one_node = match in_node {
            Some(column) => row.count(column)? == n,
            None => true,
        };
        if row.text(kind) != "all_reduce" || !is_one_node {
            continue;
        }
        let bytes = row.count(size)?;
        if !bytes.is_multiple_of(2) {
            return Err(row.wrong(size, "an even number: bytes of 16-bit elements"));
        }
        if let Some(us) = row.us(time, MS)? {
            let cell = (vec![n], bytes / 2);
            let op = KernelOp::AllReduce;
            measured.add((sheet, ENGINE), op, "eager".to_owned(), "NCCL", cell, us);
        }
    }
    Ok(())
}
