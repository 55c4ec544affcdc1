//! A deployment whose step times come from `xpu-roofline`: model and accelerator are entries of its
//! own catalog.

use super::super::capacity::{DeviceMemory, GIB, KvMemory, OVERHEAD};
use super::super::communication::Exchange;
use super::super::deployment::{KvBlocksSource, MaxModelLenSource, Resolved, Setup};
use super::super::kind::LatencyModelKind;
use super::super::model::LatencyModel;
use super::super::spread::Spread;
use super::super::wide::{Sent, Stage, Wide};
use super::super::xpu_roofline::XpuRoofline;
use super::longest::fit_model_len;
use super::stages;
use std::sync::Arc;
use windtunnel_base::input::{InputError, InputErrorKind, unknown};
use windtunnel_config::{Hardware, Upkeep, Xpu, XpuModel, layers_per_stage};

/// Is it meant? It is where nothing else is said of a model that only its catalog knows.
pub(super) fn is_meant(setup: &Setup) -> Result<bool, InputError> {
    if setup.latency.is_some() {
        return Ok(setup.latency == Some(LatencyModelKind::XpuRoofline));
    }
    let others_know = setup.alpha.is_some()
        || setup.beta.is_some()
        || setup.model_config_folder.is_some()
        || setup.as_blis;
    let defaults = &setup.defaults;
    Ok(!others_know
        && defaults.xpu.model(&setup.model).is_some()
        && defaults.full_name(setup.model.trim())?.is_none())
}

/// Decides the deployment.
pub(super) fn resolve(setup: &Setup) -> Result<Resolved, InputError> {
    refuse_without_effect(setup)?;
    let catalog = &setup.defaults.xpu;
    let Some((name, model)) = catalog.model(&setup.model) else {
        let names: Vec<&str> = catalog.models.keys().map(String::as_str).collect();
        let message = unknown("model of xpu-roofline", &setup.model, &names);
        return Err(InputError::new(format!(
            "{message}; another one is an entry of `xpu_roofline` in a file of defaults"
        ))
        .of_kind(InputErrorKind::UnknownName));
    };
    let Some(gpu) = &setup.gpu else {
        return Err(InputError::new(format!(
            "no default GPU is known for model {name}; give `hardware`"
        )));
    };
    let (gpu, xpu) = catalog.xpu(gpu)?;
    let tp = setup.tp.unwrap_or(1);
    stages::check_stages(setup.pp, model.layers, name)?;
    let spread = Spread::new(tp, setup.pp, 1, &setup.nodes)?;
    let latency = XpuRoofline::new((name, gpu), model, xpu, tp)?;
    let (overhead, utilization) = match setup.as_xpusim {
        true => (0.0, 1.0),
        false => (OVERHEAD, setup.gpu_memory_utilization),
    };
    let budget = xpu.memory_gib * utilization * GIB;
    let layers = layers_per_stage(model.layers, setup.pp);
    let of_stages = latency.stages(&layers);
    // The stage with room for the fewest tokens decides for all, as in vLLM.
    let tokens = |stage: &XpuRoofline| {
        (budget - stage.weight_bytes() - overhead * GIB) / stage.kv_bytes_per_token()
    };
    let fullest = of_stages
        .iter()
        .min_by(|a, b| tokens(a).total_cmp(&tokens(b)))
        .filter(|_| setup.pp > 1)
        .unwrap_or(&latency);
    let memory = KvMemory {
        weights: fullest.weight_bytes(),
        overhead: overhead * GIB,
        budget,
        token: fullest.kv_bytes_per_token(),
        replicas: 1,
        fixed: 0.0,
    };
    let (blocks, source) = match setup.total_kv_blocks {
        Some(blocks) => (blocks, KvBlocksSource::Flag),
        None => (blocks(setup, &memory, name, xpu)?, KvBlocksSource::Computed),
    };
    let device_memory = setup.as_xpusim.then(|| DeviceMemory {
        weights: memory.weights,
        available: memory.budget - memory.weights,
        kv_per_token: memory.token,
        activations_per_token: latency.activation_gib(1.0) * GIB,
    });
    let (max_model_len, max_model_len_source) = match setup.as_xpusim {
        true => (model.max_len, MaxModelLenSource::ModelConfig),
        false => fit_model_len(setup, model.max_len, blocks)?,
    };
    let steps: Arc<dyn LatencyModel> = if setup.as_xpusim {
        Arc::new(latency.as_xpusim())
    } else if stages::is_wide(&spread) {
        let stages = of_stages.into_iter().zip(layers.iter().copied()).collect();
        Arc::new(in_a_row(setup, stages, &spread, model, (gpu, xpu))?)
    } else {
        Arc::new(latency)
    };
    let mut notes = vec![format!(
        "{name} and {gpu} are as XpuSim has them: as many key and value heads as attention heads, round figures, \
         efficiencies that nobody measured"
    )];
    if !model.heads.is_multiple_of(u64::from(tp)) {
        notes.push(format!(
            "{} attention heads cannot be split over {tp} GPUs evenly; vLLM would refuse",
            model.heads
        ));
    }
    Ok(Resolved {
        profile: None,
        kernels: None,
        model: setup.model.trim().to_lowercase(),
        canonical: name.to_owned(),
        gpu: gpu.to_owned(),
        tp,
        dp: 1,
        pp: setup.pp,
        layers_per_stage: if setup.pp > 1 { layers } else { Vec::new() },
        spread: (!setup.as_xpusim).then_some(spread),
        fullest_stage: None,
        vllm_version: None,
        latency_kind: LatencyModelKind::XpuRoofline,
        latency: steps,
        total_kv_blocks: blocks,
        kv_blocks_source: source,
        kv_element_bytes: model.dtype.bytes(),
        memory: Some(memory),
        device_memory,
        max_model_len,
        max_model_len_source,
        alpha: vec![0.0; 3],
        beta: Vec::new(),
        notes,
        is_moe: false,
        arch: None,
        hardware: Some(figures(model, xpu)),
        capex_usd: xpu.capex_usd,
        upkeep: Upkeep::default(),
    })
}

