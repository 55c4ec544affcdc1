//! The answer of a plan as a page.

use super::answer::{Answer, Fit};
use super::trials::Load;
use windtunnel_base::input::InputError;
use windtunnel_results::page::{Axis, Cell, Chart, Dots, Estimate, Page, Table, Trace};
use windtunnel_sim::plan::Trial;

/// All of it; `call` makes it again.
///
/// # Errors
/// When a run goes wrong.
pub fn html(answer: &Answer<'_>, call: &str) -> Result<String, InputError> {
    let mut page = Page::new(&answer.headline());
    let setting = answer.trials.setting;
    page.lead(&answer.how());
    if let Some(best) = answer.fits.first() {
        page.section("What is enough");
        page.table(&table(answer));
        if let Some(line) = answer.beyond(best) {
            page.text(&line);
        }
        for line in answer.savings().into_iter().chain(answer.scaled_lines()) {
            page.text(&line);
        }
        page.section(if setting.load == Load::Fixed {
            "Cost"
        } else {
            "Load"
        });
        page.dots(&sizes(answer));
        if setting.load == Load::Fixed {
            for chart in fronts(answer) {
                page.chart(&chart);
            }
        }
        page.section("The first one again");
        page.code(&answer.command(best)?.join(" "));
        if setting.load == Load::Fixed {
            page.code(&super::deploy::serve_command(best.choice).join(" "));
        }
    }
    if !answer.others.is_empty() {
        page.section("Not among them, and why");
        let mut table = Table::new(&["Configuration", "why"]);
        for (name, why) in &answer.others {
            table
                .rows
                .push(vec![name.clone().into(), why.clone().into()]);
        }
        page.table(&table);
    }
    page.section("How it was made");
    page.code(call);
    Ok(page.finish())
}

/// Dollars per hour where prices are known, else GPUs; of loads requests per second, or the factor
/// on a trace's rate.
fn size(answer: &Answer<'_>, fit: &Fit<'_>, number: u32) -> f64 {
    let setting = answer.trials.setting;
    match (setting.load, fit.trial().usd_per_hour) {
        (Load::Rate | Load::Scale, _) => setting.load_at(number),
        (Load::Fixed, price) => {
            let all = price
                .filter(|_| answer.by_price)
                .unwrap_or(fit.gpus() as f64);
            all * f64::from(number) / f64::from(fit.found.number)
        }
    }
}

fn unit(answer: &Answer<'_>) -> &'static str {
    match (answer.trials.setting.load, answer.by_price) {
        (Load::Fixed, true) => "USD per hour",
        (Load::Fixed, false) => "GPUs",
        (Load::Rate, _) => "requests/s",
        (Load::Scale, _) => "factor on the trace's rate",
    }
}

fn sizes(answer: &Answer<'_>) -> Dots {
    let setting = answer.trials.setting;
    let estimate = |fit: &Fit<'_>| {
        let of = &fit.found.by_seed;
        let ends = [of.iter().min(), of.iter().max()];
        let ends = ends.map(|n| n.map_or(0.0, |n| size(answer, fit, *n)));
        Some(Estimate {
            value: size(answer, fit, fit.found.number),
            interval: (of.len() > 1).then_some(ends),
        })
    };
    Dots {
        title: "By configuration".to_owned(),
        note: "bars: what single seeds say; no bar = one seed only".to_owned(),
        x_title: unit(answer).to_owned(),
        names: answer
            .fits
            .iter()
            .map(|fit| fit.choice.name(setting))
            .collect(),
        series: vec![(
            "answer".to_owned(),
            answer.fits.iter().map(estimate).collect(),
        )],
    }
}

/// For each latency under a limit the configurations than which none is both cheaper and quicker.
fn fronts(answer: &Answer<'_>) -> Vec<Chart> {
    let latencies = (0..answer.conditions.len()).filter(|k| !answer.conditions[*k].is_a_share());
    let front = |k: usize| {
        let point = |fit: &Fit<'_>| {
            let figure = fit.mean(|t| t.figures[k])?;
            Some((size(answer, fit, fit.found.number), figure))
        };
        let mut points: Vec<(f64, f64)> = answer.fits.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut quickest = f64::INFINITY;
        points.retain(|(_, figure)| {
            let quicker = *figure < quickest;
            quickest = quickest.min(*figure);
            quicker
        });
        let name = answer.conditions[k].name();
        Chart {
            title: format!("{name} against cost"),
            note: format!(
                "limit: {}; nothing is both cheaper and quicker",
                answer.conditions[k]
            ),
            x: Axis::from_zero(unit(answer)),
            y: Axis::from_zero(&format!("{name}, ms")),
            traces: vec![Trace {
                name: "best of both".to_owned(),
                x: points.iter().map(|p| p.0).collect(),
                y: points.iter().map(|p| Some(p.1)).collect(),
                marked: true,
                stepped: true,
                ..Trace::default()
            }],
            ..Chart::default()
        }
    };
    latencies.map(front).collect()
}

fn table(answer: &Answer<'_>) -> Table {
    let setting = answer.trials.setting;
    let number = match setting.load {
        Load::Fixed => "instances",
        Load::Rate | Load::Scale => unit(answer),
    };
    let mut head = vec![
        "Configuration",
        number,
        "GPUs",
        "USD/h",
        "USD/M good tokens",
        "good tokens/s/GPU",
    ];
    head.extend(answer.conditions.iter().map(|c| c.name()));
    head.push("limited by");
    let mut table = Table::new(&head);
    for fit in &answer.fits {
        let per_gpu = |t: &Trial| (t.gpus > 0).then(|| t.good_tokens_per_s / t.gpus as f64);
        let mut row: Vec<Cell> = vec![
            fit.choice.name(setting).into(),
            fit.with_range(setting).into(),
            fit.gpus().into(),
            fit.trial().usd_per_hour.into(),
            fit.mean(Trial::usd_per_million_good_tokens).into(),
            fit.mean(per_gpu).into(),
        ];
        for (k, condition) in answer.conditions.iter().enumerate() {
            let mean = fit.mean(|t| t.figures[k]);
            row.push(
                mean.map_or("unserved".to_owned(), |x| condition.shown(x))
                    .into(),
            );
        }
        let limited = fit.limited_by(answer.conditions).into_iter();
        let limited: Vec<&str> = limited.map(|k| answer.conditions[k].name()).collect();
        row.push(limited.join(", ").into());
        table.rows.push(row);
    }
    table
}
