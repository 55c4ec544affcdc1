//! The tables of a plugin with the plain C interface.
//!
//! All are read once, when the plugin is opened, as far as both sides know them: what a table of an
//! older plugin lacks is null.

use super::super::manifest::{DeclaredPolicy, Language, Manifest, compatibility, hook};
use crate::param::{Hook, Param};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use windtunnel_plugin_api::c::{
    AdmissionFns, BatchingFns, C_MAGIC, DisaggregationFns, DispatchFns, LOG, ParamC, PluginC,
    PolicyC, PriorityFns, RouterFns, ScaleFns, SchedulerFns, VictimFns, WHOLE,
};

/// A C plugin: its policies with the functions of each.
pub(crate) struct CPlugin(pub(super) Vec<CPolicy>);

#[derive(Clone, Copy)]
pub(super) struct CPolicy {
    pub(super) policy: PolicyC,
    pub(super) fns: Fns,
}

/// Functions of a policy, by hook. The required ones are there.
#[derive(Clone, Copy)]
pub(super) enum Fns {
    Admission(AdmissionFns),
    Routing(RouterFns),
    Priority(PriorityFns),
    Scheduler(SchedulerFns),
    Preemption(VictimFns),
    Disaggregation(DisaggregationFns),
    Batching(BatchingFns),
    Dispatch(DispatchFns),
    Scale(ScaleFns),
}

// SAFETY: the pointers are to constants of a library that is never unloaded, and to its functions,
// which the contract lets any thread call as long as one state is used by one at a time.
unsafe impl Send for CPlugin {}
// SAFETY: as above.
unsafe impl Sync for CPlugin {}

/// A struct that consists of integers, numbers, pointers and optional functions: all bytes zero is
/// a value, with everything absent.
trait Zeroable: Copy {}
impl Zeroable for PluginC {}
impl Zeroable for PolicyC {}
impl Zeroable for ParamC {}
impl Zeroable for AdmissionFns {}
impl Zeroable for RouterFns {}
impl Zeroable for PriorityFns {}
impl Zeroable for SchedulerFns {}
impl Zeroable for VictimFns {}
impl Zeroable for DisaggregationFns {}
impl Zeroable for BatchingFns {}
impl Zeroable for DispatchFns {}
impl Zeroable for ScaleFns {}

/// A struct of which the other side has `size` bytes.
///
/// SAFETY: `from` is readable for `size` bytes, which begin as a `T` does.
unsafe fn prefix<T: Zeroable>(from: *const u8, size: usize) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: both are valid for `known` bytes; the rest is zero, which `Zeroable` allows.
    unsafe {
        std::ptr::copy_nonoverlapping(from, value.as_mut_ptr().cast::<u8>(), known);
        value.assume_init()
    }
}

/// A table of functions, which begins with its size.
///
/// SAFETY: `from` is null or such a table.
unsafe fn table<T: Zeroable>(from: *const c_void, policy: &str) -> Result<T, String> {
    if from.is_null() {
        return Err(format!("policy \"{policy}\" has no functions"));
    }
    let size = unsafe { from.cast::<u64>().read() };
    if !(16..=1 << 16).contains(&size) {
        return Err(format!(
            "the functions of policy \"{policy}\" have {size} bytes; expected {} (set size to sizeof)",
            size_of::<T>()
        ));
    }
    Ok(unsafe { prefix(from.cast(), size as usize) })
}

/// A text of the plugin; empty for null.
///
/// SAFETY: `text` is null or ends with a null byte.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

/// The stride of an array as the plugin states it.
fn stride(stated: u32, what: &str, version_1: usize) -> Result<usize, String> {
    if (stated as usize) < version_1 {
        return Err(format!(
            "{what}_size is {stated}; expected sizeof(wt_{what}), {version_1}"
        ));
    }
    Ok(stated as usize)
}

