//! A host of a later minor version: `InstanceView` is longer, the root module has one more function, the router one more method. It loads
//! a plugin of 1.0 and one of its own version and prints what it finds.

use windtunnel_plugin_api::abi::{PluginRootRef, ROOT_SYMBOL, RouterObject, SetupView};
use windtunnel_plugin_api::abi_stable::library::{AbiHeaderRef, RawLibrary};
use windtunnel_plugin_api::{ClusterView, InstanceView, RequestView};

fn main() {
    for (path, policy) in [("OLD", 1), ("OWN", 0)] {
        let path = std::env::var(path).expect("a path");
        let library = RawLibrary::load_at(path.as_ref()).expect("a library");
        // As the loader does: an older minor version is taken without comparing layouts.
        let root = unsafe {
            let header: AbiHeaderRef = *library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()).expect("a plugin");
            let header = header.upgrade().expect("abi_stable");
            header.init_root_module_with_unchecked_layout::<PluginRootRef>().expect("a root module")
        };
        std::mem::forget(library);
        let mut symbol: &mut dyn FnMut(&str) -> u32 = &mut |_| 0;
        let setup = SetupView::new(&[], 3, 8, &mut symbol);
        let mut router = root.new_router()(policy, setup).into_result().expect("a router");
        let views = [0, 1, 2].map(|index| InstanceView {
            index,
            in_flight: 10 - index,
            later: u64::MAX,
            ..InstanceView::default()
        });
        let mut chosen = Vec::new();
        for serial in 0..6 {
            let request = RequestView { serial, ..RequestView::default() };
            let answer = router.route(&request, &ClusterView::bare(0, &views)).into_result();
            chosen.push(answer.expect("an answer").index);
        }
        let later = root.later().map(|f| f());
        println!("{}: {chosen:?}, later function {later:?}, later method {}", root.describe()().name, router.later());
    }
}
