//! What the GPUs of a run cost and take, whole and per request and output token.
//!
//! Cost: GPUs times price times the time that their instances are there, idle or not.
//!
//! Energy: while a step of its instance runs, a GPU is counted with its power under load, the limit
//! that it is shipped with. That is the most that it can take, and more than it does: decodes leave
//! a part of it unused, and a step is also what the GPU waits for its host. Between steps it takes
//! its idle power; where nobody said that, this part is not known, and neither is the sum.

use super::Results;
use super::machines::Machine;
use serde_json::{Map, Value, json};
use windtunnel_base::record::InstanceTotals;
use windtunnel_config::Upkeep;

/// Microseconds in an hour.
pub(super) const HOUR_US: f64 = 3.6e9;
/// Joules in a kWh.
const KWH_J: f64 = 3.6e6;

/// Cost and energy of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct RunUpkeep {
    /// Hours that GPUs were there.
    gpu_hours: f64,
    /// Of these, hours in steps.
    busy_gpu_hours: f64,
    /// US dollars; `None` = the price of a GPU is not known.
    pub usd: Option<f64>,
    /// At most so much energy in steps, kWh; `None` = the power of a GPU is not known.
    pub busy_kwh: Option<f64>,
    /// Energy between steps, kWh; `None` = the idle power of a GPU is not known.
    idle_kwh: Option<f64>,
    /// Requests completed.
    requests: u64,
    /// Their output tokens.
    output_tokens: u64,
}

/// Hours that the GPUs of a run were there, of those that came and went only those. `None` where
/// neither price nor power is known, or no time passed.
#[must_use]
pub fn gpu_hours(results: &Results<'_>) -> Option<f64> {
    RunUpkeep::of(results).map(|upkeep| upkeep.gpu_hours)
}

impl RunUpkeep {
    /// Of a run; `None` if neither cost nor energy is known, or no time passed.
    pub(super) fn of(results: &Results<'_>) -> Option<Self> {
        let (record, machines) = (results.record, &results.inputs.machines);
        let end_us = results.summary.cluster.ended_us;
        if results.inputs.ticks.is_some() || machines.len() != record.pools.len() || end_us <= 0 {
            return None;
        }
        let mut sum = Self {
            gpu_hours: 0.0,
            busy_gpu_hours: 0.0,
            usd: Some(0.0),
            busy_kwh: Some(0.0),
            idle_kwh: Some(0.0),
            requests: results.summary.cluster.completed,
            output_tokens: results.summary.cluster.output_tokens,
        };
        let mut instances = record.instances.iter();
        let scaled = |k: usize| {
            let mut pools = record.scaling.iter().flat_map(|scaling| &scaling.pools);
            pools.find(|pool| pool.pool as usize == k)
        };
        for ((k, machine), pool) in machines.iter().enumerate().zip(&record.pools) {
            let of_pool = instances.by_ref().take(pool.instances as usize);
            if let Some(scaled) = scaled(k) {
                // Of those that came and went it is known how long they were there together.
                let busy_us: i64 = of_pool.map(|totals| totals.busy_us).sum();
                let there = scaled.instance_us as f64 / HOUR_US;
                sum.add(machine, there, (busy_us as f64 / HOUR_US).min(there));
                continue;
            }
            for (k, totals) in of_pool.enumerate() {
                let [there_us, busy_us] = times_us(machine, k, totals, end_us);
                sum.add(machine, there_us / HOUR_US, busy_us / HOUR_US);
            }
        }
        let known = sum.usd.is_some() || sum.busy_kwh.is_some();
        (known && sum.gpu_hours > 0.0).then_some(sum)
    }

    /// One more instance, which was there for so many hours and so many of them in steps.
    fn add(&mut self, machine: &Machine, there: f64, busy: f64) {
        let gpus = f64::from(machine.gpus_per_instance());
        let (there, busy) = (gpus * there, gpus * busy);
        let Upkeep { tdp_w, idle_w, .. } = machine.upkeep;
        self.gpu_hours += there;
        self.busy_gpu_hours += busy;
        let more = |sum: &mut Option<f64>, of_one: Option<f64>, hours: f64| {
            *sum = sum
                .zip(of_one)
                .map(|(sum, of_one)| of_one.mul_add(hours, sum));
        };
        more(&mut self.usd, machine.upkeep.price(), there);
        more(&mut self.busy_kwh, tdp_w.map(|w| w / 1e3), busy);
        more(&mut self.idle_kwh, idle_w.map(|w| w / 1e3), there - busy);
    }

    /// At most so much energy, with that between steps, kWh.
    pub(super) fn kwh(&self) -> Option<f64> {
        Some(self.busy_kwh? + self.idle_kwh?)
    }

    /// US dollars per completed request; `None` of none.
    pub(super) fn usd_per_request(&self) -> Option<f64> {
        per(self.usd?, self.requests)
    }

