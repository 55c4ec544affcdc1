//! `windtunnel replay-decisions --resimulate`: the requests of a decision log through the
//! simulator, and where it sends them.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use windtunnel_base::input::InputError;
use windtunnel_live::decisions::traffic::Traffic;
use windtunnel_sim::record::RequestRecord;
use windtunnel_sim::{FrontSpec, OutputSpec, PoolSpec, RulesSpec, RunSpec};

/// From this share of equal decisions on, the simulation decides as the gateway did.
const AGREES: f64 = 0.95;
/// Below this one it does not.
const DISAGREES: f64 = 0.90;

/// How a simulation compares with what was logged.
pub struct Resimulation {
    /// Requests that were sent to one server, and once.
    pub compared: u64,
    /// Of these, those that the simulation sends to the same server.
    pub equal: u64,
    /// The first that it sends elsewhere: its name, the logged server, the simulated one.
    pub first: Option<(String, String, String)>,
    /// Means of TTFT and E2E, logged and simulated, milliseconds.
    pub ttft_ms: [f64; 2],
    pub e2e_ms: [f64; 2],
    /// Policies took over from others meanwhile, which the simulation does not follow.
    pub taken_over: u64,
}

impl Resimulation {
    /// Share of equal decisions.
    pub fn share(&self) -> f64 {
        self.equal as f64 / self.compared.max(1) as f64
    }

    /// What that means.
    pub fn verdict(&self) -> &'static str {
        match self.share() {
            share if share >= AGREES => "agrees",
            share if share >= DISAGREES => "look closer",
            _ => "disagrees",
        }
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let first = self.first.as_ref();
        json!({
            "compared": self.compared,
            "equal": self.equal,
            "share": self.share(),
            "verdict": self.verdict(),
            "first_difference": first.map(|(id, logged, simulated)| {
                json!({ "request": id, "logged": logged, "simulated": simulated })
            }),
            "ttft_mean_ms": { "logged": self.ttft_ms[0], "simulated": self.ttft_ms[1] },
            "e2e_mean_ms": { "logged": self.e2e_ms[0], "simulated": self.e2e_ms[1] },
            "policies_taken_over": self.taken_over,
        })
    }
}

/// Simulates the requests of a log; `spec` says what the servers are, where the log does not.
///
/// # Errors
/// When nobody says what the servers are, or the simulation cannot be made.
pub fn resimulate(traffic: &Traffic, spec: Option<&Path>) -> Result<Resimulation, InputError> {
    let deployment = &traffic.deployment;
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
    // Servers in the order in which the simulation numbers its instances.
    let mut servers = Vec::new();
    let mut counted = Vec::new();
    for pool in pools {
        let those = deployment.servers.iter().filter(|(_, of)| *of == pool.name);
        let those: Vec<String> = those.map(|(name, _)| name.clone()).collect();
        let count = u32::try_from(those.len()).unwrap_or(u32::MAX);
        servers.extend(those);
        if count > 0 {
            counted.push(PoolSpec {
                count: Some(count),
                ..pool
            });
        }
    }
    if servers.len() != deployment.servers.len() || servers.is_empty() {
        return Err(InputError::new(format!(
            "{} servers are in the log, {} of them in pools that are known",
            deployment.servers.len(),
            servers.len()
        )));
    }
    let policies = serde_json::from_value(traffic.policies.clone())
        .map_err(|e| InputError::new(format!("the policies of the log: {e}")))?;
    let run = RunSpec {
        model,
        pools: counted,
        rules: RulesSpec::Vllm,
        policies,
        front: FrontSpec {
            snapshot_refresh_interval_us: Some(deployment.scrape_us),
            cache_signal_delay_us: Some(0),
            ..FrontSpec::default()
        },
        seed: Some(deployment.seed),
        outputs: OutputSpec::default(),
        ..RunSpec::default()
    };
    let source = Box::new(traffic.source());
    let result = run
        .resolve_with(source, "a decision log")?
        .run(&mut |_| ())?;
    Ok(compare(traffic, &servers, &result.record.requests))
}

fn compare(traffic: &Traffic, servers: &[String], simulated: &[RequestRecord]) -> Resimulation {
    let by_serial: BTreeMap<u64, &RequestRecord> =
        simulated.iter().map(|r| (r.serial, r)).collect();
    let (mut compared, mut equal, mut first) = (0, 0, None);
    let mut pairs = [Vec::new(), Vec::new()];
    for (serial, logged) in (0..).zip(&traffic.requests) {
        let Some(record) = by_serial.get(&serial) else {
            continue;
        };
        if let (Some(a), Some(b)) = (logged.ttft_us, record.ttft_us) {
            pairs[0].push((a, b));
        }
        if let Some(e2e) = record.e2e_us {
            pairs[1].push((logged.e2e_us, e2e));
        }
        let (Some(endpoint), Some(i)) = (&logged.endpoint, record.instance) else {
            continue;
        };
        compared += 1;
        let other = servers.get(i as usize).cloned().unwrap_or_default();
        if other == *endpoint {
            equal += 1;
        } else {
            first.get_or_insert_with(|| (record.id.to_string(), endpoint.clone(), other));
        }
    }
    let means = pairs.map(|pairs: Vec<(i64, i64)>| {
        let n = pairs.len().max(1) as f64 * 1e3;
        let sums = pairs
            .iter()
            .fold((0.0, 0.0), |(a, b), (x, y)| (a + *x as f64, b + *y as f64));
        [sums.0 / n, sums.1 / n]
    });
    Resimulation {
        compared,
        equal,
        first,
        ttft_ms: means[0],
        e2e_ms: means[1],
        taken_over: traffic.taken_over,
    }
}
