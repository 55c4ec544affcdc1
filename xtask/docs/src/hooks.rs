//! The reference of all hooks, in Lua, Rust and C: `docs/reference/hooks.md`.

use std::fmt::Write;
use windtunnel_plugin_api::c::{
    AdmissionFns, BatchingFns, DisaggregationFns, DispatchFns, Member, PriorityFns, RouterFns,
    ScaleFns, SchedulerFns, Shape, VictimFns,
};
use windtunnel_policy::Hook;
use windtunnel_policy::lua::api::{
    self, Age, FUNCTIONS, Function, HANDLERS, LIMITS, SETTINGS, STANDARD, Slot, TABLES, Type, View,
};
use windtunnel_policy::lua::{CALL_UNITS, LONGEST_CALL, LONGEST_TEXT, MEMORY, RUN_UNITS};

/// What the page says of a hook beyond the script API.
struct Told {
    flag: &'static str,
    /// When it is called, what it sees and how old that is.
    text: &'static [&'static str],
    rust: &'static [&'static str],
    /// Its table of functions in C, and those that decide.
    c: (&'static str, &'static [Member], &'static [&'static str]),
}

fn told(hook: Hook) -> Told {
    fn c<S: Shape>(
        deciding: &'static [&'static str],
    ) -> (&'static str, &'static [Member], &'static [&'static str]) {
        (S::NAME, S::MEMBERS, deciding)
    }
    match hook {
        Hook::Admission => Told {
            flag: "--admission-policy",
            text: &[
                "Called once per request, `--admission-latency` after its arrival, and again after each delay (`req.attempts` counts them).",
                "A rejection without a reason says \"rejected\". It sees no instances when none serves the request's model.",
            ],
            rust: &[
                "Admission::admit(&mut self, &RequestView, &ClusterView) -> Result<Admit, PolicyError>",
            ],
            c: c::<AdmissionFns>(&["admit"]),
        },
        Hook::Routing => Told {
            flag: "--routing-policy",
            text: &[
                "Called once per admitted request, `--routing-latency` after admission, and again after each hold (`req.attempts` counts them). \
                 A file gives exactly one of the forms.",
                "Prefix signals are computed when asked for. Scores go into the decision trace; without them it ranks the instances by effective load.",
            ],
            rust: &[
                "Router::route(&mut self, &RequestView, &ClusterView) -> Result<Route, PolicyError>",
                "Router::scores(&self) -> Option<&[f64]>",
            ],
            c: c::<RouterFns>(&["route", "scores"]),
        },
        Hook::Priority => Told {
            flag: "--priority-policy",
            text: &[
                "Called when a request enters an instance's wait queue, and as often as `refresh_us` says. Schedulers read the number as `priority`, \
                 and so do preemption policies.",
            ],
            rust: &[
                "Priority::priority(&mut self, &RequestView, &QueueView) -> Result<f64, PolicyError>",
            ],
            c: c::<PriorityFns>(&["priority"]),
        },
        Hook::Scheduler => Told {
            flag: "--scheduler",
            text: &[
                "`key` is called when a request enters the wait queue: cheap, and enough where the order of two requests never changes. `score` and `order` \
                 are called before each step that could admit somebody, that is with a free place in the batch and tokens left; their cost grows \
                 with the queue. A file may give `key` and one of the others. Equal keys go by arrival, then by request.",
                "`order` gets `running` filled if the file mentions it.",
            ],
            rust: &[
                "Scheduler::key(&mut self, &QueuedView, &QueueView) -> Result<f64, PolicyError>",
                "Scheduler::order_queue(&mut self, &QueueView, &mut [f64]) -> Result<(), PolicyError>",
            ],
            c: c::<SchedulerFns>(&["key", "order_queue"]),
        },
        Hook::Preemption => Told {
            flag: "--preemption-policy",
            text: &[
                "Called when a running request needs a KV block and none is free. The victim's blocks are freed and it returns to the wait queue; \
                 it may be the request that needed the block.",
            ],
            rust: &["Victim::victim(&mut self, &QueueView) -> Result<usize, PolicyError>"],
            c: c::<VictimFns>(&["victim"]),
        },
        Hook::Disaggregation => Told {
            flag: "--pd-decider",
            text: &[
                "Called once per request where [some instances prefill for others](../guide/disaggregation.md), after an instance was chosen to decode it: \
                 `inst` of `cluster.instances`. These are first those that decode, then the others that prefill; `role` tells them apart. Since contract 1.1.",
            ],
            rust: &[
                "Disaggregation::prefills_remotely(&mut self, &RequestView, usize, &ClusterView) -> Result<bool, PolicyError>",
            ],
            c: c::<DisaggregationFns>(&["prefills_remotely", "on_event"]),
        },
        Hook::Dispatch => Told {
            flag: "--dispatch-order",
            text: &[
                "Called where [a gateway holds requests back](../guide/flow-control.md), when one of them may go: the saturation detector says less than the \
                 ceiling of at least one priority. Under `vllm` rules it is called again until it answers nil or nothing is left that may go; under `blis` \
                 rules once per arrival and tick. Since contract 1.1.",
                "`held` has the requests that may go: by priority, the highest first, then by the names of their tenants, then as they came. There is no request at \
                 hand, so nothing can be asked about a prompt.",
            ],
            rust: &[
                "Dispatch::dispatch(&mut self, &GatewayView, &ClusterView) -> Result<Option<usize>, PolicyError>",
            ],
            c: c::<DispatchFns>(&["dispatch", "on_event"]),
        },
        Hook::Scale => Told {
            flag: "--autoscale-max 8 --autoscale",
            text: &[
                "Called every interval for each [pool that is scaled](../guide/autoscaling.md), first after one: how many instances should it have, those that are \
                 being started included, and those that finish what they have left out? Each pool has a policy of its own. Since contract 1.1.",
                "What is known of instances is read at this moment. What happened is counted since the last call; `arrived` counts the requests of the whole \
                 cluster, `completed` and the latencies those that ended on an instance of the pool, or were prefilled by one. There is no request at hand, so \
                 nothing can be asked about a prompt.",
            ],
            rust: &[
                "Scale::replicas(&mut self, &ScaleView, &ClusterView) -> Result<u32, PolicyError>",
            ],
            c: c::<ScaleFns>(&["replicas"]),
        },
        Hook::Batching => Told {
            flag: "--batching-strategy",
            text: &[
                "Called once before each step of an instance, under `vllm` rules; since contract 1.1. A step is formed in two passes: the running requests, in order of \
                 admission, get their next tokens, a chunk of the prompt or one output token; then waiting requests are admitted from the head of the \
                 queue. The answer says how much each pass may do, and the engine's own limits stay: what is beyond them (tokens of a step, places of the \
                 batch, the threshold of long prefills) counts as those, and fractions are cut off.",
                "An instance that runs nobody and admits nobody sleeps until `hold_until_us`, or until a request comes or goes. An answer after which nothing would \
                 ever happen ends the run with an error that names the step: nobody admitted, nothing running and no later time; no tokens for requests \
                 that run; a `max_prefill_tokens` of 0.",
                "The built-in strategies are asked about many steps that only decode at once. So is a compiled policy without `Interests::STEPS` (`WT_READS_STEPS`), \
                 which may then depend on nothing but the views, and on time only as its `hold_until_us` says. A script is asked before every step.",
            ],
            rust: &[
                "Batching::limits(&mut self, &StepView, &QueueView) -> Result<BatchLimits, PolicyError>",
            ],
            c: c::<BatchingFns>(&["limits"]),
        },
    }
}

