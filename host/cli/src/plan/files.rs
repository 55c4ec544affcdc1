//! The answer of a plan for programs: JSON, and rows of CSV.

use super::answer::{Answer, Fit};
use super::scaled::{Scaled, mean_of};
use super::trials::{Load, Setting};
use serde_json::{Map, Value, json};
use windtunnel_base::input::InputError;
use windtunnel_sim::plan::Trial;

fn number(setting: &Setting, n: u32) -> Value {
    match setting.load {
        Load::Fixed => json!(n),
        Load::Rate | Load::Scale => json!(setting.load_at(n)),
    }
}

/// What the number of an answer is.
pub fn unit(setting: &Setting) -> &'static str {
    match setting.load {
        Load::Fixed => "instances",
        Load::Rate => "requests_per_s",
        Load::Scale => "rate_scale",
    }
}

fn one(answer: &Answer<'_>, fit: &Fit<'_>) -> Result<Value, InputError> {
    let setting = answer.trials.setting;
    let choice: Map<String, Value> = answer
        .names
        .iter()
        .zip(fit.choice.point.values())
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    let figures = answer.conditions.iter().enumerate();
    let figures: Map<String, Value> = figures
        .map(|(k, c)| (c.name().to_owned(), json!(fit.mean(|t| t.figures[k]))))
        .collect();
    let by_seed = fit.found.by_seed.iter().map(|n| number(setting, *n));
    let limited = fit.limited_by(answer.conditions);
    let mut object = json!({
        "choice": choice,
        unit(setting): number(setting, fit.found.number),
        "by_seed": by_seed.collect::<Vec<_>>(),
        "gpus": fit.gpus(),
        "usd_per_hour": fit.trial().usd_per_hour,
        "usd_per_million_good_tokens": fit.mean(Trial::usd_per_million_good_tokens),
        "good_tokens_per_s": fit.mean(|t| Some(t.good_tokens_per_s)),
        "good_tokens_per_s_per_gpu": fit.mean(|t| Some(t.good_tokens_per_s / t.gpus as f64)),
        "busy_joules_per_token": fit.mean(|t| t.joules_per_token),
        "figures": figures,
        "limited_by": limited.iter().map(|k| answer.conditions[*k].name()).collect::<Vec<_>>(),
        "command": answer.command(fit)?.join(" "),
    });
    if fit.choice.split {
        object["prefill_instances"] = json!(fit.trial().prefill_instances);
    }
    if setting.split {
        object["pools"] = json!(fit.choice.pools());
    }
    Ok(object)
}

/// The cheapest answer under a policy that scales it.
fn scaled_one(answer: &Answer<'_>, scaled: &Scaled) -> Value {
    let figures = answer.conditions.iter().enumerate();
    let figures: Map<String, Value> = figures
        .map(|(k, c)| {
            let mean = mean_of(&scaled.trials, |t| t.figures[k]);
            (c.name().to_owned(), json!(mean))
        })
        .collect();
    let fixed = answer.fits.first();
    json!({
        "policy": scaled.policy,
        "most_instances": scaled.most,
        "met": scaled.met,
        "gpu_hours": scaled.gpu_hours(),
        "usd": scaled.usd(),
        "fixed_gpu_hours": fixed.and_then(|fit| fit.mean(|t| t.gpu_hours)),
        "fixed_usd": fixed.and_then(|fit| fit.mean(|t| t.usd)),
        "figures": figures,
        "command": scaled.command.join(" "),
    })
}

/// One object: targets, what meets them, what does not and why.
///
/// # Errors
/// When a run goes wrong.
pub fn json(answer: &Answer<'_>) -> Result<Value, InputError> {
    let others = answer.others.iter();
    let others: Vec<Value> = others
        .map(|(name, why)| json!({ "choice": name, "reason": why }))
        .collect();
    let answers: Result<Vec<Value>, _> = answer.fits.iter().map(|fit| one(answer, fit)).collect();
    Ok(json!({
        "targets": answer.conditions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "seeds": answer.trials.setting.seeds,
        "survive": answer.trials.setting.survive,
        "runs": answer.runs,
        "ordered_by": match (answer.trials.setting.load, answer.by_price) {
            (Load::Fixed, true) => "usd_per_hour",
            (Load::Fixed, false) => "gpus",
            _ => unit(answer.trials.setting),
        },
        "answers": answers?,
        "others": others,
        "savings": answer.savings(),
        "scaled": answer.scaled.iter().map(|scaled| scaled_one(answer, scaled)).collect::<Vec<_>>(),
    }))
}

/// A row for all that was looked at.
///
/// # Errors
/// Never: it is written to memory.
pub fn csv(answer: &Answer<'_>) -> Result<Vec<u8>, InputError> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let setting = answer.trials.setting;
    let mut header: Vec<String> = vec!["choice".to_owned()];
    header.extend(answer.names.iter().cloned());
    let fixed = [
        unit(setting),
        "least_by_seed",
        "most_by_seed",
        "gpus",
        "prefill_instances",
        "usd_per_hour",
        "usd_per_million_good_tokens",
        "good_tokens_per_s",
        "busy_joules_per_token",
    ];
    header.extend(fixed.map(str::to_owned));
    header.extend(answer.conditions.iter().map(|c| c.name().to_owned()));
    header.push("reason".to_owned());
    let width = header.len();
    let failed = |e: csv::Error| InputError::new(e.to_string());
    out.write_record(&header).map_err(failed)?;
    for fit in &answer.fits {
        let found = &fit.found;
        let ends = [found.by_seed.iter().min(), found.by_seed.iter().max()];
        let some = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
        let mut row = vec![fit.choice.name(setting)];
        row.extend(fit.choice.point.values().into_iter().map(str::to_owned));
        row.push(number(setting, found.number).to_string());
        row.extend(ends.map(|n| n.map_or(String::new(), |n| number(setting, *n).to_string())));
        row.push(fit.gpus().to_string());
        row.push(fit.trial().prefill_instances.to_string());
        row.push(some(fit.trial().usd_per_hour));
        row.push(some(fit.mean(Trial::usd_per_million_good_tokens)));
        row.push(some(fit.mean(|t| Some(t.good_tokens_per_s))));
        row.push(some(fit.mean(|t| t.joules_per_token)));
        row.extend((0..answer.conditions.len()).map(|k| some(fit.mean(|t| t.figures[k]))));
        row.push(String::new());
        out.write_record(&row).map_err(failed)?;
    }
    for (name, why) in &answer.others {
        let mut row = vec![String::new(); width];
        row[0].clone_from(name);
        row[width - 1].clone_from(why);
        out.write_record(&row).map_err(failed)?;
    }
    out.into_inner().map_err(|e| InputError::new(e.to_string()))
}
