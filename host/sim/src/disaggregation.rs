//! Pools for prefill and for decode: what is made of what a run says of them.

use crate::disaggregation_spec::DisaggregationSpec;
use crate::settings::Given;
use crate::spec::RunSpec;
use windtunnel_base::input::InputError;
use windtunnel_config::pool::{PoolSpec, RoleSpec};
use windtunnel_engine::cluster::{ClusterConfig, EncodeDecider, TransferConfig};
use windtunnel_engine::instance::Preset;

/// Why a setting of split requests changes nothing.
pub(crate) const NOBODY_SPLITS: &str = "where every instance prefills and decodes \
    (`prefill_instances`, `decode_instances`, or `pools` with roles)";

/// The settings that say which instances do what.
const COUNTS: [&str; 4] = [
    "prefill_instances",
    "decode_instances",
    "prefill_decode_instances",
    "encode_instances",
];

/// The settings of one of the pools that the counts make.
const OF_POOLS: [&str; 8] = [
    "prefill_tp",
    "prefill_hardware",
    "prefill_latency_model",
    "prefill_max_model_len",
    "decode_tp",
    "decode_hardware",
    "decode_latency_model",
    "decode_max_model_len",
];

/// The settings that have an effect only where requests are split.
const OF_SPLITS: [&str; 11] = [
    "pd_transfer_descriptor_time",
    "pd_transfer_descriptor_blocks",
    "pd_hop_latency",
    "lockstep",
    "pd_decider",
    "pd_transfer_bandwidth",
    "pd_transfer_base_latency",
    "pd_transfer_contention",
    "prefill_routing_policy",
    "decode_routing_policy",
    "encode_decider",
];

/// The run with a pool for each count that it gives in place of its only pool; `None` = it gives
/// none.
///
/// # Errors
/// When the counts contradict each other or the pools.
pub(crate) fn pools(run: &RunSpec, given: &Given) -> Result<Option<RunSpec>, InputError> {
    let d = &run.disaggregation;
    let counts = [
        d.prefill_instances,
        d.decode_instances,
        d.prefill_decode_instances,
        d.encode_instances,
    ];
    let [prefill, decode, both, encode] = counts.map(Option::unwrap_or_default);
    if prefill.saturating_add(decode).saturating_add(both) == 0 {
        let because = "without instances that prefill and decode (`prefill_instances`, \
                       `decode_instances`)";
        given.reject_unless(&["encode_instances"], encode == 0, because)?;
        given.reject_unless(&OF_POOLS, false, because)?;
        return Ok(None);
    }
    let one = PoolSpec::default();
    let pool = match &run.pools[..] {
        [] => &one,
        [pool] if pool.role == RoleSpec::Serve => pool,
        _ => {
            let name = COUNTS.into_iter().find(|name| given.has(name));
            return Err(InputError::new(format!(
                "give `{}` or `pools` with roles, not both",
                name.unwrap_or_default()
            )));
        }
    };
    let other_gpu = d.prefill_hardware.is_some() || d.decode_hardware.is_some();
    let because = "where instances that prefill and that decode have GPUs of their own: say it of each pool in a run's \
                   file";
    given.reject_unless(&["gpu_power", "gpu_price"], !other_gpu, because)?;
    if both == 0 && (prefill == 0 || decode == 0) {
        return Err(InputError::new(format!(
            "`prefill_instances` and `decode_instances` must both be at least 1, found {prefill} \
             and {decode}"
        )));
    }
    let asked = [prefill, decode, both, encode]
        .iter()
        .fold(0u32, |sum, n| sum.saturating_add(*n));
    let all = pool.count.unwrap_or(asked);
    let Some(idle) = all.checked_sub(asked) else {
        return Err(InputError::new(format!(
            "`num_instances` is {all}, less than the {asked} that prefill, decode or encode"
        )));
    };
    let of = |role, name: &str, count| PoolSpec {
        name: name.to_owned(),
        role,
        count: Some(count),
        ..pool.clone()
    };
    let mut pools = [
        of(RoleSpec::Prefill, "prefill", prefill),
        of(RoleSpec::Decode, "decode", decode),
        of(RoleSpec::Serve, "prefill-decode", both),
        of(RoleSpec::Encode, "encode", encode),
        of(RoleSpec::Idle, "idle", idle),
    ];
    change(
        &mut pools[0],
        d.prefill_tp,
        &d.prefill_hardware,
        &d.prefill_latency_model,
        d.prefill_max_model_len,
    );
    for pool in &mut pools[1..3] {
        change(
            pool,
            d.decode_tp,
            &d.decode_hardware,
            &d.decode_latency_model,
            d.decode_max_model_len,
        );
    }
    Ok(Some(RunSpec {
        pools: pools
            .into_iter()
            .filter(|pool| pool.count != Some(0))
            .collect(),
        ..run.clone()
    }))
}

