//! Estimates of durations for policies, made with the run's step-time model from steps that might
//! be formed.

use super::estimate_error::{EstimateErrors, Question};
use super::model::{LatencyModel, StepAggregates, StepItem};
use std::sync::Arc;
use windtunnel_plugin_api::InstanceView;

/// The limits an instance forms its steps under.
#[derive(Clone, Copy, Debug)]
pub struct StepLimits {
    /// Most new tokens per step.
    pub max_tokens: u32,
    /// Most prefill tokens of one request per step; 0 = no limit.
    pub max_prefill_tokens: u32,
}

impl StepLimits {
    /// Those of so many ranks that take steps together.
    #[must_use]
    pub fn times(self, ranks: u32) -> Self {
        Self {
            max_tokens: self.max_tokens.saturating_mul(ranks),
            ..self
        }
    }
}

/// Most tokens and decodes that an estimate is made for; larger numbers count as these, because
/// step-time models may iterate over them.
const MOST_TOKENS: u32 = 1 << 24;
const MOST_DECODES: u32 = 1 << 16;

/// What is ahead of a request on an instance.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    /// Prompt tokens that are still to be prefilled, of waiting and running requests.
    pub prefill_tokens: u64,
    /// Running decodes.
    pub decodes: u32,
    /// Their context, tokens in all.
    pub decode_context: u64,
}

impl From<&InstanceView> for Ahead {
    /// Everything that waits or runs on the instance, as it was scraped.
    fn from(instance: &InstanceView) -> Self {
        Self {
            prefill_tokens: instance.queued_prompt_tokens + instance.running_prefill_tokens,
            decodes: instance.decodes,
            decode_context: instance.decode_context_tokens,
        }
    }
}

/// Estimates durations with the run's step-time model.
#[derive(Clone)]
pub struct Estimator {
    model: Arc<dyn LatencyModel>,
    limits: StepLimits,
    /// Ranks that each do a part of what is ahead of a request on an instance.
    ranks: u32,
    /// Without any, the model that estimates is the one that runs.
    errors: Option<EstimateErrors>,
}

impl Estimator {
    /// Estimates for instances with this model and these limits.
    #[must_use]
    pub fn new(model: Arc<dyn LatencyModel>, limits: StepLimits) -> Self {
        Self {
            model,
            limits,
            ranks: 1,
            errors: None,
        }
    }

    /// The same for instances of so many ranks, which have nothing to do with each other.
    #[must_use]
    pub fn of_ranks(mut self, ranks: u32) -> Self {
        self.ranks = ranks;
        self
    }

    /// The same, with answers that are wrong.
    #[must_use]
    pub fn with_errors(mut self, errors: EstimateErrors) -> Self {
        self.errors = Some(errors);
        self
    }

    /// What a policy is told where `us` is right.
    fn told(&self, question: Question, tokens: u64, us: f64) -> f64 {
        match &self.errors {
            Some(errors) => us * errors.factor(question, tokens),
            None => us,
        }
    }

    /// Duration of a step that prefills `tokens` after `cached` ones and decodes `decodes` requests
    /// of `context` tokens together, microseconds.
    fn duration_us(&self, tokens: u32, cached: u32, decodes: u32, context: u64) -> i64 {
        let prefill = StepItem {
            new_tokens: tokens,
            context: cached,
            prompt_tokens: cached + tokens,
            is_prefill: true,
        };
        let decode = |i: u32| {
            let n = u64::from(decodes);
            StepItem {
                new_tokens: 1,
                context: (context / n + u64::from(u64::from(i) < context % n)) as u32,
                prompt_tokens: 1,
                is_prefill: false,
            }
        };
        let mut aggregates = StepAggregates::default();
        if decodes > 0 {
            let (each, longer) = (
                context / u64::from(decodes),
                (context % u64::from(decodes)) as u32,
            );
            aggregates.add_decodes(longer, each + 1);
            aggregates.add_decodes(decodes - longer, each);
        }
        if tokens > 0 {
            aggregates.add(prefill);
        }
        let mut items = (tokens > 0)
            .then_some(prefill)
            .into_iter()
            .chain((0..decodes).map(decode));
        self.model.step_us(&aggregates, &mut items).max(1)
    }

