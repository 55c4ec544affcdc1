//! The step-time models by name.

use std::fmt;
use std::str::FromStr;
use windtunnel_base::input::InputError;

/// A step-time model by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyModelKind {
    /// Fitted coefficients, see [`Blackbox`](super::Blackbox).
    Blackbox,
    /// See [`Roofline`](super::Roofline).
    Roofline,
    /// See [`TrainedPhysics`](super::TrainedPhysics).
    TrainedPhysics,
    /// Measured kernels, see [`Kernels`](super::Kernels).
    KernelTables,
    /// See [`XpuRoofline`](super::XpuRoofline).
    XpuRoofline,
    /// A measured table, see [`Profile`](super::Profile).
    Profile,
    /// See [`Ticks`](super::Ticks).
    Ticks,
}

impl LatencyModelKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Blackbox,
        Self::Roofline,
        Self::TrainedPhysics,
        Self::KernelTables,
        Self::XpuRoofline,
        Self::Profile,
        Self::Ticks,
    ];

    /// What a person should know who sizes a cluster with it; none where steps were measured.
    #[must_use]
    pub fn caution(self) -> Option<&'static str> {
        match self {
            Self::Blackbox | Self::Profile | Self::Ticks => None,
            Self::Roofline => Some(
                "step times are computed and a lower bound: no overheads, no communication between GPUs",
            ),
            Self::TrainedPhysics => Some(
                "step times are computed, with factors fitted on H100 servers of other models; nothing of this \
                 deployment was measured",
            ),
            Self::KernelTables => Some(
                "kernels were measured by themselves; what whole servers add was fitted on H100 servers",
            ),
            Self::XpuRoofline => Some(
                "step times are computed from peaks and efficiencies that nobody measured, without overheads",
            ),
        }
    }

    /// The name as the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blackbox => "blackbox",
            Self::Roofline => "roofline",
            Self::TrainedPhysics => "trained-physics",
            Self::KernelTables => "kernel-tables",
            Self::XpuRoofline => "xpu-roofline",
            Self::Profile => "profile",
            Self::Ticks => "ticks",
        }
    }
}

impl fmt::Display for LatencyModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LatencyModelKind {
    type Err = InputError;

    fn from_str(name: &str) -> Result<Self, InputError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        let valid = Self::ALL.map(Self::name);
        found.ok_or_else(|| InputError::unknown("latency model", name, &valid))
    }
}
