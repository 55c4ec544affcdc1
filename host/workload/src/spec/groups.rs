//! Who sends: clients as they stand, cohorts and inference-perf stages as groups of equal clients.

use super::inference_perf;
use super::locate::Fault;
use super::types::{Client, Cohort, Diurnal, Drain, Lifecycle, Spike, Window, WorkloadSpec};

/// Largest cohort.
const MOST_MEMBERS: u32 = 100_000;
/// Most clients in all.
const MOST_CLIENTS: u64 = 1_000_000;

/// Some equal clients. Shares, rates and windows of the template are those of the whole group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Where in the spec it stands, for messages.
    pub(super) path: String,
    pub(super) client: Client,
    /// `None` = one client under its own name; else members `<id>-0`, `<id>-1`, ...
    pub(super) members: Option<u32>,
    /// Each member has a prefix group of its own.
    pub(super) prefix_per_member: bool,
    /// Its windows' rates are requests per second, whatever the others' are.
    pub(super) own_rates: bool,
}

impl Group {
    pub(super) fn population(&self) -> u32 {
        self.members.unwrap_or(1)
    }

    /// Windows of activity; `None` = always active.
    pub(super) fn windows(&self) -> Option<&[Window]> {
        self.client.lifecycle.as_ref().map(|l| &l.windows[..])
    }

    /// Does a window set anything of its own?
    pub(super) fn sets_windows(&self) -> bool {
        let sets = |w: &Window| {
            w.trace_rate.is_some()
                || w.arrival.is_some()
                || w.input_distribution.is_some()
                || w.output_distribution.is_some()
        };
        self.windows()
            .is_some_and(|windows| windows.iter().any(sets))
    }

    /// Name and prefix group of a member.
    pub(super) fn names(&self, member: u32) -> (String, String) {
        let c = &self.client;
        if self.members.is_none() {
            return (c.id.clone(), c.prefix_group.clone());
        }
        let prefix = if self.prefix_per_member {
            format!("{}-{member}", c.prefix_group)
        } else {
            c.prefix_group.clone()
        };
        (format!("{}-{member}", c.id), prefix)
    }
}

/// All groups of a spec, in order.
pub(super) fn groups(spec: &WorkloadSpec) -> Result<Vec<Group>, Fault> {
    let mut groups = Vec::new();
    for (k, client) in spec.clients.iter().enumerate() {
        groups.push(Group {
            path: format!("clients[{k}]"),
            client: client.clone(),
            members: None,
            prefix_per_member: false,
            own_rates: false,
        });
    }
    if let Some(perf) = &spec.inference_perf {
        let clients = inference_perf::clients(perf).map_err(|f| f.under("inference_perf"))?;
        groups.extend(clients.into_iter().map(|client| Group {
            path: "inference_perf".into(),
            client,
            members: None,
            prefix_per_member: false,
            own_rates: true,
        }));
    }
    for (k, cohort) in spec.cohorts.iter().enumerate() {
        let path = format!("cohorts[{k}]");
        groups.push(group(cohort, path.clone()).map_err(|f| f.under(&path))?);
    }
    let clients: u64 = groups.iter().map(|g| u64::from(g.population())).sum();
    if clients > MOST_CLIENTS {
        return Err(Fault::new(
            "cohorts",
            format!("{clients} clients in all; at most {MOST_CLIENTS} make sense"),
        ));
    }
    Ok(groups)
}

