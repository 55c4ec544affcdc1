//! A score means what it says: runs that repeat, targets that are told, fuel that is shown, and
//! seeds that nobody knows.

use super::harness::{Scoring, innocent, score_of};
use serde_json::Value;
use std::path::PathBuf;
use windtunnel_score::scenario::Scenario;
use windtunnel_score::{Split, Suite};

impl Scoring {
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.cache.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn change_suite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.suite()).expect("the suite");
        assert!(text.contains(from), "{from}");
        std::fs::write(self.suite(), text.replace(from, to)).expect("written");
    }
}

/// When the first request of a scenario of the small suite arrives under one of its own seeds.
fn first_arrival(suite: &Suite, id: &str, k: u64) -> i64 {
    let (_, keys) = suite.scenario(id).expect("a scenario");
    let mut scenario = Scenario::open(suite, id, false).expect("it opens");
    let traffic = scenario.traffic(suite, keys.seed + 1_000_003 * k, 1);
    traffic.expect("traffic").requests()[0].arrival_us
}

#[test]
fn what_goes_by_addresses_late_is_refused_with_kind_and_scenario() {
    let scoring = Scoring::new();
    let late = scoring.file(
        "late.lua",
        "return { route = function(req, insts)
          if req.serial >= 150 then
            local m = {}
            for i = 1, #insts do m[{}] = i end
            for _, v in m do return v end
          end
          return 1 + req.serial % #insts
        end }",
    );
    for _ in 0..2 {
        let report = scoring.report(&late, "--no-cache --stage full");
        let error = &report["errors"][0];
        assert_eq!(
            (score_of(&report), &error["kind"], &report["stage"]),
            (-100.0, &"nondeterministic".into(), &"full".into())
        );
        assert!(error["scenario"].is_string(), "{error}");
    }
    let unseen = scoring.report(&late, "--no-cache --split holdout");
    let error = &unseen["errors"][0];
    assert_eq!(error["kind"], "nondeterministic");
    assert_eq!(
        error["message"],
        "it fails in the split holdout (nondeterministic), of which no more is told"
    );
    // The same keys, in an order that is known.
    let steady = scoring.file(
        "steady.lua",
        "local m = { a = 1, b = 2, c = 3 }
        return { route = function(req, insts)
          local at = 0
          for _, v in pairs(m) do at += v * req.serial end
          return 1 + at % #insts
        end }",
    );
    assert_eq!(
        scoring.report(&steady, "--no-cache --stage full")["ok"],
        true
    );
    let compared = scoring.run(&format!(
        "compare --suite {} --json {} {}",
        scoring.suite(),
        steady.display(),
        late.display()
    ));
    let compared = compared.report();
    assert_eq!(
        compared["candidates"][1]["errors"][0]["kind"],
        "nondeterministic"
    );
}

#[test]
fn a_policy_is_told_the_suites_target_of_every_class() {
    let scoring = Scoring::new();
    let asks = scoring.file(
        "asks.lua",
        "local critical = symbol('critical')
        local n = 0
        return { admit = function(req)
          n += 1
          local wanted = if req.slo_class == critical then 300000 else 1000000
          if n > 1 and setup.instances < 4 and req.slo_ttft_us ~= wanted then return false, 'misled' end
          return true
        end }",
    );
    let report = scoring.report(&asks, "--no-cache --stage full");
    assert_eq!(report["ok"], true, "{report}");
    for scenario in report["scenarios"].as_array().expect("scenarios") {
        assert_eq!(scenario["metrics"]["rejected"], 0, "{scenario}");
    }
}

