//! The task for a language model: what the policy decides, how it is scored, and its API.

use super::plan::InitPlan;
use std::collections::BTreeSet;
use std::fmt::Write;
use windtunnel_config::autoscale::{AutoscaleSpec, INTERVAL_S, STARTUP_S};
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api;
use windtunnel_score::candidate::LARGEST_SCRIPT;
use windtunnel_score::objective::Objective;
use windtunnel_score::{Split, Suite};

/// The task in Markdown.
pub fn task(plan: &InitPlan) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "You write policies for clusters of servers that run large language models (vLLM: continuous batching, chunked prefill, KV blocks, prefix \
         caches, preemption). A simulator runs every policy on clusters and traffic of many kinds and reports what it cost.\n"
    );
    for hook in &plan.hooks {
        let _ = writeln!(out, "{}\n", decides(*hook));
    }
    scoring(&mut out, &plan.suite);
    out.push_str("# The API\n\n");
    out.push_str(&api::brief(&plan.hooks));
    let _ = write!(
        out,
        "\n# Advice\n\n\
         * The file has at most {} kB. Candidates are compared on the same requests, so small differences are real.\n\
         * Numbers that could be otherwise belong into `--@param` lines: they can be tuned by machine afterwards. What is worth finding is structure: \
         another signal, another way to combine them, memory of what happened, a case that wants its own rule.\n\
         * Look at how old a signal is. Requests that all follow the same stale signal pile up in one place.\n\
         * The report on a policy names its worst scenarios and what went wrong there. Mend the cause without losing what works elsewhere.\n",
        LARGEST_SCRIPT / 1024
    );
    out
}

fn decides(hook: Hook) -> &'static str {
    match hook {
        Hook::Admission => {
            "The admission policy decides at the door of the cluster whether a request comes in, is turned away, or has to wait."
        }
        Hook::Routing => {
            "The routing policy decides which instance serves a request: prefixes that are cached there save work, requests that run there cost time."
        }
        Hook::Priority => {
            "The priority policy says how urgent each request is inside its instance."
        }
        Hook::Scheduler => {
            "The scheduler decides in which order the requests that wait at an instance enter its batch."
        }
        Hook::Preemption => {
            "The preemption policy decides which running request gives up its KV blocks when one is needed and none is free."
        }
        Hook::Batching => {
            "The batching strategy decides before each step of an instance how many tokens it computes, how many waiting requests it admits, and whether decodes wait for prompts."
        }
        Hook::Dispatch => {
            "The dispatch policy decides which of the requests that the gateway holds goes on to the router next, while the instances are not saturated."
        }
        Hook::Scale => {
            "The scaling policy decides at intervals how many instances a pool should have."
        }
        Hook::Disaggregation => {
            "The disaggregation policy decides which instance computes a prompt: the one that decodes it, or one that prefills and sends the KV cache."
        }
    }
}

fn scoring(out: &mut String, suite: &Suite) {
    let file = &suite.file;
    let families: BTreeSet<&str> = suite
        .scenarios(Split::Train)
        .map(|s| s.family.as_str())
        .collect();
    let families: Vec<&str> = families.into_iter().collect();
    let objectives: Vec<String> = file
        .objectives
        .iter()
        .map(|o| format!("{} (weight {})", o.name(), o.weight))
        .collect();
    let _ = writeln!(
        out,
        "# The score\n\n\
         {}: {}. {} scenarios of the families {}.\n\n\
         The cost in a scenario is the weighted geometric mean of {}. The score there is 100 x the logarithm of the best reference policy's cost over \
         this policy's: 0 is as good as the best of {} well-tuned policies in that very scenario, +1 means 1 % less cost, below 0 is worse. The total is \
         the mean over the scenarios; what is lost beyond 1 point in a scenario counts {} times. A policy that fails, anywhere, gets -100.\n\n\
         All figures are over the requests that were *offered*: one that was turned away, timed out or was not finished counts as a miss, with \
         the length of the whole run as its latency. There is nothing to gain by failing the hard ones.\n",
        suite.label(),
        file.description,
        suite.scenarios(Split::Train).count(),
        families.join(", "),
        objectives.join(", "),
        file.references.len(),
        1.0 + file.regression_weight,
    );
    scaling(out, suite);
}

/// What there is to know of pools that are scaled.
fn scaling(out: &mut String, suite: &Suite) {
    let file = &suite.file;
    let charged = file.objectives.iter().find_map(Objective::charged);
    if let Some(weight) = charged {
        let _ = writeln!(
            out,
            "gpu_hours are the hours of all GPUs that instances took, those in which they start and finish what they have included, and for each request \
             that was not served within its targets {weight} times its share of the hours that all instances which the pools may have would take. So \
             1 % of misses costs as much as {weight} % of having all instances all the time.\n"
        );
    }
    let blocks: Vec<_> = suite
        .scenarios(Split::Train)
        .map(|scenario| file.autoscale_of(scenario))
        .filter(AutoscaleSpec::is_on)
        .collect();
    if blocks.is_empty() {
        return;
    }
    let range = |of: fn(&AutoscaleSpec) -> Option<f64>, default: f64| {
        let all = blocks.iter().map(|block| of(block).unwrap_or(default));
        let (least, most) = all.fold((f64::MAX, f64::MIN), |(a, b), x| (a.min(x), b.max(x)));
        match least == most {
            true => format!("{least}"),
            false => format!("{least} to {most}"),
        }
    };
    let _ = writeln!(
        out,
        "The policy is asked every {} s; an instance that is started takes requests after {} s, and costs from its start on. A pool has at least {} and \
         at most {} instances.{}\n",
        range(|a| a.interval, INTERVAL_S),
        range(|a| a.startup.mean, STARTUP_S),
        range(|a| a.min.map(f64::from), 1.0),
        range(|a| a.max.map(f64::from), 1.0),
        match suite.scenarios(Split::Train).any(|s| !s.events.is_empty()) {
            true => " In some scenarios instances fail, slow down or are replaced.",
            false => "",
        }
    );
}
