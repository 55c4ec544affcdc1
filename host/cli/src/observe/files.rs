//! The files that an observation leaves.

use super::asking::Seen;
use crate::output::{check_path, export_paths};
use clap::Args;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, Staging, identity};
use windtunnel_live::observe::{write_itl, write_jsonl};
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_workload::trace_v2;
use windtunnel_workload::trace_v2::observed::{ObservedHead, ObservedRow, write_rows};

/// Where an observation goes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutArgs {
    /// Write the requests as a TraceV2 trace, which `replay` and `calibrate` read: NAME.yaml and
    /// NAME.csv
    #[arg(long, value_name = "NAME", conflicts_with_all = ["trace_header", "trace_data"])]
    pub out: Option<PathBuf>,
    /// Header of that trace, YAML
    #[arg(long, value_name = "FILE", requires = "trace_data")]
    trace_header: Option<PathBuf>,
    /// Data of that trace, CSV
    #[arg(long, value_name = "FILE", requires = "trace_header")]
    trace_data: Option<PathBuf>,
    /// Write when each event with tokens came beside the trace, to NAME.itl.csv
    #[arg(long, conflicts_with = "itl_output")]
    record_itl: bool,
    /// The same to this file, CSV
    #[arg(long, value_name = "FILE")]
    itl_output: Option<PathBuf>,
    /// Write the requests as AIPerf's profile_export.jsonl has them
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
}

impl OutArgs {
    /// Header and data of the trace.
    pub fn trace(&self) -> Option<[PathBuf; 2]> {
        let both = self.trace_header.clone().zip(self.trace_data.clone());
        let named = self.out.as_deref().map(export_paths);
        named.or(both.map(|(header, data)| [header, data]))
    }

    fn itl(&self) -> Option<PathBuf> {
        let beside = self.trace().filter(|_| self.record_itl);
        let beside = beside.map(|[_, data]| data.with_extension("itl.csv"));
        self.itl_output.clone().or(beside)
    }

    /// Refuses files that cannot be written, or that the workload is read from.
    pub fn check(&self, read: &[PathBuf]) -> Result<(), InputError> {
        if self.record_itl && self.trace().is_none() {
            let message = "--record-itl has no effect without --out or --trace-data; --itl-output names a file";
            return Err(InputError::new(message));
        }
        let files = self.trace().into_iter().flatten();
        let files = files.chain(self.itl()).chain(self.jsonl.clone());
        let mut taken: Vec<PathBuf> = read.iter().filter_map(|p| identity(p).ok()).collect();
        for path in files {
            check_path(&path)?;
            if let Ok(identity) = identity(&path) {
                if taken.contains(&identity) {
                    let why = "it would be overwritten: another output goes there, or the workload is read from it";
                    return Err(InputError::in_file(path.display(), why));
                }
                taken.push(identity);
            }
        }
        Ok(())
    }

    /// Writes all files, or none. `marks` say why they are not what was asked for.
    pub fn write(&self, seen: &Seen, marks: Vec<String>) -> Result<(), InputError> {
        let mut files = Staging::default();
        if let Some([header, data]) = self.trace() {
            stage_trace(&mut files, &header, &data, seen, marks)?;
        }
        if let Some(path) = self.itl() {
            files.write(&path, |out| write_itl(out, &seen.observation))?;
        }
        if let Some(path) = &self.jsonl {
            files.write(path, |out| write_jsonl(out, &seen.observation))?;
        }
        files.commit()
    }
}

/// Writes the trace of an observation.
pub fn stage_trace(
    files: &mut Staging,
    header: &Path,
    data: &Path,
    seen: &Seen,
    mut marks: Vec<String>,
) -> Result<(), InputError> {
    if seen.observation.stopped {
        marks.push("the observation was stopped before everything was sent".to_owned());
    }
    let head = ObservedHead {
        created_at: jiff::Timestamp::now().to_string(),
        warm_up_requests: seen.warm_up,
        workload_seed: seen.seed,
        workload: seen.workload.clone(),
        model: seen.model.clone(),
        targets: targets(&seen.targets),
        kv: seen.observation.kv.clone(),
        marks,
    };
    let requests = seen.observation.requests.iter();
    let rows: Vec<ObservedRow> = requests.map(|o| o.row.clone()).collect();
    files.write(data, |out| write_rows(out, &rows))?;
    files.write(header, |out| out.write_all(head.text().as_bytes()))
}

/// Targets by class, milliseconds.
fn targets(targets: &SloTargets) -> Vec<(String, trace_v2::SloTargets)> {
    let mut classes: Vec<&str> = targets.named().map(|(class, _)| class).collect();
    classes.dedup();
    let goals = classes.into_iter().map(|class| {
        let ms = |dimension| targets.target_us(class, dimension).unwrap_or(0.0) / 1e3;
        let goals = trace_v2::SloTargets {
            ttft_ms: ms(Dimension::Ttft),
            itl_ms: ms(Dimension::Itl),
            e2e_ms: ms(Dimension::E2e),
        };
        (class.to_owned(), goals)
    });
    goals.collect()
}
