//! Clusters of several pools: each has its own limits and step times, and the front end can tell
//! them apart.

use crate::lab::{self, Affine, Arrival, BY_HAND, Script, ask, built_in, fresh, roomy};
use crate::scripts::spec;
use std::sync::Arc;
use windtunnel_base::record::Role;
use windtunnel_base::record::{Decision, RunRecord};
use windtunnel_base::request::Source;
use windtunnel_engine::cluster::{Cluster, ClusterConfig, ClusterError, PoolConfig};
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_policy::{Hook, PolicySpec};

/// 300 us a step, 2 us a prefill token, 20 us a decode.
const SLOW: Affine = Affine {
    base: 300,
    per_prefill_token: 2,
    per_decode: 20,
    ..BY_HAND
};

/// One fast instance with one GPU, numbered 0, and two slow ones with four GPUs and two seats each.
fn cluster() -> ClusterConfig {
    let engine = roomy(EngineRules::BLIS);
    let mut config = fresh(1, engine);
    config.pools[0].name = "fast".into();
    config.pools[0].gpus_per_instance = 1;
    config.pools.push(PoolConfig {
        name: "slow".into(),
        instances: 2,
        engine: EngineConfig {
            max_num_seqs: 2,
            ..engine
        },
        latency: Arc::new(SLOW),
        gpus_per_instance: 4,
        ..config.pools[0].clone()
    });
    config
}

fn run(config: ClusterConfig, policies: &PolicySpec, asks: &[Arrival]) -> RunRecord {
    let mut script = Script::new(asks);
    let (front, hooks) = lab::policies(policies, &config, script.symbols_mut());
    let cluster = Cluster::new(config, front, hooks, &mut script).expect("a cluster");
    lab::run_checked(cluster).expect("the invariants hold").0
}

fn routed_in_turn() -> PolicySpec {
    let mut spec = PolicySpec::default();
    spec.set(Hook::Routing, built_in(Hook::Routing, "round-robin", &[]));
    spec
}

/// (instance, time to first token, end-to-end latency) by request.
fn times(record: &RunRecord) -> Vec<(u32, i64, i64)> {
    let of = |v: Option<i64>| v.expect("it completed");
    let times = record.requests.iter();
    times
        .map(|r| (r.instance.expect("sent"), of(r.ttft_us), of(r.e2e_us)))
        .collect()
}

#[test]
fn a_request_takes_the_step_times_of_the_pool_that_it_is_sent_to() {
    // In turn: the fast instance, the two slow ones, the fast one again. Nobody meets anybody.
    let asks = [0, 10_000, 20_000, 30_000].map(|at| ask(at, 50, 3));
    let record = run(cluster(), &routed_in_turn(), &asks);
    let fast = (100 + 50, 100 + 50 + 2 * (100 + 10));
    let slow = (300 + 2 * 50, 300 + 2 * 50 + 2 * (300 + 20));
    assert_eq!(
        times(&record),
        [
            (0, fast.0, fast.1),
            (1, slow.0, slow.1),
            (2, slow.0, slow.1),
            (0, fast.0, fast.1)
        ]
    );
    let name = |sym| record.symbols.name(sym);
    let pools: Vec<&str> = record.requests.iter().map(|r| name(r.pool)).collect();
    assert_eq!(pools, ["fast", "slow", "slow", "fast"]);
    let pools: Vec<&str> = record.instances.iter().map(|t| name(t.pool)).collect();
    assert_eq!(pools, ["fast", "slow", "slow"]);
    let pools = record.pools.iter();
    let pools: Vec<_> = pools
        .map(|p| (name(p.name), p.instances, p.gpus_per_instance))
        .collect();
    assert_eq!(pools, [("fast", 1, 1), ("slow", 2, 4)]);
}

#[test]
fn each_pool_has_its_own_limits() {
    // Nine at once: all three of the fast instance run together, of the slow ones two.
    let asks = [0; 9].map(|at| ask(at, 10, 2));
    let record = run(cluster(), &routed_in_turn(), &asks);
    let most = |i: u32| {
        let mine = record.requests.iter().filter(|r| r.instance == Some(i));
        let mut first: Vec<i64> = mine.filter_map(|r| r.ttft_us).collect();
        first.sort_unstable();
        first
    };
    assert_eq!(most(0), [130, 130, 130]);
    let (together, alone) = (300 + 2 * 20, 300 + 2 * 10);
    // The third enters when the two have made their second token.
    let third = together + (300 + 2 * 20) + alone;
    assert_eq!(most(1), [together, together, third]);
    assert_eq!(most(2), most(1));
}

