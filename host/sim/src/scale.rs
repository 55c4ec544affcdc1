//! Instances that a run adds and removes while it goes on.

use crate::scale_spec::ScaleSpec;
use crate::spec::RunSpec;
use windtunnel_base::input::InputError;
use windtunnel_base::record::Role;
use windtunnel_engine::cluster::{PoolConfig, Resize, Schedule};
use windtunnel_engine::latency::{TICK_US, Ticks};

/// Longest time that a run may give, seconds.
const LONGEST_S: f64 = 1e9;

/// When instances come and go. The pools get room for all that they ever have.
///
/// # Errors
/// When a change names no pool, is none, or leaves nobody to do a part of the work.
pub(crate) fn schedule(run: &RunSpec, pools: &mut [PoolConfig]) -> Result<Schedule, InputError> {
    let mut schedule = Schedule::default();
    if run.scale.is_empty() {
        return Ok(schedule);
    }
    for (k, change) in run.scale.iter().enumerate() {
        let wrong = |e: InputError| {
            InputError::new(format!(
                "`scale`, change {} of {}: {}",
                k + 1,
                run.scale.len(),
                e.message()
            ))
        };
        schedule
            .resizes
            .push(resize(run, change, pools).map_err(wrong)?);
    }
    schedule.resizes.sort_by_key(|resize| resize.at_us);
    schedule.initial = pools.iter().map(|pool| pool.instances).collect();
    check(run, &schedule, pools)?;
    for (k, pool) in pools.iter_mut().enumerate() {
        pool.instances = schedule.ever(k, pool.instances);
    }
    Ok(schedule)
}

/// The pool of this name; may be left out where there is one.
pub(crate) fn pool_called(name: &str, pools: &[PoolConfig]) -> Result<usize, InputError> {
    let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    match name {
        "" if pools.len() == 1 => Ok(0),
        "" => {
            let names = names.join(", ");
            Err(InputError::new(format!("say which `pool`: {names}")))
        }
        name => {
            let at = names.iter().position(|pool| *pool == name);
            at.ok_or_else(|| no_pool(name, &names))
        }
    }
}

/// No pool has this name.
pub(crate) fn no_pool(name: &str, names: &[&str]) -> InputError {
    match names {
        [""] => InputError::new(format!(
            "the only pool has no name, so that none is \"{name}\""
        )),
        _ => InputError::unknown("pool", name, names),
    }
}

/// A time of at least so much, seconds; `name` is what the run calls it.
pub(crate) fn seconds(name: &str, value: f64, least: f64) -> Result<f64, InputError> {
    match (least..=LONGEST_S).contains(&value) {
        true => Ok(value),
        false => Err(InputError::new(format!(
            "`{name}` is {value}; expected {least} to {LONGEST_S} seconds"
        ))),
    }
}

fn resize(run: &RunSpec, change: &ScaleSpec, pools: &[PoolConfig]) -> Result<Resize, InputError> {
    let pool = pool_called(&change.pool, pools)?;
    let at = change.at;
    let at_us = match run.is_in_ticks() {
        true => Ticks::us(at)
            .map_err(|e| InputError::new(format!("`at` is {at}; expected {}", e.message())))?,
        false => (seconds("at", at, 0.0)? * 1e6).round() as i64,
    };
    Ok(Resize {
        at_us,
        pool,
        instances: change.instances,
    })
}

/// Refuses changes that are none, and those that leave nobody to do a part of the work.
fn check(run: &RunSpec, schedule: &Schedule, pools: &[PoolConfig]) -> Result<(), InputError> {
    let mut there = schedule.initial.clone();
    let resizes = &schedule.resizes;
    for (k, resize) in resizes.iter().enumerate() {
        let (pool, n) = (&pools[resize.pool].name, resize.instances);
        let pool = match pool.as_str() {
            "" => "the pool".to_owned(),
            name => format!("pool \"{name}\""),
        };
        let when = time(run, resize.at_us);
        if there[resize.pool] == n {
            return Err(InputError::new(format!(
                "`scale` has no effect at {when}: {pool} has {n} instances before"
            )));
        }
        let again = resizes[..k].iter();
        let mut again = again.filter(|r| (r.at_us, r.pool) == (resize.at_us, resize.pool));
        if again.next().is_some() {
            return Err(InputError::new(format!(
                "`scale` gives {pool} two numbers of instances at {when}"
            )));
        }
        there[resize.pool] = n;
        if resizes
            .get(k + 1)
            .is_some_and(|next| next.at_us == resize.at_us)
        {
            continue;
        }
        for (does, name) in [
            (Role::prefills as fn(Role) -> bool, "prefill"),
            (Role::decodes, "decode"),
        ] {
            let mut left = pools.iter().zip(&there);
            if !left.any(|(pool, n)| *n > 0 && does(pool.role)) {
                return Err(InputError::new(format!(
                    "`scale` leaves no instance to {name} from {when} on; expected at least one"
                )));
            }
        }
    }
    let end_us = match run.is_in_ticks() {
        true => run.time_limit.and_then(|t| Ticks::us(t).ok()),
        false => run.horizon_us,
    };
    match resizes
        .iter()
        .find(|r| end_us.is_some_and(|end| r.at_us > end))
    {
        Some(late) => Err(InputError::new(format!(
            "`scale` has no effect at {}, when the run is over",
            time(run, late.at_us)
        ))),
        None => Ok(()),
    }
}

/// A time as the run counts it.
fn time(run: &RunSpec, us: i64) -> String {
    match run.is_in_ticks() {
        true => format!("{} ticks", us as f64 / TICK_US as f64),
        false => format!("{} s", us as f64 / 1e6),
    }
}

/// What changes when, in words; `None` = nothing.
pub(crate) fn described(run: &RunSpec) -> Option<String> {
    let mut changes: Vec<&ScaleSpec> = run.scale.iter().collect();
    changes.sort_by(|a, b| a.at.total_cmp(&b.at));
    let unit = match run.is_in_ticks() {
        true => "ticks",
        false => "s",
    };
    let said = changes.iter().map(|change| {
        let pool = match change.pool.as_str() {
            "" => String::new(),
            name => format!("{name} "),
        };
        format!("{pool}{} from {} {unit} on", change.instances, change.at)
    });
    (!changes.is_empty()).then(|| format!("instances: {}", said.collect::<Vec<_>>().join(", ")))
}
