//! Requests that one instance prefills and another decodes, by hand.

use crate::filled::{file, scripted};
use crate::lab::{self, Arrival, Script, ask, built_in, fresh, roomy};
use crate::scripts::spec;
use crate::support::windtunnel;
use serde_json::Value;
use windtunnel_base::record::{Outcome, Role, RoutingStage, RunRecord};
use windtunnel_base::request::Source;
use windtunnel_engine::cluster::{Cluster, ClusterConfig, PoolConfig, TransferConfig};
use windtunnel_engine::instance::EngineRules;
use windtunnel_policy::registry::built_ins;
use windtunnel_policy::{Hook, PolicySpec};

/// vLLM's rules without choosing ahead: easy to add up by hand.
pub(crate) const IN_TURN: EngineRules = EngineRules {
    async_scheduling: false,
    ..EngineRules::VLLM
};

/// Instances that prefill and instances that decode; a token of KV cache takes a microsecond to
/// move, and every transfer 50 more.
pub(crate) fn cluster(prefill: u32, decode: u32, rules: EngineRules) -> ClusterConfig {
    let mut config = fresh(prefill, roomy(rules));
    config.pools[0].name = "prefill".into();
    config.pools[0].role = Role::Prefill;
    config.pools[0].kv_bytes_per_token = 1_000.0;
    config.pools.push(PoolConfig {
        name: "decode".into(),
        role: Role::Decode,
        instances: decode,
        ..config.pools[0].clone()
    });
    config.transfer = TransferConfig {
        bandwidth_gb_s: 1.0,
        base_latency_us: 50.0,
        contention: true,
        ..TransferConfig::default()
    };
    config
}

fn run(config: ClusterConfig, policies: &PolicySpec, asks: &[Arrival]) -> RunRecord {
    let mut script = Script::new(asks);
    let (front, hooks) = lab::policies(policies, &config, script.symbols_mut());
    let cluster = Cluster::new(config, front, hooks, &mut script).expect("a cluster");
    let record = lab::run_checked(cluster).expect("the invariants hold").0;
    assert_eq!(record.fault, None);
    record
}

/// In turn, each stage by itself.
pub(crate) fn in_turn() -> PolicySpec {
    let round_robin = || Some(built_in(Hook::Routing, "round-robin", &[]));
    PolicySpec {
        prefill_routing: round_robin(),
        decode_routing: round_robin(),
        ..PolicySpec::default()
    }
}

/// Prefill end, transfer start and end, first token and end of every request.
fn times(record: &RunRecord) -> Vec<[i64; 5]> {
    let of = |v: Option<i64>| v.expect("it came to that");
    let times = record.requests.iter().map(|r| {
        let split = r.split.as_ref().expect("it was split");
        [
            of(split.prefill_end_us),
            of(split.transfer_start_us),
            of(split.transfer_end_us),
            r.arrival_us + of(r.ttft_us),
            r.arrival_us + of(r.e2e_us),
        ]
    });
    times.collect()
}

#[test]
fn a_kv_cache_moves_when_the_prefill_step_has_ended() {
    let record = run(cluster(1, 1, IN_TURN), &in_turn(), &[ask(0, 50, 3)]);
    // 150 us of prefill; 50 tokens and 50 us on the way; the last prompt token is computed again.
    let first = 150 + 100 + 101;
    assert_eq!(times(&record), [[150, 150, 250, first, first + 2 * 110]]);
    let r = &record.requests[0];
    assert_eq!((r.instance, r.scheduling_delay_us), (Some(1), Some(0)));
    assert_eq!(r.itl_sum_us, 220);
    let done = |i: usize| (record.instances[i].prefills, record.instances[i].completed);
    assert_eq!((done(0), done(1)), ((1, 0), (0, 1)));
}

#[test]
fn under_the_references_rules_it_is_sent_when_the_prefill_step_starts() {
    let record = run(
        cluster(1, 1, EngineRules::BLIS),
        &in_turn(),
        &[ask(0, 50, 3)],
    );
    // Whole blocks move: 64 tokens. The first step generates the second token.
    assert_eq!(times(&record), [[0, 0, 114, 224, 334]]);
    assert_eq!(record.sub_requests.len(), 2);
}

