//! What editors and the reference say of the script API is there.

use crate::scripts::{fault, load_error};
use crate::support::root;
use std::fs;
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api::View;

#[test]
fn the_stub_is_lua_and_its_functions_are_there() {
    let text = fs::read_to_string(root().join("policies/windtunnel.lua")).expect("the stub");
    let lua = mlua::Lua::new();
    lua.load(&text).into_function().expect("the stub is Lua");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("function ")?.split('(').next())
        .filter(|name| !name.contains(':'))
        .collect();
    assert!(names.contains(&"est_ttft_us") && names.contains(&"buffer.readf64"));
    let found: String = names
        .iter()
        .map(|name| format!("assert({name}) "))
        .collect();
    let policy = format!("{found} return {{ route = function() return 1 end }}");
    assert_eq!(load_error(Hook::Routing, &policy), "");
}

/// Reads everything that a view is said to have, by `name`.
fn reading(view: View, name: &str) -> String {
    let inherited = view.extends().map_or(Vec::new(), View::fields);
    let fields = inherited.into_iter().chain(view.fields());
    let fields = fields.map(|field| format!("assert({name}.{} ~= nil) ", field.name));
    let methods = view.methods().iter();
    let methods = methods.map(|method| format!("assert({name}:{}() ~= nil) ", method.name));
    fields.chain(methods).collect()
}

#[test]
fn every_field_and_method_can_be_read_where_it_is_said_to_be() {
    let [req, inst, cluster] = [
        (View::Request, "req"),
        (View::Instance, "inst"),
        (View::Cluster, "cluster"),
    ]
    .map(|(view, name)| reading(view, name));
    let queued = reading(View::QueuedRequest, "req") + &reading(View::Queue, "queue");
    let running = reading(View::RunningRequest, "r");
    let (own, event) = (
        reading(View::Request, "req").replace("assert(req:prompt_blocks() ~= nil) ", ""),
        reading(View::Event, "ev"),
    );
    let queue = reading(View::Queue, "queue");
    let step = reading(View::Step, "step");
    let head = reading(View::QueuedRequest, "head");
    let held = reading(View::HeldRequest, "r");
    let gateway = reading(View::Gateway, "gateway");
    for (hook, text) in [
        (
            Hook::Admission,
            format!("admit = function(req, cluster) {req}{cluster} return true end"),
        ),
        (
            Hook::Routing,
            format!(
                "score = function(req, inst, cluster) {req}{inst}{cluster} return 0 end,
                on_dispatch = function(ev) {event} end, on_first_token = function(ev) {event} end,
                on_complete = function(ev) {event} end, on_preempt = function(ev) {event} end,
                tick_us = 1000, on_tick = function(cluster) {cluster} end"
            ),
        ),
        (
            Hook::Priority,
            format!("priority = function(req, queue) {own}{queue} return 0 end"),
        ),
        (
            Hook::Scheduler,
            format!(
                "key = function(req, queue) {queued} return 0 end,
                order = function(waiting, running, queue)
                  local keys = {{}}
                  for i, req in waiting do {queued} keys[i] = i end
                  for _, r in running do {running} end
                  return keys
                end"
            ),
        ),
        (
            Hook::Preemption,
            format!(
                "victim = function(running, queue) for _, r in running do {running} end {queue} return #running end"
            ),
        ),
        (
            Hook::Dispatch,
            format!(
                "next_held = function(held, gateway, cluster)
                  for _, r in held do {held} end {gateway}{cluster} return 1
                end"
            ),
        ),
        (
            Hook::Batching,
            format!(
                "batch = function(step, head, queue) {step}{queue} if head then {head} end return {{}} end"
            ),
        ),
    ] {
        assert_eq!(fault(hook, &format!("return {{ {text} }}")), "", "{hook}");
    }
}
