//! Scripts as policies: what they are told when they are wrong, and what becomes of those that mean
//! harm.

use crate::lab::{self, Arrival, Script, ask, fresh, roomy};
use std::sync::Arc;
use windtunnel_base::fault::RunFault;
use windtunnel_base::record::RunRecord;
use windtunnel_base::request::{Source, Symbols};
use windtunnel_engine::cluster::Cluster;
use windtunnel_engine::frontend::{Detector, FlowControl};
use windtunnel_engine::instance::{EngineConfig, EngineRules};
use windtunnel_policy::lua::Program;
use windtunnel_policy::{Builder, Choice, External, Hook, PolicySpec};

/// A spec in which `text` fills `hook`, everything else built in.
pub(crate) fn spec(hook: Hook, text: &str) -> PolicySpec {
    let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
    let mut spec = PolicySpec::default();
    let policy = External::Script(Arc::new(program));
    spec.set(hook, Choice::External(policy));
    spec
}

pub(crate) fn load_error(hook: Hook, text: &str) -> String {
    let spec = spec(hook, text);
    let mut symbols = Symbols::default();
    let mut builder = Builder::new(&spec, 3, 1, &mut symbols);
    let error = match hook {
        Hook::Admission => builder.admission().err(),
        Hook::Routing => builder.router().err(),
        Hook::Priority => builder.priority(0).err(),
        Hook::Scheduler => builder.scheduler(0).err(),
        Hook::Preemption => builder.victim(0).err(),
        Hook::Disaggregation => builder.disaggregation().err(),
        Hook::Batching => builder.batching(0, 0).err(),
        Hook::Dispatch => builder.dispatch().err(),
        Hook::Scale => builder.scale(0).err(),
    };
    error.map_or(String::new(), |e| e.to_string())
}

/// Requests of two tenants that queue, on three small instances.
fn asks() -> Vec<Arrival> {
    (0..60)
        .map(|k: u32| Arrival {
            tenant: if k.is_multiple_of(3) { "a" } else { "b" },
            class: if k.is_multiple_of(4) {
                "critical"
            } else {
                "batch"
            },
            prefix: (1 + k % 2, 32),
            ..ask(i64::from(k) * 40, 20 + k * 7 % 50, 1 + k * 11 % 40)
        })
        .collect()
}

fn run(spec: &PolicySpec) -> RunRecord {
    let engine = EngineConfig {
        max_num_seqs: 2,
        total_kv_blocks: 11,
        ..roomy(EngineRules::BLIS)
    };
    let mut config = fresh(3, engine);
    if spec.dispatch.external().is_some() {
        config.front.flow_control = Some(FlowControl {
            detector: Detector::Concurrency { requests: 2.0 },
            ..FlowControl::default()
        });
    }
    let mut script = Script::new(&asks());
    let (front, hooks) = lab::policies(spec, &config, script.symbols_mut());
    let cluster = Cluster::new(config, front, hooks, &mut script);
    cluster.expect("a cluster").run(&mut |_| {})
}

/// Why a run with this script broke off.
pub(crate) fn broken(hook: Hook, text: &str) -> Option<RunFault> {
    run(&spec(hook, text)).fault
}

pub(crate) fn fault(hook: Hook, text: &str) -> String {
    broken(hook, text).map_or(String::new(), |fault| fault.to_string())
}

fn route(body: &str) -> String {
    format!(
        "local n, t, s = 0, {{}}, 'x'\nreturn {{ route = function(req, insts, cluster)\n{body}\nend }}"
    )
}