#[test]
fn transfers_at_once_share_the_link_of_their_instance() {
    // Two prompts in one step of 200 us; their KV caches leave together.
    let asks = [ask(0, 50, 1), ask(0, 50, 1)];
    let shared = run(cluster(1, 2, IN_TURN), &in_turn(), &asks);
    let ends =
        |record: &RunRecord| -> Vec<i64> { times(record).iter().map(|t| t[2] - t[1]).collect() };
    assert_eq!(ends(&shared), [150, 150]);
    let mut config = cluster(1, 2, IN_TURN);
    config.transfer.contention = false;
    assert_eq!(ends(&run(config, &in_turn(), &asks)), [100, 100]);
    let totals = shared.transfers.expect("there were some");
    assert_eq!((totals.started, totals.peak, totals.dropped), (2, 2, 0));
}

#[test]
fn a_decoding_instance_without_blocks_holds_the_transfer() {
    let mut config = cluster(1, 1, IN_TURN);
    config.pools[1].engine.total_kv_blocks = 7;
    let asks = [ask(0, 50, 9), ask(0, 50, 9)];
    let record = run(config, &in_turn(), &asks);
    let times = times(&record);
    assert_eq!(times[0][1], 200);
    // The first one's blocks come free when it ends.
    assert_eq!(times[1][1], times[0][4]);
    assert!(
        record
            .requests
            .iter()
            .all(|r| r.outcome == Outcome::Completed)
    );
    // Both prompts stay at the sender until they have moved.
    assert_eq!(record.instances[0].kv_peak_blocks, 8);
    assert_eq!(record.transfers.map(|t| t.dropped), Some(0));
}

#[test]
fn under_the_references_rules_such_a_request_is_lost() {
    let mut config = cluster(1, 1, EngineRules::BLIS);
    config.pools[1].engine.total_kv_blocks = 7;
    let record = run(config, &in_turn(), &[ask(0, 50, 9), ask(0, 50, 9)]);
    let outcomes: Vec<Outcome> = record.requests.iter().map(|r| r.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed, Outcome::Dropped]);
    assert_eq!(record.transfers.map(|t| t.dropped), Some(1));
}

#[test]
fn only_what_the_decoding_instance_lacks_moves() {
    // The second prompt begins with the 64 tokens of the first.
    let shared = |at, output| Arrival {
        prefix: (1, 64),
        ..ask(at, 20, output)
    };
    let asks = [shared(0, 2), shared(10_000, 2)];
    let record = run(cluster(1, 1, IN_TURN), &in_turn(), &asks);
    let moved: Vec<i64> = times(&record).iter().map(|t| t[2] - t[1] - 50).collect();
    assert_eq!(moved, [84, 20]);
}

#[test]
fn the_decider_sends_long_prompts_only() {
    let mut policies = in_turn();
    let long = built_in(
        Hook::Disaggregation,
        "prefix-threshold",
        &[("tokens", 40.0)],
    );
    policies.set(Hook::Disaggregation, long);
    let asks = [ask(0, 40, 2), ask(10_000, 41, 2)];
    let record = run(cluster(1, 1, IN_TURN), &policies, &asks);
    let split: Vec<bool> = record.requests.iter().map(|r| r.split.is_some()).collect();
    assert_eq!(split, [false, true]);
    assert!(record.requests.iter().all(|r| r.instance == Some(1)));
}

#[test]
fn a_script_decides_and_sees_the_instance_that_decodes() {
    let script = "return { disaggregate = function(req, inst, cluster)
        -- First those that decode, then the other that prefills, by their numbers in the cluster.
        local numbers, roles = {}, {}
        for i, one in ipairs(cluster.instances) do numbers[i], roles[i] = one.index, one.role end
        assert(table.concat(numbers, ' ') == '2 3 1' and table.concat(roles, ' ') == '2 2 1')
        assert(table.find(cluster.instances, inst) == inst.index - 1)
        assert(est_transfer_us(cluster.instances[3], 30) == 80)
        return inst.index == 2
    end }";
    let mut policies = in_turn();
    policies.disaggregation = spec(Hook::Disaggregation, script).disaggregation;
    let asks: Vec<Arrival> = (0..4).map(|k| ask(1_000 * k, 30, 2)).collect();
    let record = run(cluster(1, 2, IN_TURN), &policies, &asks);
    let split: Vec<bool> = record.requests.iter().map(|r| r.split.is_some()).collect();
    assert_eq!(split, [true, false, true, false]);
}

