//! LoRA adapters through the command: what routing by them is worth, and what a script sees.

use crate::errors::Folder;
use serde_json::Value;
use std::fmt::Write;

/// A request every 50 ms, with one of eight adapters, and prompts that have nothing in common.
fn trace() -> String {
    let mut rows = String::from("arrival,id,model,prompt,output,adapter\n");
    let mut state = 1u64;
    for k in 0..400u64 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let adapter = (state >> 33) % 8;
        let prompt: Vec<u64> = (0..64).map(|i| 1000 * k + i).collect();
        let at = k as f64 / 20.0;
        let _ = writeln!(
            rows,
            "{at:.3},,,\"{prompt:?}\",\"[1, 2, 3, 4, 5]\",lora-{adapter}"
        );
    }
    rows
}

/// Results of four instances with two places for adapters each, to which the policy routes.
fn run(routing: &str) -> Value {
    let folder = Folder::with(&[("t.csv", &trace())]);
    let ran = folder.command(&format!(
        "run --model llama-3.1-8b-instruct --rules vllm --num-instances 4 --max-loras 2 --lora-load-time 100000 \
         --workload traces --workload-traces-filepath @/t.csv --routing-policy {routing} --json"
    ));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

#[test]
fn who_routes_by_adapters_loads_fewer_of_them() {
    let loads = |results: &Value| {
        let of = |value: &Value| value["adapter_loads"].as_u64().expect("counted");
        let each = results["instances"].as_array().expect("instances").iter();
        assert_eq!(each.map(of).sum::<u64>(), of(results));
        of(results)
    };
    let ttft = |results: &Value| {
        results["latency_ms"]["ttft"]["mean"]
            .as_f64()
            .expect("a mean")
    };
    let (blind, aware) = (run("round-robin"), run("lora-affinity"));
    // Eight adapters fit into eight places, each loaded once; in turn, three of four are not there.
    assert!(loads(&blind) > 200, "{}", loads(&blind));
    assert!(loads(&aware) < loads(&blind) / 2, "{}", loads(&aware));
    assert!(
        ttft(&aware) < ttft(&blind),
        "{} {}",
        ttft(&aware),
        ttft(&blind)
    );
    // The script sees what the built-in sees.
    let script = run("policies/routing/lora-affinity.lua");
    assert_eq!(script["latency_ms"], aware["latency_ms"]);
    // What vLLM publishes knows adapters of running requests alone.
    let scored = run("weighted --routing-scorers lora-affinity:1");
    assert!(loads(&scored) <= loads(&blind), "{}", loads(&scored));
}
