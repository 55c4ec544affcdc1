//! Plugins with the plain C interface.
//!
//! All tables are read once, when the plugin is opened, as far as both sides know them: what a
//! table of an older plugin lacks is null.

use super::super::rust::one_each;
use super::super::{Info, Kind, Offer, fit};
use super::hook;
use crate::param::{Hook, Param};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use windtunnel_plugin_api::abi::{RouteAnswer, SetupView, order_of, refresh_of};
use windtunnel_plugin_api::c::{
    AdmissionFns, AdmitC, C_MAGIC, LOG, ParamC, PluginC, PolicyC, PriorityFns, RouterFns,
    SchedulerFns, Text, VictimFns, WHOLE,
};
use windtunnel_plugin_api::{
    Admission, Admit, ClusterView, Event, Interests, KeyRefresh, PolicyError, Priority, QueueOrder,
    QueueView, QueuedView, RequestView, Route, Router, Scheduler, Victim,
};

/// A C plugin: its policies with the functions of each.
pub(in super::super) struct CPlugin(Vec<CPolicy>);

#[derive(Clone, Copy)]
struct CPolicy {
    policy: PolicyC,
    fns: Fns,
}

/// Functions of a policy, by hook. The required ones are there.
#[derive(Clone, Copy)]
enum Fns {
    Admission(AdmissionFns),
    Routing(RouterFns),
    Priority(PriorityFns),
    Scheduler(SchedulerFns),
    Preemption(VictimFns),
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
        speaks: (u32, u32),
    ) -> Result<(Self, Info), String> {
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
            fit(api, speaks)?;
            (prefix::<PluginC>(plugin.cast(), head.size as usize), api)
        };
        let policy_size = stride(plugin.policy_size, "policy", 56)?;
        let count = plugin.policy_count as usize;
        if plugin.policies.is_null() && count > 0 {
            return Err("policies is null".into());
        }
        let mut policies = Vec::new();
        let mut offers = Vec::new();
        for i in 0..count {
            // SAFETY: the plugin says that so many policies of this size are there.
            let policy: PolicyC = unsafe {
                prefix(
                    plugin.policies.cast::<u8>().add(i * policy_size),
                    policy_size,
                )
            };
            // SAFETY: the policy's pointers are to constants of the plugin, as the header says.
            let (name, offer) = unsafe {
                let name = text(policy.name);
                (name.clone(), offer(&policy, name, plugin.param_size)?)
            };
            let fns = unsafe { Fns::read(&policy, offer.hook, &name)? };
            policies.push(CPolicy { policy, fns });
            offers.push(offer);
        }
        // SAFETY: constants of the plugin.
        let (name, version) = unsafe { (text(plugin.name), text(plugin.version)) };
        let info = Info {
            name,
            version,
            api,
            kind: Kind::C,
            policies: offers,
        };
        Ok((Self(policies), info))
    }
}

/// What a policy declares.
///
/// SAFETY: its pointers are as the header says.
unsafe fn offer(policy: &PolicyC, name: String, param_size: u32) -> Result<Offer, String> {
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
                name: unsafe { text(param.name) },
                default: param.default_value,
                least: param.least,
                most: param.most,
                whole: param.flags & WHOLE != 0,
                log: param.flags & LOG != 0,
                doc: unsafe { text(param.doc) },
            });
        }
    }
    Ok(Offer {
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
            })
        }
    }
}

/// Room for the texts of a policy, with the null byte.
const ROOM: usize = 512;

/// The state of a policy, and room for its texts.
struct State {
    state: *mut c_void,
    destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    room: [c_char; ROOM],
}

// SAFETY: the contract: state is used by one thread at a time, though not always by the same.
unsafe impl Send for State {}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the state that `create` made, once.
            unsafe { destroy(self.state) }
        }
    }
}

/// Hands over room for a text.
fn lend(room: &mut [c_char; ROOM]) -> Text {
    room[0] = 0;
    Text {
        data: room.as_mut_ptr(),
        capacity: ROOM as u64,
    }
}

