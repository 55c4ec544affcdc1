//! The layouts of all versions as they were frozen: sizes, offsets, and the order of functions.
//!
//! A later version appends: every line of an earlier one must still be true. The tests say so by
//! comparing what that version had, and ignoring what came behind. The current version is exactly
//! what its own file says.

use std::fmt::Write;
use windtunnel_plugin_api::abi::{
    AdmitAnswer, BatchAnswer, ParamInfo, PluginInfo, PolicyInfo, RouteAnswer, SetupView,
};
use windtunnel_plugin_api::c::{
    AdmissionFns, AdmitC, BatchingFns, DisaggregationFns, DispatchFns, ParamC, PluginC, PolicyC,
    PriorityFns, RouterFns, ScaleFns, SchedulerFns, Shape, Text, VictimFns,
};
use windtunnel_plugin_api::{
    ClusterView, Event, GatewayView, HeldView, Host, HostFns, InstanceView, Interests, List,
    QueueView, QueuedView, RequestView, RunningView, ScaleView, StepView, Table, VERSION,
};

const V1_0: &str = include_str!("layout-1.0.txt");
const CURRENT: &str = include_str!("layout-1.1.txt");

fn view<T: Table>(text: &mut String) {
    let _ = writeln!(text, "{}: {} bytes", T::NAME, size_of::<T>());
    for field in T::FIELDS {
        let _ = writeln!(text, "  {} {} {:?}", field.offset, field.name, field.kind);
    }
}

fn shape<T: Shape>(text: &mut String) {
    let _ = writeln!(text, "{}: {} bytes", T::NAME, size_of::<T>());
    for member in T::MEMBERS {
        let _ = writeln!(text, "  {} {}", member.offset, member.text);
    }
}

/// What a structure is and where its parts are.
macro_rules! parts {
    ($text:ident, $type:ty: $($part:ident),*) => {
        let name = stringify!($type);
        let _ = writeln!($text, "{name}: {} bytes", size_of::<$type>());
        $( let _ = writeln!($text, "  {} {}", std::mem::offset_of!($type, $part), stringify!($part)); )*
    };
}

/// The declarations in a source file that make a table of functions: traits with their methods, and
/// the root module.
fn functions(text: &mut String, source: &str, begins: &str, each: &str) {
    let words = source.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in words.split(begins).skip(1) {
        let name = part.split([':', ' ', '{']).next().unwrap_or_default();
        let body = part.split(" } ").next().unwrap_or_default();
        let _ = writeln!(text, "{begins}{name}");
        for declared in body.split(each).skip(1) {
            let end = declared.find([';', '#', '/']).unwrap_or(declared.len());
            let declared = declared[..end].trim().trim_end_matches(',');
            let _ = writeln!(
                text,
                "  {}",
                declared.replace(", )", ")").replace("( ", "(")
            );
        }
    }
}

fn layout() -> String {
    let mut text = String::new();
    view::<RequestView>(&mut text);
    view::<InstanceView>(&mut text);
    view::<QueuedView<'static>>(&mut text);
    view::<RunningView<'static>>(&mut text);
    view::<Event>(&mut text);
    shape::<HostFns>(&mut text);
    shape::<ClusterView<'_>>(&mut text);
    shape::<QueueView<'_>>(&mut text);
    shape::<SetupView<'_>>(&mut text);
    shape::<RouteAnswer>(&mut text);
    shape::<Text>(&mut text);
    shape::<AdmitC>(&mut text);
    shape::<AdmissionFns>(&mut text);
    shape::<RouterFns>(&mut text);
    shape::<PriorityFns>(&mut text);
    shape::<SchedulerFns>(&mut text);
    shape::<VictimFns>(&mut text);
    shape::<ParamC>(&mut text);
    shape::<PolicyC>(&mut text);
    shape::<PluginC>(&mut text);
    parts!(text, List<'static, RequestView>:);
    parts!(text, Host<'static>:);
    parts!(text, Interests:);
    parts!(text, AdmitAnswer: delay_us, kind, reason);
    parts!(text, PluginInfo: name, version, policies);
    parts!(text, PolicyInfo: hook, name, doc, params);
    parts!(text, ParamInfo: name, doc, default, least, most, whole, log);
    let root = include_str!("../src/abi/root.rs");
    functions(&mut text, root, "pub struct PluginRoot ", "pub ");
    let objects = include_str!("../src/abi/objects.rs");
    functions(&mut text, objects, "pub trait ", " fn ");
    // What 1.1 added stands behind all of 1.0.
    view::<StepView>(&mut text);
    shape::<BatchAnswer>(&mut text);
    shape::<DisaggregationFns>(&mut text);
    shape::<BatchingFns>(&mut text);
    view::<HeldView<'static>>(&mut text);
    shape::<GatewayView<'_>>(&mut text);
    shape::<DispatchFns>(&mut text);
    view::<ScaleView>(&mut text);
    shape::<ScaleFns>(&mut text);
    text
}

#[test]
fn the_layout_of_the_current_version_is_the_pinned_one() {
    let now = layout();
    if std::env::var_os("WINDTUNNEL_PIN_PLUGIN_API").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/layout-1.1.txt");
        std::fs::write(path, &now).expect("written");
        return;
    }
    assert_eq!(VERSION, (1, 1), "a new version has a file of its own");
    assert_eq!(
        now, CURRENT,
        "before 1.1 is released: WINDTUNNEL_PIN_PLUGIN_API=1; after it, this is version 1.2"
    );
}

#[test]
fn the_layout_of_version_1_0_stays() {
    // Every part of 1.0 is where it was; a later version may have more behind it, and so more
    // bytes.
    let mut section = String::new();
    let now = layout();
    let mut lines = now.lines();
    for old in V1_0.lines() {
        if old.starts_with(' ') {
            let found = lines.next();
            assert_eq!(found, Some(old), "in {section}");
        } else {
            section = name(old);
            let found = lines.find(|line| !line.starts_with(' '));
            assert_eq!(found.map(name), Some(section.clone()));
        }
    }
}

/// The name of a section: what stands before its size.
fn name(line: &str) -> String {
    line.split(": ").next().unwrap_or_default().to_owned()
}

#[test]
fn strides_and_sizes_let_both_sides_grow() {
    // A host of a later version has longer elements: an element of today is found at the front of
    // each.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Longer {
        view: InstanceView,
        more: [u64; 2],
    }
    let views = [5, 6, 7].map(|index| Longer {
        view: InstanceView {
            index,
            ..InstanceView::default()
        },
        more: [u64::MAX; 2],
    });
    let list = List::new(&views);
    // SAFETY: both are the same `repr(C)` list, addressed by stride; an element begins with the
    // shorter view.
    #[allow(unsafe_code, reason = "a list as a later host hands it over")]
    let shorter: List<'_, InstanceView> = unsafe { std::mem::transmute(list) };
    let seen: Vec<u32> = shorter.iter().map(|v| v.index).collect();
    assert_eq!(seen, [5, 6, 7]);
    assert_eq!(shorter.get(3), None);
}
