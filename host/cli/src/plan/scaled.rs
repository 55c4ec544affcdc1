//! Fleets that a policy scales, beside the one of fixed size that a plan found.

use super::answer::{Answer, Fit, mean_of};
use super::trials::Load;
use crate::plan_args::PlanArgs;
use crate::sweep::Shared;
use clap::ArgMatches;
use std::ffi::OsString;
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;
use windtunnel_results::page::figure;
use windtunnel_sim::plan::Trial;

/// The policies that are to scale the cheapest answer, and the flags of such fleets.
#[derive(Debug, Default)]
pub struct Scaling {
    policies: Vec<String>,
    /// Most instances; `None` = as many as it takes.
    most: Option<u32>,
    flags: Vec<OsString>,
}

impl Scaling {
    /// Of the command line: takes what is only for such fleets out of what all runs share.
    ///
    /// # Errors
    /// When something else is looked for than one fleet of fixed size.
    pub fn of(
        args: &PlanArgs,
        given: &ArgMatches,
        shared: &mut Shared,
    ) -> Result<Self, InputError> {
        let Some(policies) = given.get_one::<String>("autoscale") else {
            return Ok(Self::default());
        };
        let unfit = [
            (args.max_rate, "--max-rate"),
            (args.split_pools, "--split-pools"),
            (args.survive > 0, "--survive"),
        ];
        if let Some((_, flag)) = unfit.into_iter().find(|(given, _)| *given) {
            return Err(InputError::new(format!(
                "--autoscale: not with {flag}; it compares the cheapest fleet of fixed size with \
                 scaled ones"
            )));
        }
        let mut flags = shared.take_scaling();
        flags.retain(|flag| {
            let flag = flag.to_string_lossy();
            !flag.starts_with("--autoscale=") && !flag.starts_with("--autoscale-max=")
        });
        Ok(Self {
            policies: policies.split(',').map(str::to_owned).collect(),
            most: given.get_one("autoscale_max").copied(),
            flags,
        })
    }
}

/// Sizes to allow a policy, over that of the fixed fleet.
const ROOM: [f64; 4] = [1.0, 1.25, 1.5, 2.0];

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
    pub fn line(&self, answer: &Answer<'_>, fixed: &Fit<'_>) -> String {
        let (policy, most) = (&self.policy, self.most);
        if !self.met {
            let missed = answer.conditions.iter().enumerate().filter_map(|(k, c)| {
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
        if let (Some(own), Some(theirs)) = (self.gpu_hours(), fixed.mean(|t| t.gpu_hours)) {
            line += &format!(
                " with {} GPU-hours a run where the fixed fleet takes {} ({})",
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

/// Runs the cheapest answer under each policy, with the least room in which it meets the targets.
///
/// # Errors
/// When a run goes wrong.
pub fn compared(
    answer: &Answer<'_>,
    scaling: &Scaling,
    jobs: usize,
) -> Result<Vec<Scaled>, InputError> {
    let setting = answer.trials.setting;
    let best = answer.fits.first().filter(|_| setting.load == Load::Fixed);
    let Some(best) = best else {
        return Ok(Vec::new());
    };
    let fixed = best.found.number;
    let allowed = |share: f64| (f64::from(fixed) * share).ceil() as u32;
    let mut sizes: Vec<u32> = match scaling.most {
        Some(most) => vec![most],
        None => ROOM.map(allowed).to_vec(),
    };
    sizes.dedup();
    let seeds: Vec<u64> = (0..setting.seeds).collect();
    let mut all = Vec::new();
    for policy in &scaling.policies {
        let mut found = None;
        for most in &sizes {
            let own = [
                format!("--autoscale={policy}"),
                format!("--autoscale-max={most}"),
            ];
            let flags: Vec<OsString> = (scaling.flags.iter().cloned())
                .chain(own.map(OsString::from))
                .collect();
            let run = |seed: &u64| answer.trials.scaled(best.choice, fixed, &flags, *seed);
            let trials = parallel::map(&seeds, jobs, run, |_, _| ());
            let trials = trials.into_iter().collect::<Result<Vec<_>, _>>()?;
            let met = 2 * trials.iter().filter(|t| t.met).count() > trials.len();
            found = Some(Scaled {
                policy: policy.clone(),
                most: *most,
                trials,
                met,
                command: answer.scaled_command(best, &flags)?,
            });
            if met {
                break;
            }
        }
        all.extend(found);
    }
    Ok(all)
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