    /// US dollars per million output tokens of completed requests; `None` of none.
    pub(super) fn usd_per_million(&self) -> Option<f64> {
        per(self.usd? * 1e6, self.output_tokens)
    }

    /// At most so many joules in steps per output token of completed requests; `None` of none.
    pub(super) fn busy_joules_per_token(&self) -> Option<f64> {
        per(self.busy_kwh? * KWH_J, self.output_tokens)
    }

    /// The same with those between steps.
    pub(super) fn joules_per_token(&self) -> Option<f64> {
        per(self.kwh()? * KWH_J, self.output_tokens)
    }

    /// Adds what is known as `cost` and `energy`.
    pub(super) fn write(&self, map: &mut Map<String, Value>) {
        if let Some(usd) = self.usd {
            let cost = json!({
                "usd": usd,
                "usd_per_request": self.usd_per_request(),
                "usd_per_million_output_tokens": self.usd_per_million(),
                "gpu_hours": self.gpu_hours,
                "usd_per_gpu_hour": rounded(usd / self.gpu_hours),
            });
            map.insert("cost".to_owned(), cost);
        }
        if let Some(busy) = self.busy_kwh {
            let watts = 1e3 * busy / self.busy_gpu_hours;
            let watts = (self.busy_gpu_hours > 0.0).then(|| rounded(watts));
            let energy = json!({
                "busy_kwh": busy,
                "busy_joules_per_output_token": self.busy_joules_per_token(),
                "busy_watts_per_gpu": watts,
                "busy_share": self.busy_gpu_hours / self.gpu_hours,
                "idle_kwh": self.idle_kwh,
                "kwh": self.kwh(),
                "joules_per_output_token": self.joules_per_token(),
            });
            map.insert("energy".to_owned(), energy);
        }
    }

    /// What is known, in lines for people.
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let or_dash = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), digits);
        if let Some(usd) = self.usd {
            lines.push(format!(
                "Cost:       {} USD at {} per GPU-hour: {} per million output tokens, {} per request",
                digits(usd),
                digits(usd / self.gpu_hours),
                or_dash(self.usd_per_million()),
                or_dash(self.usd_per_request()),
            ));
        }
        match (self.busy_kwh, self.idle_kwh) {
            (Some(busy), None) => lines.push(format!(
                "Energy:     at most {} kWh in steps, {} J per output token; idle power not known",
                digits(busy),
                or_dash(self.busy_joules_per_token()),
            )),
            (Some(busy), Some(idle)) => lines.push(format!(
                "Energy:     at most {} kWh, {} of them idle; {} J per output token",
                digits(busy + idle),
                digits(idle),
                or_dash(self.joules_per_token()),
            )),
            (None, _) => {}
        }
        lines
    }
}

/// What is known, in lines for people, each behind a line break.
pub(super) fn text(results: &Results<'_>) -> String {
    let known = RunUpkeep::of(results);
    let lines = known.iter().flat_map(RunUpkeep::lines);
    lines.map(|line| format!("\n{line}")).collect()
}

/// Microseconds for which instance `k` of a pool is there, and those of its steps.
fn times_us(machine: &Machine, k: usize, totals: &InstanceTotals, end_us: i64) -> [f64; 2] {
    let [from, gone] = machine.lives_us.get(k).copied().unwrap_or([0, end_us]);
    // Who goes finishes what it has. A run may end before somebody comes.
    let until = gone.max(totals.ended_us).min(end_us);
    let there = until.saturating_sub(from).max(0);
    // Under rules that count a step when it begins, the last one may go on behind the end.
    [there as f64, totals.busy_us.clamp(0, there) as f64]
}

fn per(what: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| what / n as f64)
}

/// A mean that is what was given where all are the same.
fn rounded(mean: f64) -> f64 {
    (mean * 1e6).round() / 1e6
}

/// Three digits, however small: dollars per request have many zeros.
fn digits(x: f64) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let before = x.abs().log10().floor() as i32;
    let behind = (2 - before).clamp(0, 12) as usize;
    format!("{x:.behind$}")
}

#[cfg(test)]
mod tests {
    use super::super::ReportInputs;
    use super::super::machines::Choice;
    use super::*;
    use crate::metrics::summary::tests::{done, refused, run};

    fn machine(upkeep: Upkeep) -> Machine {
        Machine {
            tensor: Choice {
                value: 2,
                chosen: true,
            },
            data: 1,
            stages: 1,
            instances: 2,
            upkeep,
            ..Machine::default()
        }
    }

    const H100: Upkeep = Upkeep {
        tdp_w: Some(700.0),
        idle_w: None,
        usd_per_hour: Some([2.5, 3.5]),
    };

