use super::*;
use crate::latency::{LatencyModelKind, Setup, resolve};
use std::sync::Arc;
use windtunnel_config::{Defaults, KernelOp};

fn setup(model: &str, gpu: &str, tp: u32) -> Setup {
    let mut setup = Setup::new(model, (*Defaults::builtin()).clone());
    setup.gpu = Some(gpu.to_owned());
    setup.tp = Some(tp);
    setup.latency = Some(LatencyModelKind::KernelTables);
    setup.total_kv_blocks = Some(100_000);
    setup
}

fn model(model: &str, gpu: &str, tp: u32) -> Arc<dyn LatencyModel> {
    resolve(&setup(model, gpu, tp))
        .expect("a deployment")
        .latency
}

/// A step of so many decodes with this mean context, and prefills of so many new tokens after so
/// many that were there.
fn step(decodes: u64, context: u64, prefills: &[(u32, u32)]) -> StepAggregates {
    let mut step = StepAggregates::default();
    for _ in 0..decodes {
        step.add(StepItem {
            new_tokens: 1,
            context: context as u32,
            prompt_tokens: 100,
            is_prefill: false,
        });
    }
    for &(new_tokens, context) in prefills {
        step.add(StepItem {
            new_tokens,
            context,
            prompt_tokens: new_tokens + context,
            is_prefill: true,
        });
    }
    step
}

fn us(model: &Arc<dyn LatencyModel>, step: &StepAggregates) -> i64 {
    model.step_us(step, &mut std::iter::empty())
}

/// Models of every kind that the tables have, with GPUs that hold them.
const DEPLOYMENTS: [(&str, &str, u32); 20] = [
    ("meta-llama/llama-3.1-8b-instruct", "H100", 1),
    ("meta-llama/llama-3.1-8b-instruct", "A100-SXM", 1),
    ("meta-llama/llama-3.1-8b-instruct", "L40S", 2),
    ("meta-llama/llama-3.1-8b-instruct", "RTX-PRO-6000", 1),
    ("meta-llama/llama-2-7b-hf", "H100", 1),
    ("meta-llama/llama-3.1-70b-instruct", "H100", 8),
    ("meta-llama/llama-3.1-70b-instruct", "B200", 2),
    ("meta-llama/llama-3.1-70b-instruct", "GB200", 4),
    ("mistralai/mixtral-8x7b-v0.1", "A100-SXM", 2),
    ("mistralai/mixtral-8x22b-v0.1", "H200", 8),
    ("qwen/qwen3-30b-a3b", "H100", 1),
    ("qwen/qwen2.5-1.5b-instruct", "L40S", 1),
    ("google/gemma-3-27b-it", "H100", 2),
    ("openai/gpt-oss-20b", "H100", 1),
    ("deepseek-ai/deepseek-v2-lite", "H100", 1),
    ("deepseek-ai/deepseek-v3", "H200", 8),
    ("deepseek-ai/deepseek-v3", "B200", 8),
    ("moonshotai/kimi-k2-instruct", "B200", 8),
    ("qwen/qwen3-next-80b-a3b-instruct", "H100", 4),
    ("qwen/qwen3-next-80b-a3b-instruct", "B200", 2),
];

#[test]
fn a_step_takes_longer_with_more_of_anything() {
    for (name, gpu, tp) in DEPLOYMENTS {
        let model = model(name, gpu, tp);
        let at = |step: &StepAggregates| us(&model, step);
        let mut before = 0;
        for decodes in [
            1, 2, 3, 5, 8, 9, 17, 40, 100, 256, 257, 400, 512, 513, 900, 3000,
        ] {
            let now = at(&step(decodes, 500, &[]));
            assert!(
                now >= before,
                "{name} on {gpu}: {decodes} decodes: {now} < {before}"
            );
            before = now;
        }
        before = 0;
        for context in [1, 10, 100, 500, 1000, 4000, 16_000, 100_000, 200_000] {
            let now = at(&step(32, context, &[]));
            assert!(
                now >= before,
                "{name} on {gpu}: context {context}: {now} < {before}"
            );
            before = now;
        }
        before = 0;
        for tokens in [
            1, 16, 100, 300, 384, 500, 512, 513, 1000, 2000, 8000, 16_384, 30_000,
        ] {
            let now = at(&step(10, 500, &[(tokens, 0)]));
            assert!(
                now >= before,
                "{name} on {gpu}: prompt {tokens}: {now} < {before}"
            );
            before = now;
        }
        before = 0;
        for context in [0, 100, 1000, 8000, 30_000, 100_000] {
            let now = at(&step(0, 0, &[(512, context)]));
            assert!(
                now >= before,
                "{name} on {gpu}: prefix {context}: {now} < {before}"
            );
            before = now;
        }
    }
}

