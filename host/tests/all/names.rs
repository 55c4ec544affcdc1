//! Names of the workload in policies and settings: what is compared with them, and names that
//! nothing has.

use crate::errors::Folder;
use crate::support::Ran;

/// 400 requests: 271 of acme, 129 of globex; 89 critical, 202 standard, 109 sheddable.
const CLASSES: &str = "replay --trace-header docs/examples/classes.yaml \
    --trace-data docs/examples/classes.csv --model llama-3.1-8b-instruct";

/// Replays the trace with a script and more flags.
fn with_script(script: &str, flags: &str) -> Ran {
    let folder = Folder::with(&[("p.lua", script)]);
    let mut ran = folder.command(&format!("{CLASSES} {flags}"));
    ran.stderr = ran
        .stderr
        .replace(&folder.path().display().to_string(), "@");
    ran
}

/// What a script that decides about `rejected` does to the trace.
fn rejections(rejected: &str) -> Ran {
    let script = format!(
        "local free = {{ acme = true }}\nreturn {{ admit = function(req, cluster)\nif {rejected} then return false, 'no' end\nreturn true end }}"
    );
    with_script(&script, "--admission-policy @/p.lua")
}

#[test]
fn scripts_compare_names_with_texts() {
    for (rejected, count) in [
        ("req.tenant == 'acme'", 271),
        ("\"critical\" == req.slo_class", 89),
        ("req.tenant ~= 'acme' and req.slo_class == 'standard'", 65),
        ("free[req.tenant]", 271),
        ("table.find({ 'critical', 'standard' }, req.slo_class)", 291),
        ("tostring(req.tenant) == 'globex'", 129),
        ("req.tenant == 'nobody'", 0),
        ("req.tenant == 0", 0),
    ] {
        let ran = rejections(rejected);
        assert_eq!(ran.code, 0, "{rejected}: {}", ran.stderr);
        let expected = match count {
            0 => "400 arrived: 400 completed".to_owned(),
            n => format!("{} completed, {n} rejected by admission", 400 - n),
        };
        assert!(ran.stdout.contains(&expected), "{rejected}: {}", ran.stdout);
    }
}

#[test]
fn a_symbol_equals_what_views_give() {
    let script = "local critical = symbol('critical')\nreturn { admit = function(req)\n\
        return req.slo_class ~= critical and req.tenant ~= 'globex' end }";
    let ran = with_script(script, "--admission-policy @/p.lua");
    // 89 critical ones, and 95 others of globex.
    assert!(ran.stdout.contains("184 rejected"), "{}", ran.stdout);
}

#[test]
fn events_pools_and_queues_have_names_too() {
    let events = "local done = 0\nreturn { admit = function() return done < 5 end,\n\
        on_dispatch = function(ev) if ev.tenant == 'globex' then done += 1 end end,\n\
        on_complete = function(ev) end }";
    let ran = with_script(events, "--admission-policy @/p.lua");
    let dispatched = ran.stdout.contains("arrived: 400 completed");
    assert!(ran.code == 0 && !dispatched, "{}", ran.stdout);
    // Who waits with an unknown class stops the run.
    let queue = "local rank = { critical = 1, standard = 2, sheddable = 3 }\nreturn { key = function(req)\n\
        return (rank[req.slo_class] or error('who?')) * 1e12 + req.arrival_us end }";
    let ran = with_script(queue, "--scheduler @/p.lua --max-num-seqs 8");
    assert!(ran.stdout.contains("400 completed"), "{}", ran.stderr);
    let pools =
        "return { score = function(req, inst) return if inst.pool == 'fast' then 1 else 0 end }";
    let folder = Folder::with(&[
        ("p.lua", pools),
        (
            "run.yaml",
            "model: llama-3.1-8b-instruct\npools:\n- {name: slow, count: 2}\n- {name: fast, count: 2}\n\
             policies: {routing: @/p.lua}\nworkload: {rate: 5, num_requests: 50}\n",
        ),
    ]);
    let text = std::fs::read_to_string(folder.path().join("run.yaml")).expect("there");
    let text = text.replace('@', &folder.path().display().to_string());
    folder.write("run.yaml", text.as_bytes());
    let ran = folder.command("run --spec @/run.yaml --results-path @/r.csv");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows = std::fs::read_to_string(folder.path().join("r.csv")).expect("rows");
    assert!(
        !rows.contains("slow") && rows.matches("fast").count() == 50,
        "{rows}"
    );
}

