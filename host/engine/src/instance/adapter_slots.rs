//! LoRA adapters that are loaded beside the steps, one at a time, for the request at the head of
//! the queue: as the reference simulator has them.

use crate::adapters::AdapterCosts;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use windtunnel_base::record::AdapterMoves;
use windtunnel_base::request::Sym;

/// A place that an adapter has.
#[derive(Clone, Copy, Debug)]
struct Slot {
    adapter: Sym,
    /// Requests here that were admitted with it and have not left.
    users: u32,
}

/// The places for adapters of an instance.
#[derive(Clone, Debug)]
pub(super) struct AdapterSlots {
    costs: Arc<AdapterCosts>,
    /// Rank and loading time, microseconds.
    known: Arc<FxHashMap<Sym, (u32, i64)>>,
    /// The least recently used first.
    slots: Vec<Slot>,
    /// The one that is being loaded, and until when.
    loading: Option<(Sym, i64)>,
    moves: Vec<AdapterMoves>,
}

impl AdapterSlots {
    /// `known` has the adapters of `costs` by their names.
    pub(super) fn new(costs: Arc<AdapterCosts>, known: Arc<FxHashMap<Sym, (u32, i64)>>) -> Self {
        Self {
            costs,
            known,
            slots: Vec::new(),
            loading: None,
            moves: Vec::new(),
        }
    }

    /// Is it here?
    pub(super) fn has(&self, adapter: Sym) -> bool {
        adapter.is_none() || self.slots.iter().any(|slot| slot.adapter == adapter)
    }

    /// Those that are here.
    pub(super) fn loaded(&self) -> impl Iterator<Item = Sym> {
        self.slots.iter().map(|slot| slot.adapter)
    }

    /// When the one that is being loaded is here.
    pub(super) fn loaded_at(&self) -> Option<i64> {
        self.loading.map(|(_, at)| at)
    }

    /// The request at the head of the queue asks for an adapter at `now`: it starts to be loaded if
    /// no other is, and if there is a place or one that nobody uses.
    pub(super) fn ask(&mut self, adapter: Sym, now: i64) {
        if self.loading.is_some() || self.has(adapter) {
            return;
        }
        if self.slots.len() >= self.costs.capacity as usize {
            let Some(unused) = self.slots.iter().position(|slot| slot.users == 0) else {
                return;
            };
            let evicted = self.slots.remove(unused).adapter;
            self.moves_of(evicted).evictions += 1;
        }
        let load_us = self.known.get(&adapter).map_or(0, |(_, us)| *us);
        self.loading = Some((adapter, now.saturating_add(load_us.max(1))));
    }

    /// The one that was being loaded is here.
    pub(super) fn finish_loading(&mut self) {
        if let Some((adapter, _)) = self.loading.take() {
            self.slots.push(Slot { adapter, users: 0 });
            self.moves_of(adapter).loads += 1;
        }
    }

    /// A request with an adapter is admitted, and not for the second time if it is `new`.
    pub(super) fn admit(&mut self, adapter: Sym, new: bool) {
        if let Some(at) = self.slots.iter().position(|slot| slot.adapter == adapter) {
            let mut slot = self.slots.remove(at);
            slot.users += u32::from(new);
            self.slots.push(slot);
        }
    }

    /// A request that was admitted has left.
    pub(super) fn leave(&mut self, adapter: Sym) {
        let slot = self.slots.iter_mut().find(|slot| slot.adapter == adapter);
        if let Some(slot) = slot {
            slot.users = slot.users.saturating_sub(1);
        }
    }

    /// The factor on the time of a step with these adapters.
    pub(super) fn step_factor(&self, step: &[Sym]) -> f64 {
        let ranks = step.iter().filter_map(|adapter| self.known.get(adapter));
        let (adapters, rank) = ranks.fold((0, 0), |(n, most), (rank, _)| (n + 1, most.max(*rank)));
        self.costs.step_factor(adapters, rank)
    }

    /// Loads and evictions so far.
    pub(super) fn moves(&self) -> &[AdapterMoves] {
        &self.moves
    }

    fn moves_of(&mut self, adapter: Sym) -> &mut AdapterMoves {
        let at = self.moves.iter().position(|moves| moves.adapter == adapter);
        let at = at.unwrap_or_else(|| {
            self.moves.push(AdapterMoves {
                adapter,
                loads: 0,
                evictions: 0,
            });
            self.moves.len() - 1
        });
        &mut self.moves[at]
    }
}
