//! The hooks inside an instance: priorities, schedulers and victims that know only the plugin
//! contract, and the built-in priorities.

use crate::lab::{self, Affine, Arrival, BY_HAND, ask, built_in, fresh, roomy};
use crate::plugin::{Always, default_hooks, drive, front, open_door};
use std::sync::{Arc, Mutex};
use windtunnel_engine::instance::{EngineConfig, EngineRules, InstanceHooks};
use windtunnel_plugin_api::{
    KeyRefresh, PolicyError, Priority, QueueOrder, QueueView, QueuedView, RequestView, Route,
    Scheduler, Victim,
};
use windtunnel_policy::{Hook, PolicySpec};

/// Urgency grows with waiting, twenty times as fast for short prompts. Lower is more urgent.
struct Impatience;

impl Impatience {
    fn of(request: &RequestView, now_us: i64) -> f64 {
        let rate = if request.prompt_tokens < 10 {
            20.0
        } else {
            1.0
        };
        -rate * (now_us - request.arrival_us) as f64
    }
}

impl Priority for Impatience {
    fn refresh(&self) -> KeyRefresh {
        KeyRefresh::EachStep
    }
    fn priority(
        &mut self,
        request: &RequestView,
        queue: &QueueView<'_>,
    ) -> Result<f64, PolicyError> {
        Ok(Self::of(request, queue.now_us))
    }
}

/// The same as a sort key of its own, or the priority as the key; anew each step or once.
struct ByImpatience {
    refresh: KeyRefresh,
    by_priority: bool,
}

impl Scheduler for ByImpatience {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(self.refresh)
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(if self.by_priority {
            queued.priority
        } else {
            Impatience::of(queued.request, queue.now_us)
        })
    }
}

/// The built-in policies of one instance.
fn one_of(policies: &PolicySpec) -> InstanceHooks {
    lab::hooks(policies, 1).remove(0)
}

#[test]
fn keys_that_change_with_time_reorder_the_queue() {
    // One at a time. While the first runs (0..110), a long prompt waits from 10 and a short one
    // from 90. At 110 the long one has waited 100 us (key -100), the short one 20 us (key -400):
    // the short one overtakes. By keys of their own arrival, both 0, the long one came first.
    let asks = [ask(0, 10, 1), ask(10, 50, 1), ask(90, 5, 1)];
    let engine = EngineConfig {
        max_num_seqs: 1,
        ..roomy(EngineRules::VLLM)
    };
    let starts = |refresh, by_priority, priority: Box<dyn Priority>| {
        let hooks = InstanceHooks {
            priority,
            scheduler: Box::new(ByImpatience {
                refresh,
                by_priority,
            }),
            ..one_of(&PolicySpec::default())
        };
        let front = front(open_door(), Always(Route::To(0)));
        let record = drive(fresh(1, engine), BY_HAND, front, vec![hooks], &asks);
        [1, 2].map(|k| asks[k].at + record.requests[k].scheduling_delay_us.expect("scheduled"))
    };
    let constant = || -> Box<dyn Priority> {
        let spec = PolicySpec {
            priority: built_in(Hook::Priority, "constant", &[]),
            ..PolicySpec::default()
        };
        one_of(&spec).priority
    };
    let (once, each) = (KeyRefresh::AtEnqueue, KeyRefresh::EachStep);
    assert_eq!(
        starts(once, false, constant()),
        [110, 260],
        "the long one: 110..260"
    );
    assert_eq!(
        starts(each, false, constant()),
        [215, 110],
        "the short one: 110..215"
    );
    // A priority that changes changes the key that is made of it.
    assert_eq!(starts(once, true, Box::new(Impatience)), [215, 110]);
}

/// Orders by impatience, anew as often as `refresh` says, and counts how often it is asked for an
/// order.
struct Counting {
    refresh: KeyRefresh,
    orders: Arc<Mutex<Vec<i64>>>,
}