/// Which requests were prefilled by another instance.
fn remote(record: &RunRecord) -> Vec<bool> {
    record.requests.iter().map(|r| r.split.is_some()).collect()
}

#[test]
fn least_ttft_compares_what_is_ahead_and_the_way_of_the_kv_cache() {
    let mut policies = in_turn();
    let asks: Vec<Arrival> = (0..6).map(|_| ask(0, 400, 2)).collect();
    let decide = |margin_ms: f64, policies: &mut PolicySpec| {
        let margin = [("margin_ms", margin_ms)];
        let least = built_in(Hook::Disaggregation, "least-ttft", &margin);
        policies.set(Hook::Disaggregation, least);
        remote(&run(cluster(1, 1, IN_TURN), policies, &asks))
    };
    // Here: a step of 100 us and 400 us for each prompt up to this one. Elsewhere as well, then
    // 450 us for the KV cache and 101 for the last token. Equal times stay.
    assert_eq!(
        decide(0.0, &mut policies),
        [false, false, true, false, true, false]
    );
    assert_eq!(decide(10.0, &mut policies), [false; 6]);
    assert_eq!(decide(-10.0, &mut policies), [true; 6]);
}

#[test]
fn least_ttft_knows_what_it_sent_since_the_last_scrape() {
    let mut config = cluster(1, 1, IN_TURN);
    config.front.snapshot_refresh_us = 1_000_000;
    let mut policies = in_turn();
    let least = built_in(Hook::Disaggregation, "least-ttft", &[]);
    policies.set(Hook::Disaggregation, least);
    // The scrape at 1,000,000 us shows idle instances; the ones that follow are not seen by it.
    let asks: Vec<Arrival> = (0..6).map(|k| ask(1_000_000 + k, 400, 2)).collect();
    let decided = remote(&run(config, &policies, &asks));
    // The first one was sent when the scrape was made.
    assert_eq!(decided, [false, false, false, true, false, true]);
}

#[test]
fn drift_plus_penalty_weighs_backlogs_transfers_and_what_was_late() {
    let decide = |params: &[(&str, f64)], asks: &[Arrival]| {
        let mut policies = in_turn();
        let edpp = built_in(Hook::Disaggregation, "edpp", params);
        policies.set(Hook::Disaggregation, edpp);
        let decided = remote(&run(cluster(1, 1, IN_TURN), &policies, asks));
        decided.into_iter().filter(|remote| *remote).count()
    };
    let at_once: Vec<Arrival> = (0..12).map(|_| ask(0, 400, 2)).collect();
    let apart: Vec<Arrival> = (0..12).map(|k| ask(20_000 * k, 400, 2)).collect();
    // Where nothing is ahead, there is nothing to gain for the price of a transfer.
    assert_eq!(decide(&[("v", 1.0)], &apart), 0);
    // Queues are levelled: about as much on each.
    let levelled = decide(&[("v", 0.0), ("ttft_ms", 1.0)], &at_once);
    assert!((4..=8).contains(&levelled), "{levelled}");
    assert_eq!(decide(&[("v", 1000.0), ("ttft_ms", 1.0)], &at_once), 0);
    // Gaps between tokens that are too long drive prompts away from the decodes.
    let busy: Vec<Arrival> = (0..12).map(|k| ask(2_000 * k, 400, 60)).collect();
    let strict = [("v", 1.0), ("ttft_ms", 1.0), ("itl_ms", 0.001)];
    let lax = [("v", 1.0), ("ttft_ms", 1.0), ("itl_ms", 1000.0)];
    assert!(decide(&strict, &busy) > decide(&lax, &busy));
}

