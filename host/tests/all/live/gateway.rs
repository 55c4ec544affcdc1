//! `windtunnel live`: a gateway in front of emulated servers.

mod decisions;
mod resimulate;
mod tables;

use super::servers::{Answer, Serving, ask, begin_completion, completion, connect, eventually};
use crate::support::windtunnel;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A gateway in front of emulated servers, and the folder with its files.
struct Tunnel {
    gateway: Serving,
    servers: Serving,
    folder: TempDir,
}

impl Tunnel {
    /// `emulated` are flags of the servers, `config` further lines of the gateway's file.
    fn new(emulated: &str, config: &str) -> Self {
        Self::with_files(emulated, config, &[])
    }

    fn with_files(emulated: &str, config: &str, files: &[(&str, &str)]) -> Self {
        let servers = Serving::emulated(emulated);
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let urls = servers.ready["urls"].as_array().expect("urls").clone();
        let endpoints = urls.iter().enumerate();
        let endpoints = endpoints.map(|(i, url)| format!("  - {{url: {url}, name: s{i}}}\n"));
        let text = format!(
            "listen: 127.0.0.1:0\nendpoints:\n{}decision_log: decisions.jsonl\n\
             scrape: {{interval: 0.05}}\nhealth: {{interval: 0.1, failures: 1, successes: 1}}\n{config}",
            endpoints.collect::<String>()
        );
        let path = folder.path().join("gateway.yaml");
        std::fs::write(&path, text).expect("written");
        let gateway = Serving::start(&format!("live {}", path.display()));
        let tunnel = Self {
            gateway,
            servers,
            folder,
        };
        eventually("servers take requests", || {
            tunnel.gateway.get(0, "/health").status == 200
        });
        tunnel
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn complete(&self, body: &Value) -> Answer {
        self.gateway.post(0, "/v1/completions", body)
    }

    fn endpoints(&self) -> Vec<Value> {
        let all = self.gateway.get(0, "/gateway/endpoints").json();
        all["endpoints"].as_array().expect("endpoints").clone()
    }

    fn under_way(&self) -> f64 {
        self.gateway.metric(0, "windtunnel_endpoint_requests", "")
    }

    /// Ends everything and returns the lines of the decision log of this kind.
    fn log(self, kind: &str) -> Vec<Value> {
        let Self {
            gateway, folder, ..
        } = self;
        assert!(gateway.end().success());
        lines(&folder.path().join("decisions.jsonl"), kind)
    }
}

fn lines(path: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a log");
    let all = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|line| line["kind"] == kind).collect()
}

fn streamed(max_tokens: u32) -> Value {
    json!({ "prompt": "a", "max_tokens": max_tokens, "stream": true })
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let lines = answer.head.lines();
    let found = lines.filter_map(|line| line.split_once(": "));
    found
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .next()
}

