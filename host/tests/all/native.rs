//! Compiled plugins: what they decide, what is refused, what they cannot break.

pub(crate) mod built;
mod phases;
#[path = "../data/native/policies.rs"]
mod policies;
// What only the plugins' own tests use is dead code here.
#[allow(dead_code)]
#[path = "../../../plugins/session-affinity/src/policy.rs"]
pub(crate) mod session_affinity;
#[path = "../../../plugins/two-phases/src/policy.rs"]
pub(crate) mod two_phases;
#[allow(dead_code)]
#[path = "../../../plugins/vtc-fair/src/policy.rs"]
pub(crate) mod vtc_fair;

use crate::lab::{self, Affine, Arrival, BY_HAND, Round, Script, ask, fresh, roomy};
use crate::support::{root, windtunnel};
use built::{Fixtures, fixtures};
use policies::{Age, Gate, Least, Short, Spread};
use std::path::Path;
use std::sync::Arc;
use windtunnel_base::record::RunRecord;
use windtunnel_base::request::{Source, Symbols};
use windtunnel_base::slo_priority::SloPriorities;
use windtunnel_engine::cluster::{Cluster, ClusterConfig};
use windtunnel_engine::frontend::{FrontEndConfig, FrontEndPolicies, TraceConfig};
use windtunnel_engine::instance::{EngineConfig, EngineRules, InstanceHooks};
use windtunnel_plugin_api::{Admission, Priority, Router, Scheduler, Setup, VERSION, Victim};
use windtunnel_policy::native::{Language, Plugin};
use windtunnel_policy::{Hook, PolicySpec};

/// The policies of an instance.
type Inside = (Box<dyn Priority>, Box<dyn Scheduler>, Box<dyn Victim>);

/// The policies of a cluster: those of the front end, and those of each instance.
type Policies = (Box<dyn Admission>, Box<dyn Router>, Vec<Inside>);

const INSTANCES: u32 = 3;

/// Five hundred requests of two tenants and three classes over memory that is too small for them,
/// sessions among them.
fn traffic() -> Vec<Arrival> {
    (0..500u32)
        .map(|k| Arrival {
            class: ["critical", "standard", "batch"][k as usize % 3],
            tenant: ["vip", "other"][usize::from(k % 4 != 0)],
            timeout: if k % 17 == 3 { 4_000 } else { 0 },
            rounds: if k % 9 == 1 {
                vec![
                    Round {
                        think: 200,
                        prompt: 5 + k % 11,
                        output: 3 + k % 5
                    };
                    3
                ]
            } else {
                Vec::new()
            },
            ..ask(i64::from(k / 2) * 130, 1 + (k * 37) % 70, 1 + (k * 11) % 23)
        })
        .collect()
}

fn tight(rules: EngineRules) -> ClusterConfig {
    let engine = EngineConfig {
        total_kv_blocks: 60,
        block_size: 4,
        max_num_seqs: 5,
        ..roomy(rules)
    };
    let fresh = fresh(INSTANCES, engine);
    ClusterConfig {
        front: FrontEndConfig {
            trace: TraceConfig {
                decisions: true,
                counterfactual_k: 2,
                observations: false,
                kv_events: false,
                steps: false,
                series: None,
            },
            ..fresh.front
        },
        seed: 7,
        ..fresh
    }
}

