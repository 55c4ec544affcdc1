//! Steps that all ranks take together, as vLLM's engines of a mixture-of-experts model do.
//!
//! Each engine goes round its loop by itself: it takes in requests, chooses a step, hands it to its
//! GPUs, waits for the output of an earlier one while it has enough of them under way, and begins
//! anew. An engine with nothing to compute sends its GPUs through a step of one token for nothing,
//! which is under way when the GPUs of all ranks have been given that step. The GPUs begin a step
//! together, and end it together. Every so often, and at first, the engines ask each other whether
//! any of them has requests; if none has, all rest until one comes.

use crate::instance::{Instance, NEVER, OpenStep};
use crate::latency::{LatencyModel, StepAggregates, StepItem};
use std::collections::VecDeque;
use std::sync::Arc;

/// Rounds of the loop after which the engines ask each other for requests: vLLM's default of
/// `dp_sync_interval` (0.32).
const SYNC_EVERY: u64 = 16;

/// Where an engine's loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// All rest.
    Rest,
    /// It chooses a step then, microseconds.
    Choice(i64),
    /// It has enough steps under way: the output of one must come.
    Output,
    /// It found nothing to compute, and goes through a step for nothing when the output of the one
    /// before has come.
    OutputBeforeDummy,
    /// Its GPUs have a step for nothing, those of others not yet.
    Launch,
    /// It asked the others at this time, microseconds, whether there are requests; it had some?
    Others(i64, bool),
}

/// The loop of an engine.
#[derive(Clone, Copy, Debug)]
struct Round {
    at: At,
    /// Rounds that are over, since all began.
    over: u64,
    /// Steps that it gave its GPUs since then.
    given: u64,
    /// Time that its GPUs went through steps for nothing, microseconds.
    idle_us: i64,
}

/// What an engine gives its GPUs.
#[derive(Clone, Copy, Debug)]
struct Given {
    at_us: i64,
    /// `None` = a step for nothing.
    step: Option<OpenStep>,
}

/// What was seen of an instance before something happened on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    choices: u64,
    in_flight: usize,
}

impl Before {
    pub(super) fn of(rank: &Instance) -> Self {
        Self {
            choices: rank.choices().0,
            in_flight: rank.steps_in_flight(),
        }
    }
}

/// The steps of ranks that take them together.
pub(super) struct Passes {
    latency: Arc<dyn LatencyModel>,
    /// Most steps that an engine has under way.
    most: usize,
    /// What a rank without work computes.
    nothing: StepAggregates,
    rounds: Vec<Round>,
    /// Times that all began after a rest.
    waves: u64,
    resting: bool,
    /// Steps that not all ranks have given their GPUs, and the number of the first of them.
    given: VecDeque<Vec<Option<Given>>>,
    first: u64,
    /// Ends of the last step that the GPUs were given, and of the one before, microseconds.
    ends: [i64; 2],
}

impl Passes {
    /// Ranks at rest. Each has at most so many steps under way, and computes so many tokens where
    /// it has nothing to compute.
    pub(super) fn new(
        ranks: usize,
        latency: Arc<dyn LatencyModel>,
        most: usize,
        tokens: u32,
    ) -> Self {
        let round = Round {
            at: At::Rest,
            over: 0,
            given: 0,
            idle_us: 0,
        };
        Self {
            latency,
            most,
            nothing: nothing(tokens),
            rounds: vec![round; ranks],
            waves: 0,
            resting: true,
            given: VecDeque::new(),
            first: 0,
            ends: [0; 2],
        }
    }

    /// The wave and the round that `rank` is at.
    pub(super) fn stamp(&self, rank: usize) -> (u64, u64) {
        (self.waves, self.rounds[rank].over)
    }

    /// Time that the GPUs of `rank` went through steps for nothing, microseconds.
    pub(super) fn idle_us(&self, rank: usize) -> i64 {
        self.rounds[rank].idle_us
    }

    /// Something happened on rank `i` at `now`: goes on from there.
    pub(super) fn happened(&mut self, i: usize, before: Before, ranks: &mut [Instance], now: i64) {
        let (choices, last) = ranks[i].choices();
        let in_flight = ranks[i].steps_in_flight();
        if choices > before.choices {
            match last.filter(|_| in_flight > before.in_flight) {
                Some(step) => {
                    let is_full = in_flight >= self.most;
                    self.rounds[i].at = At::Output;
                    self.give(i, step.chosen_us, Some(step), ranks);
                    if !is_full {
                        self.end_round(i, step.chosen_us, ranks);
                    }
                }
                None if in_flight > 0 => self.rounds[i].at = At::OutputBeforeDummy,
                None => self.give_nothing(i, now, ranks),
            }
        } else if in_flight < before.in_flight {
            match self.rounds[i].at {
                At::Output => self.end_round(i, now, ranks),
                At::OutputBeforeDummy => self.give_nothing(i, now, ranks),
                _ => {}
            }
        }
        if self.resting && ranks[i].has_unfinished() {
            self.begin(now);
        }
        self.plan(ranks);
    }

