//! The plain C interface: what a plugin in C (or anything that speaks C) exports, and its
//! declarations as C text.
//!
//! A plugin exports one constant, [`PluginC`], under the name [`C_SYMBOL`]: no code of it runs
//! before the host has read which version it was written for. Tables of functions begin with their
//! size, lists have a stride: what a later version appends is absent in an older plugin, and null.
//!
//! Functions that can fail return 0 for fine and anything else for an error, which they describe in
//! their last argument. State is used by one thread at a time, though not always by the same.

use crate::abi::{BatchAnswer, RouteAnswer, SetupView};
use crate::{
    ClusterView, Event, GatewayView, QueueView, QueuedView, RequestView, ScaleView, StepView,
};
use std::ffi::{c_char, c_void};

/// Name of the exported constant.
pub const C_SYMBOL: &str = "windtunnel_plugin";

/// First bytes of [`PluginC`]: "WTPLUGIN" in memory on a little-endian machine.
pub const C_MAGIC: u64 = u64::from_le_bytes(*b"WTPLUGIN");

/// A member of a C struct.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its C declaration, without a semicolon.
    pub text: &'static str,
    /// What it is, lines as written.
    pub doc: &'static [&'static str],
    /// Bytes from the start.
    pub offset: usize,
}

/// A struct of the C interface with its C text.
pub trait Shape {
    /// Its C name.
    const NAME: &'static str;
    /// What it is, lines as written.
    const DOC: &'static [&'static str];
    /// Its members in order of layout.
    const MEMBERS: &'static [Member];
}

/// Declares a struct in Rust and, member by member, in C.
macro_rules! shape {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident as $c_name:literal {
            $( $(#[doc = $member_doc:literal])* $member:ident : $type:ty = $text:literal; )*
        }
    ) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            $( $(#[doc = $member_doc])* pub $member: $type, )*
        }

        impl Shape for $name {
            const NAME: &'static str = $c_name;
            const DOC: &'static [&'static str] = &[$($doc),*];
            const MEMBERS: &'static [Member] = &[
                $( Member {
                    name: stringify!($member),
                    text: $text,
                    doc: &[$($member_doc),*],
                    offset: std::mem::offset_of!(Self, $member),
                }, )*
            ];
        }
    };
}

