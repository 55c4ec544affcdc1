//! Scripts that would cheat: what they get does not depend on machines, names, lines and comments.

use crate::scripts::{fault, load_error, spec};
use std::sync::Arc;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::{Program, canonical, hooks_filled};

fn key(text: &str) -> Option<String> {
    canonical(&Program::new("p.lua", text.into(), &[], false).expect("a program"))
}

#[test]
fn an_answer_far_out_of_range_is_none_within() {
    for (answer, shown) in [
        ("4294967297", "4294967297"),
        ("4294967297, {1, 2, 3}", "4294967297"),
        ("2^53 + 1", "9007199254740992"),
        ("1.5", "1.5"),
        ("1.5, {1, 2, 3}", "1.5"),
        ("2^32 + 0.5", "4294967296.5"),
        ("1/0, {1, 2, 3}", "inf"),
        ("4, {1, 2, 3}", "4"),
        ("0, {1, 2, 3}", "0"),
        ("-2^32", "-4294967296"),
    ] {
        let text = format!("return {{ route = function() return {answer} end }}");
        let found = fault(Hook::Routing, &text);
        let expected = format!("route returned {shown}; expected a position from 1 to 3");
        assert!(found.contains(&expected), "{answer}: {found}");
    }
    assert_eq!(
        fault(
            Hook::Routing,
            "return { route = function() return 2, {1, 2, 3} end }"
        ),
        ""
    );
}

#[test]
fn what_a_file_reads_stands_in_its_code() {
    let text = "local P = column('precise' .. '_prefix_blocks')
return { route_columns = function(req, columns, n) return 1 + 0 * buffer.readf64(columns, P) end }";
    let commented = format!("-- precise_prefix_blocks\n{text}");
    assert_eq!(key(text), key(&commented));
    for (text, line) in [(text, 1), (commented.as_str(), 2)] {
        let expected = format!(
            "p.lua:{line}: column \"precise_prefix_blocks\" is not there: the file must spell its name out"
        );
        assert_eq!(load_error(Hook::Routing, text), expected);
    }
    let method = "return { route = function(req, insts)
  local f = insts[1]['precise' .. '_prefix_blocks'] -- precise_prefix_blocks
  return f(insts[1]) + insts[1]:approximate_prefix_blocks() + 1
end }";
    let found = fault(Hook::Routing, method);
    assert!(
        found.contains("inst.precise_prefix_blocks is not there"),
        "{found}"
    );
}

#[test]
fn the_form_of_a_hook_does_not_depend_on_comments() {
    let text = "return { score = function(a, b) return 1 end }";
    let commented = format!("-- score(now, req)\n{text}");
    assert_eq!(key(text), key(&commented));
    let fills = |text: &str| {
        let program = Program::new("p.lua", text.into(), &[], false).expect("a program");
        hooks_filled(&Arc::new(program)).expect("a table of hooks")
    };
    for text in [text, &commented] {
        assert_eq!(fills(text), [Hook::Routing]);
    }
    let scheduler = text.replace("(a, b)", "(now, req)");
    assert_ne!(key(text), key(&scheduler));
    assert_eq!(fills(&scheduler), [Hook::Scheduler]);
}

#[test]
fn names_that_nothing_has_do_not_tell_how_many_there_are() {
    // Numbers of names are small; a new one has a number of its own, the same each time.
    let text = "local a, b = symbol(`no{1}body`), symbol(`no{1}body`)
if a ~= b or a < 2^32 or symbol(`some{1}body`) == a then error(`{a} {b}`) end
return { route = function() return 1 end }";
    assert_eq!(load_error(Hook::Routing, text), "");
    // As views have it, also when requests bring the name later.
    let text = "local free = symbol(`{'b'}`)
local seen = 0
return { route = function(req)
  if req.tenant == free then seen += 1 end
  if req.serial == 9 and seen ~= 6 then error(`{seen}`) end
  return 1
end }";
    assert_eq!(fault(Hook::Routing, text), "");
    let many = "for i = 1, 2000 do symbol('n' .. i) end return { route = function() return 1 end }";
    assert!(load_error(Hook::Routing, many).contains("symbol was asked for 1000 new names"));
}

#[test]
fn random_numbers_of_a_scored_script_depend_on_its_code_alone() {
    let text = "return { route = function(req, insts) return rng(#insts) end }";
    let salt = |text: &str| spec(Hook::Routing, text).salt();
    assert_ne!(salt(text), 0);
    assert_eq!(salt(text), salt(&format!("-- a comment\n\n{text}")));
    assert_ne!(
        salt(text),
        salt(&text.replace("rng(#insts)", "rng(#insts + 0)"))
    );
    assert_eq!(windtunnel_policy::PolicySpec::default().salt(), 0);
}
