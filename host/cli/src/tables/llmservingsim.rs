//! Profiles of LLMServingSim since its profiler measures vLLM: `GPU/ORGANISATION/MODEL/VARIANT/`
//! with `meta.yaml` and `tpN/{dense,attention}.csv`, times in microseconds.
//!
//! They are of the layers of one GPU's share of a model, run by vLLM outside of CUDA graphs. The
//! shapes are not in the files: they are those of the model, which must be known here.

use super::measured::{Measured, folders, models};
use super::packages::in_file;
use super::sheet::Sheet;
use serde_json::Value;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, parse_yaml, read_text};
use windtunnel_config::{KernelOp, ModelArch};

/// Variants whose arithmetic and KV cache have 16 bits.
const WIDE: [&str; 2] = ["bf16", "fp16"];

/// Where the folders of GPUs are.
pub fn root(folder: &Path) -> Option<PathBuf> {
    let places = ["", "perf", "profiler/perf"];
    let mut places = places.iter().map(|place| folder.join(place));
    let has_profile = |place: &PathBuf| {
        let systems = folders(place).unwrap_or_default();
        systems
            .iter()
            .any(|system| !variants(&place.join(system)).unwrap_or_default().is_empty())
    };
    places.find(has_profile)
}

/// Models and their variants with a `meta.yaml`, beneath the folder of a GPU.
fn variants(system: &Path) -> Result<Vec<(String, String)>, InputError> {
    let mut found = Vec::new();
    for model in models(system)? {
        for variant in folders(&system.join(&model))? {
            if system
                .join(&model)
                .join(&variant)
                .join("meta.yaml")
                .is_file()
            {
                found.push((model.clone(), variant));
            }
        }
    }
    Ok(found)
}

/// Reads what there is of a GPU.
pub fn read(root: &Path, system: &str) -> Result<Measured, InputError> {
    let mut measured = Measured::default();
    let folder = root.join(system);
    for (model, variant) in variants(&folder)? {
        let here = folder.join(&model).join(&variant);
        let mut leave_out = |why: &str| {
            let note = format!("{model} {variant} is left out: {why}");
            measured.notes.push(note);
        };
        if !WIDE.contains(&variant.as_str()) {
            leave_out("only bf16 and fp16 are taken over");
            continue;
        }
        let arch = match architecture(&model) {
            Ok(arch) => arch,
            Err(why) => {
                leave_out(&why);
                continue;
            }
        };
        let engine = engine(&here.join("meta.yaml"))?;
        for name in folders(&here)? {
            let Some(tp) = name.strip_prefix("tp").and_then(|n| n.parse::<u64>().ok()) else {
                continue;
            };
            let folder = here.join(&name);
            let share = Share::of(&arch, tp).map_err(|why| in_file(&folder, &why))?;
            let kernels = format!("{model} TP{tp}");
            share.read_products(&folder, &kernels, &engine, &mut measured)?;
            share.read_attention(&folder, &kernels, &engine, &mut measured)?;
            if folder.join("moe.csv").is_file() {
                measured.notes.push(format!(
                    "the experts of {kernels} are left out: they are by the number of experts that a step reads, not by its tokens"
                ));
            }
        }
    }
    Ok(measured)
}

/// The model, as it is known here, if its layers are of the kind that can be taken over.
fn architecture(model: &str) -> Result<ModelArch, String> {
    let name = model.to_lowercase();
    let alike = [name.clone(), format!("{name}-instruct")];
    let arch = alike.iter().find_map(|name| ModelArch::builtin(name));
    let arch = arch.ok_or("its shapes are not known here")?;
    match arch.kv_lora_rank > 0 || arch.output_gate {
        true => Err(
            "its attention has other products than those of queries, keys and values".to_owned(),
        ),
        false => Ok(arch),
    }
}

/// The engine and its version.
fn engine(meta: &Path) -> Result<String, InputError> {
    let values: Value = parse_yaml(meta.display(), &read_text(meta)?)?;
    match &values["vllm_version"] {
        Value::String(version) => Ok(format!("vLLM {version}")),
        Value::Number(version) => Ok(format!("vLLM {version}")),
        other => Err(in_file(
            meta,
            &format!("vllm_version: found {other}, expected a version"),
        )),
    }
}

/// What one GPU has of a model.
struct Share {
    hidden: u32,
    queries: u32,
    keys: u32,
    width: u32,
    /// Of the feed-forward layer; `None` = it has experts.
    inner: Option<u32>,
}

