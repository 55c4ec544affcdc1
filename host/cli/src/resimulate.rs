//! `windtunnel replay-decisions --resimulate`: the requests of a decision log through the
//! simulator, and where it sends them.

use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_live::gateway::config::Config;
use windtunnel_live::resimulate::{Compared, Comparison, Example, Mode, Script, Times, resimulate};
use windtunnel_sim::{PoolSpec, RulesSpec, RunSpec};
use windtunnel_workload::Listed;

/// The requests of a log where they went, and where the simulation sends them.
pub struct Both {
    /// Where they went.
    pub follow: Comparison,
    /// Where it sends them.
    pub free: Comparison,
}

/// Simulates the requests of a log; `spec` says what the servers are, where the log does not.
///
/// # Errors
/// When nobody says what the servers are, or the simulation cannot be made.
pub fn both(script: &Script, spec: Option<&Path>) -> Result<Both, InputError> {
    let deployment = script.deployment();
    let said = spec.map(RunSpec::load).transpose()?;
    let (model, pools) = match (said, &deployment.model) {
        (Some(run), _) => (run.model, run.pools),
        (None, Some(model)) => (model.clone(), deployment.pools.clone()),
        (None, None) => {
            return Err(InputError::new(
                "the log does not say what model the servers have; give --spec FILE with model and pools, as in the file of a run",
            ));
        }
    };
    let pools = if pools.is_empty() {
        vec![PoolSpec::default()]
    } else {
        pools
    };
    // Instances are numbered pool by pool, servers as they came.
    let mut instances = vec![usize::MAX; deployment.servers.len()];
    let mut counted = Vec::new();
    let mut next = 0;
    for pool in &pools {
        let before = next;
        for (k, _) in (0..)
            .zip(&deployment.servers)
            .filter(|(_, (_, of))| *of == pool.name)
        {
            let place: &mut usize = &mut instances[k];
            *place = next;
            next += 1;
        }
        if next > before {
            counted.push(PoolSpec {
                count: u32::try_from(next - before).ok(),
                ..pool.clone()
            });
        }
    }
    if next != instances.len() || next == 0 {
        return Err(InputError::new(format!(
            "{} servers are in the log, {next} of them in pools that are known",
            instances.len(),
        )));
    }
    let run = RunSpec {
        model: model.clone(),
        pools: counted,
        rules: RulesSpec::Vllm,
        ..RunSpec::default()
    };
    let simulation = run.resolve_with(Box::new(Listed::default()), "a decision log")?;
    let config = Config {
        model: Some(model),
        pools: run.pools.clone(),
        seed: deployment.seed,
        ..Config::default()
    };
    let once = |mode| {
        let engine = simulation.standalone()?;
        resimulate(script, engine, instances.clone(), config.clone(), mode)
    };
    Ok(Both {
        follow: once(Mode::Follow)?,
        free: once(Mode::Free)?,
    })
}

impl Both {
    /// For machines. What stands at the top is of the simulation that follows the log.
    pub fn json(&self) -> Value {
        let mut all = one_json(&self.follow);
        all["free"] = one_json(&self.free);
        all["policies_taken_over"] = json!(self.follow.taken_over);
        all["unfinished"] = json!(self.follow.unfinished);
        all
    }

    /// For people.
    pub fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let follow = &self.follow;
        let rows = [
            ("every request where it went", follow),
            ("where the simulation sends it", &self.free),
        ];
        for (what, one) in rows {
            let Compared { decisions, equal } = one.routing;
            writeln!(
                out,
                "{what}: {equal} of {decisions} to the same server ({}): {}",
                percent(one.routing),
                one.routing.verdict()
            )?;
        }
        let admission = follow.admission;
        if admission.equal < admission.decisions {
            writeln!(
                out,
                "admission: {} of {} decisions are the same ({}): {}",
                admission.equal,
                admission.decisions,
                percent(admission),
                admission.verdict()
            )?;
        }
        let mut causes: Vec<_> = follow.causes.iter().collect();
        causes.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        if !causes.is_empty() {
            writeln!(out, "why decisions differ, and the first of each kind:")?;
        }
        for ((kind, signal), (count, first)) in causes {
            let unproven = match first.cause.is_decisive || signal.is_empty() {
                true => "",
                false => " (the first that differs)",
            };
            writeln!(out, "  {count:>5} {:6} {signal}{unproven}", kind.name())?;
            let Example {
                request,
                logged,
                simulated,
                ..
            } = first;
            writeln!(out, "        {request}: to {logged}, simulated {simulated}")?;
            if !signal.is_empty() {
                let server = match first.server.as_str() {
                    "" => "all servers",
                    name => name,
                };
                let (a, b) = (short(&first.cause.logged), short(&first.cause.simulated));
                writeln!(out, "        {signal} of {server}: {a}, simulated {b}")?;
            }
        }
        for (what, times) in [("TTFT", &follow.ttft), ("E2E", &follow.e2e)] {
            let [logged, simulated] = times.means_ms();
            if times.count > 0 {
                let error = (simulated / logged - 1.0) * 100.0;
                writeln!(
                    out,
                    "mean {what}: {logged:.1} ms in the log, {simulated:.1} ms in the simulation ({error:+.1} %)"
                )?;
            }
        }
        Ok(())
    }

    /// What a person should know besides.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Comparison {
            taken_over,
            unfinished,
            ..
        } = self.follow;
        if taken_over > 0 {
            notes.push(format!(
                "policies took over from others {taken_over} times, in the simulation, too"
            ));
        }
        if unfinished > 0 {
            notes.push(format!(
                "{unfinished} requests have no end in the log, and are not simulated"
            ));
        }
        notes
    }
}

fn percent(compared: Compared) -> String {
    format!("{:.1} %", compared.share() * 100.0)
}

/// A value in at most 30 characters.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(30) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

fn one_json(one: &Comparison) -> Value {
    let causes = one.causes.iter().map(|((kind, signal), (count, first))| {
        json!({
            "kind": kind.name(),
            "signal": signal,
            "count": count,
            "example": example(first),
        })
    });
    json!({
        "compared": one.routing.decisions,
        "equal": one.routing.equal,
        "share": one.routing.share(),
        "verdict": one.verdict(),
        "admission": {
            "compared": one.admission.decisions,
            "equal": one.admission.equal,
            "share": one.admission.share(),
        },
        "first_difference": one.first.as_ref().map(example),
        "causes": causes.collect::<Vec<_>>(),
        "ttft_mean_ms": means(&one.ttft),
        "e2e_mean_ms": means(&one.e2e),
    })
}

fn means(times: &Times) -> Value {
    let [logged, simulated] = times.means_ms();
    match times.count {
        0 => Value::Null,
        _ => json!({ "logged": logged, "simulated": simulated }),
    }
}

fn example(example: &Example) -> Value {
    json!({
        "request": example.request,
        "at_us": example.at_us,
        "logged": example.logged,
        "simulated": example.simulated,
        "signal": example.cause.signal,
        "is_decisive": example.cause.is_decisive,
        "server": example.server,
        "logged_value": example.cause.logged,
        "simulated_value": example.cause.simulated,
    })
}
