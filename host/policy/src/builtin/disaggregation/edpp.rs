//! `edpp`: drift plus penalty. Each prompt is computed where it adds least to the queues, each
//! weighted by its length: those of work, and virtual ones of what was late.

use super::least_ttft::READS;
use super::ttft::{self, Alternative, SentSince};
use crate::builtin::policy::{BuiltIn, Make};
use crate::param::Param;
use rustc_hash::FxHashMap;
use windtunnel_plugin_api::{
    ClusterView, Disaggregation, Event, EventKind, Interests, Outcome, PolicyError, RequestView,
};

/// `edpp`. The rule is that of the reference simulator's decider of this name (empirical drift plus
/// penalty, for one decoding instance); backlogs and estimates are ours.
pub const POLICY: BuiltIn = BuiltIn {
    params: &[
        Param::number(
            "v",
            1.0,
            0.0,
            1000.0,
            "Weight of the transfer against what is late",
        ),
        Param::number(
            "ttft_ms",
            500.0,
            0.0,
            1e6,
            "Target of requests that have none, and unit of backlogs, ms",
        ),
        Param::number(
            "itl_ms",
            50.0,
            0.0,
            1e6,
            "Target of gaps between tokens, ms",
        ),
    ],
    ..BuiltIn::new(
        "edpp",
        "An instance that prefills computes a prompt if that adds less to backlogs and to what is late already (drift plus penalty).",
        Make::Disaggregation(|_, values| {
            Box::new(Edpp {
                v: values.get("v"),
                ttft_us: (1000.0 * values.get("ttft_ms")).max(1.0),
                itl_us: (1000.0 * values.get("itl_ms")).max(1.0),
                ..Edpp::default()
            })
        }),
    )
};

/// The controller.
#[derive(Default)]
pub struct Edpp {
    v: f64,
    ttft_us: f64,
    itl_us: f64,
    sent: SentSince,
    /// By SLO class: its target, microseconds, and by how many targets its first tokens are late.
    classes: FxHashMap<u32, (f64, f64)>,
    /// By index of the decoding instance: by how many targets the gaps between tokens are long.
    itl_deficits: FxHashMap<u32, f64>,
    /// Index of the instance where requests that are not done with are decoded.
    decoding: FxHashMap<u64, u32>,
}

impl Edpp {
    /// What a way costs besides the gaps between tokens.
    fn cost(&self, way: &Alternative, target_us: f64, late: f64) -> f64 {
        way.ahead_us / self.ttft_us * (way.prefill_us / self.ttft_us)
            + late * way.ttft_us / target_us
            + self.v * (way.transfer_us / target_us) * (self.ttft_us / target_us)
    }
}

impl Disaggregation for Edpp {
    fn interests(&self) -> Interests {
        READS | Interests::LIFECYCLE | Interests::TOKENS
    }

    fn prefills_remotely(
        &mut self,
        request: &RequestView,
        decode: usize,
        cluster: &ClusterView<'_>,
    ) -> Result<bool, PolicyError> {
        let Some((here, instance)) = ttft::local(request, decode, &mut self.sent, cluster)
            .zip(cluster.instances.get(decode))
        else {
            return Ok(false);
        };
        let target_us = match request.slo_ttft_us {
            0 => self.ttft_us,
            us => us as f64,
        };
        let class = self.classes.entry(request.slo_class).or_default();
        class.0 = target_us;
        let late = class.1;
        // A step with a chunk of the prompt, against one without.
        let (others, context) = (instance.decodes, instance.decode_context_tokens);
        let room = instance.max_step_tokens.saturating_sub(others);
        let chunk = ttft::lacks(request, decode, instance, cluster).0.min(room);
        let step_us = |tokens| {
            cluster
                .host
                .est_step_us_on(instance, tokens, others, context)
        };
        let longer_us = step_us(chunk) - step_us(0);
        let long = self
            .itl_deficits
            .get(&instance.index)
            .copied()
            .unwrap_or(0.0);
        let local = self.cost(&here, target_us, late) + long * longer_us / self.itl_us;
        let remote = ttft::remote(request, decode, cluster);
        let remote = remote.iter().map(|way| self.cost(way, target_us, late));
        let remotely = remote.fold(f64::INFINITY, f64::min) < local;
        if !remotely {
            self.sent.note_local(request, decode, cluster);
        }
        self.decoding.insert(request.serial, instance.index);
        Ok(remotely)
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        match event.what() {
            Some(EventKind::FirstToken) => {
                if let Some((target_us, late)) = self.classes.get_mut(&event.slo_class) {
                    *late = (*late + event.ttft_us as f64 / *target_us - 1.0).max(0.0);
                }
            }
            Some(EventKind::Complete | EventKind::Reject) => {
                let index = self.decoding.remove(&event.serial);
                let completed = event.what() == Some(EventKind::Complete)
                    && event.outcome == Outcome::Completed as u32;
                if let Some(index) = index
                    && completed
                    && event.output_tokens > 1
                {
                    let gaps = f64::from(event.output_tokens - 1);
                    let gap_us = (event.e2e_us - event.ttft_us) as f64 / gaps;
                    let long = self.itl_deficits.entry(index).or_default();
                    *long = (*long + gap_us / self.itl_us - 1.0).max(0.0);
                }
            }
            _ => {}
        }
        Ok(())
    }
}