    /// Duration of a step that prefills `prefill_tokens` from the start and decodes `decodes`
    /// requests of `context` tokens together, microseconds.
    #[must_use]
    pub fn step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        if prefill_tokens == 0 && decodes == 0 {
            return 0.0;
        }
        let tokens = prefill_tokens.min(MOST_TOKENS);
        let decodes = decodes.min(MOST_DECODES);
        let us = self.duration_us(tokens, 0, decodes, context) as f64;
        self.told(Question::Step, u64::from(tokens) + u64::from(decodes), us)
    }

    /// Time to prefill `tokens` after `cached` ones with nothing else running, in as many steps as
    /// the limits ask for, microseconds.
    #[must_use]
    pub fn prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        let tokens = tokens.min(MOST_TOKENS);
        let StepLimits {
            max_tokens,
            max_prefill_tokens,
        } = self.limits;
        let chunk = if max_prefill_tokens > 0 {
            max_tokens.min(max_prefill_tokens)
        } else {
            max_tokens
        }
        .max(1);
        let mut done = 0;
        let mut sum = 0.0;
        while done < tokens {
            let n = chunk.min(tokens - done);
            sum += self.duration_us(n, cached.saturating_add(done), 0, 0) as f64;
            done += n;
        }
        self.told(Question::Prefill, tokens.into(), sum)
    }

    /// Time to first token of a prompt of which `cached` tokens are cached, behind what an instance
    /// shows, microseconds.
    #[must_use]
    pub fn ttft_on(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        let tokens = prompt_tokens.saturating_sub(cached);
        self.ttft_us(prompt_tokens, tokens, instance.into())
    }

    /// Time to first token of a prompt of which `tokens` are to be computed, behind what is
    /// `ahead`: first come first served, full steps that carry the running decodes along, and the
    /// model's delays before the queue and after the token. Microseconds.
    #[must_use]
    pub fn ttft_us(&self, prompt_tokens: u32, tokens: u32, ahead: Ahead) -> f64 {
        let ranks = u64::from(self.ranks);
        let ahead = Ahead {
            prefill_tokens: ahead.prefill_tokens / ranks,
            decodes: ahead.decodes / self.ranks,
            decode_context: ahead.decode_context / ranks,
        };
        let mut left = ahead.prefill_tokens + u64::from(tokens.max(1));
        let asked = left;
        let decodes = ahead
            .decodes
            .min(self.limits.max_tokens - 1)
            .min(MOST_DECODES);
        let per_step = u64::from(self.limits.max_tokens - decodes);
        let full_steps = (left - 1) / per_step;
        left -= full_steps * per_step;
        let duration_us =
            |n: u64| self.duration_us(n as u32, 0, decodes, ahead.decode_context) as f64;
        let waiting = if full_steps > 0 {
            full_steps as f64 * duration_us(per_step)
        } else {
            0.0
        };
        let fixed = self.model.queueing_us(prompt_tokens) + self.model.output_token_us();
        let us = waiting + duration_us(left) + fixed as f64;
        self.told(Question::Ttft, asked, us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::Preset;

    /// 100 us a step, 1 us a prefill token, 10 us a decode.
    struct Simple;

    impl LatencyModel for Simple {
        fn fitted_under(&self) -> Preset {
            Preset::Blis
        }
        fn step_us(&self, s: &StepAggregates, items: &mut dyn Iterator<Item = StepItem>) -> i64 {
            assert_eq!(items.count(), s.requests as usize);
            100 + s.prefill_tokens as i64 + 10 * s.decodes as i64
        }
        fn queueing_us(&self, prompt_tokens: u32) -> i64 {
            i64::from(prompt_tokens)
        }
        fn output_token_us(&self) -> i64 {
            7
        }
        fn post_decode_us(&self) -> i64 {
            0
        }
    }

    #[test]
    fn estimates_add_up_the_steps_that_the_limits_ask_for() {
        let limits = |max_prefill_tokens| StepLimits {
            max_tokens: 512,
            max_prefill_tokens,
        };
        let plain = Estimator::new(Arc::new(Simple), limits(0));
        assert_eq!(plain.step_us(40, 3, 1000), 170.0);
        assert_eq!(plain.step_us(0, 0, 0), 0.0);
        assert_eq!(plain.prefill_us(1000, 24), 2.0 * 100.0 + 1000.0);
        let chunked = Estimator::new(Arc::new(Simple), limits(100));
        assert_eq!(chunked.prefill_us(1000, 0), 10.0 * 100.0 + 1000.0);

        // 1,000 tokens ahead and 24 of its own, 12 decodes in every step: 500 tokens a step, so
        // steps of 500, 500 and 24.
        let ahead = Ahead {
            prefill_tokens: 1000,
            decodes: 12,
            decode_context: 12_000,
        };
        let steps = 3.0 * (100.0 + 120.0) + 1024.0;
        assert_eq!(plain.ttft_us(30, 24, ahead), steps + 30.0 + 7.0);
        assert_eq!(plain.ttft_us(30, 0, Ahead::default()), 101.0 + 37.0);
        // Absurd questions get the answer to the largest sensible one.
        let most = plain.step_us(1 << 24, 1 << 16, 0);
        assert_eq!(plain.step_us(u32::MAX, u32::MAX, 0), most);
        assert_eq!(
            chunked.prefill_us(u32::MAX, 0),
            chunked.prefill_us(1 << 24, 0)
        );
    }
}
