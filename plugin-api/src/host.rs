//! What a policy can ask the host while it decides, and the surroundings of a decision.

use crate::{InstanceView, List, QueuedView, RunningView};
use std::ffi::c_void;
use std::marker::PhantomData;

/// What can be asked about the LoRA adapter of the request at hand, of every instance. Since 1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum AdapterSignal {
    /// 1 if the adapter is on the GPU, else 0.
    Loaded = 0,
    /// Running requests with this adapter.
    Running = 1,
    /// Waiting requests with this adapter.
    Waiting = 2,
}

impl AdapterSignal {
    /// All of them, by number.
    pub const ALL: [Self; 3] = [Self::Loaded, Self::Running, Self::Waiting];
}

/// What a host answers. Everything is computed when asked for, so that nobody pays for what he
/// doesn't read.
///
/// A policy that calls one of the prefix signals, or the adapter signals, must declare it in its
/// [`Interests`](crate::Interests), else it reads zeros. Estimates use the step-time model of the
/// run and nothing that the asker could not know.
pub trait Services {
    /// Leading prompt blocks that instance `i` holds, by its own cache events, as old as the
    /// cache-signal delay.
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        let _ = i;
        0
    }
    /// Leading prompt blocks that the front end believes instance `i` holds, from its own record of
    /// past dispatches.
    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        let _ = i;
        0
    }
    /// Full KV blocks of the prompt.
    fn prompt_blocks(&self) -> u32 {
        0
    }
    /// The next number of the stream of random numbers keyed by (seed, hook, request).
    fn random(&self) -> u64 {
        0
    }
    /// Time to prefill `tokens` after `cached` tokens on an otherwise idle instance of the first
    /// pool, or, inside an instance, on this one; microseconds.
    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        let _ = (tokens, cached);
        0.0
    }
    /// Duration of a step that prefills `prefill_tokens` and decodes `decodes` requests of
    /// `context` tokens together, microseconds; on an instance of the first pool, or, inside an
    /// instance, on this one.
    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        let _ = (prefill_tokens, decodes, context);
        0.0
    }
    /// Time to first token of a prompt of which `cached` tokens are cached, behind everything that
    /// `instance` shows, microseconds from now.
    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        let _ = (instance, prompt_tokens, cached);
        0.0
    }
    /// As [`est_prefill_us`](Self::est_prefill_us), on an instance of the pool of `instance`.
    /// Since 1.1.
    fn est_prefill_us_on(&self, instance: &InstanceView, tokens: u32, cached: u32) -> f64 {
        let _ = instance;
        self.est_prefill_us(tokens, cached)
    }
    /// As [`est_step_us`](Self::est_step_us), on an instance of the pool of `instance`. Since 1.1.
    fn est_step_us_on(
        &self,
        instance: &InstanceView,
        prefill_tokens: u32,
        decodes: u32,
        context: u64,
    ) -> f64 {
        let _ = instance;
        self.est_step_us(prefill_tokens, decodes, context)
    }
    /// Leading prompt blocks of all instances at once: of each what
    /// [`precise_prefix_blocks`](Self::precise_prefix_blocks) or
    /// [`approximate_prefix_blocks`](Self::approximate_prefix_blocks) says, from position 0 to the
    /// end of `out`. Costs less than to ask for each. Since 1.1.
    fn prefix_blocks(&self, precise: bool, out: &mut [u32]) {
        for (i, blocks) in out.iter_mut().enumerate() {
            *blocks = if precise {
                self.precise_prefix_blocks(i)
            } else {
                self.approximate_prefix_blocks(i)
            };
        }
    }
    /// Positions of the instances whose views may have changed since the moment that `seen` stands
    /// for, each once, to the beginning of `out`; gives their number and makes `seen` stand for
    /// now. A `seen` of 0 stands for the time before the first instance. `scraped_us` does not
    /// count as a change. `None`: any may have changed, because nobody knows, or more than `out`
    /// has room for. Since 1.1.
    fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        let _ = (seen, out);
        None
    }
    /// What `signal` says about the LoRA adapter of the request at hand, of the instances from
    /// position 0 to the end of `out`, as old as their scraped fields; 0 for a request without an
    /// adapter. Since 1.1.
    fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
        let _ = signal;
        out.fill(0);
    }
    /// Time to move the KV cache of `tokens` tokens from an instance of the pool of `instance` to
    /// another one over links that nobody else uses, microseconds; 0 where no KV cache moves.
    /// Since 1.1.
    fn est_transfer_us(&self, instance: &InstanceView, tokens: u32) -> f64 {
        let _ = (instance, tokens);
        0.0
    }
}

/// A host that knows nothing: every prefix misses, every estimate is 0. For tests of policies.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoServices;

impl Services for NoServices {}