#[test]
fn no_step_is_faster_than_the_gpu() {
    for (name, gpu, tp) in DEPLOYMENTS {
        let resolved = resolve(&setup(name, gpu, tp)).expect("a deployment");
        let (arch, hardware) = (resolved.arch.unwrap(), resolved.hardware.unwrap());
        let work = StepWork::new(&arch, &hardware, tp, 1, resolved.kv_element_bytes);
        for decodes in [0, 1, 7, 64, 500, 2000] {
            for prompt in [0, 1, 100, 2048, 20_000] {
                let prefills: &[_] = if prompt > 0 { &[(prompt, 0)] } else { &[] };
                let step = step(decodes, 3000, prefills);
                if step.requests > 0 {
                    let least = work.least_seconds(&step) * 1e6;
                    assert!(
                        us(&resolved.latency, &step) as f64 >= least,
                        "{name} on {gpu}"
                    );
                }
            }
        }
    }
}

/// Compute-bound and memory-bound steps within a factor of what the figures of the GPU allow: the
/// tables are read with their right units and shapes.
#[test]
fn steps_are_near_what_the_gpu_allows() {
    for (name, gpu, tp) in DEPLOYMENTS {
        let resolved = resolve(&setup(name, gpu, tp)).expect("a deployment");
        let (arch, hardware) = (resolved.arch.unwrap(), resolved.hardware.unwrap());
        let work = StepWork::new(&arch, &hardware, tp, 1, resolved.kv_element_bytes);
        // Narrow experts and compressed KV reach less of the arithmetic in 8 bits.
        let prefill = if arch.kv_lora_rank > 0 { 10.0 } else { 5.0 };
        for (step, most) in [
            (step(0, 0, &[(8192, 0)]), prefill),
            (step(16, 500, &[]), 6.0),
        ] {
            let share = us(&resolved.latency, &step) as f64 / (work.least_seconds(&step) * 1e6);
            assert!(
                (1.0..most).contains(&share),
                "{name} on {tp} {gpu}: {share}"
            );
        }
    }
}

/// Replicas that share the experts: twice the requests in a little more than the same time.
#[test]
fn replicas_share_the_work() {
    let of = |dp: u32| {
        let mut setup = setup("qwen/qwen3-30b-a3b", "H100", 1);
        setup.dp = dp;
        resolve(&setup).expect("a deployment").latency
    };
    let (one, two) = (of(1), of(2));
    for step in [step(64, 1000, &[]), step(32, 500, &[(2000, 0), (2000, 0)])] {
        let (alone, shared) = (us(&one, &step), us(&two, &step));
        assert!(shared < alone, "{shared} {alone}");
        assert!(2 * shared > alone, "{shared} {alone}");
    }
}

/// The GPUs of an instance read the same weights either way, by measurements of different
/// kernels: whole experts and slices of them differ, and by less than a factor of two.
#[test]
fn experts_are_split_or_spread() {
    let of = |tp, dp, expert_parallel| {
        let mut setup = setup("qwen/qwen3-30b-a3b", "H100", tp);
        setup.dp = dp;
        setup.expert_parallel = expert_parallel;
        resolve(&setup).expect("a deployment").latency
    };
    for (tp, dp) in [(4, 1), (1, 4), (2, 2)] {
        let (split, spread) = (of(tp, dp, false), of(tp, dp, true));
        for step in [step(64, 1000, &[]), step(32, 500, &[(2000, 0), (2000, 0)])] {
            let (split, spread) = (us(&split, &step) as f64, us(&spread, &step) as f64);
            assert!(split != spread, "TP {tp}, DP {dp}: {split}");
            let ratio = split / spread;
            assert!(
                (0.5..2.0).contains(&ratio),
                "TP {tp}, DP {dp}: {split} {spread}"
            );
        }
    }
    let alone = [of(1, 1, false), of(1, 1, true)];
    let alone = alone.map(|latency| us(&latency, &step(64, 1000, &[])));
    assert_eq!(alone[0], alone[1]);
}