    /// Tells the ranks when they choose.
    fn plan(&self, ranks: &mut [Instance]) {
        for (rank, round) in ranks.iter_mut().zip(&self.rounds) {
            rank.plan_choice(match round.at {
                At::Choice(at_us) => Some(at_us),
                _ => None,
            });
        }
    }

    /// All begin at `now`.
    fn begin(&mut self, now: i64) {
        self.resting = false;
        self.first = 0;
        for round in &mut self.rounds {
            (round.at, round.over, round.given) = (At::Choice(now), 0, 0);
        }
    }

    fn give_nothing(&mut self, i: usize, now: i64, ranks: &mut [Instance]) {
        self.rounds[i].at = At::Launch;
        self.give(i, now, None, ranks);
    }

    /// Rank `i` gives its GPUs its next step. When all have given theirs the step has its time.
    fn give(&mut self, i: usize, at_us: i64, step: Option<OpenStep>, ranks: &mut [Instance]) {
        let place = (self.rounds[i].given - self.first) as usize;
        self.rounds[i].given += 1;
        while self.given.len() <= place {
            self.given.push_back(vec![None; self.rounds.len()]);
        }
        self.given[place][i] = Some(Given { at_us, step });
        let is_whole = |all: &Vec<Option<Given>>| all.iter().all(Option::is_some);
        if self.given.front().is_some_and(is_whole)
            && let Some(all) = self.given.pop_front()
        {
            self.first += 1;
            let all: Vec<Given> = all.into_iter().flatten().collect();
            self.launch(&all, ranks);
        }
    }

    /// The GPUs of all ranks have a step.
    fn launch(&mut self, all: &[Given], ranks: &mut [Instance]) {
        let work = |given: &Given| given.step.map_or(self.nothing, |step| step.work);
        let work: Vec<StepAggregates> = all.iter().map(work).collect();
        let delay_us = all.iter().filter_map(|g| Some(g.step?.delay_us)).max();
        let given_us = all.iter().map(|given| given.at_us).max().unwrap_or(0);
        // The launching of a step waits for the input of an earlier one.
        let launched_us = given_us.max(self.ends[self.most.min(2) - 1]);
        let start_us = self.ends[0].max(launched_us);
        let us = self.latency.together_us(&work).unwrap_or(1).max(1);
        let us = us.saturating_add(delay_us.unwrap_or(0));
        let end_us = start_us.saturating_add(us);
        self.ends = [end_us, self.ends[0]];
        for (i, given) in all.iter().enumerate() {
            match given.step {
                Some(_) => ranks[i].close_step(start_us, end_us),
                None => self.rounds[i].idle_us += us,
            }
        }
        for (i, given) in all.iter().enumerate() {
            if given.step.is_none() && self.rounds[i].at == At::Launch {
                self.end_round(i, launched_us, ranks);
            }
        }
    }

    /// A round of rank `i` is over at `at_us`.
    fn end_round(&mut self, i: usize, at_us: i64, ranks: &[Instance]) {
        let round = &mut self.rounds[i];
        round.over += 1;
        let over = round.over;
        if over != 1 && !over.is_multiple_of(SYNC_EVERY) {
            round.at = At::Choice(at_us);
            return;
        }
        round.at = At::Others(at_us, ranks[i].has_unfinished());
        let (mut last_us, mut unfinished) = (at_us, false);
        for other in &self.rounds {
            let At::Others(us, has_some) = other.at else {
                return;
            };
            last_us = last_us.max(us);
            unfinished |= has_some;
        }
        if unfinished {
            for round in &mut self.rounds {
                round.at = At::Choice(last_us);
            }
            return;
        }
        self.resting = true;
        self.waves += 1;
        for round in &mut self.rounds {
            round.at = At::Rest;
        }
        // Requests that came after the question begin the next wave.
        if ranks.iter().any(Instance::has_unfinished) {
            self.begin(last_us);
        }
    }

    /// Checks what holds between two events.
    ///
    /// # Errors
    /// A sentence that names what does not hold.
    pub(super) fn check(&self, ranks: &[Instance]) -> Result<(), String> {
        let unfinished = ranks.iter().any(Instance::has_unfinished);
        if self.resting && unfinished {
            return Err("the ranks rest although there is work".into());
        }
        let stuck = |round: &Round| match round.at {
            At::Choice(at_us) => at_us == NEVER,
            _ => true,
        };
        let under_way = ranks.iter().any(|rank| rank.steps_in_flight() > 0);
        if !self.resting && !under_way && self.rounds.iter().all(stuck) {
            return Err("no rank goes on".into());
        }
        Ok(())
    }
}

/// What a step of so many tokens computes that nobody asked for.
fn nothing(tokens: u32) -> StepAggregates {
    let mut step = StepAggregates::default();
    step.add(StepItem {
        new_tokens: tokens,
        ..StepItem::decode(1)
    });
    step
}