/// Runs the traffic; `make` makes the policies from a setup.
fn run(rules: EngineRules, make: impl FnOnce(&mut Setup<'_>) -> Policies) -> RunRecord {
    let mut script = Script::new(&traffic());
    let (admission, router, instances) = {
        let mut symbol = |name: &str| script.symbols_mut().intern(name).0;
        make(&mut Setup {
            params: &[],
            instances: INSTANCES,
            slots: 15,
            symbol: &mut symbol,
        })
    };
    let front = FrontEndPolicies {
        admission,
        router,
        stages: None,
        dispatch: None,
        scale: Vec::new(),
        slo_priorities: SloPriorities::default(),
    };
    let batching = || lab::hooks(&PolicySpec::default(), 1).remove(0).batching;
    let hooks = instances
        .into_iter()
        .map(|(priority, scheduler, victim)| InstanceHooks {
            priority,
            scheduler,
            victim,
            batching: batching(),
        });
    let latency = Affine {
        per_context_block: 1,
        ..BY_HAND
    };
    let config = lab::timed(tight(rules), latency);
    let cluster = Cluster::new(config, front, hooks, &mut script);
    lab::run_checked(cluster.expect("a cluster"))
        .expect("the invariants hold")
        .0
}

/// Everything of two runs is the same, and something happened in them.
fn same(a: &RunRecord, b: &RunRecord) {
    assert_eq!((&a.fault, &b.fault), (&None, &None));
    assert_eq!(format!("{:?}", a.decisions), format!("{:?}", b.decisions));
    assert_eq!(format!("{:?}", a.requests), format!("{:?}", b.requests));
    assert!(a.requests.len() >= 500 && a.decisions.len() >= 500);
    assert!(a.requests.iter().any(|r| r.preemptions > 0));
}

fn built_in(setup: &mut Setup<'_>) -> Policies {
    let config = fresh(setup.instances, roomy(EngineRules::BLIS));
    let (front, hooks) = lab::policies(&PolicySpec::default(), &config, &mut Symbols::default());
    let inside = |hooks: InstanceHooks| (hooks.priority, hooks.scheduler, hooks.victim);
    let instances = hooks.into_iter().map(inside).collect();
    (front.admission, front.router, instances)
}

fn zoo_in_process(setup: &mut Setup<'_>) -> Policies {
    let params = [("longest".to_owned(), 50.0)];
    let gate = Gate::new(&mut Setup {
        params: &params,
        instances: setup.instances,
        slots: setup.slots,
        symbol: setup.symbol,
    });
    let spread = Spread::new(setup).expect("made");
    let instances = (0..INSTANCES).map(|_| -> Inside {
        (
            Box::new(Age::new(setup).expect("made")),
            Box::new(Short::new(setup).expect("made")),
            Box::new(Least::new(setup).expect("made")),
        )
    });
    let instances = instances.collect();
    (Box::new(gate.expect("made")), Box::new(spread), instances)
}

fn zoo_of(plugin: &Plugin, setup: &mut Setup<'_>) -> Policies {
    let params = [("longest".to_owned(), 50.0)];
    let gate = plugin.admission(
        None,
        &mut Setup {
            params: &params,
            instances: setup.instances,
            slots: setup.slots,
            symbol: setup.symbol,
        },
    );
    let router = plugin.router(Some("spread"), setup).expect("made");
    let instances = (0..INSTANCES).map(|_| {
        (
            plugin.priority(None, setup).expect("made"),
            plugin.scheduler(Some("short"), setup).expect("made"),
            plugin.victim(None, setup).expect("made"),
        )
    });
    let instances = instances.collect();
    (gate.expect("made"), router, instances)
}

/// Wants nothing but a constructor.
fn made<T>(params: &[(String, f64)], make: impl FnOnce(&mut Setup<'_>) -> T) -> T {
    make(&mut Setup {
        params,
        instances: 2,
        slots: 8,
        symbol: &mut |_| 0,
    })
}

#[test]
fn every_hook_decides_alike_in_the_process_in_a_rust_plugin_and_in_c() {
    let rust = Plugin::open(&fixtures().zoo).expect("the zoo");
    assert_eq!(
        (rust.manifest().language, rust.manifest().api),
        (Language::Rust, (1, 0))
    );
    let source = root().join("host/tests/data/native/zoo.c");
    let c = built::c("zoo", &source, &[]).map(|path| Plugin::open(&path).expect("the zoo in C"));
    if let Some(c) = &c {
        assert_eq!(
            (c.manifest().language, c.manifest().api),
            (Language::C, VERSION)
        );
        assert_eq!(
            rust.policy(Hook::Admission, None),
            c.policy(Hook::Admission, None),
            "doc and parameters"
        );
    }
    for rules in [EngineRules::BLIS, EngineRules::VLLM] {
        let twin = run(rules, zoo_in_process);
        let decisions = format!("{:?}", twin.decisions);
        for part in ["longer than 54", "reason: \"heard 2", "scores: Some"] {
            assert!(decisions.contains(part), "{part}");
        }
        same(&twin, &run(rules, |setup| zoo_of(&rust, setup)));
        if let Some(c) = &c {
            same(&twin, &run(rules, |setup| zoo_of(c, setup)));
        }
    }
}

#[test]
fn a_plugin_of_an_older_minor_version_keeps_working() {
    // The zoo was built against the pinned 1.0. Hosts of later minor versions, this one and those
    // to come, take it without comparing layouts.
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join("libolder.so");
    std::fs::copy(&fixtures().zoo, &copy).expect("copied");
    let older = Plugin::open_as(&copy, (1, 4)).expect("older plugins load");
    assert_eq!(older.manifest().api, (1, 0));
    let rules = EngineRules::VLLM;
    same(
        &run(rules, zoo_in_process),
        &run(rules, |setup| zoo_of(&older, setup)),
    );
}

/// The other way round: today's plugin in a host whose views are longer and whose tables have more
/// functions.
#[test]
fn a_plugin_of_today_works_in_a_host_of_a_later_minor_version() {
    let Fixtures {
        zoo,
        newer,
        later_host,
        ..
    } = fixtures();
    let mut command = std::process::Command::new(later_host);
    let output = command
        .env("OLD", zoo)
        .env("OWN", newer)
        .output()
        .expect("started");
    let said = String::from_utf8_lossy(&output.stdout);
    // spread goes by serial number, in turn, as the host's random numbers and estimates are all 0.
    assert_eq!(
        said,
        "zoo: [0, 1, 2, 0, 1, 2], later function None, later method 5\n\
         first: [0, 0, 0, 0, 0, 0], later function Some(11), later method 5\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_plugins_of_the_project_decide_as_their_traits_do() {
    let open = |name| Plugin::open(&built::of_the_workspace(name)).expect("a plugin");
    let (tokens, affinity, vtc) = (
        open("least-tokens"),
        open("session-affinity"),
        open("vtc-fair"),
    );
    let rules = EngineRules::VLLM;
    let routed = |router: &mut dyn FnMut(&mut Setup<'_>) -> Box<dyn Router>| {
        run(rules, |setup| {
            let (admission, _, instances) = built_in(setup);
            (admission, router(setup), instances)
        })
    };
    same(
        &routed(&mut |_| Box::new(windtunnel_plugin_least_tokens::LeastTokens::new())),
        &routed(&mut |setup| tokens.router(None, setup).expect("made")),
    );
    let params = [("points".to_owned(), 20.0), ("load_bound".to_owned(), 1.25)];
    same(
        &routed(&mut |_| {
            Box::new(made(&params, session_affinity::SessionAffinity::new).expect("made"))
        }),
        &routed(&mut |_| made(&params, |setup| affinity.router(None, setup)).expect("made")),
    );
    let scheduled = |scheduler: &mut dyn FnMut(&mut Setup<'_>) -> Box<dyn Scheduler>| {
        run(rules, |setup| {
            let (admission, router, instances) = built_in(setup);
            let instances = instances
                .into_iter()
                .map(|(priority, _, victim)| (priority, scheduler(setup), victim));
            let instances = instances.collect();
            (admission, router, instances)
        })
    };
    let params = [
        ("input_weight".to_owned(), 1.0),
        ("output_weight".to_owned(), 2.0),
    ];
    let fair = scheduled(&mut |_| Box::new(made(&params, vtc_fair::VtcFair::new).expect("made")));
    same(
        &fair,
        &scheduled(&mut |setup| vtc.scheduler(None, setup).expect("made")),
    );
    let plain = run(rules, built_in);
    assert_ne!(
        format!("{:?}", plain.requests),
        format!("{:?}", fair.requests)
    );
}

#[test]
fn the_c_example_routes_to_the_fewest_in_flight() {
    let source = root().join("plugins/c-example/least_requests.c");
    let Some(path) = built::c("least_requests", &source, &["-pedantic"]) else {
        return;
    };
    let plugin = Plugin::open(&path).expect("the example");
    let record = run(EngineRules::VLLM, |setup| {
        let (admission, _, instances) = built_in(setup);
        (
            admission,
            plugin.router(None, setup).expect("made"),
            instances,
        )
    });
    // Its twin, in the process.
    struct Fewest(u64);
    impl Router for Fewest {
        fn route(
            &mut self,
            _: &windtunnel_plugin_api::RequestView,
            cluster: &windtunnel_plugin_api::ClusterView<'_>,
        ) -> Result<windtunnel_plugin_api::Route, windtunnel_plugin_api::PolicyError> {
            self.0 += 1;
            let in_flight = |&i: &usize| cluster.instances[i].in_flight;
            let best = (0..cluster.instances.len())
                .min_by_key(in_flight)
                .expect("instances");
            Ok(windtunnel_plugin_api::Route::To(best))
        }
        fn reason(&self) -> String {
            format!("fewest in flight, {} sent", self.0)
        }
    }
    let twin = run(EngineRules::VLLM, |setup| {
        let (admission, _, instances) = built_in(setup);
        (admission, Box::new(Fewest(0)), instances)
    });
    same(&twin, &record);
}

/// What opening a file says, without its path.
fn refused(path: &Path) -> String {
    let error = Plugin::open(path).expect_err("refused").to_string();
    let beginning = format!("{}: ", path.display());
    error
        .strip_prefix(&beginning)
        .expect("the path first")
        .to_owned()
}

#[test]
fn other_versions_are_refused_with_both_versions_named() {
    let Fixtures {
        newer,
        other_major,
        forged,
        ..
    } = fixtures();
    assert_eq!(
        refused(newer),
        "it was built for plugin-api 1.9, this windtunnel speaks 1.1: update windtunnel, or rebuild it against 1.1"
    );
    assert_eq!(
        refused(other_major),
        "it was built for plugin-api 2.0, this windtunnel speaks 1.1: rebuild it against 1.x"
    );
    let lines = refused(forged);
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        lines[0],
        "it claims plugin-api 1.1 but is laid out differently:"
    );
    assert_eq!(
        lines[1],
        "  Event: incompatible type size Expected: 64 Found: 72"
    );
    assert!(lines[2].contains("rebuild it"), "{lines:?}");
    let source = root().join("host/tests/data/native/zoo.c");
    for (name, flag, said) in [
        (
            "newer",
            "-DMINOR=9",
            "built for plugin-api 1.9, this windtunnel speaks 1.1",
        ),
        (
            "major",
            "-DMAJOR=3",
            "built for plugin-api 3.1, this windtunnel speaks 1.1",
        ),
    ] {
        if let Some(path) = built::c(name, &source, &[flag]) {
            let error = refused(&path);
            assert!(error.contains(said), "{error}");
        }
    }
}

#[test]
fn what_is_no_plugin_or_damaged_is_refused_before_it_is_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        refused(&path)
    };
    assert_eq!(
        refused(&folder.path().join("none.so")),
        "cannot read: no such file or folder"
    );
    assert_eq!(refused(folder.path()), "cannot read: it is a folder");
    let expected = "expected a shared library with policies (.so), or a .lua file";
    assert_eq!(
        file("text.so", b"return { route = function() return 1 end }"),
        format!("the file is not a shared library; {expected}")
    );
    assert_eq!(
        file("empty.so", b""),
        format!("the file is empty; {expected}")
    );
    let stranger = refused(&fixtures().stranger);
    assert!(
        stranger.contains("is not a windtunnel plugin: it exports neither"),
        "{stranger}"
    );
    let whole = std::fs::read(&fixtures().zoo).expect("the zoo");
    for cut in [1, 2, 3, 5, 7, 9]
        .map(|tenths| whole.len() * tenths / 10)
        .into_iter()
        .chain([100, whole.len() - 1])
    {
        let error = file(&format!("cut-{cut}.so"), &whole[..cut]);
        assert!(
            error.contains("damaged or cut short") || error.contains("not a shared library"),
            "{cut}: {error}"
        );
    }
    let program = refused(&std::env::current_exe().expect("this program"));
    assert!(
        program.contains("not a windtunnel plugin") || program.contains("a program"),
        "{program}"
    );
}

