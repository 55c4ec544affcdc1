//! Step times of instances whose stages follow each other in a pipeline, or that lie on several
//! nodes.

use super::collectives::{Collective, Link};
use super::communication::Exchange;
use super::model::{LatencyModel, StageTimes, StepAggregates, StepItem, rounded_us};
use super::spread::Spread;
use crate::rules::Preset;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::XpuAlgorithm;

/// Tensors that a stage sends to the next one: hidden states, and the residual beside them.
const SENT_TENSORS: f64 = 2.0;

/// A step of a model of which each stage has a part.
///
/// Each stage has step times of its own, of the same kind. To those come the messages that models
/// of one node have not: activations to the next stage, and what sums over GPUs and the exchange
/// between experts send to other nodes. Where the model is a bound that messages are no part of,
/// it stays one.
pub struct Wide {
    stages: Vec<Stage>,
    /// Microseconds of the engine's own code per step, and per request of a replica.
    host: [f64; 2],
    /// Data-parallel replicas, which share out the tokens.
    dp: f64,
}

/// One stage.
pub struct Stage {
    /// What its GPUs take, with the messages within a node.
    pub own: Arc<dyn LatencyModel>,
    /// What is sent besides.
    pub(super) messages: Vec<Message>,
}

impl Stage {
    /// Microseconds with messages of so many tokens of a replica.
    fn with_messages(&self, own_us: i64, tokens: f64) -> i64 {
        let messages: f64 = self.messages.iter().map(|m| m.us(tokens)).sum();
        own_us.saturating_add(rounded_us(messages)).max(1)
    }
}

/// Messages of a step whose bytes grow with its tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    /// So many of them, one after the other.
    times: f64,
    /// Nodes that sum what each has; 1 = it is sent to one receiver.
    nodes: u32,
    /// Bytes of a GPU for each token of its replica.
    bytes_per_token: f64,
    link: Link,
}

impl Message {
    fn us(&self, tokens: f64) -> f64 {
        let bytes = self.bytes_per_token * tokens;
        let seconds = match self.nodes {
            1 => bytes / self.link.bandwidth + self.link.latency,
            // Around the ring and around again, hop by hop.
            nodes => {
                let hops = 2.0 * f64::from(nodes - 1);
                let link = Link {
                    latency: hops * self.link.latency,
                    ..self.link
                };
                Collective::AllReduce.seconds(XpuAlgorithm::Ring, nodes, bytes, link)
            }
        };
        self.times * seconds * 1e6
    }
}

/// What of a stage its messages depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Bytes of the activations of a token.
    pub(super) hidden_bytes: f64,
    /// Sums over the GPUs that split a layer.
    pub(super) sums: f64,
    /// Layers whose tokens go to experts of other replicas, and come back.
    pub(super) exchanges: f64,
    /// How they do.
    pub(super) exchange: Exchange,
    /// Experts per token.
    pub(super) experts_per_token: f64,
}

impl Spread {
    /// Bandwidth and latency of the link to the next stage; `None` = it is the last one.
    ///
    /// # Errors
    /// When stages of one node have a link of which nobody knows what it carries.
    fn link_to_next(
        &self,
        stage: u32,
        gpu: &str,
        intra_gb_s: Option<f64>,
    ) -> Result<Option<Link>, InputError> {
        if stage + 1 == self.pp {
            return Ok(None);
        }
        if self.leaves_node(stage) {
            return Ok(Some(self.inter));
        }
        let Some(gb_s) = intra_gb_s else {
            return Err(InputError::new(format!(
                "nobody knows what the link between two GPUs {gpu} of a node carries, over which stages of a pipeline \
                 send activations; give `intra_node_bandwidth`, GB/s"
            )));
        };
        Ok(Some(Link {
            bandwidth: gb_s * 1e9,
            latency: 0.0,
        }))
    }

    /// The messages of a stage that its own step times have not.
    ///
    /// # Errors
    /// When a link is not known.
    pub(super) fn messages(
        &self,
        stage: u32,
        sent: &Sent,
        gpu: &str,
        intra_gb_s: Option<f64>,
    ) -> Result<Vec<Message>, InputError> {
        let mut messages = Vec::new();
        let inter = |times, nodes, bytes_per_token| Message {
            times,
            nodes,
            bytes_per_token,
            link: self.inter,
        };
        let (nodes, here) = self.of_tensor();
        if nodes > 1 && sent.sums > 0.0 {
            // Each GPU of a node sums its share with those of the other nodes.
            let share = sent.hidden_bytes / f64::from(here);
            messages.push(inter(sent.sums, nodes, share));
        }
        let (nodes, here) = self.of_experts();
        if self.dp > 1 && nodes > 1 && sent.exchanges > 0.0 {
            let all = f64::from(self.dp) * sent.hidden_bytes;
            messages.push(match sent.exchange {
                // Every GPU gets every token and all sums come back: what a sum over all does.
                Exchange::AllGather => inter(sent.exchanges, nodes, all / f64::from(here)),
                // A token goes to its experts, of which so many are on other nodes, and comes back.
                Exchange::AllToAll => {
                    let away = f64::from(nodes - 1) / f64::from(nodes);
                    let picked = sent.experts_per_token * away;
                    inter(2.0 * sent.exchanges, 1, picked * sent.hidden_bytes)
                }
            });
        }
        if let Some(link) = self.link_to_next(stage, gpu, intra_gb_s)? {
            // The GPUs that split a layer send a share each.
            messages.push(Message {
                times: 1.0,
                nodes: 1,
                bytes_per_token: SENT_TENSORS * sent.hidden_bytes / f64::from(self.tp),
                link,
            });
        }
        Ok(messages)
    }
}

