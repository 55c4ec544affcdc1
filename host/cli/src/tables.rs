//! `windtunnel tables`: makes the files of measured kernel times that `--latency-model
//! kernel-tables` reads, and shows what is in them.

mod columns;
mod kernels;
mod llmservingsim;
mod measured;
mod packages;
mod profiles;
mod sheet;
mod vidur;

use super::print::{present, say};
use clap::{Args, Subcommand};
use packages::Packages;
use profiles::Profiles;
use std::path::PathBuf;
use windtunnel_base::input::{InputError, unknown, write_whole};
use windtunnel_config::{Defaults, KernelOp, KernelTables, KernelTablesWriter};

/// `windtunnel tables`.
#[derive(Debug, Subcommand)]
pub enum TablesCommand {
    /// Make a file of one GPU's kernel times from unpacked packages of measurements
    Import(ImportArgs),
    /// Show which kernels of which shapes were measured, with what and where
    Show(ShowArgs),
}

/// `windtunnel tables import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Folders of aisimulate, aiconfigurator-core or aiconfigurator, as pip or unzip unpacks them;
    /// of several, the first that has a kernel's file counts. Or a folder of Vidur's profiles
    /// (data/profiling) or of LLMServingSim's (profiler/perf)
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// The GPU by the packages' name, for example h100_sxm, or by that of its folder of profiles;
    /// those of the first folder are listed where it is not there
    #[arg(long, value_name = "NAME")]
    system: String,
    /// The GPU's name here, where the packages' name is not known
    #[arg(long, value_name = "NAME")]
    gpu: Option<String>,
    /// vLLM version of a kernel's figures (gemm, attention, all-reduce, experts or delta-nets), or
    /// of all kernels; the newest one otherwise
    #[arg(long = "vllm-version", value_name = "[KERNEL=]VERSION")]
    versions: Vec<String>,
    /// File to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// `windtunnel tables show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A GPU whose tables are built in, or a file; the GPUs where there is none
    tables: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The packages' names of GPUs.
const SYSTEMS: [(&str, &str); 9] = [
    ("a100_pcie", "A100-PCIe"),
    ("a100_sxm", "A100-SXM"),
    ("b200_sxm", "B200"),
    ("b300_sxm", "B300"),
    ("gb200", "GB200"),
    ("h100_sxm", "H100"),
    ("h200_sxm", "H200"),
    ("l40s", "L40S"),
    ("rtx_pro_6000_server", "RTX-PRO-6000"),
];

/// Runs the command.
pub fn tables(command: &TablesCommand) -> anyhow::Result<()> {
    match command {
        TablesCommand::Import(args) => import(args),
        TablesCommand::Show(args) => show(args),
    }
}

fn import(args: &ImportArgs) -> anyhow::Result<()> {
    if let Some(profiles) = args
        .folders
        .iter()
        .find_map(|folder| Profiles::find(folder))
    {
        return import_profiles(args, &profiles);
    }
    let packages = Packages::open(&args.folders, &args.system)?;
    let known = SYSTEMS.iter().find(|(name, _)| *name == args.system);
    let gpu = match (&args.gpu, known) {
        (Some(gpu), _) => gpu.as_str(),
        (None, Some((_, gpu))) => gpu,
        (None, None) => {
            let message = format!("{} has no name here; give --gpu NAME", args.system);
            return Err(InputError::new(message).into());
        }
    };
    let wanted = wanted_versions(&args.versions)?;
    let made_by = format!("windtunnel tables import --system {}", args.system);
    let versions = args.versions.iter().map(|v| format!(" --vllm-version {v}"));
    let mut writer = KernelTablesWriter::new(gpu, &(made_by + &versions.collect::<String>()));
    for kernel in kernels::KERNELS {
        let version = wanted.iter().rfind(|(name, _)| {
            name.as_ref()
                .is_none_or(|name| name == kernel.name || name == kernel.family)
        });
        let version = version.map(|(_, version)| version.as_str());
        match packages.find(kernel.folder, kernel.file, version)? {
            Some(file) => kernel.add(&file, &mut writer)?,
            None => say(&format!(
                "note: {} has no {} of vLLM{}",
                args.system,
                kernel.name,
                version.map_or(String::new(), |v| format!(" {v}"))
            )),
        }
    }
    let file = writer.finish();
    write_whole(&args.output, |out| out.write_all(&file))?;
    let size = file.len();
    let output = args.output.display();
    say(&format!("{output}: kernel times of {gpu}, {size} bytes"));
    Ok(())
}

