//! Settings of the gateway, and what it calls saturated.

use windtunnel_plugin_api::{InstanceView, Interests};

/// Interval of ticks where none is given, microseconds.
pub const DEFAULT_TICK_US: i64 = 1_000;

/// What tells that the instances are saturated: 1 and more is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Detector {
    /// Nothing: they never are.
    #[default]
    Never,
    /// The mean over the instances of wait-queue length or KV utilisation, each over its
    /// threshold, whichever is more; as old as the scrape that it is read from.
    Utilization {
        /// Wait-queue length at which an instance is saturated, above 0.
        queue_depth: f64,
        /// KV utilisation at which it is, above 0.
        kv_utilization: f64,
    },
    /// Requests in flight over the most that all instances are to have; always fresh.
    Concurrency {
        /// Most requests of an instance, above 0.
        requests: f64,
    },
}

impl Detector {
    /// What it reads of the instances.
    #[must_use]
    pub fn interests(self) -> Interests {
        match self {
            Self::Never => Interests::NONE,
            Self::Utilization { .. } => Interests::SNAPSHOTS,
            Self::Concurrency { .. } => Interests::COUNTERS,
        }
    }

    /// How saturated `instances` are. Requests that are `on_the_way` to one of them count as if
    /// they were there. No instances are saturated.
    #[must_use]
    pub fn saturation(
        self,
        instances: impl ExactSizeIterator<Item = InstanceView>,
        on_the_way: u32,
    ) -> f64 {
        let n = instances.len() as f64;
        match self {
            Self::Never => 0.0,
            _ if n == 0.0 => 1.0,
            Self::Utilization {
                queue_depth,
                kv_utilization,
            } => {
                let of = |i: InstanceView| {
                    let queue = f64::from(i.queue_depth) / queue_depth;
                    queue.max(i.kv_utilization / kv_utilization)
                };
                instances.map(of).sum::<f64>() / n
            }
            Self::Concurrency { requests } => {
                let in_flight = instances.map(|i| u64::from(i.in_flight)).sum::<u64>();
                (in_flight + u64::from(on_the_way)) as f64 / (n * requests)
            }
        }
    }
}

/// Settings of a gateway that holds requests back.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowControl {
    /// What tells that the instances are saturated.
    pub detector: Detector,
    /// Most requests that it holds; 0 = no limit.
    pub max_depth: u64,
    /// Most requests of one priority that it holds; 0 = no limit.
    pub per_band: u64,
    /// A full queue makes room for a more important request: the least important sheddable one that
    /// came last goes. Else it refuses.
    pub shedding: bool,
    /// Longest time for which it holds a request, microseconds; 0 = no limit.
    pub ttl_us: i64,
    /// Interval at which it looks again while it holds requests, microseconds, at least 1.
    pub tick_us: i64,
    /// Saturation up to which requests of the lowest priority may go; the highest may up to 1, and
    /// those between up to what lies evenly between. 1 = no difference.
    pub usage_limit: f64,
    /// Takes sheddable requests back from the instances while they are saturated and it holds
    /// requests that are not sheddable: the least important one that was dispatched last.
    pub evicts: bool,
    /// Time by which requests of a class are to go on, microseconds after they came, where they
    /// have no target of their own: what dispatch orders by deadline go by.
    pub class_targets: Vec<(String, i64)>,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self {
            detector: Detector::Never,
            max_depth: 0,
            per_band: 0,
            shedding: false,
            ttl_us: 0,
            tick_us: DEFAULT_TICK_US,
            usage_limit: 1.0,
            evicts: false,
            class_targets: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(queue_depth: u32, kv_utilization: f64, in_flight: u32) -> InstanceView {
        InstanceView {
            queue_depth,
            kv_utilization,
            in_flight,
            ..InstanceView::default()
        }
    }

    #[test]
    fn saturation_is_the_mean_of_the_worse_figure_or_the_share_of_places() {
        let instances = [instance(5, 0.2, 30), instance(1, 0.8, 10)];
        let of = |detector: Detector, way| detector.saturation(instances.into_iter(), way);
        assert_eq!(of(Detector::Never, 9), 0.0);
        // Queue 5 of 10 against KV 0.2 of 0.8; queue 1 of 10 against KV 0.8 of 0.8.
        let utilization = Detector::Utilization {
            queue_depth: 10.0,
            kv_utilization: 0.8,
        };
        assert_eq!(of(utilization, 9), (0.5 + 1.0) / 2.0);
        let concurrency = Detector::Concurrency { requests: 25.0 };
        assert_eq!((of(concurrency, 0), of(concurrency, 10)), (0.8, 1.0));
    }

    #[test]
    fn no_instances_are_saturated_for_who_looks() {
        let of = |detector: Detector| detector.saturation(std::iter::empty(), 0);
        assert_eq!(of(Detector::Never), 0.0);
        assert_eq!(of(Detector::Concurrency { requests: 1.0 }), 1.0);
    }
}
