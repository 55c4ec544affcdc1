//! The script API in Markdown, short: all that is needed to write a file for some hooks, for an
//! author that has nothing else to read, such as a language model.

use super::names::{
    FUNCTIONS, HANDLERS, Handler, LIMITS, SETTINGS, STANDARD, TABLES, hook_functions,
};
use super::types::{Function, Slot, Type, View};
use super::views::{Age, FieldDoc};
use crate::lua::{CALL_UNITS, MEMORY};
use crate::param::Hook;
use std::fmt::Write;

/// What a file for these hooks may define, read, call and return.
#[must_use]
pub fn brief(hooks: &[Hook]) -> String {
    let mut out = String::new();
    let names: Vec<&str> = hooks.iter().map(|hook| hook.name()).collect();
    let _ = writeln!(
        out,
        "A policy is one file in Luau (Lua 5.1 with types, `+=`, `continue`, `if c then a else b` as an expression) that returns a table. {} \
         Times are microseconds of simulated time, lengths are tokens, positions count from 1. Names (tenant, session, class) \
         are compared with texts (`req.tenant == \"acme\"`); none is 0, and their letters cannot be looked at.\n",
        match &names[..] {
            [one] => format!("It fills the hook {one}."),
            all => format!(
                "It fills the hooks {}, each in its section: `return {{ {} }}`.",
                all.join(", "),
                all.iter()
                    .map(|name| format!("{name} = {{ ... }}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    );
    for hook in hooks {
        hook_part(&mut out, *hook);
    }
    handlers(&mut out, hooks);
    for view in seen(hooks) {
        view_part(&mut out, view);
    }
    globals(&mut out, hooks);
    limits(&mut out);
    out
}

/// Does it decide at the front end, where an instance can be asked about?
fn front(hook: Hook) -> bool {
    matches!(hook, Hook::Admission | Hook::Routing | Hook::Disaggregation)
}

fn hook_part(out: &mut String, hook: Hook) {
    let _ = writeln!(out, "## {hook}: exactly one of\n", hook = hook.name());
    for function in hook_functions(hook) {
        let takes: Vec<String> = function.takes.iter().map(typed).collect();
        let gives: Vec<String> = function.gives.iter().map(answer).collect();
        let _ = writeln!(
            out,
            "* `{} = function({})` returns {}. {}",
            function.name,
            takes.join(", "),
            gives.join("; optionally also "),
            function.doc.join(" ")
        );
        for slot in function.takes.iter().filter(|slot| !slot.doc.is_empty()) {
            let _ = writeln!(out, "  * `{}`: {}", slot.name, slot.doc);
        }
    }
    for setting in SETTINGS.iter().filter(|s| s.hooks.contains(&hook)) {
        let _ = writeln!(
            out,
            "* `{}` (optional, beside them): {}",
            setting.name, setting.doc
        );
    }
    if hook == Hook::Batching {
        out.push_str("* `Limits` is a table; each field may be left out:\n");
        for limit in LIMITS {
            let _ = writeln!(
                out,
                "  * `{}` ({}): {}",
                limit.name,
                limit.kind.luau(),
                limit.doc
            );
        }
    }
    if hook == Hook::Scheduler {
        out.push_str("* `key` may stand beside `score` or `order`.\n");
    }
    out.push('\n');
}

fn typed(slot: &Slot) -> String {
    format!("{}: {}", slot.name, slot.kind.luau())
}

fn answer(slot: &Slot) -> String {
    match slot.kind {
        Type::Either(..) => slot.doc.to_owned(),
        kind if slot.doc.is_empty() => kind.luau(),
        kind => format!("{} ({})", kind.luau(), slot.doc),
    }
}

/// The handlers of events that may stand beside these hooks.
fn heard(hooks: &[Hook]) -> Vec<&'static Handler> {
    let heard = |h: &&Handler| h.hooks.iter().any(|hook| hooks.contains(hook));
    HANDLERS.iter().filter(heard).collect()
}

fn handlers(out: &mut String, hooks: &[Hook]) {
    let heard = heard(hooks);
    if heard.is_empty() {
        return;
    }
    out.push_str("## Events: optional handlers in the same table; they return nothing\n\n");
    for handler in heard {
        let function = &handler.function;
        let _ = writeln!(out, "* `{}`: {}", function.call(), function.doc.join(" "));
    }
    out.push('\n');
}

/// The views that these hooks and their handlers see.
fn seen(hooks: &[Hook]) -> Vec<View> {
    let functions = hooks.iter().flat_map(|hook| hook_functions(*hook));
    let functions = functions.chain(heard(hooks).into_iter().map(|h| &h.function));
    let mut seen = vec![View::Request, View::Setup];
    for slot in functions.flat_map(|f| f.takes) {
        let view = match slot.kind {
            Type::View(view) | Type::List(&Type::View(view)) => view,
            _ => continue,
        };
        seen.push(view);
    }
    if seen.contains(&View::Cluster) {
        seen.push(View::Instance);
    }
    View::ALL
        .into_iter()
        .filter(|view| seen.contains(view))
        .collect()
}

fn view_part(out: &mut String, view: View) {
    let extends = view.extends();
    let extends = extends.map_or(String::new(), |of| {
        format!(" It has all fields of {}, too.", of.name())
    });
    let aged = view == View::Instance;
    let ages = if aged {
        " Scraped fields are old (`inst:age_us()`) and 0 before the first scrape."
    } else {
        ""
    };
    let _ = writeln!(out, "## {}\n\n{}{extends}{ages}\n", view.name(), view.doc());
    for field in view.fields() {
        let _ = writeln!(
            out,
            "* `{}`{}: {}",
            field.name,
            unit_and_age(&field, aged),
            field.doc
        );
    }
    for method in view.methods() {
        let _ = writeln!(out, "* `:{}`: {}", method.call(), method.doc.join(" "));
    }
    out.push('\n');
}

fn unit_and_age(field: &FieldDoc, aged: bool) -> String {
    let unit = match field.unit {
        "position" => "",
        unit => unit,
    };
    let age = match field.age {
        Age::Scraped if aged => "scraped",
        Age::Fresh if aged => "fresh",
        _ => "",
    };
    match (unit, age) {
        ("", "") => String::new(),
        (one, "") | ("", one) => format!(" ({one})"),
        (unit, age) => format!(" ({unit}, {age})"),
    }
}

fn globals(out: &mut String, hooks: &[Hook]) {
    out.push_str("## Globals\n\n");
    for table in TABLES {
        let _ = writeln!(out, "* `{}`: {}", table.name, table.doc);
    }
    let useful = |f: &&Function| match f.name {
        "hold" | "column" => hooks.contains(&Hook::Routing),
        "delay" => hooks.contains(&Hook::Admission),
        "est_ttft_us" => hooks.iter().any(|hook| front(*hook)),
        "est_transfer_us" => hooks.contains(&Hook::Disaggregation),
        _ => true,
    };
    for function in FUNCTIONS.iter().filter(useful) {
        let _ = writeln!(out, "* `{}`: {}", function.call(), function.doc.join(" "));
    }
    let standard: Vec<String> = STANDARD.iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(
        out,
        "* Of Luau's own: {}. Nothing else is there: no `require`, `os`, `io`. All of these are read-only.\n",
        standard.join(", ")
    );
    out.push_str(
        "State lives in `local` variables of the file. `--@param name = default, least..most  what it does` in a comment declares a number that is \
         read as `cfg.name`; `int` after the range means whole numbers, `log` a logarithmic scale. Spell fields out: \
         `inst[\"queue_\" .. \"depth\"]` finds nothing. A view is valid during the call; keep copies of what you need later.\n\n",
    );
}

fn limits(out: &mut String) {
    let _ = writeln!(
        out,
        "## What ends a candidate\n\n\
         Any error: a field or global that does not exist, nil arithmetic, NaN or nothing where a number is due, a position out of range; more than \
         {} million units of work in one call (a unit is a loop iteration, a function call or a return of short code), {} MiB of memory; loops that never end. \
         `pcall` gets around none of the limits. Tables keyed by request must shrink again when requests end.",
        CALL_UNITS / 1_000_000,
        MEMORY >> 20,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_router_reads_is_in_a_routers_brief_and_nothing_else() {
        let text = brief(&[Hook::Routing]);
        for field in View::Instance
            .fields()
            .iter()
            .chain(&View::Request.fields())
        {
            assert!(
                text.contains(&format!("* `{}`", field.name)),
                "{}",
                field.name
            );
        }
        for other in [
            "## Queue",
            "## RunningRequest",
            "delay(us)",
            "victim",
            "admit",
        ] {
            assert!(!text.contains(other), "{other}");
        }
        for part in [
            "`route = function(",
            "`on_complete(ev)`",
            "## Event\n",
            "est_ttft_us",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(
            text.len() < 10_200,
            "{} bytes go into every prompt",
            text.len()
        );
    }

    #[test]
    fn a_schedulers_brief_is_about_queues() {
        let text = brief(&[Hook::Scheduler]);
        for part in [
            "## QueuedRequest",
            "## Queue\n",
            "`key = function(",
            "`refresh_us`",
        ] {
            assert!(text.contains(part), "{part}");
        }
        for other in [
            "## Instance",
            "on_tick(cluster)",
            "on_reject",
            "hold(us)",
            "est_ttft_us",
        ] {
            assert!(!text.contains(other), "{other}");
        }
    }

    #[test]
    fn a_deciders_brief_has_the_events_and_estimates_of_the_front_end() {
        let text = brief(&[Hook::Disaggregation]);
        for part in [
            "`on_complete(",
            "`on_reject(",
            "`est_ttft_us(",
            "`est_transfer_us(",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("`on_tick("));
    }

    #[test]
    fn several_hooks_stand_in_sections() {
        let text = brief(&[Hook::Admission, Hook::Scheduler]);
        assert!(text.contains("`return { admission = { ... }, scheduler = { ... } }`"));
        assert!(text.contains("## Instance") && text.contains("## Queue\n"));
    }
}
