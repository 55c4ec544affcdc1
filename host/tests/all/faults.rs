//! A run that breaks off says in fields which policy did it, on which request, and where.

use crate::scripts::broken;
use windtunnel_base::fault::{PolicyCall, RunFault};
use windtunnel_policy::Hook;

/// Kind, hook, call, request, file and line of a fault.
type Fields = (
    bool,
    Hook,
    PolicyCall,
    Option<String>,
    Option<String>,
    Option<u32>,
);

fn fields(hook: Hook, text: &str) -> Fields {
    let fault = broken(hook, text).expect("a fault");
    let limit = matches!(fault, RunFault::Limit { .. });
    let (hook, request, source) = fault.policy().expect("a policy's fault");
    (
        limit,
        hook,
        source.call,
        request.map(str::to_owned),
        source.file.clone(),
        source.line,
    )
}

#[test]
fn a_script_that_fails_is_named_with_request_file_and_line() {
    let text = "local t\nreturn { route = function(req, insts)\n  return t.x\nend }";
    let (first, file) = (|| Some("request_0".to_owned()), || Some("p.lua".to_owned()));
    assert_eq!(
        fields(Hook::Routing, text),
        (
            false,
            Hook::Routing,
            PolicyCall::Decision,
            first(),
            file(),
            Some(3)
        )
    );
    // The line at which the function begins whose answer is wrong.
    let text = "\n\nreturn { key = function() return 0/0 end }";
    assert_eq!(
        fields(Hook::Scheduler, text),
        (
            false,
            Hook::Scheduler,
            PolicyCall::Decision,
            first(),
            file(),
            Some(3)
        )
    );
    let text = "return { route = function() return 1 end, tick_us = 1000,\n\
                on_tick = function() error('no') end }";
    assert_eq!(
        fields(Hook::Routing, text),
        (
            false,
            Hook::Routing,
            PolicyCall::Tick,
            None,
            file(),
            Some(2)
        )
    );
    // A message without a place says at least which file it is from.
    let text = "return { route = function() error('no', 0) end }";
    assert_eq!(
        fields(Hook::Routing, text),
        (
            false,
            Hook::Routing,
            PolicyCall::Decision,
            first(),
            file(),
            None
        )
    );
}

#[test]
fn a_script_over_a_limit_is_told_apart_from_one_that_says_so() {
    let loops = "return { admit = function()\nwhile true do end end }";
    let (limit, hook, _, request, file, line) = fields(Hook::Admission, loops);
    assert!(limit);
    assert_eq!(
        (hook, request.as_deref()),
        (Hook::Admission, Some("request_0"))
    );
    assert_eq!((file.as_deref(), line), (Some("p.lua"), Some(2)));
    let hoards =
        "return { route = function() local t = {} while true do t[#t + 1] = { #t } end end }";
    assert!(fields(Hook::Routing, hoards).0);
    let claims = "return { admit = function() error('the policy exceeded its patience') end }";
    assert!(!fields(Hook::Admission, claims).0);
}
