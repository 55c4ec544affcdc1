//! How the GPUs of an instance lie on nodes, and which of its messages pass between nodes.

use super::collectives::Link;
use std::collections::BTreeMap;
use windtunnel_base::input::InputError;

/// GPUs of a node where nobody says: servers of all vendors that have NVLink or its like.
pub const DEFAULT_GPUS_PER_NODE: u32 = 8;
/// Bandwidth between nodes where nobody says, 10^9 bytes per second of each GPU: a network card of
/// 400 Gb/s for each, InfiniBand NDR or Ethernet, as DGX H100 and its like have it.
pub const DEFAULT_INTER_NODE_GB_S: f64 = 50.0;
/// Latency of one hop between nodes where nobody says, microseconds: what NCCL takes for one of a
/// ring in its own choice of algorithms (protocol LL128; 2.7 with LL, 14 for long messages).
pub const DEFAULT_INTER_NODE_US: f64 = 4.0;

/// Most GPUs of an instance; more are a mistake.
const MOST_GPUS: u32 = 1 << 16;

/// What is given about nodes and links; `None` = left to be chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nodes {
    /// GPUs of a node.
    pub gpus_per_node: Option<u32>,
    /// Bandwidth between nodes, 10^9 bytes per second of each GPU.
    pub inter_node_gb_s: Option<f64>,
    /// Latency of one hop between nodes, microseconds.
    pub inter_node_us: Option<f64>,
    /// What a GPU sends to another one of its node, 10^9 bytes per second.
    pub intra_node_gb_s: Option<f64>,
}

/// How an instance is spread over GPUs and nodes.
///
/// Ranks are laid out as vLLM does: the GPUs that split a layer are neighbours, then come the
/// stages of the pipeline, then the data-parallel replicas. Nodes are filled one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// GPUs that split each layer.
    pub tp: u32,
    /// Stages of the pipeline.
    pub pp: u32,
    /// Data-parallel replicas.
    pub dp: u32,
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// Of a GPU to another node.
    pub inter: Link,
}

impl Spread {
    /// An instance of so many GPUs.
    ///
    /// # Errors
    /// When a number is 0 or no number, or the GPUs that split a layer would lie on nodes unevenly.
    pub fn new(tp: u32, pp: u32, dp: u32, nodes: &Nodes) -> Result<Self, InputError> {
        let refuse = |message: String| Err(InputError::new(message));
        let gpus_per_node = nodes.gpus_per_node.unwrap_or(DEFAULT_GPUS_PER_NODE);
        let bandwidth = nodes.inter_node_gb_s.unwrap_or(DEFAULT_INTER_NODE_GB_S);
        let latency = nodes.inter_node_us.unwrap_or(DEFAULT_INTER_NODE_US);
        if gpus_per_node == 0 {
            return refuse("`gpus_per_node` must be at least 1, found 0".to_owned());
        }
        let speeds = [
            ("inter_node_bandwidth", Some(bandwidth)),
            ("intra_node_bandwidth", nodes.intra_node_gb_s),
        ];
        for (name, speed) in speeds {
            if let Some(speed) = speed.filter(|speed| !(speed.is_finite() && *speed > 0.0)) {
                return refuse(format!(
                    "`{name}` is {speed}; expected a finite number above 0, GB/s"
                ));
            }
        }
        // A second is longer than any network takes.
        if !(0.0..=1e6).contains(&latency) {
            return refuse(format!(
                "`inter_node_latency` is {latency}; expected 0 to 1000000 microseconds"
            ));
        }
        let spread = Self {
            tp,
            pp,
            dp,
            gpus_per_node,
            inter: Link {
                bandwidth: bandwidth * 1e9,
                latency: latency * 1e-6,
            },
        };
        if spread.gpus() > MOST_GPUS {
            return refuse(format!(
                "`tp` {tp} x `pp` {pp} x `dp` {dp} are more than {MOST_GPUS} GPUs per instance"
            ));
        }
        let even = tp.is_multiple_of(gpus_per_node) || gpus_per_node.is_multiple_of(tp);
        if spread.nodes() > 1 && !even {
            return refuse(format!(
                "`tp` {tp} does not fit nodes of {gpus_per_node} GPUs: the GPUs that split a layer would lie on them \
                 unevenly; expected a divisor or a multiple of `gpus_per_node`"
            ));
        }
        Ok(spread)
    }

