//! The answer of a plan as people read it.

use super::scaled::{Scaled, mean_of};
use super::trials::{Choice, Load, Setting, Trials};
use crate::command_line::quoted;
use crate::sweep::Point;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::ffi::OsString;
use std::fmt::Write;
use windtunnel_base::input::InputError;
use windtunnel_results::conditions::Condition;
use windtunnel_sim::plan::{Found, Plan, Trial, Verdict, interval};

/// Widest table.
const WIDTH: usize = 80;
/// Configurations that the table shows.
const SHOWN: usize = 12;

/// What was found, in the order of its cost.
pub struct Answer<'a> {
    pub trials: &'a Trials<'a>,
    pub conditions: &'a [Condition],
    /// Those that meet the targets, the cheapest first (of loads: those that take the most).
    pub fits: Vec<Fit<'a>>,
    /// Those that do not, or were not looked at: name and reason.
    pub others: Vec<(String, String)>,
    pub runs: u64,
    /// Are prices known of all that can run?
    pub by_price: bool,
    pub names: Vec<String>,
    /// The cheapest one under policies that scale it.
    pub scaled: Vec<Scaled>,
}

/// A choice with its size.
pub struct Fit<'a> {
    pub choice: &'a Choice<'a>,
    pub found: Found,
}

impl Fit<'_> {
    /// Instances, or the load.
    fn number(&self, setting: &Setting, n: u32) -> String {
        match setting.load {
            Load::Fixed => n.to_string(),
            Load::Rate | Load::Scale => setting.load_at(n).to_string(),
        }
    }

    /// The number, and in brackets what single seeds say where they disagree.
    pub fn with_range(&self, setting: &Setting) -> String {
        let number = self.number(setting, self.found.number);
        let of = &self.found.by_seed;
        match (of.iter().min(), of.iter().max()) {
            (Some(low), Some(high)) if low != high => {
                let ends = [*low, *high].map(|n| self.number(setting, n));
                format!("{number} ({}-{})", ends[0], ends[1])
            }
            _ => number,
        }
    }

    pub fn trial(&self) -> &Trial {
        &self.found.trials[0]
    }

    /// Mean of a figure over the seeds; `None` if a run has none.
    pub fn mean(&self, of: impl Fn(&Trial) -> Option<f64>) -> Option<f64> {
        mean_of(&self.found.trials, of)
    }

    /// The conditions that one instance less, or a little more load, does not meet.
    pub fn limited_by(&self, conditions: &[Condition]) -> Vec<usize> {
        let misses = |k: &usize| {
            let condition = &conditions[*k];
            let missed = |t: &&Trial| !condition.holds(t.figures[*k]);
            2 * self.found.beyond.iter().filter(missed).count() > self.found.beyond.len()
        };
        (0..conditions.len()).filter(misses).collect()
    }

    /// Roles, and how many instances have each.
    pub fn roles(&self) -> Vec<(&'static str, u32)> {
        let prefill = self.trial().prefill_instances;
        match self.choice.split {
            true => vec![
                ("prefill", prefill),
                ("decode", self.found.number - prefill),
            ],
            false => vec![("serve", self.found.number)],
        }
    }

    /// GPUs.
    pub fn gpus(&self) -> u64 {
        self.trial().gpus
    }
}