#[test]
fn a_ledger_of_a_stage_is_kept_by_the_numbers_of_its_instances() {
    let by_file = |hook| {
        let files = [file(Hook::Routing, "least-tokens", &[])];
        let routing = scripted(&PolicySpec::default(), &files).routing;
        let mut policies = in_turn();
        match hook {
            RoutingStage::Prefill => policies.prefill_routing = Some(routing),
            _ => policies.decode_routing = Some(routing),
        }
        policies
    };
    let asks: Vec<Arrival> = (0..6).map(|k| ask(k, 50, 40)).collect();
    let decoders = |policies: &PolicySpec| -> Vec<Option<u32>> {
        let record = run(cluster(1, 3, IN_TURN), policies, &asks);
        record.requests.iter().map(|r| r.instance).collect()
    };
    let prefillers = |policies: &PolicySpec| -> Vec<Option<u32>> {
        let record = run(cluster(3, 1, IN_TURN), policies, &asks);
        let splits = record.requests.iter().filter_map(|r| r.split.as_ref());
        splits.map(|split| split.prefill_instance).collect()
    };
    let in_turn =
        |first: u32| -> Vec<Option<u32>> { (0..6).map(|k| Some(first + k % 3)).collect() };
    assert_eq!(prefillers(&by_file(RoutingStage::Prefill)), in_turn(0));
    // Of a KV cache that moves, a decoding instance is told when the prefill has ended.
    let decoded = decoders(&by_file(RoutingStage::Decode));
    assert!(decoded.contains(&Some(1)), "{decoded:?}");
}

#[test]
fn routers_see_kv_caches_on_their_way_and_kept() {
    let script = "local most = { 0, 0, 0 }
    return {
        score = function(req, inst)
            most[1] = math.max(most[1], inst.incoming_kv_caches)
            most[2] = math.max(most[2], inst.kept_kv_caches)
            most[3] = math.max(most[3], inst.kept_kv_blocks)
            if req.serial == 3 then
                error(table.concat(most, ' '))
            end
            return 0
        end,
    }";
    let seen = |stage| {
        let routing = spec(Hook::Routing, script).routing;
        let mut policies = in_turn();
        match stage {
            RoutingStage::Prefill => policies.prefill_routing = Some(routing),
            _ => policies.decode_routing = Some(routing),
        }
        // At 160 us the first KV cache moves; at 250 us the one of the second prompt is kept.
        let mut config = cluster(1, 1, IN_TURN);
        config.pools[1].engine.total_kv_blocks = 5;
        let asks = [
            ask(0, 50, 9),
            ask(1, 50, 9),
            ask(200, 20, 2),
            ask(460, 20, 2),
        ];
        let mut script = Script::new(&asks);
        let (front, hooks) = lab::policies(&policies, &config, script.symbols_mut());
        let cluster = Cluster::new(config, front, hooks, &mut script).expect("a cluster");
        let record = lab::run_checked(cluster).expect("the invariants hold").0;
        record.fault.expect("it ends so").to_string()
    };
    let decode = seen(RoutingStage::Decode);
    assert!(decode.contains(": 1 0 0"), "{decode}");
    let prefill = seen(RoutingStage::Prefill);
    assert!(prefill.contains(": 0 2 8"), "{prefill}");
}

#[test]
fn each_stage_is_routed_among_its_own_instances() {
    let asks: Vec<Arrival> = (0..6).map(|k| ask(1_000 * k, 30, 2)).collect();
    let record = run(cluster(2, 3, IN_TURN), &in_turn(), &asks);
    let way = record.requests.iter().map(|r| {
        let split = r.split.as_ref().expect("it was split");
        (split.prefill_instance, r.instance)
    });
    let expected = (0..6).map(|k| (Some(k % 2), Some(2 + k % 3)));
    assert!(way.eq(expected));
}

#[test]
fn a_client_that_gives_up_leaves_nothing_behind() {
    // While its prompt is computed, while its KV cache moves, while it decodes.
    for timeout in [100, 200, 400] {
        let gone = Arrival {
            timeout,
            ..ask(0, 50, 20)
        };
        let record = run(cluster(1, 1, IN_TURN), &in_turn(), &[gone, ask(20, 50, 3)]);
        let outcomes: Vec<Outcome> = record.requests.iter().map(|r| r.outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::TimedOut, Outcome::Completed],
            "{timeout}"
        );
        let timed_out: u64 = record.instances.iter().map(|t| t.timed_out).sum();
        assert_eq!(timed_out, 1);
    }
}