const HEAD: &str = "\
<!-- Made by `cargo xtask docs`; do not edit. -->
# Hooks

What a policy is asked, what it sees, what it may answer: in Lua, in Rust and in C. All three see the same data at the same time.
[Your first policy](../guide/first-policy.md) and [plugins](../guide/plugins.md) show how to start;
[signals](../concepts/signals.md) and [scripts](../concepts/scripts.md) say why it is so.

Times are microseconds of simulated time, lengths are tokens. Positions count from 1 in Lua, 0 is none; in Rust and C they count from 0 and 4294967295 is
none. Numbers that name something (tenant, session, class, model, pool) are opaque: equal for equal names, 0 for none. A script compares them with
texts ([names](../concepts/scripts.md)).

A Lua file returns a table of hooks, flat (`return { route = f }`) or by section (`return { routing = { route = f }, admission = { admit = g } }`). A
view is valid during the call; keep copies of what you need later.
";

/// The page.
pub(super) fn page() -> String {
    let mut out = HEAD.to_owned();
    for hook in Hook::ALL {
        hook_section(&mut out, hook);
    }
    events(&mut out);
    refreshing(&mut out);
    views(&mut out);
    globals(&mut out);
    limits(&mut out);
    out
}

fn hook_section(out: &mut String, hook: Hook) {
    let Told {
        flag,
        text,
        rust,
        c,
    } = told(hook);
    let title = hook.name();
    let title = format!("{}{}", title[..1].to_uppercase(), &title[1..]);
    let _ = writeln!(
        out,
        "\n## {title}\n\n`{flag}`; `{hook}` in bundles and files.\n"
    );
    for text in text {
        paragraph(out, text);
        out.push('\n');
    }
    out.push_str("| Lua | returns |\n|---|---|\n");
    for function in api::hook_functions(hook) {
        let takes: Vec<String> = function.takes.iter().map(typed).collect();
        let call = format!("{}({})", function.name, takes.join(", "));
        let _ = writeln!(out, "| `{call}` | {} |", answers(function));
    }
    let mut noted: Vec<&str> = Vec::new();
    for slot in api::hook_functions(hook).iter().flat_map(|f| f.takes) {
        if !slot.doc.is_empty() && !noted.contains(&slot.name) {
            let start = if noted.is_empty() { "\n" } else { "" };
            let _ = writeln!(out, "{start}* `{}`: {}", slot.name, slot.doc);
            noted.push(slot.name);
        }
    }
    if hook == Hook::Batching {
        out.push_str("\n| in the table that it returns | | |\n|---|---|---|\n");
        for limit in LIMITS {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} |",
                limit.name,
                kind(limit.kind),
                limit.doc
            );
        }
    }
    out.push_str("\n```rust\n");
    for signature in rust {
        let _ = writeln!(out, "{signature}");
    }
    let (table, members, deciding) = c;
    let _ = writeln!(out, "```\n\n```c\n/* in {table} */");
    for name in deciding {
        let member = members.iter().find(|member| member.name == *name);
        let text = member.expect("the table has it").text;
        let _ = writeln!(out, "{text};");
    }
    out.push_str("```\n");
}