#[test]
fn a_policy_is_found_by_hook_and_name() {
    let zoo = Plugin::open(&fixtures().zoo).expect("the zoo");
    let path = fixtures().zoo.display();
    let error = |hook, name| zoo.policy(hook, name).expect_err("refused").to_string();
    assert_eq!(
        error(Hook::Routing, Some("spraed")),
        format!(
            "{path}: unknown routing policy \"spraed\"; did you mean \"spread\"? valid: spread, panics, panics-early, far, undeclared"
        )
    );
    assert_eq!(
        error(Hook::Routing, None),
        format!(
            "{path}: it has 5 routing policies; say which: {path}:NAME with one of spread, panics, panics-early, far, undeclared"
        )
    );
    let tokens = Plugin::open(&built::of_the_workspace("least-tokens")).expect("a plugin");
    let error = tokens
        .policy(Hook::Scheduler, None)
        .expect_err("refused")
        .to_string();
    assert!(
        error.ends_with("it has no scheduler policy; it offers: routing least-tokens"),
        "{error}"
    );
    assert_eq!(
        zoo.policy(Hook::Priority, None).expect("the only one").name,
        "age"
    );

    let gate = |params: &[(&str, f64)]| {
        let params: Vec<_> = params.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
        let made = made(&params, |setup| zoo.admission(Some("gate"), setup));
        made.err().map(|e| e.to_string())
    };
    let whose = format!("{path}: admission policy \"gate\"");
    assert_eq!(gate(&[("longest", 7.0)]), None);
    assert_eq!(
        gate(&[("longest", 7.5)]),
        Some(format!(
            "{whose}: parameter \"longest\" is 7.5; expected a whole number"
        ))
    );
    assert!(gate(&[("largest", 7.0)]).is_some_and(|e| e.contains("did you mean \"longest\"?")));
    assert_eq!(
        gate(&[("longest", 13.0)]),
        Some(format!("{whose} cannot be made: 13 brings bad luck"))
    );
}