#[test]
fn mistakes_name_file_line_hook_request_and_nearest_name() {
    let first = "the routing policy failed on request_0: p.lua";
    for (body, message) in [
        (
            "return insts[1].queue_dept",
            ":3: inst has no field \"queue_dept\"; did you mean \"queue_depth\"?",
        ),
        (
            "return insts[1]['queue_' .. 'depth']",
            ":3: inst.queue_depth is not there: either this hook does not have it, or the file must spell its name out",
        ),
        (
            "return req.output_tokens",
            ":3: req.output_tokens is not there: either this hook",
        ),
        (
            "return cluster.noww",
            ":3: cluster has no field \"noww\"; did you mean \"now_us\"?",
        ),
        ("return nobody", ":3: unknown global \"nobody\""),
        (
            "return maths.huge",
            ":3: unknown global \"maths\"; did you mean \"math\"?",
        ),
        (
            "count = 1 return 1",
            ":3: global \"count\" cannot be set, globals are read-only: write \"local count\"",
        ),
        (
            "math.floor = nil return 1",
            ":3: attempt to modify a readonly table",
        ),
        (
            "return cfg.weight",
            ":3: unknown parameter \"weight\"; the file declares none with --@param",
        ),
        (
            "return 1 + nil",
            ":3: attempt to perform arithmetic (add) on number and nil",
        ),
        ("error({})", ": the policy raised a table; expected a text"),
        ("error('no idea')", ":3: no idea"),
        (
            "return 0",
            ":2: route returned 0; expected a position from 1 to 3, or hold(microseconds)",
        ),
        (
            "return 4",
            ":2: route returned 4; expected a position from 1 to 3, or hold(microseconds)",
        ),
        (
            "return 2.5",
            ":2: route returned 2.5; expected a position from 1 to 3",
        ),
        ("return -1", ":2: route returned -1; expected a position"),
        ("return 0/0", ":2: route returned NaN; expected a position"),
        ("return 1/0", ":2: route returned inf; expected a position"),
        (
            "return",
            ":2: route returned nothing (nil); expected a position",
        ),
        (
            "return 'first'",
            ":2: route returned the text \"first\"; expected a position",
        ),
        (
            "return insts[1]",
            ":2: route returned a table; expected a position",
        ),
        (
            "return hold(0)",
            ":3: hold takes microseconds from 1 to 1e15, found 0",
        ),
        (
            "return symbol('a')",
            ":3: symbol can be called while the file is loaded only",
        ),
        (
            "return est_ttft_us(insts, 10, 0)",
            ":3: est_ttft_us takes an instance of the decision at hand",
        ),
        (
            "return rng(0)",
            ":3: rng takes a whole number from 1 to 4294967296, found 0",
        ),
    ] {
        let found = fault(Hook::Routing, &route(body));
        assert!(
            found.starts_with(&format!("{first}{message}")),
            "{body}\n{found}"
        );
    }
    for (hook, text, message) in [
        (
            Hook::Admission,
            "return { admit = function(req) return 1 end }",
            "the admission policy failed on request_0: p.lua:1: admit returned 1; expected true, false with a reason, or delay(microseconds)",
        ),
        (
            Hook::Admission,
            "return { admit = function(req) return false, 7 end }",
            "the admission policy failed on request_0: p.lua:1: admit, as the reason, returned 7; expected a text",
        ),
        (
            Hook::Routing,
            "return { score = function(req, inst) return inst.index == 2 and 'best' or 1 end }",
            "the routing policy failed on request_0: p.lua:1: score for instance 2 returned the text \"best\"; expected a number",
        ),
        (
            Hook::Priority,
            "return { priority = function(req) return nil end }",
            "the priority policy failed on request_0: p.lua:1: priority returned nothing (nil); expected a number",
        ),
        (
            Hook::Scheduler,
            "return { key = function(req) return 0/0 end }",
            "the scheduler failed on request_0: p.lua:1: key returned NaN; expected a number",
        ),
        (
            Hook::Scheduler,
            "return { score = function(now, req) return now > 500 and req or 1 end }",
            "the scheduler failed",
        ),
        (
            Hook::Scheduler,
            "return { order = function(waiting) return #waiting end }",
            "the scheduler failed: p.lua:1: order returned 1; expected a table of keys, one for each waiting request",
        ),
        (
            Hook::Scheduler,
            "return { order = function(waiting) return {} end }",
            "the scheduler failed: p.lua:1: order for waiting request 1 of 1 returned nothing (nil); expected a number",
        ),
        (
            Hook::Preemption,
            "return { victim = function(running) return #running + 1 end }",
            "the preemption policy failed: p.lua:1: victim returned 3; expected a position from 1 to 2",
        ),
        (
            Hook::Batching,
            "return { batch = function() return { max_new_tokens = -1 } end }",
            "the batching strategy failed at step 0: p.lua:1: batch, as max_new_tokens, returned -1; expected a number of 0 or more",
        ),
        (
            Hook::Batching,
            "return { batch = function(step) return { max_admissions = step.free_place } end }",
            "the batching strategy failed at step 0: p.lua:1: step has no field \"free_place\"; did you mean \"free_places\"?",
        ),
        (
            Hook::Dispatch,
            "return { next_held = function(held) return #held + 1 end }",
            "the dispatch policy failed: p.lua:1: next_held returned 2; expected a position from 1 to 1, or nil",
        ),
        (
            Hook::Dispatch,
            "return { next_held = function(held) return held[1].due end }",
            "the dispatch policy failed: p.lua:1: req has no field \"due\"; did you mean \"due_us\"?",
        ),
        (
            Hook::Dispatch,
            "return { next_held = function(held, gateway) return gateway.dept end }",
            "the dispatch policy failed: p.lua:1: gateway has no field \"dept\"; did you mean \"depth\"?",
        ),
        (
            Hook::Routing,
            "return { route = function() return 1 end, tick_us = 1000, on_tick = function(cluster) return cluster.nw end }",
            "the routing policy failed at a tick: p.lua:1: cluster has no field \"nw\"",
        ),
        (
            Hook::Routing,
            "return { route = function() return 1 end, on_complete = function(ev) return ev.ttft end }",
            "the routing policy failed to take in an event: p.lua:1: ev has no field \"ttft\"; did you mean \"ttft_us\"?",
        ),
    ] {
        let found = fault(hook, text);
        assert!(found.starts_with(message), "{text}\n{found}");
    }
}