/// What was written into it. The last byte is null whatever was written.
fn read(room: &mut [c_char; ROOM]) -> String {
    room[ROOM - 1] = 0;
    let bytes: Vec<u8> = room
        .iter()
        .map(|&c| c as u8)
        .take_while(|&c| c != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the text of a failure says, or that it says nothing.
fn why(room: &mut [c_char; ROOM], code: i32) -> String {
    match read(room) {
        text if text.is_empty() => format!("it returned {code} without a text"),
        text => text,
    }
}

impl State {
    fn create(policy: &PolicyC, setup: &SetupView<'_>) -> Result<Self, String> {
        let mut made = Self {
            state: std::ptr::null_mut(),
            destroy: None,
            room: [0; ROOM],
        };
        if let Some(create) = policy.create {
            let mut text = lend(&mut made.room);
            // SAFETY: the arguments are as the header says.
            let code = unsafe { create(setup, &raw mut made.state, &raw mut text) };
            if code != 0 {
                return Err(why(&mut made.room, code));
            }
        }
        made.destroy = policy.destroy;
        Ok(made)
    }

    /// Calls a function that can fail.
    fn call(
        &mut self,
        function: impl FnOnce(*mut c_void, *mut Text) -> i32,
    ) -> Result<(), PolicyError> {
        let mut text = lend(&mut self.room);
        match function(self.state, &raw mut text) {
            0 => Ok(()),
            code => Err(PolicyError::new(why(&mut self.room, code))),
        }
    }

    fn on_event(
        &mut self,
        function: Option<unsafe extern "C" fn(*mut c_void, *const Event, *mut Text) -> i32>,
        event: &Event,
    ) -> Result<(), PolicyError> {
        // SAFETY: the arguments are as the header says.
        function.map_or(Ok(()), |f| {
            self.call(|state, text| unsafe { f(state, event, text) })
        })
    }

    fn on_tick(
        &mut self,
        function: Option<
            unsafe extern "C" fn(*mut c_void, *const ClusterView<'_>, *mut Text) -> i32,
        >,
        cluster: &ClusterView<'_>,
    ) -> Result<(), PolicyError> {
        // SAFETY: the arguments are as the header says.
        function.map_or(Ok(()), |f| {
            self.call(|state, text| unsafe { f(state, cluster, text) })
        })
    }

    fn interests(
        &self,
        function: Option<unsafe extern "C" fn(*const c_void) -> u64>,
        otherwise: Interests,
    ) -> Interests {
        // SAFETY: the state is that of this policy.
        function.map_or(otherwise, |f| Interests(unsafe { f(self.state) }))
    }

    fn number(&self, function: Option<unsafe extern "C" fn(*const c_void) -> i64>) -> i64 {
        // SAFETY: the state is that of this policy.
        function.map_or(0, |f| unsafe { f(self.state) })
    }
}

/// The functions of a policy were read for its hook, and the library looks policies up by hook.
const OTHER_HOOK: &str = "the policy fills another hook";

macro_rules! makers {
    ($($name:ident: $variant:ident => $made:ident;)*) => {
        impl CPlugin {
            $(pub(in super::super) fn $name(&self, index: u32, setup: &SetupView<'_>) -> Result<$made, String> {
                match self.0.get(index as usize) {
                    Some(CPolicy { policy, fns: Fns::$variant(fns) }) => {
                        $made::new(*fns, State::create(policy, setup)?)
                    }
                    _ => Err(OTHER_HOOK.into()),
                }
            })*
        }
    };
}

makers! {
    admission: Admission => CAdmission;
    router: Routing => CRouter;
    priority: Priority => CPriority;
    scheduler: Scheduler => CScheduler;
    victim: Preemption => CVictim;
}

// SAFETY of the calls below: functions get their own state, views that live as long as the call,
// and room for an answer.

pub(in super::super) struct CAdmission {
    fns: AdmissionFns,
    state: State,
    interests: Interests,
    tick_us: i64,
}

impl CAdmission {
    fn new(fns: AdmissionFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            tick_us: state.number(fns.tick_us),
            fns,
            state,
        })
    }
}

impl Admission for CAdmission {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn tick_us(&self) -> i64 {
        self.tick_us
    }
    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let mut answer = AdmitC {
            kind: 0,
            reserved: 0,
            delay_us: 0,
        };
        let admit = self.fns.admit.expect("it is required");
        self.state
            .call(|state, text| unsafe { admit(state, request, cluster, &raw mut answer, text) })?;
        match answer.kind {
            0 => Ok(Admit::Admit),
            1 => Ok(Admit::Reject(read(&mut self.state.room))),
            2 => Ok(Admit::Delay(answer.delay_us)),
            kind => Err(PolicyError::new(format!(
                "admit answered kind {kind}; expected WT_ADMIT, WT_REJECT or WT_DELAY"
            ))),
        }
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.state.on_tick(self.fns.on_tick, cluster)
    }
}

