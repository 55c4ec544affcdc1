//! Results to stdout and to files. Files are written whole or not at all.

use super::args::{AnalysisArgs, CommonArgs, Format, OutputArgs};
use super::to_stdout;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, Staging, folder_of, identity};
use windtunnel_engine::cluster::Progress;
use windtunnel_results::report::{Results, blis, decisions, json, rows, saturation, table};
use windtunnel_sim::{RunResult, Simulation};
use windtunnel_workload::export;

/// Refuses paths that cannot work before the run starts. `inputs` are the files that the run reads.
pub fn check_paths(
    output: &OutputArgs,
    analysis: &AnalysisArgs,
    inputs: &[PathBuf],
) -> Result<(), InputError> {
    if let Some(path) = &output.results_path {
        rows::Format::of(path)?;
    }
    let exports = output.trace_output.as_deref().map(export_paths);
    let files = [
        &output.results_path,
        &output.metrics_path,
        &analysis.decisions_path,
        &analysis.saturation_report,
    ]
    .into_iter()
    .flatten()
    .chain(exports.iter().flatten());
    let read: Vec<PathBuf> = inputs
        .iter()
        .filter(|p| p.is_file())
        .filter_map(|p| identity(p).ok())
        .collect();
    let mut seen: Vec<PathBuf> = Vec::new();
    for path in files {
        check_path(path)?;
        // A device or a pipe takes several outputs.
        if path.exists() && !path.is_file() {
            continue;
        }
        let Ok(identity) = identity(path) else {
            continue; // writing will say what is wrong with it
        };
        let refuse = |why: &str| Err(InputError::in_file(path.display(), why));
        if read.contains(&identity) {
            return refuse("it would be overwritten, but the run reads it");
        }
        if seen.contains(&identity) {
            return refuse("two outputs would go to the same file");
        }
        seen.push(identity);
    }
    Ok(())
}

/// Can there be a file at `path`?
pub fn check_path(path: &Path) -> Result<(), InputError> {
    let refuse = |why: String| Err(InputError::in_file(path.display(), why));
    let folder = folder_of(path);
    if path.is_dir() {
        return refuse("it is a folder; expected a file name".into());
    }
    if folder.is_dir() {
        return Ok(());
    }
    refuse(if folder.exists() {
        format!("{} is not a folder", folder.display())
    } else {
        format!("there is no folder {}", folder.display())
    })
}

/// Header and data file of an exported trace.
pub fn export_paths(prefix: &Path) -> [PathBuf; 2] {
    let with = |ending: &str| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    [with(".yaml"), with(".csv")]
}

/// Simulates. With `--summary-only`, the requests' rows go to the results file while the run goes
/// on.
pub fn complete(
    simulation: Simulation,
    output: &OutputArgs,
    files: &mut Staging,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunResult, InputError> {
    let (Some(path), true) = (&output.results_path, output.summary_only) else {
        return simulation.run(progress);
    };
    let format = rows::Format::of(path)?;
    let mut result = None;
    files.write(path, |out| {
        let mut rows = rows::RowStream::new(format, out)?;
        let finished = simulation.run_into(&mut rows, progress);
        if let Ok(finished) = &finished {
            rows.finish(&finished.record.symbols)?;
        }
        result = Some(finished);
        Ok(())
    })?;
    result.unwrap_or_else(|| Err(InputError::in_file(path.display(), "nothing was written")))
}

/// Prints the results and writes the files that were asked for, with those that `files` holds
/// already.
pub fn deliver(finished: &RunResult, common: &CommonArgs, files: Staging) -> anyhow::Result<()> {
    let results = finished.results();
    write_files(finished, &results, common, files)?;
    let output = &common.output;
    let format = if output.json {
        Format::Json
    } else {
        output.format
    };
    to_stdout(|out| match format {
        Format::Table => out.write_all(table::text(&results).as_bytes()),
        Format::Json => json::write(&results, out),
        Format::Blis => blis::write_stdout(&results, out),
    })
}

/// Writes the files that were asked for, with those that `files` holds already.
pub fn write_files(
    finished: &RunResult,
    results: &Results<'_>,
    common: &CommonArgs,
    mut files: Staging,
) -> Result<(), InputError> {
    let RunResult { record, inputs, .. } = finished;
    let output = &common.output;
    if let (Some(path), false) = (&output.results_path, output.summary_only) {
        rows::write_file(&mut files, record, path)?;
    }
    if let Some(path) = &output.metrics_path {
        files.write(path, |out| blis::metrics_file(results, out))?;
    }
    if let Some(prefix) = &output.trace_output {
        let [header, data] = export_paths(prefix);
        export::write(
            &mut files,
            &header,
            &data,
            &record.requests,
            &record.symbols,
            export::Head {
                workload_seed: Some(common.seed),
                accumulate: false,
            },
        )?;
    }
    if let Some(path) = &common.analysis.decisions_path {
        files.write(path, |out| decisions::write_jsonl(&record.decisions, out))?;
    }
    if let (Some(path), Some(detectors)) = (&common.analysis.saturation_report, &inputs.detectors) {
        files.write(path, |out| saturation::write_trace(record, detectors, out))?;
    }
    files.commit()
}