/// The fault of a run with a router of the zoo.
fn fault_of(plugin: &Plugin, router: &str) -> Option<String> {
    run(EngineRules::VLLM, |setup| {
        let (admission, _, instances) = built_in(setup);
        let router = plugin.router(Some(router), setup).expect("made");
        (admission, router, instances)
    })
    .fault
    .map(|fault| fault.to_string())
}

#[test]
fn a_policy_that_panics_ends_its_run_and_nothing_else() {
    let zoo = Plugin::open(&fixtures().zoo).expect("the zoo");
    let before = format!("{:?}", run(EngineRules::VLLM, |setup| zoo_of(&zoo, setup)));
    assert_eq!(
        fault_of(&zoo, "panics").as_deref(),
        Some(
            "the routing policy failed on request_3: the policy panicked: three is too many for 3"
        )
    );
    assert_eq!(
        fault_of(&zoo, "panics-early").as_deref(),
        Some("the routing policy failed on request_0: the policy panicked: no interests")
    );
    let far = fault_of(&zoo, "far").expect("a fault");
    assert!(far.ends_with("expected 0 to 2"), "{far}");
    let error = made(&[], |setup| zoo.router(Some("undeclared"), setup))
        .err()
        .expect("refused");
    assert!(
        error.to_string().ends_with(
            "cannot be made: the policy panicked: the policy reads parameter \"undeclared\" without declaring it"
        ),
        "{error}"
    );
    let after = format!("{:?}", run(EngineRules::VLLM, |setup| zoo_of(&zoo, setup)));
    assert_eq!(before, after);
}

