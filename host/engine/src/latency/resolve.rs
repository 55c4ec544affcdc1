//! From what is given and what is left out to one deployment: model, GPU, step-time model, KV
//! cache, model length.

mod calibrated;
mod choose;
mod kernels;
mod longest;
mod measured;
mod memory;
mod ranks;
mod stages;
mod wide;
mod xpu;

use super::blackbox::Blackbox;
use super::blis;
use super::communication::{DEFAULT_COMM_BACKEND, check_comm_backend};
use super::deployment::{Resolved, Setup};
use super::kernels::Kernels;
use super::kind::LatencyModelKind;
use super::model::{LatencyModel, check_coefficients};
use super::roofline::Roofline;
use super::spread::Spread;
use super::trained_physics::TrainedPhysics;
use stages::of_stage;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::{
    FittedRow, Hardware, HardwareTable, ModelArch, ModelEntry, layers_per_stage,
};

/// Decides a deployment. Reads the files that the setup names, nothing else.
///
/// Without a chosen step-time model: explicit coefficients make it blackbox (3 beta) or
/// trained-physics (7 to 11); else a model that only the catalog of xpu-roofline knows makes it
/// that; else measured kernels of the GPU that price the model make it kernel-tables; else fitted
/// coefficients of that model, GPU, tensor parallelism and vLLM version make it blackbox; else
/// trained-physics from the model's configuration. As BLIS has it: fitted coefficients, else
/// roofline.
///
/// # Errors
/// When a name is unknown, figures are missing or contradict each other, or the model does not fit
/// on the GPUs.
pub fn resolve(setup: &Setup) -> Result<Resolved, InputError> {
    stages::check(setup)?;
    if let Some(ticks) = setup.ticks {
        stages::refuse_pipeline(setup, LatencyModelKind::Ticks)?;
        return Ok(Resolved::in_ticks(ticks));
    }
    check(setup)?;
    if xpu::is_meant(setup)? {
        return xpu::resolve(setup);
    }
    if setup.latency == Some(LatencyModelKind::Profile) {
        return measured::resolve(setup);
    }
    let mut case = Case::open(setup)?;
    if setup.dp > 1 && !setup.as_blis && case.arch.as_ref().is_some_and(|arch| !arch.is_moe()) {
        // Replicas of a dense model have nothing to do with each other: each is a deployment.
        let one = Setup {
            dp: 1,
            ..setup.clone()
        };
        return resolve(&one).map(|one| Resolved {
            dp: setup.dp,
            ..one
        });
    }
    let kind = case.choose()?;
    match kind {
        LatencyModelKind::KernelTables => case.kernels(),
        LatencyModelKind::Roofline | LatencyModelKind::TrainedPhysics => case.analytic(kind),
        LatencyModelKind::XpuRoofline => xpu::resolve(setup),
        LatencyModelKind::Blackbox | LatencyModelKind::Profile => case.blackbox(),
        LatencyModelKind::Ticks => Err(InputError::new(
            "latency model ticks has figures of its own, and no model",
        )),
    }
}

fn check(setup: &Setup) -> Result<(), InputError> {
    let refuse = |message: &str| Err(InputError::new(message));
    if setup.model.trim().is_empty() && setup.latency != Some(LatencyModelKind::Profile) {
        return refuse("the model name is empty");
    }
    if setup.tp == Some(0) || setup.dp == 0 {
        return refuse("tensor and data parallelism must be 1 or more");
    }
    if setup.block_size == 0 {
        return refuse("the KV block size must be 1 token or more");
    }
    if setup.total_kv_blocks == Some(0) {
        return refuse("the number of KV blocks must be 1 or more");
    }
    let share = setup.gpu_memory_utilization;
    if !(share > 0.0 && share <= 1.0) {
        return Err(InputError::new(format!(
            "GPU memory utilization is {share}; expected above 0 and at most 1"
        )));
    }
    if let Some(name) = &setup.moe_comm_backend {
        check_comm_backend(name)?;
    }
    let Some((alpha, beta)) = setup.alpha.as_ref().zip(setup.beta.as_ref()) else {
        return if setup.alpha.is_some() || setup.beta.is_some() {
            refuse("alpha and beta coefficients must be given together")
        } else {
            Ok(())
        };
    };
    check_coefficients("alpha", alpha)?;
    check_coefficients("beta", beta)?;
    if let Some(
        kind @ (LatencyModelKind::Roofline
        | LatencyModelKind::Profile
        | LatencyModelKind::KernelTables),
    ) = setup.latency
    {
        return Err(InputError::new(format!(
            "the {kind} model has no coefficients; drop them or choose another model"
        )));
    }
    if alpha.len() != 3 {
        return Err(InputError::new(format!(
            "{} alpha coefficients; expected 3",
            alpha.len()
        )));
    }
    let right = match setup.latency {
        Some(LatencyModelKind::Blackbox) => beta.len() == 3,
        Some(_) => (7..=11).contains(&beta.len()),
        None => beta.len() == 3 || (7..=11).contains(&beta.len()),
    };
    if !right {
        return Err(InputError::new(format!(
            "{} beta coefficients; expected 3 (blackbox) or 7 to 11 (trained-physics)",
            beta.len()
        )));
    }
    Ok(())
}

