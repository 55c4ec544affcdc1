//! The step-time model `kernel-tables`: a step is what its kernels were measured to take, plus what
//! whole servers were measured to add.

mod attention;
mod curve;
mod experts;
mod gemm;
mod graphs;
mod latent;
mod layers;
mod mixers;
mod parallel;
mod part;
mod recurrent;
mod sums;
#[cfg(test)]
mod tests;

use super::model::{LatencyModel, StepAggregates, StepItem, rounded_us, truncate_us};
use super::outside::Outside;
use super::roofline;
use super::work::StepWork;
use crate::rules::Preset;
use attention::Attention;
use curve::Curve;
use graphs::{LARGEST_GRAPH, padded};
use layers::Parts;
pub use parallel::Parallel;
pub use part::{Measurement, Origin, StepPart};
use recurrent::Recurrent;
use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, KernelFit, KernelTables, ModelArch};

/// Step times from measured kernels.
///
/// A step takes the longer of what the GPU and what the engine's own code needs. The GPU: matrix
/// products, experts and sums over GPUs at the number of new tokens, padded to the sizes that CUDA
/// graphs are captured for; the attention of decodes by their number and mean context, that of
/// prefills by their (query, key) pairs, recurrent layers by the number of either; the output head
/// by the number of requests; and constants per step, layer and request, which were fitted on
/// measured servers. Never less than the GPU's bandwidth and arithmetic allow.
///
/// It is fitted under vLLM's rules: the time that a request waits for the steps that run is the
/// engine's, and in none of these figures.
#[derive(Debug)]
pub struct Kernels {
    fit: KernelFit,
    work: StepWork,
    /// Microseconds by new tokens: all that depends on nothing else.
    by_tokens: Curve,
    /// The same and the least work in two parts, where there are several ranks.
    of_ranks: Option<Box<OfRanks>>,
    /// Microseconds by requests: the output head.
    by_requests: Curve,
    attention: Vec<Attention>,
    recurrent: Option<Recurrent>,
    layers: f64,
    /// Data-parallel replicas that share the experts.
    dp: f64,
    /// Beyond so many new tokens not every kernel was measured.
    reach: f64,
    outside: Outside,
    /// The GPU whose kernels these are.
    gpu: String,
    /// What was not measured, a sentence each.
    notes: Vec<String>,
    parts: Vec<StepPart>,
}

/// What ranks of which each has a batch of its own take: each for that, and the experts on its
/// GPUs for all.
#[derive(Debug)]
struct OfRanks {
    /// Microseconds by new tokens of a rank, and by those of the mean rank.
    by_tokens: [Curve; 2],
    work: [StepWork; 2],
}

impl Kernels {
    /// The model for one deployment; `kv_element_bytes` is the width of the KV cache.
    ///
    /// # Errors
    /// When the tables have no figures for this kind of model, or figures of the model are missing.
    pub fn new(
        fit: KernelFit,
        tables: &KernelTables,
        model: &ModelArch,
        hardware: &Hardware,
        gpus: Parallel,
        kv_element_bytes: f64,
    ) -> Result<Self, InputError> {
        let Parallel { tp, dp, .. } = gpus;
        roofline::check("kernel-tables", model, hardware, tp)?;
        let mut parts = Parts::new(tables, model, hardware, gpus, kv_element_bytes)?;
        let (attention, recurrent) = (parts.attention()?, parts.recurrent()?);
        let (by_tokens, by_requests) = (parts.by_tokens(&fit), parts.by_requests(&fit));
        let of_ranks = (dp > 1).then(|| {
            Box::new(OfRanks {
                by_tokens: parts.by_tokens_of_ranks(&fit),
                work: StepWork::of_ranks(model, hardware, tp, dp, kv_element_bytes),
            })
        });
        let reach = parts.reach();
        let (notes, parts) = parts.into_told(&fit);
        Ok(Self {
            fit,
            work: StepWork::new(model, hardware, tp, dp, kv_element_bytes),
            by_tokens,
            of_ranks,
            by_requests,
            attention,
            recurrent,
            layers: model.layers as f64,
            dp: f64::from(dp),
            reach,
            outside: Outside::default(),
            gpu: tables.gpu().to_owned(),
            notes,
            parts,
        })
    }

    /// The same for a stage: the engine's own code is that of the whole step, and what each
    /// request costs beside is paid where it `samples`.
    #[must_use]
    pub(super) fn of_stage(mut self, samples: bool) -> Self {
        (self.fit.host_us, self.fit.host_request_us) = (0.0, 0.0);
        if !samples {
            self.fit.request_us = 0.0;
        }
        self
    }

    /// What was not measured and is computed, a sentence each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the time of each part of a step comes from.
    #[must_use]
    pub fn parts(&self) -> &[StepPart] {
        &self.parts
    }

    /// What happened beyond the measured kernels so far, for people; `None` = nothing did.
    #[must_use]
    pub fn told_outside(&self) -> Option<String> {
        let measured = format!("the kernels measured on {}", self.gpu);
        let told = self.outside.told(&measured)?;
        Some(format!(
            "{told}; times go on in proportion beyond what was measured"
        ))
    }