impl CPlugin {
    /// Reads all tables of a plugin.
    ///
    /// SAFETY: `plugin` is the exported constant; see the parent module.
    pub(super) unsafe fn read(
        plugin: *const PluginC,
        host_version: (u32, u32),
    ) -> Result<(Self, Manifest), String> {
        let magic = unsafe { plugin.cast::<u64>().read_unaligned() };
        if magic != C_MAGIC {
            return Err(
                "windtunnel_plugin is not a wt_plugin: it does not begin with WT_MAGIC".into(),
            );
        }
        // SAFETY: it is a `wt_plugin`: magic number, size, version, whatever else that version has.
        let (plugin, api) = unsafe {
            let head: PluginC = prefix(plugin.cast(), 24);
            let api = (head.api_major, head.api_minor);
            compatibility(api, host_version)?;
            (prefix::<PluginC>(plugin.cast(), head.size as usize), api)
        };
        let policy_size = stride(plugin.policy_size, "policy", 56)?;
        let count = plugin.policy_count as usize;
        if plugin.policies.is_null() && count > 0 {
            return Err("policies is null".into());
        }
        let mut policies = Vec::new();
        let mut all_declared = Vec::new();
        for i in 0..count {
            // SAFETY: the plugin says that so many policies of this size are there.
            let policy: PolicyC = unsafe {
                prefix(
                    plugin.policies.cast::<u8>().add(i * policy_size),
                    policy_size,
                )
            };
            // SAFETY: the policy's pointers are to constants of the plugin, as the header says.
            let (name, declared) = unsafe {
                let name = text(policy.name);
                (name.clone(), declared(&policy, name, plugin.param_size)?)
            };
            let fns = unsafe { Fns::read(&policy, declared.hook, &name)? };
            policies.push(CPolicy { policy, fns });
            all_declared.push(declared);
        }
        // SAFETY: constants of the plugin.
        let (name, version) = unsafe { (text(plugin.name), text(plugin.version)) };
        let manifest = Manifest {
            name,
            version,
            api,
            language: Language::C,
            policies: all_declared,
        };
        Ok((Self(policies), manifest))
    }
}

/// What a policy declares.
///
/// SAFETY: its pointers are as the header says.
unsafe fn declared(
    policy: &PolicyC,
    name: String,
    param_size: u32,
) -> Result<DeclaredPolicy, String> {
    let count = policy.param_count as usize;
    if policy.params.is_null() && count > 0 {
        return Err(format!("policy \"{name}\" has {count} params at null"));
    }
    let mut params = Vec::new();
    if count > 0 {
        let size = stride(param_size, "param", 48)?;
        for k in 0..count {
            let param: ParamC = unsafe { prefix(policy.params.cast::<u8>().add(k * size), size) };
            params.push(Param {
                name: unsafe { text(param.name) }.into(),
                default: param.default_value,
                least: param.least,
                most: param.most,
                whole: param.flags & WHOLE != 0,
                log: param.flags & LOG != 0,
                doc: unsafe { text(param.doc) }.into(),
            });
        }
    }
    Ok(DeclaredPolicy {
        hook: hook(policy.hook, &name)?,
        doc: unsafe { text(policy.doc) },
        name,
        params,
    })
}

impl Fns {
    /// SAFETY: `policy.functions` is null or the table of its hook.
    unsafe fn read(policy: &PolicyC, hook: Hook, name: &str) -> Result<Self, String> {
        let from = policy.functions;
        let need = |there: bool, function: &str| {
            if there {
                return Ok(());
            }
            Err(format!(
                "{hook} policy \"{name}\" has no function {function}"
            ))
        };
        unsafe {
            Ok(match hook {
                Hook::Admission => {
                    let fns: AdmissionFns = table(from, name)?;
                    need(fns.admit.is_some(), "admit")?;
                    Self::Admission(fns)
                }
                Hook::Routing => {
                    let fns: RouterFns = table(from, name)?;
                    need(fns.route.is_some(), "route")?;
                    Self::Routing(fns)
                }
                Hook::Priority => {
                    let fns: PriorityFns = table(from, name)?;
                    need(fns.priority.is_some(), "priority")?;
                    Self::Priority(fns)
                }
                Hook::Scheduler => {
                    let fns: SchedulerFns = table(from, name)?;
                    need(fns.order.is_some(), "order")?;
                    Self::Scheduler(fns)
                }
                Hook::Preemption => {
                    let fns: VictimFns = table(from, name)?;
                    need(fns.victim.is_some(), "victim")?;
                    Self::Preemption(fns)
                }
                Hook::Disaggregation => {
                    let fns: DisaggregationFns = table(from, name)?;
                    need(fns.prefills_remotely.is_some(), "prefills_remotely")?;
                    Self::Disaggregation(fns)
                }
                Hook::Batching => {
                    let fns: BatchingFns = table(from, name)?;
                    need(fns.limits.is_some(), "limits")?;
                    Self::Batching(fns)
                }
                Hook::Dispatch => {
                    let fns: DispatchFns = table(from, name)?;
                    need(fns.dispatch.is_some(), "dispatch")?;
                    Self::Dispatch(fns)
                }
                Hook::Scale => {
                    let fns: ScaleFns = table(from, name)?;
                    need(fns.replicas.is_some(), "replicas")?;
                    Self::Scale(fns)
                }
            })
        }
    }
}
