//! How much KV cache fits beside the weights.

use windtunnel_base::input::InputError;
use windtunnel_config::{Hardware, Mixer, ModelArch};

/// Bytes of a GiB.
pub const GIB: f64 = 1_073_741_824.0;

/// Memory of one GPU that is neither weights nor KV cache, GiB: the CUDA context, activations,
/// communication buffers.
///
/// Nine servers of vLLM 0.15 and 0.23 on H100 (seven dense models, TP 1 to 4) had the blocks that
/// leave 0.5 to 2.2 GiB, seven of them 1.9 to 2.2.
pub(super) const OVERHEAD: f64 = 2.0;
/// The same for a model that reads images: vLLM keeps room for the largest ones. One server of
/// Llama-4-Scout (H100, TP 2) left 6 GiB.
const OVERHEAD_MULTIMODAL: f64 = 6.0;

/// What the KV cache of one instance is computed from.
#[derive(Clone, Copy, Debug)]
pub struct KvCapacity<'a> {
    /// The model.
    pub model: &'a ModelArch,
    /// The GPU; its memory must be known.
    pub hardware: &'a Hardware,
    /// GPUs that split each layer.
    pub tp: u32,
    /// Data-parallel replicas inside the instance (mixture of experts only).
    pub dp: u32,
    /// Tokens per block.
    pub block_size: u32,
    /// Share of the memory that may be used, 0..1.
    pub utilization: f64,
    /// Bytes of a KV element.
    pub kv_element_bytes: f64,
    /// The longest request, tokens; 0 = unlimited.
    pub max_model_len: u64,
    /// The stage of a pipeline that `model` is, counted from 1, and how many there are.
    pub stage: [usize; 2],
}

/// Bytes on one GPU of an instance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KvMemory {
    /// Weights.
    pub weights: f64,
    /// Activations, the CUDA context, buffers.
    pub overhead: f64,
    /// What may be used in all.
    pub budget: f64,
    /// One token of the KV cache.
    pub token: f64,
    /// Data-parallel replicas, each with a KV cache of its own.
    pub replicas: u32,
    /// The part of `token` that layers with a window or a state of fixed size take, spread over a
    /// request of the longest length.
    pub fixed: f64,
}

/// What takes memory on one accelerator where it is counted by the byte.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceMemory {
    /// Weights.
    pub weights: f64,
    /// What is left beside them.
    pub available: f64,
    /// Keys and values of a token.
    pub kv_per_token: f64,
    /// Activations of a token of a step.
    pub activations_per_token: f64,
}

