//! Scripts that mean harm: the counted limits end them, soon, and the same way every time.

use super::Program;
use super::usage::ScriptUsage;
use super::vm::Vm;
use crate::facts::Facts;
use mlua::Function;
use std::sync::Arc;

/// What a file's function `f` did: how many of `calls` calls went well, and what ended the others.
pub(super) struct Outcome {
    pub(super) calls: usize,
    pub(super) error: String,
    pub(super) used: ScriptUsage,
}

/// Runs a file, then its function so many times.
pub(super) fn run(text: &str, calls: usize) -> Outcome {
    run_as("p.lua", text, calls)
}

/// The same under a name.
pub(super) fn run_as(name: &str, text: &str, calls: usize) -> Outcome {
    let facts = Facts {
        instances: 2,
        slots: 8,
        highest_priority: 4,
        known_names: 1,
    };
    let broken = |error: String, used, calls| Outcome { calls, error, used };
    let program = match Program::new(name, text.into(), &[], false) {
        Ok(program) => program,
        Err(e) => return broken(e.to_string(), ScriptUsage::default(), 0),
    };
    let vm = Vm::new(Arc::new(program), facts).expect("a script engine");
    let table = match vm.run_file(&mut |_| 1) {
        Ok(table) => table,
        Err(e) => return broken(e.to_string(), vm.used(), 0),
    };
    let f: Function = table.raw_get("f").expect("a function");
    for k in 0..calls {
        if let Err(e) = vm.call::<()>(&f, k) {
            return broken(e.to_string(), vm.used(), k);
        }
    }
    broken(String::new(), vm.used(), calls)
}

/// A file whose function has this body.
pub(super) fn file(before: &str, body: &str) -> String {
    format!("{before}\nreturn {{ f = function(k)\n{body}\nend }}")
}

const LONG: &str = "local A = string.rep('a', 65000) local B = string.rep('a', 64999) .. 'b' \
    local N = string.rep('1', 65000) local H = string.rep('a', 32000) .. 'b'";

