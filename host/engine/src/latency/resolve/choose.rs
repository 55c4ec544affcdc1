//! Which step-time model a deployment gets that names none.

use super::super::kernels::Kernels;
use super::super::kind::LatencyModelKind;
use super::Case;
use windtunnel_base::input::InputError;
use windtunnel_config::{Defaults, FittedRow, Hardware};

/// How far figures of one GPU may be apart.
const SAME_FIGURE: f64 = 0.01;

impl Case<'_> {
    pub(super) fn choose(&mut self) -> Result<LatencyModelKind, InputError> {
        if let Some(kind) = self.setup.latency {
            return Ok(kind);
        }
        if let Some(beta) = &self.setup.beta {
            return Ok(if beta.len() == 3 {
                LatencyModelKind::Blackbox
            } else {
                LatencyModelKind::TrainedPhysics
            });
        }
        if self.setup.as_blis {
            return self.choose_as_blis();
        }
        if self.setup.kernel_tables.is_some() || self.setup.calibration.is_some() {
            return Ok(LatencyModelKind::KernelTables);
        }
        let row = self.fitted_row();
        let why_not = match self.priced_by_kernels(row) {
            Ok(kernels) => {
                self.kernels = Some(kernels);
                return Ok(LatencyModelKind::KernelTables);
            }
            Err(why) => why,
        };
        self.notes.push(format!("not kernel-tables: {why_not}"));
        // Fitted coefficients know whole steps, not stages.
        if row.is_some() && self.setup.pp == 1 {
            return Ok(LatencyModelKind::Blackbox);
        }
        if self.arch.is_none() {
            return Err(self.no_figures());
        }
        Ok(LatencyModelKind::TrainedPhysics)
    }

    /// Fitted coefficients, else the roofline.
    fn choose_as_blis(&mut self) -> Result<LatencyModelKind, InputError> {
        if self.fitted_row().is_some() {
            return Ok(LatencyModelKind::Blackbox);
        }
        if self.arch.is_none() {
            return Err(self.no_figures());
        }
        if self.entry.is_some_and(|e| !e.fitted.is_empty()) {
            self.notes.push(format!(
                "no fitted coefficients of {} for {}; step times come from the roofline model",
                self.canonical,
                self.asked_for()
            ));
        }
        Ok(LatencyModelKind::Roofline)
    }

    /// The deployment by measured kernels, or why they are not taken.
    fn priced_by_kernels(&self, row: Option<&FittedRow>) -> Result<Vec<Kernels>, String> {
        let setup = self.setup;
        if setup.vllm_version.is_some() {
            return Err("`vllm_version` asks for coefficients fitted to that version".to_owned());
        }
        if let Some(row) = row.filter(|row| !self.is_built_in(row)) {
            return Err(format!(
                "{} has coefficients of its own for {} TP {}",
                setup.defaults.name, row.gpu, row.tp
            ));
        }
        if setup.dp > 1 && setup.moe_comm_backend.is_some() {
            return Err("trained-physics alone reads `moe_comm_backend`".to_owned());
        }
        let told = |error: InputError| {
            let why = error.to_string();
            why.strip_prefix("kernel-tables: ")
                .unwrap_or(&why)
                .to_owned()
        };
        if self.arch.is_none() {
            return Err(format!(
                "the configuration of {} is not built in; give `model_config_folder`",
                self.canonical
            ));
        }
        let (gpu, tp) = self
            .deployment(LatencyModelKind::KernelTables)
            .map_err(told)?;
        let hardware = self.figures(&gpu).map_err(told)?;
        let known = Defaults::builtin().hardware.find(&gpu);
        if known.is_some_and(|(_, known)| !are_same(known, hardware)) {
            return Err(format!(
                "the given figures of {gpu} are not those of the GPU whose kernels were measured"
            ));
        }
        self.measured_kernels(&gpu, tp).map_err(told)
    }

    /// Do the built-in defaults have this row?
    fn is_built_in(&self, row: &FittedRow) -> bool {
        let entry = Defaults::builtin().models.get(&self.canonical);
        let key = |r: &FittedRow| (r.gpu.clone(), r.tp, r.vllm.clone());
        entry.is_some_and(|entry| {
            let mut rows = entry.fitted.iter();
            rows.any(|r| key(r) == key(row) && (r.alpha, r.beta) == (row.alpha, row.beta))
        })
    }
}

/// Are these figures of the same GPU, as far as they bear on its speed?
fn are_same(a: &Hardware, b: &Hardware) -> bool {
    let figures = |h: &Hardware| [h.tflops_peak, h.tflops_fp8, h.bandwidth_tb_s];
    let pairs = figures(a).into_iter().zip(figures(b));
    let mut pairs = pairs.map(|(a, b)| (a - b).abs() <= SAME_FIGURE * a.abs());
    pairs.all(|same| same)
}