fn change(
    pool: &mut PoolSpec,
    tp: Option<u32>,
    hardware: &Option<String>,
    latency_model: &Option<String>,
    max_model_len: Option<u64>,
) {
    pool.parallel.tensor = tp.or(pool.parallel.tensor);
    if hardware.is_some() {
        pool.hardware.clone_from(hardware);
    }
    if latency_model.is_some() {
        pool.latency.model.clone_from(latency_model);
    }
    pool.engine.max_model_len = max_model_len.or(pool.engine.max_model_len);
}

/// In which units a run says how KV caches move, and what holds where it does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferUnits {
    /// GB/s of a unit of bandwidth, and the default in units.
    pub(crate) bandwidth: (f64, f64),
    /// Microseconds of a unit of time, and the default base latency in units.
    pub(crate) time: (f64, f64),
    /// Longest time for which a KV cache is kept, microseconds.
    pub(crate) kept_us: i64,
}

impl TransferUnits {
    /// GB/s and milliseconds.
    pub(crate) fn real() -> Self {
        let default = TransferConfig::default();
        Self {
            bandwidth: (1.0, default.bandwidth_gb_s),
            time: (1000.0, default.base_latency_us / 1000.0),
            kept_us: default.kept_us,
        }
    }
}

/// How KV caches move.
///
/// # Errors
/// A figure that cannot be, or a name that nothing has.
pub(crate) fn transfer(
    d: &DisaggregationSpec,
    preset: Preset,
    units: TransferUnits,
) -> Result<TransferConfig, InputError> {
    let at_least_0 = |name: &str, value: Option<f64>, (unit, default): (f64, f64)| match value {
        Some(x) if !(x.is_finite() && x >= 0.0) => Err(InputError::new(format!(
            "`{name}` must be at least 0, found {x}"
        ))),
        value => Ok(value.unwrap_or(default) * unit),
    };
    let encode = d.encode_decider.as_deref().unwrap_or("never");
    Ok(TransferConfig {
        bandwidth_gb_s: at_least_0(
            "pd_transfer_bandwidth",
            d.transfer_bandwidth,
            units.bandwidth,
        )?,
        base_latency_us: at_least_0(
            "pd_transfer_base_latency",
            d.transfer_base_latency,
            units.time,
        )?,
        descriptor_us: at_least_0(
            "pd_transfer_descriptor_time",
            d.transfer_descriptor_time,
            (units.time.0, 0.0),
        )?,
        blocks_per_descriptor: match d.transfer_descriptor_blocks {
            Some(0) => {
                return Err(InputError::new(
                    "`pd_transfer_descriptor_blocks` must be at least 1, found 0",
                ));
            }
            blocks => blocks.unwrap_or(1),
        },
        hop_us: at_least_0("pd_hop_latency", d.hop_latency, (units.time.0, 0.0))?.round() as i64,
        contention: d.transfer_contention.unwrap_or(preset == Preset::Vllm),
        kept_us: units.kept_us,
        encode: match encode {
            "never" => EncodeDecider::Never,
            "always" => EncodeDecider::Always,
            "multimodal" => EncodeDecider::Multimodal,
            other => {
                let names = ["never", "always", "multimodal"];
                return Err(InputError::unknown("`encode_decider`", other, &names));
            }
        },
    })
}

/// Refuses what changes nothing about this cluster, or cannot be simulated.
pub(crate) fn check(
    run: &RunSpec,
    given: &Given,
    config: &ClusterConfig,
    preset: Preset,
) -> Result<(), InputError> {
    let splits = config.splits();
    let because = NOBODY_SPLITS;
    given.reject_unless(&OF_SPLITS, splits, because)?;
    given.reject_unless(
        &["prefill_routing_scorers", "decode_routing_scorers"],
        splits,
        because,
    )?;
    if !splits {
        return Ok(());
    }
    given.reject_unless(
        &["pd_transfer_descriptor_blocks"],
        config.transfer.descriptor_us > 0.0,
        "without `pd_transfer_descriptor_time`",
    )?;
    let encodes = run.pools.iter().any(|pool| pool.role == RoleSpec::Encode);
    given.reject_unless(&["encode_decider"], encodes, "without `encode_instances`")?;
    if preset == Preset::Vllm {
        if encodes {
            return Err(InputError::new(
                "`encode_instances` has no effect under vllm rules: encoding is not simulated",
            ));
        }
        let mut engines = config.pools.iter().map(|pool| &pool.engine.scheduling);
        if engines.any(|engine| engine.speculation.is_on()) {
            return Err(InputError::new(
                "`num_speculative_tokens` is not simulated with instances that prefill for others",
            ));
        }
    }
    let never = match run.policies.disaggregation.as_deref() {
        Some(name) => name == "never",
        None => preset == Preset::Blis,
    };
    let unknown_size = |pool: &&windtunnel_engine::cluster::PoolConfig| {
        pool.role.prefills() && pool.kv_bytes_per_token <= 0.0
    };
    match config.pools.iter().find(unknown_size) {
        Some(pool) if !never => Err(InputError::new(format!(
            "the size of the KV cache of pool \"{}\" is unknown, and with it the time of a \
             transfer; give the model's config.json (`model_config_folder`)",
            pool.name
        ))),
        _ => Ok(()),
    }
}
