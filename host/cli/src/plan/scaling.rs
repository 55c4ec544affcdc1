//! Runs the cluster that a plan found under policies that scale it.

use super::answer::Answer;
use super::scaled::Scaled;
use super::trials::Load;
use crate::plan_args::PlanArgs;
use crate::sweep::Shared;
use clap::ArgMatches;
use std::ffi::OsString;
use windtunnel_base::input::InputError;
use windtunnel_base::parallel;

/// The policies that are to scale the cheapest answer, and the flags of such clusters.
#[derive(Debug, Default)]
pub struct Scaling {
    policies: Vec<String>,
    /// Most instances; `None` = as many as it takes.
    most: Option<u32>,
    flags: Vec<OsString>,
}

impl Scaling {
    /// Of the command line: takes what is only for such clusters out of what all runs share.
    ///
    /// # Errors
    /// When something else is looked for than one cluster of fixed size.
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
                "--autoscale: not with {flag}; it compares the cheapest cluster of fixed size with \
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

/// Sizes to allow a policy, over that of the fixed cluster.
const ROOM: [f64; 4] = [1.0, 1.25, 1.5, 2.0];

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
