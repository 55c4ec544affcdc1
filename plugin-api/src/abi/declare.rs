//! What an author declares, and the root module made of it.

use super::guard::catch;
use super::{
    AdmissionBox, BatchingBox, DisaggregationBox, DispatchBox, ParamInfo, PluginInfo, PluginRoot,
    PluginRootRef, PolicyInfo, PriorityBox, RouterBox, ScaleBox, SchedulerBox, SetupView,
    VictimBox,
};
use crate::{PolicyError, Setup};
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleResult};
use abi_stable::prefix_type::PrefixTypeTrait;
use abi_stable::std_types::{RResult, RString};

/// A hook as a number.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// At the door of the cluster.
    Admission = 0,
    /// Which instance.
    Routing = 1,
    /// Priorities inside an instance.
    Priority = 2,
    /// Order of the wait queue.
    Scheduler = 3,
    /// Who loses its KV blocks.
    Preemption = 4,
    /// Where a prompt is computed. Since 1.1.
    Disaggregation = 5,
    /// How batches are formed. Since 1.1.
    Batching = 6,
    /// Which of the requests held at the gateway goes next. Since 1.1.
    Dispatch = 7,
    /// How many instances a pool should have. Since 1.1.
    Scale = 8,
}

/// Constructor of a policy that is put into `B`.
pub type MakerOf<B> = fn(&mut Setup<'_>) -> Result<B, PolicyError>;

/// How a policy is made, by hook.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "each is a hook")]
pub enum Make {
    Admission(MakerOf<AdmissionBox>),
    Routing(MakerOf<RouterBox>),
    Priority(MakerOf<PriorityBox>),
    Scheduler(MakerOf<SchedulerBox>),
    Preemption(MakerOf<VictimBox>),
    Disaggregation(MakerOf<DisaggregationBox>),
    Batching(MakerOf<BatchingBox>),
    Dispatch(MakerOf<DispatchBox>),
    Scale(MakerOf<ScaleBox>),
}

impl Make {
    fn hook(self) -> HookKind {
        match self {
            Self::Admission(_) => HookKind::Admission,
            Self::Routing(_) => HookKind::Routing,
            Self::Priority(_) => HookKind::Priority,
            Self::Scheduler(_) => HookKind::Scheduler,
            Self::Preemption(_) => HookKind::Preemption,
            Self::Disaggregation(_) => HookKind::Disaggregation,
            Self::Batching(_) => HookKind::Batching,
            Self::Dispatch(_) => HookKind::Dispatch,
            Self::Scale(_) => HookKind::Scale,
        }
    }
}

/// A declared parameter.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredParam {
    /// Its name.
    pub name: &'static str,
    /// What it does, lines as written.
    pub doc: &'static [&'static str],
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

/// A declared policy.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// What it does, lines as written.
    pub doc: &'static [&'static str],
    /// Its parameters.
    pub params: &'static [DeclaredParam],
    /// How it is made.
    pub make: Make,
}

/// A declared plugin.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    /// Its name.
    pub name: &'static str,
    /// Its own version.
    pub version: &'static str,
    /// Its policies.
    pub policies: &'static [Declared],
}

/// A crate that is a plugin; [`export_plugin!`](crate::export_plugin) implements it.
pub trait Exported: 'static {
    /// What it declares.
    const PLUGIN: Plugin;
}

/// Lines of documentation as one text.
fn text(lines: &[&str]) -> RString {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().into()
}

extern "C" fn describe<P: Exported>() -> PluginInfo {
    let policies = P::PLUGIN.policies.iter().map(|policy| PolicyInfo {
        hook: policy.make.hook() as u32,
        name: policy.name.into(),
        doc: text(policy.doc),
        params: policy
            .params
            .iter()
            .map(|p| ParamInfo {
                name: p.name.into(),
                doc: text(p.doc),
                default: p.default,
                least: p.least,
                most: p.most,
                whole: p.whole,
                log: p.log,
            })
            .collect(),
    });
    PluginInfo {
        name: P::PLUGIN.name.into(),
        version: P::PLUGIN.version.into(),
        policies: policies.collect(),
    }
}

/// Makes policy `index` with the constructor that `of` finds in it.
fn make<P: Exported, B>(
    index: u32,
    setup: &SetupView<'_>,
    of: impl FnOnce(Make) -> Option<MakerOf<B>>,
) -> RResult<B, RString> {
    catch(|| {
        let declared = P::PLUGIN.policies.get(index as usize);
        let found = declared.and_then(|d| Some((d, of(d.make)?)));
        let (declared, make) = found.ok_or_else(|| {
            PolicyError::new(format!(
                "policy {index} does not exist or fills another hook"
            ))
        })?;
        setup.with(declared.params, make)
    })
}

macro_rules! constructors {
    ($($name:ident: $variant:ident => $object:ident;)*) => {
        $(extern "C" fn $name<P: Exported>(index: u32, setup: SetupView<'_>) -> RResult<$object, RString> {
            make::<P, _>(index, &setup, |make| match make {
                Make::$variant(make) => Some(make),
                _ => None,
            })
        })*
    };
}

constructors! {
    new_admission: Admission => AdmissionBox;
    new_router: Routing => RouterBox;
    new_priority: Priority => PriorityBox;
    new_scheduler: Scheduler => SchedulerBox;
    new_victim: Preemption => VictimBox;
    new_disaggregation: Disaggregation => DisaggregationBox;
    new_batching: Batching => BatchingBox;
    new_dispatch: Dispatch => DispatchBox;
    new_scale: Scale => ScaleBox;
}

