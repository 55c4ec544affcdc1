//! Results to stdout and to files. Files are written whole or not at all.

use super::args::{AnalysisArgs, CommonArgs, Format, OutputArgs};
use super::print::to_stdout;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, Staging, folder_of, identity};
use windtunnel_base::record::{Recorder, RequestRecord, RunRecord};
use windtunnel_base::request::Symbols;
use windtunnel_engine::cluster::{Cluster, Progress};
use windtunnel_results::metrics::digest::Digest;
use windtunnel_results::metrics::summary::RunSummary;
use windtunnel_results::report::{
    ReportInputs, Results, blis, decisions, json, rows, saturation, table,
};
use windtunnel_workload::export;

/// A run that is over.
pub struct Finished {
    pub record: RunRecord,
    pub summary: RunSummary,
    pub inputs: ReportInputs,
}

/// Refuses paths that cannot work before the run starts. `inputs` are the files that the run reads.
pub fn check_paths(
    output: &OutputArgs,
    analysis: &AnalysisArgs,
    inputs: &[&Path],
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

/// Runs a cluster and keeps only the digest of its requests; their rows go to the results file
/// while it runs.
pub fn stream(
    cluster: Cluster<'_>,
    output: &OutputArgs,
    digest: &mut Digest,
    files: &mut Staging,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunRecord, InputError> {
    let Some(path) = &output.results_path else {
        return Ok(cluster.run_into(digest, progress));
    };
    let format = rows::Format::of(path)?;
    let pools = cluster.config().names_pools();
    let mut record = None;
    files.write(path, |out| {
        let mut both = Both {
            digest,
            rows: rows::RowStream::new(format, pools, out)?,
        };
        let run = cluster.run_into(&mut both, progress);
        both.rows.finish(&run.symbols)?;
        record = Some(run);
        Ok(())
    })?;
    record.ok_or_else(|| InputError::in_file(path.display(), "nothing was written"))
}

struct Both<'a, 'b> {
    digest: &'a mut Digest,
    rows: rows::RowStream<'b>,
}

impl Recorder for Both<'_, '_> {
    fn record(&mut self, request: RequestRecord, symbols: &Symbols) {
        self.digest.add(&request);
        self.rows.record(request, symbols);
    }
}

/// Prints the results and writes the files that were asked for, with those that `files` holds
/// already.
pub fn deliver(finished: Finished, common: &CommonArgs, files: Staging) -> anyhow::Result<()> {
    let results =
        Results::with_summary(&finished.record, finished.summary.clone(), &finished.inputs);
    write_files(&finished, &results, common, files)?;
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
    finished: &Finished,
    results: &Results<'_>,
    common: &CommonArgs,
    mut files: Staging,
) -> Result<(), InputError> {
    let Finished { record, inputs, .. } = finished;
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
        files.write(path, |out| decisions::write_jsonl(record, out))?;
    }
    if let (Some(path), Some(detectors)) = (&common.analysis.saturation_report, &inputs.detectors) {
        files.write(path, |out| saturation::write_trace(record, detectors, out))?;
    }
    files.commit()
}
