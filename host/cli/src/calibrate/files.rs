//! What was observed and what was simulated, from files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windtunnel_base::input::{InputError, read_text_up_to};
use windtunnel_results::calibrate::{Hits, RealRequest, SimulatedRequest};
use windtunnel_results::metrics::slo::{Dimension, SloTargets};
use windtunnel_workload::measured;
use windtunnel_workload::trace_v2::Header;
use windtunnel_workload::trace_v2::observed::{ObservedRow, Status, read_rows};
use windtunnel_workload::{Format, detect};

/// Largest text, bytes.
const LARGEST: u64 = 4 << 30;

/// What was observed.
#[derive(Default)]
pub struct Real {
    pub requests: Vec<RealRequest>,
    pub warm_up: u64,
    pub rtt_us: f64,
    pub targets: SloTargets,
    /// Hit rate of the server's prefix cache, and by which counters.
    pub hit_rate: Option<(f64, String)>,
    pub notes: Vec<String>,
}

/// A request of a trace, as it is compared.
pub fn real_request(row: &ObservedRow) -> RealRequest {
    RealRequest {
        id: row.id.clone(),
        slo_class: row.slo_class.clone(),
        session: row.session.clone(),
        round: row.round,
        ok: row.status == Status::Ok,
        sent_us: row.send_us as f64,
        ttft_us: row.ttft_us().map(|us| us as f64),
        e2e_us: row.e2e_us().map(|us| us as f64),
        itl_us: None,
        prompt_tokens: row.prompt_tokens(),
        output_tokens: row.output_tokens,
    }
}

/// A path with another ending behind it.
fn ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

impl Real {
    /// Reads the trace `path`: its data, or the name that data and header have in common. Without
    /// `header` it is the file of that name, if there is one.
    pub fn read(path: &Path, header: Option<&Path>) -> Result<Self, InputError> {
        let named = ending(path, ".csv");
        let data = match !path.exists() && named.exists() {
            true => named,
            false => path.to_owned(),
        };
        let beside = data.with_extension("yaml");
        let header = match header {
            Some(header) => Some(Header::read(header)?),
            None if beside.is_file() => Some(Header::read(&beside)?),
            None => None,
        };
        let format = detect(&data)?;
        if format != Format::TraceV2 {
            let what = format!(
                "this is {}; expected a TraceV2 trace as `windtunnel observe` writes it (`windtunnel verify` \
                 compares other files)",
                format.with_article()
            );
            return Err(InputError::in_file(data.display(), what));
        }
        let rows = read_rows(&data)?;
        let mut real = Self {
            requests: rows.iter().map(real_request).collect(),
            ..Self::default()
        };
        match header {
            Some(header) => real.take(&header),
            None => real.notes.push(format!(
                "{} has no header beside it: no request counts as warm-up",
                data.display()
            )),
        }
        Ok(real)
    }

    fn take(&mut self, header: &Header) {
        self.warm_up = header.warm_up_requests;
        self.rtt_us = header
            .network
            .as_ref()
            .map_or(0.0, |n| n.measured_rtt_ms * 1e3);
        for (class, goals) in &header.goodput_slo_targets {
            self.targets
                .set(class, Dimension::Ttft, goals.ttft_ms * 1e3);
            self.targets.set(class, Dimension::Itl, goals.itl_ms * 1e3);
            self.targets.set(class, Dimension::E2e, goals.e2e_ms * 1e3);
        }
        let kv = header.observed_kv_metrics.as_ref();
        self.hit_rate = kv.map(|kv| (kv.hit_rate, kv.source.clone()));
    }

    /// Adds the mean gap between events, from their times.
    pub fn add_gaps(&mut self, path: &Path) -> Result<(), InputError> {
        let text = read_text_up_to(path, LARGEST)?;
        let mut times: BTreeMap<String, Vec<(u64, i64)>> = BTreeMap::new();
        for (k, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let wrong = |what: String| InputError::at(path.display(), k as u64 + 1, 0, what);
            let cells: Vec<&str> = line.split(',').map(str::trim).collect();
            if k == 0 {
                if cells.get(..3) != Some(&["request_id", "chunk_index", "timestamp_us"]) {
                    let what = format!(
                        "expected the columns request_id,chunk_index,timestamp_us, found {line:?}"
                    );
                    return Err(wrong(what));
                }
                continue;
            }
            let row = cells.get(..3).and_then(|cells| {
                let at: i64 = cells[2].parse().ok().filter(|at| *at >= 0)?;
                Some((cells[0].to_owned(), cells[1].parse::<u64>().ok()?, at))
            });
            let Some((id, index, at)) = row else {
                let what = format!("expected a name and two whole numbers, found {line:?}");
                return Err(wrong(what));
            };
            times.entry(id).or_default().push((index, at));
        }
        for request in &mut self.requests {
            let Some(times) = times.get_mut(&request.id) else {
                continue;
            };
            times.sort_unstable();
            let gaps = times.windows(2).map(|pair| pair[1].1 - pair[0].1);
            let gaps: Vec<i64> = gaps.filter(|gap| *gap >= 0).collect();
            let sum: i64 = gaps.iter().sum();
            request.itl_us = (!gaps.is_empty()).then(|| sum as f64 / gaps.len() as f64);
        }
        Ok(())
    }
}

/// What was simulated.
pub struct Simulated {
    pub requests: Vec<SimulatedRequest>,
    pub notes: Vec<String>,
}

impl Simulated {
    /// Reads rows of requests, or a trace that a run exported.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let wrong = |what: String| InputError::in_file(path.display(), what);
        let runs = measured::read(path)?;
        let [run] = runs.as_slice() else {
            return Err(wrong(format!("it has {} runs; expected one", runs.len())));
        };
        let requests = run.requests.iter().enumerate().map(|(k, r)| {
            let id = r.id.clone();
            let id = id.ok_or_else(|| {
                let what = "has no request_id, by which it would be found among the observed ones";
                wrong(format!("request {} {what}", k + 1))
            })?;
            Ok(SimulatedRequest {
                id,
                arrival_us: r.arrival_us,
                ttft_us: r.ttft_us,
                e2e_us: r.e2e_us,
                prompt_tokens: r.prompt_tokens.unwrap_or(0),
                output_tokens: r.output_tokens.unwrap_or(0),
            })
        });
        Ok(Self {
            requests: requests.collect::<Result<_, InputError>>()?,
            notes: run.notes.clone(),
        })
    }
}

/// The hit rates of both sides; the simulated one stands in totals at `path`.
pub fn hits_of(real: &Real, path: &Path) -> Result<Hits, InputError> {
    let Some((real, source)) = real.hit_rate.clone() else {
        let message = "--sim-metrics has no effect: the trace's header has no observed_kv_metrics \
                       (`windtunnel observe --scrape-kv-metrics`)";
        return Err(InputError::new(message));
    };
    let text = read_text_up_to(path, LARGEST)?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|e| {
        InputError::at(
            path.display(),
            e.line() as u64,
            e.column() as u64,
            e.to_string(),
        )
    })?;
    let rate = value
        .get("cache_hit_rate")
        .and_then(serde_json::Value::as_f64);
    let simulated = rate
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or_else(|| {
            let what = "expected cache_hit_rate, a number from 0 to 1, as --metrics-path writes it";
            InputError::in_file(path.display(), what)
        })?;
    Ok(Hits {
        real,
        simulated,
        source,
    })
}