/// State of a policy.
type State = *mut c_void;
/// Interests, as bits.
type Interests = Option<unsafe extern "C" fn(*const c_void) -> u64>;
/// A number about a policy.
type Number = Option<unsafe extern "C" fn(*const c_void) -> i64>;
/// Takes in an event.
type OnEvent = Option<unsafe extern "C" fn(State, *const Event, *mut Text) -> i32>;
/// Takes in that time passed.
type OnTick = Option<unsafe extern "C" fn(State, *const ClusterView<'_>, *mut Text) -> i32>;

shape! {
    /// Room for a text that a plugin writes: an error, a reason. Ends with a null byte; empty when
    /// the host hands it over.
    pub struct Text as "wt_text" {
        /// Where to write.
        data: *mut c_char = "char *data";
        /// Bytes there, the null byte included.
        capacity: u64 = "uint64_t capacity";
    }
}

shape! {
    /// Answer of an admission policy.
    pub struct AdmitC as "wt_admit" {
        /// WT_ADMIT, WT_REJECT (the text says why) or WT_DELAY.
        kind: u32 = "uint32_t kind";
        /// Always 0.
        reserved: u32 = "uint32_t reserved";
        /// Microseconds until the next try, of a delay.
        delay_us: i64 = "int64_t delay_us";
    }
}

shape! {
    /// Functions of an admission policy. Those that are not required may be null.
    pub struct AdmissionFns as "wt_admission_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Interval of on_tick, microseconds. Null or 0: never. Asked once.
        tick_us: Number = "int64_t (*tick_us)(const void *state)";
        /// Required: admit, reject or delay a request.
        admit: Option<unsafe extern "C" fn(State, *const RequestView, *const ClusterView<'_>, *mut AdmitC, *mut Text) -> i32> =
            "int32_t (*admit)(void *state, const wt_request_view *request, const wt_cluster_view *cluster, wt_admit *answer, wt_text *why)";
        /// Something happened (only if asked for).
        on_event: OnEvent = "int32_t (*on_event)(void *state, const wt_event *event, wt_text *why)";
        /// Time passed.
        on_tick: OnTick = "int32_t (*on_tick)(void *state, const wt_cluster_view *cluster, wt_text *why)";
    }
}

shape! {
    /// Functions of a router. Those that are not required may be null.
    pub struct RouterFns as "wt_router_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Interval of on_tick, microseconds. Null or 0: never. Asked once.
        tick_us: Number = "int64_t (*tick_us)(const void *state)";
        /// Required: choose an instance. The answer is zero when handed over.
        route: Option<unsafe extern "C" fn(State, *const RequestView, *const ClusterView<'_>, *mut RouteAnswer, *mut Text) -> i32> =
            "int32_t (*route)(void *state, const wt_request_view *request, const wt_cluster_view *cluster, wt_route *answer, wt_text *why)";
        /// Scores of the last decision, one per instance, higher is better: sets their number.
        /// Null: it does not score.
        scores: Option<unsafe extern "C" fn(*const c_void, *mut u32) -> *const f64> = "const double *(*scores)(const void *state, uint32_t *count)";
        /// Why the last decision fell as it did, for the decision trace.
        reason: Option<unsafe extern "C" fn(*const c_void, *mut Text)> = "void (*reason)(const void *state, wt_text *text)";
        /// Something happened (only if asked for).
        on_event: OnEvent = "int32_t (*on_event)(void *state, const wt_event *event, wt_text *why)";
        /// Time passed.
        on_tick: OnTick = "int32_t (*on_tick)(void *state, const wt_cluster_view *cluster, wt_text *why)";
    }
}

shape! {
    /// Functions of a priority policy. Those that are not required may be null.
    pub struct PriorityFns as "wt_priority_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// When priorities change: WT_AT_ENQUEUE, WT_EACH_STEP, or an interval in microseconds.
        /// Null: WT_AT_ENQUEUE. Asked once.
        refresh: Number = "int64_t (*refresh)(const void *state)";
        /// Required: priority of a request now, lower is more urgent.
        priority: Option<unsafe extern "C" fn(State, *const RequestView, *const QueueView<'_>, *mut f64, *mut Text) -> i32> =
            "int32_t (*priority)(void *state, const wt_request_view *request, const wt_queue_view *queue, double *answer, wt_text *why)";
    }
}

shape! {
    /// Functions of a scheduler. Those that are not required may be null.
    pub struct SchedulerFns as "wt_scheduler_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// Required: WT_FIFO, or when keys change: WT_AT_ENQUEUE, WT_EACH_STEP, or an interval in
        /// microseconds. Asked once.
        order: Number = "int64_t (*order)(const void *state)";
        /// What it reads and listens to: WT_READS_RUNNING, WT_HEARS_*. Null: nothing. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Required unless WT_FIFO: sort key of a request that enters the wait queue, smallest
        /// first.
        key: Option<unsafe extern "C" fn(State, *const QueuedView<'_>, *const QueueView<'_>, *mut f64, *mut Text) -> i32> =
            "int32_t (*key)(void *state, const wt_queued_view *queued, const wt_queue_view *queue, double *answer, wt_text *why)";
        /// Sort keys of all waiting requests, queue->waiting.len of them. Null: key, for each.
        order_queue: Option<unsafe extern "C" fn(State, *const QueueView<'_>, *mut f64, *mut Text) -> i32> =
            "int32_t (*order_queue)(void *state, const wt_queue_view *queue, double *keys, wt_text *why)";
        /// Something happened on this instance (only if asked for).
        on_event: OnEvent = "int32_t (*on_event)(void *state, const wt_event *event, wt_text *why)";
    }
}

shape! {
    /// Functions of a preemption policy.
    pub struct VictimFns as "wt_victim_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// Required: index into queue->running of the request that loses its KV blocks.
        victim: Option<unsafe extern "C" fn(State, *const QueueView<'_>, *mut u32, *mut Text) -> i32> =
            "int32_t (*victim)(void *state, const wt_queue_view *queue, uint32_t *answer, wt_text *why)";
    }
}

shape! {
    /// Functions of a disaggregation policy. Those that are not required may be null. Since 1.1.
    pub struct DisaggregationFns as "wt_disaggregation_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Required: 1 if an instance that prefills computes the prompt, 0 if the one at index
        /// decode of the cluster's instances does, which was chosen to decode.
        prefills_remotely: Option<unsafe extern "C" fn(State, *const RequestView, u32, *const ClusterView<'_>, *mut u32, *mut Text) -> i32> =
            "int32_t (*prefills_remotely)(void *state, const wt_request_view *request, uint32_t decode, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why)";
        /// Something happened (only if asked for).
        on_event: OnEvent = "int32_t (*on_event)(void *state, const wt_event *event, wt_text *why)";
    }
}

shape! {
    /// Functions of a dispatch policy. Those that are not required may be null. Since 1.1.
    pub struct DispatchFns as "wt_dispatch_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads and listens to, WT_READS_* and WT_HEARS_*. Null: everything. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Required: the index into the gateway's held requests of the one that goes on to the
        /// router; UINT32_MAX: all stay.
        dispatch: Option<unsafe extern "C" fn(State, *const GatewayView<'_>, *const ClusterView<'_>, *mut u32, *mut Text) -> i32> =
            "int32_t (*dispatch)(void *state, const wt_gateway_view *gateway, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why)";
        /// Something happened (only if asked for).
        on_event: OnEvent = "int32_t (*on_event)(void *state, const wt_event *event, wt_text *why)";
    }
}