#[test]
fn files_that_cannot_be_policies_are_refused_at_load() {
    for (hook, text, message) in [
        (
            Hook::Routing,
            "return { route = function(req insts) end }",
            "p.lua:1: Expected ')'",
        ),
        (
            Hook::Routing,
            "x = 1",
            "p.lua:1: global \"x\" cannot be set, globals are read-only: write \"local x\"",
        ),
        (
            Hook::Routing,
            "function route(req, insts) return 1 end",
            "p.lua:1: global \"route\" cannot be set, globals are read-only: write \"local function route\" and at the end \"return { route = route }\"",
        ),
        (
            Hook::Routing,
            "return 1",
            "p.lua: the file returns 1; expected a table of hooks",
        ),
        (
            Hook::Routing,
            "local t = {}",
            "p.lua: the file returns nothing (nil); expected a table of hooks",
        ),
        (
            Hook::Routing,
            "return { rout = function() end }",
            "p.lua: unknown hook \"rout\"; did you mean \"route\"?",
        ),
        (
            Hook::Routing,
            "return { routing = { rout = function() end } }",
            "p.lua: unknown hook of routing \"rout\"; did you mean \"route\"? valid: route, score, route_columns, on_dispatch",
        ),
        (
            Hook::Routing,
            "return { route = 1 }",
            "p.lua: route is 1; expected a function",
        ),
        (
            Hook::Routing,
            "return { key = function() return 1 end }",
            "p.lua: fills scheduler, but is asked for routing: expected a function route or score or route_columns",
        ),
        (
            Hook::Routing,
            "return { route = function() end, score = function() end }",
            "p.lua: gives route and score for routing; expected one of them",
        ),
        (
            Hook::Routing,
            "return { route = function() end, on_tick = function() end }",
            "p.lua: on_tick needs tick_us",
        ),
        (
            Hook::Routing,
            "return { route = function() end, on_tick = function() end, tick_us = 10 }",
            "p.lua: tick_us is 10; expected whole microseconds from 1000",
        ),
        (
            Hook::Scheduler,
            "return { key = function() end, refresh_us = -1 }",
            "p.lua: refresh_us is -1; expected whole microseconds from 0",
        ),
        (
            Hook::Routing,
            "local x = column('queue')",
            "p.lua:1: column has no field \"queue\"",
        ),
        (
            Hook::Routing,
            "return require('os')",
            "p.lua:1: unknown global \"require\"",
        ),
        (
            Hook::Routing,
            "local x = rng()",
            "p.lua:1: nothing can be asked here",
        ),
    ] {
        let found = load_error(hook, text);
        assert!(found.starts_with(message), "{text}\n{found}");
    }
}

const CALL: &str = "budget of instructions for a call";

