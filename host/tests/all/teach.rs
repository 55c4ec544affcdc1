//! Mistakes that many make at first, and what is said of them; and what may be written in several
//! ways.

use crate::errors::Folder;
use serde_json::Value;

const MODEL: &str = "--model llama-3.1-8b-instruct";

fn json(folder: &Folder, args: &str) -> Value {
    let ran = folder.command(&format!("{args} --json"));
    assert_eq!(ran.code, 0, "{args}\n{}", ran.stderr);
    serde_json::from_str(&ran.stdout).expect("JSON")
}

fn error(folder: &Folder, args: &str) -> String {
    let ran = folder.command(args);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args}");
    ran.stderr
}

#[test]
fn a_method_with_a_dot_is_told_its_colon_before_the_run() {
    let text = "return { route = function(req, insts)
  local best = 1
  for i, inst in ipairs(insts) do
    if inst.approximate_prefix_blocks() > 0 then best = i end
  end
  return best
end }";
    let folder = Folder::with(&[
        ("dot.lua", text),
        ("colon.lua", &text.replace("inst.approx", "inst:approx")),
    ]);
    assert_eq!(
        folder.refused("--num-instances 2 --routing-policy @/dot.lua"),
        "@/dot.lua:4:13: approximate_prefix_blocks is a method: write inst:approximate_prefix_blocks(), with a colon"
    );
    folder.fine("--num-instances 2 --routing-policy @/colon.lua --num-requests 4");
}

#[test]
fn a_name_is_compared_with_a_text_in_every_field_that_has_one() {
    // Whoever is compared with its own name goes to the second instance.
    let trace = "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,input_tokens,output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,error_message,finish_reason,adapter
0,c,free,batch,chat,0,docs,5,false,20,3,20,0,0,0,0,,0,0,0,0,0,0,0,ok,,,mine
";
    let folder = Folder::with(&[("t.csv", trace)]);
    for (field, name) in [
        ("tenant", "free"),
        ("slo_class", "batch"),
        ("session", "chat"),
        ("prefix_group", "docs"),
        ("adapter", "mine"),
    ] {
        for (written, instance) in [(name, "instance_1"), ("other", "instance_0")] {
            let script = format!(
                "return {{ route = function(req) if req.{field} == \"{written}\" then return 2 end return 1 end }}"
            );
            folder.write("r.lua", script.as_bytes());
            let flags = format!("{MODEL} --num-instances 2 --routing-policy @/r.lua");
            let flags = format!("replay @/t.csv {flags} --results-path @/r.jsonl");
            let ran = folder.command(&flags);
            assert_eq!(ran.code, 0, "{field}: {}", ran.stderr);
            let row = std::fs::read_to_string(folder.path().join("r.jsonl")).expect("written");
            let row: Value = serde_json::from_str(row.trim()).expect("a row");
            assert_eq!(row["instance"], instance, "{field} == {written}: {row}");
        }
    }
}

#[test]
fn targets_of_a_statistic_are_sent_to_plans_and_gates() {
    let folder = Folder::with(&[]);
    let said = folder.refused("--slo-ttft p99=500ms");
    assert!(
        said.contains("--slo 'ttft.p99<500ms' of a plan")
            && said.contains("--fail-if 'ttft.p99>500ms'"),
        "{said}"
    );
    let said = folder.refused("--slo-itl mean=30ms");
    assert!(said.contains("--fail-if 'tpot.mean>30ms'"), "{said}");
    folder.fine("--slo-ttft default=500ms --num-requests 3");
    folder.fine("--fail-if ttft.p99>500s --num-requests 3");
}

#[test]
fn counts_and_times_have_letters_and_units() {
    let folder = Folder::with(&[]);
    let arrivals = |flags: &str| json(&folder, &format!("run {MODEL} {flags}"))["arrivals"].clone();
    let short = "--rate 1k --output-tokens 2 --output-tokens-stdev 0 --prompt-tokens 0.02k --prompt-tokens-stdev 0";
    assert_eq!(arrivals(&format!("{short} --num-requests 1.2k")), 1200);
    assert_eq!(arrivals(&format!("{short} --num-requests 1e3")), 1000);
    let same = |a: &str, b: &str| {
        let run = |flags: &str| {
            folder
                .fine(&format!("{short} --num-requests 50 {flags}"))
                .stdout
        };
        assert_eq!(run(a), run(b));
    };
    same("--timeout 2", "--timeout 2s");
    same("--timeout 0.25", "--timeout 250ms");
    same("--admission-latency 5000", "--admission-latency 5ms");
    same("--horizon 40000", "--horizon 40ms");
    for (flags, expected) in [
        (
            "--num-requests ten",
            "invalid value 'ten' for '--max-prompts <N>': expected a whole number, such as 500, 10k or 1e6",
        ),
        (
            "--timeout 10k",
            "expected a time, such as 200ms, 2s or 1m30s",
        ),
        ("--num-instances 2.5", "2.5 is not a whole number"),
    ] {
        let said = error(&folder, &format!("run {MODEL} {flags}"));
        assert!(said.contains(expected), "{said}");
    }
    let rows = json(
        &folder,
        &format!("sweep {MODEL} {short} --grid num-requests=0.1k:0.2k:0.1k"),
    );
    let arrived = |k: usize| rows[k]["arrived"].clone();
    assert_eq!([arrived(0), arrived(1)], [100, 200]);
}

