//! What a policy that scales it makes of the cluster that a plan found.

use windtunnel_results::conditions::Condition;
use windtunnel_results::page::figure;
use windtunnel_sim::plan::{Trial, interval};

/// Mean over runs; `None` if one of them has no such figure.
pub fn mean_of(trials: &[Trial], of: impl Fn(&Trial) -> Option<f64>) -> Option<f64> {
    let all: Option<Vec<f64>> = trials.iter().map(of).collect();
    all.filter(|all| !all.is_empty())
        .map(|all| interval(&all).0)
}

/// What a policy made of the cheapest configuration.
pub struct Scaled {
    pub policy: String,
    /// Most instances that it was allowed.
    pub most: u32,
    /// Runs by seed.
    pub trials: Vec<Trial>,
    /// Do most seeds meet the targets? If not, `most` is the last that was tried.
    pub met: bool,
    /// The run, as people type it.
    pub command: Vec<String>,
}

impl Scaled {
    /// GPU-hours of a run.
    pub fn gpu_hours(&self) -> Option<f64> {
        mean_of(&self.trials, |t| t.gpu_hours)
    }

    /// US dollars of a run.
    pub fn usd(&self) -> Option<f64> {
        mean_of(&self.trials, |t| t.usd)
    }

    /// In a sentence.
    pub fn line(&self, conditions: &[Condition], fixed_gpu_hours: Option<f64>) -> String {
        let (policy, most) = (&self.policy, self.most);
        if !self.met {
            let missed = conditions.iter().enumerate().filter_map(|(k, c)| {
                let mean = mean_of(&self.trials, |t| t.figures[k]);
                (!c.holds(mean))
                    .then(|| format!("{} is {}", c.name(), c.shown(mean.unwrap_or(f64::INFINITY))))
            });
            let missed: Vec<String> = missed.collect();
            let what = match missed.is_empty() {
                true => "most seeds miss a target".to_owned(),
                false => missed.join(", "),
            };
            return format!("{policy} with up to {most} instances misses the targets: {what}.");
        }
        let mut line = format!("{policy} with up to {most} instances meets the targets");
        if let (Some(own), Some(theirs)) = (self.gpu_hours(), fixed_gpu_hours) {
            line += &format!(
                " with {} GPU-hours a run where the fixed cluster takes {} ({})",
                figure(own),
                figure(theirs),
                change(own, theirs)
            );
        }
        line + "."
    }
}

/// `12 % less`.
fn change(own: f64, other: f64) -> String {
    let percent = 100.0 * (own / other - 1.0);
    match percent.round() {
        x if x > 0.0 => format!("{x} % more"),
        x if x < 0.0 => format!("{} % less", -x),
        _ => "as many".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_its_direction() {
        assert_eq!(change(3.0, 4.0), "25 % less");
        assert_eq!(change(5.0, 4.0), "25 % more");
        assert_eq!(change(4.0, 4.001), "as many");
    }
}
