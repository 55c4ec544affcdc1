//! The C header, made of the field tables and of the C text beside the declarations.

mod shapes;

use crate::abi::{AT_ENQUEUE, BatchAnswer, EACH_STEP, FIFO, HookKind, RouteAnswer, SetupView};
use crate::c::{
    AdmissionFns, AdmitC, BatchingFns, C_MAGIC, C_SYMBOL, DisaggregationFns, DispatchFns, LOG,
    ParamC, PluginC, PolicyC, PriorityFns, RouterFns, ScaleFns, SchedulerFns, Shape, Text,
    VictimFns, WHOLE,
};
use crate::{
    AdapterSignal, ClusterView, Event, EventKind, GatewayView, HeldView, Host, HostFns,
    InstanceView, Interests, Kind, List, Outcome, QueueView, QueuedView, RequestView, RunningView,
    ScaleView, StepView, Table, VERSION,
};
use std::fmt::Write;

/// `RequestView` as `wt_request_view`.
fn snake(name: &str) -> String {
    let mut out = String::from("wt");
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn c_type(kind: Kind) -> &'static str {
    match kind {
        Kind::U32 => "uint32_t",
        Kind::I32 => "int32_t",
        Kind::U64 => "uint64_t",
        Kind::I64 => "int64_t",
        Kind::F64 => "double",
    }
}

/// The header under construction.
struct Header {
    text: String,
    asserts: String,
}

impl Header {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn doc(&mut self, indent: &str, lines: &[&str], unit: &str) {
        // References of the Rust documentation are plain words here.
        let plain = |line: &&str| {
            let mut line = line.trim().to_owned();
            while let Some(at) = line.find("](") {
                let end = line[at..].find(')').map_or(line.len(), |n| at + n + 1);
                line.replace_range(at..end, "]");
            }
            line.replace(['`', '[', ']'], "").replace("::", ".")
        };
        let mut words: Vec<String> = lines.iter().map(plain).collect();
        if let (Some(last), false) = (words.last_mut(), unit.is_empty()) {
            let _ = write!(last, " [{unit}]");
        }
        let last = words.len().saturating_sub(1);
        for (i, line) in words.iter().enumerate() {
            let open = if i == 0 { "/* " } else { " * " };
            let line = format!("{indent}{open}{line}");
            let close = if i == last { " */" } else { "" };
            self.line(&format!("{}{close}", line.trim_end()));
        }
    }

    fn open(&mut self, name: &str, doc: &[&str]) {
        self.line("");
        self.doc("", doc, "");
        self.line(&format!("typedef struct {name} {{"));
    }

    fn close(&mut self, name: &str, size: usize) {
        self.line(&format!("}} {name};"));
        self.assert(&format!("sizeof({name}) == {size}"));
    }

    fn assert(&mut self, what: &str) {
        let _ = writeln!(
            self.asserts,
            "WT_ASSERT({what}, \"not the layout of version {}.{}\");",
            VERSION.0, VERSION.1
        );
    }

    fn member(&mut self, name: &str, member: &str, offset: usize) {
        self.assert(&format!("offsetof({name}, {member}) == {offset}"));
    }

    /// A view, from its field table. One that refers to a request begins with a pointer to it.
    fn view<T: Table>(&mut self) {
        let name = snake(T::NAME);
        self.open(&name, T::DOC);
        if T::FIELDS.first().is_some_and(|f| f.offset > 0) {
            self.line("    /* The request. */\n    const wt_request_view *request;");
        }
        for field in T::FIELDS {
            self.doc("    ", field.doc, field.unit);
            self.line(&format!("    {} {};", c_type(field.kind), field.name));
            self.member(&name, field.name, field.offset);
        }
        self.close(&name, size_of::<T>());
    }

    fn shape<T: Shape>(&mut self) {
        self.open(T::NAME, T::DOC);
        for member in T::MEMBERS {
            self.doc("    ", member.doc, "");
            self.line(&format!("    {};", member.text));
            self.member(T::NAME, member.name, member.offset);
        }
        self.close(T::NAME, size_of::<T>());
    }

    fn constants(&mut self, title: &str, constants: &[(&str, String)]) {
        self.line(&format!("\n/* {title} */"));
        for (name, value) in constants {
            self.line(&format!("#define WT_{name} {value}"));
        }
    }
}

