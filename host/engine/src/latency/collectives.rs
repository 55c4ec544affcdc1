//! How long accelerators of one node take to exchange tensors, in closed form.

use windtunnel_config::XpuAlgorithm;

/// What accelerators do together with a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collective {
    /// All get the sum.
    AllReduce,
    /// All get all parts.
    AllGather,
    /// Each gets its part of the sum.
    ReduceScatter,
    /// Each sends every other one a part.
    AllToAll,
    /// One gets the sum.
    Reduce,
    /// All get what one has.
    Broadcast,
}

/// A link between accelerators.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Bytes per second.
    pub bandwidth: f64,
    /// Latency of an exchange, seconds.
    pub latency: f64,
}

impl Collective {
    /// Seconds in which `n` accelerators exchange a tensor of `bytes`; 0 for one alone or nothing.
    ///
    /// `auto` takes the time of a ring's all-reduce for every operation, as XpuSim does.
    #[must_use]
    pub fn seconds(self, algorithm: XpuAlgorithm, n: u32, bytes: f64, link: Link) -> f64 {
        if n <= 1 || bytes <= 0.0 {
            return 0.0;
        }
        let others = f64::from(n - 1);
        let ranks = f64::from(n);
        let sent = |share: f64| share * bytes / link.bandwidth + link.latency;
        match (algorithm, self) {
            (XpuAlgorithm::Auto, _) | (XpuAlgorithm::Ring, Self::AllReduce) => {
                sent(2.0 * others / ranks)
            }
            (XpuAlgorithm::Ring, Self::Broadcast) => sent(1.0),
            (XpuAlgorithm::Ring, _) => sent(others / ranks),
            (XpuAlgorithm::Tree, _) => ranks.log2().ceil() * sent(1.0),
            (XpuAlgorithm::Hierarchical, _) => sent(1.5 * others / ranks),
        }
    }
}