fn answers(function: &Function) -> String {
    let answer = |slot: &Slot| match slot.optional {
        true => format!("then, if you like, {} ({})", kind(slot.kind), slot.doc),
        false if matches!(slot.kind, Type::Either(..)) => slot.doc.to_owned(),
        false => format!("{}: {}", kind(slot.kind), slot.doc),
    };
    let answers: Vec<String> = function.gives.iter().map(answer).collect();
    answers.join("; ")
}

/// `req: Request`
fn typed(slot: &Slot) -> String {
    format!("{}: {}", slot.name, slot.kind.luau())
}

fn kind(of: Type) -> String {
    match of {
        Type::Number => "a number".into(),
        Type::Text => "a text".into(),
        Type::List(of) if *of == Type::Number => "a list of numbers".into(),
        other => format!("`{}`", other.luau()),
    }
}

fn events(out: &mut String) {
    out.push_str("\n## Events\n\n");
    paragraph(
        out,
        "Handlers stand in the same table as the hooks. An event that nobody has a handler for costs nothing. In Rust all come to `on_event(&Event)`, in C \
         to `on_event`, with the kind in the event, and only if `interests` asks for them.",
    );
    out.push_str(
        "\n| handler | admission, routing | disaggregation, dispatch | scheduler | called when |\n|---|---|---|---|---|\n",
    );
    for handler in HANDLERS {
        let mark = |hook| {
            if handler.hooks.contains(&hook) {
                "yes"
            } else {
                ""
            }
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} |",
            handler.function.call(),
            mark(Hook::Routing),
            mark(Hook::Disaggregation),
            mark(Hook::Scheduler),
            handler.function.doc.join(" ")
        );
    }
    out.push('\n');
    paragraph(
        out,
        "A scheduler hears of its own instance \
         only. Handlers return nothing and can ask nothing: `rng` and the estimates are for hooks and `on_tick`. \
         Of a flat table that fills several hooks, a handler is called once per event.",
    );
}