fn number(n: impl Into<i64>) -> String {
    let n = n.into();
    if n < 0 {
        format!("({n})")
    } else {
        n.to_string()
    }
}

/// Text of `include/windtunnel_plugin.h`.
#[must_use]
pub fn header() -> String {
    let mut h = Header {
        text: String::new(),
        asserts: String::new(),
    };
    h.line(&format!(
        "/* windtunnel_plugin.h: policies for windtunnel in C, plugin-api {}.{}.
 * Made by `cargo xtask docs`; do not edit.
 *
 * A plugin is a shared library that exports one constant:
 *
 *     const wt_plugin windtunnel_plugin = {{ WT_MAGIC, sizeof(wt_plugin), WT_API_MAJOR, WT_API_MINOR, ... }};
 *
 * Times are microseconds of simulated time. Numbers that name something (tenant, session, class) are opaque: equal for equal names, 0
 * for none. A [position] counts from 0, and 4294967295 is none. Views and lists may be longer than this header knows: take elements by wt_instance, wt_waiting,
 * wt_running and wt_held only. Nothing that is handed to a function lives longer than its call.
 *
 * A function that can fail returns 0 for fine; anything else ends the run, with the text it has written.
 */
#ifndef WINDTUNNEL_PLUGIN_H
#define WINDTUNNEL_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
#define WT_ASSERT(what, message) static_assert(what, message)
extern \"C\" {{
#else
#define WT_ASSERT(what, message) _Static_assert(what, message)
#endif",
        VERSION.0, VERSION.1
    ));
    h.constants(
        "Version of the contract.",
        &[
            ("API_MAJOR", VERSION.0.to_string()),
            ("API_MINOR", VERSION.1.to_string()),
            ("MAGIC", format!("{C_MAGIC:#x}ull")),
        ],
    );
    enumerations(&mut h);
    h.view::<RequestView>();
    h.view::<InstanceView>();
    h.view::<QueuedView<'static>>();
    h.view::<RunningView<'static>>();
    h.view::<Event>();
    h.view::<StepView>();
    h.view::<HeldView<'static>>();
    h.view::<ScaleView>();
    h.shape::<HostFns>();
    h.open("wt_host", &[" The host, as long as a call lasts."]);
    h.line("    const void *context;\n    const wt_host_fns *functions;");
    h.close("wt_host", size_of::<Host<'_>>());
    h.open(
        "wt_list",
        &[" A list of views; its elements stand stride bytes apart."],
    );
    h.line("    const void *base;\n    uint32_t stride;\n    uint32_t len;");
    h.close("wt_list", size_of::<List<'_, InstanceView>>());
    h.shape::<ClusterView<'_>>();
    h.shape::<QueueView<'_>>();
    h.shape::<GatewayView<'_>>();
    h.shape::<SetupView<'_>>();
    h.shape::<Text>();
    h.shape::<AdmitC>();
    h.shape::<RouteAnswer>();
    h.shape::<BatchAnswer>();
    h.shape::<AdmissionFns>();
    h.shape::<RouterFns>();
    h.shape::<PriorityFns>();
    h.shape::<SchedulerFns>();
    h.shape::<VictimFns>();
    h.shape::<DisaggregationFns>();
    h.shape::<BatchingFns>();
    h.shape::<DispatchFns>();
    h.shape::<ScaleFns>();
    h.shape::<ParamC>();
    h.shape::<PolicyC>();
    h.shape::<PluginC>();
    helpers(&mut h);
    h.line("\n/* The layout that the host reads. */");
    let asserts = std::mem::take(&mut h.asserts);
    h.text.push_str(&asserts);
    h.line(&format!(
        "
#if defined(_WIN32)
#define WT_EXPORT __declspec(dllexport)
#else
#define WT_EXPORT __attribute__((visibility(\"default\")))
#endif

/* What a plugin defines. */
WT_EXPORT extern const wt_plugin {C_SYMBOL};

#ifdef __cplusplus
}}
#endif

#endif"
    ));
    h.text
}