impl<'a> Answer<'a> {
    pub fn new(
        trials: &'a Trials<'a>,
        choices: &'a [Choice<'a>],
        refused: &[(String, String)],
        plan: &Plan,
        conditions: &'a [Condition],
    ) -> Result<Self, InputError> {
        let setting = trials.setting;
        let mut fits = Vec::new();
        let mut others = Vec::new();
        for (choice, verdict) in choices.iter().zip(&plan.verdicts) {
            let name = choice.name(setting);
            match verdict {
                Verdict::Fits(found) => fits.push(Fit {
                    choice,
                    found: Found::clone(found),
                }),
                Verdict::NotAtAny(n, trial) => {
                    let missed = conditions.iter().zip(&trial.figures);
                    let missed = missed.filter(|(c, x)| !c.holds(**x));
                    let figure = |(c, x): (&Condition, &Option<f64>)| {
                        let x = c.shown(x.unwrap_or(f64::INFINITY));
                        format!("{} is {x}", c.name())
                    };
                    let missed: Vec<String> = missed.map(figure).collect();
                    let with = match setting.load {
                        Load::Fixed if *n == 1 => "one instance".to_owned(),
                        Load::Fixed => format!("{n} instances"),
                        Load::Rate => format!("{} requests/s", setting.load_at(*n)),
                        Load::Scale => format!("--rate-scale {}", setting.load_at(*n)),
                    };
                    others.push((name, format!("at best, with {with}, {}", missed.join(", "))));
                }
                Verdict::Dearer(times, trial) => {
                    let cost = trial
                        .usd_per_hour
                        .map_or(format!("{} GPUs", trial.gpus), |usd| {
                            format!("{usd:.2} USD/h")
                        });
                    let why = match trial.met {
                        true => format!("costs more: the smallest is {cost}"),
                        false => format!(
                            "costs more: the smallest, {cost}, completes {:.1} requests/s, so it \
                             takes about {} times as much",
                            trial.completed_per_s,
                            times / choice.candidate.range[0]
                        ),
                    };
                    others.push((name, why));
                }
                Verdict::Impossible(why) => others.push((name, why.clone())),
            }
        }
        others.extend(refused.iter().cloned());
        match setting.load {
            Load::Fixed => fits.sort_by(|a, b| {
                let cost = |f: &Fit<'_>| match f.trial().usd_per_hour {
                    Some(usd) if plan.by_price => usd,
                    _ => f.gpus() as f64,
                };
                // Of equal cost, what uses less of its limits.
                let used = |f: &Fit<'_>| f.mean(|t| t.use_of_limits).unwrap_or(f64::INFINITY);
                cost(a)
                    .total_cmp(&cost(b))
                    .then(used(a).total_cmp(&used(b)))
            }),
            Load::Rate | Load::Scale => fits.sort_by_key(|f| std::cmp::Reverse(f.found.number)),
        }
        Ok(Self {
            trials,
            conditions,
            fits,
            others,
            runs: plan.runs,
            by_price: plan.by_price,
            names: trials.names(),
            scaled: Vec::new(),
        })
    }

    /// All of it, for a terminal.
    ///
    /// # Errors
    /// When a run goes wrong.
    pub fn text(&self) -> Result<String, InputError> {
        let mut out = String::new();
        let setting = self.trials.setting;
        let _ = writeln!(out, "{}\n", self.headline());
        if let Some(best) = self.fits.first() {
            let _ = writeln!(out, "{}", self.table());
            if self.fits.len() > SHOWN {
                let more = self.fits.len() - SHOWN;
                let _ = writeln!(out, "... and {more} more, which --out FILE and --json have");
            }
            if let Some(line) = self.beyond(best) {
                let _ = writeln!(out, "\n{}", wrapped(&line, 0));
            }
            for line in self.savings().into_iter().chain(self.scaled_lines()) {
                let _ = writeln!(out, "\n{}", wrapped(&line, 0));
            }
            let command = folded(&self.command(best)?);
            let _ = writeln!(out, "\nThe first one again, as a run:\n  {command}");
            if setting.load == Load::Fixed {
                let what = match best.choice.split {
                    true => "On each instance (roles and KV transfer: --manifest)",
                    false => "On each instance",
                };
                let serve = super::deploy::serve_command(best.choice);
                let _ = writeln!(out, "{what}:\n  {}", folded(&serve));
            }
        }
        if !self.others.is_empty() {
            let _ = writeln!(out, "\nNot among them:");
            for (name, why) in self.others.iter().take(SHOWN) {
                let _ = writeln!(out, "  {}", wrapped(&format!("{name}: {why}"), 4));
            }
            if self.others.len() > SHOWN {
                let more = self.others.len() - SHOWN;
                let _ = writeln!(
                    out,
                    "  ... and {more} more, which --out FILE and --json have"
                );
            }
        }
        let _ = writeln!(out, "\n{}", wrapped(&self.how(), 0));
        Ok(out)
    }

    /// What is missed with one instance less, or with a little more load.
    pub fn beyond(&self, fit: &Fit<'_>) -> Option<String> {
        let limited = fit.limited_by(self.conditions);
        let figure = |k: &usize| {
            let mean = mean_of(&fit.found.beyond, |t| t.figures[*k]);
            let shown = self.conditions[*k].shown(mean.unwrap_or(f64::INFINITY));
            format!("{} is {shown}", self.conditions[*k].name())
        };
        let missed: Vec<String> = limited.iter().map(figure).collect();
        let setting = self.trials.setting;
        let what = match setting.load {
            Load::Fixed => "one instance less",
            Load::Rate | Load::Scale => "2 % more load",
        };
        (!missed.is_empty()).then(|| format!("With {what}, {}.", missed.join(", ")))
    }

    /// What was looked for.
    pub fn headline(&self) -> String {
        let targets: Vec<String> = self.conditions.iter().map(ToString::to_string).collect();
        let setting = self.trials.setting;
        let survive = match setting.survive {
            0 => String::new(),
            1 => ", while one instance fails at the peak".to_owned(),
            k => format!(", while {k} instances fail at the peak"),
        };
        let what = match (setting.load, self.fits.is_empty()) {
            (Load::Fixed, false) => "Least cost",
            (Load::Fixed, true) => "Nothing of this is enough",
            (_, false) => "Most load",
            (_, true) => "No load is little enough",
        };
        format!("{what} for {}{survive}", targets.join(", "))
    }

    /// How the figures came about.
    pub fn how(&self) -> String {
        let setting = self.trials.setting;
        let mut text = String::new();
        if let Some(best) = self.fits.first() {
            let workload = best.choice.workload.split(',').next().unwrap_or_default();
            let arrivals = if setting.poisson {
                ", Poisson arrivals"
            } else {
                ""
            };
            let _ = write!(
                text,
                "{} requests a run ({workload}{arrivals}), {} seeds, {} runs. Figures are means over \
                 the seeds; in brackets is what single seeds say; rows far from the best have one \
                 seed only.",
                best.trial().arrivals,
                setting.seeds,
                self.runs
            );
        }
        if setting.load == Load::Fixed && !self.by_price && !self.fits.is_empty() {
            text.push_str(
                " Ordered by GPUs, as some have no known price: --gpu-price, or --hardware-config.",
            );
        }
        text
    }

    /// The command line of a choice at its size.
    ///
    /// # Errors
    /// When the run that says when instances fail goes wrong.
    pub fn command(&self, fit: &Fit<'_>) -> Result<Vec<String>, InputError> {
        let prefill = fit.trial().prefill_instances;
        let words = self
            .trials
            .command_line(fit.choice, fit.found.number, prefill)?;
        let all = ["windtunnel", "run"].into_iter().map(str::to_owned);
        Ok(all.chain(words.iter().map(|w| quoted(w))).collect())
    }

    /// The same under a policy that scales it: `flags` say which.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    pub fn scaled_command(
        &self,
        fit: &Fit<'_>,
        flags: &[OsString],
    ) -> Result<Vec<String>, InputError> {
        let more = flags.iter().map(|flag| quoted(&flag.to_string_lossy()));
        Ok(self.command(fit)?.into_iter().chain(more).collect())
    }

    /// What policies that scale the cheapest one come to.
    pub fn scaled_lines(&self) -> Vec<String> {
        let Some(best) = self.fits.first() else {
            return Vec::new();
        };
        let scaled = self.scaled.iter();
        let fixed = best.mean(|t| t.gpu_hours);
        scaled
            .map(|scaled| scaled.line(self.conditions, fixed))
            .collect()
    }

    fn table(&self) -> String {
        let setting = self.trials.setting;
        let fixed = setting.load == Load::Fixed;
        // Title, how soon it is left out where there is no room (0 = never), and the cells.
        let mut columns: Vec<(String, u8, Vec<String>)> = Vec::new();
        let shown = &self.fits[..self.fits.len().min(SHOWN)];
        let cells = |of: &dyn Fn(&Fit<'_>) -> String| shown.iter().map(of).collect::<Vec<_>>();
        let dash =
            |x: Option<f64>, digits: usize| x.map_or("-".to_owned(), |x| format!("{x:.digits$}"));
        for (k, name) in self.names.iter().enumerate() {
            let varies = |f: &Fit<'_>| f.choice.point.values()[k].to_owned();
            columns.push((name.clone(), 0, cells(&varies)));
        }
        if setting.split {
            columns.push((
                "pools".to_owned(),
                0,
                cells(&|f| f.choice.pools().to_owned()),
            ));
        }
        let number = match setting.load {
            Load::Fixed => "Instances",
            Load::Rate => "Requests/s",
            Load::Scale => "Rate scale",
        };
        let with_split = |f: &Fit<'_>| match f.choice.split {
            true => {
                let prefill = f.trial().prefill_instances;
                let number = f.with_range(setting);
                format!("{number}: {prefill} P + {} D", f.found.number - prefill)
            }
            false => f.with_range(setting),
        };
        columns.push((number.to_owned(), 0, cells(&with_split)));
        columns.push((
            "GPUs".to_owned(),
            if fixed { 1 } else { 5 },
            cells(&|f| f.gpus().to_string()),
        ));
        let usd = |f: &Fit<'_>| dash(f.trial().usd_per_hour, 2);
        columns.push(("USD/h".to_owned(), if fixed { 1 } else { 5 }, cells(&usd)));
        let per_million = |f: &Fit<'_>| dash(f.mean(Trial::usd_per_million_good_tokens), 3);
        columns.push(("USD/M tok".to_owned(), 3, cells(&per_million)));
        for (k, condition) in self.conditions.iter().enumerate() {
            let figure = |f: &Fit<'_>| {
                let mean = f.mean(|t| t.figures[k]);
                condition.shown(mean.unwrap_or(f64::INFINITY))
            };
            columns.push((
                condition.name().to_owned(),
                if condition.is_a_share() { 2 } else { 0 },
                cells(&figure),
            ));
        }
        let limit = |f: &Fit<'_>| {
            let names = f
                .limited_by(self.conditions)
                .into_iter()
                .map(|k| self.conditions[k].name());
            names.collect::<Vec<_>>().join(", ")
        };
        columns.push(("Limited by".to_owned(), 4, cells(&limit)));
        let render = |columns: &[(String, u8, Vec<String>)]| {
            let mut table = Table::new();
            table
                .load_style(presets::UTF8_FULL_CONDENSED)
                .set_content_arrangement(ContentArrangement::Disabled)
                .set_header(columns.iter().map(|c| &c.0));
            for row in 0..shown.len() {
                table.add_row(columns.iter().map(|c| &c.2[row]));
            }
            for column in table.column_iter_mut().skip(self.names.len()) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            table.to_string()
        };
        loop {
            let text = render(&columns);
            let width = text.lines().map(|l| l.chars().count()).max().unwrap_or(0);
            let spare = (0..columns.len()).max_by_key(|k| columns[*k].1);
            match spare.filter(|k| width > WIDTH && columns[*k].1 > 0) {
                Some(spare) => drop(columns.remove(spare)),
                None => return text,
            }
        }
    }

    /// What policies save: the best one's GPUs beside those of others, all else being equal.
    pub fn savings(&self) -> Vec<String> {
        let setting = self.trials.setting;
        let Some(best) = self.fits.first().filter(|_| setting.load == Load::Fixed) else {
            return Vec::new();
        };
        let axes = (0..self.names.len()).filter(|k| is_of_a_policy(&self.names[*k]));
        let mut lines = Vec::new();
        for axis in axes {
            let twins = self.fits[1..].iter().filter(|f| {
                differ_only_in(&best.choice.point, &f.choice.point, axis)
                    && f.choice.split == best.choice.split
            });
            for other in twins {
                lines.push(self.saving(best, other, axis));
            }
        }
        lines
    }

    fn saving(&self, best: &Fit<'_>, other: &Fit<'_>, axis: usize) -> String {
        let value = |f: &Fit<'_>| f.choice.point.values()[axis].to_owned();
        let gpus = f64::from(best.choice.machine.gpus_per_instance());
        let pairs = best.found.by_seed.iter().zip(&other.found.by_seed);
        let saved: Vec<f64> = pairs
            .map(|(mine, theirs)| gpus * (f64::from(*theirs) - f64::from(*mine)))
            .collect();
        let (mean, ends) = interval(&saved);
        let of = match ends {
            Some([low, high]) => format!(
                ", 95 % interval [{low:.1}, {high:.1}] over {} seeds",
                saved.len()
            ),
            None => String::new(),
        };
        format!(
            "{}={} saves {mean:.1} GPUs at these targets against {}{of}.",
            self.names[axis],
            value(best),
            value(other)
        )
    }
}

