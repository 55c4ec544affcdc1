//! The decision log: the same decisions once more, in a simulation, and of shadows.

use super::Tunnel;
use crate::live::servers::{ask, completion};
use crate::support::{root, windtunnel};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Shows every policy of this kind that comes with the project.
fn shipped_routers() -> Vec<PathBuf> {
    let folder = std::fs::read_dir(root().join("policies/routing")).expect("a folder");
    let mut all: Vec<PathBuf> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    all.retain(|path| path.extension().is_some_and(|ending| ending == "lua"));
    all.sort();
    all
}

#[test]
fn shipped_routers_run_as_they_are_and_decide_the_same_once_more() {
    let routers = shipped_routers();
    assert!(routers.len() > 5, "{routers:?}");
    for router in routers {
        let config = format!(
            "model: llama-3.1-8b-instruct\npools: [{{hardware: H100, parallel: {{tensor: 1}}}}]\n\
             policies: {{routing: {}}}\n",
            router.display()
        );
        let tunnel = Tunnel::new("--num-instances 3 --speed 20", &config);
        let address = tunnel.gateway.address(0);
        std::thread::scope(|scope| {
            for client in 0..4 {
                let address = &address;
                scope.spawn(move || {
                    for k in 0..6 {
                        let prompt = format!(
                            "{} {client} {k}",
                            "shared words here ".repeat(20 * (client % 2 + 1))
                        );
                        let head = format!(
                            "x-session-id: c{client}\r\nx-gateway-inference-fairness-id: t{k}\r\n"
                        );
                        let body = completion(&prompt, 10).to_string();
                        let answer = ask(address, "POST", "/v1/completions", &head, &body);
                        assert_eq!(answer.status, 200, "{answer:?}");
                    }
                });
            }
        });
        let fallbacks = tunnel
            .gateway
            .metric(0, "windtunnel_policy_fallbacks_total", "");
        assert_eq!(fallbacks, 0.0, "{}", router.display());
        let log = tunnel.path("decisions.jsonl");
        let Tunnel {
            gateway, folder, ..
        } = tunnel;
        assert!(gateway.end().success());
        let again = ["replay-decisions", log.to_str().expect("a path"), "--json"];
        let ran = windtunnel(again);
        assert_eq!(
            ran.code,
            0,
            "{}: {}{}",
            router.display(),
            ran.stdout,
            ran.stderr
        );
        let agreement: Value = serde_json::from_str(&ran.stdout).expect("JSON");
        // A router may hold a request and be asked again.
        assert_eq!(agreement["decisions"], agreement["equal"]);
        assert!(agreement["decisions"].as_u64() >= Some(48), "{agreement}");
        drop(folder);
    }
}

#[test]
fn the_simulation_of_a_log_sends_requests_where_the_gateway_did() {
    let config = format!(
        "model: llama-3.1-8b-instruct\npools: [{{hardware: H100, parallel: {{tensor: 1}}}}]\n\
         policies: {{routing: {}}}\n",
        root()
            .join("policies/routing/session-affinity.lua")
            .display()
    );
    let tunnel = Tunnel::new("--num-instances 3", &config);
    let address = tunnel.gateway.address(0);
    for k in 0..30 {
        let head = format!("x-session-id: c{}\r\n", k % 7);
        let body = completion("some words", 4).to_string();
        let answer = ask(&address, "POST", "/v1/completions", &head, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let log = tunnel.path("decisions.jsonl");
    let Tunnel {
        gateway,
        folder: _folder,
        ..
    } = tunnel;
    assert!(gateway.end().success());
    let again = [
        "replay-decisions",
        log.to_str().expect("a path"),
        "--resimulate",
        "--json",
    ];
    let ran = windtunnel(again);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    let outcome: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(
        (&outcome["compared"], &outcome["equal"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(outcome["verdict"], "agrees");
    assert_eq!(outcome["causes"], json!([]));
    let admission = &outcome["admission"];
    assert_eq!(
        (&admission["compared"], &admission["equal"]),
        (&json!(30), &json!(30))
    );
    assert_eq!(
        (&outcome["free"]["equal"], &outcome["unfinished"]),
        (&json!(30), &json!(0))
    );
    // HTTP and a busy machine come on top; nothing is ever faster than the engine.
    let ttft = |of: &str| outcome["ttft_mean_ms"][of].as_f64().expect("a number");
    assert!(
        ttft("logged") > ttft("simulated") && ttft("simulated") > 5.0,
        "{outcome}"
    );
}

#[test]
fn a_log_that_was_changed_is_not_the_same() {
    let tunnel = Tunnel::new(
        "--num-instances 2 --speed 20",
        "policies: {routing: least-loaded}\n",
    );
    (0..6).for_each(|_| drop(tunnel.complete(&completion("a", 2))));
    let log = tunnel.path("decisions.jsonl");
    let Tunnel {
        gateway,
        folder: _folder,
        ..
    } = tunnel;
    assert!(gateway.end().success());
    let text = std::fs::read_to_string(&log).expect("a log");
    let changed = text.replacen("\"answer\":{\"to\":0}", "\"answer\":{\"to\":1}", 1);
    assert_ne!(text, changed);
    std::fs::write(&log, changed).expect("written");
    let ran = windtunnel(["replay-decisions", log.to_str().expect("a path")]);
    assert_eq!(ran.code, 3, "{}", ran.stderr);
    assert!(
        ran.stdout.contains("11 of 12 decisions are the same"),
        "{}",
        ran.stdout
    );
    assert!(
        ran.stdout.contains("the log says To(1), now To(0)"),
        "{}",
        ran.stdout
    );
}

#[test]
fn shadows_decide_for_show() {
    let config = "policies: {routing: round-robin}\nshadows: [{name: other, policies: {routing: least-loaded}}]\n";
    let tunnel = Tunnel::new("--num-instances 2 --speed 20", config);
    (0..4).for_each(|_| drop(tunnel.complete(&completion("a", 2))));
    let shadows = tunnel.log("shadow");
    assert_eq!(shadows.len(), 4);
    // Nothing is under way when they are asked: the first server is as good as any.
    for (k, shadow) in shadows.iter().enumerate() {
        assert_eq!(
            (&shadow["name"], &shadow["endpoint"]),
            (&json!("other"), &json!("s0"))
        );
        assert_eq!(shadow["agrees"], json!(k % 2 == 0));
    }
}
