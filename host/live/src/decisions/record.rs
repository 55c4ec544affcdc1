//! Policies that write down what they are asked.

use super::entry::{Answer, Call, Entry};
use super::fields::Named;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::rc::Rc;
use windtunnel_base::request::Symbols;
use windtunnel_plugin_api::{
    AdapterSignal, Admission, Admit, ClusterView, Event, Host, InstanceView, Interests,
    PolicyError, RequestView, Route, Router, Services,
};

/// Version of the log's layout.
pub const VERSION: u32 = 1;

/// A log that is being written; copies write to the same one.
#[derive(Clone)]
pub struct DecisionLog(Rc<RefCell<Inner>>);

struct Inner {
    out: Box<dyn Write>,
    /// The instances as they were shown last, by number.
    views: BTreeMap<u32, InstanceView>,
    shown: Vec<u32>,
    /// All names, by number; those from `told` on are in no line yet.
    names: Vec<String>,
    told: usize,
    failed: Option<io::Error>,
}

impl DecisionLog {
    /// A log that goes to `out`.
    pub fn new(out: Box<dyn Write>) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            out,
            views: BTreeMap::new(),
            shown: Vec::new(),
            names: Vec::new(),
            told: 0,
            failed: None,
        })))
    }

    /// Writes a line.
    pub fn write(&self, entry: &Entry) {
        self.0.borrow_mut().write(entry);
    }

    /// Other policies begin: names are told again, those that were known before the policies were
    /// made. Who makes them again learns the others from them, as `symbols` did.
    pub fn begin(
        &self,
        symbols: &Symbols,
        known_before: u32,
        entry: impl FnOnce(Vec<String>) -> Entry,
    ) {
        let mut inner = self.0.borrow_mut();
        inner.views.clear();
        inner.shown.clear();
        inner.names.clear();
        inner.learn(symbols);
        inner.told = inner.names.len();
        let before = inner.names[..known_before as usize].to_vec();
        inner.write(&entry(before));
    }

    /// Names that requests to come may have.
    pub fn learn(&self, symbols: &Symbols) {
        self.0.borrow_mut().learn(symbols);
    }

    /// Hands everything to the system.
    ///
    /// # Errors
    /// When a line could not be written.
    pub fn flush(&self) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        let failed = inner.failed.take();
        let flushed = inner.out.flush();
        failed.map_or(flushed, Err)
    }
}

impl Inner {
    fn write(&mut self, entry: &Entry) {
        let written = serde_json::to_string(entry).map_err(io::Error::from);
        let written = written.and_then(|line| writeln!(self.out, "{line}"));
        self.failed = self.failed.take().or(written.err());
    }

    fn learn(&mut self, symbols: &Symbols) {
        let new = self.names.len() as u32..symbols.count();
        let names = new.map(|k| symbols.name(windtunnel_base::request::Sym(k)).to_owned());
        self.names.extend(names);
    }

    fn new_names(&mut self) -> BTreeMap<u32, String> {
        let new = self.names.iter().enumerate().skip(self.told);
        let new = new.map(|(k, name)| (k as u32, name.clone())).collect();
        self.told = self.names.len();
        new
    }

    fn asked(
        &mut self,
        call: Call,
        request: Option<&RequestView>,
        cluster: &ClusterView<'_>,
        host: Vec<Value>,
        answer: Answer,
    ) {
        let now: Vec<u32> = cluster.instances.iter().map(|view| view.index).collect();
        let shown = (now != self.shown).then(|| now.clone());
        self.shown = now;
        let mut changes = BTreeMap::new();
        for view in cluster.instances.iter() {
            let before = self.views.entry(view.index).or_default();
            let fields = view.differences(before);
            *before = *view;
            if !fields.is_empty() {
                changes.insert(view.index, fields);
            }
        }
        let names = self.new_names();
        let request = request.map(|view| view.differences(&RequestView::default()));
        self.write(&Entry::Asked {
            call,
            at_us: cluster.now_us,
            request: request.unwrap_or_default(),
            names,
            shown,
            changes,
            host,
            answer,
        });
    }

    fn told(&mut self, call: Call, event: &Event, answer: Answer) {
        let names = self.new_names();
        let event = event.differences(&Event::default());
        self.write(&Entry::Told {
            call,
            event,
            names,
            answer,
        });
    }
}

/// A host whose answers are written down.
pub(crate) struct Overheard<'a> {
    host: Host<'a>,
    said: RefCell<Vec<Value>>,
}

impl<'a> Overheard<'a> {
    /// Nothing has been asked yet.
    pub(crate) fn new(host: Host<'a>) -> Self {
        Self {
            host,
            said: RefCell::new(Vec::new()),
        }
    }

    /// Pairs of question and answer, in their order.
    pub(crate) fn said(self) -> Vec<Value> {
        self.said.into_inner()
    }
}

impl Overheard<'_> {
    fn note<T>(&self, question: Value, answer: T) -> T
    where
        T: Copy + Into<Value>,
    {
        self.said
            .borrow_mut()
            .push(json!([question, answer.into()]));
        answer
    }

    fn note_all(&self, question: Value, answer: &[u32]) {
        self.said.borrow_mut().push(json!([question, answer]));
    }
}