pub(in super::super) struct CRouter {
    fns: RouterFns,
    state: State,
    interests: Interests,
    tick_us: i64,
    /// Instances it was shown last.
    shown: usize,
}

impl CRouter {
    fn new(fns: RouterFns, state: State) -> Result<Self, String> {
        Ok(Self {
            interests: state.interests(fns.interests, Interests::ALL),
            tick_us: state.number(fns.tick_us),
            fns,
            state,
            shown: 0,
        })
    }
}

impl Router for CRouter {
    fn interests(&self) -> Interests {
        self.interests
    }
    fn tick_us(&self) -> i64 {
        self.tick_us
    }
    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let mut answer = RouteAnswer::default();
        let route = self.fns.route.expect("it is required");
        self.shown = cluster.instances.len();
        self.state
            .call(|state, text| unsafe { route(state, request, cluster, &raw mut answer, text) })?;
        answer.plain().map_err(PolicyError::new)
    }
    fn scores(&self) -> Option<&[f64]> {
        let scores = self.fns.scores?;
        let mut count = 0;
        let base = unsafe { scores(self.state.state, &raw mut count) };
        if base.is_null() {
            return None;
        }
        // SAFETY: the plugin says that so many numbers are there, until it is called to decide
        // again.
        one_each(
            unsafe { std::slice::from_raw_parts(base, count as usize) },
            self.shown,
        )
    }
    fn reason(&self) -> String {
        let Some(reason) = self.fns.reason else {
            return String::new();
        };
        let mut room = [0; ROOM];
        let mut text = lend(&mut room);
        unsafe { reason(self.state.state, &raw mut text) };
        read(&mut room)
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        self.state.on_tick(self.fns.on_tick, cluster)
    }
}

pub(in super::super) struct CPriority {
    fns: PriorityFns,
    state: State,
    refresh: KeyRefresh,
}

impl CPriority {
    fn new(fns: PriorityFns, state: State) -> Result<Self, String> {
        Ok(Self {
            refresh: refresh_of(state.number(fns.refresh))?,
            fns,
            state,
        })
    }
}

impl Priority for CPriority {
    fn refresh(&self) -> KeyRefresh {
        self.refresh
    }
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        let mut answer = f64::NAN;
        let priority = self.fns.priority.expect("it is required");
        self.state.call(|state, text| unsafe {
            priority(state, request, queue, &raw mut answer, text)
        })?;
        Ok(answer)
    }
}

pub(in super::super) struct CScheduler {
    fns: SchedulerFns,
    state: State,
    order: QueueOrder,
    interests: Interests,
}

impl CScheduler {
    fn new(fns: SchedulerFns, state: State) -> Result<Self, String> {
        let order = order_of(state.number(fns.order))?;
        if order != QueueOrder::Fifo && fns.key.is_none() {
            return Err("it has no function key, and its order is not WT_FIFO".into());
        }
        Ok(Self {
            order,
            interests: state.interests(fns.interests, Interests::NONE),
            fns,
            state,
        })
    }
}

impl Scheduler for CScheduler {
    fn order(&self) -> QueueOrder {
        self.order
    }
    fn interests(&self) -> Interests {
        self.interests
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        let Some(key) = self.fns.key else {
            return Ok(0.0);
        };
        let mut answer = f64::NAN;
        self.state
            .call(|state, text| unsafe { key(state, queued, queue, &raw mut answer, text) })?;
        Ok(answer)
    }
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        if let Some(order) = self.fns.order_queue {
            return self
                .state
                .call(|state, text| unsafe { order(state, queue, keys.as_mut_ptr(), text) });
        }
        for (key, queued) in keys.iter_mut().zip(queue.waiting.iter()) {
            *key = self.key(queued, queue)?;
        }
        Ok(())
    }
    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.state.on_event(self.fns.on_event, event)
    }
}

pub(in super::super) struct CVictim {
    fns: VictimFns,
    state: State,
}

impl CVictim {
    fn new(fns: VictimFns, state: State) -> Result<Self, String> {
        Ok(Self { fns, state })
    }
}

impl Victim for CVictim {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let mut answer = u32::MAX;
        let victim = self.fns.victim.expect("it is required");
        self.state
            .call(|state, text| unsafe { victim(state, queue, &raw mut answer, text) })?;
        Ok(answer as usize)
    }
}