impl KvCapacity<'_> {
    /// KV blocks of one instance: on each GPU the memory that may be used, less its share of the
    /// weights and what else lives there, divided by its share of a block; times the data-parallel
    /// replicas, each of which has its own KV.
    ///
    /// # Errors
    /// When the model does not fit (says how many GPUs it needs), cannot be split that way, or a
    /// figure is missing.
    pub fn blocks(&self) -> Result<u64, InputError> {
        self.check()?;
        let memory = self.memory();
        let free = memory.budget - memory.weights - memory.overhead;
        if free <= 0.0 {
            return refuse(self.does_not_fit(&memory));
        }
        let block = memory.token * f64::from(self.block_size);
        if block <= 0.0 {
            return refuse(
                "no layer of the model keeps KV of a whole context: the length of requests is not limited by memory; \
                 give `total_kv_blocks`"
                    .to_owned(),
            );
        }
        let blocks = (free / block) as u64;
        if blocks == 0 {
            return refuse(format!(
                "not one KV block of {} tokens ({block:.0} bytes per GPU) fits into the {free:.0} bytes beside the model",
                self.block_size
            ));
        }
        Ok(blocks.saturating_mul(u64::from(self.replicas())))
    }

    /// Memory of one GPU, bytes.
    #[must_use]
    pub fn memory(&self) -> KvMemory {
        let model = self.model;
        let overhead = if model.is_multimodal {
            OVERHEAD_MULTIMODAL
        } else {
            OVERHEAD
        };
        let per_layer = model.kv_elements(self.tp) * self.kv_element_bytes;
        let length = self.max_model_len as f64;
        let (mut token, mut fixed) = (0.0, 0.0);
        for kind in model.attention_layers() {
            let bytes = per_layer * kind.layers as f64;
            match kind.window {
                Some(window) if !kind.keeps_all => {
                    // A request keeps the window and the block that the window moves out of.
                    let kept = (window + u64::from(self.block_size)) as f64;
                    fixed += bytes
                        * if length > 0.0 {
                            (kept / length).min(1.0)
                        } else {
                            0.0
                        };
                }
                _ => token += bytes,
            }
        }
        if length > 0.0 {
            let recurrent = model.count_layers(|layer| layer.mixer == Mixer::Recurrent) as f64;
            fixed += recurrent * model.state_bytes() / f64::from(self.tp) / length;
        }
        KvMemory {
            weights: model.weights().bytes_per_gpu(self.tp, self.dp),
            overhead: overhead * GIB,
            budget: self.hardware.memory_gib * self.utilization * GIB,
            token: token + fixed,
            replicas: self.replicas(),
            fixed,
        }
    }

    /// Replicas with a KV cache of their own.
    fn replicas(&self) -> u32 {
        if self.model.is_moe() { self.dp } else { 1 }
    }

    /// All GPUs of an instance together: the weights once, then buffers, activations and what lies
    /// on several GPUs.
    fn does_not_fit(&self, memory: &KvMemory) -> String {
        let gpus = self.tp.saturating_mul(self.dp);
        let needed = f64::from(gpus) * (memory.weights + memory.overhead) / GIB;
        let weights = self.model.weights().bytes() / GIB;
        // More GPUs split the weights further; the overhead of each stays.
        let room = (memory.budget - memory.overhead) / GIB;
        let enough = if room > 0.0 {
            let least = (weights / room).floor() as u64 + 1;
            let whole = match self.stage {
                [_, 1] => "instance",
                _ => "stage",
            };
            format!("Minimum GPUs per {whole}: {least}")
        } else {
            "No number of GPUs will do with this share of their memory (`gpu_memory_utilization`)"
                .to_owned()
        };
        let what = match self.stage {
            [_, 1] => "the model".to_owned(),
            [stage, stages] => format!("stage {stage} of {stages} of the pipeline"),
        };
        format!(
            "{what} does not fit: it needs {needed:.2} GiB ({weights:.2} weights + {:.2} buffers and copies) before any \
             KV cache, and {:.2} GiB are available ({} GiB x {:.0}% x {gpus} GPUs). {enough}",
            needed - weights,
            f64::from(gpus) * memory.budget / GIB,
            self.hardware.memory_gib,
            self.utilization * 100.0,
        )
    }

    fn check(&self) -> Result<(), InputError> {
        let m = self.model;
        if self.tp == 0 || self.dp == 0 || self.block_size == 0 {
            return refuse("parallelism and block size must be 1 or more".to_owned());
        }
        if !(self.utilization > 0.0 && self.utilization <= 1.0) {
            return refuse(format!(
                "GPU memory utilization is {}; expected above 0 and at most 1",
                self.utilization
            ));
        }
        if self.hardware.memory_gib <= 0.0 {
            return refuse(
                "the hardware figures have no memory size; give `total_kv_blocks` or a hardware file with MemoryGiB"
                    .to_owned(),
            );
        }
        if m.vocab == 0 {
            return refuse("vocab_size is missing in the model configuration".to_owned());
        }
        if m.gated.is_none() {
            return refuse(format!(
                "the activation function of a {} model does not tell whether its feed-forward blocks have two matrices \
                 or three; give `total_kv_blocks`",
                m.model_type
            ));
        }
        if m.head_dim == 0 && m.kv_lora_rank == 0 && !m.hidden.is_multiple_of(m.heads) {
            return refuse(format!(
                "hidden_size {} is no multiple of {} attention heads, and there is no head_dim",
                m.hidden, m.heads
            ));
        }
        check_split(m, self.tp)
    }
}

/// Refuses key/value heads that vLLM could not split over the GPUs, or copy to them, evenly.
fn check_split(model: &ModelArch, tp: u32) -> Result<(), InputError> {
    let (heads, tp) = (model.kv_heads, u64::from(tp));
    let even = if heads >= tp {
        heads.is_multiple_of(tp)
    } else {
        tp.is_multiple_of(heads)
    };
    if even || model.kv_lora_rank > 0 {
        return Ok(());
    }
    refuse(format!(
        "{heads} key/value heads cannot be split over {tp} GPUs; tensor parallelism must divide them, or be a multiple \
         of them"
    ))
}

fn refuse<T>(message: String) -> Result<T, InputError> {
    Err(InputError::new(format!("KV capacity: {message}")))
}