fn is_of_a_policy(axis: &str) -> bool {
    let ends = [
        "policy",
        "scheduler",
        "scorers",
        "policy-config",
        "pd-decider",
        "policy-param",
    ];
    axis.starts_with("bundle:") || ends.iter().any(|end| axis.ends_with(end))
}

fn differ_only_in(a: &Point<'_>, b: &Point<'_>, axis: usize) -> bool {
    let (a, b) = (a.values(), b.values());
    (0..a.len()).all(|k| (a[k] == b[k]) != (k == axis))
}

/// A command line over lines that fit a terminal.
fn folded(words: &[String]) -> String {
    let words = words.iter().map(String::as_str);
    in_lines(words, [2, 6], " \\", WIDTH - 2)
}

/// Text over lines that fit a terminal, those behind the first one indented.
fn wrapped(text: &str, indent: usize) -> String {
    in_lines(text.split_whitespace(), [indent, indent], "", WIDTH)
}

/// Words over lines of at most `width`, each with `end` behind it if another one follows. The first
/// line begins at the first of the columns, the others are indented up to the second.
fn in_lines<'a>(
    words: impl Iterator<Item = &'a str>,
    [mut column, indent]: [usize; 2],
    end: &str,
    width: usize,
) -> String {
    let mut out = String::new();
    for (k, word) in words.enumerate() {
        let length = word.chars().count() + 1;
        if k > 0 && column + length > width {
            let _ = write!(out, "{end}\n{:indent$}", "");
            column = indent;
        } else if k > 0 {
            out.push(' ');
        }
        out.push_str(word);
        column += length;
    }
    out
}
