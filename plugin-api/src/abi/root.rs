//! The root module of a plugin: what it is, and a constructor for each hook.

#![allow(
    unsafe_code,
    reason = "abi_stable writes the access to what an older plugin lacks"
)]

use super::{
    AdmissionBox, BatchingBox, DisaggregationBox, DispatchBox, PluginInfo, PriorityBox, RouterBox,
    ScaleBox, SchedulerBox, SetupView, VictimBox,
};
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RString};

/// [`VERSION`](crate::VERSION) as a plugin carries it, with a patch number that means nothing.
pub(super) const VERSION_TEXT: &str = env!("CARGO_PKG_VERSION");

/// What a plugin exports.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef, prefix_fields = PluginRootFields)))]
#[sabi(missing_field(option))]
pub struct PluginRoot {
    /// What it is and which policies it has. The constructors take an index into them.
    pub describe: extern "C" fn() -> PluginInfo,
    /// Makes an admission policy.
    pub new_admission: extern "C" fn(u32, SetupView<'_>) -> RResult<AdmissionBox, RString>,
    /// Makes a router.
    pub new_router: extern "C" fn(u32, SetupView<'_>) -> RResult<RouterBox, RString>,
    /// Makes a priority policy.
    pub new_priority: extern "C" fn(u32, SetupView<'_>) -> RResult<PriorityBox, RString>,
    /// Makes a scheduler.
    pub new_scheduler: extern "C" fn(u32, SetupView<'_>) -> RResult<SchedulerBox, RString>,
    /// Makes a preemption policy.
    #[sabi(last_prefix_field)]
    pub new_victim: extern "C" fn(u32, SetupView<'_>) -> RResult<VictimBox, RString>,
    /// Makes a disaggregation policy.
    pub new_disaggregation:
        extern "C" fn(u32, SetupView<'_>) -> RResult<DisaggregationBox, RString>,
    /// Makes a batching policy.
    pub new_batching: extern "C" fn(u32, SetupView<'_>) -> RResult<BatchingBox, RString>,
    /// Makes a dispatch policy.
    pub new_dispatch: extern "C" fn(u32, SetupView<'_>) -> RResult<DispatchBox, RString>,
    /// Makes a policy that scales pools.
    pub new_scale: extern "C" fn(u32, SetupView<'_>) -> RResult<ScaleBox, RString>,
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "windtunnel_plugin";
    const NAME: &'static str = "windtunnel_plugin";
    const VERSION_STRINGS: VersionStrings = VersionStrings::new(VERSION_TEXT);
}
