//! Makes tables of `defaults.yaml` and a list of the folders in `model_configs`, so that starting
//! the simulator parses neither. A mistake in them is an error of the build, with its place.

#![allow(
    clippy::print_stdout,
    reason = "a build script speaks to Cargo on stdout"
)]

#[path = "src/blis_entries.rs"]
mod blis_entries;
#[path = "src/entries.rs"]
mod entries;
#[path = "src/upkeep.rs"]
mod upkeep;
#[path = "src/xpu_entries.rs"]
mod xpu_entries;

use entries::{DefaultsFile, Hardware, ModelEntry, check, check_hardware};
use serde_yaml::MessageFormatter;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};
use xpu_entries::{XpuCatalog, XpuDtype, check_xpus};

/// The root of the repository, seen from this crate.
const ROOT: &str = "../..";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/blis_entries.rs");
    println!("cargo::rerun-if-changed=src/entries.rs");
    println!("cargo::rerun-if-changed=src/upkeep.rs");
    println!("cargo::rerun-if-changed=src/xpu_entries.rs");
    println!("cargo::rerun-if-changed={ROOT}/defaults.yaml");
    println!("cargo::rerun-if-changed={ROOT}/model_configs");
    match made() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn made() -> Result<(), String> {
    let mut code = String::new();
    model_configs(&mut code, &Path::new(ROOT).join("model_configs"))?;
    let text = read(&Path::new(ROOT).join("defaults.yaml"))?;
    let file: DefaultsFile = parse(&text)?;
    tables(&mut code, file).map_err(|e| format!("defaults.yaml: {e}"))?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo sets OUT_DIR")?);
    fs::write(out.join("builtin.rs"), code).map_err(|e| format!("{}: {e}", out.display()))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(text: &str) -> Result<DefaultsFile, String> {
    // As the simulator itself reads YAML.
    let options = serde_yaml::options! { strict_booleans: true };
    serde_yaml::from_str_with_options(text, options).map_err(|error| {
        let error = error.without_snippet();
        let place = error
            .location()
            .map_or_else(String::new, |at| format!(":{}:{}", at.line(), at.column()));
        let message = serde_yaml::UserMessageFormatter.format_message(error);
        format!("defaults.yaml{place}: {message}").replace('\n', " ")
    })
}

/// Writes the list of built-in model configurations, sorted by name.
fn model_configs(code: &mut String, folder: &Path) -> Result<(), String> {
    let place = |e: std::io::Error| format!("{}: {e}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(place)? {
        let path = entry.map_err(place)?.path();
        let name = path.file_name().and_then(|n| n.to_str());
        let name = name.filter(|n| *n == n.to_lowercase()).ok_or_else(|| {
            format!(
                "{}: a model's folder has a name in lower case",
                path.display()
            )
        })?;
        if !path.join("config.json").is_file() {
            return Err(format!("{}: no config.json in it", path.display()));
        }
        names.push(name.to_owned());
    }
    names.sort();
    code.push_str(
        "/// Short model name (folder name) and the text of its `config.json`, sorted by name.\n\
         pub const MODEL_CONFIGS: &[(&str, &str)] = &[\n",
    );
    for name in names {
        let path = format!("/{ROOT}/model_configs/{name}/config.json");
        line(
            code,
            format_args!(
                "({name:?}, include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))),"
            ),
        );
    }
    code.push_str("];\n");
    Ok(())
}

/// Writes the tables of a defaults file, each sorted by name.
fn tables(code: &mut String, file: DefaultsFile) -> Result<(), String> {
    let models: BTreeMap<String, ModelEntry> = file
        .models
        .into_iter()
        .map(|(id, entry)| (id.to_lowercase(), entry))
        .collect();
    check(&models, &file.trained_physics, &file.workloads)?;
    check_hardware(&file.hardware, &file.sources)?;

    let mut gpus: BTreeMap<&str, Hardware> = BTreeMap::new();
    let entries = || file.hardware.iter();
    for (gpu, entry) in entries().filter(|(_, entry)| entry.alias_of.is_none()) {
        gpus.insert(gpu, entry.figures(gpu, &file.hardware)?);
    }
    line(
        code,
        format_args!(
            "/// GPU, its figures, and what else is known.\n\
             static HARDWARE: &[(&str, Hardware, Gpu)] = &["
        ),
    );
    for (gpu, entry) in entries() {
        let known = entry.alias_of.as_deref().unwrap_or(gpu);
        let figures = gpus
            .get(known)
            .ok_or_else(|| format!("hardware {gpu}: alias_of: unknown GPU \"{known}\""))?;
        let upkeep = file.hardware[known].upkeep(known)?;
        let link = file.hardware[known].link(known)?;
        line(
            code,
            format_args!(
                "({gpu:?}, {figures:?}, Gpu {{ alias_of: {:?}, spellings: &{:?}, mfu_from: {:?}, \
                 reference_fp8: {:?}, upkeep: {upkeep:?}, link_gb_s: {link:?} }}),",
                entry.alias_of, entry.spellings, entry.mfu_from, entry.reference_tflops_fp8
            ),
        );
    }
    code.push_str("];\n");

    let physics = &file.trained_physics;
    line(
        code,
        format_args!(
            "/// Alpha and beta.\n\
             static TRAINED_PHYSICS: (&[f64], &[f64]) = (&{:?}, &{:?});",
            physics.alpha, physics.beta
        ),
    );

    let fit = file.kernel_tables.ok_or("kernel_tables is missing")?;
    fit.check()?;
    line(
        code,
        format_args!(
            "/// Of the step-time model `kernel-tables`.\n\
             static KERNEL_FIT: KernelFit = {fit:?};"
        ),
    );

    let lora = file.blis_lora.ok_or("blis_lora is missing")?;
    lora.check()?;
    let costs = [
        lora.load_base_latency_us,
        lora.load_bandwidth_bytes_us,
        lora.footprint_bytes_per_rank,
    ];
    let tiers: Vec<_> = lora.step_overhead_tiers.iter().collect();
    line(
        code,
        format_args!(
            "/// Of BLIS: base latency, bandwidth, footprint; overheads by rank.\n\
             static BLIS_LORA: ([f64; 3], &[(u32, LoraOverhead)]) = ({costs:?}, &{tiers:?});"
        ),
    );
    let devices = file.blis_kv_devices.ok_or("blis_kv_devices is missing")?;
    for (name, device) in &devices {
        let of = |message| format!("blis_kv_devices {name}: {message}");
        device.check().map_err(of)?;
    }
    let devices: Vec<_> = devices.iter().collect();
    line(
        code,
        format_args!(
            "/// Of BLIS, by name.\nstatic BLIS_KV_DEVICES: &[(&str, KvDevice)] = &{devices:?};"
        ),
    );

    xpu_tables(code, &file.xpu_roofline.ok_or("xpu_roofline is missing")?)?;
    line(
        code,
        format_args!("/// By name.\nstatic WORKLOADS: &[(&str, Preset)] = &["),
    );
    for (name, preset) in &file.workloads {
        line(code, format_args!("({name:?}, {preset:?}),"));
    }
    code.push_str("];\n");

    line(
        code,
        format_args!("/// By full name, lower case.\nstatic MODELS: &[(&str, Model)] = &["),
    );
    for (id, model) in &models {
        let ModelEntry {
            hf_repo,
            aliases,
            fitted_default,
            analytic_default,
            fitted,
        } = model;
        let fitted_default = fitted_default.as_ref().map(|d| (&d.gpu, d.tp, &d.vllm));
        let analytic_default = analytic_default.as_ref().map(|d| (&d.gpu, d.tp));
        line(
            code,
            format_args!(
                "({id:?}, Model {{ hf_repo: {hf_repo:?}, aliases: &{aliases:?}, fitted_default: {fitted_default:?}, \
                 analytic_default: {analytic_default:?}, fitted: &["
            ),
        );
        for row in fitted {
            // Debug writes every number so that it reads back bit for bit.
            line(
                code,
                format_args!(
                    "Row {{ gpu: {:?}, tp: {}, vllm: {:?}, alpha: {:?}, beta: {:?}, \
                     kv_blocks: {}, blis_kv_blocks: {:?}, loss: {:?} }},",
                    row.gpu,
                    row.tp,
                    row.vllm,
                    row.alpha,
                    row.beta,
                    row.kv_blocks,
                    row.blis_kv_blocks,
                    row.loss
                ),
            );
        }
        code.push_str("] }),\n");
    }
    code.push_str("];\n");
    Ok(())
}

/// Writes the tables of the step-time model `xpu-roofline`.
fn xpu_tables(code: &mut String, catalog: &XpuCatalog) -> Result<(), String> {
    check_xpus(catalog)?;
    code.push_str("/// By name.\nstatic XPU_MODELS: &[(&str, XpuModel)] = &[\n");
    for (name, model) in &catalog.models {
        let text = format!("{model:?}").replace("dtype: ", "dtype: XpuDtype::");
        line(code, format_args!("({name:?}, {text}),"));
    }
    code.push_str("];\n/// By name.\nstatic XPUS: &[(&str, XpuRow)] = &[\n");
    for (name, xpu) in &catalog.hardware {
        line(
            code,
            format_args!(
                "({name:?}, XpuRow {{ spellings: &{:?}, memory_gib: {:?}, bandwidth_gb_s: {:?}, \
                 intra_node_gb_s: {:?}, all_reduce: XpuAlgorithm::{:?}, \
                 all_reduce_latency_us: {:?}, capex_usd: {:?}, units: &[",
                xpu.spellings,
                xpu.memory_gib,
                xpu.bandwidth_gb_s,
                xpu.intra_node_gb_s,
                xpu.all_reduce,
                xpu.all_reduce_latency_us,
                xpu.capex_usd
            ),
        );
        for unit in &xpu.units {
            let dtype = |dtype: &XpuDtype| format!("XpuDtype::{dtype:?}");
            let dtypes: Vec<String> = unit.dtypes.iter().map(dtype).collect();
            let dtypes = dtypes.join(", ");
            line(
                code,
                format_args!("({:?}, {:?}, &[{dtypes}]),", unit.tflops, unit.efficiency),
            );
        }
        code.push_str("] }),\n");
    }
    code.push_str("];\n");
    Ok(())
}

fn line(code: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(code, "{text}").expect("writing to a string does not fail");
}