    /// Microseconds on the GPUs of the replica that has the most to do: decodes are spread evenly,
    /// and so are prefills, of which there may be less than replicas.
    fn gpu_us(&self, step: &StepAggregates) -> f64 {
        self.replica_us(step, self.dp, |tokens| {
            self.by_tokens.at(padded(up(tokens)) as f64)
        })
    }

    /// The same of what `dp` replicas share out; `by_tokens` has the microseconds that depend on
    /// the tokens of one alone.
    fn replica_us(&self, step: &StepAggregates, dp: f64, by_tokens: impl Fn(f64) -> f64) -> f64 {
        let fit = &self.fit;
        let all_prefills = f64::from(step.requests) - step.decodes as f64;
        let prefilling = dp.min(all_prefills).max(1.0);
        let (decodes, prefills) = (step.decodes as f64 / dp, all_prefills / prefilling);
        let prefill_tokens = step.prefill_tokens as f64 / prefilling;
        let tokens = step.decode_tokens() as f64 / dp + prefill_tokens;
        let requests = decodes + prefills;
        let mut us = by_tokens(tokens)
            + self.by_requests.at(requests)
            + fit.step_us
            + fit.layer_us * self.layers
            + fit.request_us * requests;
        let mut is_outside = tokens > self.reach;
        if step.decodes > 0 {
            let context = step.decode_context as f64 / step.decodes as f64;
            let mut sum = 0.0;
            for a in &self.attention {
                let (us, is_beyond) = a.decode.us(decodes, context.min(a.window));
                sum += a.layers * us;
                is_outside |= is_beyond;
            }
            if let Some(r) = &self.recurrent {
                let (us, is_beyond) = r.decode_us(decodes);
                sum += r.layers * us;
                is_outside |= is_beyond;
            }
            us += fit.decode_attention * sum;
        }
        if prefills > 0.0 {
            us += fit.prefill_us;
            let pairs = StepWork::prefill_pairs(step) / prefilling;
            let mut sum = 0.0;
            for a in &self.attention {
                let pairs = pairs.min(a.window * prefill_tokens);
                let (us, is_beyond) = a.prefill.us(prefills, pairs);
                sum += a.layers * us;
                is_outside |= is_beyond;
            }
            if let Some(r) = &self.recurrent {
                let (us, is_beyond) = r.prefill_us(prefill_tokens);
                sum += r.layers * us;
                is_outside |= is_beyond;
            }
            us += fit.prefill_attention * sum;
        }
        if is_outside {
            self.outside.note(step);
        }
        us
    }
}

/// The next whole number that is not below a number of 0 or more. The function of the standard
/// library is a call on processors of every age.
#[inline]
fn up(x: f64) -> u64 {
    let whole = x as u64;
    whole.saturating_add(u64::from((whole as f64) < x))
}

impl LatencyModel for Kernels {
    fn fitted_under(&self) -> Preset {
        Preset::Vllm
    }

    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        let requests = f64::from(step.requests) / self.dp;
        let host = self.fit.host_us + self.fit.host_request_us * requests;
        let least = up(self.work.least_seconds(step) * 1e6);
        let us = rounded_us(self.gpu_us(step).max(host)).max(1);
        us.max(i64::try_from(least).unwrap_or(i64::MAX))
    }

    /// While graphs take the steps of all ranks, each is padded to the longest; else none is.
    /// Tokens that only pad go to experts, too.
    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let OfRanks {
            by_tokens: [own, shared],
            work,
        } = &**self.of_ranks.as_ref()?;
        let mut all = StepAggregates::default();
        ranks.iter().for_each(|rank| all.merge(rank));
        let most = ranks.iter().map(StepAggregates::tokens).max()?;
        let common = (most <= LARGEST_GRAPH).then(|| padded(most) as f64);
        let mean = common.unwrap_or(all.tokens() as f64 / ranks.len() as f64);
        let experts_us = shared.at(mean);
        let us = ranks.iter().map(|rank| {
            let of_tokens = |tokens| own.at(common.unwrap_or(tokens));
            let gpu_us = self.replica_us(rank, 1.0, of_tokens) + experts_us;
            let host_us = self.fit.host_us + self.fit.host_request_us * f64::from(rank.requests);
            let least_us = StepWork::least_seconds_of_rank(work, rank, &all) * 1e6;
            let least_us = i64::try_from(up(least_us)).unwrap_or(i64::MAX);
            rounded_us(gpu_us.max(host_us)).max(least_us)
        });
        Some(us.fold(1, i64::max))
    }

    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        let [request, prompt_token, _] = self.api_server_us();
        let service = request + prompt_token * f64::from(prompt_tokens);
        truncate_us(self.fit.front_end_us.round() + service.round())
    }

    fn api_server_us(&self) -> [f64; 3] {
        let fit = &self.fit;
        [
            fit.front_end_request_us,
            fit.front_end_token_us,
            fit.front_end_output_us,
        ]
    }

    fn output_token_us(&self) -> i64 {
        0
    }

    fn post_decode_us(&self) -> i64 {
        0
    }
}