/// Loops that would take hours, each with another kind of work in it.
fn endless() -> Vec<(&'static str, String)> {
    vec![
        ("empty loop", file("", "for i = 1, 1e9 do end")),
        (
            "calls",
            file("local function g() end", "for i = 1, 1e9 do g() end"),
        ),
        (
            "find",
            file(LONG, "for i = 1, 1e9 do string.find(A, H, 1, true) end"),
        ),
        (
            "sort",
            file(
                LONG,
                "local t = table.create(20000, A) for i = 1, 20000, 2 do t[i] = B end table.sort(t)",
            ),
        ),
        (
            "compare straight",
            file(
                LONG,
                &format!("local x for i = 1, 1e9 do {} end", "x=A<B ".repeat(1000)),
            ),
        ),
        (
            "compare loop",
            file(LONG, "local x for i = 1, 1e9 do x=A<B end"),
        ),
        (
            "number loop",
            file(LONG, "local x for i = 1, 1e9 do x=N+0 end"),
        ),
        (
            "number straight",
            file(
                LONG,
                &format!("local x for i = 1, 1e9 do {} end", "x=N+0 ".repeat(1000)),
            ),
        ),
        (
            "short numbers straight",
            file(
                "local N = '1.1111111111111111111111111111111111111111111111e-27'",
                &format!("local x for i = 1, 1e9 do {} end", "x=N+0 ".repeat(1000)),
            ),
        ),
        (
            "short numbers loop",
            file(
                "local N = '1.1111111111111111111111111111111111111111111111e-27'",
                "local x for i = 1, 1e9 do x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 end",
            ),
        ),
        (
            "made numbers",
            file(
                "local N = string.rep('1', 256)",
                "local x for i = 1, 1e9 do x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 end",
            ),
        ),
        (
            "fmod",
            file(
                "local g = math.fmod",
                "local x for i = 1, 1e9 do x=g(1e308,5e-324) x=g(1e308,5e-324) x=g(1e308,5e-324) end",
            ),
        ),
        (
            "sin",
            file(
                "local g = math.tan",
                &format!("local x for i = 1, 1e9 do {} end", "x=g(1e300) ".repeat(8)),
            ),
        ),
        (
            "concat",
            file(LONG, "for i = 1, 1e9 do local s = A .. i end"),
        ),
        (
            "sub",
            file(
                LONG,
                "local g = string.sub for i = 1, 1e9 do local s = g(A, 1) end",
            ),
        ),
        (
            "pattern set",
            file(
                "local s = string.rep('a', 64) local p = '[' .. string.rep('b', 60) .. 'a]*c'",
                "for i = 1, 1e9 do string.find(s, p) end",
            ),
        ),
        (
            "pattern set long",
            file(
                "local s = string.rep('a', 4096) local p = '[' .. string.rep('b', 120) .. 'a]*c'",
                "for i = 1, 1e9 do string.find(s, p) end",
            ),
        ),
        (
            "pattern back",
            file(
                "local s = string.rep('a', 30) local p = string.rep('a?', 30) .. string.rep('a', 30)",
                "for i = 1, 1e9 do string.find(s, p) end",
            ),
        ),
        (
            "gsub captures",
            file(
                "local s = string.rep('a', 60000) local r = string.rep('%1', 30000)",
                "for i = 1, 1e9 do string.gsub(s, '(b*)', r) end",
            ),
        ),
        (
            "format",
            file(
                "",
                "for i = 1, 1e9 do local s = string.format('%99.99f%99.99f%99.99f%99.99f', 1e300, 1e300, 1e300, 1e300) end",
            ),
        ),
        (
            "empty table",
            file(
                "local t = {} for i = 1, 100000 do t['x' .. i] = i end for k in t do t[k] = nil end",
                "for i = 1, 1e9 do for k in t do break end end",
            ),
        ),
        (
            "for break",
            file(
                "local t = {} for i = 1, 4000 do t['x' .. i] = i end for k in t do t[k] = nil end",
                &format!(
                    "for i = 1, 1e9 do {} end",
                    "for k in t do break end ".repeat(7)
                ),
            ),
        ),
        (
            "for break array",
            file(
                "local t = {} for i = 1, 8000 do t[i] = i end for k in t do t[k] = nil end",
                &format!(
                    "for i = 1, 1e9 do {} end",
                    "for k in t do break end ".repeat(7)
                ),
            ),
        ),
        (
            "chars",
            file(
                "",
                "for i = 1, 1e9 do local s = string.char(table.unpack(table.create(7000, 65))) end",
            ),
        ),
        (
            "length of sparse",
            file(
                "local t = {} for i = 1, 30000 do t[i] = i end for i = 1, 29999 do t[i] = nil end",
                &format!("local x for i = 1, 1e9 do {} end", "x=#t ".repeat(16)),
            ),
        ),
        (
            "number keys",
            file(
                "local t = {} for i = 1, 30000 do t[i * 2^40] = i end",
                &format!("local x for i = 1, 1e9 do {} end", "x=t[i*2^40] ".repeat(8)),
            ),
        ),
        (
            "next",
            file(
                "local t = {} for i = 1, 4000 do t['x' .. i] = i end for k in t do t[k] = nil end",
                "for i = 1, 1e9 do next(t) next(t) next(t) next(t) end",
            ),
        ),
        (
            "clear",
            file(
                "local t = {} for i = 1, 40000 do t['x' .. i] = i end",
                "for i = 1, 1e9 do table.clear(t) end",
            ),
        ),
        (
            "varargs",
            file(
                "local function g(...) return select('#', ...) end",
                "local function h(...) for i = 1, 1e9 do g(...) end end h(table.unpack(table.create(7000, 1)))",
            ),
        ),
        (
            "chain",
            file(
                "local t = {} for i = 1, 99 do t = setmetatable({}, {__index = t}) end",
                &format!("local x for i = 1, 1e9 do {} end", "x=t.a ".repeat(12)),
            ),
        ),
        (
            "garbage",
            file(
                "local keep = {} for i = 1, 100000 do keep[i] = {i} end",
                "for i = 1, 1e9 do local x = {i} end",
            ),
        ),
        (
            "insert first",
            file(
                "local t = table.create(100000, 1)",
                "for i = 1, 1e9 do table.insert(t, 1, 1) end",
            ),
        ),
        (
            "errors",
            file("", "for i = 1, 1e9 do pcall(error, 'x') end"),
        ),
        (
            "unknown",
            file(
                "",
                "for i = 1, 1e9 do pcall(function() return cfg[i] end) end",
            ),
        ),
        (
            "coroutines",
            file("", "for i = 1, 1e9 do coroutine.wrap(function() end)() end"),
        ),
        (
            "metamethods",
            file(
                "local m = {} m.__add = function(a, b) return b end local a = setmetatable({}, m) m.__sub = function(a, b) return a+a+a+a+a+a+a+a+a+a end m.__mul = function(a, b) return a-a-a-a-a-a-a-a-a end",
                "for i = 1, 1e9 do local x = a*a*a*a*a*a*a end",
            ),
        ),
        (
            "split",
            file(
                "local s = string.rep(',', 60000)",
                "for i = 1, 1e9 do string.split(s, ',') end",
            ),
        ),
        ("hash", file(LONG, "for i = 1, 1e9 do hash(A) end")),
        (
            "tostring",
            file("", "for i = 1, 1e9 do tostring(1/i) tostring(1/i) end"),
        ),
        (
            "buffer",
            file(
                "local b = buffer.create(1000000)",
                "for i = 1, 1e9 do buffer.fill(b, 0, i % 256) end",
            ),
        ),
        (
            "sorted pairs",
            file(
                "local t = {} for i = 1, 3000 do t['x' .. i] = i end",
                "for i = 1, 1e9 do for k, v in sorted_pairs(t) do end end",
            ),
        ),
    ]
}

/// Asserts that counting ended a file, not the clock, and that it does so the same way again.
fn ends_by_counting(name: &str, text: &str) {
    let first = run(text, 1);
    assert_eq!(first.calls, 0, "{name} went well");
    assert!(
        first.error.contains("exceeded its") && !first.error.contains("time"),
        "{name}: {}",
        first.error
    );
    let second = run(text, 1);
    assert_eq!(
        (first.used, first.error),
        (second.used, second.error),
        "{name}"
    );
}