impl Scheduler for Counting {
    fn order(&self) -> QueueOrder {
        QueueOrder::Keyed(self.refresh)
    }
    fn key(&mut self, queued: &QueuedView<'_>, queue: &QueueView<'_>) -> Result<f64, PolicyError> {
        Ok(Impatience::of(queued.request, queue.now_us))
    }
    fn order_queue(&mut self, queue: &QueueView<'_>, keys: &mut [f64]) -> Result<(), PolicyError> {
        self.orders.lock().expect("no panic").push(queue.now_us);
        assert!(
            queue.batch_size < queue.max_batch_size,
            "nobody could be admitted"
        );
        for (key, queued) in keys.iter_mut().zip(queue.waiting.iter()) {
            *key = Impatience::of(queued.request, queue.now_us);
        }
        Ok(())
    }
}

/// The engine asks for keys as often as the policy says and only when somebody can be admitted, on
/// the fast path as on the plain one.
#[test]
fn keys_are_asked_for_no_more_often_than_the_policy_says() {
    // KV for two or three at once, so that requests wait with places free as well as with the batch
    // full.
    let asks: Vec<Arrival> = (0..80)
        .map(|k: u32| ask(i64::from(k) * 37 % 2_000, 1 + k * 29 % 60, 1 + k * 13 % 90))
        .collect();
    let orders = |refresh, plain, max_num_seqs| {
        let orders = Arc::default();
        let mut hooks = default_hooks(1);
        hooks[0].scheduler = Box::new(Counting {
            refresh,
            orders: Arc::clone(&orders),
        });
        let engine = EngineConfig {
            max_num_seqs,
            total_kv_blocks: 24,
            plain,
            ..roomy(EngineRules::VLLM)
        };
        let front = front(open_door(), Always(Route::To(0)));
        let record = drive(fresh(1, engine), BY_HAND, front, hooks, &asks);
        let steps = record.instances[0].steps;
        let orders = orders.lock().expect("no panic").clone();
        (format!("{:?}", record.requests), orders, steps)
    };
    for max_num_seqs in [1, 4, 30] {
        for refresh in [
            KeyRefresh::AtEnqueue,
            KeyRefresh::EachStep,
            KeyRefresh::Every(1),
            KeyRefresh::Every(1_000),
            KeyRefresh::Every(7_777),
        ] {
            let fast = orders(refresh, false, max_num_seqs);
            assert_eq!(fast, orders(refresh, true, max_num_seqs), "{refresh:?}");
            let (_, orders, steps) = fast;
            match refresh {
                KeyRefresh::AtEnqueue => assert!(orders.is_empty()),
                KeyRefresh::EachStep => {
                    assert!(!orders.is_empty() && (orders.len() as u64) < steps);
                }
                KeyRefresh::Every(us) => {
                    let ticks: Vec<i64> = orders.iter().map(|at| at / us).collect();
                    assert!(ticks.windows(2).all(|w| w[0] < w[1]), "{ticks:?}");
                    assert!(!ticks.is_empty());
                }
            }
        }
    }
}

/// Preempts whoever holds the most blocks, the first among equals, and writes down whom it could
/// choose from.
struct MostBlocks(Arc<Mutex<Vec<Choices>>>);

/// Blocks and computed tokens of those it could choose from.
type Choices = Vec<(u32, u32)>;

impl Victim for MostBlocks {
    fn victim(&mut self, queue: &QueueView<'_>) -> Result<usize, PolicyError> {
        let shown = queue
            .running
            .iter()
            .map(|r| (r.kv_blocks, r.computed_tokens));
        self.0.lock().expect("no panic").push(shown.collect());
        let most = queue.running.iter().map(|r| r.kv_blocks).max();
        let first = queue.running.iter().position(|r| Some(r.kv_blocks) == most);
        Ok(first.unwrap_or(0))
    }
}

