//! What runs are computed on: GPUs, tensor parallelism, step-time models, KV blocks. Runs that are
//! compared say it, and what was chosen for them unlike is said aloud.

use std::collections::{BTreeMap, BTreeSet};
use windtunnel_config::Upkeep;

/// What the instances of a pool run on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Name of the pool; may be empty where there is one.
    pub pool: String,
    /// GPU; may be empty.
    pub gpu: String,
    /// GPUs that split each layer.
    pub tensor: Choice<u32>,
    /// Data-parallel replicas inside an instance.
    pub data: u32,
    /// Stages of the pipeline that an instance is; 1 = it is none.
    pub stages: u32,
    /// Instances of the pool.
    pub instances: u32,
    /// Step-time model.
    pub latency_model: Choice<String>,
    /// KV blocks of an instance.
    pub kv_blocks: u64,
    /// Where their number comes from, in a word.
    pub kv_blocks_source: Choice<String>,
    /// What a GPU costs, US dollars, where that is known.
    pub capex_usd_per_gpu: Option<u32>,
    /// Power and price of a GPU, as far as they are known.
    pub upkeep: Upkeep,
    /// From when until when each instance that there ever is takes requests, microseconds; none
    /// given = all of them as long as the run goes on.
    pub lives_us: Vec<[i64; 2]>,
}

/// A value that was given, or chosen because nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice<T> {
    /// The value.
    pub value: T,
    /// Did nobody give it?
    pub chosen: bool,
}

impl Machine {
    /// GPUs of one instance.
    #[must_use]
    pub fn gpus_per_instance(&self) -> u32 {
        self.tensor.value * self.data * self.stages
    }

    /// GPUs of the pool.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        u64::from(self.gpus_per_instance()) * u64::from(self.instances)
    }
}

/// GPUs of all pools; 0 = not known.
#[must_use]
pub fn gpus(machines: &[Machine]) -> u64 {
    machines.iter().map(Machine::gpus).sum()
}

/// What all GPUs cost, US dollars; `None` where the price of some is not known.
#[must_use]
pub fn capex_usd(machines: &[Machine]) -> Option<u64> {
    let price = |m: &Machine| Some(m.gpus() * u64::from(m.capex_usd_per_gpu?));
    let all: Option<u64> = machines.iter().map(price).sum();
    all.filter(|_| !machines.is_empty())
}

/// A line with the output tokens per second of a GPU, of all together `tokens_per_s`, where it is
/// known how many there are.
pub(super) fn per_gpu(
    machines: &[Machine],
    tokens_per_s: f64,
    digits: fn(f64) -> String,
    count: fn(u64) -> String,
) -> String {
    let n = gpus(machines);
    let each = digits(tokens_per_s / n as f64);
    match n {
        0 => String::new(),
        1 => format!("\nPer GPU:    {each} output tokens/s on 1 GPU"),
        _ => format!(
            "\nPer GPU:    {each} output tokens/s on each of {} GPUs",
            count(n)
        ),
    }
}

/// Reads a column off a run's machines.
type Column = fn(&[Machine]) -> String;

/// What is told of a run's machines, by column name.
pub(super) const COLUMNS: [(&str, Column); 6] = [
    ("gpu", |m| joined(m, |m| m.gpu.clone())),
    ("tensor_parallelism", |m| {
        joined(m, |m| m.tensor.value.to_string())
    }),
    ("gpus", |m| match gpus(m) {
        0 => String::new(),
        n => n.to_string(),
    }),
    ("latency_model", |m| {
        joined(m, |m| m.latency_model.value.clone())
    }),
    ("total_kv_blocks", |m| {
        joined(m, |m| m.kv_blocks.to_string())
    }),
    ("total_kv_blocks_source", |m| {
        joined(m, |m| m.kv_blocks_source.value.clone())
    }),
];

/// The value of all pools, or of each, joined by `+`.
fn joined(machines: &[Machine], of: impl Fn(&Machine) -> String) -> String {
    let values: Vec<String> = machines.iter().map(of).collect();
    let differ = values.iter().any(|v| *v != values[0]);
    let shown = if differ {
        values.len()
    } else {
        1.min(values.len())
    };
    values[..shown].join("+")
}

/// A thing that can be chosen, and how to give it.
struct Chosen {
    what: &'static str,
    setting: &'static str,
    of: fn(&Machine) -> Option<String>,
}

/// The value as long as nobody gave it.
fn unasked<T: ToString>(choice: &Choice<T>) -> Option<String> {
    choice.chosen.then(|| choice.value.to_string())
}

const CHOICES: [Chosen; 3] = [
    Chosen {
        what: "tensor parallelism",
        setting: "tp",
        of: |m| unasked(&m.tensor),
    },
    Chosen {
        what: "the latency model",
        setting: "latency_model",
        of: |m| unasked(&m.latency_model),
    },
    Chosen {
        what: "the number of KV blocks",
        setting: "total_kv_blocks",
        of: |m| unasked(&m.kv_blocks_source),
    },
];