/// Of another simulator's profiles.
fn import_profiles(args: &ImportArgs, profiles: &Profiles) -> anyhow::Result<()> {
    let simulator = profiles.simulator;
    if args.folders.len() > 1 {
        let message =
            format!("found several folders, expected the one with {simulator}'s profiles alone");
        return Err(InputError::new(message).into());
    }
    if !args.versions.is_empty() {
        let message = format!(
            "--vllm-version has no effect on {simulator}'s profiles, which have one version each"
        );
        return Err(InputError::new(message).into());
    }
    let measured = profiles.measured(&args.system)?;
    let known = Defaults::builtin().hardware.find(&args.system);
    let gpu = args.gpu.as_deref().or(known.map(|(name, _)| name));
    let Some(gpu) = gpu else {
        let message = format!("{} has no name here; give --gpu NAME", args.system);
        return Err(InputError::new(message).into());
    };
    let made_by = format!("windtunnel tables import --system {}", args.system);
    let mut writer = KernelTablesWriter::new(gpu, &made_by);
    for note in profiles.write(measured, gpu, &mut writer)? {
        say(&format!("note: {note}"));
    }
    let file = writer.finish();
    write_whole(&args.output, |out| out.write_all(&file))?;
    let (output, size) = (args.output.display(), file.len());
    say(&format!("{output}: kernel times of {gpu}, {size} bytes"));
    Ok(())
}

/// Kernels, or all, and the versions that are wanted of them.
fn wanted_versions(given: &[String]) -> Result<Vec<(Option<String>, String)>, InputError> {
    let mut names: Vec<&str> = Vec::new();
    for kernel in kernels::KERNELS {
        if !names.contains(&kernel.family) {
            names.push(kernel.family);
        }
    }
    let version = |text: &String| match text.split_once('=') {
        None => Ok((None, text.clone())),
        Some((kernel, version)) if names.contains(&kernel) => {
            Ok((Some(kernel.to_owned()), version.to_owned()))
        }
        Some((kernel, _)) => Err(InputError::new(format!(
            "--vllm-version: {}",
            unknown("kernel", kernel, &names)
        ))),
    };
    // What is said of one kernel goes before what is said of all.
    let mut wanted = given
        .iter()
        .map(version)
        .collect::<Result<Vec<_>, InputError>>()?;
    wanted.sort_by_key(|(kernel, _)| kernel.is_some());
    Ok(wanted)
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let Some(name) = &args.tables else {
        let gpus: Vec<&str> = KernelTables::shipped_gpus().collect();
        return if args.json {
            present(true, &(serde_json::to_string_pretty(&gpus)? + "\n"))
        } else {
            present(false, &(gpus.join("\n") + "\n"))
        };
    };
    let shipped = KernelTables::shipped_gpus().find(|gpu| gpu.eq_ignore_ascii_case(name));
    let given;
    let tables = match shipped.and_then(KernelTables::builtin) {
        Some(tables) => tables,
        None if PathBuf::from(name).exists() => {
            given = KernelTables::load(&PathBuf::from(name))?;
            &given
        }
        None => {
            let gpus: Vec<&str> = KernelTables::shipped_gpus().collect();
            let message = unknown("GPU or file", name, &gpus);
            return Err(InputError::new(message).into());
        }
    };
    if args.json {
        let json = serde_json::json!({
            "gpu": tables.gpu(),
            "sources": tables.sources(),
            "tables": tables.tables(),
        });
        return present(true, &(serde_json::to_string_pretty(&json)? + "\n"));
    }
    let mut text = format!("{}\n\n", tables.gpu());
    text += &format!(
        "{:<18} {:<10} {:<18} {:>6} {:>5}  {}\n",
        "kernel", "data type", "variant", "shapes", "sizes", "source"
    );
    for table in tables.tables() {
        let (rows, columns) = table.size();
        text += &format!(
            "{:<18} {:<10} {:<18} {rows:>6} {columns:>5}  {}\n",
            op_name(table.op),
            table.dtype,
            table.variant,
            table.source + 1
        );
    }
    text += "\nsources\n";
    for (i, source) in tables.sources().iter().enumerate() {
        text += &format!(
            "{}  {} ({}), {}\n   {}, {}\n",
            i + 1,
            source.package,
            source.licence,
            source.engine,
            source.file,
            source.hash
        );
    }
    present(false, &text)
}

fn op_name(op: KernelOp) -> &'static str {
    match op {
        KernelOp::Gemm => "gemm",
        KernelOp::DecodeAttention => "decode attention",
        KernelOp::PrefillAttention => "prefill attention",
        KernelOp::AllReduce => "all-reduce",
        KernelOp::Experts => "experts",
        KernelOp::DecodeLatentAttention => "decode MLA layer",
        KernelOp::PrefillLatentAttention => "prefill MLA layer",
        KernelOp::DecodeDeltaNet => "decode delta net",
        KernelOp::PrefillDeltaNet => "prefill delta net",
    }
}
