//! What a script may have at most, and what it is told: memory, texts, errors, weak tables.

use super::attacks::{file, run, run_as};
use super::{Program, canonical};

/// Units of the call of a file's function, which goes well.
fn units(before: &str, body: &str) -> i64 {
    let (loaded, called) = (run(&file(before, body), 0), run(&file(before, body), 1));
    assert_eq!(called.error, "", "{body}");
    called.used.units - loaded.used.units
}

#[test]
fn twice_the_work_costs_twice_the_units() {
    // The texts and tables are made first, so that all is priced alike.
    let texts = "local A, B = string.rep('a', 16000), string.rep('a', 32000)
local P, Q = string.rep('a', 4000) .. 'b', string.rep('a', 8000) .. 'b'
local C = string.rep('a', 120)
local none = type(string.rep('a', 40000))";
    let tables =
        "local T, U, V = table.create(4000, 1), table.create(8000, 1), table.create(200, 1)
local none = table.create(60000)";
    for (little, once, twice) in [
        (
            "string.find(C, Q, 1, true)",
            "string.find(A, P, 1, true)",
            "string.find(B, P, 1, true)",
        ),
        (
            "string.find(C, Q, 1, true)",
            "string.find(B, P, 1, true)",
            "string.find(B, Q, 1, true)",
        ),
        (
            "string.split(C, Q)",
            "string.split(B, P)",
            "string.split(B, Q)",
        ),
        ("table.sort(V)", "table.sort(T)", "table.sort(U)"),
        (
            "table.insert(V, 1, 0)",
            "table.insert(T, 1, 0)",
            "table.insert(U, 1, 0)",
        ),
        (
            "table.insert(V, '1', 0)",
            "table.insert(T, '1', 0)",
            "table.insert(U, '1', 0)",
        ),
        ("table.concat(V)", "table.concat(T)", "table.concat(U)"),
        (
            "string.rep('a', 150)",
            "string.rep('a', 20000)",
            "string.rep('a', '40000')",
        ),
        ("string.upper(C)", "string.upper(A)", "string.upper(B)"),
        (
            "table.create('99')",
            "table.create('30000')",
            "table.create('60000')",
        ),
        (
            "string.format('%s', C)",
            "string.format('%s', A)",
            "string.format('%s', B)",
        ),
        ("hash(C)", "hash(A)", "hash(B)"),
    ] {
        let texts_in_it = ["string.", "hash"].iter().any(|f| once.starts_with(f));
        let before = if texts_in_it { texts } else { tables };
        let little = units(before, little);
        let (first, second) = (units(before, once) - little, units(before, twice) - little);
        assert!(
            second * 2 > first * 3 && first > 10,
            "{once}: {little} {first} {second}"
        );
    }
}

#[test]
fn a_policy_pays_little_for_what_policies_do() {
    let body = "local best, least = 1, math.huge
for i = 1, 8 do if i * k < least then best, least = i, i * k end end
local t = {} for i = 1, 20 do t[i] = (i * 7) % 11 end table.sort(t)
local reason = `request {k} of tenant {best}`
return string.sub(reason, 1, 7) == 'request'";
    assert!(units("", body) < 150, "{}", units("", body));
}

#[test]
fn texts_are_bounded_wherever_they_are_made() {
    for body in [
        "local s = string.rep('a', 60000) s = s .. s",
        "local s = string.rep('a', 60000) local t = {s, s} s = table.concat(t)",
        "local s = string.rep('a', 60000) s = string.format('%s%s', s, s)",
        "local s = string.rep('a', 60000) s = `{s}{s}`",
        "local s = string.gsub(string.rep('a', 400), 'a', string.rep('b', 400))",
        "local s = string.pack('c1000000', 'a')",
        "local s = buffer.tostring(buffer.create(200000))",
    ] {
        for body in [
            body.to_owned(),
            format!("while true do pcall(function() {body} end) end"),
        ] {
            let outcome = run(&file("", &body), 1);
            assert!(
                outcome.error.contains("64 KiB"),
                "{body}: {}",
                outcome.error
            );
        }
    }
    let refused = run(&file("", "string.rep('a', '1e6')"), 1).error;
    assert!(
        refused.contains("string.rep would make 1000000 bytes"),
        "{refused}"
    );
    // A text that is too long is never seen, not even by code without calls and loops.
    let straight = "local s = A .. A s = s .. s s = s .. s s = s .. s t[1] = 1";
    let text = format!(
        "local A, t = string.rep('a', 50000), {{}} return {{ f = function() {straight} end }}"
    );
    assert!(run(&text, 1).error.contains("64 KiB"));
}