/// Attacks by what they do in a call, and what is said of them.
const ATTACKS: &[(&str, &str)] = &[
    ("while true do end", CALL),
    ("for i = 1, 1e18 do end return 1", CALL),
    ("for i = 1, math.huge do n += 1 end", CALL),
    (
        "repeat pcall(function() while true do end end) until false",
        CALL,
    ),
    ("pcall(function() while true do end end) return 1", CALL),
    (
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        CALL,
    ),
    (
        "local f = function() while true do end end for _ = 1, 50 do local g = f f = function() return pcall(g) end end f() return 1",
        CALL,
    ),
    ("coroutine.wrap(function() while true do end end)()", CALL),
    (
        "while true do coroutine.resume(coroutine.create(function() end)) end",
        CALL,
    ),
    (
        "local function f() return f() end return f()",
        "stack overflow",
    ),
    (
        "local s = string.rep('a', 3000) string.find(s, string.rep('a*', 30) .. 'b') return 1",
        CALL,
    ),
    (
        "string.find(string.rep('a', 60000), '.-.-.-b') return 1",
        CALL,
    ),
    (
        "string.gsub(string.rep('a', 60000), 'a*b', 'c') return 1",
        CALL,
    ),
    (
        "string.rep('x', 1e10)",
        "string.rep would make 10000000000 bytes; at most 65536 are allowed",
    ),
    (
        "local x = 'x' while true do x = x .. x end",
        "the policy made a text longer than 64 KiB",
    ),
    (
        "for i = 1, 1e9 do t[i] = string.rep('x', 60000 + i % 7) end",
        "the policy exceeded its",
    ),
    ("while true do s ..= 'xxxxxxxx' end", ""),
    (
        "while true do pcall(function() local t = {} for i = 1, 1e7 do t[i] = {i} end end) end",
        "",
    ),
    (
        "table.move({}, 1, 2^31 - 10, 2, {})",
        "table.move over 2147483638 elements; at most 1000000 are allowed",
    ),
    (
        "table.insert(setmetatable({}, { __len = function() return 2^40 end }), 1, 1) while true do end",
        CALL,
    ),
    (
        "local b = table.create(1000000, 1) while true do table.sort(b) end",
        CALL,
    ),
    (
        "local b = table.create(1000000, 1) while true do table.insert(b, 1, 1) end",
        "",
    ),
    (
        "local b = table.create(900000, 'x') while true do table.concat(b) end",
        "",
    ),
    (
        "local s = string.rep('x', 60000) while true do string.find(s, 'ab', 1, true) end",
        CALL,
    ),
    (
        "local s = string.rep('x', 60000) while true do s:upper() end",
        "",
    ),
    ("table.create(2^26)", "table.create over 67108864 elements"),
    (
        "buffer.create(2^30)",
        "buffer.create over 1073741824 elements",
    ),
    (
        "table.unpack({}, 1, 1e8)",
        "table.unpack over 100000000 elements",
    ),
    (
        "local function f() return 1 + f() end return f()",
        "stack overflow",
    ),
    (
        "local m = {} for _ = 1, 1e5 do m = setmetatable({}, { __index = m }) end return m.x",
        "",
    ),
    (
        "return setmetatable({}, { __index = function(t, k) return t[k] end }).x",
        "",
    ),
    (
        "table.sort({3, 1, 2}, function() return true end) error('sorted')",
        "",
    ),
    ("getmetatable('').__index = nil", ""),
    (
        "getmetatable(insts[1]).__index = nil",
        "attempt to index string with '__index'",
    ),
    ("setmetatable(insts[1], {})", "protected metatable"),
    ("local y = coroutine.yield() return y", "attempt to yield"),
    ("while true do est_prefill_us(4e9) end", ""),
    ("while true do est_step_us(0, 4e9, 1) end", ""),
    (
        "while true do est_step_us(2^31, 2^31, 2^60) est_ttft_us(insts[1], 4e9, 0) end",
        "",
    ),
    ("return os.time()", "unknown global \"os\""),
    ("return io.open('/etc/passwd')", "unknown global \"io\""),
    (
        "return loadstring('return 1')()",
        "unknown global \"loadstring\"",
    ),
    ("return debug.info(1, 's')", "unknown global \"debug\""),
    ("return getfenv()", "unknown global \"getfenv\""),
    (
        "return collectgarbage('count')",
        "unknown global \"collectgarbage\"",
    ),
    ("buffer.writef64(t.inbox, 0, 1)", ""),
];

/// Everything of a run that is a result.
fn fingerprint(record: &RunRecord) -> String {
    format!("{:?} {:?}", record.requests, record.instances)
}

#[test]
fn attacks_end_within_their_budget_and_leave_no_trace() {
    let innocent = spec(
        Hook::Routing,
        &route(
            "n += 1 t[#t + 1] = rng(3) local k = hash(tostring(n)) return 1 + (k + t[#t]) % #insts",
        ),
    );
    let before = fingerprint(&run(&innocent));
    for (body, message) in ATTACKS {
        let found = fault(Hook::Routing, &route(body));
        assert!(
            found.contains("p.lua") && found.contains(message),
            "{body}\n{found}"
        );
        assert_eq!(fingerprint(&run(&innocent)), before, "after {body}");
    }
}

