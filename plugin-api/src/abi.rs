//! The way into a compiled Rust plugin: a root module of abi_stable, and an object per policy.
//!
//! An author implements the ordinary traits and writes [`export_plugin!`](crate::export_plugin)
//! once; everything in here is made by it or used by the host. What crosses the boundary is
//! `repr(C)`; the views are those of the traits, by reference.
//!
//! The contract grows at the ends: a function appended to [`PluginRoot`] is `None` in an older
//! plugin, a method appended to an object has a default that runs in its place, and views are
//! addressed by stride.

mod adapters;
mod declare;
mod guard;
mod objects;
mod root;

pub use adapters::{
    admission, batching, disaggregation, dispatch, preemption, priority, routing, scale, scheduler,
};
pub use declare::{Declared, DeclaredParam, Exported, HookKind, Make, MakerOf, Plugin, lib_header};
pub use objects::{
    AdmissionBox, AdmissionObject, BatchingBox, BatchingObject, DisaggregationBox,
    DisaggregationObject, DispatchBox, DispatchObject, PriorityBox, PriorityObject, RouterBox,
    RouterObject, ScaleBox, ScaleObject, SchedulerBox, SchedulerObject, VictimBox, VictimObject,
};
pub use root::{PluginRoot, PluginRootRef};

use crate::{Admit, BatchLimits, Decodes, KeyRefresh, QueueOrder, Route, Setup};
use abi_stable::StableAbi;
use abi_stable::std_types::{RStr, RString, RVec};
use std::ffi::c_void;
use std::marker::PhantomData;

/// Name of the exported static of type [`LibHeader`](abi_stable::library::LibHeader).
pub const ROOT_SYMBOL: &str = "WINDTUNNEL_PLUGIN_ROOT";

/// What a plugin is.
#[repr(C)]
#[derive(Clone, Debug, StableAbi)]
pub struct PluginInfo {
    /// Its name.
    pub name: RString,
    /// Its own version.
    pub version: RString,
    /// Its policies.
    pub policies: RVec<PolicyInfo>,
}

/// A policy of a plugin.
#[repr(C)]
#[derive(Clone, Debug, StableAbi)]
pub struct PolicyInfo {
    /// The hook it fills, a [`HookKind`] as a number.
    pub hook: u32,
    /// Its name.
    pub name: RString,
    /// What it does.
    pub doc: RString,
    /// Its parameters.
    pub params: RVec<ParamInfo>,
}

/// A parameter of a policy.
#[repr(C)]
#[derive(Clone, Debug, StableAbi)]
pub struct ParamInfo {
    /// Its name.
    pub name: RString,
    /// What it does.
    pub doc: RString,
    /// Its value when nobody sets it.
    pub default: f64,
    /// Least value.
    pub least: f64,
    /// Greatest value.
    pub most: f64,
    /// Only whole numbers.
    pub whole: bool,
    /// To be searched on a logarithmic scale.
    pub log: bool,
}

/// [`Setup`] as it crosses the boundary, to Rust and to C. Append-only.
#[repr(C)]
#[derive(StableAbi)]
pub struct SetupView<'a> {
    /// Bytes of this struct as the host knows it.
    pub size: u64,
    /// Values of the declared parameters, in order of declaration.
    pub params: *const f64,
    /// How many.
    pub param_count: u32,
    /// Instances in the cluster.
    pub instances: u32,
    /// Most requests the cluster can run at once.
    pub slots: u64,
    /// For `symbol`.
    pub context: *mut c_void,
    /// Number of a name: context, first byte of the UTF-8 text, its length in bytes.
    pub symbol: unsafe extern "C" fn(*mut c_void, *const u8, u64) -> u32,
    call: PhantomData<&'a mut ()>,
}

/// The callback behind [`SetupView::symbol`].
type Symbol<'a> = &'a mut dyn FnMut(&str) -> u32;

