//! Scripts that mean harm: the counted limits end them, soon, and the same way every time.

use super::Program;
use super::usage::ScriptUsage;
use super::vm::Vm;
use crate::facts::Facts;
use mlua::Function;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a file's function `f` did: how many of `calls` calls went well, and what ended the others.
struct Outcome {
    calls: usize,
    error: String,
    used: ScriptUsage,
    time: Duration,
}

fn run(text: &str, calls: usize) -> Outcome {
    let facts = Facts {
        instances: 2,
        slots: 8,
        highest_priority: 4,
        known_names: 1,
    };
    let begun = Instant::now();
    let broken = |error: String, used, calls| Outcome {
        calls,
        error,
        used,
        time: begun.elapsed(),
    };
    let program = match Program::new("p.lua", text.into(), &[], false) {
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
fn file(before: &str, body: &str) -> String {
    format!("{before}\nreturn {{ f = function(k)\n{body}\nend }}")
}

const LONG: &str = "local A = string.rep('a', 65000) local B = string.rep('a', 64999) .. 'b' \
    local N = string.rep('1', 65000) local H = string.rep('a', 32000) .. 'b'";

#[test]
fn measure() {
    let cases: Vec<(&str, String)> = vec![
        ("empty loop", file("", "for i = 1, 1e9 do end")),
        ("calls", file("local function g() end", "for i = 1, 1e9 do g() end")),
        ("find", file(LONG, "for i = 1, 1e9 do string.find(A, H, 1, true) end")),
        ("sort", file(LONG, "local t = table.create(20000, A) for i = 1, 20000, 2 do t[i] = B end table.sort(t)")),
        ("compare straight", file(LONG, &format!("local x for i = 1, 1e9 do {} end", "x=A<B ".repeat(1000)))),
        ("compare loop", file(LONG, "local x for i = 1, 1e9 do x=A<B end")),
        ("number loop", file(LONG, "local x for i = 1, 1e9 do x=N+0 end")),
        ("number straight", file(LONG, &format!("local x for i = 1, 1e9 do {} end", "x=N+0 ".repeat(1000)))),
        ("short numbers straight", file("local N = '1.1111111111111111111111111111111111111111111111e-27'", &format!("local x for i = 1, 1e9 do {} end", "x=N+0 ".repeat(1000)))),
        ("short numbers loop", file("local N = '1.1111111111111111111111111111111111111111111111e-27'", "local x for i = 1, 1e9 do x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 end")),
        ("made numbers", file("local N = string.rep('1', 256)", "local x for i = 1, 1e9 do x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 x=N+0 end")),
        ("fmod", file("local g = math.fmod", "local x for i = 1, 1e9 do x=g(1e308,5e-324) x=g(1e308,5e-324) x=g(1e308,5e-324) end")),
        ("sin", file("local g = math.tan", &format!("local x for i = 1, 1e9 do {} end", "x=g(1e300) ".repeat(8)))),
        ("concat", file(LONG, "for i = 1, 1e9 do local s = A .. i end")),
        ("sub", file(LONG, "local g = string.sub for i = 1, 1e9 do local s = g(A, 1) end")),
        ("pattern set", file("local s = string.rep('a', 64) local p = '[' .. string.rep('b', 60) .. 'a]*c'", "for i = 1, 1e9 do string.find(s, p) end")),
        ("pattern set long", file("local s = string.rep('a', 4096) local p = '[' .. string.rep('b', 120) .. 'a]*c'", "for i = 1, 1e9 do string.find(s, p) end")),
        ("pattern back", file("local s = string.rep('a', 30) local p = string.rep('a?', 30) .. string.rep('a', 30)", "for i = 1, 1e9 do string.find(s, p) end")),
        ("gsub captures", file("local s = string.rep('a', 60000) local r = string.rep('%1', 30000)", "for i = 1, 1e9 do string.gsub(s, '(b*)', r) end")),
        ("format", file("", "for i = 1, 1e9 do local s = string.format('%99.99f%99.99f%99.99f%99.99f', 1e300, 1e300, 1e300, 1e300) end")),
        ("empty table", file("local t = {} for i = 1, 100000 do t['x' .. i] = i end for k in t do t[k] = nil end", "for i = 1, 1e9 do for k in t do break end end")),
        ("for break", file("local t = {} for i = 1, 4000 do t['x' .. i] = i end for k in t do t[k] = nil end", &format!("for i = 1, 1e9 do {} end", "for k in t do break end ".repeat(7)))),
        ("for break array", file("local t = {} for i = 1, 8000 do t[i] = i end for k in t do t[k] = nil end", &format!("for i = 1, 1e9 do {} end", "for k in t do break end ".repeat(7)))),
        ("chars", file("", "for i = 1, 1e9 do local s = string.char(table.unpack(table.create(7000, 65))) end")),
        ("length of sparse", file("local t = {} for i = 1, 30000 do t[i] = i end for i = 1, 29999 do t[i] = nil end", &format!("local x for i = 1, 1e9 do {} end", "x=#t ".repeat(16)))),
        ("number keys", file("local t = {} for i = 1, 30000 do t[i * 2^40] = i end", &format!("local x for i = 1, 1e9 do {} end", "x=t[i*2^40] ".repeat(8)))),
        ("next", file("local t = {} for i = 1, 4000 do t['x' .. i] = i end for k in t do t[k] = nil end", "for i = 1, 1e9 do next(t) next(t) next(t) next(t) end")),
        ("clear", file("local t = {} for i = 1, 40000 do t['x' .. i] = i end", "for i = 1, 1e9 do table.clear(t) end")),
        ("varargs", file("local function g(...) return select('#', ...) end", "local function h(...) for i = 1, 1e9 do g(...) end end h(table.unpack(table.create(7000, 1)))")),
        ("chain", file("local t = {} for i = 1, 99 do t = setmetatable({}, {__index = t}) end", &format!("local x for i = 1, 1e9 do {} end", "x=t.a ".repeat(12)))),
        ("garbage", file("local keep = {} for i = 1, 100000 do keep[i] = {i} end", "for i = 1, 1e9 do local x = {i} end")),
        ("insert first", file("local t = table.create(100000, 1)", "for i = 1, 1e9 do table.insert(t, 1, 1) end")),
        ("errors", file("", "for i = 1, 1e9 do pcall(error, 'x') end")),
        ("unknown", file("", "for i = 1, 1e9 do pcall(function() return cfg[i] end) end")),
        ("coroutines", file("", "for i = 1, 1e9 do coroutine.wrap(function() end)() end")),
        ("metamethods", file("local m = {} m.__add = function(a, b) return b end local a = setmetatable({}, m) m.__sub = function(a, b) return a+a+a+a+a+a+a+a+a+a end m.__mul = function(a, b) return a-a-a-a-a-a-a-a-a end", "for i = 1, 1e9 do local x = a*a*a*a*a*a*a end")),
        ("split", file("local s = string.rep(',', 60000)", "for i = 1, 1e9 do string.split(s, ',') end")),
        ("hash", file(LONG, "for i = 1, 1e9 do hash(A) end")),
        ("tostring", file("", "for i = 1, 1e9 do tostring(1/i) tostring(1/i) end")),
        ("buffer", file("local b = buffer.create(1000000)", "for i = 1, 1e9 do buffer.fill(b, 0, i % 256) end")),
        ("sorted pairs", file("local t = {} for i = 1, 3000 do t['x' .. i] = i end", "for i = 1, 1e9 do for k, v in sorted_pairs(t) do end end")),
    ];
    for (name, text) in cases {
        let o = run(&text, 1);
        println!("{name:24} {:6.2} s  units {:9}  {}", o.time.as_secs_f64(), o.used.largest_call, o.error);
    }
}
