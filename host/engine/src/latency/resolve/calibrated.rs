//! What a calibration changes.

use super::Case;
use windtunnel_config::KernelFit;

impl Case<'_> {
    /// The figures of `kernel-tables`.
    pub(super) fn kernel_fit(&self) -> KernelFit {
        let shipped = self.setup.defaults.kernel_fit;
        let calibration = self.setup.calibration.as_ref();
        calibration.map_or(shipped, |calibration| calibration.applied_to(shipped))
    }

    /// Notes where a calibration is for something else than this GPU and tensor parallelism.
    pub(super) fn calibration_cautions(&self, gpu: &str, tp: u32) -> Vec<String> {
        let Some(calibration) = &self.setup.calibration else {
            return Vec::new();
        };
        let gpu_is_same = self.table.same_gpu(&calibration.gpu, gpu);
        calibration.cautions(&self.canonical, gpu_is_same, tp)
    }
}
