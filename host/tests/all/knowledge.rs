//! What policies know has an error of stated size, and putting requests off has a cost.

use crate::errors::Folder;
use crate::support::windtunnel;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Tells what it is told of the first request, by an error.
const ASKS: &str = r#"return { route = function(req, insts)
  error(`prefill {est_prefill_us(1000)} {est_prefill_us(1000)} step {est_step_us(100, 3, 900)} ttft {est_ttft_us(insts[1], 1000, 0)} predicted {req.predicted_output_tokens}`)
end }"#;

/// The numbers that it told.
fn told(folder: &Folder, flags: &str) -> Vec<f64> {
    let ran = folder.command(&format!(
        "run --model llama-3.1-8b-instruct --num-requests 3 --routing-policy @/asks.lua {flags}"
    ));
    let (_, told) = ran.stderr.split_once("prefill ").expect("it was asked");
    let words = told.split_whitespace();
    let numbers = words.filter_map(|w| w.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok());
    numbers.take(5).collect()
}

#[test]
fn durations_that_policies_ask_for_are_wrong_by_what_is_said() {
    let folder = Folder::with(&[("asks.lua", ASKS)]);
    let exact = told(&folder, "");
    assert_eq!(exact.len(), 5, "{exact:?}");
    assert_eq!(exact, told(&folder, "--estimate-error exact"));
    let wrong = told(&folder, "--estimate-error lognormal:0.2");
    // Asking again teaches nothing, and nothing is right.
    assert_eq!(wrong[0], wrong[1]);
    for k in [0, 2, 3] {
        let factor = wrong[k] / exact[k];
        assert!(
            factor != 1.0 && (0.4..2.5).contains(&factor),
            "{k}: {factor}"
        );
    }
    assert_eq!(wrong, told(&folder, "--estimate-error lognormal:0.2"));
    assert_ne!(
        wrong,
        told(&folder, "--estimate-error lognormal:0.2 --seed 7")
    );
    let leaning = told(&folder, "--estimate-error lognormal:0:0.5");
    assert_eq!(leaning[0], 0.5 * exact[0]);
}

#[test]
fn predictions_lean_to_one_side_class_by_class() {
    let folder = Folder::with(&[("asks.lua", ASKS)]);
    let right = told(&folder, "--output-predictor exact")[4];
    let half = told(&folder, "--output-predictor lognormal:0:0.5")[4];
    assert_eq!(half, (right * 0.5).round());
    let ran = folder.command(
        "run --model llama-3.1-8b-instruct --num-requests 3 --routing-policy policies/routing/jsq.lua --quiet \
         --output-predictor exact,bacth=lognormal:0.5",
    );
    assert!(ran.stderr.contains("bacth"), "{}", ran.stderr);
    for (flag, value) in [
        ("--output-predictor", "lognormal:-1"),
        ("--output-predictor", "a=exact"),
        ("--estimate-error", "normal:1"),
        ("--estimate-error", "lognormal:0.1:1000"),
    ] {
        let ran = windtunnel(
            format!("run --model llama-3.1-8b-instruct --routing-policy policies/routing/jsq.lua {flag} {value}")
                .split_whitespace(),
        );
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        assert!(ran.stderr.contains(value), "{}", ran.stderr);
    }
}

#[test]
fn looking_again_is_counted_takes_a_millisecond_and_the_time_of_a_decision() {
    let holds = "return { route = function(req, insts)\n  if req.attempts < 4 then return hold(1) end\n  return 1\nend }";
    let delays = "return { admit = function(req)\n  if req.attempts < 2 then return delay(1) end\n  return true\nend }";
    let folder = Folder::with(&[("holds.lua", holds), ("delays.lua", delays)]);
    let flags =
        "--num-requests 10 --rate 1 --routing-policy @/holds.lua --admission-policy @/delays.lua";
    let of = |more: &str| {
        let run = json(&folder.fine(&format!("{flags} {more} --json")).stdout);
        assert_eq!(run["admission_delays"], 20);
        assert_eq!(run["routing_holds"], 40);
        run["latency_ms"]["ttft"]["mean"]
            .as_f64()
            .expect("a figure")
    };
    let plain = folder.fine("--num-requests 10 --rate 1 --json").stdout;
    let plain = json(&plain)["latency_ms"]["ttft"]["mean"]
        .as_f64()
        .expect("a figure");
    assert!((of("") - plain - 6.0).abs() < 1e-9);
    // Three decisions of admission and five of routing.
    assert!(
        (of("--admission-latency 2000 --routing-latency 500") - plain - 6.0 - 6.0 - 2.5).abs()
            < 1e-9
    );
    let text = folder.fine(flags).stdout;
    assert!(
        text.contains("Put off:    20 delays by admission, 40 holds by the router"),
        "{text}"
    );
}