impl Share {
    fn of(arch: &ModelArch, tp: u64) -> Result<Self, String> {
        let split = |what: &str, n: u64| match tp {
            0 => Err("found tp0, expected tp1 or more".to_owned()),
            _ if !n.is_multiple_of(tp) => Err(format!(
                "found {n} {what}, expected a multiple of the {tp} GPUs that split them"
            )),
            _ => u32::try_from(n / tp).map_err(|_| format!("{n} {what} are too many")),
        };
        let whole =
            |what: &str, n: u64| u32::try_from(n).map_err(|_| format!("{n} {what} are too many"));
        Ok(Self {
            hidden: whole("activations", arch.hidden)?,
            queries: split("query heads", arch.heads)?,
            // Each GPU has at least one.
            keys: match arch.kv_heads < tp {
                true => 1,
                false => split("KV heads", arch.kv_heads)?,
            },
            width: whole("numbers of a head", arch.head_width())?,
            inner: match arch.experts {
                0 => Some(split(
                    "activations of the feed-forward layer",
                    arch.dense_width(),
                )?),
                _ => None,
            },
        })
    }

    /// n and k of a layer's matrix product.
    fn shape(&self, layer: &str) -> Option<Vec<u32>> {
        let shape = match layer {
            "qkv_proj" => [(self.queries + 2 * self.keys) * self.width, self.hidden],
            "o_proj" => [self.hidden, self.queries * self.width],
            "gate_up_proj" => [2 * self.inner?, self.hidden],
            "down_proj" => [self.hidden, self.inner?],
            _ => return None,
        };
        Some(shape.to_vec())
    }

    fn read_products(
        &self,
        folder: &Path,
        kernels: &str,
        engine: &str,
        measured: &mut Measured,
    ) -> Result<(), InputError> {
        let sheet = Sheet::open(&folder.join("dense.csv"))?;
        let [layer, tokens, time] = ["layer", "tokens", "time_us"].map(|name| sheet.column(name));
        let (layer, tokens, time) = (layer?, tokens?, time?);
        for row in sheet.rows() {
            let (m, us) = (row.count(tokens)?, row.us(time, 1.0)?);
            if let (Some(shape), Some(us)) = (self.shape(row.text(layer)), us) {
                let op = KernelOp::Gemm;
                measured.add((&sheet, engine), op, String::new(), kernels, (shape, m), us);
            }
        }
        Ok(())
    }

    fn read_attention(
        &self,
        folder: &Path,
        kernels: &str,
        engine: &str,
        measured: &mut Measured,
    ) -> Result<(), InputError> {
        let sheet = Sheet::open(&folder.join("attention.csv"))?;
        let (chunk, decodes) = (sheet.column("prefill_chunk")?, sheet.column("n_decode")?);
        let (context, time) = (sheet.column("kv_decode")?, sheet.column("time_us")?);
        // Older files have the tokens before the chunk, newer ones the mean number of keys that a
        // token of the chunk attends to: half of a chunk with nothing before it.
        let before = sheet.optional("kv_prefill");
        let keys = match before {
            Some(column) => column,
            None => sheet.column("prefill_key")?,
        };
        let (layer, per_decode) = (sheet.optional("layer"), sheet.optional("decode_q_len"));
        let mut prompts = 0;
        for row in sheet.rows() {
            let (chunk, decodes) = (row.whole(chunk)?, row.whole(decodes)?);
            let (keys, context) = (row.whole(keys)?, row.whole(context)?);
            let is_attention = layer.is_none_or(|column| row.text(column) == "attention");
            let new_tokens = per_decode.map_or(Ok(1), |column| row.whole(column))?;
            let Some(us) = row.us(time, 1.0)?.filter(|_| is_attention) else {
                continue;
            };
            let variant = self.width.to_string();
            let is_whole = match before {
                Some(_) => keys == 0,
                None => 2 * u64::from(keys) == u64::from(chunk),
            };
            if chunk > 0 && decodes == 0 && is_whole {
                let cell = (vec![self.queries, self.keys], chunk);
                let op = KernelOp::PrefillAttention;
                measured.add((&sheet, engine), op, variant, kernels, cell, us);
                prompts += 1;
            } else if chunk == 0 && decodes > 0 && new_tokens == 1 {
                // The new token attends to itself, too.
                let cell = (vec![self.queries, self.keys, decodes], context + 1);
                let op = KernelOp::DecodeAttention;
                measured.add((&sheet, engine), op, variant, kernels, cell, us);
            }
        }
        if prompts == 0 {
            measured.notes.push(format!(
                "{kernels} has no attention of whole prompts: its chunks all come behind others"
            ));
        }
        Ok(())
    }
}