impl Services for Overheard<'_> {
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        let answer = self.host.precise_prefix_blocks(i);
        self.note(json!(["precise", i]), answer)
    }

    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        let answer = self.host.approximate_prefix_blocks(i);
        self.note(json!(["approximate", i]), answer)
    }

    fn prompt_blocks(&self) -> u32 {
        let answer = self.host.prompt_blocks();
        self.note(json!(["prompt"]), answer)
    }

    fn random(&self) -> u64 {
        let answer = self.host.random();
        self.note(json!(["random"]), answer)
    }

    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        let answer = self.host.est_prefill_us(tokens, cached);
        self.note(json!(["prefill", tokens, cached]), answer)
    }

    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        let answer = self.host.est_step_us(prefill_tokens, decodes, context);
        self.note(json!(["step", prefill_tokens, decodes, context]), answer)
    }

    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        let answer = self.host.est_ttft_us(instance, prompt_tokens, cached);
        self.note(
            json!(["ttft", instance.index, prompt_tokens, cached]),
            answer,
        )
    }

    fn est_prefill_us_on(&self, instance: &InstanceView, tokens: u32, cached: u32) -> f64 {
        let answer = self.host.est_prefill_us_on(instance, tokens, cached);
        self.note(
            json!(["prefill-on", instance.index, tokens, cached]),
            answer,
        )
    }

    fn est_step_us_on(
        &self,
        instance: &InstanceView,
        prefill: u32,
        decodes: u32,
        context: u64,
    ) -> f64 {
        let answer = self
            .host
            .est_step_us_on(instance, prefill, decodes, context);
        self.note(
            json!(["step-on", instance.index, prefill, decodes, context]),
            answer,
        )
    }

    fn prefix_blocks(&self, precise: bool, out: &mut [u32]) {
        self.host.prefix_blocks(precise, out);
        self.note_all(json!(["prefix", precise, out.len()]), out);
    }

    fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        let before = *seen;
        let changed = self.host.changed_since(seen, out);
        let which = changed.map(|n| &out[..n]);
        let question = json!(["changed", before, out.len()]);
        self.said
            .borrow_mut()
            .push(json!([question, [json!(*seen), json!(which)]]));
        changed
    }

    fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
        self.host.adapter_signal(signal, out);
        self.note_all(json!(["adapter", signal as u32, out.len()]), out);
    }

    fn est_transfer_us(&self, instance: &InstanceView, tokens: u32) -> f64 {
        let answer = self.host.est_transfer_us(instance, tokens);
        self.note(json!(["transfer", instance.index, tokens]), answer)
    }
}

/// A policy that is overheard.
pub struct Recorded<P: ?Sized> {
    log: DecisionLog,
    policy: Box<P>,
}

impl<P: ?Sized> Recorded<P> {
    /// The same policy, which is overheard.
    pub fn new(policy: Box<P>, log: DecisionLog) -> Self {
        Self { log, policy }
    }

    fn overhear<T>(
        &mut self,
        call: Call,
        request: Option<&RequestView>,
        cluster: &ClusterView<'_>,
        ask: impl FnOnce(&mut P, &ClusterView<'_>) -> Result<T, PolicyError>,
        answered: impl FnOnce(&Result<T, PolicyError>) -> Answer,
    ) -> Result<T, PolicyError> {
        let overheard = Overheard::new(cluster.host);
        let services: &dyn Services = &overheard;
        let heard = ClusterView {
            host: Host::new(&services),
            ..*cluster
        };
        let answer = ask(&mut self.policy, &heard);
        let said = overheard.said();
        let mut inner = self.log.0.borrow_mut();
        inner.asked(call, request, cluster, said, answered(&answer));
        answer
    }

    fn tell(
        &mut self,
        call: Call,
        event: &Event,
        tell: impl FnOnce(&mut P) -> Result<(), PolicyError>,
    ) -> Result<(), PolicyError> {
        let told = tell(&mut self.policy);
        let mut inner = self.log.0.borrow_mut();
        inner.told(call, event, Answer::of_told(&told));
        told
    }
}

impl Admission for Recorded<dyn Admission> {
    fn interests(&self) -> Interests {
        self.policy.interests()
    }

    fn tick_us(&self) -> i64 {
        self.policy.tick_us()
    }

    fn admit(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Admit, PolicyError> {
        let ask = |policy: &mut (dyn Admission + 'static), cluster: &ClusterView<'_>| {
            policy.admit(request, cluster)
        };
        self.overhear(
            Call::Admit,
            Some(request),
            cluster,
            ask,
            Answer::of_admission,
        )
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.tell(Call::TellAdmission, event, |policy| policy.on_event(event))
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        let ask = |policy: &mut (dyn Admission + 'static), cluster: &ClusterView<'_>| {
            policy.on_tick(cluster)
        };
        self.overhear(Call::TickAdmission, None, cluster, ask, Answer::of_told)
    }
}

impl Router for Recorded<dyn Router> {
    fn interests(&self) -> Interests {
        self.policy.interests()
    }

    fn tick_us(&self) -> i64 {
        self.policy.tick_us()
    }

    fn route(
        &mut self,
        request: &RequestView,
        cluster: &ClusterView<'_>,
    ) -> Result<Route, PolicyError> {
        let ask = |policy: &mut (dyn Router + 'static), cluster: &ClusterView<'_>| {
            policy.route(request, cluster)
        };
        self.overhear(Call::Route, Some(request), cluster, ask, Answer::of_router)
    }

    fn scores(&self) -> Option<&[f64]> {
        self.policy.scores()
    }

    fn reason(&self) -> String {
        self.policy.reason()
    }

    fn on_event(&mut self, event: &Event) -> Result<(), PolicyError> {
        self.tell(Call::TellRouter, event, |policy| policy.on_event(event))
    }

    fn on_tick(&mut self, cluster: &ClusterView<'_>) -> Result<(), PolicyError> {
        let ask = |policy: &mut (dyn Router + 'static), cluster: &ClusterView<'_>| {
            policy.on_tick(cluster)
        };
        self.overhear(Call::TickRouter, None, cluster, ask, Answer::of_told)
    }
}