#[test]
fn the_holdout_cannot_be_learnt_by_heart_from_the_suite() {
    let scoring = Scoring::new();
    let suite = Suite::open(&scoring.suite(), None).expect("the suite");
    let knows = scoring.file(
        "knows.lua",
        &format!(
            "return {{ route = function(req, insts)
              if req.serial == 0 and req.arrival_us == {} then error('known') end
              return 1 + req.serial % #insts
            end }}",
            first_arrival(&suite, "secret-holdout", 0)
        ),
    );
    let holdout = "--no-cache --split holdout";
    assert_eq!(scoring.report(&knows, holdout)["ok"], true);
    // Two machines, and two judges with one salt.
    let of = |scoring: &Scoring, args: &str| {
        let report = scoring.report(&innocent(), &format!("{holdout} {args}"));
        (score_of(&report), report["key"]["holdout_salt"].clone())
    };
    let elsewhere = Scoring::new();
    let (here, there) = (of(&scoring, ""), of(&elsewhere, ""));
    assert_eq!(here, of(&scoring, ""));
    assert_ne!(here.0, there.0);
    assert_ne!(here.1, there.1);
    let salt = scoring.file("salt", "0123456789abcdef0123456789abcdef\n");
    let judged = format!("--holdout-salt-file {}", salt.display());
    let by_judge = of(&scoring, &judged);
    assert_eq!(by_judge, of(&elsewhere, &judged));
    assert_ne!(by_judge, here);
    // A suite that states a hash takes that salt alone.
    let Value::String(hash) = by_judge.1 else {
        panic!("no hash");
    };
    scoring.change_suite(
        "version: 1\n",
        &format!("version: 1\nholdout_salt_hash: {hash}\n"),
    );
    let innocent = innocent().display().to_string();
    let refused = scoring.score(&format!("{holdout} {innocent}"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains(&hash) && refused.stderr.contains("--holdout-salt-file"));
    let other = scoring.file("other", "another salt of sufficient length for a judge");
    let refused = scoring.score(&format!(
        "{holdout} {innocent} --holdout-salt-file {}",
        other.display()
    ));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let taken = scoring.score(&format!("{holdout} {innocent} {judged}"));
    assert_eq!(taken.report()["ok"], true);
    // A flag without effect.
    let refused = scoring.score(&format!("{innocent} {judged}"));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn a_search_draws_its_own_seeds() {
    let scoring = Scoring::new();
    let of = |args: &str| {
        let report = scoring.report(&innocent(), &format!("--stage full {args}"));
        (score_of(&report), report["key"]["train_salt"].clone())
    };
    let (public, one) = (of(""), of("--train-salt one"));
    assert_eq!(public.1, Value::Null);
    assert_eq!(one.1, "one");
    assert_eq!(of("--train-salt one"), one);
    let two = of("--train-salt two");
    assert!(public.0 != one.0 && one.0 != two.0);
    assert_eq!(of(""), public);
    let refused = scoring.score(&format!(
        "{} --split holdout --train-salt x",
        innocent().display()
    ));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn what_owes_its_score_to_the_seeds_is_found_out_by_fresh_ones() {
    let scoring = Scoring::new();
    let salt = scoring.file("salt", "0123456789abcdef0123456789abcdef");
    let suite = Suite::open(&scoring.suite(), None).expect("the suite");
    let mut known = String::new();
    for keys in suite.scenarios(Split::Train) {
        for k in 0..2 {
            known += &format!("[{}] = true, ", first_arrival(&suite, &keys.id, k));
        }
    }
    let fitted = scoring.file(
        "fitted.lua",
        &format!(
            "local KNOWN, seen = {{ {known} }}, nil
            return {{ route = function(req, insts)
              if seen == nil then seen = KNOWN[req.arrival_us] or false end
              if not seen then return 1 end
              local best, least = 1, math.huge
              for i, inst in insts do if inst.in_flight < least then best, least = i, inst.in_flight end end
              return best
            end }}"
        ),
    );
    let args = format!(
        "--stage full --fresh-seeds 3 --holdout-salt-file {}",
        salt.display()
    );
    let report = scoring.report(&fitted, &args);
    let fresh = &report["fresh"];
    assert_eq!(
        (&fresh["seeds"], &fresh["more_than_chance"]),
        (&3.into(), &true.into())
    );
    assert!(
        fresh["score"].as_f64() < report["score"].as_f64(),
        "{fresh}"
    );
    let honest = scoring.report(&innocent(), &args);
    assert_eq!(
        honest["fresh"]["more_than_chance"], false,
        "{}",
        honest["fresh"]
    );
}

#[test]
fn reports_tell_how_near_a_policy_came_to_its_budget() {
    let scoring = Scoring::new();
    scoring.change_suite("requests: 240\n", "requests: 240\nfuel: 4000000\n");
    let busy = scoring.file(
        "busy.lua",
        "return { route = function(req, insts)
          local x = 0
          for i = 1, 6000 do x += i end
          return 1 + req.serial % #insts
        end }",
    );
    let report = scoring.report(&busy, "--stage full");
    let fuel = &report["fuel"];
    assert_eq!(
        (
            &fuel["call_limit"],
            &fuel["run_limit"],
            &fuel["fails_if_3_times_longer"]
        ),
        (&2_000_000.into(), &4_000_000.into(), &true.into())
    );
    assert!(
        fuel["largest_call"]
            .as_i64()
            .is_some_and(|n| (6000..7000).contains(&n)),
        "{fuel}"
    );
    assert!(fuel["largest_run"].as_i64() > Some(1_400_000), "{fuel}");
    let feedback = report["feedback"].as_str().expect("feedback");
    assert!(
        feedback.contains("would fail if a run were 3 times longer"),
        "{feedback}"
    );
    let unseen = scoring.report(&busy, "--stage full --split val");
    assert_eq!(
        unseen["fuel"]["largest_call"], 7000,
        "one digit, rounded up"
    );
    let easy = scoring.report(&innocent(), "--stage full");
    assert_eq!(easy["fuel"]["fails_if_3_times_longer"], false);
    let shown = scoring.run(&format!("suite show {}", scoring.suite()));
    assert!(
        shown.stdout.contains("Fuel: 4,000,000 units per run"),
        "{}",
        shown.stdout
    );
    let built_in = scoring.report(std::path::Path::new("round-robin"), "--stage full");
    assert_eq!(built_in["fuel"], Value::Null);
}