    /// Two instances of two GPUs for an hour, one busy for a quarter of it, the other not at all.
    fn figures(machine: Machine) -> (Option<RunUpkeep>, String, Value) {
        let mut record = run(
            vec![
                done(0, 0, 1000, 3000, 0),
                done(1, 0, 1000, 3_600_000_000, 1),
            ],
            2,
        );
        record.instances[0].busy_us = 900_000_000;
        for totals in &mut record.instances {
            totals.ended_us = 3_600_000_000;
            (totals.completed, totals.output_tokens) = (1, 1000);
        }
        let inputs = ReportInputs {
            machines: vec![machine],
            ..ReportInputs::default()
        };
        let results = Results::new(&record, &inputs);
        let text = super::super::table::text(&results);
        let lines = text.lines();
        let lines = lines.filter(|line| line.starts_with("Cost") || line.starts_with("Energy"));
        (
            RunUpkeep::of(&results),
            lines.collect::<Vec<_>>().join("\n"),
            super::super::json::value(&results),
        )
    }

    #[test]
    fn all_the_time_costs_and_steps_take_power() {
        let (upkeep, text, json) = figures(machine(H100));
        let upkeep = upkeep.unwrap();
        // 4 GPU-hours at 3 dollars; 2 GPUs of 700 W for a quarter of an hour.
        assert_eq!((upkeep.usd, upkeep.busy_kwh), (Some(12.0), Some(0.35)));
        assert_eq!((upkeep.kwh(), upkeep.joules_per_token()), (None, None));
        assert_eq!(json["cost"]["usd_per_million_output_tokens"], 6000.0);
        assert_eq!(json["cost"]["usd_per_request"], 6.0);
        assert_eq!(json["energy"]["busy_joules_per_output_token"], 630.0);
        assert_eq!(json["energy"]["busy_share"], 0.125);
        assert_eq!(json["energy"]["kwh"], Value::Null);
        assert_eq!(
            text,
            "Cost:       12.0 USD at 3.00 per GPU-hour: 6000 per million output tokens, 6.00 per request\n\
             Energy:     at most 0.350 kWh in steps, 630 J per output token; idle power not known"
        );
        let idle = Upkeep {
            idle_w: Some(70.0),
            ..H100
        };
        let (upkeep, text, _) = figures(machine(idle));
        let kwh = upkeep.unwrap().kwh().unwrap();
        // 3.5 GPU-hours between steps at 70 W.
        assert!((kwh - (0.35 + 0.245)).abs() < 1e-12, "{kwh}");
        assert!((0.07 * 4.0..=0.7 * 4.0).contains(&kwh));
        assert!(text.contains("0.595 kWh, 0.245 of them idle"), "{text}");
    }

    #[test]
    fn unknown_stays_unknown() {
        let (upkeep, text, json) = figures(machine(Upkeep::default()));
        assert_eq!((upkeep, text.as_str()), (None, ""));
        assert!(json.get("cost").is_none() && json.get("energy").is_none());
        let power = Upkeep {
            usd_per_hour: None,
            ..H100
        };
        let (_, text, json) = figures(machine(power));
        assert!(text.starts_with("Energy:") && json.get("cost").is_none());
    }

    #[test]
    fn who_comes_late_or_goes_early_costs_less() {
        let of = |lives: [[i64; 2]; 2]| {
            let lives_us = lives.map(|life| life.map(|s| s * 1_000_000)).to_vec();
            let (upkeep, ..) = figures(Machine {
                lives_us,
                ..machine(H100)
            });
            upkeep.unwrap()
        };
        let end = i64::MAX / 1_000_000;
        // The records say that both finished work at the very end.
        assert_eq!(of([[0, 1800], [0, end]]).usd, Some(12.0));
        assert_eq!(of([[0, end], [1800, end]]).usd, Some(9.0));
        // The first one's steps cannot take longer than it is there.
        let late = of([[3000, end], [7200, end]]);
        assert_eq!(late.usd, Some(1.0));
        assert!((late.busy_kwh.unwrap() - 2.0 * 0.7 / 6.0).abs() < 1e-12);
    }

    #[test]
    fn a_share_of_nothing_is_absent() {
        let mut record = run(vec![refused(0, 0), refused(1, 1_000_000)], 1);
        record.instances[0].ended_us = 1_000_000;
        let inputs = ReportInputs {
            machines: vec![machine(H100)],
            ..ReportInputs::default()
        };
        let results = Results::new(&record, &inputs);
        let json = super::super::json::value(&results);
        assert_eq!(json["cost"]["usd_per_request"], Value::Null);
        assert_eq!(json["energy"]["busy_joules_per_output_token"], Value::Null);
        assert_eq!(json["energy"]["busy_kwh"], 0.0);
        assert_eq!(json["energy"]["busy_watts_per_gpu"], Value::Null);
        assert!(RunUpkeep::of(&Results::new(&run(vec![], 1), &inputs)).is_none());
    }

    #[test]
    fn small_figures_keep_three_digits() {
        let shown = [0.0, 0.000_012_345, 0.5, 12.0, 1234.5].map(digits);
        assert_eq!(shown, ["0", "0.0000123", "0.500", "12.0", "1234"]);
    }
}
