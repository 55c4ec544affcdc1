//! Tiers below the GPU's KV blocks, and LoRA adapters with slots, as the reference simulator has
//! them.

use crate::settings::Given;
use std::sync::Arc;
use windtunnel_base::input::{InputError, unknown};
use windtunnel_base::record::RunRecord;
use windtunnel_config::pool::EngineSpec;
use windtunnel_config::{Defaults, KvOffloadDevice, KvOffloadFile, LoraFigures, LoraFile};
use windtunnel_engine::adapters::{AdapterCost, AdapterCosts};
use windtunnel_engine::cluster::{ClusterConfig, PoolConfig};
use windtunnel_engine::instance::{CpuOffload, Preset};
use windtunnel_engine::kv::{ChainConfig, DeviceTier, KvTiers, TierWay};
use windtunnel_engine::latency::{Resolved, blis};
use windtunnel_engine::profile::EngineProfile;

/// The settings that only the reference's rules know.
const OF_BLIS: [&str; 8] = [
    "kv_offload_threshold",
    "kv_transfer_bandwidth",
    "kv_offload_config",
    "lora_config",
    "lora_adapter_capacity",
    "lora_load_base_latency_us",
    "lora_load_bandwidth_bytes_us",
    "lora_footprint_bytes_per_rank",
];

/// Longest time that an adapter may take to be loaded, microseconds, and most bytes kept for
/// adapters: more are a mistake.
const LONGEST_LOAD_US: f64 = 1e15;
const MOST_RESERVED_BYTES: f64 = 1e18;

/// Bytes per microsecond of a GB/s.
const BYTES_PER_US: f64 = 1000.0;

/// Refuses settings that the rules do not know.
pub(crate) fn check_rules(given: &Given, preset: Preset) -> Result<(), InputError> {
    let blis = preset == Preset::Blis;
    given.reject_unless(
        &OF_BLIS,
        blis,
        "under vllm rules; it belongs to `rules` blis",
    )?;
    given.reject_unless(
        &["kv_cpu_bandwidth"],
        !blis,
        "under blis rules, which have `kv_transfer_bandwidth`; it belongs to `rules` vllm",
    )
}

/// The adapters that a pool's settings name, and the bytes that are kept for them.
pub(crate) fn adapters(
    spec: &EngineSpec,
    defaults: &Defaults,
) -> Result<Option<(AdapterCosts, f64)>, InputError> {
    let Some(path) = &spec.lora_config else {
        let settings = [
            (
                "lora_adapter_capacity",
                spec.lora_adapter_capacity.is_some(),
            ),
            (
                "lora_load_base_latency_us",
                spec.lora_load_base_latency_us.is_some(),
            ),
            (
                "lora_load_bandwidth_bytes_us",
                spec.lora_load_bandwidth_bytes_us.is_some(),
            ),
            (
                "lora_footprint_bytes_per_rank",
                spec.lora_footprint_bytes_per_rank.is_some(),
            ),
        ];
        return match settings.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(InputError::new(format!(
                "`{name}` has no effect without `lora_config`, which names the adapters"
            ))),
            None => Ok(None),
        };
    };
    let mut file = LoraFile::load(path)?;
    file.adapter_capacity = spec.lora_adapter_capacity.or(file.adapter_capacity);
    file.load_base_latency_us = spec.lora_load_base_latency_us.or(file.load_base_latency_us);
    file.load_bandwidth_bytes_us = spec
        .lora_load_bandwidth_bytes_us
        .or(file.load_bandwidth_bytes_us);
    file.footprint_bytes_per_rank = spec
        .lora_footprint_bytes_per_rank
        .or(file.footprint_bytes_per_rank);
    if file.adapter_capacity == Some(0) {
        return Err(InputError::new(
            "`lora_adapter_capacity` must be at least 1, found 0",
        ));
    }
    let figures = file.figures(&defaults.lora)?;
    // Without a capacity or without adapters there is nothing to simulate.
    let Some(capacity) = file.adapter_capacity.filter(|_| !file.adapters.is_empty()) else {
        return Ok(None);
    };
    let adapters = file.adapters.iter().map(|adapter| {
        let us = load_us(&figures, adapter.rank);
        match us <= LONGEST_LOAD_US {
            true => Ok(AdapterCost {
                name: adapter.id.clone(),
                rank: adapter.rank,
                load_us: us.ceil() as i64,
            }),
            false => Err(InputError::new(format!(
                "LoRA adapters: {} of rank {} takes {us} us to load; expected at most {LONGEST_LOAD_US}",
                adapter.id, adapter.rank
            ))),
        }
    });
    let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
    let highest = file.adapters.iter().map(|adapter| adapter.rank).max();
    let reserved = f64::from(capacity)
        * figures.footprint_bytes_per_rank
        * f64::from(highest.unwrap_or_default());
    if reserved > MOST_RESERVED_BYTES {
        return Err(InputError::new(format!(
            "LoRA adapters: {capacity} places take {reserved} bytes; expected at most {MOST_RESERVED_BYTES}"
        )));
    }
    let tiers = figures.step_overhead_tiers.iter();
    let costs = AdapterCosts {
        capacity,
        adapters,
        overheads: tiers.map(|(rank, o)| (*rank, o.k6 / o.k7)).collect(),
    };
    Ok(Some((costs, reserved)))
}

