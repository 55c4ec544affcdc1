//! Results to stdout and to files. Files are written whole or not at all.

use super::args::{AnalysisArgs, CommonArgs, Format, OutputArgs};
use crate::cluster::{Cluster, Progress};
use crate::input::{InputError, write_whole};
use crate::metrics::digest::Digest;
use crate::metrics::summary::RunSummary;
use crate::record::{Recorder, RequestRecord, RunRecord};
use crate::report::{ReportInputs, Results, blis, decisions, json, rows, saturation, table};
use crate::request::Symbols;
use crate::workload::export;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Refuses paths that cannot work before the run starts.
pub fn check_paths(output: &OutputArgs, analysis: &AnalysisArgs) -> Result<(), InputError> {
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
    let mut seen: Vec<&PathBuf> = Vec::new();
    for path in files {
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(InputError::in_file(
                path.display(),
                format!("there is no folder {}", folder.display()),
            ));
        }
        if path.is_dir() {
            return Err(InputError::in_file(
                path.display(),
                "it is a folder; expected a file name",
            ));
        }
        if seen.contains(&path) {
            return Err(InputError::in_file(
                path.display(),
                "two outputs would go to the same file",
            ));
        }
        seen.push(path);
    }
    Ok(())
}

/// Header and data file of an exported trace.
fn export_paths(prefix: &Path) -> [PathBuf; 2] {
    let with = |ending: &str| {
        let mut name = prefix.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    [with(".yaml"), with(".csv")]
}

/// Runs a cluster and keeps only the digest of its requests; their rows go to the results file while it runs.
pub fn stream(
    cluster: Cluster<'_>,
    output: &OutputArgs,
    digest: &mut Digest,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunRecord, InputError> {
    let Some(path) = &output.results_path else {
        return Ok(cluster.run_into(digest, progress));
    };
    let format = rows::Format::of(path)?;
    let mut record = None;
    write_whole(path, |out| {
        let mut both = Both {
            digest,
            rows: rows::RowStream::new(format, out)?,
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

/// Prints the results and writes the files that were asked for.
pub fn deliver(
    record: &RunRecord,
    summary: RunSummary,
    inputs: &ReportInputs,
    common: &CommonArgs,
) -> anyhow::Result<()> {
    let results = Results::with_summary(record, summary, inputs);
    let output = &common.output;
    if let (Some(path), false) = (&output.results_path, output.summary_only) {
        rows::write_file(record, path)?;
    }
    if let Some(path) = &output.metrics_path {
        write_whole(path, |out| blis::metrics_file(&results, out))?;
    }
    if let Some(prefix) = &output.trace_output {
        let [header, data] = export_paths(prefix);
        export::write(
            &header,
            &data,
            &record.requests,
            &record.symbols,
            Some(common.seed),
        )?;
    }
    if let Some(path) = &common.analysis.decisions_path {
        write_whole(path, |out| decisions::write_jsonl(&record.decisions, out))?;
    }
    if let (Some(path), Some(detectors)) = (&common.analysis.saturation_report, &inputs.detectors) {
        write_whole(path, |out| saturation::write_trace(record, detectors, out))?;
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    match if output.json {
        Format::Json
    } else {
        output.format
    } {
        Format::Table => out.write_all(table::text(&results).as_bytes())?,
        Format::Json => json::write(&results, &mut out)?,
        Format::Blis => blis::write_stdout(&results, &mut out)?,
    }
    out.flush()?;
    Ok(())
}
