//! Results to stdout and to files. Files are written whole or not at all.

use super::args::{AnalysisArgs, Format, OutputArgs};
use super::command_line::command_line;
use super::print::{present, show_json, to_stdout};
use super::spelling::{FILES, in_flags};
use serde_json::Value;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, Staging, folder_of, identity};
use windtunnel_engine::cluster::Progress;
use windtunnel_policy::Reference;
use windtunnel_results::report::time_series::TimeSeries;
use windtunnel_results::report::{
    Results, blis, columns, decisions, json, kv_events, rows, run_page, saturation, step_log,
    table, ticks, timeline, xpusim,
};
use windtunnel_sim::{RunResult, RunSpec, Simulation};
use windtunnel_workload::export;

/// The files that a run writes.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Results of every request, JSON or CSV by its ending.
    pub results_path: Option<PathBuf>,
    /// Totals and results of every request, as BLIS writes them.
    pub metrics_path: Option<PathBuf>,
    /// Prefix of an exported TraceV2 trace.
    pub trace_output: Option<PathBuf>,
    /// Every decision as a line of JSON.
    pub decisions_path: Option<PathBuf>,
    /// Every KV block that was stored in a prefix cache or removed, as lines of JSON.
    pub kv_events_path: Option<PathBuf>,
    /// Every step, as lines of JSON.
    pub step_log: Option<PathBuf>,
    /// The saturation detectors' verdicts over time.
    pub saturation_report: Option<PathBuf>,
    /// What the instances do over time.
    pub time_series: Option<PathBuf>,
    /// Requests and steps, for a viewer of traces.
    pub timeline: Option<PathBuf>,
    /// A page that shows the run.
    pub html: Option<PathBuf>,
    /// What scripts print.
    pub script_log: Option<PathBuf>,
}

impl Files {
    /// Those that flags name.
    pub fn of(output: &OutputArgs, analysis: &AnalysisArgs) -> Self {
        Self {
            results_path: output.results_path.clone(),
            metrics_path: output.metrics_path.clone(),
            trace_output: output.trace_output.clone(),
            decisions_path: analysis.decisions_path.clone(),
            kv_events_path: output.kv_events_path.clone(),
            step_log: output.step_log.clone(),
            saturation_report: analysis.saturation_report.clone(),
            time_series: output.time_series.clone(),
            timeline: output.timeline.clone(),
            html: output.html.clone(),
            script_log: output.script_log.clone(),
        }
    }

    /// The file that goes by this name as a setting.
    pub fn named(&mut self, name: &str) -> Option<&mut Option<PathBuf>> {
        let files = [
            &mut self.results_path,
            &mut self.metrics_path,
            &mut self.trace_output,
            &mut self.decisions_path,
            &mut self.kv_events_path,
            &mut self.step_log,
            &mut self.saturation_report,
            &mut self.time_series,
            &mut self.timeline,
            &mut self.html,
            &mut self.script_log,
        ];
        let mut named = FILES.into_iter().zip(files);
        named
            .find(|(known, _)| *known == name)
            .map(|(_, file)| file)
    }

    /// The run, told to keep what only these files need.
    #[must_use]
    pub fn asked_of(&self, run: &RunSpec) -> RunSpec {
        let mut run = run.clone();
        run.outputs.kv_events |= self.kv_events_path.is_some();
        run.outputs.steps |= self.step_log.is_some() || self.timeline.is_some();
        run.outputs.script_log |= self.script_log.is_some();
        run.outputs.decisions |= self.timeline.is_some();
        let series = [&self.time_series, &self.timeline, &self.html];
        run.outputs.series |= !run.is_in_ticks() && series.iter().any(|file| file.is_some());
        run
    }