/// The host's functions as they cross the boundary to a compiled plugin. Append-only.
#[repr(C)]
#[derive(Clone, Copy, abi_stable::StableAbi)]
#[allow(missing_docs, reason = "each is a method of Services")]
pub struct HostFns {
    /// Bytes of this struct as the host knows it.
    pub size: u64,
    pub precise_prefix_blocks: unsafe extern "C" fn(*const c_void, u32) -> u32,
    pub approximate_prefix_blocks: unsafe extern "C" fn(*const c_void, u32) -> u32,
    pub prompt_blocks: unsafe extern "C" fn(*const c_void) -> u32,
    pub random: unsafe extern "C" fn(*const c_void) -> u64,
    pub est_prefill_us: unsafe extern "C" fn(*const c_void, u32, u32) -> f64,
    pub est_step_us: unsafe extern "C" fn(*const c_void, u32, u32, u64) -> f64,
    pub est_ttft_us: unsafe extern "C" fn(*const c_void, *const InstanceView, u32, u32) -> f64,
    pub est_prefill_us_on:
        unsafe extern "C" fn(*const c_void, *const InstanceView, u32, u32) -> f64,
    pub est_step_us_on:
        unsafe extern "C" fn(*const c_void, *const InstanceView, u32, u32, u64) -> f64,
    pub prefix_blocks: unsafe extern "C" fn(*const c_void, u32, *mut u32, u32),
    pub changed_since: unsafe extern "C" fn(*const c_void, *mut u64, *mut u32, u32) -> u32,
    pub adapter_signal: unsafe extern "C" fn(*const c_void, u32, *mut u32, u32),
    pub est_transfer_us: unsafe extern "C" fn(*const c_void, *const InstanceView, u32) -> f64,
}

/// The host, as long as a call lasts.
#[repr(C)]
#[derive(Clone, Copy, abi_stable::StableAbi)]
pub struct Host<'a> {
    context: *const c_void,
    functions: *const HostFns,
    call: PhantomData<&'a ()>,
}

#[allow(
    unsafe_code,
    reason = "the host's functions are called through C pointers"
)]
mod thunks {
    use super::{AdapterSignal, HostFns, InstanceView, Services};
    use std::ffi::c_void;

    /// SAFETY of all: `context` is the address of a `&dyn Services` that outlives the call;
    /// `Host::new` made it.
    unsafe fn services<'a>(context: *const c_void) -> &'a dyn Services {
        unsafe { *context.cast::<&dyn Services>() }
    }

    unsafe extern "C" fn precise(context: *const c_void, i: u32) -> u32 {
        unsafe { services(context) }.precise_prefix_blocks(i as usize)
    }
    unsafe extern "C" fn approximate(context: *const c_void, i: u32) -> u32 {
        unsafe { services(context) }.approximate_prefix_blocks(i as usize)
    }
    unsafe extern "C" fn prompt_blocks(context: *const c_void) -> u32 {
        unsafe { services(context) }.prompt_blocks()
    }
    unsafe extern "C" fn random(context: *const c_void) -> u64 {
        unsafe { services(context) }.random()
    }
    unsafe extern "C" fn est_prefill_us(context: *const c_void, tokens: u32, cached: u32) -> f64 {
        unsafe { services(context) }.est_prefill_us(tokens, cached)
    }
    unsafe extern "C" fn est_step_us(
        context: *const c_void,
        prefill_tokens: u32,
        decodes: u32,
        context_tokens: u64,
    ) -> f64 {
        unsafe { services(context) }.est_step_us(prefill_tokens, decodes, context_tokens)
    }
    unsafe extern "C" fn est_ttft_us(
        context: *const c_void,
        instance: *const InstanceView,
        prompt_tokens: u32,
        cached: u32,
    ) -> f64 {
        unsafe { services(context).est_ttft_us(&*instance, prompt_tokens, cached) }
    }

    unsafe extern "C" fn est_prefill_us_on(
        context: *const c_void,
        instance: *const InstanceView,
        tokens: u32,
        cached: u32,
    ) -> f64 {
        unsafe { services(context).est_prefill_us_on(&*instance, tokens, cached) }
    }
    unsafe extern "C" fn est_step_us_on(
        context: *const c_void,
        instance: *const InstanceView,
        prefill_tokens: u32,
        decodes: u32,
        context_tokens: u64,
    ) -> f64 {
        unsafe {
            services(context).est_step_us_on(&*instance, prefill_tokens, decodes, context_tokens)
        }
    }