    /// GPUs of the instance.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        self.tp.saturating_mul(self.pp).saturating_mul(self.dp)
    }

    /// Nodes that it lies on.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.gpus().div_ceil(self.gpus_per_node)
    }

    /// Nodes that the GPUs which split a layer lie on, and how many of them lie on each.
    pub(super) fn of_tensor(&self) -> (u32, u32) {
        let here = match self.nodes() {
            1 => self.tp,
            _ => self.tp.min(self.gpus_per_node),
        };
        (self.tp / here, here)
    }

    /// The same of the GPUs that share the experts of a layer: those of all replicas on a stage;
    /// of the fullest node. Over the stages, where they lie on the most nodes.
    pub(super) fn of_experts(&self) -> (u32, u32) {
        let spread = |stage: u32| {
            let mut on_node: BTreeMap<u32, u32> = BTreeMap::new();
            for replica in 0..self.dp {
                let first = (replica * self.pp + stage) * self.tp;
                for rank in first..first + self.tp {
                    *on_node.entry(rank / self.gpus_per_node).or_default() += 1;
                }
            }
            let fullest = on_node.values().copied().max();
            (on_node.len() as u32, fullest.unwrap_or(1))
        };
        let stages = (0..self.pp).map(spread);
        stages.max_by_key(|(nodes, _)| *nodes).unwrap_or((1, 1))
    }

    /// Is there a stage that sends to the next one within a node?
    #[must_use]
    pub fn sends_within_node(&self) -> bool {
        (1..self.pp).any(|next| !self.leaves_node(next - 1))
    }

    /// Does the stage send to the next one over nodes, in any replica?
    pub(super) fn leaves_node(&self, stage: u32) -> bool {
        (0..self.dp).any(|replica| {
            let first = (replica * self.pp + stage) * self.tp;
            let node = |rank: u32| rank / self.gpus_per_node;
            (first..first + self.tp).any(|rank| node(rank) != node(rank + self.tp))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(tp: u32, pp: u32, dp: u32, gpus_per_node: u32) -> Spread {
        let nodes = Nodes {
            gpus_per_node: Some(gpus_per_node),
            ..Nodes::default()
        };
        Spread::new(tp, pp, dp, &nodes).unwrap()
    }

    #[test]
    fn ranks_fill_nodes_in_the_order_of_vllm() {
        // Two nodes of 8: each stage has one.
        let two = spread(8, 2, 1, 8);
        assert_eq!((two.gpus(), two.nodes()), (16, 2));
        assert_eq!(two.of_tensor(), (1, 8));
        assert!(two.leaves_node(0));
        // Both stages on the first node, as many on the second.
        let four = spread(4, 4, 1, 8);
        let leaves: Vec<bool> = (0..3).map(|stage| four.leaves_node(stage)).collect();
        assert_eq!(leaves, [false, true, false]);
        // A layer is split over two nodes.
        assert_eq!(spread(16, 1, 1, 8).of_tensor(), (2, 8));
        // On one node it does not matter how many GPUs that has.
        assert_eq!(spread(6, 1, 1, 8).of_tensor(), (1, 6));
        // Replicas behind each other: experts are on all nodes, 8 GPUs on each.
        assert_eq!(spread(4, 1, 4, 8).of_experts(), (2, 8));
        // With stages between them each node has one stage of two replicas, and another of two.
        assert_eq!(spread(2, 2, 4, 8).of_experts(), (2, 4));
        // In the second replica of three stages the first boundary is one of nodes: rank 6 to 8.
        let three = spread(2, 3, 2, 8);
        assert!(three.leaves_node(0) && !three.leaves_node(1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let error = |tp, nodes: Nodes| Spread::new(tp, 2, 1, &nodes).unwrap_err().to_string();
        let uneven = error(6, Nodes::default());
        assert!(
            uneven.contains("`tp` 6 does not fit nodes of 8 GPUs"),
            "{uneven}"
        );
        let none = Nodes {
            gpus_per_node: Some(0),
            ..Nodes::default()
        };
        assert!(error(2, none).contains("`gpus_per_node` must be at least 1"));
        let many = Spread::new(u32::MAX, 2, u32::MAX, &Nodes::default());
        let many = many.unwrap_err().to_string();
        assert!(many.contains("are more than 65536 GPUs"), "{many}");
        let slow = Nodes {
            inter_node_gb_s: Some(-1.0),
            ..Nodes::default()
        };
        assert!(error(8, slow).contains("`inter_node_bandwidth` is -1"));
        let never = Nodes {
            inter_node_us: Some(f64::NAN),
            ..Nodes::default()
        };
        assert!(error(8, never).contains("`inter_node_latency` is NaN"));
    }
}