#[test]
fn several_values_of_a_flag_are_sent_to_the_grid() {
    let folder = Folder::with(&[]);
    let said = error(&folder, &format!("sweep {MODEL} --rate 10,20"));
    assert!(said.contains("--grid rate=10,20"), "{said}");
    let said = error(&folder, &format!("sweep {MODEL} --num-requests 10:30:10"));
    assert!(said.contains("--grid max-prompts=10:30:10"), "{said}");
    let said = error(
        &folder,
        &format!("sweep {MODEL} --grid rate=1,2 --routing-policy jsq,random"),
    );
    assert!(said.contains("--grid routing-policy=jsq,random"), "{said}");
    let said = error(&folder, &format!("run {MODEL} --rate 10,20"));
    assert!(
        said.contains("windtunnel sweep --grid rate=10,20"),
        "{said}"
    );
}

#[test]
fn tables_of_any_columns_can_be_replayed_and_extra_ones_are_named() {
    let folder = Folder::with(&[
        (
            "own.csv",
            "when,who,in,out,cost\n10,a,100,3,0.1\n12.5,b,50,4,0.2\n",
        ),
        (
            "azure.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens,Region\n2023-11-16 18:17:03,50,3,eu\n2023-11-16 18:17:04,60,3,us\n",
        ),
    ]);
    let map = "--map arrival=when,prompt=in,output=out,tenant=who";
    for command in ["replay @/own.csv", "run --workload @/own.csv"] {
        let run = json(&folder, &format!("{command} {MODEL} {map}"));
        assert_eq!(run["arrivals"], 2);
    }
    let shown = json(&folder, &format!("workload show @/own.csv {map}"));
    assert_eq!(shown["requests"], 2);
    let said = folder.refused("--workload @/own.csv");
    assert!(
        said.contains("unknown columns") && said.contains("--map arrival=COLUMN,prompt=COLUMN"),
        "{said}"
    );
    let said = folder.refused("--workload @/own.csv --map arrival=wen,prompt=in,output=out");
    assert_eq!(
        said,
        "@/own.csv:1: the column \"wen\" is missing (the header has \"when\": is that it?)"
    );
    let said = folder.refused(&format!("{map} --rate 3"));
    assert!(said.contains("--map has no effect"), "{said}");
    let ran = folder.command(&format!("replay @/azure.csv {MODEL}"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let note = "columns that have no effect here: \"Region\"";
    assert!(ran.stderr.contains(note), "{}", ran.stderr);
}

#[test]
fn reference_policies_of_suites_are_policies_by_name() {
    let folder = Folder::with(&[]);
    let cluster = "--num-instances 4 --rate 60 --num-requests 300 --prefix-tokens 400";
    let run = |flags: &str| {
        let run = json(&folder, &format!("run {MODEL} {cluster} {flags}"));
        run["latency_ms"].clone()
    };
    let spread = run("--routing-policy affinity-spread");
    let written = "prefix-affinity:1,no-hit-lru:0.5,active-requests:2";
    assert_eq!(
        spread,
        run(&format!(
            "--routing-policy weighted --routing-scorers {written}"
        ))
    );
    assert_ne!(spread, run("--routing-policy round-robin"));
    let tight = run("--admission-policy token-bucket-tight");
    assert_eq!(
        tight,
        run(
            "--admission-policy token-bucket --token-bucket-capacity 20k --token-bucket-refill-rate 25k"
        )
    );
    let shown = folder.command("policy show precise-spread");
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    folder.write("b.yaml", shown.stdout.as_bytes());
    assert_eq!(
        run("--policy-config @/b.yaml"),
        run("--routing-policy precise-spread")
    );
    let joint = folder.command("policy show affinity-sjf");
    assert!(joint.stdout.contains("suite joint"), "{}", joint.stdout);
    folder.write("joint.yaml", joint.stdout.as_bytes());
    folder.fine("--policy-config @/joint.yaml --num-requests 3");
    let listed = json(&folder, "policy list --hook routing");
    let tuned = listed["policies"].as_array().expect("policies").iter();
    let tuned = tuned.filter(|p| p["kind"] == "tuned").count();
    assert_eq!(tuned, 6);
}

#[test]
fn requests_at_a_rate_come_at_random_where_vllm_is_followed() {
    let folder = Folder::with(&[]);
    let gaps = |flags: &str| {
        let flags = format!("run {MODEL} --rate 20 --num-requests 40 {flags}");
        let ran = folder.command(&format!("{flags} --results-path @/r.jsonl"));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let rows = std::fs::read_to_string(folder.path().join("r.jsonl")).expect("written");
        let at = |line: &str| {
            let row: Value = serde_json::from_str(line).expect("a row");
            row["arrival_us"].as_i64().expect("a time")
        };
        let mut at: Vec<i64> = rows.lines().map(at).collect();
        at.sort_unstable();
        let gaps: Vec<i64> = at.windows(2).map(|w| w[1] - w[0]).collect();
        let line = ran.stdout.lines().find(|l| l.starts_with("workload: "));
        (gaps, line.expect("a line").to_owned())
    };
    let (random, said) = gaps("--rules vllm");
    assert!(said.contains("(Poisson)"), "{said}");
    assert!(random.iter().any(|gap| *gap != random[0]));
    assert_eq!(gaps("").0, random, "kernel-tables follow vLLM");
    assert_eq!(gaps("--arrivals poisson --rules blis").0, random);
    assert_ne!(gaps("--burstiness 0.5").0, random);
    for evenly in [
        "--arrivals constant",
        "--rules blis",
        "--latency-model trained-physics",
        "--load-generator constant-rate",
    ] {
        let (gaps, said) = gaps(evenly);
        assert!(said.contains("(evenly spaced)"), "{evenly}: {said}");
        assert!(
            gaps.iter().all(|gap| (49_999..=50_000).contains(gap)),
            "{evenly}: {gaps:?}"
        );
    }
    let said = folder.refused("--arrivals constant --burstiness 2");
    assert!(said.contains("--burstiness has no effect"), "{said}");
}

#[test]
fn what_a_script_prints_goes_to_its_log_or_is_counted() {
    let script = "print('loaded')
local n = 0
return { route = function(req, insts)
  n += 1
  print('request', req.serial, {}, nil, '\\27[31m')
  if n > 3 then error('enough') end
  return 1
end }";
    let folder = Folder::with(&[
        ("fails.lua", script),
        ("p.lua", &script.replace("n > 3", "false")),
    ]);
    let log = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("written");
    let flags = "--num-instances 2 --num-requests 5 --routing-policy @/p.lua";
    let ran = folder.fine(flags);
    assert!(
        ran.stderr.contains("note: scripts printed 6 lines")
            && ran.stderr.contains("--script-log FILE"),
        "{}",
        ran.stderr
    );
    folder.fine(&format!("{flags} --script-log @/one.txt"));
    let again = folder.fine(&format!("{flags} --script-log @/two.txt --plain-steps"));
    assert!(!again.stderr.contains("printed"), "{}", again.stderr);
    assert_eq!(log("one.txt"), log("two.txt"));
    let at = folder.path().display();
    let request = |k: u32| format!("{at}/p.lua: request\t{k}\ttable\tnil\t [31m\n");
    let requests: String = (0..5).map(request).collect();
    assert_eq!(log("one.txt"), format!("{at}/p.lua: loaded\n{requests}"));
    // A run that breaks off has its log, too.
    let said = folder.refused(
        "--num-instances 2 --num-requests 5 --routing-policy @/fails.lua --script-log @/three.txt",
    );
    assert!(said.contains("enough"), "{said}");
    assert_eq!(log("three.txt").lines().count(), 5);
    assert_eq!(
        folder.refused("--script-log @/four.txt"),
        "--script-log has no effect without a policy from a script"
    );
    let said = error(
        &folder,
        &format!("sweep {MODEL} --grid rate=1,2 --script-log @/five.txt"),
    );
    assert!(
        said.contains("--script-log has no effect in a sweep"),
        "{said}"
    );
}

#[test]
fn plans_tell_slips_in_names_from_what_does_not_fit() {
    let folder = Folder::with(&[]);
    let plan = |grid: &str| {
        folder.command(&format!(
            "plan --model llama-3.1-70b-instruct --rate 1 --tp 1 --slo served>90% --seeds 1 --quiet {grid}"
        ))
    };
    let slip = plan("--grid hardware=H100,H10");
    assert_eq!((slip.code, slip.stdout.as_str()), (2, ""));
    assert!(
        slip.stderr.contains("unknown GPU \"H10\"; did you mean"),
        "{}",
        slip.stderr
    );
    // A verdict, beside a GPU that is large enough.
    let tight = plan("--grid hardware=L4,B200");
    assert_eq!(tight.code, 0, "{}", tight.stderr);
    assert!(tight.stdout.contains("hardware=L4"), "{}", tight.stdout);
}
