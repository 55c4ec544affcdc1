//! Routing by session: consistent hashing with bounded load, as a compiled plugin.

mod policy;

pub use policy::SessionAffinity;

windtunnel_plugin_api::export_plugin! {
    name: "session-affinity";
    version: env!("CARGO_PKG_VERSION");

    /// Keeps a session on one instance unless that has more than its share of the requests in flight.
    routing "session-affinity" {
        /// Largest load of an instance, as a multiple of the average.
        load_bound: 1.5 in 1.0..=100.0, log;
        /// Points of each instance on the hash ring.
        points: 100 in 1..=10_000, whole, log;
    } = SessionAffinity::new;
}