#[test]
fn requests_pass_through_and_go_where_the_policy_says() {
    let tunnel = Tunnel::new(
        "--num-instances 2 --speed 20",
        "policies: {routing: round-robin}\n",
    );
    let mut seen = Vec::new();
    for _ in 0..4 {
        let answer = tunnel.complete(&completion("one two", 3));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["usage"]["completion_tokens"], 3);
        seen.push(
            header(&answer, "x-gateway-endpoint")
                .expect("a name")
                .to_owned(),
        );
    }
    assert_eq!(seen, ["s0", "s1", "s0", "s1"]);
    let chat = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 5, "stream": true });
    let answer = tunnel.gateway.post(0, "/v1/chat/completions", &chat);
    assert!(
        answer.whole && answer.body.ends_with("data: [DONE]\n\n"),
        "{answer:?}"
    );
    assert_eq!(answer.events().len(), 6);
    assert_eq!(tunnel.gateway.get(0, "/v1/models").json()["object"], "list");
    let tokens = tunnel
        .gateway
        .post(0, "/tokenize", &json!({ "prompt": "a b" }))
        .json();
    assert_eq!(tokens["count"], 2);
    // What a server refuses is refused as it says, and not asked elsewhere.
    let wrong = tunnel.complete(&completion("a", 0));
    assert!(
        wrong.status == 400 && wrong.body.contains("at least 1"),
        "{wrong:?}"
    );
    assert_eq!(header(&wrong, "x-gateway-retries"), None);
    let broken = ask(
        &tunnel.gateway.address(0),
        "POST",
        "/v1/completions",
        "",
        "{",
    );
    assert_eq!(broken.status, 400);
    eventually("all have left", || tunnel.under_way() == 0.0);
    let done = tunnel.log("done");
    assert_eq!(done.len(), 7);
    assert_eq!(
        (&done[0]["outcome"], &done[0]["output_tokens"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(
        (&done[4]["output_tokens"], &done[4]["endpoint"]),
        (&json!(5), &json!("s0"))
    );
    assert_eq!(done[5]["outcome"], "failed");
}

#[test]
fn tokens_are_passed_on_as_they_come_and_who_goes_away_is_gone_everywhere() {
    let tunnel = Tunnel::new("--num-instances 1", "");
    let address = tunnel.gateway.address(0);
    let running = || tunnel.servers.metric(0, "vllm:num_requests_running", "");
    for body in [streamed(100_000), completion("a", 100_000)] {
        let mut connection = begin_completion(&address, &body);
        eventually("it runs", || running() == 1.0 && tunnel.under_way() == 1.0);
        if body["stream"] == true {
            let mut bytes = [0; 4096];
            let mut text = String::new();
            while text.matches("\"text\":").count() < 3 {
                let n = connection.read(&mut bytes).expect("tokens");
                assert!(n > 0, "it ended: {text}");
                text.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            assert_eq!(running(), 1.0, "tokens come while the rest is to come");
        }
        drop(connection);
        eventually("it is gone", || {
            running() == 0.0 && tunnel.under_way() == 0.0
        });
    }
    let outcomes: Vec<Value> = tunnel
        .log("done")
        .iter()
        .map(|d| d["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["aborted", "aborted"]);
}

#[test]
fn a_request_that_fails_is_sent_elsewhere_and_a_server_that_fails_again_gets_none() {
    let config = "policies: {routing: round-robin}\nejection: {failures: 3, seconds: 600}\n";
    let tunnel = Tunnel::new("--num-instances 2 --speed 20", config);
    let faults = json!({ "failure-injection-rate": 100, "failure-types": ["server_error"] });
    tunnel.servers.post(0, "/admin/config", &faults);
    let mut retried = 0;
    for _ in 0..8 {
        let answer = tunnel.complete(&completion("a", 2));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(header(&answer, "x-gateway-endpoint"), Some("s1"));
        retried += usize::from(header(&answer, "x-gateway-retries") == Some("1"));
    }
    assert_eq!(retried, 3);
    let all = tunnel.endpoints();
    assert_eq!(
        (&all[0]["takes_requests"], &all[1]["takes_requests"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(
        tunnel.gateway.metric(0, "windtunnel_retries_total", ""),
        3.0
    );
    assert_eq!(tunnel.under_way(), 0.0);
}

#[test]
fn what_broke_off_behind_its_first_byte_is_not_sent_again() {
    let tunnel = Tunnel::new("--num-instances 2 --speed 20 --cut-rate 100", "");
    for _ in 0..4 {
        let answer = tunnel.complete(&streamed(50));
        let events = answer.events().len();
        // One that breaks before its first token is sent again, and breaks again.
        assert!(
            !answer.whole && events < 50 || answer.status == 502,
            "{answer:?}"
        );
    }
    eventually("all have left", || tunnel.under_way() == 0.0);
    let done = tunnel.log("done");
    assert_eq!(done.len(), 4);
    assert!(
        done.iter()
            .all(|d| d["outcome"] == "broken" || d["outcome"] == "failed"),
        "{done:?}"
    );
}

#[test]
fn requests_wait_for_a_server_and_are_refused_when_that_takes_too_long() {
    // Two seconds of the machine's are twenty of the simulation's.
    let config = "hold: {requests: 2, ttl: 20}\n";
    let servers = "--num-instances 1 --speed 10 --event 20:fail:0:20";
    let tunnel = Tunnel::new(servers, config);
    eventually("the server crashes", || {
        tunnel.gateway.get(0, "/health").status == 503
    });
    let (address, body) = (tunnel.gateway.address(0), completion("a", 2).to_string());
    std::thread::scope(|scope| {
        let send = || ask(&address, "POST", "/v1/completions", "", &body);
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(send)).collect();
        let held = || tunnel.gateway.metric(0, "windtunnel_held_requests", "");
        eventually("both wait", || held() == 2.0);
        let third = send();
        assert_eq!(
            (third.status, header(&third, "x-gateway-reason")),
            (503, Some("hold-queue-full"))
        );
        assert!(header(&third, "retry-after").is_some());
        for answer in waiting {
            assert_eq!(answer.join().expect("an answer").status, 200);
        }
        assert_eq!(held(), 0.0);
    });
    let config = "hold: {ttl: 0.2}\nendpoints: []\nendpoints_file: none.yaml\n";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("none.yaml"), "[]").expect("written");
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, format!("listen: 127.0.0.1:0\n{config}")).expect("written");
    let gateway = Serving::start(&format!("live {}", path.display()));
    let late = gateway.post(0, "/v1/completions", &completion("a", 2));
    assert_eq!(
        (late.status, header(&late, "x-gateway-reason")),
        (503, Some("hold-expired"))
    );
    // Servers that are added later are found.
    let url = &tunnel.servers.ready["urls"][0];
    std::fs::write(folder.path().join("none.yaml"), format!("[{{url: {url}}}]")).expect("written");
    eventually("it is served", || {
        gateway
            .post(0, "/v1/completions", &completion("a", 2))
            .status
            == 200
    });
    let list = folder.path().join("none.yaml");
    let listed = std::fs::read_to_string(&list).expect("a list");
    let health = || gateway.get(0, "/health").status;
    std::fs::write(&list, "[]").expect("written");
    eventually("it is out of the list", || health() == 503);
    std::fs::write(&list, listed).expect("written");
    eventually("it is there again", || health() == 200);
}

#[test]
fn a_policy_that_turns_away_says_why_and_who_waits_may_go() {
    let policy = "return { admit = function(req, cluster)\n\
        if req.prompt_tokens > 3 then return false, 'too long' end\n\
        if req.prompt_tokens == 3 then return delay(50000) end\n\
        return true end }";
    let tunnel = Tunnel::with_files(
        "--speed 20",
        "policies: {admission: ./gate.lua}\n",
        &[("gate.lua", policy)],
    );
    assert_eq!(tunnel.complete(&completion("a b", 2)).status, 200);
    let refused = tunnel.complete(&completion("a b c d", 2));
    assert_eq!(
        (refused.status, header(&refused, "x-gateway-reason")),
        (429, Some("rejected-by-policy"))
    );
    let address = tunnel.gateway.address(0);
    let connection = begin_completion(&address, &completion("a b c", 2));
    let held = || tunnel.gateway.metric(0, "windtunnel_held_requests", "");
    eventually("it waits", || held() == 1.0);
    drop(connection);
    eventually("it is gone", || held() == 0.0);
}

#[test]
fn policies_are_read_again_when_they_change_and_stay_when_they_are_wrong() {
    let to = |i: u32| format!("return {{ route = function(req, instances) return {i} end }}");
    let files = [("router.lua", &*to(1))];
    let config = "policies: {routing: ./router.lua}\n";
    let tunnel = Tunnel::with_files("--num-instances 2 --speed 20", config, &files);
    let goes_to = || {
        let answer = tunnel.complete(&completion("a", 2));
        assert_eq!(answer.status, 200, "{answer:?}");
        header(&answer, "x-gateway-endpoint")
            .expect("a name")
            .to_owned()
    };
    assert_eq!(goes_to(), "s0");
    let file = tunnel.path("router.lua");
    std::fs::write(&file, to(2) + " -- changed").expect("written");
    eventually("the other policy decides", || goes_to() == "s1");
    std::fs::write(&file, "return { route = ").expect("written");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(goes_to(), "s1");
    // One that fails when it is asked is replaced.
    std::fs::write(
        &file,
        "return { route = function(req, instances) return nobody.there end }",
    )
    .expect("written");
    let fallen_back = || tunnel.gateway.metric(0, "windtunnel_policy_fallback", "") == 1.0;
    eventually("a built-in policy stands in", || {
        goes_to();
        fallen_back()
    });
    std::fs::write(&file, to(1)).expect("written");
    eventually("the first policy decides again", || !fallen_back());
    assert_eq!(goes_to(), "s0");
    let begun: Vec<Value> = tunnel
        .log("policies")
        .iter()
        .map(|p| p["because"].clone())
        .collect();
    assert_eq!(begun.len(), 5, "{begun:?}");
    assert_eq!((&begun[0], &begun[1]), (&json!("start"), &json!("reload")));
}

#[test]
fn nothing_that_could_be_served_is_lost_while_servers_die_hang_and_cut() {
    let config = "policies: {routing: least-loaded}\ntimeouts: {first_byte: 2}\n\
        retries: {attempts: 6, budget: 2}\nejection: {failures: 3, seconds: 0.5}\n";
    // The first server is gone for two seconds of the machine's, one second after its start.
    let servers = "--num-instances 4 --speed 10 --event 10:fail:0:20";
    let tunnel = Tunnel::new(servers, config);
    for (server, faults) in [
        (1, json!({ "cut-rate": 30 })),
        (
            2,
            json!({ "hang-rate": 10, "failure-injection-rate": 10, "failure-types": ["server_error"] }),
        ),
        (3, json!({ "metrics-age-ms": 60_000, "slow": 3 })),
    ] {
        let set = tunnel.servers.post(server, "/admin/config", &faults);
        assert_eq!(set.status, 200, "{set:?}");
    }
    let (address, body) = (tunnel.gateway.address(0), streamed(20).to_string());
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let client = || {
            let ask = |_| ask(&address, "POST", "/v1/completions", "", &body);
            (0..6).map(ask).collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..50).map(|_| scope.spawn(client)).collect();
        let answers = clients
            .into_iter()
            .flat_map(|client| client.join().expect("answers"));
        answers.collect()
    });
    assert_eq!(answers.len(), 300);
    let mut broken = 0;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
        // Each begins once: events of a second answer would come on top.
        let mut ids: Vec<Value> = answer.events().iter().map(|e| e["id"].clone()).collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{answer:?}");
        let events = answer.events().len();
        assert!(
            if answer.whole {
                events == 20
            } else {
                events < 20
            },
            "{answer:?}"
        );
        broken += usize::from(!answer.whole);
    }
    assert!(broken > 0, "nothing was cut");
    eventually("all have left", || tunnel.under_way() == 0.0);
    assert_eq!(
        tunnel.gateway.get(0, "/gateway/endpoints").json()["under_way"],
        0
    );
    assert!(tunnel.gateway.metric(0, "windtunnel_retries_total", "") > 0.0);
    let done = tunnel.log("done");
    let count = |outcome: &str| done.iter().filter(|d| d["outcome"] == outcome).count();
    assert_eq!(
        (count("completed"), count("broken")),
        (300 - broken, broken)
    );
}

#[test]
fn hostile_clients_are_bounded_and_the_end_waits_for_what_is_under_way() {
    let mut tunnel = Tunnel::new("", "limits: {body: 1000, connections: 50}\n");
    let address = tunnel.gateway.address(0);
    let large = tunnel.complete(&completion(&"a ".repeat(1000), 2));
    assert_eq!(large.status, 413);
    let head = format!("x-large: {}\r\n", "a".repeat(2_000_000));
    let answer = ask(&address, "GET", "/health", &head, "");
    assert!(answer.status == 431 || answer.status == 0, "{answer:?}");
    let idle: Vec<_> = (0..49).map(|_| connect(&address)).collect();
    eventually("there is a place", || {
        let answer = ask(&address, "GET", "/health", "", "");
        answer.status == 200
    });
    drop(idle);
    let mut connection = begin_completion(&address, &streamed(300));
    eventually("it runs", || {
        tunnel.servers.metric(0, "vllm:num_requests_running", "") == 1.0
    });
    tunnel.gateway.tell_to_end();
    let mut bytes = Vec::new();
    let _ = connection.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("\"text\":").count(), 300);
    assert!(text.contains("[DONE]"));
    assert!(tunnel.gateway.end().success());
}

#[test]
fn what_a_gateway_cannot_do_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    let estimates = "return { route = function(req, instances)\n\
        return if est_prefill_us(req.prompt_tokens, 0) > 0 then 1 else 1 end }";
    std::fs::write(folder.path().join("estimates.lua"), estimates).expect("written");
    for (config, part) in [
        (
            "policies: {scheduler: sjf}",
            "--scheduler has no effect in a gateway",
        ),
        ("policies: {routing: least-loadad}", "least-loaded"),
        ("policies: {routing: ./estimates.lua}", "need the key model"),
        ("listn: 127.0.0.1:0", "did you mean \"listen\""),
        ("hold: {ttl: -1}", "hold.ttl is -1"),
        ("model: no-such-model", "no-such-model"),
    ] {
        std::fs::write(
            &path,
            format!("endpoints: [{{url: http://127.0.0.1:1}}]\n{config}\n"),
        )
        .expect("written");
        let ran = windtunnel(["live", path.to_str().expect("a path"), "--check"]);
        assert_eq!(ran.code, 2, "{config}: {}", ran.stderr);
        assert!(ran.stderr.contains(part), "{config}: {}", ran.stderr);
    }
    let ran = windtunnel(["live", "--endpoint", "https://a", "--check"]);
    assert!(
        ran.code == 2 && ran.stderr.contains("expected a URL such as"),
        "{}",
        ran.stderr
    );
}