/// Refuses blocks on the CPU where some instances prefill for others, under vLLM's rules.
pub(crate) fn check_split(config: &ClusterConfig) -> Result<(), InputError> {
    let offloads = |pool: &PoolConfig| pool.engine.scheduling.cpu_offload.is_some();
    match config.splits() && config.pools.iter().any(offloads) {
        true => Err(InputError::new(
            "`kv_cpu_blocks` is not simulated where some instances prefill for others, under vllm rules",
        )),
        false => Ok(()),
    }
}

/// Refuses requests for adapters that nobody named: they were loaded, as if nothing had to be.
pub(crate) fn check_adapters(pools: &[PoolConfig], record: &RunRecord) -> Result<(), InputError> {
    let mut known = pools.iter().filter_map(|pool| pool.adapters.as_ref());
    let Some(costs) = known.next() else {
        return Ok(());
    };
    let names: Vec<&str> = costs.adapters.iter().map(|a| a.name.as_str()).collect();
    let moves = record.instances.iter().flat_map(|i| &i.adapter_moves);
    let mut asked = moves.map(|moves| record.symbols.name(moves.adapter));
    match asked.find(|name| !names.contains(name)) {
        Some(name) => Err(InputError::new(format!(
            "requests ask for an adapter that `lora_config` does not name: {}",
            unknown("adapter", name, &names)
        ))),
        None => Ok(()),
    }
}

fn load_us(figures: &LoraFigures, rank: u32) -> f64 {
    let bytes = figures.footprint_bytes_per_rank * f64::from(rank);
    figures.load_base_latency_us + (bytes / figures.load_bandwidth_bytes_us).ceil()
}

/// Decides the tiers and adapters of a pool, whose engine is decided.
pub(crate) fn configure(
    pool: &mut PoolConfig,
    spec: &EngineSpec,
    preset: Preset,
    resolved: &mut Resolved,
    defaults: &Defaults,
) -> Result<(), InputError> {
    if preset == Preset::Vllm {
        let offload = offload(spec, pool.kv_bytes_per_token)?;
        let scheduling = &mut pool.engine.scheduling;
        scheduling.cpu_offload = offload;
        let newest = EngineProfile::default();
        let follows = spec.profile.as_deref().map(EngineProfile::named);
        let older = follows.is_some_and(|profile| profile != Some(newest));
        let because = match () {
            () if older => "with an `engine` other than the newest vLLM",
            () if !scheduling.enable_prefix_caching => "without `enable_prefix_caching`",
            () if scheduling.speculation.is_on() => "with `num_speculative_tokens`",
            () => return Ok(()),
        };
        return match offload {
            Some(_) => Err(InputError::new(format!(
                "`kv_cpu_blocks` is not simulated {because}"
            ))),
            None => Ok(()),
        };
    }
    pool.adapters = adapters(spec, defaults)?.map(|(costs, _)| Arc::new(costs));
    pool.kv_tiers = match &spec.kv_offload_config {
        Some(path) => {
            if spec.kv_cpu_blocks.is_some_and(|blocks| blocks > 0) {
                return Err(InputError::new(
                    "`kv_cpu_blocks` and `kv_offload_config` exclude each other",
                ));
            }
            let file = KvOffloadFile::load(path, &defaults.kv_devices)?;
            Some(Arc::new(chain(&file, pool.engine.block_size, resolved)?))
        }
        None => mirror(spec, pool.engine.block_size, &mut resolved.notes)?.map(Arc::new),
    };
    Ok(())
}

/// Blocks on the CPU as vLLM's offloading connector has them. A token has so many bytes on each
/// GPU.
fn offload(spec: &EngineSpec, token_bytes: f64) -> Result<Option<CpuOffload>, InputError> {
    let refuse = |message: String| Err(InputError::new(message));
    let Some(cpu_blocks) = spec.kv_cpu_blocks.filter(|blocks| *blocks > 0) else {
        let settings = [
            ("kv_cpu_bandwidth", spec.kv_cpu_bandwidth.is_some()),
            (
                "kv_transfer_base_latency",
                spec.kv_transfer_base_latency.is_some(),
            ),
        ];
        return match settings.iter().find(|(_, given)| *given) {
            Some((name, _)) => refuse(format!("`{name}` has no effect without `kv_cpu_blocks`")),
            None => Ok(None),
        };
    };
    let Some(gb_s) = spec.kv_cpu_bandwidth else {
        return refuse(
            "`kv_cpu_blocks` needs `kv_cpu_bandwidth`, at which blocks come back, GB/s".into(),
        );
    };
    if !(gb_s.is_finite() && gb_s > 0.0) {
        return refuse(format!(
            "`kv_cpu_bandwidth` must be a finite number of GB/s above 0, found {gb_s}"
        ));
    }
    if token_bytes <= 0.0 {
        return refuse(
            "`kv_cpu_blocks`: model and GPU are not known, so neither are the bytes of a token"
                .into(),
        );
    }
    let base_us = spec.kv_transfer_base_latency.unwrap_or(0);
    let token_us = token_bytes / (gb_s * BYTES_PER_US);
    // A day for a load is a mistake, and so is an hour for a token.
    if !(0..=86_400_000_000).contains(&base_us) || token_us > 3.6e9 {
        return refuse(format!(
            "a load from the CPU takes {base_us} us (`kv_transfer_base_latency`) and {token_us} us per token \
             (`kv_cpu_bandwidth`); expected 0 to 86400000000, and at most 3600000000"
        ));
    }
    Ok(Some(CpuOffload {
        cpu_blocks,
        base_us,
        token_us,
    }))
}