    /// SAFETY: `out` has room for `n` numbers, unless there are none.
    unsafe fn numbers<'a>(out: *mut u32, n: u32) -> &'a mut [u32] {
        if out.is_null() {
            return &mut [];
        }
        unsafe { std::slice::from_raw_parts_mut(out, n as usize) }
    }
    unsafe extern "C" fn prefix_blocks(
        context: *const c_void,
        precise: u32,
        out: *mut u32,
        n: u32,
    ) {
        unsafe { services(context).prefix_blocks(precise != 0, numbers(out, n)) };
    }
    unsafe extern "C" fn changed_since(
        context: *const c_void,
        seen: *mut u64,
        out: *mut u32,
        n: u32,
    ) -> u32 {
        let changed = unsafe { services(context).changed_since(&mut *seen, numbers(out, n)) };
        changed.map_or(u32::MAX, |changed| changed as u32)
    }
    unsafe extern "C" fn adapter_signal(
        context: *const c_void,
        signal: u32,
        out: *mut u32,
        n: u32,
    ) {
        let out = unsafe { numbers(out, n) };
        match AdapterSignal::ALL.get(signal as usize) {
            Some(&signal) => unsafe { services(context) }.adapter_signal(signal, out),
            // One of a later version.
            None => out.fill(0),
        }
    }
    unsafe extern "C" fn est_transfer_us(
        context: *const c_void,
        instance: *const InstanceView,
        tokens: u32,
    ) -> f64 {
        unsafe { services(context).est_transfer_us(&*instance, tokens) }
    }

    pub(super) static FUNCTIONS: HostFns = HostFns {
        size: size_of::<HostFns>() as u64,
        precise_prefix_blocks: precise,
        approximate_prefix_blocks: approximate,
        prompt_blocks,
        random,
        est_prefill_us,
        est_step_us,
        est_ttft_us,
        est_prefill_us_on,
        est_step_us_on,
        prefix_blocks,
        changed_since,
        adapter_signal,
        est_transfer_us,
    };
}

#[allow(
    unsafe_code,
    reason = "the host's functions are called through C pointers"
)]
impl<'a> Host<'a> {
    /// The boundary form of `services`.
    #[must_use]
    pub fn new(services: &'a &'a dyn Services) -> Self {
        Self {
            context: std::ptr::from_ref(services).cast(),
            functions: &raw const thunks::FUNCTIONS,
            call: PhantomData,
        }
    }

    // SAFETY of all: the host made `context` for its own functions, and both outlive 'a.

    /// See [`Services::precise_prefix_blocks`].
    #[must_use]
    pub fn precise_prefix_blocks(&self, i: usize) -> u32 {
        unsafe { ((*self.functions).precise_prefix_blocks)(self.context, i as u32) }
    }
    /// See [`Services::approximate_prefix_blocks`].
    #[must_use]
    pub fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        unsafe { ((*self.functions).approximate_prefix_blocks)(self.context, i as u32) }
    }
    /// See [`Services::prompt_blocks`].
    #[must_use]
    pub fn prompt_blocks(&self) -> u32 {
        unsafe { ((*self.functions).prompt_blocks)(self.context) }
    }
    /// See [`Services::random`].
    #[must_use]
    pub fn random(&self) -> u64 {
        unsafe { ((*self.functions).random)(self.context) }
    }
    /// The next random number as a fraction, 0 to below 1.
    #[must_use]
    pub fn random_fraction(&self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// See [`Services::est_prefill_us`].
    #[must_use]
    pub fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        unsafe { ((*self.functions).est_prefill_us)(self.context, tokens, cached) }
    }
    /// See [`Services::est_step_us`].
    #[must_use]
    pub fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        unsafe { ((*self.functions).est_step_us)(self.context, prefill_tokens, decodes, context) }
    }
    /// See [`Services::est_ttft_us`].
    #[must_use]
    pub fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        unsafe { ((*self.functions).est_ttft_us)(self.context, instance, prompt_tokens, cached) }
    }
    /// See [`Services::est_prefill_us_on`].
    #[must_use]
    pub fn est_prefill_us_on(&self, instance: &InstanceView, tokens: u32, cached: u32) -> f64 {
        unsafe { ((*self.functions).est_prefill_us_on)(self.context, instance, tokens, cached) }
    }
    /// See [`Services::est_step_us_on`].
    #[must_use]
    pub fn est_step_us_on(
        &self,
        instance: &InstanceView,
        prefill_tokens: u32,
        decodes: u32,
        context: u64,
    ) -> f64 {
        unsafe {
            ((*self.functions).est_step_us_on)(
                self.context,
                instance,
                prefill_tokens,
                decodes,
                context,
            )
        }
    }
    /// See [`Services::prefix_blocks`].
    pub fn prefix_blocks(&self, precise: bool, out: &mut [u32]) {
        let n = out.len() as u32;
        unsafe {
            ((*self.functions).prefix_blocks)(self.context, precise.into(), out.as_mut_ptr(), n);
        }
    }
    /// See [`Services::changed_since`].
    pub fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        let n = out.len() as u32;
        let changed =
            unsafe { ((*self.functions).changed_since)(self.context, seen, out.as_mut_ptr(), n) };
        (changed <= n).then_some(changed as usize)
    }
    /// See [`Services::adapter_signal`].
    pub fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
        let n = out.len() as u32;
        unsafe {
            ((*self.functions).adapter_signal)(self.context, signal as u32, out.as_mut_ptr(), n);
        }
    }
    /// See [`Services::est_transfer_us`].
    #[must_use]
    pub fn est_transfer_us(&self, instance: &InstanceView, tokens: u32) -> f64 {
        unsafe { ((*self.functions).est_transfer_us)(self.context, instance, tokens) }
    }
}

