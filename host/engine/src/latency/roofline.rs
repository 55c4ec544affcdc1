//! The roofline model: a step takes as long as its arithmetic or its memory traffic, whichever is
//! longer.

use super::model::{LatencyModel, StepAggregates, StepItem, truncate_us};
use super::work::StepWork;
use crate::rules::Preset;
use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, ModelArch};

/// Roofline step times of what a step really reads and computes, at full memory bandwidth and the
/// calibrated shares of the GPU's peak; no overheads and no communication between GPUs, so real
/// servers are slower.
///
/// BLIS's own roofline, which misses a third of gated feed-forward blocks, is
/// [`blis::Roofline`](super::blis::Roofline).
#[derive(Clone, Debug)]
pub struct Roofline {
    work: StepWork,
    /// The same in two parts, of a rank and of all ranks, where there are several.
    of_ranks: Option<Box<[StepWork; 2]>>,
    /// FLOP/s that a prefill reaches on one GPU, and a decode.
    prefill_rate: f64,
    decode_rate: f64,
}

impl Roofline {
    /// The model for one deployment of `tp` x `dp` GPUs per instance; `kv_element_bytes` is the
    /// width of the KV cache.
    ///
    /// # Errors
    /// When figures that it needs are missing or contradict each other.
    pub fn new(
        model: &ModelArch,
        hardware: &Hardware,
        tp: u32,
        dp: u32,
        kv_element_bytes: f64,
    ) -> Result<Self, InputError> {
        check("roofline", model, hardware, tp)?;
        let work = StepWork::new(model, hardware, tp, dp, kv_element_bytes);
        Ok(Self {
            of_ranks: (dp > 1).then(|| {
                let parts = StepWork::of_ranks(model, hardware, tp, dp, kv_element_bytes);
                Box::new(parts)
            }),
            prefill_rate: work.peak * hardware.mfu_prefill,
            decode_rate: work.peak * hardware.mfu_decode,
            work,
        })
    }

    fn seconds(&self, step: &StepAggregates) -> f64 {
        let [compute, bytes] = self.needs(&self.work, step);
        compute.max(bytes / self.work.bandwidth)
    }

    /// Seconds of arithmetic, and bytes.
    fn needs(&self, work: &StepWork, step: &StepAggregates) -> [f64; 2] {
        let (prefill, decoded) = (step.prefill_tokens as f64, step.decode_tokens() as f64);
        let decode_pairs = step.decode_pairs() as f64;
        let prefills = f64::from(step.requests) - step.decodes as f64;
        let pairs = StepWork::prefill_pairs(step);
        let compute = work.flops(prefill, prefills, pairs, true) / self.prefill_rate
            + work.flops(decoded, decoded, decode_pairs, false) / self.decode_rate;
        let bytes = work.weight_bytes(step.prefill_tokens + step.decode_tokens())
            + work.prefill_kv_bytes(step)
            + work.decode_kv_bytes(step);
        [compute, bytes]
    }
}

impl LatencyModel for Roofline {
    fn fitted_under(&self) -> Preset {
        Preset::Blis
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        truncate_us((self.seconds(step) * 1e6).ceil()).max(1)
    }

    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let [own, shared] = &**self.of_ranks.as_ref()?;
        let mut all = StepAggregates::default();
        ranks.iter().for_each(|rank| all.merge(rank));
        let [of_all, more] = self.needs(shared, &all);
        let seconds = ranks.iter().map(|rank| {
            let [compute, bytes] = self.needs(own, rank);
            (compute + of_all).max((bytes + more) / own.bandwidth)
        });
        let longest = seconds.fold(0.0, f64::max);
        Some(truncate_us((longest * 1e6).ceil()).max(1))
    }

    fn queueing_us(&self, _prompt_tokens: u32) -> i64 {
        0
    }

    fn output_token_us(&self) -> i64 {
        0
    }

    fn post_decode_us(&self) -> i64 {
        0
    }
}

/// Refuses a model whose work cannot be counted.
///
/// # Errors
/// Names the model (`kind`) and the figure that is missing, or those that contradict each other.
pub(super) fn check(
    kind: &str,
    model: &ModelArch,
    hardware: &Hardware,
    tp: u32,
) -> Result<(), InputError> {
    let refuse = |message: String| Err(InputError::new(format!("{kind}: {message}")));
    if tp == 0 {
        return refuse("tensor parallelism must be 1 or more".to_owned());
    }
    if model.gated.is_none() {
        return refuse(format!(
            "the activation function of a {} model does not tell whether its feed-forward blocks have two matrices or \
             three",
            model.model_type
        ));
    }
    if model.intermediate == 0 && model.moe_intermediate == 0 {
        return refuse("intermediate_size is missing in the model configuration".to_owned());
    }
    if model.expert_count_is_missing() {
        return refuse("the model configuration speaks of experts without their number".to_owned());
    }
    if model.is_moe() && (model.experts_per_token == 0 || model.experts_per_token > model.experts) {
        return refuse(format!(
            "num_experts_per_tok is {}; with {} experts it must be 1 to {}",
            model.experts_per_token, model.experts, model.experts
        ));
    }
    hardware
        .check("figures")
        .map_err(|message| InputError::in_file(kind, message))
}