/// A script that sends short prompts to the slow pool and long ones to the fast one, by name, and
/// gives what it sees as scores.
const BY_POOL: &str = r#"
local fast = symbol("fast")
return {
    route = function(req, insts)
        for i, inst in insts do
            if (inst.pool == fast) == (req.prompt_tokens > 30) then
                local step = est_step_us(0, 1, 10, inst)
                local prefill = est_prefill_us(10, 0, inst)
                if est_ttft_us(inst, 10) ~= prefill or est_step_us(0, 1, 10) ~= 110 then
                    error("another estimate")
                end
                return i, { inst.gpus, step, prefill }
            end
        end
        error("no such pool")
    end,
}
"#;

#[test]
fn a_script_tells_pools_apart_by_name_and_estimates_with_their_step_times() {
    let mut config = cluster();
    config.front.trace.decisions = true;
    let asks = [ask(0, 10, 1), ask(10_000, 40, 1)];
    let record = run(config, &spec(Hook::Routing, BY_POOL), &asks);
    assert_eq!(record.fault, None);
    let decisions = record.decisions.iter().filter_map(|d| match d {
        Decision::Routing {
            chosen,
            pool,
            scores,
            ..
        } => Some((*chosen, record.symbols.name(*pool), scores.clone())),
        Decision::Admission { .. } => None,
    });
    assert_eq!(
        decisions.collect::<Vec<_>>(),
        [
            (1, "slow", Some(vec![4.0, 320.0, 320.0])),
            (0, "fast", Some(vec![1.0, 110.0, 110.0]))
        ]
    );
}

#[test]
fn a_lone_pool_without_a_name_is_not_named() {
    let record = run(
        fresh(2, roomy(EngineRules::BLIS)),
        &PolicySpec::default(),
        &[ask(0, 10, 2)],
    );
    assert!(!record.names_pools());
    assert!(record.requests.iter().all(|r| r.pool.is_none()));
    assert!(record.instances.iter().all(|t| t.pool.is_none()));
    assert!(run(cluster(), &PolicySpec::default(), &[ask(0, 10, 2)]).names_pools());
}

#[test]
fn clusters_that_cannot_be_simulated_are_refused() {
    let refused = |change: &dyn Fn(&mut ClusterConfig)| {
        let mut config = cluster();
        let mut script = Script::new(&[]);
        let (front, hooks) = lab::policies(&PolicySpec::default(), &config, script.symbols_mut());
        change(&mut config);
        let cluster = Cluster::new(config, front, hooks, &mut script);
        cluster.err().expect("refused")
    };
    let all_decode = |c: &mut ClusterConfig| {
        c.pools.iter_mut().for_each(|pool| pool.role = Role::Decode);
    };
    assert_eq!(
        refused(&all_decode).to_string(),
        "no pool has role prefill or serve; expected instances that prefill and instances that \
         decode"
    );
    assert_eq!(refused(&|c| c.pools.clear()), ClusterError::NoPools);
    assert_eq!(
        refused(&|c| c.pools[1].instances = 0).to_string(),
        "pool \"slow\" has 0 instances; expected at least 1"
    );
    assert_eq!(
        refused(&|c| c.pools[1].name = "fast".into()),
        ClusterError::SameName("fast".into())
    );
    assert_eq!(
        refused(&|c| c.pools[0].name.clear()).to_string(),
        "pool 0 (counted from 0) has no name; expected a name for each of several pools"
    );
    assert_eq!(
        refused(&|c| c.pools[1].engine.block_size = 32).to_string(),
        "pool \"slow\" has KV blocks of 32 tokens, the first pool of 16; \
         expected one block size in all pools"
    );
    assert_eq!(
        refused(&|c| c.pools[1].instances = 3),
        ClusterError::NoHooks(3)
    );
    assert_eq!(
        refused(&|c| c.pools[1].instances = u32::MAX),
        ClusterError::TooManyInstances
    );
}