#[test]
fn memory_is_counted_to_the_byte_and_running_out_of_it_is_final() {
    // Holds more and more; every error is caught.
    let grows = "local keep = {}
return { f = function(k)
    for i = 1, 100 do
        pcall(function() keep[#keep + 1] = string.rep('x', 1000 + #keep) end)
    end
end }";
    let first = run(grows, 1_000_000);
    assert!(first.error.contains("32 MiB"), "{}", first.error);
    for _ in 0..3 {
        let again = run(grows, 1_000_000);
        assert_eq!((again.calls, again.used), (first.calls, first.used));
    }
    // One table that doubles.
    let table = "local t = {} return { f = function(k) pcall(function() for i = 1, 500 do t[#t + 1] = i end end) end }";
    let outcome = run(table, 1_000_000);
    assert!(outcome.error.contains("exceeded its"), "{}", outcome.error);
    // What is dropped is collected: this goes on for ever.
    let dropped = "return { f = function(k) local t = {} for i = 1, 200 do t[i] = string.rep('x', 1000 + i) end end }";
    assert_eq!(run(dropped, 3000).error, "");
}

#[test]
fn errors_of_the_host_are_texts_of_the_script_and_short() {
    let key = "local B = string.rep('q', 3000)";
    for body in [
        "return cfg[B]",
        "return setup[B]",
        "return column(B)",
        "B = B .. 'x' C = B",
        "local e = getmetatable(cfg) return cfg[B]",
        "return sorted_pairs({[{}] = 1})",
        "return symbol(1)",
        "return hold(B)",
        "return delay(B)",
        "return rng(B)",
        "return est_prefill_us(B)",
        "return est_step_us(1, B)",
        "return est_ttft_us(B, B, B)",
        "return est_transfer_us(B, B)",
        "return hash({})",
        "error(B)",
        "return B.x.y",
        "return B < 1",
        "return B()",
        "return ('x')[B]()",
        "for i = B, 2 do end",
        "return setmetatable(B, B)",
        "coroutine.wrap(function() error(B) end)()",
        "local c = coroutine.create(function() error(B) end) local ok, e = coroutine.resume(c) error(e, 0)",
        "local ok, e = xpcall(error, function(e) return e end, B) error(e, 0)",
    ] {
        let caught = format!(
            "local ok, e = pcall(function() {body} end)
if ok or type(e) ~= 'string' or #e > 500 or e:find('%d: ') or e:find('policy', 1, true) then
    error(`{{type(e)}}: {{string.sub(tostring(e), 1, 100)}}`)
end"
        );
        let outcome = run(&file(key, &caught), 1);
        assert_eq!(outcome.error, "", "{body}");
    }
}

#[test]
fn weak_tables_are_found_whenever_they_are_made() {
    let making = "for i = 1, 20000 do local x = {i} end";
    for (before, body) in [
        (
            "local m = {} local w = setmetatable({}, m) m.__mode = 'k'",
            making,
        ),
        (
            "local m = {} local w = setmetatable({}, m)",
            "m['__' .. 'mode'] = 'v' MAKE",
        ),
        (
            "local w = setmetatable({}, {})",
            "rawset(getmetatable(w), '__mode', 'k') MAKE",
        ),
        (
            "local m = {} m.__index = m local w = setmetatable({}, m)",
            "m.__mode = 'kv' MAKE",
        ),
        (
            "local m = setmetatable({}, {}) local w = setmetatable({}, m)",
            "m.__mode = 'k' MAKE",
        ),
    ] {
        let body = body.replace("MAKE", making);
        let outcome = run(&file(before, &body), 100);
        assert!(
            outcome.error.contains("weak tables"),
            "{before}: {}",
            outcome.error
        );
    }
    let refused = run(&file("", "setmetatable({}, {__mode = 'k'})"), 1).error;
    assert!(
        refused.starts_with("p.lua:3: weak tables (__mode) are not allowed"),
        "{refused}"
    );
}

#[test]
fn an_error_that_was_caught_keeps_its_place_for_people() {
    let raised = |body: &str| run(&file("", body), 1).error;
    assert_eq!(
        raised("local ok, e = pcall(function()\n error('none') end)\n error(e, 0)"),
        "p.lua:4: none"
    );
    assert_eq!(
        raised("local ok, e = pcall(error, 'none', 0) error('other')"),
        "p.lua:3: other"
    );
    assert_eq!(
        raised("\nlocal x = nil + 1"),
        "p.lua:4: attempt to perform arithmetic (add) on nil and number"
    );
    assert_eq!(
        raised("string.rep({}, 1)"),
        "p.lua:3: invalid argument #1 to 'rep' (string expected, got table)"
    );
}

/// Tells all that a script can find out about itself, as an error without a place.
const SPY: &str = "
local function inner() error('raised') end
local seen = {}
local function see(...) seen[#seen + 1] = table.concat({...}, ',') end
local function told(f, ...) local ok, e = pcall(f, ...) see(tostring(ok), tostring(e)) end
local function handled(f) xpcall(f, function(e) see(tostring(e)) return e end) end
told(inner) told(error, 'x', 1) told(error, 'x', 2) told(error, 'x', 3)
told(function() local x = nil + 1 end) told(function() return nobody end) told(function() C = 1 end)
told(function() return cfg.x end) told(string.rep, {}) told(function() string.rep({}, 1) end)
told(coroutine.wrap(inner)) told(function() coroutine.wrap(inner)() end)
told(function() table.sort({3, 1, 2, 'x'}) end) told(function() assert(false, 'x') end) told(assert, false)
handled(inner) handled(function() local x = {} < {} end) handled(function() error(inner) end)
local c = coroutine.create(inner) see(tostring(select(2, coroutine.resume(c)))) see(tostring(select(2, coroutine.close(c))))
see(tostring(inner), tostring({}), string.format('%s %*', inner, c), `{inner}`, tostring(buffer.create(1)))
see(typeof(inner), type(c), _VERSION, tostring(hash('x')))
local n = 0
local function small() n += 1 end
for i = 1, 100 do small() end
return { f = function(k) local ok, e = pcall(inner) see(e) error(table.concat(seen, '|'), 0) end }";

#[test]
fn what_a_script_sees_does_not_depend_on_its_name_lines_and_comments() {
    let told = |name: &str, text: &str| {
        let outcome = run_as(name, text, 1);
        let message = outcome.error.strip_prefix(&format!("{name}: "));
        (message.map(str::to_owned), outcome.used)
    };
    let first = told("p.lua", SPY);
    let message = first.0.clone().expect("a message without a place");
    assert!(
        message.contains("raised") && message.contains("attempt to"),
        "{message}"
    );
    for (name, text) in [
        ("some/where/else.lua", SPY.to_owned()),
        (
            "p.lua",
            format!("-- precise_prefix_blocks score(now, req)\n\n{SPY}"),
        ),
        (
            "p.lua",
            format!("--!optimize 2\n--!native\n--[[ x ]]--!optimize 0\n{SPY}"),
        ),
        (
            "p.lua",
            SPY.replace("\nlocal", "\n\n--[==[ \n ]==]\n\nlocal"),
        ),
        ("p.lua", SPY.replace(") told", ")\n -- told\n told")),
    ] {
        assert_eq!(told(name, &text), first, "{text}");
        let key = |text: &str| canonical(&Program::new("", text.into(), &[], false).expect("fine"));
        assert_eq!(key(&text), key(SPY));
    }
}