#[test]
fn more_gpus_do_not_make_products_slower() {
    let tables = KernelTables::builtin("H100").expect("built in");
    let measured = part::MeasuredTable::read(tables, KernelOp::Gemm, "bfloat16", "");
    let measured = measured.unwrap().unwrap();
    let roof = gemm::Roof {
        flops: 989.5e6,
        bandwidth: 3.35e6,
        weight_bytes: 2.0,
    };
    let measurement = measured.measurement();
    let gemms = gemm::Gemms::new(measured.table, roof, measurement);
    for (n, k) in [(6144.0, 4096.0), (28_672.0, 4096.0), (57_344.0, 8192.0)] {
        for m in [1.0, 16.0, 200.0, 1024.0, 4096.0] {
            let whole = gemms.gemm(n, k, 2.0).unwrap().us(m);
            let half = gemms.gemm(n / 2.0, k, 2.0).unwrap().us(m);
            // Noise of the measurements.
            assert!(half <= 1.05 * whole, "{n} x {k}, {m}: {half} {whole}");
        }
    }
}

/// A layer of attention over compressed KV takes what was measured of the whole of it: the products
/// and what they leave.
#[test]
fn compressed_kv_takes_what_whole_layers_were_measured_to_take() {
    let tables = KernelTables::builtin("H200").expect("built in");
    let read = |op| {
        let measured = part::MeasuredTable::read(tables, op, "bfloat16", "fp8_block");
        measured.unwrap().unwrap().table
    };
    let decodes = read(KernelOp::DecodeLatentAttention);
    let prefills = read(KernelOp::PrefillLatentAttention);
    let product_us = |(n, k): (f64, f64), tokens: f64| 2.0 + n * k * tokens.max(64.0) / 500e6;
    for heads in [128.0, 16.0] {
        let remains = latent::Remains::of(&decodes, &prefills, heads, product_us).unwrap();
        let arch = resolve(&setup("deepseek-ai/deepseek-v3", "H200", 8))
            .unwrap()
            .arch;
        let products = latent::products(&arch.unwrap(), heads);
        let of = |tokens: f64| -> f64 {
            let all = products.iter().map(|shape| product_us(*shape, tokens));
            all.sum::<f64>() + remains.layer_us
        };
        let whole = decodes.rows.iter().zip(&decodes.us);
        let whole = whole.filter(|(row, _)| f64::from(row[0]) == heads);
        let mut exact = 0;
        for ((row, us), rest) in whole.zip(&remains.decode.us) {
            for (us, rest) in us.iter().zip(rest) {
                assert_eq!(us.is_nan(), rest.is_nan(), "{row:?}");
                assert!(us.is_nan() || *rest >= 0.0, "{row:?}: {rest}");
                // Less than the products is taken as these.
                let sum = rest + of(row[1].into());
                exact += usize::from((sum - us).abs() < 1e-6);
                assert!(us.is_nan() || sum >= us - 1e-6, "{row:?}: {sum} {us}");
            }
        }
        assert!(exact > 100, "{heads} heads: {exact}");
        let long = prefills
            .columns
            .iter()
            .position(|tokens| *tokens == 8192)
            .unwrap();
        let row = prefills
            .rows
            .iter()
            .position(|row| f64::from(row[0]) == heads)
            .unwrap();
        let sum = remains.prefill.us[0][long] + of(8192.0);
        assert!(
            (sum - prefills.us[row][long]).abs() < 1e-6,
            "{heads} heads: {sum}"
        );
    }
}