impl Host<'static> {
    /// A host that knows nothing; see [`NoServices`].
    #[must_use]
    pub fn none() -> Self {
        const NONE: &dyn Services = &NoServices;
        Self::new(&NONE)
    }
}

/// The cluster at the moment of a decision of the front end.
#[repr(C)]
#[derive(Clone, Copy, abi_stable::StableAbi)]
pub struct ClusterView<'a> {
    /// Now, microseconds.
    pub now_us: i64,
    /// The instances that can serve the request; a router answers with an index into this list.
    pub instances: List<'a, InstanceView>,
    /// What can be asked. Its indices are those of `instances`.
    pub host: Host<'a>,
}

impl<'a> ClusterView<'a> {
    /// A cluster at `now_us` whose host knows nothing. For tests of policies.
    #[must_use]
    pub fn bare(now_us: i64, instances: &'a [InstanceView]) -> Self {
        Self {
            now_us,
            instances: List::new(instances),
            host: Host::none(),
        }
    }
}

/// An instance at the moment of a decision inside it.
#[repr(C)]
#[derive(Clone, Copy, abi_stable::StableAbi)]
pub struct QueueView<'a> {
    /// Now, microseconds.
    pub now_us: i64,
    /// The waiting requests, in queue order; empty unless a scheduler orders the queue. A batching
    /// policy that declared [`Interests::WAITING`](crate::Interests::WAITING) sees the head of it.
    pub waiting: List<'a, QueuedView<'a>>,
    /// The running batch in batch order, oldest admission first; empty unless a victim is chosen,
    /// or a scheduler that declared [`Interests::RUNNING`](crate::Interests::RUNNING) orders the
    /// queue.
    pub running: List<'a, RunningView<'a>>,
    /// What can be asked. There are no prefix signals here.
    pub host: Host<'a>,
    /// Position of the instance in the cluster, from 0.
    pub instance: u32,
    /// Largest batch, requests.
    pub max_batch_size: u32,
    /// Requests in the running batch.
    pub batch_size: u32,
    /// Requests in the wait queue.
    pub queue_depth: u32,
    /// KV blocks not in use.
    pub kv_free_blocks: u32,
    /// KV blocks in all.
    pub kv_total_blocks: u32,
    /// Tokens a KV block holds.
    pub block_size: u32,
    /// Most new tokens per step.
    pub max_step_tokens: u32,
}

impl<'a> QueueView<'a> {
    /// An instance at `now_us` without limits whose host knows nothing. For tests of policies.
    #[must_use]
    pub fn bare(
        now_us: i64,
        waiting: &'a [QueuedView<'a>],
        running: &'a [RunningView<'a>],
    ) -> Self {
        Self {
            now_us,
            waiting: List::new(waiting),
            running: List::new(running),
            host: Host::none(),
            instance: 0,
            max_batch_size: u32::MAX,
            batch_size: running.len() as u32,
            queue_depth: waiting.len() as u32,
            kv_free_blocks: u32::MAX,
            kv_total_blocks: u32::MAX,
            block_size: 16,
            max_step_tokens: u32::MAX,
        }
    }
}

/// What a policy is made with.
pub struct Setup<'a> {
    /// Values of its declared parameters, in order of declaration.
    pub params: &'a [(String, f64)],
    /// Instances in the cluster.
    pub instances: u32,
    /// Most requests the cluster can run at once.
    pub slots: u64,
    /// Number of a tenant, class, session, prefix group or model by name, as views carry it.
    pub symbol: &'a mut dyn FnMut(&str) -> u32,
}

impl Setup<'_> {
    /// Value of the declared parameter `name`.
    ///
    /// # Panics
    /// When the policy did not declare it.
    #[must_use]
    pub fn param(&self, name: &str) -> f64 {
        match self.params.iter().find(|(known, _)| known == name) {
            Some((_, value)) => *value,
            None => panic!("the policy reads parameter \"{name}\" without declaring it"),
        }
    }
}