fn enumerations(h: &mut Header) {
    h.constants(
        "Hooks.",
        &[
            ("ADMISSION", number(HookKind::Admission as u32)),
            ("ROUTING", number(HookKind::Routing as u32)),
            ("PRIORITY", number(HookKind::Priority as u32)),
            ("SCHEDULER", number(HookKind::Scheduler as u32)),
            ("PREEMPTION", number(HookKind::Preemption as u32)),
            ("DISAGGREGATION", number(HookKind::Disaggregation as u32)),
            ("BATCHING", number(HookKind::Batching as u32)),
            ("GATEWAY_DISPATCH", number(HookKind::Dispatch as u32)),
            ("SCALE", number(HookKind::Scale as u32)),
        ],
    );
    let bits = |i: Interests| format!("{:#x}ull", i.0);
    h.constants(
        "What a policy reads and listens to. What nobody asks for is not computed.",
        &[
            ("READS_COUNTERS", bits(Interests::COUNTERS)),
            ("READS_SNAPSHOTS", bits(Interests::SNAPSHOTS)),
            ("READS_WORK", bits(Interests::WORK)),
            ("READS_PRECISE_PREFIX", bits(Interests::PRECISE_PREFIX)),
            (
                "READS_APPROXIMATE_PREFIX",
                bits(Interests::APPROXIMATE_PREFIX),
            ),
            ("HEARS_LIFECYCLE", bits(Interests::LIFECYCLE)),
            ("HEARS_TOKENS", bits(Interests::TOKENS)),
            ("READS_RUNNING", bits(Interests::RUNNING)),
            ("READS_ADAPTERS", bits(Interests::ADAPTERS)),
            ("READS_STEPS", bits(Interests::STEPS)),
            ("READS_WAITING", bits(Interests::WAITING)),
            ("READS_HELD", bits(Interests::HELD)),
        ],
    );
    let signal = |signal: AdapterSignal| number(signal as u32);
    h.constants(
        "Signals about the adapter of a request: 1 if it is on the GPU, running requests with it, waiting ones.",
        &[
            ("ADAPTER_LOADED", signal(AdapterSignal::Loaded)),
            ("ADAPTER_RUNNING", signal(AdapterSignal::Running)),
            ("ADAPTER_WAITING", signal(AdapterSignal::Waiting)),
        ],
    );
    let event = |kind: EventKind| number(kind as u32);
    h.constants(
        "Kinds of events. The first, third and fourth are of the life cycle, the others of tokens.",
        &[
            ("DISPATCH", event(EventKind::Dispatch)),
            ("FIRST_TOKEN", event(EventKind::FirstToken)),
            ("COMPLETE", event(EventKind::Complete)),
            ("REJECTED", event(EventKind::Reject)),
            ("PREEMPT", event(EventKind::Preempt)),
        ],
    );
    let outcome = |outcome: Outcome| number(outcome as u32);
    h.constants(
        "How a completed request ended.",
        &[
            ("COMPLETED", outcome(Outcome::Completed)),
            ("TIMED_OUT", outcome(Outcome::TimedOut)),
            ("DROPPED", outcome(Outcome::Dropped)),
        ],
    );
    let kinds = |names: &[&'static str]| -> Vec<(&'static str, String)> {
        let numbered = names.iter().enumerate();
        numbered.map(|(i, name)| (*name, i.to_string())).collect()
    };
    h.constants(
        "Answers of admission.",
        &kinds(&["ADMIT", "REJECT", "DELAY"]),
    );
    h.constants("Answers of routing.", &kinds(&["TO", "HOLD"]));
    h.constants(
        "When keys change; a number above 0 is an interval in microseconds.",
        &[
            ("FIFO", number(FIFO)),
            ("EACH_STEP", number(EACH_STEP)),
            ("AT_ENQUEUE", number(AT_ENQUEUE)),
        ],
    );
    h.constants(
        "Flags of a parameter: only whole numbers; search it on a logarithmic scale.",
        &[
            ("WHOLE", format!("{WHOLE}ull")),
            ("LOG", format!("{LOG}ull")),
        ],
    );
}