#[test]
fn the_command_moves_kv_caches_at_the_speed_of_the_link() {
    let run = |more: &[&str]| {
        let mut argv = vec![
            "run",
            "--model",
            "llama-3.1-8b-instruct",
            "--hardware",
            "H100",
            "--tp",
            "1",
            "--rules",
            "vllm",
            "--prefill-instances",
            "1",
            "--decode-instances",
            "2",
            "--num-requests",
            "20",
            "--prompt-tokens",
            "2000",
            "--prompt-tokens-stdev",
            "0",
            "--rate",
            "2",
            "--json",
        ];
        argv.extend(more);
        let ran = windtunnel(argv.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        serde_json::from_str::<Value>(&ran.stdout).expect("JSON")
    };
    // 2,000 tokens of 131,072 bytes at 25 GB/s, and 50 us.
    let moved = run(&[]);
    let mean = moved["disaggregation"]["transfer_ms"]["mean"].as_f64();
    let expected = 2_000.0 * 131_072.0 / 25e6 + 0.05;
    assert!(
        (mean.expect("a figure") - expected).abs() < 0.002,
        "{mean:?}"
    );
    assert_eq!(moved["disaggregation"]["moved_requests"], 20);
    assert_eq!(moved["pools"]["prefill"]["role"], "prefill");
    let never = run(&["--pd-decider", "never"]);
    assert_eq!(never["disaggregation"]["moved_requests"], 0);
    assert_eq!(never["disaggregation"]["transfer_ms"]["mean"], Value::Null);
}

#[test]
fn built_in_deciders_decide_as_their_files_do() {
    let run = |decider: &str| {
        let line = format!(
            "replay --trace-header docs/examples/chat.yaml --trace-data docs/examples/chat.csv \
             --model llama-3.1-8b-instruct --rules vllm --prefill-instances 1 \
             --decode-instances 2 --pd-decider {decider} --json"
        );
        let ran = windtunnel(line.split_whitespace());
        assert_eq!(ran.code, 0, "{decider}: {}", ran.stderr);
        let result: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        (
            result["latency_ms"].clone(),
            result["disaggregation"].clone(),
        )
    };
    let all = built_ins(Hook::Disaggregation).iter();
    let all: Vec<_> = all
        .map(|policy| {
            let name = policy.name;
            let built_in = run(name);
            assert_eq!(
                run(&format!("policies/disaggregation/{name}.lua")),
                built_in,
                "{name}"
            );
            built_in
        })
        .collect();
    // They do not all decide the same.
    let different = (0..all.len()).all(|k| all[..k].iter().all(|other| *other != all[k]));
    assert!(all.len() == 5 && different);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |more: &[&str]| {
        let mut argv = vec!["run", "--model", "llama-3.1-8b-instruct"];
        argv.extend(more);
        let ran = windtunnel(argv.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(ran.code, 2, "{more:?} {}", ran.stderr);
        ran.stderr
    };
    for (flags, said) in [
        (
            &["--prefill-instances", "1"][..],
            "--prefill-instances and --decode-instances must both be at least 1",
        ),
        (
            &[
                "--prefill-instances",
                "2",
                "--decode-instances",
                "2",
                "--num-instances",
                "3",
            ],
            "--num-instances is 3, less than the 4",
        ),
        (&["--pd-decider", "always"], "--pd-decider has no effect"),
        (
            &[
                "--prefill-instances",
                "1",
                "--decode-instances",
                "1",
                "--pd-decider",
                "allways",
            ],
            "did you mean \"always\"",
        ),
        (
            &[
                "--prefill-instances",
                "1",
                "--decode-instances",
                "1",
                "--pd-prefix-threshold",
                "9",
            ],
            "--pd-prefix-threshold has no effect without --pd-decider prefix-threshold",
        ),
        (
            &[
                "--prefill-instances",
                "1",
                "--decode-instances",
                "1",
                "--pd-transfer-bandwidth",
                "-1",
            ],
            "--pd-transfer-bandwidth must be at least 0",
        ),
    ] {
        let stderr = refused(flags);
        assert!(stderr.contains(said), "{flags:?}: {stderr}");
    }
}
