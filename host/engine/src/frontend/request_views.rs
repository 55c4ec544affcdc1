//! Requests as policies see them.

use super::predictor::Predictor;
use windtunnel_base::request::{Request, Sym, Symbols, TokenSeq};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_plugin_api::RequestView;

/// Makes views of requests.
pub(crate) struct RequestViews {
    priorities: SloPriorities,
    /// Of `priorities` by class symbol.
    class_priorities: Vec<Option<i32>>,
    predictor: Option<Predictor>,
    /// Of the predictor's errors.
    seed: u64,
}

impl RequestViews {
    pub(crate) fn new(priorities: SloPriorities, predictor: Option<Predictor>, seed: u64) -> Self {
        Self {
            priorities,
            class_priorities: Vec::new(),
            predictor,
            seed,
        }
    }

    /// What policies see of a request.
    pub(crate) fn view(
        &mut self,
        serial: u64,
        request: &Request,
        symbols: &Symbols,
    ) -> RequestView {
        let priorities = &self.priorities;
        let class_priority = cached(&mut self.class_priorities, request.slo_class, || {
            priorities.of(symbols.name(request.slo_class))
        });
        RequestView {
            serial,
            arrival_us: request.arrival_us,
            deadline_us: request.deadline_us,
            slo_ttft_us: request.slo_ttft_us,
            prompt_key: prompt_key(&request.prompt),
            prompt_tokens: request.prompt_tokens(),
            slo_class: request.slo_class.0,
            class_priority: request.priority.unwrap_or(class_priority),
            tenant: request.tenant.0,
            session: request.session.0,
            round: request.round,
            prefix_group: request.prefix_group.0,
            prefix_tokens: request.prefix_tokens,
            model: request.model.0,
            adapter: request.adapter.0,
            client_priority: request.client_priority,
            predicted_output_tokens: match &self.predictor {
                Some(p) => p.predict(self.seed, request, symbols),
                None => 0,
            },
            ..RequestView::default()
        }
    }
}

/// The models that the cluster serves.
pub(super) struct ServedModels {
    names: Vec<String>,
    /// Only the first name counts, and only if the request gives it exactly.
    exact: bool,
    /// By model symbol: is it served?
    served: Vec<Option<bool>>,
}

impl ServedModels {
    pub(super) fn new(names: Vec<String>, exact: bool) -> Self {
        Self {
            names,
            exact,
            served: Vec::new(),
        }
    }

    /// Is `model` served? A request that names none is.
    pub(super) fn serves(&mut self, model: Sym, symbols: &Symbols) -> bool {
        let (names, exact) = (&self.names, self.exact);
        cached(&mut self.served, model, || {
            let tag = symbols.name(model);
            let first = names.first().map_or(String::new(), |n| n.to_lowercase());
            tag.is_empty()
                || if exact {
                    tag == first
                } else {
                    names.iter().any(|n| n.eq_ignore_ascii_case(tag))
                }
        })
    }
}

/// The value of `sym` in a table that is filled on first use.
fn cached<T: Copy>(table: &mut Vec<Option<T>>, sym: Sym, make: impl FnOnce() -> T) -> T {
    let at = sym.0 as usize;
    if table.len() <= at {
        table.resize(at + 1, None);
    }
    *table[at].get_or_insert_with(make)
}

/// The streams are rooted, so the last token stands for the whole prompt. Prompts below two million
/// tokens get keys below 2^53, which scripts can hold exactly.
fn prompt_key(prompt: &TokenSeq) -> u64 {
    let last = prompt.len().checked_sub(1);
    let Some(key) = last.and_then(|last| prompt.token_key(last)) else {
        return u64::MAX;
    };
    let (stream, offset) = (key >> 32, key & 0xffff_ffff);
    if offset < 1 << 21 {
        stream << 21 | offset
    } else {
        1 << 63 | key
    }
}