fn refreshing(out: &mut String) {
    out.push_str("\n## How often\n\n| in the table | of | |\n|---|---|---|\n");
    for setting in SETTINGS {
        let hooks: Vec<&str> = setting.hooks.iter().map(|hook| hook.name()).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} |",
            setting.name,
            hooks.join(", "),
            setting.doc
        );
    }
    out.push_str(
        "\n| Lua | Rust | C | the numbers of waiting requests |\n|---|---|---|---|\n\
         | `priority` or `key` without `refresh_us` | `KeyRefresh::AtEnqueue` | `WT_AT_ENQUEUE` | never change |\n\
         | `refresh_us = N` | `KeyRefresh::Every(N)` | N | are renewed at the first step of each N microseconds of the clock that could admit somebody |\n\
         | `refresh_us = 0`; `score` or `order` without `refresh_us` | `KeyRefresh::EachStep` | `WT_EACH_STEP` | are renewed before each step that could \
         admit somebody |\n\n",
    );
    paragraph(
        out,
        "Between renewals the engine runs ahead without asking. A changing priority renews the scheduler's keys, too.",
    );
}

fn views(out: &mut String) {
    out.push_str("\n## Views\n\n");
    paragraph(
        out,
        "Fields have the same names everywhere. In Rust and C the methods are functions of the view's `host`, and a policy declares what it reads in its \
         `interests`. What a file reads is taken from its text, so spell fields out: `inst[\"queue_\" .. \"depth\"]` finds nothing.",
    );
    for view in View::ALL {
        let _ = write!(out, "\n### {}\n\n", view.name());
        let mut doc = view.doc().to_owned();
        if let Some(of) = view.extends() {
            let _ = write!(doc, " It has all fields of a {}, too.", of.name());
        }
        let (rust, c) = compiled(view);
        let _ = write!(doc, " `{rust}` in Rust, `{c}` in C.");
        let aged = view == View::Instance;
        if aged {
            doc += " *Scraped* fields are as old as the last scrape (`inst:age_us()`, at most `--snapshot-refresh-interval`) and 0 before the first.";
        }
        paragraph(out, &doc);
        out.push_str(if aged {
            "\n| field | unit | age | |\n|---|---|---|---|\n"
        } else {
            "\n| field | unit | |\n|---|---|---|\n"
        });
        for field in view.fields() {
            let unit = if field.unit == "us" {
                "µs"
            } else {
                field.unit
            };
            let age = match field.age {
                _ if !aged => "",
                Age::Fresh => " fresh |",
                Age::Scraped => " scraped |",
                Age::Fixed => " fixed |",
            };
            let _ = writeln!(out, "| `{}` | {unit} |{age} {} |", field.name, field.doc);
        }
        for method in view.methods() {
            let age = match (aged, method.name) {
                (false, _) => "",
                (true, "precise_prefix_blocks") => " `--cache-signal-delay` |",
                (true, name) if name.starts_with("adapter_") => " scraped |",
                (true, _) => " fresh |",
            };
            let doc = method.doc.join(" ");
            let _ = writeln!(out, "| `:{}` | |{age} {doc} |", method.call());
        }
    }
}

/// A view's name in Rust and in C.
fn compiled(view: View) -> (&'static str, &'static str) {
    match view {
        View::Request => ("RequestView", "wt_request_view"),
        View::QueuedRequest => ("QueuedView", "wt_queued_view"),
        View::RunningRequest => ("RunningView", "wt_running_view"),
        View::Instance => ("InstanceView", "wt_instance_view"),
        View::Cluster => ("ClusterView", "wt_cluster_view"),
        View::Queue => ("QueueView", "wt_queue_view"),
        View::Step => ("StepView", "wt_step_view"),
        View::Event => ("Event", "wt_event"),
        View::HeldRequest => ("HeldView", "wt_held_view"),
        View::Gateway => ("GatewayView", "wt_gateway_view"),
        View::Pool => ("ScaleView", "wt_scale_view"),
        View::Setup => ("Setup", "wt_setup"),
    }
}

fn globals(out: &mut String) {
    out.push_str("\n## Globals of a file\n\n| name | |\n|---|---|\n");
    for table in TABLES {
        let _ = writeln!(out, "| `{}` | {} |", table.name, table.doc);
    }
    for function in FUNCTIONS {
        let doc = function.doc.join(" ");
        let _ = writeln!(out, "| `{}` | {doc} |", function.call());
    }
    let standard: Vec<String> = STANDARD.iter().map(|name| format!("`{name}`")).collect();
    out.push('\n');
    paragraph(
        out,
        &format!(
            "Of Luau's own: {}. All are read-only, and there are no others: state lives in locals.",
            standard.join(", ")
        ),
    );
    out.push('\n');
    paragraph(
        out,
        "A parameter is declared in a comment, `--@param weight = 2.0, 0..10  What it does`, and read as `cfg.weight`. After the range may stand `int`, for \
         whole numbers only, and `log`, a scale for tuners. `--policy-param weight=3` or `params:` in a bundle set it.",
    );
}