#[test]
fn a_c_policy_fails_in_its_own_words() {
    let source = root().join("host/tests/data/native/zoo.c");
    let Some(path) = built::c("fails", &source, &[]) else {
        return;
    };
    let plugin = Plugin::open(&path).expect("the zoo in C");
    let fault = fault_of(&plugin, "silent");
    assert_eq!(
        fault.as_deref(),
        Some("the routing policy failed on request_0: it returned 7 without a text")
    );
    let params = [("longest".to_owned(), 13.0)];
    let error = made(&params, |setup| plugin.admission(None, setup))
        .err()
        .expect("refused");
    assert!(
        error
            .to_string()
            .ends_with("cannot be made: 13 brings bad luck"),
        "{error}"
    );
}

#[test]
fn a_plugin_is_opened_once() {
    let path = &fixtures().zoo;
    let once = Plugin::open(path).expect("the zoo");
    let detour = path
        .parent()
        .expect("a folder")
        .join("..")
        .join("debug/libzoo.so");
    assert!(Arc::ptr_eq(&once, &Plugin::open(&detour).expect("the zoo")));
}

#[test]
fn what_plugin_new_writes_builds_passes_its_tests_and_is_a_plugin() {
    for (hook, plugin) in built::templates() {
        let ran = windtunnel(["plugin".as_ref(), "inspect".as_ref(), plugin.as_os_str()]);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
        assert!(
            ran.stdout.contains(&format!("\n{hook} my-{hook}\n")),
            "{}",
            ran.stdout
        );
        if hook == "scale" {
            scales_as_its_script(&plugin);
        }
    }
}

