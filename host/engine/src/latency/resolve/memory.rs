//! How much KV cache an instance has, how long a request may be, and what of the figures could not
//! be.

use super::super::blis;
use super::super::capacity::{GIB, KvCapacity, KvMemory};
use super::super::deployment::{
    DEFAULT_BLOCK_SIZE, DEFAULT_UTILIZATION, KvBlocksSource, MaxModelLenSource,
};
use super::super::kv_dtype;
use super::super::model::{LatencyModel, StepAggregates};
use super::super::model_len::max_model_len;
use super::super::work::StepWork;
use super::Case;
use super::longest::fit_model_len;
use windtunnel_base::input::InputError;
use windtunnel_config::{FittedRow, Hardware, ModelArch};

/// KV blocks of an instance whose capacity cannot be computed.
const FALLBACK_KV_BLOCKS: u64 = 1_000_000;

impl Case<'_> {
    /// Bytes of an element of the KV cache.
    pub(super) fn kv_element_bytes(&self) -> Result<f64, InputError> {
        let name = self.setup.kv_cache_dtype.as_deref();
        if self.setup.as_blis && name.is_some() {
            return Err(InputError::new(
                "`kv_cache_dtype` changes nothing under `rules` blis: that simulator does not know it",
            ));
        }
        kv_dtype::element_bytes(name, self.arch.as_ref())
    }

    /// The stage of a pipeline, counted from 1, whose GPUs have room for the fewest tokens, and
    /// what it has of the model; `None` = there is one stage, or that is not known.
    pub(super) fn fullest_stage(
        &self,
        hardware: Option<&Hardware>,
        tp: u32,
        kv_element_bytes: f64,
    ) -> Option<(usize, ModelArch)> {
        if self.setup.pp == 1 {
            return None;
        }
        let hardware = hardware?;
        let stages = (1..).zip(self.stages(self.arch.as_ref()?));
        let tokens = |stage: &ModelArch| {
            let capacity = self.capacity_of(stage, 1, hardware, tp, kv_element_bytes);
            let memory = capacity.memory();
            // Where no layer keeps KV of a whole context there is room for any number.
            (memory.budget - memory.weights - memory.overhead) / memory.token
        };
        stages.min_by(|(_, a), (_, b)| tokens(a).total_cmp(&tokens(b)))
    }

    /// What the KV cache is computed from, where model and GPU are known: that of the fullest
    /// stage, as vLLM takes the smallest number for all.
    fn capacity<'c>(
        &'c self,
        fullest: Option<&'c (usize, ModelArch)>,
        hardware: Option<&'c Hardware>,
        tp: u32,
        kv_element_bytes: f64,
    ) -> Option<KvCapacity<'c>> {
        let whole = self.arch.as_ref()?;
        let (stage, model) = fullest.map_or((1, whole), |(stage, model)| (*stage, model));
        let hardware = hardware.filter(|_| !whole.expert_count_is_missing())?;
        Some(self.capacity_of(model, stage, hardware, tp, kv_element_bytes))
    }

    fn capacity_of<'c>(
        &self,
        model: &'c ModelArch,
        stage: usize,
        hardware: &'c Hardware,
        tp: u32,
        kv_element_bytes: f64,
    ) -> KvCapacity<'c> {
        let setup = self.setup;
        KvCapacity {
            model,
            hardware,
            tp,
            dp: setup.dp,
            block_size: setup.block_size,
            utilization: setup.gpu_memory_utilization,
            kv_element_bytes,
            max_model_len: setup.max_model_len.unwrap_or_else(|| max_model_len(model)),
            stage: [stage, setup.pp as usize],
        }
    }

    pub(super) fn kv_blocks(
        &mut self,
        row: Option<&FittedRow>,
        hardware: Option<&Hardware>,
        tp: u32,
        kv_element_bytes: f64,
    ) -> Result<(u64, KvBlocksSource), InputError> {
        if let Some(blocks) = self.setup.total_kv_blocks {
            return Ok((blocks, KvBlocksSource::Flag));
        }
        let as_blis = self.setup.as_blis;
        let fullest = self.fullest_stage(hardware, tp, kv_element_bytes);
        let capacity = self.capacity(fullest.as_ref(), hardware, tp, kv_element_bytes);
        // BLIS takes the row's number, which leaves no room for activations; what can be computed
        // is.
        let row = row.filter(|_| as_blis || capacity.is_none());
        if let Some(row) = row {
            let blocks = match row.blis_kv_blocks {
                Some(blocks) if as_blis => blocks,
                _ => row.kv_blocks,
            };
            if self.setup.block_size != DEFAULT_BLOCK_SIZE {
                self.notes.push(format!(
                    "the {blocks} KV blocks of the fitted deployment have {DEFAULT_BLOCK_SIZE} tokens each; with {} the \
                     cache has another size",
                    self.setup.block_size
                ));
            }
            if self.setup.gpu_memory_utilization != DEFAULT_UTILIZATION {
                self.notes.push(
                    "the GPU memory utilization changes nothing here: the number of KV blocks is that of the fitted \
                     deployment"
                        .to_owned(),
                );
            }
            return Ok((blocks, KvBlocksSource::FittedRow));
        }
        if let Some(capacity) = capacity {
            let blocks = if as_blis {
                blis::kv_blocks(&capacity, self.setup.reserved_bytes)?
            } else {
                capacity.blocks()?
            };
            return Ok((blocks, KvBlocksSource::Computed));
        }
        let why = match &self.arch {
            Some(arch) if arch.expert_count_is_missing() => {
                "the model configuration speaks of experts without their number"
            }
            None => "the model's configuration is not known",
            Some(_) => "the GPU is not known",
        };
        self.notes.push(format!(
            "the KV cache has {FALLBACK_KV_BLOCKS} blocks because {why}; `total_kv_blocks` sets it"
        ));
        Ok((FALLBACK_KV_BLOCKS, KvBlocksSource::Fallback))
    }

    /// Says what of the KV cache could not be, or is counted for long requests only; gives the
    /// memory of one GPU.
    pub(super) fn check_memory(
        &mut self,
        blocks: u64,
        hardware: Option<&Hardware>,
        tp: u32,
        kv_element_bytes: f64,
    ) -> Option<KvMemory> {
        let fullest = self.fullest_stage(hardware, tp, kv_element_bytes);
        let capacity = self.capacity(fullest.as_ref(), hardware, tp, kv_element_bytes)?;
        if capacity.hardware.memory_gib <= 0.0 {
            return None;
        }
        let memory = capacity.memory();
        let per_gpu = blocks as f64 / f64::from(memory.replicas);
        let kv = per_gpu * f64::from(self.setup.block_size) * memory.token;
        let gpu = capacity.hardware.memory_gib;
        let mut notes = Vec::new();
        if kv + memory.weights > gpu * GIB {
            let because = if self.setup.as_blis && self.setup.total_kv_blocks.is_none() {
                ", as BLIS computes them"
            } else {
                ""
            };
            notes.push(format!(
                "{blocks} KV blocks cannot be{because}: on each GPU they are {:.1} GiB beside {:.1} GiB of weights, and \
                 it has {gpu} GiB",
                kv / GIB,
                memory.weights / GIB
            ));
        }
        if memory.fixed > 0.0 && !self.setup.as_blis {
            let whole = capacity
                .model
                .attention_layers()
                .iter()
                .filter(|kind| kind.window.is_none() || kind.keeps_all)
                .map(|kind| kind.layers)
                .sum::<u64>();
            notes.push(format!(
                "{} of {} layers keep a window or a state of fixed size, not the KV of a whole context: KV blocks are \
                 counted for requests of {} tokens, and shorter ones take more memory than their blocks \
                 (`max_model_len` sets the length)",
                capacity.model.layers - whole,
                capacity.model.layers,
                capacity.max_model_len
            ));
        }
        self.notes.extend(notes);
        Some(memory)
    }

    /// Says where fitted coefficients give steps that no GPU could make.
    pub(super) fn check_steps(
        &mut self,
        latency: &dyn LatencyModel,
        hardware: Option<&Hardware>,
        tp: u32,
        kv_element_bytes: f64,
    ) {
        let Some((arch, hardware)) = self.arch.as_ref().zip(hardware) else {
            return;
        };
        if self.setup.as_blis || arch.expert_count_is_missing() {
            return;
        }
        let work = StepWork::new(arch, hardware, tp, self.setup.dp, kv_element_bytes);
        let step = StepAggregates {
            requests: 1,
            decodes: 1,
            decode_context: 1,
            ..StepAggregates::default()
        };
        let least = work.least_seconds(&step) * 1e3;
        let said = latency.step_us(&step, &mut std::iter::empty()) as f64 / 1e3;
        if said < least {
            self.notes.push(format!(
                "the coefficients give a decode step {said:.3} ms, but reading the weights takes {least:.3} ms; they put \
                 {:.3} ms per token outside the steps, so the engine looks faster than it can be",
                latency.output_token_us() as f64 / 1e3
            ));
        }
    }

    pub(super) fn model_len(&self, blocks: u64) -> Result<(u64, MaxModelLenSource), InputError> {
        fit_model_len(
            self.setup,
            self.arch.as_ref().map_or(0, max_model_len),
            blocks,
        )
    }
}