#[test]
fn what_was_not_measured_is_refused() {
    let refused = |setup: &Setup| resolve(setup).expect_err("refused").to_string();
    let message = refused(&setup("zai-org/glm-5.2-fp8", "H200", 8));
    assert!(message.contains("MLA) with heads"), "{message}");
    let message = refused(&setup("qwen/qwen3-next-80b-a3b-instruct", "A100-SXM", 4));
    assert!(message.contains("no gated delta nets"), "{message}");
    let message = refused(&setup("deepseek-ai/deepseek-v2-lite", "A100-SXM", 1));
    assert!(
        message.contains("no attention over compressed KV (MLA)"),
        "{message}"
    );
    let message = refused(&setup("meta-llama/llama-3.1-8b-instruct", "L4", 1));
    assert!(
        message.contains("no kernels were measured on L4"),
        "{message}"
    );
    let mut on_one_node = setup("meta-llama/llama-3.1-8b-instruct", "H100", 16);
    on_one_node.nodes.gpus_per_node = Some(16);
    let message = refused(&on_one_node);
    assert!(message.contains("16 GPUs"), "{message}");
}

#[test]
fn every_part_of_a_step_says_where_its_time_comes_from() {
    let parts = |setup: &Setup| {
        let resolved = resolve(setup).expect("a deployment");
        let kernels = resolved.kernels.expect("measured kernels");
        let told = kernels.parts().iter().map(|p| (p.name, p.origin));
        told.collect::<Vec<_>>()
    };
    let of = |name: &str, told: &[(&str, Origin)]| {
        let found = told.iter().find(|(part, _)| *part == name);
        found.map(|(_, origin)| *origin)
    };
    let dense = parts(&setup("meta-llama/llama-3.1-8b-instruct", "H100", 2));
    assert_eq!(of("attention of decodes", &dense), Some(Origin::Measured));
    assert_eq!(
        of("all-reduce, CUDA graphs", &dense),
        Some(Origin::Measured)
    );
    assert_eq!(of("experts", &dense), None);
    assert_eq!(of("between the kernels", &dense), Some(Origin::Computed));
    for fitted in ["step", "host", "front end"] {
        assert_eq!(of(fitted, &dense), Some(Origin::Fitted), "{fitted}");
    }
    let experts = parts(&setup("qwen/qwen3-30b-a3b", "H100", 1));
    assert_eq!(of("experts", &experts), Some(Origin::Measured));
    assert_eq!(of("all-reduce, CUDA graphs", &experts), None);
    // Nobody measured the experts of this model on this GPU.
    let unknown = parts(&setup("qwen/qwen3-30b-a3b", "A100-SXM", 8));
    assert_eq!(of("experts", &unknown), Some(Origin::Computed));
}

#[test]
fn steps_beyond_the_measured_kernels_are_counted() {
    let kernels = |of: &Setup| resolve(of).expect("a deployment").kernels.unwrap();
    let setup = setup("meta-llama/llama-3.1-8b-instruct", "H100", 1);
    let inside = kernels(&setup);
    for step in [
        step(1, 1, &[]),
        step(64, 2000, &[(2048, 0)]),
        step(192, 500, &[(4000, 0), (4000, 0)]),
    ] {
        inside.step_us(&step, &mut std::iter::empty());
    }
    assert_eq!(inside.told_outside(), None);
    for beyond in [
        step(5000, 100, &[]),
        step(1, 1_000_000, &[]),
        step(0, 0, &[(300_000, 0)]),
    ] {
        let kernels = kernels(&setup);
        let price = || kernels.step_us(&beyond, &mut std::iter::empty());
        assert_eq!(price(), price());
        let told = kernels.told_outside().expect("it is told");
        assert!(told.contains("measured on H100 2 times"), "{told}");
    }
}

#[test]
fn the_front_end_is_told_with_all_of_its_figures() {
    let resolved = resolve(&setup("meta-llama/llama-3.1-8b-instruct", "H100", 1));
    let kernels = resolved.expect("a deployment").kernels.expect("measured");
    let mut parts = kernels.parts().iter();
    let part = parts.find(|p| p.name == "front end").expect("a part");
    let fit = Defaults::builtin().kernel_fit;
    for us in [
        fit.front_end_us,
        fit.front_end_request_us,
        fit.front_end_token_us,
        fit.front_end_output_us,
    ] {
        let figure = format!("{us} us");
        assert!(part.figures.contains(&figure), "{figure}: {}", part.figures);
    }
}
