//! A gateway that holds requests back: what is made of what a run and its bundle say of it.

use crate::settings::Given;
use crate::spec::RunSpec;
use serde_json::{Value, json};
use windtunnel_base::input::InputError;
use windtunnel_base::record::GatewayTotals;
use windtunnel_config::flow_control::FlowControlSpec;
use windtunnel_engine::frontend::{Detector, FlowControl};
use windtunnel_engine::instance::Preset;
use windtunnel_policy::bundle::Bundle;
use windtunnel_policy::{Choice, PolicySpec};

/// The settings that have an effect only with a gateway.
const OF_GATEWAY: [&str; 14] = [
    "dispatch_order",
    "saturation_detector",
    "queue_depth_threshold",
    "kv_cache_util_threshold",
    "max_concurrency",
    "usage_limit_threshold",
    "fairness_policy",
    "slo_targets",
    "max_gateway_queue_depth",
    "per_band_capacity",
    "queue_shedding",
    "request_ttl",
    "dispatch_tick_interval",
    "in_flight_eviction",
];

/// The run with what its bundle says of a gateway; `None` = that says nothing.
///
/// # Errors
/// When the two do not go together.
pub(crate) fn with_bundle(run: &RunSpec, bundle: &Bundle) -> Result<Option<RunSpec>, InputError> {
    let targets = &bundle.admission.slo_targets;
    if bundle.flow_control == FlowControlSpec::default() && targets.is_empty() {
        return Ok(None);
    }
    let wrong = |e: serde_json::Error| InputError::new(format!("`flow_control`: {e}"));
    let mut tree = serde_json::to_value(&bundle.flow_control).map_err(wrong)?;
    let own = serde_json::to_value(&run.flow_control).map_err(wrong)?;
    if let (Some(all), Some(own)) = (tree.as_object_mut(), own.as_object()) {
        all.extend(own.clone());
    }
    let mut flow_control: FlowControlSpec = serde_json::from_value(tree).map_err(wrong)?;
    if flow_control.slo_targets.is_none() && flow_control.enabled && !targets.is_empty() {
        let texts: Vec<String> = targets.iter().map(|(c, us)| format!("{c}={us}")).collect();
        flow_control.slo_targets = Some(texts.join(","));
    }
    Ok(Some(RunSpec {
        flow_control,
        ..run.clone()
    }))
}

/// The gateway of a run, if it has one.
///
/// # Errors
/// A name that nothing has, a figure that cannot be, or a setting that changes nothing.
pub(crate) fn gateway(
    run: &RunSpec,
    given: &Given,
    preset: Preset,
) -> Result<Option<FlowControl>, InputError> {
    let spec = &run.flow_control;
    if !spec.enabled {
        given.reject_unless(&OF_GATEWAY, false, "without `flow_control`")?;
        return Ok(None);
    }
    if run.is_in_ticks() || run.is_as_xpusim() {
        return Err(InputError::new(
            "`flow_control` goes with times in microseconds and vLLM's or BLIS's rules: there is no \
             gateway where time is abstract, nor in XpuSim",
        ));
    }
    let name = spec.saturation_detector.as_deref().unwrap_or("never");
    let detector = match name {
        "never" | "" => Detector::Never,
        "utilization" => Detector::Utilization {
            queue_depth: positive("queue_depth_threshold", spec.queue_depth_threshold, 5.0)?,
            kv_utilization: positive("kv_cache_util_threshold", spec.kv_cache_util_threshold, 0.8)?,
        },
        "concurrency" => Detector::Concurrency {
            requests: match spec.max_concurrency.unwrap_or(100) {
                0 => return Err(at_least_1("max_concurrency")),
                n => n.into(),
            },
        },
        other => {
            let names = ["never", "utilization", "concurrency"];
            return Err(InputError::unknown("`saturation_detector`", other, &names));
        }
    };
    // The reference ignores what belongs to another detector, without a word.
    if preset == Preset::Vllm {
        for (settings, of) in [
            (
                &["queue_depth_threshold", "kv_cache_util_threshold"][..],
                "utilization",
            ),
            (&["max_concurrency"], "concurrency"),
        ] {
            let because = format!(
                "with `saturation_detector` {name}; it belongs to `saturation_detector` {of}"
            );
            given.reject_unless(settings, name == of, &because)?;
        }
        given.reject_unless(
            &["in_flight_eviction"],
            name != "never",
            "with `saturation_detector` never: nothing is taken back unless the instances are saturated",
        )?;
    }
    given.reject_unless(
        &["queue_shedding"],
        preset == Preset::Blis || spec.max_gateway_queue_depth.unwrap_or(0) > 0,
        "without `max_gateway_queue_depth`, which it makes room in",
    )?;
    let not_negative = |name: &str, value: Option<i64>| match value.unwrap_or(0) {
        us if us < 0 => Err(InputError::new(format!(
            "`{name}` must be at least 0, found {us}"
        ))),
        us => Ok(us),
    };
    let usage_limit = spec.usage_limit_threshold.unwrap_or(1.0);
    if !(0.0..=1.0).contains(&usage_limit) {
        return Err(InputError::new(format!(
            "`usage_limit_threshold` must be 0 to 1, found {usage_limit}"
        )));
    }
    let tick_us = not_negative("dispatch_tick_interval", spec.dispatch_tick_interval_us)?;
    Ok(Some(FlowControl {
        detector,
        max_depth: spec.max_gateway_queue_depth.unwrap_or(0),
        per_band: spec.per_band_capacity.unwrap_or(0),
        shedding: spec.queue_shedding,
        ttl_us: not_negative("request_ttl", spec.request_ttl_us)?,
        tick_us: match tick_us {
            0 => FlowControl::default().tick_us,
            us => us,
        },
        usage_limit,
        evicts: spec.in_flight_eviction,
        class_targets: class_targets(spec.slo_targets.as_deref().unwrap_or_default())?,
    }))
}