/// A setup with what is known about its model and GPU.
struct Case<'a> {
    setup: &'a Setup,
    /// Lower case.
    model: String,
    canonical: String,
    entry: Option<&'a ModelEntry>,
    arch: Option<ModelArch>,
    table: HardwareTable,
    /// The GPU that was given, as the table spells it.
    gpu: Option<String>,
    /// Measured kernels of each stage, if the choice of the step-time model needed them already.
    kernels: Option<Vec<Kernels>>,
    notes: Vec<String>,
}

impl<'a> Case<'a> {
    fn open(setup: &'a Setup) -> Result<Self, InputError> {
        let defaults = &setup.defaults;
        let model = setup.model.trim().to_lowercase();
        let full = defaults.full_name(&model)?;
        let canonical = full.map_or_else(|| model.clone(), str::to_owned);
        let entry = defaults.models.get(&canonical);
        let mut notes = Vec::new();
        let arch = match &setup.model_config_folder {
            Some(folder) => Some(ModelArch::load(folder, &model)?),
            None => {
                let arch = ModelArch::builtin(&canonical);
                if arch.is_some() && full.is_none() {
                    notes.push(format!(
                        "\"{model}\" is not a known model; the built-in configuration of that short name is used"
                    ));
                }
                arch
            }
        };
        if full.is_none() && arch.is_none() && setup.alpha.is_none() {
            return Err(defaults.unknown_model(&setup.model));
        }
        let file = setup.hardware_config.as_deref();
        let table = defaults.hardware.of_run(file, setup.as_blis)?;
        // Fitted rows may be of GPUs without figures.
        let rows = defaults.models.values().flat_map(|m| &m.fitted);
        let of_rows = rows.map(|r| r.gpu.as_str());
        let gpu = setup.gpu.as_ref();
        let gpu = gpu.map(|gpu| table.known(gpu, of_rows)).transpose()?;
        Ok(Self {
            setup,
            model,
            canonical,
            entry,
            arch,
            table,
            gpu,
            kernels: None,
            notes,
        })
    }

    /// GPU, tensor parallelism and vLLM version as far as they were given, for messages.
    fn asked_for(&self) -> String {
        let default = self.entry.and_then(|e| e.fitted_default.as_ref());
        let gpu = self.gpu.clone().or_else(|| default.map(|d| d.gpu.clone()));
        let tp = self.setup.tp.or_else(|| default.map(|d| d.tp));
        let mut parts: Vec<String> = gpu.into_iter().collect();
        parts.extend(tp.map(|tp| format!("TP {tp}")));
        parts.extend(self.setup.vllm_version.clone());
        if parts.is_empty() {
            parts.push("this deployment".to_owned());
        }
        parts.join(", ")
    }

