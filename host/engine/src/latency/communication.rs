//! Communication between the GPUs of an instance, as the trained-physics models count it.

use windtunnel_base::input::InputError;

/// How the experts of an MoE model that is also data parallel exchange tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    /// Every GPU gets every token.
    AllGather,
    /// Tokens go where their experts are.
    AllToAll,
}

/// Expert communication backends of vLLM, by name.
const COMM_BACKENDS: [(&str, Exchange); 7] = [
    ("allgather_reducescatter", Exchange::AllGather),
    ("naive", Exchange::AllGather),
    ("pplx", Exchange::AllToAll),
    ("deepep_high_throughput", Exchange::AllToAll),
    ("deepep_low_latency", Exchange::AllToAll),
    ("mori", Exchange::AllToAll),
    ("flashinfer_all2allv", Exchange::AllToAll),
];

/// The expert communication backend that is meant when none is given.
pub const DEFAULT_COMM_BACKEND: &str = COMM_BACKENDS[0].0;

impl Exchange {
    /// The kind of exchange of a backend.
    pub(super) fn of(comm_backend: &str) -> Result<Self, InputError> {
        COMM_BACKENDS
            .iter()
            .find(|(name, _)| *name == comm_backend)
            .map(|(_, exchange)| *exchange)
            .ok_or_else(|| {
                let valid = COMM_BACKENDS.map(|(name, _)| name);
                InputError::unknown("expert communication backend", comm_backend, &valid)
            })
    }
}

/// Refuses a communication backend that does not exist.
pub(super) fn check_comm_backend(name: &str) -> Result<(), InputError> {
    Exchange::of(name).map(|_| ())
}

/// What the times of messages between GPUs depend on.
#[derive(Clone, Debug)]
pub(super) struct Communication {
    pub(super) tp: f64,
    pub(super) dp: f64,
    /// GPUs that share the experts.
    pub(super) group: f64,
    pub(super) hidden: f64,
    pub(super) activation_bytes: f64,
    pub(super) experts_per_token: f64,
    pub(super) exchange: Exchange,
    /// Bytes per microsecond of a GPU's memory, which stands for the links.
    pub(super) bandwidth: f64,
}

impl Communication {
    /// Microseconds to all-reduce the activations of some tokens `units` times among tp GPUs.
    pub(super) fn all_reduce(&self, units: f64, tokens: f64) -> f64 {
        if self.tp > 1.0 {
            units * tokens * self.hidden * self.activation_bytes * 2.0 * ((self.tp - 1.0) / self.tp)
                / self.bandwidth
        } else {
            0.0
        }
    }

    /// Microseconds to send tokens to their experts and back, over `layers` MoE layers.
    pub(super) fn dispatch(&self, layers: f64, tokens: f64) -> f64 {
        if layers == 0.0 || self.dp <= 1.0 {
            return 0.0;
        }
        let (g, d, a) = (self.group, self.hidden, self.activation_bytes);
        let basis = match self.exchange {
            Exchange::AllGather => {
                (tokens / self.dp) * (g - 1.0) / g * 2.0 * d * a / self.bandwidth
            }
            Exchange::AllToAll => {
                ((tokens / self.dp) * self.experts_per_token * (g - 1.0) / g * 2.0) * d * a
                    / self.bandwidth
            }
        };
        layers * basis
    }
}