impl Wide {
    /// These stages one after the other, at least one; `host` are microseconds of the engine's own
    /// code per step and per request of one of `dp` replicas, while the stages work.
    pub(super) fn new(stages: Vec<Stage>, host: [f64; 2], dp: u32) -> Self {
        Self {
            stages,
            host,
            dp: f64::from(dp),
        }
    }

    fn host_us(&self, step: &StepAggregates) -> i64 {
        let requests = f64::from(step.requests) / self.dp;
        rounded_us(self.host[0] + self.host[1] * requests)
    }

    fn stage_us(&self, stage: &Stage, step: &StepAggregates) -> i64 {
        let tokens = (step.prefill_tokens + step.decode_tokens()) as f64 / self.dp;
        let own = stage.own.step_us(step, &mut std::iter::empty());
        stage.with_messages(own, tokens)
    }

    fn first(&self) -> &dyn LatencyModel {
        self.stages[0].own.as_ref()
    }
}

impl LatencyModel for Wide {
    /// The reference knows no pipeline.
    fn fitted_under(&self) -> Preset {
        match self.stages() {
            1 => self.first().fitted_under(),
            _ => Preset::Vllm,
        }
    }

    /// One stage after the other.
    fn step_us(&self, step: &StepAggregates, _items: &mut dyn Iterator<Item = StepItem>) -> i64 {
        if step.requests == 0 {
            return 1;
        }
        let stages = self.stages.iter().map(|stage| self.stage_us(stage, step));
        stages
            .fold(0, i64::saturating_add)
            .max(self.host_us(step))
            .max(1)
    }

    /// The rank with the most tokens has the longest messages: those of the others wait for them.
    fn together_us(&self, ranks: &[StepAggregates]) -> Option<i64> {
        let [only] = &self.stages[..] else {
            return None;
        };
        let tokens = ranks.iter().map(StepAggregates::tokens).max()?;
        let requests = ranks.iter().map(|rank| rank.requests).max()?;
        let own = only.own.together_us(ranks)?;
        let host = rounded_us(self.host[0] + self.host[1] * f64::from(requests));
        Some(only.with_messages(own, tokens as f64).max(host))
    }

    fn stages(&self) -> usize {
        self.stages.len()
    }

    fn stage_times(&self, step: &StepAggregates, times: &mut StageTimes) {
        times.stages_us.clear();
        let stages = self.stages.iter().map(|stage| self.stage_us(stage, step));
        times.stages_us.extend(stages);
        times.host_us = self.host_us(step);
    }

    fn reads_lengths(&self) -> bool {
        self.stages.iter().any(|stage| stage.own.reads_lengths())
    }

    fn queueing_us(&self, prompt_tokens: u32) -> i64 {
        self.first().queueing_us(prompt_tokens)
    }

    fn api_server_us(&self) -> [f64; 3] {
        self.first().api_server_us()
    }

    fn output_token_us(&self) -> i64 {
        self.first().output_token_us()
    }

    fn post_decode_us(&self) -> i64 {
        self.first().post_decode_us()
    }
}

#[cfg(test)]
mod tests {
    use super::super::spread::Nodes;
    use super::*;

    fn sent(exchange: Exchange) -> Sent {
        Sent {
            hidden_bytes: 1e4,
            sums: 10.0,
            exchanges: 5.0,
            exchange,
            experts_per_token: 4.0,
        }
    }

    fn us(tp: u32, pp: u32, dp: u32, stage: u32, exchange: Exchange) -> f64 {
        let spread = Spread::new(tp, pp, dp, &Nodes::default()).unwrap();
        let messages = spread.messages(stage, &sent(exchange), "X", Some(400.0));
        messages.unwrap().iter().map(|m| m.us(1000.0)).sum()
    }

    #[test]
    fn messages_between_nodes_are_those_of_a_ring() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        let gather = Exchange::AllGather;
        // One node: nothing beyond what the step times have.
        close(us(8, 1, 1, 0, gather), 0.0);
        // Two nodes sum an eighth of 10 MB each: half of it there and half back over 50 GB/s is
        // 25 us, and two hops of 4 us; ten times.
        close(us(16, 1, 1, 0, gather), 10.0 * (25.0 + 8.0));
        // Stages of one GPU each in a node: 20 MB over 400 GB/s. The last one sends nothing.
        close(us(1, 2, 1, 0, gather), 50.0);
        close(us(1, 2, 1, 1, gather), 0.0);
        // Eight GPUs send an eighth each, over nodes: 2.5 MB at 50 GB/s and a hop.
        close(us(8, 2, 1, 0, gather), 50.0 + 4.0);
        // Two replicas of a node each exchange 2 x 10 MB between 8 GPUs of each node.
        close(us(8, 1, 2, 0, gather), 5.0 * (50.0 + 8.0));
        // Of four experts of a token two are on the other node: 20 MB there, 20 MB back.
        close(us(8, 1, 2, 0, Exchange::AllToAll), 10.0 * (400.0 + 4.0));
    }

    #[test]
    fn an_unknown_link_is_asked_for() {
        let spread = Spread::new(1, 2, 1, &Nodes::default()).unwrap();
        let error = spread.messages(0, &sent(Exchange::AllGather), "X", None);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("give `intra_node_bandwidth`"), "{error}");
        // Between nodes it does not matter.
        let nodes = Spread::new(8, 2, 1, &Nodes::default()).unwrap();
        nodes
            .messages(0, &sent(Exchange::AllGather), "X", None)
            .unwrap();
    }
}
