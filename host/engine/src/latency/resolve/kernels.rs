//! A deployment whose step times are made of measured kernels.

use super::super::deployment::Resolved;
use super::super::kernels::{Kernels, Parallel};
use super::super::kind::LatencyModelKind;
use super::super::model::LatencyModel;
use super::super::spread::Spread;
use super::Case;
use super::stages::is_wide;
use std::borrow::Cow;
use std::sync::Arc;
use windtunnel_base::input::InputError;
use windtunnel_config::KernelTables;

impl Case<'_> {
    /// Decides it.
    pub(super) fn kernels(mut self) -> Result<Resolved, InputError> {
        let kind = LatencyModelKind::KernelTables;
        self.configuration(kind)?;
        let (gpu, tp) = self.deployment(kind)?;
        let kernels = match self.kernels.take() {
            Some(kernels) => kernels,
            None => self.measured_kernels(&gpu, tp)?,
        };
        for note in kernels.iter().flat_map(Kernels::notes) {
            if !self.notes.contains(note) {
                self.notes.push(note.clone());
            }
        }
        self.notes.extend(self.calibration_cautions(&gpu, tp));
        let kernels: Vec<Arc<Kernels>> = kernels.into_iter().map(Arc::new).collect();
        // All stages have steps of the same sizes, and the last one has all kinds of kernels.
        let last = kernels.last().map(Arc::clone);
        let spread = self.spread(tp)?.filter(is_wide);
        let latency: Arc<dyn LatencyModel> = match (spread, &self.arch, &last) {
            (Some(spread), Some(arch), _) => {
                let own = kernels
                    .into_iter()
                    .map(|kernels| kernels as Arc<dyn LatencyModel>);
                let stages = self.stages(arch).into_iter().zip(own).collect();
                let fit = self.kernel_fit();
                let host = [fit.host_us, fit.host_request_us];
                self.in_a_row(stages, host, &spread, &gpu)?
            }
            (_, _, Some(only)) => Arc::clone(only) as Arc<dyn LatencyModel>,
            (_, _, None) => return Err(self.no_figures()),
        };
        let alpha = vec![0.0; 3];
        let resolved = self.finish(kind, latency, gpu, tp, None, alpha, Vec::new(), None)?;
        Ok(Resolved {
            kernels: last,
            ..resolved
        })
    }

    /// What the deployment's kernels were measured to take, stage by stage.
    pub(super) fn measured_kernels(&self, gpu: &str, tp: u32) -> Result<Vec<Kernels>, InputError> {
        let Some(arch) = &self.arch else {
            return Err(self.no_figures());
        };
        let tables = self.kernel_tables(gpu)?;
        let dp = self.setup.dp;
        let spread = self.spread(tp)?;
        let on_node = |spread: &Spread| [spread.of_tensor().1, spread.of_experts().1];
        let [tp_on_node, experts_on_node] =
            spread.as_ref().map_or([tp, tp.saturating_mul(dp)], on_node);
        let gpus = Parallel {
            tp,
            dp,
            whole_experts: self.setup.expert_parallel,
            tp_on_node,
            experts_on_node,
        };
        let (hardware, kv_bytes) = (self.figures(gpu)?, self.kv_element_bytes()?);
        let several = spread.as_ref().is_some_and(is_wide);
        let stages = self.stages(arch);
        let fit = self.kernel_fit();
        let kernels = stages.iter().map(|stage| {
            let kernels = Kernels::new(fit, &tables, stage, hardware, gpus, kv_bytes)?;
            Ok(match several {
                true => kernels.of_stage(stage.samples),
                false => kernels,
            })
        });
        kernels.collect()
    }

    /// The file of kernels that was given, or the built-in tables of the GPU.
    fn kernel_tables(&self, gpu: &str) -> Result<Cow<'static, KernelTables>, InputError> {
        let same = |name: &str| self.table.same_gpu(name, gpu);
        if let Some(path) = &self.setup.kernel_tables {
            let tables = KernelTables::load(path)?;
            return if same(tables.gpu()) {
                Ok(Cow::Owned(tables))
            } else {
                Err(InputError::in_file(
                    tables.file(),
                    format!("kernels of {}, but the GPU is {gpu}", tables.gpu()),
                ))
            };
        }
        let shipped = KernelTables::shipped_gpus().find(|name| same(name));
        let tables = shipped.and_then(KernelTables::builtin);
        tables.map(Cow::Borrowed).ok_or_else(|| {
            let there: Vec<&str> = KernelTables::shipped_gpus().collect();
            InputError::new(format!(
                "no kernels were measured on {gpu}; built in are {}; `windtunnel tables import` makes files of others",
                there.join(", ")
            ))
        })
    }
}