    /// The fitted row that is meant, defaults filled in.
    fn fitted_row(&self) -> Option<&'a FittedRow> {
        let entry = self.entry?;
        let default = entry.fitted_default.as_ref();
        let gpu = self.gpu.as_deref().or(default.map(|d| d.gpu.as_str()));
        let tp = self.setup.tp.or(default.map(|d| d.tp));
        let rows: Vec<&FittedRow> = entry
            .fitted
            .iter()
            .filter(|r| gpu.is_none_or(|gpu| self.setup.defaults.hardware.same_gpu(&r.gpu, gpu)))
            .filter(|r| tp.is_none_or(|tp| r.tp == tp))
            .collect();
        let with = |version: &str| {
            rows.iter()
                .find(|r| same_version(&r.vllm, version))
                .copied()
        };
        if let Some(version) = &self.setup.vllm_version {
            return with(version).filter(|first| only(&rows, first, true));
        }
        if let Some(row) = default.and_then(|d| with(&d.vllm)) {
            return Some(row);
        }
        rows.first()
            .copied()
            .filter(|first| only(&rows, first, false))
    }

    fn no_figures(&self) -> InputError {
        let entry = self.entry;
        let rows: Vec<String> = entry
            .map(ModelEntry::deployments)
            .unwrap_or_default()
            .into_iter()
            .map(|(gpu, tp, vllm)| format!("{gpu} TP {tp} {vllm}"))
            .collect();
        if rows.is_empty() {
            return InputError::new(format!(
                "model {} has neither fitted coefficients nor a built-in configuration; give `model_config_folder` with \
                 its config.json{}",
                self.canonical,
                entry
                    .and_then(|e| e.hf_repo.as_deref())
                    .map_or(String::new(), |repo| format!(
                        " (from the Hugging Face repository {repo})"
                    ))
            ));
        }
        InputError::new(format!(
            "no fitted coefficients of {} for {}; there are: {}. For any other deployment give `model_config_folder` with \
             its config.json",
            self.canonical,
            self.asked_for(),
            rows.join("; ")
        ))
    }

    fn blackbox(mut self) -> Result<Resolved, InputError> {
        stages::refuse_pipeline(self.setup, LatencyModelKind::Blackbox)?;
        if let Some((alpha, beta)) = self.setup.alpha.as_ref().zip(self.setup.beta.as_ref()) {
            let latency = Arc::new(Blackbox::new(alpha, beta)?);
            let fitted = self.entry.and_then(|e| e.fitted_default.as_ref());
            let analytic = self.entry.and_then(|e| e.analytic_default.as_ref());
            let gpu = self
                .gpu
                .clone()
                .or_else(|| fitted.map(|d| d.gpu.clone()))
                .or_else(|| analytic.map(|d| d.gpu.clone()))
                .unwrap_or_default();
            let tp = self
                .setup
                .tp
                .or(fitted.map(|d| d.tp))
                .or(analytic.map(|d| d.tp))
                .unwrap_or(1);
            let vllm = self.setup.vllm_version.clone();
            let (alpha, beta) = (alpha.clone(), beta.clone());
            return self.finish(
                LatencyModelKind::Blackbox,
                latency,
                gpu,
                tp,
                vllm,
                alpha,
                beta,
                None,
            );
        }
        let Some(row) = self.fitted_row() else {
            return Err(self.no_figures());
        };
        let gpu = self.gpu.take().unwrap_or_else(|| row.gpu.clone());
        if gpu != row.gpu {
            self.notes.push(format!(
                "the coefficients were fitted on {}, another name of {gpu}",
                row.gpu
            ));
        }
        let latency = Arc::new(Blackbox::new(&row.alpha, &row.beta)?);
        self.finish(
            LatencyModelKind::Blackbox,
            latency,
            gpu,
            row.tp,
            Some(row.vllm.clone()),
            row.alpha.to_vec(),
            row.beta.to_vec(),
            Some(row),
        )
    }

    /// GPU and tensor parallelism of a deployment that computes its step times, defaults filled in:
    /// with measured kernels those of the fitted coefficients, where the model has any, so that
    /// both are of one deployment.
    fn deployment(&self, kind: LatencyModelKind) -> Result<(String, u32), InputError> {
        if kind == LatencyModelKind::KernelTables
            && let Some(row) = self.fitted_row()
        {
            let gpu = self.gpu.clone().unwrap_or_else(|| row.gpu.clone());
            return Ok((gpu, row.tp));
        }
        let default = self.entry.and_then(|e| e.analytic_default.as_ref());
        let missing = |what: &str, setting: &str| {
            InputError::new(format!(
                "no default {what} is known for model {}; give {setting}",
                self.canonical
            ))
        };
        let gpu = self.gpu.clone().or(default.map(|d| d.gpu.clone()));
        let gpu = gpu.ok_or_else(|| missing("GPU", "`hardware`"))?;
        let tp = self.setup.tp.or(default.map(|d| d.tp));
        let tp = tp.ok_or_else(|| missing("tensor parallelism", "`tp`"))?;
        Ok((gpu, tp))
    }

    /// The figures of a GPU.
    fn figures(&self, gpu: &str) -> Result<&Hardware, InputError> {
        let known = self.table.find(gpu).map(|(_, hardware)| hardware);
        known.ok_or_else(|| self.table.unknown(gpu, std::iter::empty()))
    }

    /// The configuration of the model, which step times of this kind are computed from.
    fn configuration(&self, kind: LatencyModelKind) -> Result<&ModelArch, InputError> {
        self.arch.as_ref().ok_or_else(|| {
            InputError::new(format!(
                "the {kind} model needs the configuration of {}, which is not built in; give `model_config_folder` \
                 with its config.json",
                self.canonical
            ))
        })
    }

    fn analytic(mut self, kind: LatencyModelKind) -> Result<Resolved, InputError> {
        let arch = self.configuration(kind)?;
        let (gpu, tp) = self.deployment(kind)?;
        let hardware = self.figures(&gpu)?;
        let kv_element_bytes = self.kv_element_bytes()?;
        let (dp, as_blis) = (self.setup.dp, self.setup.as_blis);
        let (latency, alpha, beta): (Arc<dyn LatencyModel>, _, _) = match kind {
            LatencyModelKind::Roofline if as_blis => {
                let model = blis::Roofline::new(arch, hardware, tp)?;
                (Arc::new(model), vec![0.0; 3], Vec::new())
            }
            LatencyModelKind::Roofline => {
                let model = |stage: &ModelArch, _: &Spread| {
                    let model = Roofline::new(stage, hardware, tp, dp, kv_element_bytes)?;
                    Ok(Arc::new(model) as Arc<dyn LatencyModel>)
                };
                let model = self.by_stages(arch, tp, &gpu, &model)?;
                (model, vec![0.0; 3], Vec::new())
            }
            _ => {
                let shipped = &self.setup.defaults.trained_physics;
                let alpha = self.setup.alpha.clone().unwrap_or(shipped.alpha.clone());
                let beta = self.setup.beta.clone().unwrap_or(shipped.beta.clone());
                let comm = self.setup.moe_comm_backend.as_deref();
                let comm = comm.unwrap_or(DEFAULT_COMM_BACKEND);
                let latency: Arc<dyn LatencyModel> = if as_blis {
                    Arc::new(blis::TrainedPhysics::new(
                        &alpha, &beta, arch, hardware, tp, dp, comm,
                    )?)
                } else {
                    let model = |stage: &ModelArch, spread: &Spread| {
                        let beta = of_stage(&beta, stage);
                        let model = TrainedPhysics::new(
                            &alpha,
                            &beta,
                            stage,
                            hardware,
                            tp,
                            dp,
                            comm,
                            kv_element_bytes,
                        )?;
                        let on_node = (spread.of_tensor().1, spread.of_experts().1);
                        let model = model.on_nodes(on_node.0, on_node.1);
                        Ok(Arc::new(model) as Arc<dyn LatencyModel>)
                    };
                    self.by_stages(arch, tp, &gpu, &model)?
                };
                (latency, alpha, beta)
            }
        };
        if self.setup.latency.is_none() && self.setup.beta.is_none() && !as_blis {
            let version = self.setup.vllm_version.as_ref();
            self.notes.push(format!(
                "no step times of {} were measured for {gpu}, TP {tp}{}: they are computed by {kind}, whose factors were \
                 fitted on H100 servers of other models",
                self.canonical,
                version.map_or(String::new(), |version| format!(", {version}")),
            ));
        }
        self.finish(kind, latency, gpu, tp, None, alpha, beta, None)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what the three ways here differ in"
    )]
    fn finish(
        mut self,
        kind: LatencyModelKind,
        latency: Arc<dyn LatencyModel>,
        gpu: String,
        tp: u32,
        vllm_version: Option<String>,
        alpha: Vec<f64>,
        beta: Vec<f64>,
        row: Option<&FittedRow>,
    ) -> Result<Resolved, InputError> {
        let setup = self.setup;
        let is_moe = self.arch.as_ref().is_some_and(ModelArch::is_moe);
        if setup.dp > 1 && !is_moe {
            return Err(InputError::new(format!(
                "data parallelism of {} within an instance is for mixture-of-experts models; {}",
                setup.dp,
                if self.arch.is_some() {
                    "this one is dense"
                } else {
                    "the configuration of this one is not known"
                }
            )));
        }
        if kind != LatencyModelKind::Blackbox {
            self.notes.extend_from_slice(self.table.notes(&gpu));
        }
        if kind == LatencyModelKind::Roofline
            && let Some(other) = self.table.mfu_from(&gpu)
        {
            self.notes.push(format!(
                "nobody has calibrated {gpu}: its roofline reaches the shares of the peak that {other} does"
            ));
        }
        if setup.moe_comm_backend.is_some()
            && !(kind == LatencyModelKind::TrainedPhysics && setup.dp > 1)
        {
            self.notes.push(
                "the expert communication backend changes nothing here: it is read by trained-physics with data \
                 parallelism above 1 only"
                    .to_owned(),
            );
        }
        if let Some(arch) = &self.arch
            && !arch.heads.is_multiple_of(u64::from(tp))
        {
            self.notes.push(format!(
                "{} attention heads cannot be split over {tp} GPUs evenly; vLLM would refuse",
                arch.heads
            ));
        }
        let hardware = self.table.find(&gpu).map(|(_, h)| *h);
        let upkeep = self.table.upkeep(&gpu);
        let kv_element_bytes = self.kv_element_bytes()?;
        if let Some(arch) = &self.arch {
            self.notes.extend(arch.notes.iter().cloned());
        }
        let spread = match kind {
            LatencyModelKind::Blackbox => None,
            _ => self.spread(tp)?,
        };
        let layers = self.arch.as_ref().map_or(0, |arch| arch.layers);
        let layers_per_stage = match setup.pp {
            1 => Vec::new(),
            stages => layers_per_stage(layers, stages),
        };
        let fullest_stage = self.fullest_stage(hardware.as_ref(), tp, kv_element_bytes);
        let (total_kv_blocks, kv_blocks_source) =
            self.kv_blocks(row, hardware.as_ref(), tp, kv_element_bytes)?;
        let memory = self.check_memory(total_kv_blocks, hardware.as_ref(), tp, kv_element_bytes);
        if kind == LatencyModelKind::Blackbox {
            self.check_steps(latency.as_ref(), hardware.as_ref(), tp, kv_element_bytes);
        }
        let (max_model_len, max_model_len_source) = self.model_len(total_kv_blocks)?;
        Ok(Resolved {
            model: self.model,
            canonical: self.canonical,
            gpu,
            tp,
            dp: setup.dp,
            pp: setup.pp,
            layers_per_stage,
            spread,
            fullest_stage: fullest_stage.map(|(_, stage)| stage),
            vllm_version,
            latency_kind: kind,
            latency,
            profile: None,
            kernels: None,
            total_kv_blocks,
            kv_blocks_source,
            kv_element_bytes,
            memory,
            device_memory: None,
            max_model_len,
            max_model_len_source,
            alpha,
            beta,
            notes: self.notes,
            is_moe,
            arch: self.arch,
            hardware,
            capex_usd: None,
            upkeep,
        })
    }
}

/// `vllm/vllm-openai:v0.8.4` may be written in full, `v0.8.4` or `0.8.4`.
fn same_version(image: &str, wanted: &str) -> bool {
    let tag = image.rsplit(':').next().unwrap_or(image);
    image == wanted || tag == wanted || tag.strip_prefix('v') == Some(wanted)
}

/// Do all rows (that have the first one's version, if `same_version_only`) name the first one's
/// deployment?
fn only(rows: &[&FittedRow], first: &FittedRow, same_version_only: bool) -> bool {
    rows.iter()
        .filter(|r| !same_version_only || r.vllm == first.vllm)
        .all(|r| r.vllm == first.vllm && r.gpu == first.gpu && r.tp == first.tp)
}
