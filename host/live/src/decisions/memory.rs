//! A host that answers what it answered before.

use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use windtunnel_plugin_api::{AdapterSignal, InstanceView, Services};

/// A host that says again what it said.
pub struct Memory {
    said: RefCell<VecDeque<Value>>,
    /// Must questions come in the order in which they came?
    in_order: bool,
    /// The first question that was another one.
    else_: Cell<Option<String>>,
}

impl Memory {
    /// A host of pairs of question and answer, which is to be asked the same in the same order.
    pub fn in_order(said: &[Value]) -> Self {
        Self::of(said, true)
    }

    /// One that is asked in any order; of equal questions each has its answer once.
    pub fn in_any_order(said: &[Value]) -> Self {
        Self::of(said, false)
    }

    fn of(said: &[Value], in_order: bool) -> Self {
        Self {
            said: RefCell::new(said.iter().cloned().collect()),
            in_order,
            else_: Cell::new(None),
        }
    }

    /// Was there a question to which no answer is known?
    pub fn did_not_know(&self) -> bool {
        let asked = self.else_.take();
        let is = asked.is_some();
        self.else_.set(asked);
        is
    }

    /// The answer to a question, if it is known.
    fn answer(&self, question: &Value) -> Option<Value> {
        let mut said = self.said.borrow_mut();
        let is_known = |pair: &Value| pair.get(0) == Some(question);
        if !self.in_order && question[0] == "changed" && !said.iter().any(is_known) {
            // Who asks for the first time is told that everything may have changed.
            return None;
        }
        let at = match self.in_order {
            true => Some(0),
            false => said.iter().position(is_known),
        };
        let next = at.and_then(|at| said.remove(at));
        drop(said);
        if let Some(Value::Array(pair)) = next
            && let [asked, answer] = &pair[..]
            && asked == question
        {
            return Some(answer.clone());
        }
        let first = self.else_.take().unwrap_or_else(|| question.to_string());
        self.else_.set(Some(first));
        None
    }

    fn number<T: serde::de::DeserializeOwned + Default>(&self, question: Value) -> T {
        let answer = self.answer(&question);
        answer
            .and_then(|answer| serde_json::from_value(answer).ok())
            .unwrap_or_default()
    }

    fn numbers(&self, question: Value, out: &mut [u32]) {
        let answer: Vec<u32> = self.number(question);
        for (k, value) in out.iter_mut().enumerate() {
            *value = answer.get(k).copied().unwrap_or(0);
        }
    }

    /// What was asked else than the log has.
    pub fn difference(&self) -> Option<String> {
        let asked = self.else_.take();
        let unasked = self
            .said
            .borrow()
            .front()
            .map(|next| format!("no more, where the log has {next}"));
        asked.or(unasked)
    }
}

impl Services for Memory {
    fn precise_prefix_blocks(&self, i: usize) -> u32 {
        self.number(json!(["precise", i]))
    }

    fn approximate_prefix_blocks(&self, i: usize) -> u32 {
        self.number(json!(["approximate", i]))
    }

    fn prompt_blocks(&self) -> u32 {
        self.number(json!(["prompt"]))
    }

    fn random(&self) -> u64 {
        self.number(json!(["random"]))
    }

    fn est_prefill_us(&self, tokens: u32, cached: u32) -> f64 {
        self.number(json!(["prefill", tokens, cached]))
    }

    fn est_step_us(&self, prefill_tokens: u32, decodes: u32, context: u64) -> f64 {
        self.number(json!(["step", prefill_tokens, decodes, context]))
    }

    fn est_ttft_us(&self, instance: &InstanceView, prompt_tokens: u32, cached: u32) -> f64 {
        self.number(json!(["ttft", instance.index, prompt_tokens, cached]))
    }

    fn est_prefill_us_on(&self, instance: &InstanceView, tokens: u32, cached: u32) -> f64 {
        self.number(json!(["prefill-on", instance.index, tokens, cached]))
    }

    fn est_step_us_on(
        &self,
        instance: &InstanceView,
        prefill: u32,
        decodes: u32,
        context: u64,
    ) -> f64 {
        self.number(json!([
            "step-on",
            instance.index,
            prefill,
            decodes,
            context
        ]))
    }

    fn prefix_blocks(&self, precise: bool, out: &mut [u32]) {
        self.numbers(json!(["prefix", precise, out.len()]), out);
    }

    fn changed_since(&self, seen: &mut u64, out: &mut [u32]) -> Option<usize> {
        let answer = self.answer(&json!(["changed", *seen, out.len()]))?;
        *seen = answer.get(0).and_then(Value::as_u64)?;
        let which = answer.get(1).and_then(Value::as_array)?;
        for (place, value) in out.iter_mut().zip(which) {
            *place = value.as_u64().and_then(|n| u32::try_from(n).ok())?;
        }
        Some(which.len())
    }

    fn adapter_signal(&self, signal: AdapterSignal, out: &mut [u32]) {
        self.numbers(json!(["adapter", signal as u32, out.len()]), out);
    }

    fn est_transfer_us(&self, instance: &InstanceView, tokens: u32) -> f64 {
        self.number(json!(["transfer", instance.index, tokens]))
    }
}
