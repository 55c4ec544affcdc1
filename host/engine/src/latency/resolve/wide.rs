//! Deployments whose instances are a pipeline of stages, or lie on several nodes.

use super::super::communication::Exchange;
use super::super::model::LatencyModel;
use super::super::spread::Spread;
use super::super::wide::{Sent, Stage, Wide};
use super::Case;
use super::stages::{check_stages, is_wide};
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::{Ffn, Mixer, ModelArch};

/// Makes the step times of a stage.
type OfStage<'a> = &'a dyn Fn(&ModelArch, &Spread) -> Result<Arc<dyn LatencyModel>, InputError>;

impl Case<'_> {
    /// How an instance lies on GPUs and nodes; `None` under the reference's rules, which know none.
    pub(super) fn spread(&self, tp: u32) -> Result<Option<Spread>, InputError> {
        if self.setup.as_blis {
            return Ok(None);
        }
        self.laid_out(tp).map(Some)
    }

    /// How it lies on them if there are any.
    fn laid_out(&self, tp: u32) -> Result<Spread, InputError> {
        let (pp, dp) = (self.setup.pp, self.setup.dp);
        if let Some(arch) = &self.arch {
            check_stages(pp, arch.layers, &self.canonical)?;
        }
        Spread::new(tp, pp, dp, &self.setup.nodes)
    }

    /// What each stage has of the model.
    pub(super) fn stages(&self, arch: &ModelArch) -> Vec<ModelArch> {
        arch.stages(self.setup.pp)
    }

    /// Step times that are computed from a model's configuration, stage by stage where there are
    /// several; `model` makes those of a stage.
    pub(super) fn by_stages(
        &self,
        arch: &ModelArch,
        tp: u32,
        gpu: &str,
        model: OfStage<'_>,
    ) -> Result<Arc<dyn LatencyModel>, InputError> {
        let spread = self.laid_out(tp)?;
        if !is_wide(&spread) {
            return model(arch, &spread);
        }
        let stages = self.stages(arch).into_iter();
        let stages: Result<Vec<_>, InputError> = stages
            .map(|stage| model(&stage, &spread).map(|own| (stage, own)))
            .collect();
        self.in_a_row(stages?, [0.0; 2], &spread, gpu)
    }

    /// One model of the step times of all `stages`, which come with what they have of the model;
    /// `host` is the engine's own code, microseconds per step and per request.
    pub(super) fn in_a_row(
        &self,
        stages: Vec<(ModelArch, Arc<dyn LatencyModel>)>,
        host: [f64; 2],
        spread: &Spread,
        gpu: &str,
    ) -> Result<Arc<dyn LatencyModel>, InputError> {
        let given = self.setup.nodes.intra_node_gb_s;
        let intra = given.or_else(|| self.table.link_gb_s(gpu));
        let exchange = match self.setup.moe_comm_backend.as_deref() {
            Some(backend) => Exchange::of(backend)?,
            None => Exchange::AllGather,
        };
        let stages: Result<Vec<Stage>, InputError> = stages
            .into_iter()
            .zip(0..)
            .map(|((arch, own), k)| {
                let sent = sent(&arch, exchange, spread.dp);
                let messages = spread.messages(k, &sent, gpu, intra)?;
                Ok(Stage { own, messages })
            })
            .collect();
        Ok(Arc::new(Wide::new(stages?, host, spread.dp)))
    }
}

/// What the messages of a stage depend on.
fn sent(stage: &ModelArch, exchange: Exchange, dp: u32) -> Sent {
    let experts = stage.count_layers(|layer| layer.ffn == Ffn::Experts);
    let mixers = stage.count_layers(|layer| layer.mixer != Mixer::None);
    let dense = stage.count_layers(|layer| layer.ffn == Ffn::Dense);
    // Replicas that share the experts exchange tokens in place of the sum.
    let (sums, exchanges) = match dp {
        1 => (mixers + dense + experts, 0),
        _ => (mixers + dense, experts),
    };
    Sent {
        hidden_bytes: stage.hidden as f64 * stage.element_bytes(),
        sums: sums as f64,
        exchanges: exchanges as f64,
        exchange,
        experts_per_token: stage.experts_per_token as f64,
    }
}
