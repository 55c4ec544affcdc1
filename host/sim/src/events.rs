//! Instances that fail, slow down and are replaced: what is made of what a run says of them.

use crate::event_spec::{EventKind, EventSpec};
use crate::scale::{pool_called, seconds};
use crate::settings::Given;
use crate::spec::RunSpec;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Role;
use windtunnel_config::autoscale::STARTUP_S;
use windtunnel_engine::cluster::{ClusterEvent, Events, Happening, PoolConfig};

/// Seconds after which a client sends a request again, where nothing is said.
const RETRY_AFTER_S: f64 = 1.0;

/// What happens to the instances of `pools`, and what clients do.
///
/// # Errors
/// A pool or an instance that there is not, a figure that cannot be, or what changes nothing.
pub(crate) fn events(
    run: &RunSpec,
    given: &Given,
    pools: &[PoolConfig],
) -> Result<Events, InputError> {
    let any = run.events.iter().any(|event| event.kind == EventKind::Fail);
    given.reject_unless(
        &["retries", "retry_after"],
        any,
        "where no instance fails (`event`)",
    )?;
    given.reject_unless(
        &["retry_after"],
        run.client.retries.unwrap_or(0) > 0,
        "without `retries`",
    )?;
    if run.events.is_empty() {
        return Ok(Events::default());
    }
    if run.is_in_ticks() || run.is_as_xpusim() || run.disaggregation.lockstep {
        return Err(InputError::new(
            "`event` goes with times in microseconds and instances that step by themselves: it is not there where \
             time is abstract, nor in XpuSim, nor with `lockstep`",
        ));
    }
    if !run.scale.is_empty() {
        return Err(InputError::new(
            "`event` does not go with `scale`: a schedule knows of no instance that is not there",
        ));
    }
    if run.outputs.kv_events {
        return Err(InputError::new(
            "`kv_events` does not go with `event`: none tells that an instance went with its cache",
        ));
    }
    let mut all = Vec::new();
    for (k, event) in run.events.iter().enumerate() {
        let wrong = |e: InputError| {
            let n = run.events.len();
            InputError::new(format!("`event`, {} of {n}: {}", k + 1, e.message()))
        };
        all.push(one(event, pools).map_err(wrong)?);
    }
    all.sort_by_key(|event| event.at_us);
    let after = run.client.after.unwrap_or(RETRY_AFTER_S);
    Ok(Events {
        all,
        retries: run.client.retries.unwrap_or(0),
        retry_after_us: us("retry_after", after, 0.0)?,
    })
}

fn us(name: &str, value: f64, least: f64) -> Result<i64, InputError> {
    Ok((seconds(name, value, least)? * 1e6).round() as i64)
}

fn one(event: &EventSpec, pools: &[PoolConfig]) -> Result<ClusterEvent, InputError> {
    let k = pool_called(&event.pool, pools)?;
    let kind = event.kind;
    if kind != EventKind::Slow && pools.iter().any(|pool| pool.role != Role::Serve) {
        return Err(InputError::new(format!(
            "{} is not there where some instances prefill for others; slow is",
            kind.name()
        )));
    }
    let first = pools[..k].iter().map(|pool| pool.instances).sum::<u32>();
    let n = pools[k].instances;
    if let Some(other) = event.instances.iter().find(|i| **i >= n) {
        return Err(InputError::new(format!(
            "there is no instance {other}; expected 0 to {}",
            n - 1
        )));
    }
    let foreign = [
        (
            "restart_after",
            event.restart_after.is_some(),
            kind == EventKind::Fail,
        ),
        ("factor", event.factor.is_some(), kind == EventKind::Slow),
        (
            "duration",
            event.duration.is_some(),
            kind == EventKind::Slow,
        ),
        ("at_once", event.at_once.is_some(), kind == EventKind::Roll),
        ("startup", event.startup.is_some(), kind == EventKind::Roll),
        (
            "instances",
            !event.instances.is_empty(),
            kind != EventKind::Roll,
        ),
    ];
    for (key, given, own) in foreign {
        if given && !own {
            return Err(InputError::new(format!(
                "{key} has no effect with kind {}",
                kind.name()
            )));
        }
    }
    if kind != EventKind::Roll && event.instances.is_empty() {
        return Err(InputError::new("say which `instances` of the pool, from 0"));
    }
    let what = match kind {
        EventKind::Fail => Happening::Fail {
            restart_us: event
                .restart_after
                .map(|seconds| us("restart_after", seconds, 0.0))
                .transpose()?,
        },
        EventKind::Slow => {
            let factor = event.factor.unwrap_or(f64::NAN);
            if !(0.001..=1e6).contains(&factor) {
                return Err(InputError::new(format!(
                    "factor is {factor}; expected 0.001 to 1000000 times as long"
                )));
            }
            let duration = event.duration.unwrap_or(f64::NAN);
            Happening::Slow {
                factor,
                for_us: us("duration", duration, 0.001)?,
            }
        }
        EventKind::Roll => Happening::Roll {
            at_once: match event.at_once.unwrap_or(1) {
                0 => return Err(InputError::new("at_once is 0; expected at least 1")),
                n => n,
            },
            startup_us: us("startup", event.startup.unwrap_or(STARTUP_S), 0.0)?,
        },
    };
    let instances = match kind {
        EventKind::Roll => (first..first + n).collect(),
        _ => event.instances.iter().map(|i| first + i).collect(),
    };
    Ok(ClusterEvent {
        at_us: us("at", event.at, 0.0)?,
        instances,
        what,
    })
}

/// What happens when, in words; `None` = nothing.
pub(crate) fn described(run: &RunSpec) -> Option<String> {
    let mut events: Vec<&EventSpec> = run.events.iter().collect();
    events.sort_by(|a, b| a.at.total_cmp(&b.at));
    let said = events.into_iter().map(|event| {
        let pool = match event.pool.as_str() {
            "" => String::new(),
            name => format!(" {name}"),
        };
        let whom: Vec<String> = event.instances.iter().map(u32::to_string).collect();
        let whom = whom.join("+");
        match event.kind {
            EventKind::Roll => format!("roll{pool} from {} s on", event.at),
            kind => format!("{}{pool} {whom} at {} s", kind.name(), event.at),
        }
    });
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| format!("events: {}", said.join(", ")))
}