fn limits(out: &mut String) {
    let _ = write!(
        out,
        "\n## Limits and errors\n\n\
         | limit of a script | |\n|---|---|\n\
         | one call | {} units; a unit is a loop iteration, a function call or a return, more in files that can do more in one; library functions pay by size |\n\
         | one run | {} units |\n\
         | memory of a file, all copies together | {} MiB |\n\
         | processor time of a call | {} s, in case something was forgotten |\n\
         | a text | {} KiB |\n\n",
        grouped(CALL_UNITS),
        grouped(RUN_UNITS),
        MEMORY >> 20,
        LONGEST_CALL.as_secs(),
        LONGEST_TEXT >> 10,
    );
    paragraph(
        out,
        "`--trusted` lifts them. Units are counted alike on every machine.",
    );
    out.push('\n');
    paragraph(
        out,
        "An error ends the run with exit code 2 and a message that names hook, request, file and line. Errors are: whatever the file raises, a limit (no \
         `pcall` gets around it), a name that does not exist (with the nearest that does), and an answer that is none: NaN or nothing where a number is due, a \
         position out of range or not whole. In Rust an `Err` or a panic ends the run in the same way, in C a return value other than 0.",
    );
}

/// Writes a paragraph in lines of at most 150 characters.
fn paragraph(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let letters = word.chars().count();
        if width > 0 && width + 1 + letters > 150 {
            out.push('\n');
            width = 0;
        } else if width > 0 {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += letters;
    }
    out.push('\n');
}

/// `2000000` as `2,000,000`.
fn grouped(n: i64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use windtunnel_plugin_api::{
        Admission, Admit, BatchLimits, Batching, ClusterView, Disaggregation, Dispatch,
        GatewayView, PolicyError, Priority, QueueView, QueuedView, RequestView, Route, Router,
        Scheduler, StepView, Victim,
    };

    type Answer<T> = Result<T, PolicyError>;

    /// Compiles if the signatures that the page gives are those of the traits.
    #[allow(dead_code, reason = "compiling it is the check")]
    fn signatures(
        hooks: (
            &mut dyn Admission,
            &mut dyn Router,
            &mut dyn Priority,
            &mut dyn Scheduler,
            &mut dyn Victim,
        ),
        (disaggregation, batching): (&mut dyn Disaggregation, &mut dyn Batching),
        (dispatch, gateway): (&mut dyn Dispatch, &GatewayView<'_>),
        step: &StepView,
        (request, queued): (&RequestView, &QueuedView<'_>),
        (cluster, queue): (&ClusterView<'_>, &QueueView<'_>),
        keys: &mut [f64],
    ) {
        let (admission, router, priority, scheduler, victim) = hooks;
        let _: Answer<Admit> = admission.admit(request, cluster);
        let _: Answer<Route> = router.route(request, cluster);
        let _: Option<&[f64]> = router.scores();
        let _: Answer<f64> = priority.priority(request, queue);
        let _: Answer<f64> = scheduler.key(queued, queue);
        let _: Answer<()> = scheduler.order_queue(queue, keys);
        let _: Answer<usize> = victim.victim(queue);
        let _: Answer<bool> = disaggregation.prefills_remotely(request, 0, cluster);
        let _: Answer<BatchLimits> = batching.limits(step, queue);
        let _: Answer<Option<usize>> = dispatch.dispatch(gateway, cluster);
    }

    #[test]
    fn every_hook_is_on_the_page() {
        let page = page();
        for hook in Hook::ALL {
            assert!(
                told(hook)
                    .rust
                    .iter()
                    .all(|signature| page.contains(signature))
            );
            for function in api::hook_functions(hook) {
                assert!(
                    page.contains(&format!("| `{}(", function.name)),
                    "{}",
                    function.name
                );
            }
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(2_000_000), "2,000,000");
        assert_eq!(grouped(999), "999");
    }
}