/// Does a run say that tenants take turns?
///
/// # Errors
/// A name that nothing has.
pub(crate) fn turns(spec: &FlowControlSpec) -> Result<Option<bool>, InputError> {
    match spec.fairness_policy.as_deref() {
        None | Some("") => Ok(None),
        Some("global-strict") => Ok(Some(false)),
        Some("round-robin") => Ok(Some(true)),
        Some(other) => {
            let names = ["global-strict", "round-robin"];
            Err(InputError::unknown("`fairness_policy`", other, &names))
        }
    }
}

fn at_least_1(name: &str) -> InputError {
    InputError::new(format!("`{name}` must be at least 1, found 0"))
}

fn positive(name: &str, value: Option<f64>, default: f64) -> Result<f64, InputError> {
    match value.unwrap_or(default) {
        x if x.is_finite() && x > 0.0 => Ok(x),
        x => Err(InputError::new(format!(
            "`{name}` must be more than 0, found {x}"
        ))),
    }
}

/// Reads `class=microseconds,...`.
fn class_targets(text: &str) -> Result<Vec<(String, i64)>, InputError> {
    let wrong = |part: &str| {
        InputError::new(format!(
            "`slo_targets`: expected class=MICROSECONDS of at least 1, as critical=100000, found \"{part}\""
        ))
    };
    let mut targets: Vec<(String, i64)> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (class, us) = part.split_once('=').ok_or_else(|| wrong(part))?;
        let us: i64 = us.trim().parse().map_err(|_| wrong(part))?;
        if us < 1 {
            return Err(wrong(part));
        }
        let class = class.trim();
        if targets.iter().any(|(known, _)| known == class) {
            return Err(InputError::new(format!(
                "`slo_targets` names class \"{class}\" twice"
            )));
        }
        targets.push((class.to_owned(), us));
    }
    Ok(targets)
}

/// The tenants take turns, by the parameter of a built-in dispatch policy.
fn takes_turns(dispatch: &Choice) -> bool {
    match dispatch {
        Choice::BuiltIn { values, .. } => values.get("turns") > 0.0,
        _ => false,
    }
}

/// The gateway in a line for people.
pub(crate) fn described(gateway: &FlowControl, policies: &PolicySpec) -> String {
    let detector = match gateway.detector {
        Detector::Never => "never saturated".to_owned(),
        Detector::Utilization {
            queue_depth,
            kv_utilization,
        } => format!("saturated by utilization (queue {queue_depth}, KV {kv_utilization})"),
        Detector::Concurrency { requests } => {
            format!("saturated by concurrency ({requests} requests per instance)")
        }
    };
    let turns = match takes_turns(&policies.dispatch) {
        true => ", tenants in turn",
        false => "",
    };
    format!(
        "gateway: {detector}, dispatch {}{turns}",
        policies.dispatch.name()
    )
}

/// The gateway for programs.
pub(crate) fn setup(gateway: &FlowControl, policies: &PolicySpec) -> Value {
    let mut setup = json!({
        "dispatch_order": policies.dispatch.name(),
        "tenants_in_turn": takes_turns(&policies.dispatch),
        "max_gateway_queue_depth": gateway.max_depth,
        "per_band_capacity": gateway.per_band,
        "queue_shedding": gateway.shedding,
        "request_ttl_us": gateway.ttl_us,
        "dispatch_tick_interval_us": gateway.tick_us,
        "usage_limit_threshold": gateway.usage_limit,
        "in_flight_eviction": gateway.evicts,
    });
    let mut add = |key: &str, value: Value| setup[key] = value;
    match gateway.detector {
        Detector::Never => add("saturation_detector", json!("never")),
        Detector::Utilization {
            queue_depth,
            kv_utilization,
        } => {
            add("saturation_detector", json!("utilization"));
            add("queue_depth_threshold", json!(queue_depth));
            add("kv_cache_util_threshold", json!(kv_utilization));
        }
        Detector::Concurrency { requests } => {
            add("saturation_detector", json!("concurrency"));
            add("max_concurrency", json!(requests));
        }
    }
    setup
}

/// What a person should know of the gateway before the run.
pub(crate) fn notes(gateway: &FlowControl, policies: &PolicySpec, rules: Preset) -> Vec<String> {
    let mut notes = Vec::new();
    let admission = policies.admission.name();
    if rules.rules().gateway_admits_all && !policies.admission.is_built_in("always-admit") {
        notes.push(format!(
            "admission policy \"{admission}\" does nothing: under blis rules the gateway of `flow_control` takes \
             its place, as in the reference"
        ));
    }
    if gateway.detector == Detector::Never && gateway.usage_limit > 0.0 && rules == Preset::Vllm {
        let built_in = matches!(policies.dispatch, Choice::BuiltIn { .. });
        if built_in {
            notes.push(
                "the gateway of `flow_control` holds nothing back with `saturation_detector` never"
                    .to_owned(),
            );
        }
    }
    notes
}

/// What a person should know of it after the run.
pub(crate) fn note_after(totals: Option<&GatewayTotals>) -> Option<String> {
    let totals = totals.filter(|totals| totals.stuck)?;
    Some(format!(
        "the run ended with {} requests at the gateway: nothing else was to happen, and its saturation \
         detector, `usage_limit_threshold` or dispatch policy let none of them go",
        totals.held
    ))
}
