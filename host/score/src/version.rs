//! Which results this program computes.

/// Version of the results. It is raised by hand with every change that moves a figure of any run,
/// so that cached results of an earlier engine are not taken for those of this one. The golden
/// results of `host/tests/all/golden.rs` fail when results change and the number does not.
pub const RESULTS_VERSION: u32 = 6;

/// Version of the program and of its results, as reports, certificates and leaderboards name it.
#[must_use]
pub fn engine() -> String {
    format!(
        "windtunnel {} results {RESULTS_VERSION}",
        env!("CARGO_PKG_VERSION")
    )
}