#[test]
fn a_victim_policy_chooses_who_is_preempted() {
    // As in the rules' tests both hold two blocks at 706; here the first one goes, and the second
    // takes the recycled block.
    let rules = EngineRules {
        gaps_are_elapsed_time: true,
        ..EngineRules::BLIS
    };
    let engine = EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        ..roomy(rules)
    };
    let choices = Arc::default();
    let mut hooks = default_hooks(1);
    hooks[0].victim = Box::new(MostBlocks(Arc::clone(&choices)));
    let front = front(open_door(), Always(Route::To(0)));
    let asks = [ask(0, 3, 7), ask(0, 3, 7)];
    let record = drive(fresh(1, engine), BY_HAND, front, hooks, &asks);
    let e2e = [0, 1].map(|k| record.requests[k].e2e_us.expect("completed"));
    assert_eq!([0, 1].map(|k| record.requests[k].preemptions), [1, 0]);
    // The first one asked for a block itself, so the step's batch formation stops there: it lasts
    // 100 us and nobody decodes. 806: the first, at the queue's front, finds one free block for its
    // 3 tokens as soon as the second one took its third.
    assert_eq!(choices.lock().expect("no panic").len(), 1);
    let running = &choices.lock().expect("no panic")[0];
    assert_eq!(running[..], [(2, 8), (2, 8)], "blocks, computed tokens");
    // 706..806 empty; 806..919: the second decodes its last token and the first prefills again;
    // then 6 decodes.
    assert_eq!(e2e, [919 + 6 * 110, 919]);
}

/// The order in which requests of mixed classes and ages are served, one at a time, under a
/// priority policy.
fn served(priority: &str, asks: &[Arrival]) -> Vec<u64> {
    let policies = PolicySpec {
        priority: built_in(Hook::Priority, priority, &[]),
        scheduler: built_in(Hook::Scheduler, "priority-fcfs", &[]),
        ..PolicySpec::default()
    };
    let engine = EngineConfig {
        max_num_seqs: 1,
        ..roomy(EngineRules::VLLM)
    };
    // Each takes three seconds, so that all the others wait when the first one is done.
    let slow = Affine {
        base: 3_000_000,
        ..BY_HAND
    };
    let record = lab::run(fresh(1, engine), slow, &policies, asks);
    let mut order: Vec<(i64, u64)> = record
        .requests
        .iter()
        .map(|r| {
            (
                r.arrival_us + r.scheduling_delay_us.expect("scheduled"),
                r.serial,
            )
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, serial)| serial).collect()
}

#[test]
fn slo_based_serves_the_older_and_more_important_first_and_inverted_slo_last() {
    let of = |class, at| Arrival {
        class,
        ..ask(at, 10, 1)
    };
    let asks = [
        of("standard", 0), // runs while the others arrive
        of("batch", 100),
        of("standard", 200_000),
        of("standard", 400_000),
        of("critical", 600_000),
        of("critical", 1_900_000),
        of("batch", 2_000_000),
    ];
    // Steps below the top class (critical 0, standard 1, batch 5), plus one for each second of
    // arrival: 1: 5.0001, 2: 1.2, 3: 1.4, 4: 0.6, 5: 1.9, 6: 7.0.
    assert_eq!(served("slo-based", &asks), [0, 4, 2, 3, 5, 1, 6]);
    assert_eq!(served("inverted-slo", &asks), [0, 6, 1, 5, 3, 2, 4]);
    // The class alone, then arrival.
    assert_eq!(served("slo-class", &asks), [0, 4, 5, 2, 3, 1, 6]);
    assert_eq!(served("constant", &asks), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn the_tokens_of_a_victim_go_to_others_in_the_same_step() {
    // Two tokens a step, four blocks of four tokens, three empty prompts: all get their first token
    // at 100. Then the first two decode in 100..220..340..460 while the third waits. At 460 the
    // first takes the last block; the second needs one too and preempts the first, which is the
    // least important. Its token of the step goes to the third: 460..580 has two decodes.
    let policies = PolicySpec {
        preemption: built_in(Hook::Preemption, "priority", &[]),
        ..PolicySpec::default()
    };
    let engine = EngineConfig {
        total_kv_blocks: 4,
        block_size: 4,
        max_num_batched_tokens: 2,
        rules: EngineRules {
            gaps_are_elapsed_time: true,
            ..EngineRules::BLIS
        },
        ..roomy(EngineRules::BLIS)
    };
    let sheddable = Arrival {
        class: "sheddable",
        ..ask(0, 0, 9)
    };
    let asks = [sheddable, ask(0, 0, 5), ask(0, 0, 2)];
    let record = lab::run(fresh(1, engine), BY_HAND, &policies, &asks);
    assert_eq!(record.requests[0].preemptions, 1);
    let e2e = [1, 2].map(|k| record.requests[k].e2e_us);
    assert_eq!(e2e, [Some(580), Some(580)]);
}
