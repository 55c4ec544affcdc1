//! First-token times of one request of 512 prompt tokens on an idle instance, measured on the
//! reference.

use super::blis::{Roofline, TrainedPhysics};
use super::{LatencyModel, StepAggregates, StepItem};
use windtunnel_config::{Defaults, ModelArch};

fn ttft(model: &dyn LatencyModel) -> i64 {
    let item = StepItem {
        new_tokens: 512,
        context: 0,
        prompt_tokens: 512,
        is_prefill: true,
    };
    let mut step = StepAggregates::default();
    step.add(item);
    model.queueing_us(512)
        + model.step_us(&step, &mut std::iter::once(item))
        + model.output_token_us()
}

#[test]
fn trained_physics_gives_the_measured_first_token_times() {
    let defaults = Defaults::builtin();
    let (_, h100) = defaults.hardware.find("H100").unwrap();
    let c = &defaults.trained_physics;
    for (name, tp, expected) in [
        ("qwen3-14b", 1, 29_899),
        ("llama-3.1-8b-instruct", 1, 23_573),
        ("mixtral-8x7b-v0.1", 4, 26_804),
        ("llama-4-scout-17b-16e-instruct-fp8-dynamic", 4, 35_092),
        ("qwen3-30b-a3b", 2, 29_490),
    ] {
        let arch = ModelArch::builtin(name).unwrap();
        let model = TrainedPhysics::new(&c.alpha, &c.beta, &arch, h100, tp, 1, "naive").unwrap();
        assert_eq!(ttft(&model), expected, "{name}");
    }
}

#[test]
fn roofline_gives_the_measured_first_token_times() {
    let (_, h100) = Defaults::builtin().hardware.find("H100").unwrap();
    for (name, tp, expected) in [("qwen3-14b", 2, 11_214), ("mixtral-8x7b-v0.1", 4, 5131)] {
        let model = Roofline::new(&ModelArch::builtin(name).unwrap(), h100, tp).unwrap();
        assert_eq!(ttft(&model), expected, "{name}");
    }
}
