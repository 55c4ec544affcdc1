//! What a calibration changes.

use super::Case;
use windtunnel_config::KernelFit;

impl Case<'_> {
    /// The figures of `kernel-tables` for this GPU and tensor parallelism; notes say where a
    /// calibration is for something else.
    pub(super) fn kernel_fit(&self, gpu: &str, tp: u32) -> (KernelFit, Vec<String>) {
        let shipped = self.setup.defaults.kernel_fit;
        let Some(calibration) = &self.setup.calibration else {
            return (shipped, Vec::new());
        };
        let gpu_is_same = self.table.same_gpu(&calibration.gpu, gpu);
        let notes = calibration.cautions(&self.canonical, gpu_is_same, tp);
        (calibration.applied_to(shipped), notes)
    }
}