fn helpers(h: &mut Header) {
    h.line("\n/* Element i of a list; i must be below its len. */");
    for (name, view) in [
        ("wt_instance", "wt_instance_view"),
        ("wt_waiting", "wt_queued_view"),
        ("wt_running", "wt_running_view"),
        ("wt_held", "wt_held_view"),
    ] {
        h.line(&format!(
            "static inline const {view} *{name}(wt_list list, uint32_t i) {{
    return (const {view} *)((const char *)list.base + (size_t)i * list.stride);
}}"
        ));
    }
    h.line("\n/* What can be asked of the host. */");
    for (result, name, parameters, arguments) in [
        ("uint32_t", "precise_prefix_blocks", ", uint32_t i", ", i"),
        (
            "uint32_t",
            "approximate_prefix_blocks",
            ", uint32_t i",
            ", i",
        ),
        ("uint32_t", "prompt_blocks", "", ""),
        ("uint64_t", "random", "", ""),
        (
            "double",
            "est_prefill_us",
            ", uint32_t tokens, uint32_t cached",
            ", tokens, cached",
        ),
        (
            "double",
            "est_step_us",
            ", uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context",
            ", prefill_tokens, decodes, decode_context",
        ),
        (
            "double",
            "est_ttft_us",
            ", const wt_instance_view *instance, uint32_t prompt_tokens, uint32_t cached",
            ", instance, prompt_tokens, cached",
        ),
        (
            "double",
            "est_prefill_us_on",
            ", const wt_instance_view *instance, uint32_t tokens, uint32_t cached",
            ", instance, tokens, cached",
        ),
        (
            "double",
            "est_step_us_on",
            ", const wt_instance_view *instance, uint32_t prefill_tokens, uint32_t decodes, uint64_t decode_context",
            ", instance, prefill_tokens, decodes, decode_context",
        ),
        (
            "void",
            "prefix_blocks",
            ", uint32_t precise, uint32_t *out, uint32_t n",
            ", precise, out, n",
        ),
        (
            "uint32_t",
            "changed_since",
            ", uint64_t *seen, uint32_t *out, uint32_t n",
            ", seen, out, n",
        ),
        (
            "void",
            "adapter_signal",
            ", uint32_t signal, uint32_t *out, uint32_t n",
            ", signal, out, n",
        ),
        (
            "double",
            "est_transfer_us",
            ", const wt_instance_view *instance, uint32_t tokens",
            ", instance, tokens",
        ),
    ] {
        let gives = if result == "void" { "" } else { "return " };
        h.line(&format!(
            "static inline {result} wt_{name}(wt_host host{parameters}) {{
    {gives}host.functions->{name}(host.context{arguments});
}}"
        ));
    }
    h.line(
        "
/* Number of a tenant, class, session, prefix group or model by name, as views carry it. */
static inline uint32_t wt_symbol(const wt_setup *setup, const char *name) {
    return setup->symbol(setup->context, (const uint8_t *)name, strlen(name));
}",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_the_tables_say() {
        let text = header();
        for part in [
            "    /* Prompt length. [tokens] */\n    uint32_t prompt_tokens;\n",
            "typedef struct wt_queued_view {\n    /* The request. */\n    const wt_request_view *request;\n",
            "WT_ASSERT(offsetof(wt_instance_view, kv_utilization) == 32,",
            "#define WT_API_MAJOR 1\n",
            "#define WT_FIFO (-2)\n",
            "extern const wt_plugin windtunnel_plugin;",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains("[`"), "references of another language");
    }

    #[test]
    fn the_members_of_every_shape_are_in_order_and_complete() {
        fn check<T: Shape>(last: usize) {
            let offsets: Vec<usize> = T::MEMBERS.iter().map(|m| m.offset).collect();
            assert!(offsets.is_sorted() && offsets[0] == 0, "{}", T::NAME);
            let end = offsets.last().expect("members") + last;
            assert_eq!(end, size_of::<T>(), "{}: a member is missing", T::NAME);
            for member in T::MEMBERS {
                assert!(member.text.contains(member.name), "{}", member.text);
            }
        }
        check::<HostFns>(8);
        check::<ClusterView<'_>>(size_of::<Host<'_>>());
        check::<QueueView<'_>>(4);
        check::<SetupView<'_>>(8);
        check::<RouteAnswer>(8);
        check::<Text>(8);
        check::<AdmitC>(8);
        check::<AdmissionFns>(8);
        check::<RouterFns>(8);
        check::<PriorityFns>(8);
        check::<SchedulerFns>(8);
        check::<VictimFns>(8);
        check::<DisaggregationFns>(8);
        check::<BatchingFns>(8);
        check::<DispatchFns>(8);
        check::<ScaleFns>(8);
        check::<GatewayView<'_>>(4);
        check::<BatchAnswer>(4);
        check::<ParamC>(8);
        check::<PolicyC>(8);
        check::<PluginC>(4);
    }
}