#[test]
fn whatever_is_done_without_end_is_ended_by_counting() {
    for (name, text) in endless() {
        ends_by_counting(name, &text);
    }
}

/// A call of each function of the libraries that is as much work as can be had.
const CALLS: &[(&str, &[(&str, &str)])] = &[
    (
        "string",
        &[
            ("byte", "string.byte(A, 1, 7000)"),
            ("char", "string.char(table.unpack(P))"),
            ("find", "string.find(A, H, 1, true)"),
            ("format", "string.format('%s%s', H, H)"),
            ("gmatch", "for x in string.gmatch(A, 'b*a') do end"),
            ("gsub", "string.gsub(A, 'a', '%0')"),
            ("len", "string.len(A)"),
            ("lower", "string.lower(A)"),
            ("match", "string.match(A, '.-.-b')"),
            ("pack", "string.pack('c65000', A)"),
            ("packsize", "string.packsize(string.rep('b', 60000))"),
            ("rep", "string.rep('ab', '32000')"),
            ("reverse", "string.reverse(A)"),
            ("split", "string.split(A, H)"),
            ("sub", "string.sub(A, 2)"),
            ("unpack", "string.unpack(string.rep('b', 7000), A)"),
            ("upper", "string.upper(A)"),
        ],
    ),
    (
        "table",
        &[
            ("clear", "table.clear(K)"),
            ("clone", "table.clone(T)"),
            ("concat", "table.concat(T)"),
            ("create", "table.create('900000', 1)"),
            ("find", "table.find(T, 2)"),
            ("freeze", "table.freeze(table.clone(K))"),
            ("insert", "table.insert(T, '1', 1)"),
            ("isfrozen", "table.isfrozen(T)"),
            ("maxn", "table.maxn(K)"),
            ("move", "table.move(T, 1, #T, 2)"),
            ("pack", "table.pack(table.unpack(P))"),
            ("remove", "table.remove(T, '1')"),
            ("sort", "table.sort(T)"),
            ("unpack", "select('#', table.unpack(P))"),
        ],
    ),
    (
        "utf8",
        &[
            ("char", "utf8.char(table.unpack(P))"),
            ("charpattern", "A:match(utf8.charpattern)"),
            ("codepoint", "utf8.codepoint(A, 1, 7000)"),
            ("codes", "for _ in utf8.codes(A) do end"),
            ("len", "utf8.len(A)"),
            ("offset", "utf8.offset(A, 60000)"),
        ],
    ),
    (
        "coroutine",
        &[
            ("close", "coroutine.close(coroutine.create(type))"),
            ("create", "coroutine.create(type)"),
            ("isyieldable", "coroutine.isyieldable()"),
            ("resume", "coroutine.resume(coroutine.create(type), A)"),
            ("running", "coroutine.running()"),
            ("status", "coroutine.status(coroutine.create(type))"),
            ("wrap", "coroutine.wrap(type)(A)"),
            ("yield", "coroutine.wrap(coroutine.yield)(A)"),
        ],
    ),
    (
        "buffer",
        &[
            ("copy", "buffer.copy(F, 0, F, 0, 900000)"),
            ("create", "buffer.create('1000000')"),
            ("fill", "buffer.fill(F, 0, i % 256)"),
            ("fromstring", "buffer.fromstring(A)"),
            ("readstring", "buffer.readstring(F, i % 1000, 60000)"),
            ("tostring", "buffer.tostring(S)"),
            ("writestring", "buffer.writestring(F, 0, A)"),
        ],
    ),
];

#[test]
fn every_function_of_the_libraries_is_counted() {
    const BEFORE: &str = "local A = string.rep('a', 65000) local H = string.rep('a', 30000) .. 'b'
local T, P, F, S = table.create(5000, 1), table.create(7000, 65), buffer.create(1000000), buffer.create(60000)
local K = {} for i = 1, 40 do K['x' .. i] = i end";
    for (library, calls) in CALLS {
        // None is forgotten; those whose work does not depend on what they are given are left out.
        let known: Vec<&str> = calls.iter().map(|(name, _)| *name).collect();
        let known = known.join(" ");
        let all = format!(
            "for name in {library} do
                local of_one_number = '{library}' == 'buffer' and name:find('^read[iufb]') or name:find('^write[iufb]')
                if not of_one_number and name ~= 'len' and not string.find(' {known} ', ' ' .. name .. ' ', 1, true) then
                    error(name)
                end
            end
            return {{ f = function() end }}"
        );
        assert_eq!(run(&all, 1).error, "", "{library}");
        for (name, call) in *calls {
            let call = match call.starts_with("for") {
                true => (*call).to_owned(),
                false => format!("local x = {call}"),
            };
            let text = file(BEFORE, &format!("for i = 1, 1e9 do {call} end"));
            ends_by_counting(&format!("{library}.{name}"), &text);
        }
    }
}