/// The plugin decides as the script does that `policy new` writes.
fn scales_as_its_script(plugin: &Path) {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("scale.lua");
    let script = script.display().to_string();
    let made = windtunnel(["policy", "new", "--hook", "scale", &script]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let [by_plugin, by_script] = [plugin.display().to_string(), script].map(|policy| {
        let line = "run --model llama-3.1-8b-instruct --rate 30 --num-requests 1500 --quiet --json --autoscale-max 5 \
                    --autoscale-interval 2 --autoscale-startup 3 --policy-param scale.target=12 --autoscale";
        let ran = windtunnel(line.split_whitespace().chain([policy.as_str()]));
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
        json["scaling"].clone()
    });
    assert!(
        by_plugin["pools"][0]["scale_ups"].as_u64() > Some(0),
        "{by_plugin}"
    );
    assert_eq!(by_plugin, by_script);
}

#[test]
fn inspect_prints_what_a_plugin_offers() {
    let zoo = fixtures().zoo.display().to_string();
    let ran = windtunnel(["plugin", "inspect", &zoo]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let beginning = "zoo 0.0.7: Rust interface, plugin-api 1.0

admission gate
  Rejects long prompts, delays some.
  longest = 60 (1 to 1000, whole, log scale): Longest prompt that comes in.
  idle = -0.5 (-1 to 1): Does nothing.

routing spread
";
    assert!(ran.stdout.starts_with(beginning), "{}", ran.stdout);
    let ran = windtunnel(["plugin", "inspect", &zoo, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(json["interface"], "Rust");
    assert_eq!(json["policies"][0]["params"][0]["default"], 60.0);
    assert_eq!(json["policies"].as_array().map(Vec::len), Some(9));
    let ran = windtunnel(["plugin", "inspect", "README.md"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (2, ""));
    assert!(
        ran.stderr
            .contains("README.md: the file is not a shared library"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_new_crate_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (args, said) in [
        (
            ["plugin", "new", "My", "--dir", &at("a")],
            "the name \"My\" makes no crate",
        ),
        (
            ["plugin", "new", "match", "--dir", &at("a")],
            "means something to Rust; choose another, such as match-policy",
        ),
        (
            ["plugin", "new", "mine", "--dir", &at("no/where")],
            "cannot write: there is no folder",
        ),
        (
            ["plugin", "new", "mine", "--dir", &at(".")],
            "it exists already",
        ),
    ] {
        let ran = windtunnel(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    let ran = windtunnel(["plugin", "new", "mine", "--hook", "rooting"]);
    assert!(
        ran.stderr.contains("did you mean \"routing\"?"),
        "{}",
        ran.stderr
    );
    assert_eq!(
        folder.path().read_dir().expect("readable").count(),
        0,
        "nothing is left behind"
    );
}
