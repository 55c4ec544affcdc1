//! No computed step is faster than the GPU: its weights read once at full bandwidth, its arithmetic
//! at the full peak.

use super::{LatencyModel, Roofline, StepAggregates, StepItem, TrainedPhysics};
use proptest::prelude::*;
use windtunnel_config::builtin::MODEL_CONFIGS;
use windtunnel_config::{Compute, Defaults, EMBEDDINGS, EXPERTS, Hardware, ModelArch, VISION};

/// Bytes that one token reads and FLOPs that it needs, over all GPUs: counted from the parts, not
/// by the models.
fn one_token(model: &ModelArch) -> (f64, f64) {
    let weights = model.weights();
    let (mut bytes, mut parameters) = (0.0, 0.0);
    for part in weights.parts() {
        let share = match part.name {
            EMBEDDINGS if !model.tied_embeddings => continue,
            VISION => continue,
            EXPERTS => model.experts_per_token as f64 / model.experts as f64,
            _ => 1.0,
        };
        bytes += part.bytes * share;
        parameters += part.parameters * share;
    }
    (bytes, 2.0 * parameters)
}

fn models(arch: &ModelArch, hardware: &Hardware, tp: u32) -> Vec<Box<dyn LatencyModel>> {
    let c = &Defaults::builtin().trained_physics;
    let (roofline, physics) = (
        Roofline::new(arch, hardware, tp, 1, 2.0),
        TrainedPhysics::new(&c.alpha, &c.beta, arch, hardware, tp, 1, "naive", 2.0),
    );
    vec![Box::new(roofline.unwrap()), Box::new(physics.unwrap())]
}

#[test]
fn one_token_takes_at_least_the_time_to_read_what_it_needs() {
    let table = &Defaults::builtin().hardware;
    for (name, _) in MODEL_CONFIGS {
        let arch = ModelArch::builtin(name).unwrap();
        let (bytes, flops) = one_token(&arch);
        for gpu in table.names() {
            let hardware = table.find(gpu).unwrap().1;
            for tp in [1, 2, 4, 8] {
                let gpus = f64::from(tp);
                let read_us = bytes / gpus / hardware.bandwidth_tb_s / 1e6;
                let peak = hardware
                    .tflops_peak
                    .max(hardware.tflops_fp8)
                    .max(hardware.tflops_fp4);
                let compute_us = flops / gpus / peak / 1e6;
                let item = StepItem {
                    new_tokens: 1,
                    context: 100,
                    prompt_tokens: 100,
                    is_prefill: false,
                };
                let mut step = StepAggregates::default();
                step.add(item);
                for model in models(&arch, hardware, tp) {
                    let us = model.step_us(&step, &mut std::iter::once(item)) as f64;
                    assert!(
                        us >= read_us.max(compute_us),
                        "{name} on {tp} x {gpu}: {us}"
                    );
                }
            }
        }
    }
}

/// The roofline of one decode is that bound, but for the KV of its context.
#[test]
fn the_roofline_of_one_decode_is_the_bound_itself() {
    for (name, tp) in [("llama-3.1-8b-instruct", 1), ("llama-3.1-70b-instruct", 4)] {
        let arch = ModelArch::builtin(name).unwrap();
        let hardware = Defaults::builtin().hardware.find("H100").unwrap().1;
        let read_us = one_token(&arch).0 / f64::from(tp) / hardware.bandwidth_tb_s / 1e6;
        let step = StepAggregates {
            requests: 1,
            decodes: 1,
            decode_context: 100,
            ..StepAggregates::default()
        };
        let model = Roofline::new(&arch, hardware, tp, 1, 2.0).unwrap();
        let us = model.step_us(&step, &mut std::iter::empty()) as f64;
        assert!(
            (1.0..1.01).contains(&(us / read_us)),
            "{name}: {us} {read_us}"
        );
    }
}

fn item() -> impl Strategy<Value = StepItem> {
    (any::<bool>(), 1u32..3000, 0u32..40_000).prop_map(|(is_prefill, new, context)| {
        let new_tokens = if is_prefill { new } else { 1 };
        StepItem {
            new_tokens,
            context,
            prompt_tokens: context + if is_prefill { new_tokens } else { 0 },
            is_prefill,
        }
    })
}

proptest! {
    #[test]
    fn no_step_of_any_model_is_faster_than_the_gpu(
        items in prop::collection::vec(item(), 1..200),
        which in 0..MODEL_CONFIGS.len(),
        tp in prop::sample::select(vec![1u32, 2, 4, 8, 16]),
    ) {
        let arch = ModelArch::builtin(MODEL_CONFIGS[which].0).unwrap();
        let hardware = Defaults::builtin().hardware.find("H100").unwrap().1;
        let mut step = StepAggregates::default();
        items.iter().for_each(|i| step.add(*i));
        let tokens = (step.prefill_tokens + step.decodes) as f64;
        let (bytes, flops) = one_token(&arch);
        let eight_bits = arch.weights().parts().any(|part| part.compute != Compute::Bits16);
        let peak = if eight_bits { hardware.tflops_fp8 } else { hardware.tflops_peak };
        let gpus = f64::from(tp);
        // The output head computes sampled tokens alone.
        let flops = flops - 2.0 * (arch.vocab * arch.hidden) as f64;
        let least = (bytes / hardware.bandwidth_tb_s).max(flops * tokens / peak) / gpus / 1e6;
        for model in models(&arch, hardware, tp) {
            let us = model.step_us(&step, &mut items.iter().copied()) as f64;
            prop_assert!(us >= least, "{} {} {}", MODEL_CONFIGS[which].0, us, least);
        }
    }

    #[test]
    fn more_work_never_takes_less_time(
        items in prop::collection::vec(item(), 1..50),
        more in item(),
        which in 0..MODEL_CONFIGS.len(),
    ) {
        let arch = ModelArch::builtin(MODEL_CONFIGS[which].0).unwrap();
        let hardware = Defaults::builtin().hardware.find("H100").unwrap().1;
        let mut step = StepAggregates::default();
        items.iter().for_each(|i| step.add(*i));
        let mut larger = step;
        larger.add(more);
        for model in models(&arch, hardware, 1) {
            let us = |step: &StepAggregates| model.step_us(step, &mut std::iter::empty());
            prop_assert!(us(&larger) >= us(&step));
        }
    }
}