fn root<P: Exported>() -> PluginRootRef {
    PluginRoot {
        describe: describe::<P>,
        new_admission: new_admission::<P>,
        new_router: new_router::<P>,
        new_priority: new_priority::<P>,
        new_scheduler: new_scheduler::<P>,
        new_victim: new_victim::<P>,
        new_disaggregation: new_disaggregation::<P>,
        new_batching: new_batching::<P>,
        new_dispatch: new_dispatch::<P>,
        new_scale: new_scale::<P>,
    }
    .leak_into_prefix()
}

extern "C" fn construct<P: Exported>() -> RootModuleResult {
    abi_stable::library::__call_root_module_loader(root::<P>)
}

/// The static that a plugin exports as [`ROOT_SYMBOL`](super::ROOT_SYMBOL).
#[must_use]
#[allow(unsafe_code, reason = "abi_stable takes an erased root module")]
pub const fn lib_header<P: Exported>() -> LibHeader {
    // SAFETY: `construct` gives a `PluginRootRef`, erased.
    unsafe { LibHeader::from_constructor::<PluginRootRef>(construct::<P>, CheckTypeLayout::Yes) }
}

/// Makes a plugin of a crate: its name, its version and its policies. Written once, in a crate
/// whose `crate-type` has `cdylib`.
///
/// A policy is a hook (`admission`, `routing`, `priority`, `scheduler`, `preemption`,
/// `disaggregation`, `batching`, `dispatch` or `scale`), a name, its declared parameters, and a
/// constructor `fn(&mut Setup) -> Result<impl Trait, PolicyError>`.
/// Parameters have a default and a range; `whole` allows only whole numbers, `log` tells tuners to
/// search on a logarithmic scale. Documentation comments say what policies and parameters do.
///
/// The policy must be `Send`: a run may happen on any thread, though only on one at a time.
///
/// ```
/// use windtunnel_plugin_api::{ClusterView, PolicyError, RequestView, Route, Router, Setup};
///
/// struct Nth(usize);
///
/// impl Nth {
///     fn new(setup: &mut Setup<'_>) -> Result<Self, PolicyError> {
///         Ok(Self(setup.param("position") as usize))
///     }
/// }
///
/// impl Router for Nth {
///     fn route(&mut self, _request: &RequestView, cluster: &ClusterView<'_>) -> Result<Route, PolicyError> {
///         Ok(Route::To(self.0.min(cluster.instances.len() - 1)))
///     }
/// }
///
/// windtunnel_plugin_api::export_plugin! {
///     name: "nth";
///     version: "0.1.0";
///
///     /// Sends everything to one instance.
///     routing "nth" {
///         /// Its position, from 0.
///         position: 0 in 0..=1000, whole;
///     } = Nth::new;
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export_plugin {
    (
        name: $name:expr;
        version: $version:expr;
        $(
            $(#[doc = $doc:expr])*
            $hook:ident $policy:literal {
                $(
                    $(#[doc = $param_doc:expr])*
                    $param:ident : $default:literal in $least:literal ..= $most:literal $(, $flag:ident)* ;
                )*
            } = $make:expr;
        )+
    ) => {
        #[doc(hidden)]
        pub struct ExportedPlugin;

        impl $crate::abi::Exported for ExportedPlugin {
            const PLUGIN: $crate::abi::Plugin = $crate::abi::Plugin {
                name: $name,
                version: $version,
                policies: &[
                    $( $crate::abi::Declared {
                        name: $policy,
                        doc: &[$($doc),*],
                        params: &[
                            $( $crate::abi::DeclaredParam {
                                name: stringify!($param),
                                doc: &[$($param_doc),*],
                                default: $default as f64,
                                least: $least as f64,
                                most: $most as f64,
                                whole: false $(|| $crate::export_plugin!(@whole $flag))*,
                                log: false $(|| $crate::export_plugin!(@log $flag))*,
                            }, )*
                        ],
                        make: $crate::export_plugin!(@make $hook)(|setup| {
                            ::core::result::Result::map(($make)(setup), $crate::abi::$hook)
                        }),
                    }, )+
                ],
            };
        }

        #[doc(hidden)]
        #[unsafe(no_mangle)]
        pub static WINDTUNNEL_PLUGIN_ROOT: $crate::abi_stable::library::LibHeader =
            $crate::abi::lib_header::<ExportedPlugin>();
    };
    (@make admission) => { $crate::abi::Make::Admission };
    (@make routing) => { $crate::abi::Make::Routing };
    (@make priority) => { $crate::abi::Make::Priority };
    (@make scheduler) => { $crate::abi::Make::Scheduler };
    (@make preemption) => { $crate::abi::Make::Preemption };
    (@make disaggregation) => { $crate::abi::Make::Disaggregation };
    (@make batching) => { $crate::abi::Make::Batching };
    (@make dispatch) => { $crate::abi::Make::Dispatch };
    (@make scale) => { $crate::abi::Make::Scale };
    (@make $other:ident) => {
        compile_error!(concat!(
            "unknown hook `", stringify!($other),
            "`; expected admission, routing, priority, scheduler, preemption, disaggregation, batching, dispatch or scale"
        ))
    };
    (@whole whole) => { true };
    (@whole log) => { false };
    (@log log) => { true };
    (@log whole) => { false };
}