fn group(cohort: &Cohort, path: String) -> Result<Group, Fault> {
    if !(1..=MOST_MEMBERS).contains(&cohort.population) {
        return Err(Fault::new(
            "population",
            format!(
                "expected 1 to {MOST_MEMBERS} members, found {}",
                cohort.population
            ),
        ));
    }
    let prefix_per_member = match cohort.prefix_sharing.as_str() {
        "" | "shared" => false,
        "per_member" if cohort.prefix_group.is_empty() => {
            return Err(Fault::new(
                "prefix_sharing",
                "per_member needs a prefix_group",
            ));
        }
        "per_member" => true,
        other => {
            let message =
                windtunnel_base::input::unknown("value", other, &["shared", "per_member"]);
            return Err(Fault::new("prefix_sharing", message));
        }
    };
    let mut windows = Vec::new();
    if let Some(diurnal) = &cohort.diurnal {
        windows.extend(diurnal_windows(diurnal).map_err(|f| f.under("diurnal"))?);
    }
    if let Some(spike) = &cohort.spike {
        windows.push(spike_window(spike).map_err(|f| f.under("spike"))?);
    }
    if let Some(drain) = &cohort.drain {
        windows.extend(drain_windows(drain).map_err(|f| f.under("drain"))?);
    }
    let c = cohort.clone();
    Ok(Group {
        path,
        client: Client {
            id: c.id,
            tenant_id: c.tenant_id,
            slo_class: c.slo_class,
            model: c.model,
            adapter: c.adapter,
            rate_fraction: c.rate_fraction,
            arrival: c.arrival,
            input_distribution: c.input_distribution,
            output_distribution: c.output_distribution,
            prefix_group: c.prefix_group,
            prefix_length: c.prefix_length,
            streaming: c.streaming,
            network: c.network,
            lifecycle: (!windows.is_empty()).then_some(Lifecycle { windows }),
            multimodal: c.multimodal,
            reasoning: c.reasoning,
            timeout: c.timeout,
            slo_target_us: c.slo_target_us,
            closed_loop: c.closed_loop,
            ..Client::default()
        },
        members: Some(c.population),
        prefix_per_member,
        own_rates: false,
    })
}

const HOUR_US: f64 = 3.6e9;

/// Active at the beginning of every hour h for the share m(h) = (1 + cos(2 pi (h - peak) / 24)) / 2
/// x (1 - 1/R) + 1/R of it.
fn diurnal_windows(d: &Diurnal) -> Result<Vec<Window>, Fault> {
    if d.peak_hour > 23 {
        return Err(Fault::new(
            "peak_hour",
            format!("expected 0 to 23, found {}", d.peak_hour),
        ));
    }
    let ratio = d.peak_to_trough_ratio;
    if !(ratio.is_finite() && ratio >= 1.0) {
        return Err(Fault::new(
            "peak_to_trough_ratio",
            format!("expected a finite number of at least 1, found {ratio}"),
        ));
    }
    let window = |hour: u32| {
        let angle = 2.0 * std::f64::consts::PI * (f64::from(hour) - f64::from(d.peak_hour)) / 24.0;
        let active = 0.5 * (1.0 + angle.cos()) * (1.0 - 1.0 / ratio) + 1.0 / ratio;
        let start_us = i64::from(hour) * HOUR_US as i64;
        Window {
            start_us,
            end_us: start_us + ((active * HOUR_US) as i64).max(1),
            ..Window::default()
        }
    };
    Ok((0..24).map(window).collect())
}

fn spike_window(spike: &Spike) -> Result<Window, Fault> {
    not_negative("start_time_us", spike.start_time_us)?;
    above_zero("duration_us", spike.duration_us)?;
    Ok(Window {
        start_us: spike.start_time_us,
        end_us: spike.start_time_us.saturating_add(spike.duration_us),
        trace_rate: spike.trace_rate,
        ..Window::default()
    })
}

fn drain_windows(drain: &Drain) -> Result<Vec<Window>, Fault> {
    not_negative("start_time_us", drain.start_time_us)?;
    above_zero("ramp_duration_us", drain.ramp_duration_us)?;
    let mut windows = Vec::new();
    let mut add = |start_us: i64, end_us: i64| {
        windows.push(Window {
            start_us,
            end_us,
            ..Window::default()
        });
    };
    if drain.start_time_us > 0 {
        add(0, drain.start_time_us);
    }
    let segment = drain.ramp_duration_us / 10;
    for k in 0..10 {
        let start = drain.start_time_us.saturating_add(segment * k);
        add(
            start,
            start.saturating_add((segment * (10 - k) / 10).max(1)),
        );
    }
    Ok(windows)
}

fn not_negative(key: &str, us: i64) -> Result<(), Fault> {
    if us < 0 {
        return Err(Fault::new(
            key,
            format!("expected microseconds of 0 or more, found {us}"),
        ));
    }
    Ok(())
}

fn above_zero(key: &str, us: i64) -> Result<(), Fault> {
    if us <= 0 {
        return Err(Fault::new(
            key,
            format!("expected microseconds above 0, found {us}"),
        ));
    }
    Ok(())
}