/// What was chosen unlike for things that are compared: notes, with settings in backticks. Each
/// machine comes with what it belongs to, in as many parts as the others; where one part alone
/// decides the choice, the note has that part only.
///
/// What was given unlike was asked for, and is not told.
#[must_use]
pub fn differences(machines: &[(Vec<String>, &Machine)]) -> Vec<String> {
    let note = |choice: &Chosen| {
        let chosen = machines.iter();
        let chosen: Vec<(&[String], String)> = chosen
            .filter_map(|(parts, machine)| Some((&parts[..], (choice.of)(machine)?)))
            .collect();
        let deciding = deciding_part(&chosen);
        // Values in the order in which they come, each with what has it.
        let mut found: Vec<(&str, Vec<String>)> = Vec::new();
        for (parts, value) in &chosen {
            let label = deciding.map_or_else(|| parts.join(", "), |k| parts[k].clone());
            match found.iter_mut().find(|(known, _)| known == value) {
                Some((_, labels)) => labels.push(label),
                None => found.push((value, vec![label])),
            }
        }
        let several = found.len() > 1;
        let parts = found
            .into_iter()
            .map(|(value, labels)| format!("{value} ({})", listed(&labels)));
        several.then(|| {
            format!(
                "{} was not given and differs: {}; `{}` sets it",
                choice.what,
                parts.collect::<Vec<_>>().join(", "),
                choice.setting
            )
        })
    };
    CHOICES.iter().filter_map(note).collect()
}

/// The first part of the labels that alone says which value there is.
fn deciding_part(chosen: &[(&[String], String)]) -> Option<usize> {
    let (first, _) = chosen.first()?;
    (0..first.len()).find(|k| {
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        chosen
            .iter()
            .all(|(parts, value)| *known.entry(&parts[*k]).or_insert(value) == value)
    })
}

/// Some labels, each once, and how many more there are.
fn listed(labels: &[String]) -> String {
    const MOST: usize = 3;
    let mut seen = BTreeSet::new();
    let once = labels.iter().map(String::as_str);
    let once: Vec<&str> = once.filter(|label| seen.insert(*label)).collect();
    match once.len() {
        n if n > MOST => format!("{} and {} more", once[..MOST - 1].join("; "), n - MOST + 1),
        _ => once.join("; "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(gpu: &str, tensor: u32, model: &str) -> Machine {
        Machine {
            gpu: gpu.to_owned(),
            tensor: Choice {
                value: tensor,
                chosen: true,
            },
            data: 2,
            stages: 1,
            instances: 3,
            latency_model: Choice {
                value: model.to_owned(),
                chosen: true,
            },
            kv_blocks: 7,
            ..Machine::default()
        }
    }

    fn column(name: &str, machines: &[Machine]) -> String {
        let (_, of) = COLUMNS.iter().find(|(n, _)| *n == name).expect("a column");
        of(machines)
    }

    #[test]
    fn pools_that_are_alike_say_it_once() {
        let [a, b] = [
            machine("H100", 2, "blackbox"),
            machine("L40S", 2, "roofline"),
        ];
        let both = [a, b];
        assert_eq!(column("gpu", &both), "H100+L40S");
        assert_eq!(column("tensor_parallelism", &both), "2");
        assert_eq!(column("latency_model", &both), "blackbox+roofline");
        assert_eq!(column("gpus", &both), "24");
        assert_eq!(column("gpu", &both[..1]), "H100");
        assert_eq!(column("gpu", &[]), "");
        assert_eq!(column("gpus", &[]), "");
    }

    #[test]
    fn what_was_chosen_unlike_is_told_and_what_was_given_is_not() {
        let mut machines = [
            machine("H100", 2, "blackbox"),
            machine("A100-80", 2, "blackbox"),
            machine("L40S", 1, "roofline"),
        ];
        let told = |machines: &[Machine]| {
            let labelled: Vec<(Vec<String>, &Machine)> =
                machines.iter().map(|m| (vec![m.gpu.clone()], m)).collect();
            differences(&labelled)
        };
        assert_eq!(
            told(&machines),
            [
                "tensor parallelism was not given and differs: 2 (H100; A100-80), 1 (L40S); `tp` sets it",
                "the latency model was not given and differs: blackbox (H100; A100-80), roofline (L40S); \
                 `latency_model` sets it",
            ]
        );
        assert!(told(&machines[..2]).is_empty());
        for machine in &mut machines {
            machine.tensor.chosen = false;
            machine.latency_model.chosen = false;
        }
        assert!(told(&machines).is_empty());
    }

    #[test]
    fn a_long_list_is_cut() {
        let labels = |labels: &[&str]| labels.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(listed(&labels(&["a", "b", "c", "a"])), "a; b; c");
        assert_eq!(listed(&labels(&["a", "b", "c", "d"])), "a; b and 2 more");
    }

    #[test]
    fn a_note_names_the_dimension_that_decides() {
        let machines = [machine("H100", 2, "m"), machine("L40S", 1, "m")];
        let label = |rate: u32, gpu: &str| vec![format!("rate={rate}"), format!("hardware={gpu}")];
        let mut rows = Vec::new();
        for rate in [1, 2] {
            for machine in &machines {
                rows.push((label(rate, &machine.gpu), machine));
            }
        }
        assert_eq!(
            differences(&rows),
            [
                "tensor parallelism was not given and differs: 2 (hardware=H100), 1 (hardware=L40S); `tp` sets it"
            ]
        );
        // Here both together do.
        let mixed = [
            (label(1, "A"), &machines[0]),
            (label(2, "A"), &machines[1]),
            (label(1, "B"), &machines[1]),
        ];
        assert_eq!(
            differences(&mixed),
            [
                "tensor parallelism was not given and differs: 2 (rate=1, hardware=A), 1 (rate=2, hardware=A; rate=1, \
                 hardware=B); `tp` sets it"
            ]
        );
    }
}