shape! {
    /// Functions of a policy that scales pools. Those that are not required may be null. Since 1.1.
    pub struct ScaleFns as "wt_scale_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads of single instances, WT_READS_*. Null: everything. Asked once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Required: how many instances the pool should have.
        replicas: Option<unsafe extern "C" fn(State, *const ScaleView, *const ClusterView<'_>, *mut u32, *mut Text) -> i32> =
            "int32_t (*replicas)(void *state, const wt_scale_view *pool, const wt_cluster_view *cluster, uint32_t *answer, wt_text *why)";
    }
}

shape! {
    /// Functions of a batching policy. Those that are not required may be null. Since 1.1.
    pub struct BatchingFns as "wt_batching_fns" {
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// What it reads: WT_READS_WAITING, WT_READS_WORK, WT_READS_STEPS. Null: everything. Asked
        /// once.
        interests: Interests = "uint64_t (*interests)(const void *state)";
        /// Required: the limits of a step. The answer has the engine's own limits when handed over.
        limits: Option<unsafe extern "C" fn(State, *const StepView, *const QueueView<'_>, *mut BatchAnswer, *mut Text) -> i32> =
            "int32_t (*limits)(void *state, const wt_step_view *step, const wt_queue_view *queue, wt_batch_limits *answer, wt_text *why)";
    }
}

shape! {
    /// A parameter of a policy.
    pub struct ParamC as "wt_param" {
        /// Its name.
        name: *const c_char = "const char *name";
        /// What it does; may be null.
        doc: *const c_char = "const char *doc";
        /// Its value when nobody sets it.
        default_value: f64 = "double default_value";
        /// Least value.
        least: f64 = "double least";
        /// Greatest value.
        most: f64 = "double most";
        /// WT_WHOLE, WT_LOG.
        flags: u64 = "uint64_t flags";
    }
}

shape! {
    /// A policy.
    pub struct PolicyC as "wt_policy" {
        /// The hook it fills: WT_ADMISSION, WT_ROUTING, WT_PRIORITY, WT_SCHEDULER, WT_PREEMPTION,
        /// WT_DISAGGREGATION, WT_BATCHING, WT_GATEWAY_DISPATCH or WT_SCALE.
        hook: u32 = "uint32_t hook";
        /// Number of parameters.
        param_count: u32 = "uint32_t param_count";
        /// Its name.
        name: *const c_char = "const char *name";
        /// What it does; may be null.
        doc: *const c_char = "const char *doc";
        /// Its parameters.
        params: *const ParamC = "const wt_param *params";
        /// Its functions: a wt_admission_fns, wt_router_fns, wt_priority_fns, wt_scheduler_fns,
        /// wt_victim_fns, wt_disaggregation_fns, wt_batching_fns, wt_dispatch_fns or wt_scale_fns.
        functions: *const c_void = "const void *functions";
        /// Makes its state. Null: it has none.
        create: Option<unsafe extern "C" fn(*const SetupView<'_>, *mut State, *mut Text) -> i32> =
            "int32_t (*create)(const wt_setup *setup, void **state, wt_text *why)";
        /// Takes its state down. Null: nothing to do.
        destroy: Option<unsafe extern "C" fn(State)> = "void (*destroy)(void *state)";
    }
}

shape! {
    /// A plugin: export one as a constant called windtunnel_plugin.
    pub struct PluginC as "wt_plugin" {
        /// WT_MAGIC.
        magic: u64 = "uint64_t magic";
        /// Bytes of this struct.
        size: u64 = "uint64_t size";
        /// WT_API_MAJOR.
        api_major: u32 = "uint32_t api_major";
        /// WT_API_MINOR.
        api_minor: u32 = "uint32_t api_minor";
        /// Its name.
        name: *const c_char = "const char *name";
        /// Its own version.
        version: *const c_char = "const char *version";
        /// Its policies.
        policies: *const PolicyC = "const wt_policy *policies";
        /// How many.
        policy_count: u32 = "uint32_t policy_count";
        /// sizeof(wt_policy).
        policy_size: u32 = "uint32_t policy_size";
        /// sizeof(wt_param).
        param_size: u32 = "uint32_t param_size";
        /// Always 0.
        reserved: u32 = "uint32_t reserved";
    }
}

/// Flag of a [`ParamC`]: only whole numbers.
pub const WHOLE: u64 = 1;
/// Flag of a [`ParamC`]: to be searched on a logarithmic scale.
pub const LOG: u64 = 2;
