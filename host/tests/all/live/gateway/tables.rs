//! What a gateway remembers is bounded.

use super::Tunnel;
use crate::live::servers::{ask, completion};

#[test]
fn tables_stay_within_their_limits_however_many_prompts_and_clients_come() {
    let config = "policies: {routing: round-robin}\n\
        limits: {index_blocks: 64, prefix_names: 128, names: 20}\n";
    let tunnel = Tunnel::new("--num-instances 2 --speed 100", config);
    let address = tunnel.gateway.address(0);
    let size = |name: &str, label: &str| tunnel.gateway.metric(0, name, label);
    for k in 0..60 {
        let prompt = format!("prompt number {k} ") + &format!("word{k} ").repeat(100);
        let head = format!("x-session-id: c{k}\r\nx-gateway-inference-fairness-id: t{k}\r\n");
        let body = completion(&prompt, 2).to_string();
        let answer = ask(&address, "POST", "/v1/completions", &head, &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        if k % 10 == 9 {
            for (most, name, label) in [
                (64.0, "windtunnel_endpoint_index_blocks", "endpoint=\"s0\""),
                (64.0, "windtunnel_endpoint_index_blocks", "endpoint=\"s1\""),
                (128.0, "windtunnel_names", "kind=\"prefix\""),
                // The last one is the name of all others.
                (21.0, "windtunnel_names", "kind=\"client\""),
            ] {
                let now = size(name, label);
                assert!(0.0 < now && now <= most, "{name} {label}: {now} after {k}");
            }
        }
    }
    // They were full: more came than they hold.
    assert!(size("windtunnel_names", "kind=\"prefix\"") > 64.0);
}
