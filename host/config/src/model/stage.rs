//! The layers of a model on the stages of a pipeline.

use super::ModelArch;

/// Layers of each of `stages` stages as vLLM shares them out: equally many, and where they do not
/// divide, one more on the last stages but the very last, which has the output head. There must be
/// at least one stage, and no more than layers.
#[must_use]
pub fn layers_per_stage(layers: u64, stages: u32) -> Vec<u64> {
    let stages = u64::from(stages.max(1));
    let (each, more) = (layers / stages, layers % stages);
    let has_more = |stage: u64| stage + 1 < stages && stage + 1 + more >= stages;
    (0..stages)
        .map(|stage| each + u64::from(has_more(stage)))
        .collect()
}

impl ModelArch {
    /// What each stage has of the model: its layers, and beside them the first one the input
    /// embeddings and what reads images, the last one the output head. Of tied embeddings both have
    /// a copy.
    #[must_use]
    pub fn stages(&self, stages: u32) -> Vec<Self> {
        if stages <= 1 {
            return vec![self.clone()];
        }
        let shares = layers_per_stage(self.layers, stages);
        let last = shares.len() - 1;
        let mut first_layer = 0;
        let mut of_stages = Vec::with_capacity(shares.len());
        for (k, layers) in shares.into_iter().enumerate() {
            let kinds = self.layer_kinds.iter().skip(first_layer as usize);
            of_stages.push(Self {
                layers,
                first_layer,
                embeds: k == 0,
                samples: k == last,
                layer_kinds: kinds.take(layers as usize).copied().collect(),
                tied_embeddings: false,
                vision_parameters: if k == 0 { self.vision_parameters } else { 0.0 },
                ..self.clone()
            });
            first_layer += layers;
        }
        of_stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_shared_out_as_vllm_does() {
        assert_eq!(layers_per_stage(32, 2), [16, 16]);
        // The last stage has the output head; with few more the first one has none, either.
        assert_eq!(layers_per_stage(32, 3), [11, 11, 10]);
        assert_eq!(layers_per_stage(32, 5), [6, 6, 7, 7, 6]);
        assert_eq!(layers_per_stage(30, 4), [7, 8, 8, 7]);
        assert_eq!(layers_per_stage(30, 1), [30]);
    }

    #[test]
    fn stages_have_the_weights_of_the_model_together() {
        for (name, tied) in [("llama-3.1-8b-instruct", false), ("gemma-3-27b-it", true)] {
            let model = ModelArch::builtin(name).unwrap();
            assert_eq!(model.tied_embeddings, tied, "{name}");
            let stages = model.stages(4);
            let bytes: f64 = stages.iter().map(|stage| stage.weights().bytes()).sum();
            // Tied embeddings are there twice.
            let copy = model
                .weights()
                .part(super::super::EMBEDDINGS)
                .unwrap()
                .bytes;
            let expected = model.weights().bytes() + if tied { copy } else { 0.0 };
            assert!((bytes / expected - 1.0).abs() < 1e-12, "{name}: {bytes}");
            let kinds: usize = stages.iter().map(|s| s.layer_kinds.len()).sum();
            assert_eq!(kinds, model.layer_kinds.len());
            assert_eq!(model.stages(1), [model]);
        }
    }
}