#[allow(
    unsafe_code,
    reason = "the surroundings of a constructor cross as pointers"
)]
impl<'a> SetupView<'a> {
    /// The boundary form of a setup: the values of its parameters, and the address of its callback.
    ///
    /// # Panics
    /// With more than `u32::MAX` values.
    #[must_use]
    pub fn new(values: &'a [f64], instances: u32, slots: u64, symbol: &'a mut Symbol<'_>) -> Self {
        /// SAFETY: `context` is the address of a `Symbol` that outlives the call, and `text` that
        /// of `len` bytes, both promised by the contract of the plugin.
        unsafe extern "C" fn call(context: *mut c_void, text: *const u8, len: u64) -> u32 {
            let symbol = unsafe { &mut *context.cast::<Symbol<'_>>() };
            let bytes = if len == 0 {
                &[]
            } else {
                unsafe { std::slice::from_raw_parts(text, len as usize) }
            };
            symbol(&String::from_utf8_lossy(bytes))
        }
        Self {
            size: size_of::<Self>() as u64,
            params: values.as_ptr(),
            param_count: u32::try_from(values.len()).expect("few parameters"),
            instances,
            slots,
            context: std::ptr::from_mut(symbol).cast(),
            symbol: call,
            call: PhantomData,
        }
    }

    /// The plain form for a policy whose parameters are called `names`.
    fn with<T>(&self, names: &[DeclaredParam], make: impl FnOnce(&mut Setup<'_>) -> T) -> T {
        // SAFETY: the host gives as many values as it says, and they outlive 'a. An empty list may
        // have any address.
        let values = match self.param_count {
            0 => &[],
            n => unsafe { std::slice::from_raw_parts(self.params, n as usize) },
        };
        let params: Vec<(String, f64)> = names
            .iter()
            .zip(values)
            .map(|(param, value)| (param.name.to_owned(), *value))
            .collect();
        // SAFETY: the context is the host's own, and the text outlives the call.
        let mut symbol =
            |name: &str| unsafe { (self.symbol)(self.context, name.as_ptr(), name.len() as u64) };
        make(&mut Setup {
            params: &params,
            instances: self.instances,
            slots: self.slots,
            symbol: &mut symbol,
        })
    }
}

/// [`Admit`] as it crosses the boundary.
#[repr(C)]
#[derive(StableAbi)]
pub struct AdmitAnswer {
    /// Microseconds, of a delay.
    pub delay_us: i64,
    /// 0 admit, 1 reject, 2 delay.
    pub kind: u32,
    /// Why, of a rejection.
    pub reason: RString,
}

impl From<Admit> for AdmitAnswer {
    fn from(answer: Admit) -> Self {
        let (kind, delay_us, reason) = match answer {
            Admit::Admit => (0, 0, RString::new()),
            Admit::Reject(reason) => (1, 0, reason.into()),
            Admit::Delay(us) => (2, us, RString::new()),
        };
        Self {
            delay_us,
            kind,
            reason,
        }
    }
}

impl AdmitAnswer {
    /// The plain form.
    ///
    /// # Errors
    /// A kind that this version does not know.
    pub fn plain(self) -> Result<Admit, String> {
        match self.kind {
            0 => Ok(Admit::Admit),
            1 => Ok(Admit::Reject(self.reason.into_string())),
            2 => Ok(Admit::Delay(self.delay_us)),
            other => Err(format!(
                "admission answered kind {other}; expected 0 (admit), 1 (reject) or 2 (delay)"
            )),
        }
    }
}

/// [`Route`] as it crosses the boundary, to Rust and to C.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, StableAbi)]
pub struct RouteAnswer {
    /// 0 to an instance, 1 hold.
    pub kind: u32,
    /// Index into the instances shown.
    pub index: u32,
    /// Microseconds until the next try, of a hold.
    pub retry_after_us: i64,
}

impl From<Route> for RouteAnswer {
    fn from(answer: Route) -> Self {
        match answer {
            Route::To(index) => Self {
                // The host refuses what is out of range, whatever it is.
                index: u32::try_from(index).unwrap_or(u32::MAX),
                ..Self::default()
            },
            Route::Hold { retry_after_us } => Self {
                kind: 1,
                retry_after_us,
                ..Self::default()
            },
        }
    }
}

impl RouteAnswer {
    /// The plain form.
    ///
    /// # Errors
    /// A kind that this version does not know.
    pub fn plain(self) -> Result<Route, String> {
        match self.kind {
            0 => Ok(Route::To(self.index as usize)),
            1 => Ok(Route::Hold {
                retry_after_us: self.retry_after_us,
            }),
            other => Err(format!(
                "routing answered kind {other}; expected 0 (to an instance) or 1 (hold)"
            )),
        }
    }
}

/// [`BatchLimits`] as they cross the boundary, to Rust and to C.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct BatchAnswer {
    /// As [`BatchLimits::hold_until_us`].
    pub hold_until_us: i64,
    /// As [`BatchLimits::max_new_tokens`].
    pub max_new_tokens: u32,
    /// As [`BatchLimits::max_prefill_tokens`].
    pub max_prefill_tokens: u32,
    /// As [`BatchLimits::max_admissions`].
    pub max_admissions: u32,
    /// 0: decodes take part in every step; 1: only in a step that computes no prompt.
    pub decodes_wait: u32,
}

impl From<BatchLimits> for BatchAnswer {
    fn from(limits: BatchLimits) -> Self {
        Self {
            hold_until_us: limits.hold_until_us,
            max_new_tokens: limits.max_new_tokens,
            max_prefill_tokens: limits.max_prefill_tokens,
            max_admissions: limits.max_admissions,
            decodes_wait: u32::from(limits.decodes == Decodes::WaitForPrefills),
        }
    }
}

impl BatchAnswer {
    /// The plain form.
    ///
    /// # Errors
    /// A `decodes_wait` that is neither 0 nor 1.
    pub fn plain(self) -> Result<BatchLimits, String> {
        Ok(BatchLimits {
            max_new_tokens: self.max_new_tokens,
            max_prefill_tokens: self.max_prefill_tokens,
            max_admissions: self.max_admissions,
            decodes: match self.decodes_wait {
                0 => Decodes::TakePart,
                1 => Decodes::WaitForPrefills,
                other => {
                    return Err(format!(
                        "batching answered decodes_wait {other}; expected 0 or 1"
                    ));
                }
            },
            hold_until_us: self.hold_until_us,
        })
    }
}

/// First come, first served, among the numbers that say when keys change.
pub const FIFO: i64 = -2;
/// Keys change with each step.
pub const EACH_STEP: i64 = -1;
/// Keys never change.
pub const AT_ENQUEUE: i64 = 0;

/// When keys change, as a number: [`AT_ENQUEUE`], [`EACH_STEP`], or the interval in microseconds.
#[must_use]
pub fn refresh_number(refresh: KeyRefresh) -> i64 {
    match refresh {
        KeyRefresh::AtEnqueue => AT_ENQUEUE,
        KeyRefresh::EachStep => EACH_STEP,
        KeyRefresh::Every(us) => us.max(1),
    }
}

/// The plain form of [`refresh_number`].
///
/// # Errors
/// A negative number that is not [`EACH_STEP`].
pub fn refresh_of(number: i64) -> Result<KeyRefresh, String> {
    match number {
        AT_ENQUEUE => Ok(KeyRefresh::AtEnqueue),
        EACH_STEP => Ok(KeyRefresh::EachStep),
        1.. => Ok(KeyRefresh::Every(number)),
        _ => Err(format!(
            "keys change at {number}; expected 0 (never), -1 (each step) or microseconds"
        )),
    }
}

/// The order of a queue as a number: [`FIFO`], or when its keys change.
#[must_use]
pub fn order_number(order: QueueOrder) -> i64 {
    match order {
        QueueOrder::Fifo => FIFO,
        QueueOrder::Keyed(refresh) => refresh_number(refresh),
    }
}

/// The plain form of [`order_number`].
///
/// # Errors
/// As [`refresh_of`].
pub fn order_of(number: i64) -> Result<QueueOrder, String> {
    match number {
        FIFO => Ok(QueueOrder::Fifo),
        _ => refresh_of(number).map(QueueOrder::Keyed),
    }
}

/// The version of a plugin's contract, from what its header says.
///
/// # Errors
/// When it is not a version.
pub fn version_of(text: RStr<'_>) -> Result<(u32, u32), String> {
    let mut parts = text.as_str().split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("\"{text}\" is not a version")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_the_same() {
        assert_eq!(version_of(root::VERSION_TEXT.into()), Ok(crate::VERSION));
        assert!(version_of("one".into()).is_err());
    }

    #[test]
    fn decisions_survive_the_boundary() {
        for admit in [
            Admit::Admit,
            Admit::Reject("full".into()),
            Admit::Delay(-3),
            Admit::Delay(i64::MAX),
        ] {
            assert_eq!(AdmitAnswer::from(admit.clone()).plain(), Ok(admit));
        }
        for route in [
            Route::To(0),
            Route::To(7),
            Route::Hold { retry_after_us: 9 },
        ] {
            assert_eq!(RouteAnswer::from(route).plain(), Ok(route));
        }
        let odd = RouteAnswer {
            kind: 5,
            ..RouteAnswer::default()
        };
        assert!(odd.plain().unwrap_err().contains("kind 5"));
        for decodes in [Decodes::TakePart, Decodes::WaitForPrefills] {
            let limits = BatchLimits {
                max_new_tokens: 1,
                max_prefill_tokens: 2,
                max_admissions: 3,
                decodes,
                hold_until_us: 4,
            };
            let answer = BatchAnswer::from(limits);
            assert_eq!(answer.plain(), Ok(limits));
            let odd = BatchAnswer {
                decodes_wait: 2,
                ..answer
            };
            assert!(odd.plain().unwrap_err().contains("decodes_wait 2"));
        }
        for order in [
            QueueOrder::Fifo,
            QueueOrder::Keyed(KeyRefresh::AtEnqueue),
            QueueOrder::Keyed(KeyRefresh::EachStep),
            QueueOrder::Keyed(KeyRefresh::Every(1)),
            QueueOrder::Keyed(KeyRefresh::Every(5_000)),
        ] {
            assert_eq!(order_of(order_number(order)), Ok(order));
        }
        assert!(order_of(-3).unwrap_err().contains("-3"));
    }

    #[test]
    fn a_setup_survives_the_boundary() {
        let mut asked = Vec::new();
        let mut symbol = |name: &str| {
            asked.push(name.to_owned());
            name.len() as u32
        };
        let mut symbol: Symbol<'_> = &mut symbol;
        let values = [1.5, 20.0];
        let view = SetupView::new(&values, 4, 1024, &mut symbol);
        let declared = ["bound", "points"].map(|name| DeclaredParam {
            name,
            doc: &[],
            default: 0.0,
            least: 0.0,
            most: 0.0,
            whole: false,
            log: false,
        });
        let seen = view.with(&declared, |setup| {
            let numbers = ((setup.symbol)("täg"), (setup.symbol)(""));
            let params = (setup.param("bound"), setup.param("points"));
            (params, setup.instances, setup.slots, numbers)
        });
        assert_eq!(seen, ((1.5, 20.0), 4, 1024, (4, 0)));
        assert_eq!(asked, ["täg", ""]);
    }
}