#[test]
fn what_would_mislead_is_refused_when_the_file_is_loaded() {
    for (rejected, message) in [
        (
            "req.class_priority == 'critical'",
            "@/p.lua:3:4: req.class_priority is a number, never a text: Priority at the front end, the \
             own one of a request that has one, else that of its class: higher is more important, below 0 \
             may be shed; the class by name is req.slo_class == 'critical'",
        ),
        (
            "req.slo_class == 3",
            "@/p.lua:3:4: req.slo_class stands for a name, and which number it is differs from run to \
             run; compare it with the name, as in req.slo_class == \"name\"; how important a class \
             is, is req.class_priority",
        ),
        (
            "req.tenant == nil",
            "@/p.lua:3:4: req.tenant is never nil: 0 stands for none; write req.tenant == 0 or \
             req.tenant ~= 0",
        ),
        (
            "req.prompt_blocks() > 3",
            "@/p.lua:3:8: prompt_blocks is a method: write req:prompt_blocks(), with a colon",
        ),
        (
            "cluster.instances[1].approximate_prefix_blocks() == 0",
            "@/p.lua:3:25: approximate_prefix_blocks is a method: write \
             cluster.instances[1]:approximate_prefix_blocks(), with a colon",
        ),
        (
            "req.promt_tokens > 5",
            "the admission policy failed on request_0: @/p.lua:3: req has no field \
             \"promt_tokens\"; did you mean \"prompt_tokens\"?",
        ),
    ] {
        let ran = rejections(rejected);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{rejected}");
        assert_eq!(ran.stderr, format!("error: {message}\n"));
    }
}

#[test]
fn names_that_no_request_has_are_noted_after_the_run() {
    let bundle = "admission: {policy: always-admit, slo_priorities: {critical: 5, premum: 5}}\n\
        tenant_budgets: {acme: 0.9, glbex: 0.1}\n";
    let script = "return { score = function(req, inst)\n\
        if req.tenant == 'acne' or req.tenant == 'acme' then return 1 end\nreturn 0 end }";
    let right =
        "admission: {slo_priorities: {critical: 5, batch: -1}}\ntenant_budgets: {acme: 0.9}\n";
    let folder = Folder::with(&[("b.yaml", bundle), ("r.lua", script), ("right.yaml", right)]);
    let notes = |flags: &str| {
        let ran = folder.command(&format!("{CLASSES} {flags}"));
        assert_eq!(ran.code, 0, "{flags}: {}", ran.stderr);
        ran.stderr
            .replace(&folder.path().display().to_string(), "@")
    };
    let all = "the workload's classes: critical, sheddable, standard";
    for (flags, expected) in [
        (
            "--slo-ttft critcal=200ms,standard=1s --slo-e2e premium=9s",
            vec![
                format!(
                    "note: --slo-ttft names the class \"critcal\", which no request of the workload \
                     has; did you mean \"critical\"? ({all})"
                ),
                format!(
                    "note: --slo-e2e names the class \"premium\", which no request of the workload \
                     has ({all})"
                ),
            ],
        ),
        (
            "--policy-config @/b.yaml --routing-policy @/r.lua --summary-only",
            vec![
                format!(
                    "note: slo_priorities of the bundle names the class \"premum\", which no \
                     request of the workload has ({all})"
                ),
                "note: tenant_budgets of the bundle names the tenant \"glbex\", which no request of \
                 the workload has; did you mean \"globex\"? (the workload's tenants: acme, globex)"
                    .to_owned(),
                "note: @/r.lua:2 names the tenant \"acne\", which no request of the workload has; did \
                 you mean \"acme\"? (the workload's tenants: acme, globex)"
                    .to_owned(),
            ],
        ),
        ("--slo-ttft critical=200ms,1s --policy-config @/right.yaml", vec![]),
    ] {
        let said = notes(flags);
        let mut found: Vec<&str> = said.lines().filter(|l| l.contains(" names the ")).collect();
        let mut expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{flags}");
    }
    // In reports, too; a request without a class has the class "default".
    let json = folder.run("--num-requests 20 --slo-ttft default=1s,gold=1s --json");
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    let notes = report["setup"]["notes"].to_string();
    assert!(notes.contains("class \\\"gold\\\""), "{}", json.stdout);
    assert!(!notes.contains("class \\\"default\\\""), "{notes}");
}

#[test]
fn a_sweep_notes_a_name_once() {
    let folder = Folder::with(&[]);
    let ran = folder.command(
        "sweep --model llama-3.1-8b-instruct --num-requests 20 --slo-ttft gold=1s --seeds 2 \
         --grid rate=5,10 --out @/s.csv",
    );
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(
        ran.stderr.matches("names the class \"gold\"").count(),
        1,
        "{}",
        ran.stderr
    );
}