    /// Refuses files of which nothing is known in this run, and paths that cannot work.
    ///
    /// # Errors
    /// The first such file.
    pub fn check(&self, run: &RunSpec) -> Result<(), InputError> {
        let outputs = &run.outputs;
        let in_ticks = run.is_in_ticks();
        let real = "with `latency_model` ticks, whose time is abstract";
        for (path, name) in [
            (&self.metrics_path, "metrics_path"),
            (&self.trace_output, "trace_output"),
            (&self.decisions_path, "decisions_path"),
            (&self.kv_events_path, "kv_events_path"),
            (&self.step_log, "step_log"),
            (&self.time_series, "time_series"),
            (&self.timeline, "timeline"),
        ] {
            if in_ticks && path.is_some() {
                return Err(InputError::new(format!("`{name}` has no effect {real}")));
            }
        }
        let no_records = "with `summary_only`, which keeps no request's record";
        let needs = [
            (
                &self.decisions_path,
                "decisions_path",
                outputs.decisions,
                "without `decisions`",
            ),
            (
                &self.saturation_report,
                "saturation_report",
                outputs.detectors.is_some(),
                "without `detectors`",
            ),
            (
                &self.metrics_path,
                "metrics_path",
                !outputs.summary_only,
                no_records,
            ),
            (
                &self.trace_output,
                "trace_output",
                !outputs.summary_only,
                no_records,
            ),
            (
                &self.timeline,
                "timeline",
                !outputs.summary_only,
                no_records,
            ),
        ];
        let is_script = |policy: &Reference| matches!(policy, Reference::Script(_));
        let scripts = run
            .named_policies()
            .is_none_or(|all| all.iter().any(is_script));
        if self.script_log.is_some() && !scripts {
            return Err(InputError::new(
                "`script_log` has no effect without a policy from a script",
            ));
        }
        for (path, name, effective, because) in needs {
            if path.is_some() && !effective {
                return Err(InputError::new(format!("`{name}` has no effect {because}")));
            }
        }
        self.check_paths(&run.files(), outputs.summary_only)
    }

    /// All files that are written: also what the process may write where it is confined.
    pub fn paths(&self) -> Vec<PathBuf> {
        let exports = self.trace_output.as_deref().map(export_paths);
        let files = [
            &self.results_path,
            &self.metrics_path,
            &self.decisions_path,
            &self.kv_events_path,
            &self.step_log,
            &self.saturation_report,
            &self.time_series,
            &self.timeline,
            &self.html,
            &self.script_log,
        ];
        let files = files.into_iter().flatten().cloned();
        files.chain(exports.into_iter().flatten()).collect()
    }