/// A CPU tier with devices below it.
fn chain(
    file: &KvOffloadFile,
    block_size: u32,
    resolved: &Resolved,
) -> Result<KvTiers, InputError> {
    let refuse = |message: String| Err(InputError::new(format!("`kv_offload_config`: {message}")));
    if let Some(other) = file.block_size.filter(|size| *size != block_size) {
        return refuse(format!(
            "block_size is {other}; only that of the GPU's blocks, {block_size}, is simulated, as in BLIS"
        ));
    }
    let Some(arch) = &resolved.arch else {
        return refuse(
            "the model's configuration is not known, so neither is the size of a block".into(),
        );
    };
    let block_bytes = blis::kv_block_bytes(arch, resolved.tp, block_size);
    let cpu_blocks = file.cpu_bytes / block_bytes.max(1);
    if cpu_blocks < 1 {
        return refuse(format!(
            "cpu_bytes_to_use is {}; a block has {block_bytes} bytes",
            file.cpu_bytes
        ));
    }
    let device = |tier: &KvOffloadDevice| DeviceTier {
        read_threads: tier.read_threads,
        write_threads: tier.write_threads,
        base_us: tier.device.base_latency.round() as i64,
        read_bytes_per_us: tier.device.read_bandwidth,
        write_bytes_per_us: tier.device.write_bandwidth,
        saturation_queue_depth: tier.device.saturation_queue_depth.unwrap_or(0),
        single_transfer_fraction: tier.device.single_transfer_fraction.unwrap_or(0.0),
    };
    Ok(KvTiers {
        cpu_blocks: cpu_blocks as u64,
        way: TierWay::Chain(ChainConfig {
            prompts_only: file.prompts_only,
            block_bytes,
            devices: file.devices.iter().map(device).collect(),
        }),
    })
}

/// A CPU tier alone.
fn mirror(
    spec: &EngineSpec,
    block_size: u32,
    notes: &mut Vec<String>,
) -> Result<Option<KvTiers>, InputError> {
    let refuse = |message: String| Err(InputError::new(message));
    let settings = [
        ("kv_offload_threshold", spec.kv_offload_threshold.is_some()),
        (
            "kv_transfer_bandwidth",
            spec.kv_transfer_bandwidth.is_some(),
        ),
        (
            "kv_transfer_base_latency",
            spec.kv_transfer_base_latency.is_some(),
        ),
    ];
    if let Some(threshold) = spec.kv_offload_threshold
        && !(0.0..=1.0).contains(&threshold)
    {
        return refuse(format!(
            "`kv_offload_threshold` must be from 0 to 1, found {threshold}"
        ));
    }
    let bandwidth = spec.kv_transfer_bandwidth.unwrap_or(100.0);
    if !(bandwidth.is_finite() && bandwidth > 0.0) {
        return refuse(format!(
            "`kv_transfer_bandwidth` must be a finite number above 0, found {bandwidth}"
        ));
    }
    let base_us = spec.kv_transfer_base_latency.unwrap_or(0);
    // A day for a block is a mistake.
    let block_us = (f64::from(block_size) / bandwidth).ceil();
    if !(0..=86_400_000_000).contains(&base_us) || block_us > 8.64e10 {
        return refuse(format!(
            "a block that comes back takes {base_us} + {block_us} us (`kv_transfer_base_latency`, \
             `kv_transfer_bandwidth`); expected 0 to 86400000000 each"
        ));
    }
    let Some(cpu_blocks) = spec.kv_cpu_blocks else {
        return match settings.iter().find(|(_, given)| *given) {
            Some((name, _)) => refuse(format!("`{name}` has no effect without `kv_cpu_blocks`")),
            None => Ok(None),
        };
    };
    if spec.kv_offload_threshold.is_some() {
        notes.push("`kv_offload_threshold` changes nothing, as in BLIS: blocks go to the CPU as soon as they are full".into());
    }
    Ok((cpu_blocks > 0).then_some(KvTiers {
        cpu_blocks,
        way: TierWay::Mirror {
            block_us: base_us + block_us as i64,
        },
    }))
}
