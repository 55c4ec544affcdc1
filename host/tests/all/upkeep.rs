//! Cost and energy of runs, as they are told.

use crate::errors::Folder;
use crate::support::Ran;
use serde_json::Value;

const SMALL: &str = "--tp 2 --rate 5 --num-requests 20";

fn json(ran: &Ran) -> Value {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn lines(ran: &Ran) -> Vec<&str> {
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = |line: &&str| line.starts_with("Cost:") || line.starts_with("Energy:");
    ran.stdout.lines().filter(told).collect()
}

fn number(value: &Value, key: &str) -> f64 {
    let found = value.pointer(key).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("{key}: {value}"))
}

fn close(a: f64, b: f64) -> bool {
    (a / b - 1.0).abs() < 1e-9
}

#[test]
fn a_run_says_what_it_costs_where_that_is_known() {
    let folder = Folder::with(&[]);
    let report = json(&folder.run(&format!("--hardware H100 {SMALL} --num-instances 3 --json")));
    // Six GPUs at 3 dollars an hour, idle ones too.
    let hours = number(&report, "/vllm_estimated_duration_s") / 3600.0;
    let usd = 18.0 * hours;
    assert!(close(number(&report, "/cost/usd"), usd));
    assert!(close(number(&report, "/cost/gpu_hours"), 6.0 * hours));
    assert!(close(number(&report, "/cost/usd_per_request"), usd / 20.0));
    let tokens = number(&report, "/total_output_tokens");
    let million = number(&report, "/cost/usd_per_million_output_tokens");
    assert!(close(million, usd / tokens * 1e6));
    assert_eq!(number(&report, "/energy/busy_watts_per_gpu"), 700.0);
    assert_eq!(report["energy"]["kwh"], Value::Null);
    // A price without a power, neither, both.
    let told = |flags: &str| {
        let ran = folder.run(&format!("{SMALL} --latency-model trained-physics {flags}"));
        lines(&ran)
            .iter()
            .map(|line| line[..6].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(told("--hardware H100"), ["Cost: ", "Energy"]);
    assert_eq!(told("--hardware B200"), ["Energy"]);
    assert_eq!(told("--hardware A10G"), Vec::<String>::new());
    assert_eq!(told("--hardware A10G --gpu-price 0.8"), ["Cost: "]);
    let both = "--hardware A10G --gpu-price 0.8 --gpu-power 300,30";
    let ran = folder.run(&format!("{SMALL} --latency-model trained-physics {both}"));
    let energy = lines(&ran)[1];
    assert!(energy.contains("of them idle"), "{energy}");
    assert!(lines(&ran)[0].contains("at 0.800 per GPU-hour"), "{energy}");
    let plain = folder.run(&format!(
        "{SMALL} --latency-model trained-physics --hardware A10G --json"
    ));
    let plain = json(&plain);
    assert!(plain.get("cost").is_none() && plain.get("energy").is_none());
}

#[test]
fn energy_is_between_idle_and_full_power() {
    let folder = Folder::with(&[]);
    for flags in [
        "--rate 2 --num-requests 20",
        "--rate 500 --num-requests 200 --num-instances 2",
        "--rate 20 --num-requests 100 --horizon 2000000",
        "--rate 20 --num-requests 100 --horizon 2000000 --rules blis --latency-model trained-physics",
        "--rate 20 --num-requests 100 --num-instances 2 --scale 1:5 --scale 3:1",
        "--rate 20 --num-requests 60 --prefill-instances 1 --decode-instances 2",
        "--rate 20 --num-requests 60 --summary-only",
    ] {
        let flags = format!("--hardware H100 --tp 1 {flags} --gpu-power 600,100 --json");
        let report = json(&folder.run(&flags));
        let hours = number(&report, "/cost/gpu_hours");
        let all = number(&report, "/energy/kwh");
        let busy = number(&report, "/energy/busy_kwh");
        let idle = number(&report, "/energy/idle_kwh");
        assert!(close(all, busy + idle), "{flags}");
        assert!(busy > 0.0 && busy <= 0.6 * hours * (1.0 + 1e-12), "{flags}");
        assert!((0.1 * hours..=0.6 * hours).contains(&all), "{flags}: {all}");
        let share = number(&report, "/energy/busy_share");
        assert!(close(all, hours * (0.1 + 0.5 * share)), "{flags}: {share}");
        let most = 3600.0 * hours / number(&report, "/vllm_estimated_duration_s");
        assert!(most <= 5.0 * (1.0 + 1e-12), "{flags}: {most} GPUs");
    }
    // Twice the power, twice the energy; the price moves nothing else.
    let of = |more: &str| {
        let flags = format!("--hardware H100 --tp 1 --num-requests 20 --json {more}");
        json(&folder.run(&flags))
    };
    let (once, twice) = (of("--gpu-power 300"), of("--gpu-power 600 --gpu-price 9"));
    let busy = |report: &Value| number(report, "/energy/busy_kwh");
    assert!(close(2.0 * busy(&once), busy(&twice)));
    assert!(close(
        3.0 * number(&once, "/cost/usd"),
        number(&twice, "/cost/usd")
    ));
    assert_eq!(once["latency_ms"], twice["latency_ms"]);
}

#[test]
fn instances_cost_from_when_they_come_until_they_are_done() {
    let folder = Folder::with(&[]);
    let hours = |scale: &str| {
        let flags = format!("--hardware H100 --tp 1 --rate 5 --num-requests 100 {scale} --json");
        let report = json(&folder.run(&flags));
        let run_s = number(&report, "/vllm_estimated_duration_s");
        (number(&report, "/cost/gpu_hours") * 3600.0, run_s)
    };
    let (whole, run_s) = hours("--num-instances 2");
    assert!(close(whole, 2.0 * run_s), "{whole} {run_s}");
    // One more comes after ten seconds.
    let (late, run_s) = hours("--num-instances 1 --scale 10:2");
    assert!(close(late, 2.0 * run_s - 10.0), "{late} {run_s}");
    // One goes after five seconds, and is done a few seconds later.
    let (gone, run_s) = hours("--num-instances 2 --scale 5:1");
    let there = gone - run_s;
    assert!(
        (5.0..15.0).contains(&there) && there < run_s,
        "{there} {run_s}"
    );
}

#[test]
fn pools_have_prices_of_their_own() {
    let run = "model: qwen3-14b\nworkload: {rate: 5.0, num_requests: 20}\npools:\n\
               - {name: a, hardware: H100, parallel: {tensor: 1}}\n\
               - {name: b, hardware: L40S, parallel: {tensor: 2}MORE}\n";
    let with = |more: &str| {
        let folder = Folder::with(&[("run.yaml", &run.replace("MORE", more))]);
        folder.command("run --spec @/run.yaml --json")
    };
    // Nobody knows what an L40S costs: then the sum is not known either.
    let report = json(&with(""));
    assert!(report.get("cost").is_none(), "{}", report["cost"]);
    let busy = number(&report, "/energy/busy_watts_per_gpu");
    assert!((350.0..700.0).contains(&busy), "{busy}");
    let report = json(&with(", gpu_price: 0.75, gpu_power: [300, 40]"));
    let seconds = number(&report, "/vllm_estimated_duration_s");
    let expected = (3.0 + 2.0 * 0.75) * seconds / 3600.0;
    assert!(close(number(&report, "/cost/usd"), expected));
    let wrong = with(", gpu_power: [300, 400]");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (2, ""));
    assert!(
        wrong
            .stderr
            .contains("idle power is 400 W; expected at most"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn sweeps_and_replays_tell_it_too() {
    let folder = Folder::with(&[]);
    let ran = folder.command(
        "sweep --model llama-3.1-8b-instruct --tp 1 --rate 5 --num-requests 20 --grid hardware=H100,B200 \
         --out @/rows.csv --columns usd_per_million_output_tokens,busy_energy_kwh,usd_per_request",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("USD/M tokens") && ran.stdout.contains("kWh busy"),
        "{}",
        ran.stdout
    );
    let mut rows = csv::Reader::from_path(folder.path().join("rows.csv")).expect("rows");
    let head = rows.headers().expect("a head").clone();
    let at = |name: &str| head.iter().position(|n| n == name).expect(name);
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let cell = |row: usize, name: &str| rows[row][at(name)].to_owned();
    let figure = |row: usize, name: &str| cell(row, name).parse::<f64>().expect(name);
    let seconds = figure(0, "simulated_s");
    assert!(close(figure(0, "cost_usd"), 3.0 * seconds / 3600.0));
    assert_eq!(cell(1, "cost_usd"), "");
    assert!(figure(1, "busy_joules_per_output_token") > 0.0);
    assert_eq!(cell(0, "energy_kwh"), "");
    let ran = folder.run("--hardware H100 --tp 1 --num-requests 3 --trace-output @/t");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let ran = folder.command(
        "replay --model llama-3.1-8b-instruct --hardware H100 --tp 1 --trace-header @/t.yaml --trace-data @/t.csv",
    );
    assert_eq!(lines(&ran).len(), 2, "{}", ran.stdout);
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = Folder::with(&[]);
    for (flags, expected) in [
        (
            "--gpu-price 0",
            "--gpu-price: price is 0; expected a finite number above 0",
        ),
        ("--gpu-price nan", "--gpu-price: price is NaN; expected"),
        ("--gpu-power -5", "--gpu-power"),
        (
            "--gpu-power 300,400",
            "--gpu-power: idle power is 400 W; expected at most the power under load",
        ),
        (
            "--gpu-power 300,40,1",
            "--gpu-power has 3 numbers; expected watts under load",
        ),
        (
            "--gpu-price 1 --format blis",
            "--gpu-price has no effect with --format of a simulator",
        ),
        (
            "--gpu-price 1 --prefill-instances 1 --decode-instances 1 --decode-hardware L40S",
            "--gpu-price has no effect where instances that prefill and that decode have GPUs of their own",
        ),
    ] {
        let ran = folder.run(flags);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{flags}");
        assert!(ran.stderr.contains(expected), "{flags}: {}", ran.stderr);
    }
    let ticks = folder.command("run --latency-model ticks --load-generator constant-concurrency --concurrency 2 --num-requests 4 --gpu-price 2");
    assert_eq!(ticks.code, 2);
    assert!(ticks.stderr.contains("--gpu-price"), "{}", ticks.stderr);
}
