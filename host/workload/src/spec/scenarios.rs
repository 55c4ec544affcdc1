//! Specs to begin with: presets, and four scenarios that stress a policy in different ways.

use super::types::{Arrival, Client, Distribution, DistributionKind, Process, WorkloadSpec};

/// Names of the scenarios.
pub const NAMES: [&str; 4] = ["bursty", "unfair", "prefix-heavy", "mixed-slo"];

fn exponential(mean: f64) -> Option<Distribution> {
    distribution(DistributionKind::Exponential, &[("mean", mean)])
}

fn gaussian([mean, std_dev, min, max]: [f64; 4]) -> Option<Distribution> {
    let params = [
        ("mean", mean),
        ("std_dev", std_dev),
        ("min", min),
        ("max", max),
    ];
    distribution(DistributionKind::Gaussian, &params)
}

fn distribution(kind: DistributionKind, params: &[(&str, f64)]) -> Option<Distribution> {
    Some(Distribution {
        kind,
        params: params
            .iter()
            .map(|(key, x)| ((*key).to_owned(), *x))
            .collect(),
        file: None,
    })
}

fn arrival(process: Process, cv: Option<f64>) -> Option<Arrival> {
    Some(Arrival {
        process,
        cv,
        shape: None,
        scale: None,
    })
}

fn client(id: &str, tenant: &str, class: &str, share: f64) -> Client {
    Client {
        id: id.into(),
        tenant_id: tenant.into(),
        slo_class: class.into(),
        rate_fraction: share,
        arrival: arrival(Process::Poisson, None),
        ..Client::default()
    }
}

fn spec(rate: f64, clients: Vec<Client>) -> WorkloadSpec {
    WorkloadSpec {
        version: "2".into(),
        category: "language".into(),
        aggregate_rate: rate,
        clients,
        ..WorkloadSpec::default()
    }
}

/// A scenario by name at an aggregate rate.
#[must_use]
pub fn scenario(name: &str, rate: f64) -> Option<WorkloadSpec> {
    let clients = match name {
        "bursty" => vec![Client {
            arrival: arrival(Process::Gamma, Some(3.5)),
            input_distribution: exponential(512.0),
            output_distribution: exponential(256.0),
            ..client("bursty", "tenant-A", "batch", 1.0)
        }],
        "unfair" => vec![
            Client {
                input_distribution: exponential(1024.0),
                output_distribution: exponential(512.0),
                ..client("bulk", "tenant-bulk", "batch", 0.9)
            },
            Client {
                streaming: true,
                input_distribution: gaussian([128.0, 50.0, 10.0, 2048.0]),
                output_distribution: exponential(64.0),
                ..client("realtime", "tenant-realtime", "critical", 0.1)
            },
        ],
        "prefix-heavy" => vec![
            Client {
                prefix_group: "system-prompt".into(),
                input_distribution: exponential(256.0),
                output_distribution: exponential(128.0),
                ..client("prefixed", "tenant-A", "batch", 0.8)
            },
            Client {
                input_distribution: exponential(512.0),
                output_distribution: exponential(256.0),
                ..client("unique", "tenant-B", "standard", 0.2)
            },
        ],
        "mixed-slo" => vec![
            Client {
                streaming: true,
                input_distribution: gaussian([64.0, 20.0, 10.0, 256.0]),
                output_distribution: exponential(32.0),
                ..client("realtime", "tenant-rt", "critical", 0.33)
            },
            Client {
                input_distribution: gaussian([256.0, 100.0, 32.0, 2048.0]),
                output_distribution: exponential(128.0),
                ..client("interactive", "tenant-int", "standard", 0.34)
            },
            Client {
                input_distribution: exponential(1024.0),
                output_distribution: exponential(512.0),
                ..client("batch", "tenant-batch", "batch", 0.33)
            },
        ],
        _ => return None,
    };
    Some(spec(rate, clients))
}

/// A preset: evenly spaced requests with clamped Gaussian lengths (mean, standard deviation, least,
/// most) behind a shared prefix.
#[must_use]
pub fn preset(
    name: &str,
    rate: f64,
    prefix: u32,
    prompt: [f64; 4],
    output: [f64; 4],
) -> WorkloadSpec {
    let client = Client {
        id: format!("preset-{name}"),
        rate_fraction: 1.0,
        arrival: arrival(Process::Constant, None),
        input_distribution: gaussian(prompt),
        output_distribution: gaussian(output),
        prefix_group: if prefix > 0 {
            "shared".into()
        } else {
            String::new()
        },
        prefix_length: (prefix > 0).then_some(prefix),
        timeout: Some(300_000_000),
        ..Client::default()
    };
    spec(rate, vec![client])
}