/// Step times of these stages and their numbers of layers, one after the other.
fn in_a_row(
    setup: &Setup,
    stages: Vec<(XpuRoofline, u64)>,
    spread: &Spread,
    model: &XpuModel,
    (gpu, xpu): (&str, &Xpu),
) -> Result<Wide, InputError> {
    let known = Some(xpu.intra_node_gb_s).filter(|gb_s| *gb_s > 0.0);
    let intra = setup.nodes.intra_node_gb_s.or(known);
    let (_, on_node) = spread.of_tensor();
    let stages: Result<Vec<Stage>, InputError> = stages
        .into_iter()
        .zip(0..)
        .map(|((own, layers), k)| {
            let sent = Sent {
                hidden_bytes: model.hidden as f64 * model.dtype.bytes(),
                sums: 2.0 * layers as f64,
                exchanges: 0.0,
                exchange: Exchange::AllGather,
                experts_per_token: 0.0,
            };
            Ok(Stage {
                own: Arc::new(own.on_nodes(on_node)),
                messages: spread.messages(k, &sent, gpu, intra)?,
            })
        })
        .collect();
    Ok(Wide::new(stages?, [0.0; 2], 1))
}

/// What of the setup it does not read.
fn refuse_without_effect(setup: &Setup) -> Result<(), InputError> {
    let refuse = |what: &str| Err(InputError::new(what.to_owned()));
    if setup.as_blis {
        return refuse(
            "under `rules` blis there is no xpu-roofline: that simulator does not know it",
        );
    }
    if setup.alpha.is_some() || setup.beta.is_some() {
        return refuse(
            "the xpu-roofline model has no coefficients; drop them or choose another model",
        );
    }
    if setup.dp > 1 {
        return refuse("xpu-roofline has no data parallelism within an instance; expected `dp` 1");
    }
    if setup.kv_cache_dtype.is_some() {
        return refuse(
            "`kv_cache_dtype` has no effect with xpu-roofline: its KV cache has the model's data type",
        );
    }
    if setup.model_config_folder.is_some() {
        return refuse(
            "`model_config_folder` has no effect with xpu-roofline: its models are entries of `xpu_roofline` in the \
             file of defaults",
        );
    }
    if setup.hardware_config.is_some() {
        return refuse(
            "`hardware_config` has no effect with xpu-roofline: its accelerators are entries of `xpu_roofline` in the \
             file of defaults",
        );
    }
    Ok(())
}

/// KV blocks beside the weights.
fn blocks(setup: &Setup, memory: &KvMemory, name: &str, xpu: &Xpu) -> Result<u64, InputError> {
    let free = memory.budget - memory.weights - memory.overhead;
    let blocks = (free / (memory.token * f64::from(setup.block_size))) as u64;
    if free > 0.0 && blocks > 0 {
        return Ok(blocks);
    }
    let share = memory.budget / (xpu.memory_gib * GIB) * 100.0;
    Err(InputError::new(format!(
        "KV capacity: {name} does not fit: each GPU needs {:.2} GiB of weights and {:.2} GiB of buffers before any KV \
         cache, and {:.2} GiB are available ({} GiB x {:.0}%); more GPUs (`tp`) split the weights further",
        memory.weights / GIB,
        memory.overhead / GIB,
        memory.budget / GIB,
        xpu.memory_gib,
        share
    )))
}

/// The accelerator's figures as other step-time models have them.
fn figures(model: &XpuModel, xpu: &Xpu) -> Hardware {
    let unit = xpu.units.iter().find(|u| u.dtypes.contains(&model.dtype));
    let (peak, share) = unit.map_or((0.0, 0.0), |unit| (unit.tflops, unit.efficiency));
    Hardware {
        tflops_peak: peak,
        tflops_fp8: 0.0,
        tflops_fp4: 0.0,
        bandwidth_tb_s: xpu.bandwidth_gb_s / 1e3,
        mfu_prefill: share,
        mfu_decode: share,
        memory_gib: xpu.memory_gib,
    }
}