#[test]
fn attacks_at_load_end_as_well() {
    for (body, message) in ATTACKS.iter().filter(|(body, _)| !body.contains("insts")) {
        let text = format!("local n, t, s = 0, {{}}, 'x'\ndo {body} end");
        // `return` must end a block.
        let text = text.replace(" end end\n", " end\n");
        let found = load_error(Hook::Routing, &text);
        assert!(
            found.contains("p.lua") && found.contains(message),
            "{body}\n{found}"
        );
    }
}

/// The budget of a run is counted over all its calls; a script that is cheap in each can still be
/// too dear in all.
#[test]
fn every_hook_is_limited() {
    let hang = "while true do end";
    for (hook, text, who) in [
        (
            Hook::Admission,
            format!("return {{ admit = function() {hang} end }}"),
            "admission policy failed on request_0",
        ),
        (
            Hook::Priority,
            format!("return {{ priority = function() {hang} end }}"),
            "priority policy failed on request_0",
        ),
        (
            Hook::Scheduler,
            format!("return {{ key = function() {hang} end }}"),
            "scheduler failed on request_0",
        ),
        (
            Hook::Scheduler,
            format!("return {{ score = function(now) if now > 200 then {hang} end return 1 end }}"),
            "scheduler failed",
        ),
        (
            Hook::Scheduler,
            format!("return {{ order = function() {hang} end }}"),
            "scheduler failed",
        ),
        (
            Hook::Preemption,
            format!("return {{ victim = function() {hang} end }}"),
            "preemption policy failed",
        ),
        (
            Hook::Dispatch,
            format!("return {{ next_held = function() {hang} end }}"),
            "dispatch policy failed",
        ),
        (
            Hook::Batching,
            format!("return {{ batch = function() {hang} end }}"),
            "batching strategy failed at step 0",
        ),
        (
            Hook::Routing,
            format!("return {{ score = function() {hang} end }}"),
            "routing policy failed on request_0",
        ),
        (
            Hook::Routing,
            format!(
                "return {{ route = function() return 1 end, on_dispatch = function() {hang} end }}"
            ),
            "routing policy failed to take in an event",
        ),
        (
            Hook::Routing,
            format!(
                "return {{ route = function() return 1 end, tick_us = 1000, on_tick = function() {hang} end }}"
            ),
            "routing policy failed at a tick",
        ),
    ] {
        let found = fault(hook, &text);
        assert!(
            found.contains(who) && found.contains(CALL),
            "{text}\n{found}"
        );
    }
}

/// A script learns nothing that changes from run to run: no clock, no address, no seed of its own.
#[test]
fn scripts_are_deterministic() {
    let text = route(
        "t[#t + 1] = tostring({}) .. tostring(route) .. string.format('%s %s', {}, print) .. `{t}` .. math.random(1000)
        for key in {} do end
        local k = 0
        for name, value in pairs({ a = 1, b = 2, c = 3, d = rng() }) do k = k * 31 + value + #name end
        return 1 + math.floor(hash(t[#t]) + k * 1000) % #insts",
    )
    .replace("tostring(route) .. ", "")
    .replace(", print", ", tostring");
    let once = run(&spec(Hook::Routing, &text));
    assert_eq!(once.fault, None);
    for _ in 0..3 {
        assert_eq!(
            fingerprint(&run(&spec(Hook::Routing, &text))),
            fingerprint(&once)
        );
    }
    let chosen: Vec<Option<u32>> = once.requests.iter().map(|r| r.instance).collect();
    assert!((0..3).all(|i| chosen.contains(&Some(i))), "{chosen:?}");
}

/// State lives as long as the run: one copy at the front end, one on each instance, none shared
/// with another run.
#[test]
fn admission_and_routing_of_a_file_share_its_state_and_instances_do_not() {
    let text = "
    local admitted = 0
    return {
      admit = function() admitted += 1 return true end,
      -- As many were admitted as were routed: everybody goes to the first instance, else the run ends.
      route = function(req) return admitted == req.serial + 1 and 1 or 'lost count' end,
      key = function() admitted += 1 return -admitted end,
    }";
    let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
    let policy = External::Script(Arc::new(program));
    let mut both = PolicySpec::default();
    for hook in [Hook::Admission, Hook::Routing, Hook::Scheduler] {
        both.set(hook, Choice::External(policy.clone()));
    }
    let record = run(&both);
    assert_eq!(record.fault, None);
    assert!(record.requests.iter().all(|r| r.instance == Some(0)));
    // Last come, first served: some request overtook another.
    let started = |k: usize| record.requests[k].scheduling_delay_us.expect("served") + asks()[k].at;
    assert!((0..40).any(|k| started(k) > started(k + 20)));
}