    /// Refuses paths that cannot work. `inputs` are the files that the run reads.
    fn check_paths(&self, inputs: &[PathBuf], summary_only: bool) -> Result<(), InputError> {
        for path in [&self.results_path, &self.time_series]
            .into_iter()
            .flatten()
        {
            rows::Format::of(path)?;
        }
        if let (Some(path), true) = (&self.results_path, summary_only)
            && rows::Format::of(path)? == rows::Format::Parquet
        {
            return Err(InputError::in_file(
                path.display(),
                "with `summary_only` rows are written one by one: expected .csv, .json or .jsonl",
            ));
        }
        let files = self.paths();
        let read: Vec<PathBuf> = inputs.iter().filter_map(|p| identity(p).ok()).collect();
        let mut seen: Vec<PathBuf> = Vec::new();
        for path in &files {
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
    files: &Files,
    staging: &mut Staging,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunResult, InputError> {
    let mut result = carry_out(simulation, files, staging, progress)?;
    // Reports hold the notes as people read them.
    let notes = result.inputs.setup.get_mut("notes");
    for note in notes.and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(note) = note {
            *note = in_flags(note);
        }
    }
    Ok(result)
}

fn carry_out(
    simulation: Simulation,
    files: &Files,
    staging: &mut Staging,
    progress: &mut dyn FnMut(Progress),
) -> Result<RunResult, InputError> {
    let summary_only = simulation.spec().outputs.summary_only;
    let (Some(path), true) = (&files.results_path, summary_only) else {
        return simulation.run(progress);
    };
    let format = rows::Format::of(path)?;
    let config = simulation.deployment().config();
    let extra = rows::Extra {
        pools: config.names_pools(),
        splits: config.splits(),
        gateway: config.front.flow_control.is_some(),
        retries: !config.events.all.is_empty(),
        ranks: config.pools.iter().any(|pool| pool.ranks.are_several()),
    };
    let mut result = None;
    staging.write(path, |out| {
        let mut rows = rows::RowStream::new(format, extra, out)?;
        let finished = simulation.run_into(&mut rows, progress);
        if let Ok(finished) = &finished {
            rows.finish(&finished.record.symbols)?;
        }
        result = Some(finished);
        Ok(())
    })?;
    result.unwrap_or_else(|| Err(InputError::in_file(path.display(), "nothing was written")))
}

/// Prints the results and writes the files that were asked for, with those that `staging` holds
/// already.
pub fn deliver(
    result: &RunResult,
    output: &OutputArgs,
    files: &Files,
    staging: Staging,
) -> anyhow::Result<()> {
    let results = result.results();
    write_files(result, &results, files, staging, &command_line())?;
    let format = if output.json {
        Format::Json
    } else {
        output.format
    };
    if let Some(inputs) = &result.inputs.ticks {
        return match format {
            Format::Json => present(true, &format!("{:#}\n", ticks::value(&results, inputs))),
            Format::Table | Format::Blis | Format::Xpusim => {
                present(false, &ticks::text(&results, inputs))
            }
        };
    }
    match format {
        Format::Table => present(false, &table::text(&results)),
        Format::Json => show_json(|out| json::write(&results, out)),
        Format::Xpusim => show_json(|out| xpusim::write(&results, out)),
        Format::Blis => to_stdout(|out| blis::write_stdout(&results, out)),
    }
}

/// Writes the files that were asked for, with those that `staging` holds already. Pages say that
/// `call` makes them again.
pub fn write_files(
    result: &RunResult,
    results: &Results<'_>,
    files: &Files,
    mut staging: Staging,
    call: &str,
) -> Result<(), InputError> {
    let RunResult { record, inputs, .. } = result;
    if let Some(inputs) = &inputs.ticks {
        if let Some(path) = &files.results_path {
            ticks::write_file(&mut staging, record, inputs, path)?;
        }
        if let Some(path) = &files.html {
            let page = ticks::html(results, inputs);
            staging.write(path, |out| out.write_all(page.as_bytes()))?;
        }
        return staging.commit();
    }
    if let (Some(path), Some(figures)) = (&files.results_path, &inputs.xpusim) {
        xpusim::write_timelines(&mut staging, figures, path)?;
    } else if let (Some(path), false) = (&files.results_path, result.spec.outputs.summary_only) {
        // With a summary only, the rows were written while the run went on.
        rows::write_file(&mut staging, record, path)?;
    }
    if let Some(path) = &files.metrics_path {
        staging.write(path, |out| blis::metrics_file(results, out))?;
    }
    if let Some(prefix) = &files.trace_output {
        let [header, data] = export_paths(prefix);
        let head = export::Head {
            workload_seed: Some(result.spec.seed()),
            accumulate: false,
        };
        let (requests, symbols) = (&record.requests, &record.symbols);
        export::write(&mut staging, &header, &data, requests, symbols, head)?;
    }
    if let Some(path) = &files.decisions_path {
        staging.write(path, |out| decisions::write_jsonl(record, out))?;
    }
    if let Some(path) = &files.kv_events_path {
        staging.write(path, |out| kv_events::write_jsonl(record, out))?;
    }
    if let Some(path) = &files.step_log {
        staging.write(path, |out| step_log::write_jsonl(record, out))?;
    }
    if let (Some(path), Some(series)) = (&files.time_series, TimeSeries::of(record, None)) {
        let format = rows::Format::of(path)?;
        staging.write(path, |out| columns::write(&series.columns(), format, out))?;
    }
    if let Some(path) = &files.timeline {
        staging.write(path, |out| timeline::write(record, out))?;
    }
    if let Some(path) = &files.html {
        let page = run_page::html(results, call);
        staging.write(path, |out| out.write_all(page.as_bytes()))?;
    }
    if let (Some(path), Some(detectors)) = (&files.saturation_report, &inputs.detectors) {
        staging.write(path, |out| saturation::write_trace(record, detectors, out))?;
    }
    staging.commit()
}
